"""A run in virtual time: the deployed workflow, walked against a model, a queue and a bucket that are numbers.

What is real: ``state_machine.asl.json`` (`asl` walks it), the defaults of ``variables.tf``, and the
functions that decide (`deferred_because`, `ensure_running`, `ensure_enabled`, `assess`, `close`). What is a model:

- Images are a fluid. They are analyzed at inference units x throughput of a unit x the share of it that is really
  used, but no faster than the concurrent invocations can, and only while the mapping is enabled and the model runs.
- The model runs ``start_seconds`` after it is asked to, and has stopped ``stop_seconds`` after that.
- Every task of the workflow takes ``task_seconds``. The counts of the queue are exact, ``count_lag_seconds`` late.
- Nothing fails. A bound that Terraform computes from variables is never reached, and counts as endless.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from batch_vision.backends.contracts import Lifecycle, ModelState, ModelStatus
from batch_vision.core import errors
from batch_vision.core.capacity import CapacitySettings
from batch_vision.core.settings import read_settings
from batch_vision.core.times import from_text
from batch_vision.operator import prices
from batch_vision.operator.cost import (
    S3_WRITES_PER_BATCH,
    S3_WRITES_PER_IMAGE,
    SQS_REQUESTS_PER_BATCH,
    SQS_REQUESTS_PER_IMAGE,
)
from batch_vision.runs.backlog import Drain, Waiting, assess, deferred_because, first_answer, is_to_look_at_model
from batch_vision.runs.closing import Bounds, close
from batch_vision.runs.enabling import ensure_enabled
from batch_vision.runs.settings import CheckBacklogSettings
from batch_vision.runs.start import ensure_running
from benchmarks.asl import Execution, WorkflowFailed
from local.config import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch_vision.aws.mappings import EventSourceMapping

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_ENDLESS = 10**9
_LIST_LIMIT = 1000  # objects that the check counts at the most
_VARIABLE = re.compile(r'^variable "(\w+)" \{$(.*?)^\}$', re.DOTALL | re.MULTILINE)
_DEFAULT = re.compile(r'^  default\s*=\s*(?:"([^"\n]*)"|(-?[0-9.]+|true|false|null))$', re.MULTILINE)
_ATTRIBUTE = re.compile(r"^    (\w+)\s*= optional\(\w+, (-?[0-9.]+|true|false)\)$", re.MULTILINE)
# What nobody sets: those in locals.tf, and the price in the entry of a backend.
_FIXED = re.compile(r"^  (?:    )?(\w+)\s*= ([0-9.]+)$", re.MULTILINE)


class SimulationError(Exception):
    """The workflow does something that the simulation does not know."""


@cache
def terraform_defaults() -> dict[str, Any]:
    """Read the numbers, texts and truth values that the module goes by where nobody sets them.

    Those of variables, of the attributes of variables by their own names, and of what has no variable.
    """
    module = REPOSITORY / "terraform"
    fixed = (module / "locals.tf").read_text() + (module / "backends.tf").read_text()
    found: dict[str, Any] = {name: json.loads(number) for name, number in _FIXED.findall(fixed)}
    for name, block in _VARIABLE.findall((module / "variables.tf").read_text()):
        found |= {attribute: json.loads(default) for attribute, default in _ATTRIBUTE.findall(block)}
        if default := _DEFAULT.search(block):
            found[name] = json.loads(default[2]) if default[2] else default[1]
    return found


def _default(name: str) -> float:
    return float(terraform_defaults()[name])


def _rendered(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the workflow's placeholders as Terraform does; a computed bound is endless, all else its own name."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in variables:
            return str(variables[name])
        return str(_ENDLESS) if name.endswith(("_seconds", "_checks")) else name

    text = re.sub(r"\$\{(\w+)\}", value, (REPOSITORY / "state_machine.asl.json").read_text())
    workflow: dict[str, Any] = json.loads(re.sub(r'"([0-9]+)"', r"\1", text))
    return workflow


def function_environment(variables: Mapping[str, Any], **given: str) -> dict[str, str]:
    """Return the environment of functions: each variable under its name in capitals, and what is given besides."""
    # A truth value as Terraform writes it.
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in variables.items()}
    environment = {name.upper(): "" if variables[name] is None else text for name, text in texts.items()}
    names = {
        "SOURCE_BUCKET_NAME": "source",
        "SOURCE_PREFIXES": '[""]',
        "FINAL_BUCKET_NAME": "final",
        "BACKEND_SETTINGS": "{}",
        "QUEUE_URL": "queue",
    }
    told = environment | names | given
    # As Terraform computes it; a test compares them.
    per_second = float(told["IMAGES_PER_SECOND_PER_UNIT"])
    pace = {"calls_per_second": per_second / 2, "most_calls_per_second": per_second * 4}
    return {"PACES": json.dumps({told["BACKEND"]: pace})} | told


@dataclass(frozen=True, slots=True)
class World:
    """What the workflow meets.

    Attributes
    ----------
    start_seconds, stop_seconds
        Of the service. AWS says that a start takes 10 to 30 minutes, and nothing about a stop.
    images_per_second_per_unit
        Throughput of one inference unit; it depends on the model. As the module supposes it, unless it is given.
    throughput_used
        The share of the allowed throughput that the analyzing function really uses (`make bench` measures it).
    image_seconds
        From when Lambda takes an image's message until the image has its place, unthrottled. As the module supposes it,
        unless it is given.
    mapping_seconds
        How long the mapping is Enabling or Disabling.
    task_seconds
        A task of the workflow, on average.
    inference_units
        To start with, instead of what the workflow chooses; None leaves it to that.
    most_invocations
        Of the analyzing function at the same time, where the service has fewer than the workflow asks for.
    count_lag_seconds
        For how long the queue counts messages as in flight that are done.
    """

    start_seconds: float = 900.0
    stop_seconds: float = 60.0
    images_per_second_per_unit: float = field(default_factory=lambda: _default("images_per_second_per_unit"))
    throughput_used: float = 1.0
    image_seconds: float = field(default_factory=lambda: _default("image_latency_seconds"))
    mapping_seconds: float = 5.0
    task_seconds: float = 0.3
    inference_units: int | None = None
    most_invocations: int | None = None
    count_lag_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """Images that are uploaded at a time, in seconds from the begin."""

    at_seconds: float
    images: int


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """What one execution did; seconds unless the name says otherwise.

    Attributes
    ----------
    outcome
        ``succeeded``, or the name of the error that it ended with.
    starting_seconds, running_seconds, stopping_seconds
        How long the model was in each state. Billed are the last two, and nobody knows about the first.
    history_events, transitions
        Of the execution: Step Functions ends one at 25,000 events, and bills transitions.
    invocation_seconds
        Of the analyzing function, all invocations together.
    """

    outcome: str
    started_at_seconds: float
    duration_seconds: float
    images: int
    inference_units: int
    starting_seconds: float
    running_seconds: float
    stopping_seconds: float
    history_events: int
    transitions: int
    control_invocations: int
    invocation_seconds: float
    entered: Mapping[str, int] = field(repr=False)

    @property
    def model_on_seconds(self) -> float:
        """From the request to start until the service has stopped it."""
        return self.starting_seconds + self.running_seconds + self.stopping_seconds

    @property
    def billed_unit_seconds(self) -> float:
        """Without the start."""
        return (self.running_seconds + self.stopping_seconds) * self.inference_units

    @property
    def start_unit_seconds(self) -> float:
        """What the start adds where it is billed."""
        return self.starting_seconds * self.inference_units


class _Model(Lifecycle):
    """A model whose life is a list of times."""

    name = "rekognition_custom_labels"
    model_id = "simulated"

    def __init__(self, clock: _Clock, world: World) -> None:
        self._clock = clock
        self._world = world
        self.units = 0
        self.asked_at = self.stop_asked_at = -math.inf
        self.is_on = False

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> _Model:
        raise NotImplementedError

    @property
    def runs_at(self) -> float:
        return self.asked_at + self._world.start_seconds

    @property
    def stopped_at(self) -> float:
        return self.stop_asked_at + self._world.stop_seconds

    def state(self) -> ModelState:
        if not self.is_on:
            return ModelState.STOPPED
        if self.stop_asked_at >= self.asked_at:
            return ModelState.STOPPED if self._clock.now >= self.stopped_at else ModelState.STOPPING
        return ModelState.RUNNING if self._clock.now >= self.runs_at else ModelState.STARTING

    def describe(self) -> ModelStatus:
        state = self.state()
        return ModelStatus(state, state.upper(), inference_units=self.units or None)

    def start(self, inference_units: int) -> None:
        self.units = self._world.inference_units or inference_units
        self.asked_at, self.is_on = self._clock.now, True

    def stop(self) -> None:
        if self.state() is not ModelState.RUNNING:
            raise errors.ModelBusyError("It is not running.")
        self.stop_asked_at = self._clock.now


class _Mapping:
    """A mapping whose state follows a request after a while; it refuses others meanwhile, as Lambda does."""

    uuid = "simulated"

    def __init__(self, clock: _Clock, world: World, concurrency: int) -> None:
        self._clock = clock
        self._world = world
        self._wanted, self.changed_at = "Disabled", -math.inf
        self.concurrency = concurrency

    def state(self) -> str:
        if self._clock.now < self.changed_at + self._world.mapping_seconds:
            return "Enabling" if self._wanted == "Enabled" else "Disabling"
        return self._wanted

    def enable(self, max_concurrency: int) -> None:
        self._change("Enabled")
        self.concurrency = max_concurrency

    def disable(self) -> None:
        self._change("Disabled")

    def _change(self, wanted: str) -> None:
        if self.state() not in ("Enabled", "Disabled"):
            raise errors.MappingBusyError("It is in transition.")
        self._wanted, self.changed_at = wanted, self._clock.now


@dataclass
class _Clock:
    now: float = 0.0

    def moment(self) -> datetime:
        return _BEGIN + timedelta(seconds=self.now)


class Simulation:
    """A deployment in virtual time; runs follow one another.

    Parameters
    ----------
    arrivals
        When images are uploaded, oldest first.
    variables
        Variables of the module that are not at their default.
    """

    def __init__(self, arrivals: Sequence[Arrival], world: World | None = None, **variables: Any) -> None:
        unknown = sorted(set(variables) - set(terraform_defaults()))
        if unknown:
            raise SimulationError(f"The module has no variable {unknown[0]} with a default that is one value.")
        self._world = world or World()
        self._variables = terraform_defaults() | variables
        self._workflow = _rendered(self._variables)
        environment = function_environment(self._variables)
        self._check_settings = read_settings(CheckBacklogSettings, environment)
        self._capacity = read_settings(CapacitySettings, environment)
        self._arrivals = list(arrivals)
        self._clock = _Clock()
        self._model = _Model(self._clock, self._world)
        self._mapping = _Mapping(self._clock, self._world, int(self._variables["max_concurrency"]))
        self._arrived = 0
        self._uploads: deque[tuple[int, float]] = deque()  # how many had arrived with it, and when
        self._done = 0.0
        self._finished_at = -math.inf
        self._invocation_seconds = 0.0
        self._invocations: Counter[str] = Counter()

    @property
    def now_seconds(self) -> float:
        """The virtual time."""
        return self._clock.now

    @property
    def waiting(self) -> int:
        """Images in the source bucket."""
        return max(0, math.ceil(self._arrived - self._done - 1e-6))

    def advance(self, seconds: float) -> None:
        """Let time pass: images arrive and are analyzed."""
        end = self._clock.now + seconds
        while self._arrivals and self._arrivals[0].at_seconds <= end:
            arrival = self._arrivals.pop(0)
            self._analyze_until(max(self._clock.now, arrival.at_seconds))
            self._arrived += arrival.images
            self._uploads.append((self._arrived, arrival.at_seconds))
        self._analyze_until(end)

    def run(self) -> SimulatedRun:
        """Let one execution start now, and run to its end."""
        self.advance(0)
        began, done_before = self._clock.now, self._done
        invocation_seconds, self._invocations = self._invocation_seconds, Counter()
        self._model.is_on = False
        execution = Execution(self._workflow, self._perform, self.advance, self._context)
        outcome = "succeeded"
        try:
            execution.run()
        except WorkflowFailed as failed:
            outcome = failed.error
        model = self._model
        return SimulatedRun(
            outcome=outcome,
            started_at_seconds=began,
            duration_seconds=self._clock.now - began,
            images=round(self._done - done_before),
            inference_units=model.units if model.is_on else 0,
            starting_seconds=self._world.start_seconds if model.is_on else 0.0,
            running_seconds=model.stop_asked_at - model.runs_at if model.is_on else 0.0,
            stopping_seconds=self._world.stop_seconds if model.is_on else 0.0,
            history_events=execution.events,
            transitions=execution.entered.total(),
            control_invocations=self._invocations.total(),
            invocation_seconds=self._invocation_seconds - invocation_seconds,
            entered=dict(execution.entered),
        )

    def run_until_empty(self, schedule_seconds: float, most_runs: int = 1000) -> list[SimulatedRun]:
        """Let the schedule tick until no image waits or is yet to come; ticks in the middle of a run do nothing."""
        runs: list[SimulatedRun] = []
        while (self._arrivals or self.waiting) and len(runs) < most_runs:
            runs.append(self.run())
            if self._arrivals or self.waiting:
                ticks = math.floor(self._clock.now / schedule_seconds) + 1
                self.advance(ticks * schedule_seconds - self._clock.now)
        return runs

    # The world.

    def images_per_second(self) -> float:
        """Return how fast images are analyzed while the model runs and the mapping is enabled."""
        world = self._world
        allowed = self._model.units * world.images_per_second_per_unit * world.throughput_used
        invocations = min(self._mapping.concurrency, world.most_invocations or self._mapping.concurrency)
        return min(
            allowed,
            float(self._variables["account_images_per_second"]),
            invocations * float(self._variables["batch_size"]) / world.image_seconds,
        )

    def _analyze_until(self, end: float) -> None:
        begin = self._clock.now
        is_taking = self._mapping.state() in ("Enabled", "Enabling")
        if is_taking and self._model.state() is ModelState.RUNNING and end > begin:
            ready = max(begin, self._mapping.changed_at + self._world.mapping_seconds + self._world.image_seconds)
            waiting, rate = self._arrived - self._done, self.images_per_second()
            busy = min(max(0.0, end - ready), waiting / rate)
            if busy > 0:
                self._done += busy * rate
                self._finished_at = ready + busy
                batches = math.ceil(waiting / self._variables["batch_size"])
                self._invocation_seconds += busy * min(self._mapping.concurrency, batches)
                if self._arrived - self._done < 1e-6:
                    self._done = float(self._arrived)
        self._clock.now = max(begin, end)

    def _messages(self) -> dict[str, int]:
        is_enabled = self._mapping.state() == "Enabled"
        in_flight = self._mapping.concurrency * int(self._variables["batch_size"]) if is_enabled else 0
        in_flight = min(in_flight, self.waiting)
        if self._clock.now < self._finished_at + self._world.count_lag_seconds:
            in_flight = max(1, in_flight)
        return {"visible": max(0, self.waiting - in_flight), "in_flight": in_flight, "delayed": 0}

    # The tasks.

    def _context(self) -> dict[str, Any]:
        now = self._clock.moment().isoformat().replace("+00:00", "Z")
        return {
            # As the schedule starts one.
            "Execution": {"Id": "execution", "Name": "run", "StartTime": now, "Input": {"source": "aws.events"}},
            "StateMachine": {"Id": "state-machine"},
            "State": {"EnteredTime": now},
        }

    def _perform(self, resource: str, given: dict[str, Any]) -> Any:
        self.advance(self._world.task_seconds)
        if resource.endswith(":::aws-sdk:sfn:listExecutions"):
            return {"Executions": [{"ExecutionArn": "execution"}]}
        name = resource.removesuffix("_function_arn")
        if name == resource:
            raise SimulationError(f"The workflow calls {resource}, which the simulation does not know.")
        self._invocations[name] += 1
        return json.loads(json.dumps(getattr(self, f"_{name}")(given)))

    def _check_backlog(self, event: Mapping[str, Any]) -> dict[str, Any]:
        counted, previous = min(self.waiting, _LIST_LIMIT), event.get("previous")
        drain = Drain.from_event(event)
        finished_at = _BEGIN + timedelta(seconds=max(0.0, self._finished_at))
        moved = previous is not None and finished_at > from_text(previous["checked_at"])
        waiting = Waiting(counted, counted, self._oldest_at())
        answer = assess(
            waiting,
            self._messages(),
            previous,
            self._clock.moment(),
            is_moving=moved,
            is_requeued=event.get("is_requeued", False),
            model=self._model.describe() if is_to_look_at_model(waiting, previous, is_moving=moved) else None,
            drain=drain,
        )
        if drain is None:
            answer = first_answer(answer, deferred_because(waiting, self._check_settings, self._clock.moment()))
        return answer

    def _oldest_at(self) -> datetime | None:
        while self._uploads and self._uploads[0][0] <= self._done + 1e-6:
            self._uploads.popleft()
        return _BEGIN + timedelta(seconds=self._uploads[0][1]) if self._uploads else None

    def _start_model(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return ensure_running(
            self._model,
            self._capacity,
            event["backlog_images"],
            event["previous"],
            event["timeout_seconds"],
            self._clock.moment(),
            event["poll_seconds"],
        )

    def _enable_mapping(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return ensure_enabled(
            cast("EventSourceMapping", self._mapping),
            event["max_concurrency"],
            event["previous"],
            event["timeout_seconds"],
            event["poll_seconds"],
            self._clock.moment(),
        )

    def _close_run(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return close(
            cast("EventSourceMapping", self._mapping),
            [self._model],
            lambda: self._messages()["in_flight"],
            event["previous"] if event["previous"]["requested_at"] else None,
            Bounds.from_event(event),
            self._clock.moment(),
        )

    def _requeue_images(self, _event: Mapping[str, Any]) -> dict[str, Any]:
        raise SimulationError("No event is lost here, so nothing is put back on the queue.")

    def _summarize_run(self, event: Mapping[str, Any]) -> dict[str, Any]:
        error = event["error"]
        told = error and {"type": error["Error"], "message": error["Cause"]}
        return {"summary": {"outcome": "failed" if error else "succeeded", "error": told}}

    def _compact_catalog(self, _event: Mapping[str, Any]) -> dict[str, Any]:
        return {"is_done": True}


@dataclass(frozen=True, slots=True)
class Bill:
    """The cost of some runs in dollars; the model without its starts, and what these add if they are billed."""

    model: float
    starts: float
    step_functions: float
    functions: float
    storage: float
    queue: float

    @property
    def others(self) -> float:
        """All but the model."""
        return self.step_functions + self.functions + self.storage + self.queue


_LISTS_PER_CHECK = 2


def bill(runs: Sequence[SimulatedRun], **variables: Any) -> Bill:
    """Add up what runs cost, with the variables of the module that they were simulated with."""
    chosen = terraform_defaults() | variables
    images = sum(run.images for run in runs)
    batches = math.ceil(images / chosen["batch_size"])
    control = sum(run.control_invocations for run in runs)
    gb_seconds = sum(run.invocation_seconds for run in runs) * chosen["analyze_memory_mb"] / 1024
    gb_seconds += control * World().task_seconds * chosen["control_memory_mb"] / 1024
    writes = images * S3_WRITES_PER_IMAGE + batches * S3_WRITES_PER_BATCH + control * _LISTS_PER_CHECK
    return Bill(
        model=prices.model_dollars(sum(run.billed_unit_seconds for run in runs)),
        starts=prices.model_dollars(sum(run.start_unit_seconds for run in runs)),
        step_functions=sum(run.transitions for run in runs) * prices.STATE_TRANSITION_DOLLARS,
        functions=(batches + control) * prices.LAMBDA_REQUEST_DOLLARS + gb_seconds * prices.LAMBDA_GB_SECOND_DOLLARS,
        storage=writes * prices.S3_WRITE_DOLLARS + batches * prices.S3_READ_DOLLARS,
        queue=(images * SQS_REQUESTS_PER_IMAGE + batches * SQS_REQUESTS_PER_BATCH) * prices.SQS_REQUEST_DOLLARS,
    )


def ideal_seconds(images: int, world: World, inference_units: int = 1) -> float:
    """Return the least that the model can be on: its start, its stop, and the work at full throughput."""
    work = images / (world.images_per_second_per_unit * inference_units)
    return world.start_seconds + world.stop_seconds + work


def public_sample(images: int, world: World, inference_units: int = 1) -> SimulatedRun:
    """Return what the policy of AWS's public batch sample does with a batch, as read from its workflow.

    The start is looked at every 900 s; then the model is held in steps of 3,540 s for as long as messages are
    visible; images are analyzed one at a time.
    """
    rate = min(1 / SAMPLE_IMAGE_SECONDS, inference_units * world.images_per_second_per_unit)
    looks = math.ceil(world.start_seconds / _SAMPLE_START_SECONDS)
    steps = max(1, math.ceil(images / rate / _SAMPLE_HOLD_SECONDS))
    running = looks * _SAMPLE_START_SECONDS - world.start_seconds + steps * _SAMPLE_HOLD_SECONDS
    return SimulatedRun(
        outcome="succeeded",
        started_at_seconds=0.0,
        duration_seconds=world.start_seconds + running + world.stop_seconds,
        images=images,
        inference_units=inference_units,
        starting_seconds=world.start_seconds,
        running_seconds=running,
        stopping_seconds=world.stop_seconds,
        history_events=0,
        transitions=3 * (looks + steps) + 6,
        control_invocations=looks + steps + 3,
        invocation_seconds=images * SAMPLE_IMAGE_SECONDS,
        entered={},
    )


# In its favour: the module supposes twice as much for its own.
SAMPLE_IMAGE_SECONDS = 0.5
_SAMPLE_START_SECONDS = 900
_SAMPLE_HOLD_SECONDS = 3540


def one_batch(images: int, world: World | None = None, **variables: Any) -> SimulatedRun:
    """Simulate one run that finds a batch waiting."""
    return Simulation([Arrival(0, images)], world, **variables).run()


def with_units(world: World, inference_units: int) -> World:
    """Return the same world with a fixed number of inference units."""
    return replace(world, inference_units=inference_units)
