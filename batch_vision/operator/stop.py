"""Everything off, at once: the runs, the mapping, the model; convergent, so that it may be repeated at any time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batch_vision.aws.current_run import load_current_run
from batch_vision.aws.mappings import DISABLED, EventSourceMapping
from batch_vision.aws.queues import count_messages
from batch_vision.aws.translation import control_calls
from batch_vision.core.errors import BatchVisionError, MappingNotDisabledError, SettingsError
from batch_vision.core.times import utc_now
from batch_vision.operator import runs
from batch_vision.runs.closing import Bounds, close

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_vision.backends.contracts import Lifecycle
    from batch_vision.operator.stack import Stack

_MAPPING_SECONDS = 300
# How often a schedule may start a run anew while this goes on.
_ROUNDS = 3
# A call that a stopped run had begun (enable the mapping, start the model) may still take effect.
_SETTLE_SECONDS = 5


@dataclass
class Stopped:
    """What was stopped.

    Attributes
    ----------
    runs
        The ids of the runs that were stopped.
    model_status
        The service's word for the model's state at the end.
    problems
        Why it is not known whether a model is stopped: a sentence with its remedy for each.
    """

    runs: list[str] = field(default_factory=list)
    mapping_state: str = ""
    model_status: str = ""
    is_model_stopped: bool = False
    is_run_under_way: bool = True
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether all is off."""
        is_off = self.is_model_stopped and self.mapping_state == DISABLED
        return is_off and not self.is_run_under_way and not self.problems


def stop(stack: Stack, timeout_seconds: int, poll_seconds: float, show: Callable[[str], None]) -> Stopped:
    """Stop all runs, disable the mapping, stop the model, and wait for both and for the images in flight.

    Parameters
    ----------
    timeout_seconds
        How long to wait for the model's stop. One that is starting stops only when it is up.
    show
        Told what is happening.

    Raises
    ------
    BatchVisionError
        As `closing.progress` raises it: `ModelStopTimeoutError` where the service did not confirm the stop in time.
    """
    stopped = Stopped()
    models = _models(stack, stopped)
    bounds = Bounds(
        mapping_timeout_seconds=_MAPPING_SECONDS,
        stop_timeout_seconds=timeout_seconds,
        in_flight_timeout_seconds=stack.analyze_timeout_seconds,
        mapping_poll_seconds=0,  # the caller's poll_seconds is taken
        model_poll_seconds=0,
    )
    for _ in range(_ROUNDS):
        try:
            # The runs come first, for a run enables the mapping and starts the model again. Whatever fails there, the
            # model is stopped.
            _stop_runs(stack, stopped, show)
        finally:
            _close(stack, models, bounds, stopped, poll_seconds, show)
        stopped.is_run_under_way = bool(runs.running(stack))
        if not stopped.is_run_under_way:
            break
    return stopped


def _models(stack: Stack, stopped: Stopped) -> list[Lifecycle]:
    """Return the models that may be on: that of the stack, and those of runs before an apply changed it."""
    named = [stack.model]
    try:
        if current := load_current_run(stack.s3, stack.final_bucket_name):
            named += current.models
    except BatchVisionError as error:
        stopped.problems.append(
            f"The model of the last run is not known ({type(error).__name__}: {error}): see in the console of its"
            " service that no other model of this stack is on."
        )
    models = []
    for model in dict.fromkeys(named):
        try:
            models.append(stack.lifecycle_of(model))
        except SettingsError as error:
            stopped.problems.append(
                f"The model of the stack cannot be stopped by this version of batch-vision ({error}). Use the version"
                " that the stack was applied with, or stop the model in the console of its service."
            )
    return models


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


def _close(
    stack: Stack,
    models: list[Lifecycle],
    bounds: Bounds,
    stopped: Stopped,
    poll_seconds: float,
    show: Callable[[str], None],
) -> None:
    def count_in_flight() -> int:
        with control_calls():
            return count_messages(stack.sqs, stack.queue_url)["in_flight"]

    mapping = EventSourceMapping(stack.functions, stack.event_source_mapping_uuid)
    answer: dict[str, Any] | None = None
    while answer is None or not answer["is_closed"]:
        if answer:
            show(_now(answer))
            time.sleep(poll_seconds)
        try:
            answer = close(mapping, models, count_in_flight, answer, bounds, utc_now())
        except MappingNotDisabledError:  # the models are stopped
            stopped.mapping_state, stopped.is_model_stopped = mapping.state(), bool(models)
            return
        stopped.mapping_state, stopped.model_status = answer["mapping_state"], answer["model_status"] or "unknown"
        stopped.is_model_stopped = bool(models) and answer["stopped_at"] is not None


def _now(answer: dict[str, Any]) -> str:
    in_flight = f", {answer['in_flight']} messages in flight" if answer["in_flight"] else ""
    return f"mapping {answer['mapping_state']}, model {answer['model_status']}{in_flight}"
