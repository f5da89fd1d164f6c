"""How a stack is: everything that an operator looks at first, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.aws.queues import count_messages
from batch_vision.backends.contracts import ModelState
from batch_vision.core.errors import BatchVisionError
from batch_vision.operator import runs, stuck
from batch_vision.operator.backlog import Waiting, count_waiting

if TYPE_CHECKING:
    from batch_vision.backends.contracts import ModelStatus
    from batch_vision.operator.runs import Run
    from batch_vision.operator.stack import Stack

# In these it costs money, or may do so soon.
ON = (ModelState.STARTING, ModelState.RUNNING, ModelState.UNKNOWN)
_MOST_CAUSES = 3
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
    stuck
        Why images were given up, the commonest cause first.
    runs
        The latest executions, newest first.
    """

    stack: Stack
    model: ModelStatus | BatchVisionError
    model_id: str
    mapping_state: str
    schedule_expression: str
    is_schedule_enabled: bool
    messages: dict[str, int]
    dead_letters: int
    waiting: Waiting
    stuck: list[stuck.Cause]
    runs: list[Run]
    running: list[str]

    def problems(self) -> list[Problem]:
        """List what is wrong, the most expensive first."""
        found = [*self._left_on(), *self._model_problems()]
        if self.waiting.stuck:
            found.append(self._stuck_problem())
        if self.dead_letters:
            name = self.stack.analyze_images_function_name
            found.append(
                Problem(
                    f"dead letters: {self.dead_letters} message{'' if self.dead_letters == 1 else 's'} failed"
                    " max_receive_count times",
                    f"See what failed (aws logs tail /aws/lambda/{name} --since 1d --filter-pattern WARNING), mend it,"
                    " then: batch-vision retry",
                )
            )
        ended = next((run for run in self.runs if run.outcome not in ("running", "another_run")), None)
        if not self.running and ended and (remedy := ended.remedy(self.stack)):
            said = f" ({ended.error['type']}: {ended.error['message']})" if ended.error else ""
            found.append(Problem(f"the last run, {ended.id}, {ended.outcome.replace('_', ' ')}{said}", remedy))
        return found

    def _stuck_problem(self) -> Problem:
        counts = ", ".join(f"{cause.type} {cause.images}" for cause in self.stuck[:_MOST_CAUSES])
        remedies = dict.fromkeys(cause.remedy for cause in self.stuck[:_MOST_CAUSES] if cause.remedy)
        return Problem(
            f"stuck: {self.waiting.stuck:,} image{'' if self.waiting.stuck == 1 else 's'} given up ({counts or '?'})",
            " ".join([*remedies, "Then: batch-vision retry"]),
        )

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
                    "See that the model exists in the stack's Region, that you may describe it, and that this tool is"
                    " as new as the stack.",
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
        """Return it as ``--json`` shows it."""
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
            "model": {"backend": self.stack.model.backend, "id": self.model_id, **model},
            "mapping": {"uuid": self.stack.event_source_mapping_uuid, "state": self.mapping_state},
            "schedule": {
                "rule": self.stack.schedule_rule_name,
                "expression": self.schedule_expression,
                "is_enabled": self.is_schedule_enabled,
            },
            "messages": self.messages,
            "dead_letters": self.dead_letters,
            "waiting": {"images": self.waiting.images, "is_at_least": self.waiting.is_at_least},
            "stuck": {"images": self.waiting.stuck, "causes": [asdict(cause) for cause in self.stuck]},
            "runs": [run.to_json() for run in self.runs],
            "problems": [{"problem": found.problem, "remedy": found.remedy} for found in self.problems()],
        }


def look(stack: Stack, number_of_runs: int) -> Status:
    """Look at everything once; it changes nothing."""
    model: ModelStatus | BatchVisionError
    model_id = ""
    try:
        model_id = stack.lifecycle.model_id
        model = stack.lifecycle.describe()
    except BatchVisionError as error:
        model = error  # the rest is worth seeing all the same
    rule = stack.events.describe_rule(Name=stack.schedule_rule_name)
    dead = count_messages(stack.sqs, stack.dead_letter_queue_url)
    waiting = count_waiting(stack)
    return Status(
        stack=stack,
        model=model,
        model_id=model_id,
        mapping_state=stack.functions.get_event_source_mapping(UUID=stack.event_source_mapping_uuid)["State"],
        schedule_expression=rule.get("ScheduleExpression", ""),
        is_schedule_enabled=rule.get("State") == "ENABLED",
        messages=count_messages(stack.sqs, stack.queue_url),
        dead_letters=sum(dead.values()),
        waiting=waiting,
        stuck=stuck.causes(stack) if waiting.stuck else [],
        runs=runs.latest(stack, number_of_runs),
        running=runs.running(stack),
    )
