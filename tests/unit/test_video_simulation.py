"""The protocol of videos in random worlds: see `video_worlds`. And these worlds find what would break it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from batch_vision.aws import in_step
from batch_vision.core.in_place import Look, Step, advance
from batch_vision.core.observability import logger
from batch_vision.core.video_reservations import Reservations
from batch_vision.core.videos import WAITING, Record
from batch_vision.videos.store import Held
from tests.unit.video_worlds import BrokenError, MemoryService, MemoryStore, World

TESTS, WORLDS = 10, 300


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    level = logger.log_level
    logger.setLevel("CRITICAL")
    yield
    logger.setLevel(level)


@pytest.mark.fault("Videos: a message of the end of a job lost, doubled or early")
@pytest.mark.fault("Videos: functions that die between any two steps")
@pytest.mark.fault("Videos: a full account")
@pytest.mark.fault("Videos: a limit that other applications share, and that changes")
@pytest.mark.fault("Videos: a video replaced or deleted meanwhile")
@pytest.mark.fault("Videos: the minutes of a day, with two dispatchers at once")
@pytest.mark.parametrize("part", [0, 1, *(pytest.param(part, marks=pytest.mark.matrix) for part in range(2, TESTS))])
def test_no_world_breaks_a_promise(part: int) -> None:
    for seed in range(part * WORLDS, (part + 1) * WORLDS):
        try:
            World(seed).run()
        except BrokenError as broken:
            raise AssertionError(f"world {seed}: {broken}") from broken


def broken_by(store: type[MemoryStore] = MemoryStore, most: int = 1000) -> str:
    """Return the first promise that a mutant of the protocol breaks."""
    for seed in range(most):
        try:
            World(seed, store=store).run()
        except BrokenError as broken:
            return str(broken)
    return "nothing"


@pytest.mark.fault("Videos: a request that is made anew from the settings of now")
def test_a_request_that_is_made_anew_of_the_settings_of_now_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    start = MemoryService.start

    def rebuilt(self: MemoryService, analysis: str, request: Mapping[str, Any], token: str) -> str:
        return start(self, analysis, dict(request) | {"config": self._world.config}, token)

    monkeypatch.setattr(MemoryService, "start", rebuilt)
    assert "another request under the same token" in broken_by()


class MarkerAfterRecord(MemoryStore):
    """Writes the marker of a new record after it."""

    late: str = ""

    def put_marker(self, key: str) -> None:
        if key.startswith(WAITING) and key.rpartition("-")[2] not in self.jobs:
            self.late = key
        else:
            super().put_marker(key)

    def write_record(self, record: Record, etag: Any) -> Held[Record] | None:
        written = super().write_record(record, etag)
        if self.late:
            late, self.late = self.late, ""
            super().put_marker(late)
        return written


@pytest.mark.fault("Videos: functions that die between any two steps")
def test_a_marker_that_comes_after_its_record_is_found() -> None:
    assert "has no result" in broken_by(MarkerAfterRecord)


@pytest.mark.fault("Videos: a video replaced or deleted meanwhile")
def test_a_result_that_is_written_without_a_second_look_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(look: Look, answer: Any) -> Look:
        after = advance(look, answer)
        return advance(after, after.upload) if after.step is Step.LOOK_AGAIN else after

    monkeypatch.setattr(in_step, "advance", trusting)
    monkeypatch.setattr(World, "look_again", lambda *_: None)  # the look of whoever comes after one that died
    assert "has a result and no object" in broken_by()


@pytest.mark.fault("Videos: a video replaced or deleted meanwhile")
def test_a_late_collector_that_has_nobody_look_after_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "look_again", lambda *_: None)
    assert "result" in broken_by()


class Unconditional(MemoryStore):
    """Writes the reservations over whatever is there."""

    def write_reservations(self, reservations: Reservations, etag: Any) -> bool:
        self._world.point()
        return self._reserve(reservations)


@pytest.mark.fault("Videos: the minutes of a day, with two dispatchers at once")
def test_a_reservation_without_a_condition_is_found() -> None:
    assert broken_by(Unconditional) != "nothing"
