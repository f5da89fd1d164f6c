"""Everything off, at once: the runs, the mapping, the model; convergent, so that it may be repeated at any time."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.core.errors import ModelNotFoundError, ThrottledError
from batch_vision.core.times import utc_now
from batch_vision.operator import runs
from batch_vision.operator.backlog import count_messages
from batch_vision.runs.stop import ensure_stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_vision.operator.stack import Stack

_MAPPING_SECONDS = 300
# How often a schedule may start a run anew while this goes on.
_ROUNDS = 3
# A call that a stopped run had begun (enable the mapping, start the model) may still take effect.
_SETTLE_SECONDS = 5
_BUSY = {"ResourceInUseException", "ResourceConflictException", "TooManyRequestsException"}


@dataclass
class Stopped:
    """What was stopped.

    Attributes
    ----------
    runs
        The ids of the runs that were stopped.
    model_status
        The service's word for the model's state at the end.
    """

    runs: list[str] = field(default_factory=list)
    mapping_state: str = ""
    model_status: str = ""
    is_model_stopped: bool = False
    is_run_under_way: bool = True

    @property
    def is_good(self) -> bool:
        """Whether all is off."""
        return self.is_model_stopped and self.mapping_state == "Disabled" and not self.is_run_under_way


def stop(stack: Stack, timeout_seconds: int, poll_seconds: float, show: Callable[[str], None]) -> Stopped:
    """Stop all runs, close the mapping, let the images in flight be finished, stop the model and see that it stopped.

    Parameters
    ----------
    timeout_seconds
        How long to wait for the model's stop. One that is starting stops only when it is up.
    show
        Told what is happening.

    Raises
    ------
    ModelStopTimeoutError
        The service did not confirm the stop in time.
    """
    stopped = Stopped()
    for _ in range(_ROUNDS):
        with ExitStack() as steps:
            # Last in, first out: the runs come first, for a run opens the mapping and starts the model again. Whatever
            # fails before, the model is stopped.
            steps.callback(_stop_model, stack, stopped, timeout_seconds, poll_seconds, show)
            steps.callback(_finish_in_flight, stack, poll_seconds, show)
            steps.callback(_close_mapping, stack, poll_seconds, show)
            steps.callback(_stop_runs, stack, stopped, show)
        mapping = stack.functions.get_event_source_mapping(UUID=stack.event_source_mapping_uuid)
        stopped.mapping_state = mapping["State"]
        stopped.is_run_under_way = bool(runs.running(stack))
        if not stopped.is_run_under_way and stopped.mapping_state == "Disabled":
            break
    return stopped


def _stop_runs(stack: Stack, stopped: Stopped, show: Callable[[str], None]) -> None:
    under_way = runs.running(stack)
    for arn in under_way:
        show("stopping the run")
        stack.workflow.stop_execution(
            executionArn=arn, error="StoppedByOperator", cause="Stopped with: batch-vision stop"
        )
        stopped.runs.append(arn.rpartition(":")[2])
    if under_way:
        time.sleep(_SETTLE_SECONDS)


def _close_mapping(stack: Stack, poll_seconds: float, show: Callable[[str], None]) -> None:
    """Disable the mapping, and wait until it is."""
    deadline = time.monotonic() + _MAPPING_SECONDS
    while True:
        mapping: Any = stack.functions.get_event_source_mapping(UUID=stack.event_source_mapping_uuid)
        state: str = mapping["State"]
        if state == "Disabled" or time.monotonic() > deadline:
            return
        show(f"closing the event source mapping ({state})")
        if state == "Enabled":
            try:
                stack.functions.update_event_source_mapping(UUID=stack.event_source_mapping_uuid, Enabled=False)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _BUSY:
                    raise
        time.sleep(poll_seconds)


def _finish_in_flight(stack: Stack, poll_seconds: float, show: Callable[[str], None]) -> None:
    """Wait for the batches that were taken before; messages that failed stay in flight longer, and are not awaited."""
    deadline = time.monotonic() + stack.analyze_timeout_seconds
    while (count := count_messages(stack.sqs, stack.queue_url)["in_flight"]) and time.monotonic() < deadline:
        show(f"finishing {count} images in flight")
        time.sleep(poll_seconds)


def _stop_model(
    stack: Stack, stopped: Stopped, timeout_seconds: int, poll_seconds: float, show: Callable[[str], None]
) -> None:
    requested_at = utc_now()
    while True:
        with suppress(ThrottledError):  # asked again
            try:
                answer = ensure_stopped(stack.backend, requested_at, timeout_seconds, utc_now())
            except ModelNotFoundError:
                answer = {"status": "deleted", "is_stopped": True}
            stopped.model_status, stopped.is_model_stopped = answer["status"], answer["is_stopped"]
            if stopped.is_model_stopped:
                return
            show(f"stopping the model ({stopped.model_status})")
        time.sleep(poll_seconds)
