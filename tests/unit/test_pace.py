"""The pace of the calls: alone, and many of them against a service that admits so many calls a second."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random

import pytest

from batch_vision.core.capacity import (
    CapacitySettings,
    calls_per_second_per_invocation,
    concurrency_for,
    images_per_second,
    units_for,
)
from batch_vision.core.errors import NoTimeLeftError
from batch_vision.core.settings import read_settings
from batch_vision.images.pace import Pace
from benchmarks import managed_pace
from local.emulator.throttle import TokenBucket
from tests.unit.tool_stack import ENVIRONMENT

FAR = 1e9


@pytest.fixture
def settings() -> CapacitySettings:
    return read_settings(CapacitySettings, ENVIRONMENT)


@pytest.mark.parametrize(
    ("images", "units"), [(1, 1), (100, 1), (101, 2), (200, 2), (201, 3), (300, 3), (1_000_000, 3)]
)
def test_units_finish_the_backlog_in_the_target_time_between_the_bounds(
    settings: CapacitySettings, images: int, units: int
) -> None:
    """5 images a second for 20 seconds are 100 for each unit."""
    assert units_for(images, settings) == units


def test_no_more_units_than_the_account_may_use(settings: CapacitySettings) -> None:
    wide = dataclasses.replace(settings, max_inference_units=100)
    assert units_for(1_000_000, wide) == 10  # 50 a second, 5 for each
    assert units_for(1_000_000, dataclasses.replace(wide, images_per_second_per_unit=20)) == 2
    assert units_for(1_000_000, dataclasses.replace(wide, images_per_second_per_unit=80)) == 1
    assert units_for(1, dataclasses.replace(wide, min_inference_units=12)) == 12


@pytest.mark.parametrize(
    ("changes", "units", "concurrency"),
    [
        ({}, 1, 2),
        ({}, 2, 4),
        ({}, 5, 10),
        ({}, 100, 20),  # the account's quota
        ({"max_concurrency": 6}, 5, 6),
        ({"batch_size": 1}, 1, 5),  # 5 a second, each for a second
        ({"batch_size": 1, "image_latency_seconds": 0.1}, 1, 2),
        ({"images_per_second_per_unit": 0.3}, 1, 2),
    ],
)
def test_concurrency_is_what_keeps_the_units_busy(
    settings: CapacitySettings, changes: dict[str, float], units: int, concurrency: int
) -> None:
    assert concurrency_for(units, dataclasses.replace(settings, **changes)) == concurrency  # type: ignore[arg-type]


def test_calls_have_their_turns_and_a_pause_is_made_up_for() -> None:
    clock = managed_pace.Clock()
    pace = Pace(2, 16, credit_seconds=1, clock=clock)
    assert [pace.reserve(FAR) for _ in range(3)] == [0, 0.5, 1]
    clock.now = 100  # a second's worth, no more
    assert [pace.reserve(FAR) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_turn_after_the_deadline_is_not_waited_for_and_not_taken() -> None:
    pace = Pace(1, 8, clock=managed_pace.Clock())
    assert pace.reserve(2) == 0
    pace.reserve(2)
    pace.reserve(2)
    with pytest.raises(NoTimeLeftError):
        pace.reserve(2)
    assert pace.reserve(4) == 3


def test_a_batch_is_begun_in_its_time_whatever_the_pace() -> None:
    pace = Pace(0.1, 0.8, clock=managed_pace.Clock())
    pace.begin_batch(10, 36)
    assert [pace.reserve(36) for _ in range(10)][-1] == pytest.approx(32.4)


def test_nothing_is_faster_than_the_bound_not_a_batch_either() -> None:
    clock = managed_pace.Clock()
    pace = Pace(2, 2, credit_seconds=0, clock=clock)
    for _ in range(1000):
        pace.answered()
    pace.begin_batch(1000, 10)
    assert [pace.reserve(FAR) for _ in range(4)] == [0, 0.5, 1, 1.5]
    for _ in range(100):
        pace.throttled()
    assert pace.calls_per_second == 2 / 8
    for _ in range(100_000):
        pace.answered()
    assert pace.calls_per_second == 2


def test_however_many_answers_in_a_row_the_pace_is_a_number() -> None:
    """A model that is never busy: 100,000 images without a throttle, a few hours."""
    pace = Pace(2.5, 20, clock=managed_pace.Clock())
    for _ in range(100_000):
        pace.answered()
    assert pace.calls_per_second == 2.5 * 8
    pace.throttled()
    assert 2.5 < pace.calls_per_second < 2.5 * 8


def test_a_share_is_of_the_pace_and_its_bounds_and_is_given_back() -> None:
    clock = managed_pace.Clock()
    pace = Pace(2, 4, credit_seconds=0, clock=clock)
    pace.take_share(0.2)
    pace.take_share(0.2)  # the same, at each batch
    pace.begin_batch(1000, 10)
    assert [pace.reserve(FAR) for _ in range(3)] == pytest.approx([0, 1.25, 2.5])
    for _ in range(1000):
        pace.answered()
    assert pace.calls_per_second == pytest.approx(0.8)
    for _ in range(100):
        pace.throttled()
    assert pace.calls_per_second == pytest.approx(0.2 * 2 / 8)
    pace.take_share(1)
    assert pace.calls_per_second == pytest.approx(2 / 8)
    for _ in range(100_000):
        pace.answered()
    assert pace.calls_per_second == pytest.approx(4)


def simulate(
    settings: CapacitySettings, units: int, true_per_second: float, *, seconds: float, latency_seconds: float = 0.3
) -> tuple[float, float]:
    """Let as many Lambdas as the workflow allows work without end; give the used share, and the throttled one.

    Virtual time, the emulator's own admission, a full queue. An invocation has a batch of images, side by side; a
    throttled image waits as `batch_vision.images.detectors` does, and then for its turn.
    """
    chance, clock, order = random.Random(7), managed_pace.Clock(), itertools.count()
    bucket = TokenBucket(clock)
    agenda: list[tuple[float, int, Pace, list[int], int, bool]] = []
    taken = throttled = 0

    def begin(pace: Pace) -> None:
        left = [settings.batch_size]
        for _ in range(settings.batch_size):
            ask(pace, left, 0)

    def ask(pace: Pace, left: list[int], attempt: int, after_seconds: float = 0.0) -> None:
        if after_seconds:
            heapq.heappush(agenda, (clock.now + after_seconds, next(order), pace, left, attempt, False))
        else:
            heapq.heappush(agenda, (clock.now + pace.reserve(FAR), next(order), pace, left, attempt, True))

    for _ in range(concurrency_for(units, settings)):
        per_second = calls_per_second_per_invocation(settings.images_per_second_per_unit)
        begin(Pace(per_second, 8 * per_second, clock=clock))
    while agenda and agenda[0][0] < seconds:
        clock.now, _, pace, left, attempt, is_turn = heapq.heappop(agenda)
        if left[0] < 0:  # the pause between two batches is over
            begin(pace)
        elif not is_turn:
            ask(pace, left, attempt)
        elif bucket.try_take(true_per_second):
            taken += 1
            pace.answered()
            left[0] -= 1
            if left[0] == 0:
                pause = latency_seconds + chance.uniform(0.1, 0.4)
                heapq.heappush(agenda, (clock.now + pause, next(order), pace, [-1], 0, False))
        else:
            throttled += 1
            pace.throttled()
            ask(pace, left, attempt + 1)
    return taken / (seconds * true_per_second), throttled / (taken + throttled)


@pytest.mark.parametrize("units", [1, 2, 5])
@pytest.mark.parametrize("better", [1.0, 0.8, 1.3])
def test_the_allowed_throughput_is_used_and_hardly_a_call_throttled(
    settings: CapacitySettings, units: int, better: float
) -> None:
    """An hour, also with a model that does less or more than it was said to."""
    true_per_second = images_per_second(units, settings) * better
    used, throttled = simulate(settings, units, true_per_second, seconds=3600)
    assert used >= 0.95, (used, throttled)
    assert throttled < 0.02, (used, throttled)


@pytest.mark.parametrize("quotas", [[50], [25], [5], [50, 50, 100], [50, 5], [5] * 6], ids=str)
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_what_is_allowed_of_a_quota_is_used_and_hardly_a_call_refused(quotas: list[float], share: float) -> None:
    """Of the slowest operation, which says how many images there are in a second."""
    seconds = min(900, 5000 / sum(quotas))
    operations = managed_pace.simulate(quotas, share, seconds=seconds)
    slowest = operations[quotas.index(min(quotas))]
    assert slowest.taken / seconds >= 0.95 * min(quotas) * share
    for quota, operation in zip(quotas, operations, strict=True):
        assert operation.taken <= 1.01 * seconds * quota * share + quota * share  # a second's credit, at the end too
        assert operation.refused_share < 0.02


@pytest.mark.parametrize("quota", [25, 50])
def test_a_neighbour_with_its_own_share_is_hardly_ever_refused(quota: float) -> None:
    """Less is promised of smaller quotas: a call of somebody else is much of 5 a second."""
    seconds = 5000 / quota
    (operation,) = managed_pace.simulate([quota], 0.6, has_neighbour=True, seconds=seconds)
    assert operation.taken / seconds >= 0.95 * 0.6 * quota
    assert operation.refused_share < 0.02
    assert operation.neighbour_refused_share < 0.01


@pytest.mark.parametrize("quotas", [[50], [25], [5], [50, 5]], ids=str)
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_a_backfill_has_its_share_and_live_events_theirs(quotas: list[float], share: float) -> None:
    """While as many live events come as may be asked about. In batches of ten a fifth of a small quota is slow."""
    seconds = 5000 / min(quotas)
    operations = managed_pace.simulate(quotas, share, has_backfill=True, seconds=seconds)
    slowest, allowed = operations[quotas.index(min(quotas))], min(quotas) * share * seconds
    assert slowest.backfilled >= 0.95 * 0.8 * allowed
    assert slowest.taken - slowest.backfilled >= 0.95 * 0.2 * allowed
    assert slowest.refused_share < 0.02
