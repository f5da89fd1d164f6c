"""Requests side by side: in order, a bounded number at once, and none that nobody waits for any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from batch_vision.aws.parallel import in_parallel


def test_items_come_in_order_and_few_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(8):
            taken.append(number)
            yield number

    answers = in_parallel(lambda number: -number, items(), threads=3, at_once=3)
    assert next(answers) == (0, 0)
    assert taken == [0, 1, 2]
    assert list(answers) == [(number, -number) for number in range(1, 8)]


@pytest.mark.parametrize("is_left", [False, True], ids=["a call raises", "the caller leaves"])
def test_what_has_not_begun_does_not_begin_when_it_ends_early(*, is_left: bool) -> None:
    begun: list[int] = []
    goes_on = threading.Event()

    def call(number: int) -> int:
        begun.append(number)
        if number == 1:
            goes_on.wait(10)
        if number == 0 and not is_left:
            raise ValueError("no")
        return number

    answers = in_parallel(call, range(100), threads=1)
    threading.Timer(0.05, goes_on.set).start()
    if is_left:
        next(answers)
        answers.close()
    else:
        with pytest.raises(ValueError, match="no"):
            next(answers)
    assert begun in ([0], [0, 1])
