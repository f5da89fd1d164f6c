"""The protocol of videos in random worlds: see `video_worlds`. And that these worlds find what would break it."""

from __future__ import annotations

from typing import Any

import pytest

from batch_vision.core.observability import logger
from tests.unit.video_worlds import BrokenError, MemoryStore, World

TESTS, WORLDS = 10, 300


@pytest.fixture(autouse=True)
def silent() -> Any:
    level = logger.log_level
    logger.setLevel("CRITICAL")
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("part", range(TESTS))
def test_no_world_breaks_a_promise(part: int) -> None:
    for seed in range(part * WORLDS, (part + 1) * WORLDS):
        try:
            World(seed).run()
        except BrokenError as broken:
            raise AssertionError(f"world {seed}: {broken}") from broken


def first_broken(store: type[MemoryStore] = MemoryStore, most: int = 300) -> str:
    for seed in range(most):
        try:
            World(seed, store=store).run()
        except BrokenError as broken:
            return str(broken)
    return ""
