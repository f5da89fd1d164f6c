"""The executions of the workflow: which there were, what came of them, and what the present one is doing."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.core.errors import read_error
from batch_vision.core.times import to_text, utc_now
from batch_vision.operator import remedies
from batch_vision.operator.objects import read_summary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta

    from batch_vision.operator.stack import Stack

CHECKING = "checking for work"

# The states of state_machine.asl.json in the words of a progress display.
PHASES = {
    "ListRunningExecutions": CHECKING,
    "CheckForWork": CHECKING,
    "StartModel": "starting the model",
    "WaitForModel": "starting the model",
    "EnableMapping": "enabling the event source mapping",
    "WaitForMapping": "enabling the event source mapping",
    "WaitForProgress": "analyzing images",
    "CheckProgress": "analyzing images",
    "RequeueImages": "putting images without a message back on the queue",
    "Close": "closing: disabling the mapping and stopping the model",
    "WaitForClose": "closing: disabling the mapping and stopping the model",
    "SummarizeRun": "summing up",
}

_RECENT_EVENTS = 20  # a round of any loop writes fewer
_NO_EXECUTION = ("ExecutionDoesNotExist", "InvalidArn", "ValidationException")
_BAD = ("failed", "timed_out")


@dataclass(frozen=True, slots=True)
class Run:
    """One execution.

    Attributes
    ----------
    outcome
        ``running``, ``succeeded``, ``nothing_to_do``, ``another_run`` (it found one under way and ended), ``failed``,
        ``timed_out`` or ``aborted``.
    error
        ``type`` and ``message`` of what it failed with.
    summary
        What it wrote to ``runs/<id>.json``; None when it wrote nothing.
    held
        Why images that waited were no reason to start the model yet.
    """

    id: str
    execution_arn: str
    outcome: str
    started_at: datetime
    ended_at: datetime | None
    error: dict[str, str] | None
    summary: dict[str, Any] | None
    held: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether it is well, or ended well."""
        return self.outcome not in (*_BAD, "aborted")

    @property
    def duration(self) -> timedelta:
        """How long it took, or has taken."""
        return (self.ended_at or utc_now()) - self.started_at

    def remedy(self, stack: Stack) -> str | None:
        """Say what to do about it; None when there is nothing to do."""
        if self.outcome == "timed_out":
            return remedies.TIMED_OUT
        if self.outcome == "failed":
            return remedies.remedy(self.error["type"] if self.error else "", stack.analyze_images_function_name)
        return None

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        return {
            "id": self.id,
            "execution_arn": self.execution_arn,
            "outcome": self.outcome,
            "started_at": to_text(self.started_at),
            "ended_at": to_text(self.ended_at) if self.ended_at else None,
            "duration_seconds": round(self.duration.total_seconds(), 1),
            "error": self.error,
            "summary": self.summary,
            "held": self.held,
        }


def describe(stack: Stack, execution_arn: str) -> Run:
    """Look at one execution."""
    described: Any = stack.workflow.describe_execution(executionArn=execution_arn)
    status = described["status"]
    output = json.loads(described.get("output") or "null")
    summary = output if status == "SUCCEEDED" and isinstance(output, dict) and "run_id" in output else None
    if status == "FAILED":
        summary = read_summary(stack.s3, stack.final_bucket_name, described["name"])
    error = None
    if status == "FAILED":
        error = read_error({"Error": described.get("error", ""), "Cause": described.get("cause", "")})
    return Run(
        id=described["name"],
        execution_arn=execution_arn,
        outcome=_outcome(status, output),
        started_at=described["startDate"],
        ended_at=described.get("stopDate"),
        error=error,
        summary=summary,
        held=_held(output),
    )


def latest(stack: Stack, number: int) -> list[Run]:
    """Look at the latest executions, newest first."""
    listed = stack.workflow.list_executions(stateMachineArn=stack.state_machine_arn, maxResults=number)["executions"]
    return [describe(stack, entry["executionArn"]) for entry in listed]


def running(stack: Stack) -> list[str]:
    """List the ARNs of the executions that run, the oldest first: the one at work."""
    pages = stack.workflow.get_paginator("list_executions").paginate(
        stateMachineArn=stack.state_machine_arn, statusFilter="RUNNING"
    )
    return [entry["executionArn"] for page in pages for entry in page["executions"]][::-1]


def running_since(stack: Stack, run_id: str) -> datetime | None:
    """Return when a run began that is under way; None where it is not, or where there is none of that name."""
    arn = f"{stack.state_machine_arn.replace(':stateMachine:', ':execution:', 1)}:{run_id}"
    try:
        described = stack.workflow.describe_execution(executionArn=arn)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _NO_EXECUTION:
            return None
        raise
    return described["startDate"] if described["status"] == "RUNNING" else None


def start(stack: Stack) -> str:
    """Start an execution and give its ARN."""
    name = f"operator-{utc_now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
    return stack.workflow.start_execution(stateMachineArn=stack.state_machine_arn, name=name)["executionArn"]


@dataclass(frozen=True, slots=True)
class Position:
    """Where an execution is.

    Attributes
    ----------
    state
        What the workflow knows, as it was given to the state that was entered last.
    """

    phase: str
    state: dict[str, Any]

    @property
    def model(self) -> dict[str, Any] | None:
        """What the workflow knows of its model; None when it has not asked for it, or an error hides it."""
        return self.state.get("model") or (self.state.get("processed") or {}).get("model")

    @property
    def requested_at(self) -> str | None:
        """When the model was wanted first."""
        return (self.model or {}).get("requested_at") or (self.state.get("backlog") or {}).get("model_wanted_at")


def position(workflow: Any, execution_arn: str, before: Position | None = None) -> Position:
    """Find out where an execution is, from the latest events of its history.

    Parameters
    ----------
    before
        Where it was at the look before: its phase stays as long as no state with a name of its own is entered.
    """
    entered = list(islice(_entered(workflow, execution_arn), _RECENT_EVENTS))
    phase = next((PHASES[name] for name, _ in entered if name in PHASES), before.phase if before else CHECKING)
    state = next((state for _, state in entered if "run" in state), before.state if before else {})
    return Position(phase, state)


def _entered(workflow: Any, execution_arn: str) -> Iterator[tuple[str, dict[str, Any]]]:
    history = workflow.get_execution_history(executionArn=execution_arn, reverseOrder=True, maxResults=_RECENT_EVENTS)
    for event in history["events"]:
        if details := event.get("stateEnteredEventDetails"):
            state = json.loads(details.get("input") or "{}")
            yield details["name"], state if isinstance(state, dict) else {}


def _outcome(status: str, output: Any) -> str:
    if status != "SUCCEEDED":
        return status.lower()
    if isinstance(output, dict) and "run_id" in output:
        return "succeeded"
    # The three ways to succeed: summed up, without work (the model was looked after all the same), and not at all.
    # The workflow of an older version says `stop` for what is `close` now.
    is_closed = isinstance(output, dict) and (output.get("stop") or (output.get("close") or {}).get("is_closed"))
    return "nothing_to_do" if is_closed else "another_run"


def _held(output: Any) -> str | None:
    backlog = output.get("backlog") if isinstance(output, dict) else None
    return backlog.get("held") if backlog else None
