"""The contract `Lifecycle`, held by every backend that has it, against the emulator of its service."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from batch_vision.runs import closing
from local.emulator.models import MODELS
from tests.contract.cases import CASES, Case
from tests.contract.world import World, encoded_like_a_sample, for_each


@pytest.fixture(params=[name for name, case in CASES.items() if case.lifecycle])
def world(request: pytest.FixtureRequest, make_world: Callable[[str], World]) -> World:
    return make_world(request.param)


def test_life_of_a_model(world: World) -> None:
    def state() -> ModelState:
        return world.lifecycle.describe().state

    assert state() is ModelState.STOPPED
    world.emulator.set(start_seconds=600, stop_seconds=600)
    world.lifecycle.start(2)
    assert state() is ModelState.STARTING
    assert world.lifecycle.describe().inference_units == 2
    world.emulator.set(start_seconds=0)
    assert state() is ModelState.RUNNING
    assert world.lifecycle.describe().inference_units == 2
    world.lifecycle.stop()
    assert state() is ModelState.STOPPING
    world.emulator.set(stop_seconds=0)
    assert state() is ModelState.STOPPED
    assert (world.counted()["starts"], world.counted()["stops"]) == (1, 1)


def test_local_running_knows_in_which_statuses_a_model_costs_nothing(world: World) -> None:
    world.emulator.set(start_seconds=600, stop_seconds=600)
    reached = {world.counted()["status"]}
    world.lifecycle.start(1)
    assert world.counted()["status"] not in MODELS[world.name].off_statuses
    world.emulator.set(start_seconds=0)
    assert world.counted()["status"] not in MODELS[world.name].off_statuses
    world.lifecycle.stop()
    assert world.counted()["status"] not in MODELS[world.name].off_statuses
    world.emulator.set(stop_seconds=0)
    reached.add(world.counted()["status"])
    world.emulator.inject(world.hosting.start, world.hosting.failed_start)
    world.lifecycle.start(1)
    reached.add(world.counted()["status"])
    assert reached <= set(MODELS[world.name].off_statuses)


def test_every_status_of_the_service_has_a_state(world: World) -> None:
    for status, state in world.hosting.states.items():
        world.emulator.set(start_seconds=600, stop_seconds=600)
        world.emulator.force_status(status, MODELS[world.name].arn)
        described = world.lifecycle.describe()
        assert (described.service_status, described.state) == (status, state)


def test_a_second_start_is_refused_and_changes_nothing(world: World) -> None:
    world.emulator.set(start_seconds=600)
    world.lifecycle.start(2)
    for _ in range(2):
        with pytest.raises(errors.ModelBusyError):
            world.lifecycle.start(1)
    world.emulator.set(start_seconds=0)
    with pytest.raises(errors.ModelBusyError):
        world.lifecycle.start(1)
    assert world.counted()["starts"] == 1
    assert world.lifecycle.describe().inference_units == 2


def test_a_second_stop_is_refused_and_changes_nothing(world: World) -> None:
    world.start()
    world.emulator.set(stop_seconds=600)
    world.lifecycle.stop()
    with pytest.raises(errors.ModelBusyError):
        world.lifecycle.stop()
    world.emulator.set(stop_seconds=0)
    assert world.stop().is_off
    with pytest.raises(errors.ModelBusyError):
        world.lifecycle.stop()
    assert world.counted()["stops"] == 1


def test_a_model_that_is_starting_is_stopped_in_the_end(world: World) -> None:
    world.emulator.set(start_seconds=600)
    world.lifecycle.start(1)
    first = closing.stop(world.lifecycle)
    assert (first.is_off, first.is_asked, type(first.error)) == (False, False, errors.ModelBusyError)
    world.emulator.set(start_seconds=0)
    assert world.stop().is_off
    assert world.lifecycle.describe().state is ModelState.STOPPED


def test_steps_of_the_workflow_may_be_repeated(world: World) -> None:
    assert world.start()["inference_units"] == 3
    assert world.start()["is_running"]
    assert world.stop().is_off
    assert world.stop().is_off
    assert (world.counted()["starts"], world.counted()["stops"]) == (1, 1)


def test_a_second_cycle_really_starts_again(world: World) -> None:
    """By the same object, and by one of another invocation."""
    for cycle, lifecycle in enumerate([world.lifecycle, world.lifecycle, world.make_lifecycle()], start=1):
        world.lifecycle = lifecycle
        world.start()
        assert world.detect(encoded_like_a_sample()).raw
        world.stop()
        assert (world.counted()["starts"], world.counted()["stops"]) == (cycle, cycle)
        assert lifecycle.describe().state is ModelState.STOPPED


def test_a_start_that_fails_is_seen_and_may_be_repeated(world: World) -> None:
    world.emulator.inject(world.hosting.start, world.hosting.failed_start)
    world.lifecycle.start(1)
    assert world.lifecycle.describe().state is ModelState.FAILED
    world.lifecycle.start(1)
    assert world.lifecycle.describe().state is ModelState.RUNNING


def test_start_throttled_three_times(world: World) -> None:
    for operation in (world.hosting.describe, world.hosting.start):
        world.emulator.inject(operation, world.case.code(operation, errors.ThrottledError, "Throttling"), count=3)
    world.start()
    assert world.counted()["starts"] == 1


def test_start_while_it_is_stopping_waits_for_the_end(world: World) -> None:
    world.emulator.set(stop_seconds=600)
    world.bring(ModelState.STOPPING)
    waiting = world.step()
    assert (waiting["is_running"], world.counted()["starts"]) == (False, 0)
    world.emulator.set(stop_seconds=0)
    world.start()
    assert world.counted()["starts"] == 1


def test_start_while_it_is_stopping_for_ever_ends_at_the_deadline(world: World) -> None:
    world.emulator.set(stop_seconds=3600)
    world.bring(ModelState.STOPPING)
    with pytest.raises(errors.ModelStartTimeoutError):
        world.step(world.step(), 601)


def test_start_refused_because_another_change_is_under_way(world: World) -> None:
    world.emulator.inject(world.hosting.start, world.case.code(world.hosting.start, errors.ModelBusyError), count=2)
    world.start()
    assert world.counted()["starts"] == 1


def test_start_refused_by_a_quota(world: World) -> None:
    # Every time, because botocore takes Rekognition's LimitExceededException for throttling and tries again.
    error = world.case.code(world.hosting.start, errors.ModelQuotaError)
    world.emulator.inject(world.hosting.start, error, probability=1)
    with pytest.raises(errors.ModelQuotaError):
        world.start()


def test_start_that_fails_on_the_way_up(world: World) -> None:
    world.emulator.inject(world.hosting.start, world.hosting.failed_start)
    with pytest.raises(errors.ModelFailedError):
        world.start()


def test_start_that_never_ends(world: World) -> None:
    world.emulator.set(start_seconds=3600)
    with pytest.raises(errors.ModelStartTimeoutError):
        world.step(world.step(), 601)


def test_start_of_a_model_that_is_suddenly_unknown(world: World) -> None:
    error = world.case.code(world.hosting.describe, errors.ModelNotFoundError)
    world.emulator.inject(world.hosting.describe, error, probability=1)
    with pytest.raises(errors.ModelNotFoundError):
        world.start()


def test_start_of_a_model_that_is_still_in_training(world: World) -> None:
    if not world.hosting.status(ModelState.NOT_TRAINED):
        return  # a service that trains none
    world.bring(ModelState.NOT_TRAINED)
    with pytest.raises(errors.ModelNotTrainedError):
        world.start()


@pytest.mark.parametrize("state", [ModelState.STARTING, ModelState.RUNNING])
def test_start_that_somebody_else_made_is_taken_over(world: World, state: ModelState) -> None:
    world.bring(state)
    assert world.start()["is_running"]
    assert world.counted()["starts"] == 0


def test_start_and_stop_whose_answers_are_lost_are_done_once(world: World) -> None:
    world.emulator.set(start_seconds=600, stop_seconds=600)
    world.emulator.inject(world.hosting.start, "drop_answer")
    world.step()
    assert world.lifecycle.describe().state is ModelState.STARTING
    world.emulator.set(start_seconds=0)
    assert world.step()["is_running"]
    world.emulator.inject(world.hosting.stop, "drop_answer")
    closing.stop(world.lifecycle)
    assert world.lifecycle.describe().state is ModelState.STOPPING
    world.emulator.set(stop_seconds=0)
    assert world.stop().is_off
    assert (world.counted()["starts"], world.counted()["stops"]) == (1, 1)


def test_more_units_than_the_quota(world: World) -> None:
    with pytest.raises(errors.ModelQuotaError):
        world.lifecycle.start(6)
    assert world.lifecycle.describe().state is ModelState.STOPPED


@pytest.mark.parametrize(("name", "case"), CASES.items())
def test_no_status_is_left_out(name: str, case: Case) -> None:
    if case.lifecycle:
        known = set(case.services[0].shape_for(case.lifecycle.status_shape).enum)
        assert set(case.lifecycle.states) == known | {case.lifecycle.stopped}, name


def test_each_setting_is_needed(world: World) -> None:
    for missing in world.settings:
        less = {key: value for key, value in world.settings.items() if key != missing}
        with pytest.raises(errors.SettingsError, match=missing):
            world.make_lifecycle(less)


def test_it_names_the_model_as_results_do(world: World) -> None:
    assert (world.lifecycle.name, world.lifecycle.model_id) == (world.name, world.detector.model_id)


def declared(case: Case) -> Iterator[tuple[str, str]]:
    yield from case.declared(case.control_operations)


def operations(case: Case) -> Iterator[tuple[str]]:
    yield from ((operation,) for operation in case.control_operations)


@for_each(declared)
def test_each_declared_error_is_translated(world: World, item: tuple[str, str]) -> None:
    operation, error = item
    expected = world.case.meaning(operation, error)
    world.bring(ModelState.RUNNING if operation == world.hosting.stop else ModelState.STOPPED)
    world.emulator.inject(operation, error, probability=1)
    with pytest.raises(expected) as caught:
        world.control(operation)
    assert type(caught.value) is expected
    assert str(caught.value)


@for_each(operations)
def test_a_lost_connection_is_a_service_that_is_unavailable(world: World, item: tuple[str]) -> None:
    world.emulator.inject(*item, "drop", probability=1)
    with pytest.raises(errors.ServiceUnavailableError):
        world.control(*item)


@for_each(operations)
def test_a_model_that_there_is_not(world: World, item: tuple[str]) -> None:
    """Where one that is stopped is not there either, only a start tells the two apart."""
    unknown = world.make_lifecycle(world.case.unknown)
    if world.hosting.has_absence and item == (world.hosting.describe,):
        assert unknown.describe().state is ModelState.STOPPED
        return
    is_stopped = world.hosting.has_absence and item == (world.hosting.stop,)
    with pytest.raises(errors.ModelBusyError if is_stopped else errors.ModelNotFoundError):
        world.control(*item, unknown)


def test_calls_are_repeated(world: World) -> None:
    for operation in world.case.control_operations:
        error = world.case.code(operation, errors.ServiceUnavailableError)
        world.emulator.inject(operation, error, count=2)
        world.control(operation)
