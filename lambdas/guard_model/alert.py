"""What the watchdog tells people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdas.guard_model.guard import Task

if TYPE_CHECKING:
    from lambdas.guard_model.guard import Duty, Report

_MAX_SUBJECT = 100  # characters that SNS takes

_REASONS = {
    Task.TICK: "Its own schedule; no execution was running.",
    Task.EXECUTION_ENDED: "An execution failed, timed out or was aborted: {execution}",
    Task.RELEASE_MODEL: "Terraform gives the deployment another model.",
    Task.SHUT_DOWN: "Terraform destroys the deployment.",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """A message for people."""

    subject: str
    message: str


def alert_of(duty: Duty, report: Report, error: Exception | None) -> Alert | None:
    """Write the alert for what was done; None when there was nothing to do."""
    if not (error or report.has_acted or report.refused):
        return None
    name = duty.state_machine_arn.rsplit(":", 1)[-1]
    outcome = "could not stop everything" if error or report.refused else "stopped what no execution owned"
    lines = [
        f"The watchdog of {name} {outcome}.",
        "",
        f"Called for: {_REASONS[duty.task].format(execution=duty.ended_execution_arn)}",
        *[f"Stopped execution: {arn}" for arn in report.stopped_executions],
        *([f"Disabled event source mapping: {duty.mapping_uuid}"] if report.is_mapping_disabled else []),
        *[f"Asked to stop: model {model}" for model in report.stopped_models],
        *[f"Not off yet: {sentence}" for sentence in report.left_on],
        *([f"Error: {error}"] if error else [f"Could not be stopped yet: {sentence}" for sentence in report.refused]),
    ]
    return Alert(f"{name}: the watchdog {outcome}"[:_MAX_SUBJECT], "\n".join(lines))
