"""Turning everything off, and enabling the mapping: convergent steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from batch_vision.aws.mappings import EventSourceMapping
from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from batch_vision.runs import closing, enabling
from batch_vision.runs.closing import Bounds
from tests.unit.conftest import NOW, FakeBackend

S = ModelState
BOUNDS = Bounds(
    mapping_timeout_seconds=300,
    stop_timeout_seconds=3600,
    in_flight_timeout_seconds=60,
    mapping_poll_seconds=5,
    model_poll_seconds=30,
)


def refusal(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Op")


@dataclass
class FakeFunctions:
    """A mapping whose state is answered from a list: the last one stays."""

    states: list[Any] = field(default_factory=lambda: ["Disabled"])
    update_error: Exception | None = None
    updates: list[dict[str, Any]] = field(default_factory=list)

    def get_event_source_mapping(self, *, UUID: str) -> dict[str, str]:  # noqa: N803
        assert UUID == "uuid"
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, Exception):
            raise state
        return {"State": state}

    def update_event_source_mapping(self, **request: Any) -> None:
        assert request.pop("UUID") == "uuid"
        self.updates.append(request)
        if self.update_error:
            raise self.update_error


@dataclass
class Scene:
    """A mapping, a model and a queue; each step is a look at them."""

    functions: FakeFunctions = field(default_factory=FakeFunctions)
    model: FakeBackend = field(default_factory=FakeBackend)
    in_flight: list[Any] = field(default_factory=lambda: [0])
    answer: dict[str, Any] | None = None
    bounds: Bounds = BOUNDS

    def count(self) -> int:
        count = self.in_flight.pop(0) if len(self.in_flight) > 1 else self.in_flight[0]
        if isinstance(count, Exception):
            raise count
        return int(count)

    def step(self, after_seconds: float = 0) -> dict[str, Any]:
        mapping = EventSourceMapping(self.functions, "uuid")  # type: ignore[arg-type]
        now = NOW + timedelta(seconds=after_seconds)
        self.answer = closing.close(mapping, [self.model], self.count, self.answer, self.bounds, now)
        return self.answer

    @property
    def stops(self) -> int:
        return self.model.calls.count(("stop",))


def scene(mapping: list[Any], model: list[ModelState], **changes: Any) -> Scene:
    return Scene(FakeFunctions(mapping), FakeBackend(model), **changes)


def test_both_are_asked_in_the_first_step_and_both_are_waited_for() -> None:
    """The model is paid for while the mapping takes its minute."""
    running = scene(["Enabled", "Disabling", "Disabling", "Disabled"], [S.RUNNING, S.STOPPING, S.STOPPED])
    first = running.step()
    assert (running.functions.updates, running.stops) == ([{"Enabled": False}], 1)
    second, third, fourth = (running.step(seconds) for seconds in (30, 60, 90))
    assert [step["is_closed"] for step in (first, second, third, fourth)] == [False, False, False, True]
    assert (third["stopped_at"], fourth["stopped_at"]) == ("2026-11-20T08:01:00.000Z",) * 2
    assert fourth["mapping_disabled_at"] == "2026-11-20T08:01:30.000Z"
    assert {step["requested_at"] for step in (first, second, third, fourth)} == {"2026-11-20T08:00:00.000Z"}
    assert (len(running.functions.updates), running.stops) == (1, 1)


@pytest.mark.parametrize("model", [S.STOPPED, S.FAILED, S.NOT_TRAINED, S.UNAVAILABLE])
def test_what_is_off_is_closed_at_once(model: ModelState) -> None:
    off = scene(["Disabled"], [model])
    assert off.step()["is_closed"] is True
    assert (off.functions.updates, off.stops) == ([], 0)


@pytest.mark.parametrize(
    "error",
    [
        refusal("AccessDeniedException"),
        refusal("ResourceInUseException"),
        refusal("TooManyRequestsException", 429),
        refusal("ServiceException", 500),
        refusal("SomethingNewException"),
    ],
)
def test_a_mapping_that_refuses_does_not_keep_the_model_from_being_asked(error: ClientError) -> None:
    for mapping in ([error], ["Enabled"]):
        refusing = scene(mapping, [S.RUNNING])
        refusing.functions.update_error = error
        assert refusing.step()["is_closed"] is False
        assert refusing.stops == 1


@pytest.mark.parametrize(
    "error", [errors.ThrottledError("slow"), errors.ServiceUnavailableError("down"), errors.ModelError("odd")]
)
def test_a_model_that_refuses_is_asked_again_and_the_mapping_all_the_same(error: errors.BatchVisionError) -> None:
    refusing = scene(["Enabled", "Disabling", "Disabled"], [S.RUNNING])
    refusing.model.stop_error = error
    for seconds in (0, 30, 3600):
        assert refusing.step(seconds)["is_closed"] is False
    assert (refusing.functions.updates, refusing.stops) == ([{"Enabled": False}], 3)
    with pytest.raises(errors.ModelStopTimeoutError, match=rf"fake-model is still RUNNING.*{error}.*by hand"):
        refusing.step(3601)


def test_a_missing_permission_to_stop_is_named_at_once_and_the_mapping_was_asked() -> None:
    """The watchdog has another role, and takes over when the run has failed."""
    denied = scene(["Enabled"], [S.RUNNING])
    denied.model.stop_error = errors.AccessDeniedError("not authorized")
    with pytest.raises(errors.AccessDeniedError, match="not authorized"):
        denied.step()
    assert denied.functions.updates == [{"Enabled": False}]


def test_a_missing_permission_for_the_mapping_is_named_when_the_model_is_stopped() -> None:
    denied = scene(["Enabled"], [S.RUNNING, S.STOPPING, S.STOPPED])
    denied.functions.update_error = refusal("AccessDeniedException")
    assert not denied.step()["is_closed"]
    assert not denied.step(30)["is_closed"]
    with pytest.raises(errors.AccessDeniedError):
        denied.step(60)


@pytest.mark.parametrize("error", [errors.ModelBusyError("in use"), errors.ModelError("InvalidParameterException")])
def test_any_refusal_of_a_model_that_is_starting_means_not_yet(error: errors.ModelError) -> None:
    """Which of the two errors Rekognition answers is not documented."""
    part = closing.stop(FakeBackend([S.STARTING], stop_error=error))
    assert isinstance(part.error, errors.ModelBusyError)
    assert not part.is_refused_for_good
    starting = scene(["Disabled"], [S.STARTING, S.STARTING, S.RUNNING, S.STOPPED])
    starting.model.stop_error = error
    starting.step()
    starting.step(30)
    starting.model.stop_error = None
    starting.step(60)
    assert starting.step(90)["is_closed"]


def test_a_model_in_a_state_that_nobody_knows_is_not_taken_for_stopped() -> None:
    unknown = scene(["Disabled"], [S.UNKNOWN])
    assert not unknown.step()["is_closed"]
    assert unknown.stops == 1


def test_a_model_that_was_deleted_costs_nothing() -> None:
    gone = scene(["Disabled"], [S.RUNNING])

    def describe() -> Any:
        raise errors.ModelNotFoundError("no such model")

    gone.model.describe = describe  # type: ignore[method-assign]
    assert gone.step()["is_closed"]


def test_a_model_that_cannot_be_seen_is_not_off() -> None:
    unseen = scene(["Disabled"], [S.STOPPED])

    def describe() -> Any:
        raise errors.ServiceUnavailableError("no answer")

    unseen.model.describe = describe  # type: ignore[method-assign]
    assert not unseen.step()["is_closed"]
    with pytest.raises(errors.ModelStopTimeoutError, match="no answer"):
        unseen.step(3601)


def test_a_mapping_that_is_not_disabled_in_time_is_named_when_the_model_is_stopped() -> None:
    stuck = scene(["Disabling"], [S.RUNNING, S.STOPPING, S.STOPPING, S.STOPPED])
    for seconds in (0, 200, 400):
        assert not stuck.step(seconds)["is_closed"]
    with pytest.raises(errors.MappingNotDisabledError, match=r"uuid is still Disabling.*mapping_timeout_seconds = 300"):
        stuck.step(500)


def test_a_mapping_that_was_deleted_is_named_when_the_model_is_stopped() -> None:
    gone = scene([refusal("ResourceNotFoundException", 404)], [S.RUNNING, S.STOPPED])
    assert not gone.step()["is_closed"]
    assert gone.stops == 1
    with pytest.raises(errors.MappingNotFoundError, match=r"uuid.*terraform apply"):
        gone.step(30)


def test_what_is_in_flight_is_waited_for_as_long_as_a_batch_can_live() -> None:
    busy = scene(["Disabled"], [S.STOPPED], in_flight=[3, errors.ThrottledError("slow"), 3, 0])
    assert [busy.step(seconds)["is_closed"] for seconds in (0, 20, 40, 60)] == [False, False, False, True]
    failed = scene(["Disabled"], [S.STOPPED], in_flight=[3])
    assert [failed.step(seconds)["is_closed"] for seconds in (0, 60, 61)] == [False, False, True]


def test_looks_are_as_far_apart_as_what_is_waited_for() -> None:
    slow = scene(["Enabled", "Disabling", "Disabled"], [S.RUNNING, *[S.STOPPING] * 3, S.STOPPED])
    slow.in_flight = [1, 0]
    waits = [slow.step(seconds)["wait_seconds"] for seconds in (0, 5, 10, 40, 70)]
    assert waits == [5, 5, 30, 30, 5]
    late = scene(["Disabling"], [S.STOPPING])
    assert [late.step(seconds)["wait_seconds"] for seconds in (0, 300, 301)] == [5, 5, 30]


def test_a_look_alone_asks_for_nothing() -> None:
    running = scene(["Enabled"], [S.RUNNING])
    mapping = EventSourceMapping(running.functions, "uuid")  # type: ignore[arg-type]
    look = closing.ask(mapping, [running.model], only_look=True)
    assert (look.mapping.state, look.models[0].state, look.are_models_off) == ("Enabled", "RUNNING", False)
    assert (running.functions.updates, running.stops) == ([], 0)


# Enabling.


def enable(
    functions: FakeFunctions, previous: dict[str, Any] | None = None, after_seconds: float = 0
) -> dict[str, Any]:
    mapping = EventSourceMapping(functions, "uuid")  # type: ignore[arg-type]
    return enabling.ensure_enabled(mapping, 4, previous, 300, 5, NOW + timedelta(seconds=after_seconds))


def test_a_mapping_is_asked_while_it_is_disabled_and_waited_for_otherwise() -> None:
    functions = FakeFunctions(["Disabling", "Disabled", "Enabling", "Enabled"])
    answer = None
    for seconds in (0, 5, 10, 15):
        answer = enable(functions, answer, seconds)
    assert answer
    assert answer["is_enabled"]
    assert functions.updates == [{"Enabled": True, "ScalingConfig": {"MaximumConcurrency": 4}}]


def test_a_mapping_that_changes_meanwhile_is_asked_again() -> None:
    functions = FakeFunctions(["Disabled"], update_error=refusal("ResourceInUseException"))
    first = enable(functions)
    enable(functions, first, 5)
    assert len(functions.updates) == 2


def test_a_mapping_that_is_not_enabled_in_time_is_named() -> None:
    functions = FakeFunctions(["Enabling"])
    first = enable(functions)
    with pytest.raises(errors.MappingNotEnabledError, match=r"uuid is still Enabling.*mapping_timeout_seconds = 300"):
        enable(functions, first, 301)


def test_a_mapping_that_was_enabled_before_has_its_time_anew() -> None:
    """After a model was started again in mid-run."""
    first = enable(FakeFunctions(["Enabled"]))
    again = enable(FakeFunctions(["Disabled"]), first, 2000)
    assert again["requested_at"] == "2026-11-20T08:33:20.000Z"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (refusal("ResourceNotFoundException", 404), errors.MappingNotFoundError),
        (refusal("AccessDeniedException", 403), errors.AccessDeniedError),
        (refusal("TooManyRequestsException", 429), errors.ThrottledError),
    ],
)
def test_errors_of_lambda_have_names_of_ours(error: ClientError, name: type[Exception]) -> None:
    with pytest.raises(name):
        enable(FakeFunctions([error]))


def test_the_errors_are_those_that_lambda_has() -> None:
    client = boto3.client("lambda", region_name="us-east-1")
    shapes = client.meta.service_model.operation_model("UpdateEventSourceMapping").error_shapes
    known = {shape.name for shape in shapes}
    assert {
        "ResourceConflictException",
        "ResourceInUseException",
        "ResourceNotFoundException",
        "TooManyRequestsException",
    } <= known


def test_bounds_are_read_from_what_the_workflow_hands_over() -> None:
    event = {name: getattr(BOUNDS, name) for name in Bounds.__slots__} | {"run": {}}
    assert Bounds.from_event(event) == replace(BOUNDS)
