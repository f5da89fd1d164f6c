"""The life, meter, throttle and faults of a hosted model, by a clock that the test turns."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from local.emulator.errors import ConfigurationError, NotRunningError, StatusConflictError, ThroughputExceededError
from local.emulator.faults import FaultPlan, delay_ms
from local.emulator.hosting import HostedModel, SettingsHolder, Timing, change_settings
from local.emulator.lifecycle import Lifecycle, StatusNames
from local.emulator.settings import Settings
from local.emulator.throttle import TokenBucket

NAMES = StatusNames(
    idle="TRAINED",
    starting="STARTING_HOSTING",
    running="HOSTED",
    stopping="STOPPING_HOSTING",
    stopped="TRAINED",
    failed="HOSTING_FAILED",
    startable=frozenset({"TRAINED", "HOSTING_FAILED"}),
    known=("TRAINED", "STARTING_HOSTING", "HOSTED", "STOPPING_HOSTING", "HOSTING_FAILED", "DELETING"),
)


class Clock:
    def __init__(self) -> None:
        self.now_seconds = 1000.0
        self.slept_seconds: list[float] = []

    def __call__(self) -> float:
        return self.now_seconds

    def sleep(self, seconds: float) -> None:
        self.slept_seconds.append(seconds)
        self.now_seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def holder() -> SettingsHolder:
    return SettingsHolder(Settings(start_seconds=10, stop_seconds=4, transactions_per_second_per_unit=3))


@pytest.fixture
def life(clock: Clock, holder: SettingsHolder) -> Lifecycle:
    return Lifecycle(NAMES, clock, lambda: holder.current)


@pytest.fixture
def model(clock: Clock, holder: SettingsHolder) -> HostedModel:
    return HostedModel(NAMES, SimpleNamespace(labels=()), holder, Timing(clock, clock.sleep))  # type: ignore[arg-type]


def test_life_follows_the_clock(clock: Clock, life: Lifecycle) -> None:
    assert life.status == "TRAINED"
    assert life.start(1) == "STARTING_HOSTING"
    clock.now_seconds += 9.9
    assert life.status == "STARTING_HOSTING"
    clock.now_seconds += 0.1
    assert life.status == "HOSTED"
    assert life.stop() == "STOPPING_HOSTING"
    clock.now_seconds += 3.9
    assert life.status == "STOPPING_HOSTING"
    clock.now_seconds += 0.2
    assert life.status == "TRAINED"
    assert (life.starts, life.stops) == (1, 1)


def test_bill_runs_from_running_to_stopped(clock: Clock, life: Lifecycle) -> None:
    life.start(3)
    clock.now_seconds += 10 + 60
    assert life.billed_unit_seconds == pytest.approx(3 * 60)
    life.stop()
    clock.now_seconds += 500
    assert life.billed_unit_seconds == pytest.approx(3 * (60 + 4))


def test_bill_may_include_starting(clock: Clock, life: Lifecycle, holder: SettingsHolder) -> None:
    holder.current = holder.current.updated({"bill_starting": True})
    life.start(2)
    clock.now_seconds += 10 + 5
    assert life.billed_unit_seconds == pytest.approx(2 * 15)


def test_nobody_needs_to_look_for_the_bill_to_be_right(clock: Clock, holder: SettingsHolder) -> None:
    watched, unwatched = (Lifecycle(NAMES, clock, lambda: holder.current) for _ in range(2))
    watched.start(2)
    unwatched.start(2)
    for _ in range(100):
        clock.now_seconds += 0.37
        _ = watched.status
    assert watched.billed_unit_seconds == pytest.approx(unwatched.billed_unit_seconds)


def test_failed_start_is_not_billed_and_can_be_repeated(clock: Clock, life: Lifecycle) -> None:
    life.start(1, fails=True)
    clock.now_seconds += 100
    assert life.status == "HOSTING_FAILED"
    assert life.billed_unit_seconds == 0
    with pytest.raises(StatusConflictError):
        life.stop()
    life.start(1)
    clock.now_seconds += 10
    assert life.status == "HOSTED"


def test_starting_and_stopping_models_accept_neither(clock: Clock, life: Lifecycle) -> None:
    life.start(1)
    for call in (lambda: life.start(1), life.stop):
        with pytest.raises(StatusConflictError, match="STARTING_HOSTING"):
            call()
    clock.now_seconds += 10
    with pytest.raises(StatusConflictError, match="HOSTED"):
        life.start(1)
    life.stop()
    for call in (lambda: life.start(1), life.stop):
        with pytest.raises(StatusConflictError, match="STOPPING_HOSTING"):
            call()


def test_shortened_start_never_reaches_into_the_past(clock: Clock, model: HostedModel, holder: SettingsHolder) -> None:
    model.start(1, None, fails=False)
    clock.now_seconds += 8
    change_settings(holder, {"model": model}, {"start_seconds": 1})
    assert model.describe()["status"] == "HOSTED"
    assert model.describe()["billed_unit_seconds"] == 0
    clock.now_seconds += 7
    assert model.describe()["billed_unit_seconds"] == 7


def test_forced_status_is_billed_as_what_it_is(clock: Clock, life: Lifecycle) -> None:
    life.force("HOSTED")
    clock.now_seconds += 5
    assert life.billed_unit_seconds == 5
    life.force("DELETING")
    clock.now_seconds += 50
    assert (life.status, life.billed_unit_seconds) == ("DELETING", 5)


def test_bucket_admits_the_rate_over_time(clock: Clock) -> None:
    bucket = TokenBucket(clock)
    admitted = 0
    for _ in range(1000):
        admitted += bucket.try_take(5)
        clock.now_seconds += 0.01
    assert admitted == 5 + 49  # the burst, and what ten seconds but the last call bring
    clock.now_seconds += 3600
    assert sum(bucket.try_take(5) for _ in range(100)) == 5


def test_bucket_admits_slow_rates(clock: Clock) -> None:
    bucket = TokenBucket(clock)
    assert bucket.try_take(0.1)
    clock.now_seconds += 9
    assert not bucket.try_take(0.1)
    clock.now_seconds += 1
    assert bucket.try_take(0.1)


def test_admission_counts_each_call_once(clock: Clock, model: HostedModel) -> None:
    with pytest.raises(NotRunningError):
        model.admit()
    model.start(2, None, fails=False)
    with pytest.raises(NotRunningError):
        model.admit()
    clock.now_seconds += 10
    for _ in range(6):
        model.admit()
    with pytest.raises(ThroughputExceededError):
        model.admit()
    state = model.describe()
    assert (state["detect_calls"], state["throttled_calls"], state["not_running_calls"]) == (6, 1, 2)


def test_latency_is_what_is_left_of_it(clock: Clock, model: HostedModel, holder: SettingsHolder) -> None:
    change_settings(holder, {"model": model}, {"latency_ms": 200})
    admitted_at_seconds = clock()
    clock.now_seconds += 0.05
    model.wait_out(admitted_at_seconds)
    assert clock.slept_seconds == [pytest.approx(0.15)]
    model.wait_out(admitted_at_seconds)
    assert len(clock.slept_seconds) == 1


def test_faults_hit_their_own_operation_only() -> None:
    plan = FaultPlan({"Start": ("Broken",), "Stop": ("Broken",)})
    plan.add({"operation": "Stop", "error": "Broken", "count": 2})
    assert [plan.draw("Start"), plan.draw("Stop"), plan.draw("Stop"), plan.draw("Stop")] == [
        None,
        "Broken",
        "Broken",
        None,
    ]
    assert plan.injected == {"Stop:Broken": 2}


def test_certain_chance_never_runs_out() -> None:
    plan = FaultPlan({"Start": ()})
    plan.add({"operation": "Start", "error": "drop", "probability": 1})
    assert [plan.draw("Start") for _ in range(5)] == ["drop"] * 5


@pytest.mark.parametrize(
    ("error", "milliseconds"), [("slow:250", 250), ("drop", None), ("slow:", None), ("slow:-1", None)]
)
def test_delays(error: str, milliseconds: int | None) -> None:
    assert delay_ms(error) == milliseconds


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, None, "1", True])
def test_settings_take_numbers_only(value: object) -> None:
    with pytest.raises(ConfigurationError, match="start_seconds"):
        Settings().updated({"start_seconds": value})
