"""How a stack is: everything that an operator looks at first, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.backends.base import ModelState
from batch_vision.core.errors import BatchVisionError
from batch_vision.operator import runs
from batch_vision.operator.backlog import Waiting, count_messages, count_waiting

if TYPE_CHECKING:
    from batch_vision.backends.base import ModelStatus
    from batch_vision.operator.runs import Run
    from batch_vision.operator.stack import Stack

# In these it costs money, or may do so soon.
ON = (ModelState.STARTING, ModelState.RUNNING, ModelState.UNKNOWN)
_USELESS = (ModelState.NOT_TRAINED, ModelState.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be, and what to do about it."""

    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Status:
    """What was found.

    Attributes
    ----------
    model
        The model's state, or the error of asking for it.
    runs
        The latest executions, newest first.
    """

    stack: Stack
    model: ModelStatus | BatchVisionError
    mapping_state: str
    schedule_expression: str
    is_schedule_enabled: bool
    messages: dict[str, int]
    dead_letters: int
    waiting: Waiting
    runs: list[Run]
    running: list[str]

    def problems(self) -> list[Problem]:
        """List what is wrong, the most expensive first."""
        found = [*self._left_on(), *self._model_problems()]
        if self.dead_letters:
            name = self.stack.analyze_images_function_name
            found.append(
                Problem(
                    f"dead letters: {self.dead_letters} in the dead-letter queue; their images were tried too often",
                    f"See what failed (aws logs tail /aws/lambda/{name} --since 1d --filter-pattern WARNING), mend it,"
                    " then: batch-vision retry",
                )
            )
        ended = next((run for run in self.runs if run.outcome not in ("running", "another_run")), None)
        if not self.running and ended and (remedy := ended.remedy(self.stack)):
            said = f" ({ended.error['type']}: {ended.error['message']})" if ended.error else ""
            found.append(Problem(f"the last run, {ended.id}, {ended.outcome.replace('_', ' ')}{said}", remedy))
        return found

    def _left_on(self) -> list[Problem]:
        if self.running:
            return []
        found = []
        if not isinstance(self.model, BatchVisionError) and self.model.state in ON:
            word = self.model.service_status or "in an unknown state"
            found.append(Problem(f"the model is {word}, and no run is under way", "Stop it: batch-vision stop"))
        if self.mapping_state != "Disabled":
            found.append(
                Problem(
                    f"the event source mapping is {self.mapping_state}, and no run is under way",
                    "If it is not Disabled a minute from now: batch-vision stop",
                )
            )
        return found

    def _model_problems(self) -> list[Problem]:
        if isinstance(self.model, BatchVisionError):
            return [
                Problem(
                    f"the model's state is not known ({type(self.model).__name__}: {self.model})",
                    "See that the model exists in the stack's Region, and that you may describe it.",
                )
            ]
        said = f" ({self.model.message})" if self.model.message else ""
        if self.model.state is ModelState.FAILED:
            return [
                Problem(
                    f"the model is {self.model.service_status}{said}",
                    "The next run tries to start it. If that fails too, look at it in the console of its service.",
                )
            ]
        if self.model.state in _USELESS:
            return [
                Problem(
                    f"the model is {self.model.service_status}{said}: it cannot be started",
                    "Train it, or put another model into your tfvars and apply.",
                )
            ]
        return []

    def to_json(self) -> dict[str, Any]:
        """Give it as ``--json`` shows it."""
        if isinstance(self.model, BatchVisionError):
            model: dict[str, Any] = {"error": {"type": type(self.model).__name__, "message": str(self.model)}}
        else:
            model = {
                "state": str(self.model.state),
                "service_status": self.model.service_status,
                "message": self.model.message,
                "inference_units": self.model.inference_units,
            }
        return {
            "stack": {"name": self.stack.name, "account_id": self.stack.account_id, "region": self.stack.region},
            "model": {"backend": self.stack.settings.backend, "id": self.stack.backend.model_id, **model},
            "mapping": {"uuid": self.stack.event_source_mapping_uuid, "state": self.mapping_state},
            "schedule": {
                "rule": self.stack.schedule_rule_name,
                "expression": self.schedule_expression,
                "is_enabled": self.is_schedule_enabled,
            },
            "messages": self.messages,
            "dead_letters": self.dead_letters,
            "waiting": {"images": self.waiting.images, "is_at_least": self.waiting.is_at_least},
            "runs": [run.to_json() for run in self.runs],
            "problems": [{"problem": found.problem, "remedy": found.remedy} for found in self.problems()],
        }


def look(stack: Stack, number_of_runs: int) -> Status:
    """Look at everything once; it changes nothing."""
    model: ModelStatus | BatchVisionError
    try:
        model = stack.backend.describe()
    except BatchVisionError as error:
        model = error  # the rest is worth seeing all the same
    rule = stack.events.describe_rule(Name=stack.schedule_rule_name)
    dead = count_messages(stack.sqs, stack.dead_letter_queue_url)
    return Status(
        stack=stack,
        model=model,
        mapping_state=stack.functions.get_event_source_mapping(UUID=stack.event_source_mapping_uuid)["State"],
        schedule_expression=rule.get("ScheduleExpression", ""),
        is_schedule_enabled=rule.get("State") == "ENABLED",
        messages=count_messages(stack.sqs, stack.queue_url),
        dead_letters=sum(dead.values()),
        waiting=count_waiting(stack.s3, stack.source_bucket_name, stack.settings.source_prefix),
        runs=runs.latest(stack, number_of_runs),
        running=runs.running(stack),
    )
