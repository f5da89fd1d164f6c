"""Starting the model, as convergent steps; stopping is in test_closing.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from batch_vision.core.capacity import CapacitySettings
from batch_vision.core.settings import read_settings
from batch_vision.runs.start import ensure_running
from tests.unit.conftest import NOW, FakeBackend
from tests.unit.tool_stack import ENVIRONMENT

S = ModelState


@pytest.fixture
def settings() -> CapacitySettings:
    return read_settings(CapacitySettings, ENVIRONMENT)


def start(
    backend: FakeBackend, settings: CapacitySettings, previous: Any = None, after_seconds: float = 0
) -> dict[str, Any]:
    return ensure_running(backend, settings, 1, previous, 60, NOW + timedelta(seconds=after_seconds))


def test_a_quota_for_fewer_units_is_gone_below(settings: CapacitySettings) -> None:
    """Not a failed run, but a slower one; with the fewest units, the refusal is the end."""

    class Limited(FakeBackend):
        def start(self, inference_units: int) -> None:
            super().start(inference_units)
            if inference_units > self.allowed:
                raise errors.ModelQuotaError("too many")

        allowed = 2

    settings = replace(settings, max_inference_units=9)
    backend = Limited([S.STOPPED])
    model = ensure_running(backend, settings, 100_000, None, 60, NOW)
    assert backend.calls == [("start", 9), ("start", 4), ("start", 2)]
    assert (model["inference_units"], model["images_per_second"], model["max_concurrency"]) == (2, 10, 4)
    backend.allowed = 0
    with pytest.raises(errors.ModelQuotaError):
        start(backend, settings)


def test_a_stopped_model_is_started_once_and_then_awaited(settings: CapacitySettings) -> None:
    backend = FakeBackend([S.STOPPED, S.STARTING, S.RUNNING])
    first = start(backend, settings)
    second = start(backend, settings, first, 10)
    third = start(backend, settings, second, 20)
    assert backend.calls == [("start", 1)]
    assert [step["is_running"] for step in (first, second, third)] == [False, False, True]
    assert third["requested_at"] == "2026-11-20T08:00:00.000Z"
    assert third["running_at"] == "2026-11-20T08:00:20.000Z"
    assert third["inference_units"] == 1


def test_a_running_or_starting_model_is_taken_over(settings: CapacitySettings) -> None:
    backend = FakeBackend([S.STARTING, S.RUNNING], inference_units=2)
    first = start(backend, settings)
    assert start(backend, settings, first)["inference_units"] == 2
    assert backend.calls == []


def test_a_stopping_model_is_awaited_and_then_started(settings: CapacitySettings) -> None:
    backend = FakeBackend([S.STOPPING, S.STOPPED, S.STARTING])
    first = start(backend, settings)
    assert backend.calls == []
    start(backend, settings, first)
    assert backend.calls == [("start", 1)]


def test_looks_come_faster_when_a_start_may_be_over(settings: CapacitySettings) -> None:
    backend = FakeBackend([S.STARTING])
    waits, model = [], None
    for seconds in (0, 300, 599, 600, 1800):
        model = ensure_running(backend, settings, 1, model, 2700, NOW + timedelta(seconds=seconds), 31)
        waits.append(model["wait_seconds"])
    assert waits == [31, 31, 31, 11, 11]


def test_losing_the_race_to_start_is_no_error(settings: CapacitySettings) -> None:
    backend = FakeBackend([S.STOPPED], start_error=errors.ModelBusyError("in use"))
    assert start(backend, settings)["is_running"] is False


def test_a_model_that_failed_before_this_run_is_tried_and_one_that_fails_now_ends_it(
    settings: CapacitySettings,
) -> None:
    backend = FakeBackend([S.FAILED, S.STARTING, S.FAILED])
    first = start(backend, settings)
    second = start(backend, settings, first)
    with pytest.raises(errors.ModelFailedError, match="fake-model is FAILED"):
        start(backend, settings, second)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (S.NOT_TRAINED, errors.ModelNotTrainedError),
        (S.UNAVAILABLE, errors.ModelUnavailableError),
        (S.UNKNOWN, errors.ModelUnavailableError),
    ],
)
def test_a_model_that_cannot_run_ends_the_wait_at_once(
    settings: CapacitySettings, state: S, error: type[Exception]
) -> None:
    backend = FakeBackend([state])
    with pytest.raises(error, match="fake-model"):
        start(backend, settings)
    assert backend.calls == []


def test_peer_failing_a_model_that_cannot_start_is_retried_for_ever(settings: CapacitySettings) -> None:
    backend = FakeBackend([S.STARTING])
    first = start(backend, settings)
    start(backend, settings, first, 60)
    with pytest.raises(errors.ModelStartTimeoutError, match="start_timeout_seconds = 60"):
        start(backend, settings, first, 60.001)


def test_a_model_that_failed_in_mid_run_is_started_again_with_a_time_of_its_own(settings: CapacitySettings) -> None:
    backend = FakeBackend([S.STOPPED, S.RUNNING, S.FAILED, S.STARTING, S.RUNNING], inference_units=None)
    first = start(backend, settings)
    second = start(backend, settings, first, 10)
    again = ensure_running(backend, settings, 1, second, 60, NOW + timedelta(seconds=2000), restarts=1)
    assert backend.calls == [("start", 1)] * 2
    assert (again["is_running"], again["restarts"], again["asked_at"]) == (False, 1, "2026-11-20T08:33:20.000Z")
    third = ensure_running(backend, settings, 1, again, 60, NOW + timedelta(seconds=2030), restarts=1)
    fourth = ensure_running(backend, settings, 1, third, 60, NOW + timedelta(seconds=2040), restarts=1)
    # The run counts from its first start on.
    assert (fourth["requested_at"], fourth["running_at"]) == ("2026-11-20T08:00:00.000Z", "2026-11-20T08:00:10.000Z")


def test_a_model_that_fails_again_while_it_is_started_again_ends_the_run(settings: CapacitySettings) -> None:
    backend = FakeBackend([S.RUNNING, S.FAILED])
    first = start(backend, settings)
    again = ensure_running(backend, settings, 1, first, 60, NOW, restarts=1)
    with pytest.raises(errors.ModelFailedError):
        ensure_running(backend, settings, 1, again, 60, NOW, restarts=1)
