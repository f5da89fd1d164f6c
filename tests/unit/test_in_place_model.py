"""Every interleaving of the protocol of existing buckets ends right; without second look or line it does not."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from batch_vision.core.in_place import Look, Step, advance
from tests.unit.in_place_model import Bounds, Model, State, explore, walk

WALKS = 200_000


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
@pytest.mark.fault("Existing bucket: a Lambda that dies between any two steps")
@pytest.mark.parametrize(
    ("bounds", "least_states"),
    [
        pytest.param(Bounds(operations=3, workers=2), 150_000, marks=pytest.mark.matrix),
        pytest.param(Bounds(operations=3, workers=2, is_versioned=True), 200_000, marks=pytest.mark.matrix),
        (Bounds(operations=2, workers=3), 40_000),
        (Bounds(operations=2, workers=3, is_versioned=True), 40_000),
        (Bounds(operations=3, workers=2, is_hosted=True), 250_000),
    ],
    ids=str,
)
def test_every_interleaving_ends_with_the_result_and_the_line_of_what_is_there(
    bounds: Bounds, least_states: int
) -> None:
    found = explore(Model(bounds))
    assert found.wrong == []
    assert found.states > least_states, "fewer states than ever: something is left out"
    assert found.ends > 0


def without_second_look(look: Look, answer: Any) -> Look:
    after = advance(look, answer)
    return advance(after, after.upload) if after.step is Step.LOOK_AGAIN else after


def without_second_look_after_a_delete(look: Look, answer: Any) -> Look:
    return without_second_look(look, answer) if look.step is Step.DELETE_RESULT else advance(look, answer)


def without_line(look: Look, answer: Any) -> Look:
    after = advance(look, answer)
    return after._replace(step=after.ending) if after.step is Step.WRITE_LINES else after


def without_line_of_a_redelivery(look: Look, answer: Any) -> Look:
    after = advance(look, answer)
    return after._replace(step=after.ending) if after.step is Step.READ_RESULT else after


def without_line_after_a_lost_answer(look: Look, answer: Any) -> Look:
    after = advance(look, answer)
    return after._replace(owes_line=look.owes_line) if look.step is Step.WRITE_RESULT and not answer else after


@pytest.mark.parametrize("is_versioned", [False, True])
@pytest.mark.parametrize(
    ("mutant", "operations"),
    [
        (without_second_look, 2),
        (without_second_look_after_a_delete, 3),
        (without_line, 1),
        (without_line_of_a_redelivery, 1),
        (without_line_after_a_lost_answer, 1),
    ],
)
def test_the_checker_finds_what_a_missing_step_does(mutant: Any, operations: int, is_versioned: bool) -> None:
    assert explore(Model(Bounds(operations, workers=2, is_versioned=is_versioned), mutant)).wrong
    if operations > 1:
        assert not explore(Model(Bounds(operations - 1, workers=2, is_versioned=is_versioned), mutant)).wrong


class AcknowledgesFirst(Model):
    """Workers that write their lines after the acknowledgement: one that dies before them has no message any more."""

    def after(self, state: State, move: tuple[str, int]) -> State:
        name, place = move
        if name == "die" and self._looks.steps[state.workers[place].look] is Step.WRITE_LINES:
            return self._gone(state, place)._replace(crashes=state.crashes - 1)
        return super().after(state, move)


def test_the_checker_finds_what_a_line_after_the_acknowledgement_does() -> None:
    assert explore(AcknowledgesFirst(Bounds(operations=1, workers=1))).wrong


class WritesWithoutCondition(Model):
    """Workers that write whatever there is."""

    def _holds(self, state: State, worker: Any) -> bool:
        return True


def test_with_the_second_look_the_condition_only_saves_calls() -> None:
    assert not explore(WritesWithoutCondition(Bounds(operations=2, workers=2))).wrong


@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize("is_versioned", [False, True])
def test_four_operations_with_two_workers_end_right(is_versioned: bool) -> None:
    found = explore(Model(Bounds(operations=4, workers=2, is_versioned=is_versioned)))
    assert found.wrong == []
    assert found.states > 1_500_000


def wrong_walks(bounds: Bounds, seed: int, walks: int) -> list[Any]:
    """Walk so often, and return the ways to wrong ends."""
    model = Model(bounds)
    return [way for way, end in walk(bounds, seed, walks) if not model.is_quiet(end) or not model.is_right(end)]


@pytest.mark.matrix
@pytest.mark.timeout(900)
def test_random_walks_of_four_operations_with_three_workers_end_right() -> None:
    seed, processes = 14, os.cpu_count() or 1
    bounds = [Bounds(operations=4, workers=3, is_versioned=number % 2 == 1) for number in range(processes)]
    with ProcessPoolExecutor(processes) as pool:
        walks = [WALKS // processes] * processes
        assert list(pool.map(wrong_walks, bounds, range(seed, seed + processes), walks)) == [[]] * processes
