"""What the watchdog tells people: what it did, and that a run ended badly. One mail for each call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.runs.guard import Task
from batch_vision.runs.notices import facts, subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_vision.runs.guard import Duty, Report

_REASONS = {
    Task.TICK: "Its own schedule; no execution was running.",
    Task.EXECUTION_ENDED: "An execution failed, timed out or was aborted: {execution}",
    Task.RELEASE_MODEL: "Terraform gives the deployment another model.",
    Task.SHUT_DOWN: "Terraform destroys the deployment.",
}
# By the status of an execution, as Step Functions has it.
_ENDINGS = {"FAILED": "failed", "TIMED_OUT": "timed out", "ABORTED": "was aborted"}


@dataclass(frozen=True, slots=True)
class Alert:
    """A message for people."""

    subject: str
    message: str


def alert_of(
    duty: Duty, report: Report, error: Exception | None, summary: Mapping[str, Any] | None = None
) -> Alert | None:
    """Write the alert for what was done and for the run that ended; None when there is nothing to tell.

    Parameters
    ----------
    summary
        Of the execution that ended; None where it has written none.
    """
    ending = _ENDINGS.get(duty.ended_status or "")
    has_failed = bool(error or report.refused)
    if not (ending or has_failed or report.has_acted):
        return None
    name = duty.state_machine_arn.rsplit(":", 1)[-1]
    outcome = "could not stop everything" if has_failed else "stopped what no execution owned"
    if has_failed:
        first = "Stop the model, because it may be costing money: batch-vision stop"
        title = f"{name}: the watchdog {outcome}"
    elif ending:
        first = _advice(duty.ended_status, summary)
        reason = f", {summary['end_reason']}" if summary else ""
        title = f"{name}: a run {ending}{reason}"
    else:
        first = "Nothing to do now, but see who left it on: only runs should start the model."
        title = f"{name}: the watchdog {outcome}"
    lines = [first, ""]
    if ending:
        lines += [f"A run of {name} {ending}.", *_run(duty, summary), ""]
    if has_failed or report.has_acted:
        lines += [f"The watchdog of {name} {outcome}.", ""]
        lines += [f"Called for: {_REASONS[duty.task].format(execution=duty.ended_execution_arn)}"]
    lines += [
        *[f"Stopped execution: {arn}" for arn in report.stopped_executions],
        *([f"Disabled event source mapping: {duty.mapping_uuid}"] if report.is_mapping_disabled else []),
        *[f"Asked to stop: model {model}" for model in report.stopped_models],
        *[f"Not off yet: {sentence}" for sentence in report.left_on],
        *([f"Error: {error}"] if error else [f"Could not be stopped yet: {sentence}" for sentence in report.refused]),
    ]
    if ending and not (has_failed or report.has_acted):
        lines += [
            "Another execution is running, and has the model."
            if report.live_executions
            else "The watchdog found everything off."
        ]
    return Alert(subject(title), "\n".join(lines))


def _advice(status: str | None, summary: Mapping[str, Any] | None) -> str:
    if status == "ABORTED":
        return (
            "Nothing to do if it was you: images that are left wait for the next run, or for batch-vision run --watch"
        )
    if status == "FAILED" and summary:
        return f"See what to do about {summary['end_reason']}: batch-vision status"
    return "See what to do: batch-vision status"


def _run(duty: Duty, summary: Mapping[str, Any] | None) -> list[str]:
    if not summary:
        return ["It wrote no summary.", f"Execution: {duty.ended_execution_arn}"]
    error = summary["error"]
    return ["", *facts(summary), *([f"Error:     {error['type']}: {error['message']}"] if error else [])]
