"""Many requests side by side, over more items than are to be kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import TYPE_CHECKING

from batch_vision.aws.clients import MAX_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_AT_ONCE = 1000


def in_parallel[Item, Answer](
    call: Callable[[Item], Answer], items: Iterable[Item], threads: int = MAX_CONNECTIONS, at_once: int = _AT_ONCE
) -> Iterator[tuple[Item, Answer]]:
    """Yield each item with what a call answers for it, in the order of the items.

    Whoever ends it early, or a call that raises, waits for the calls that have begun; no other one begins.

    Parameters
    ----------
    at_once
        How many items are taken before their answers: a pool begins with all that it is given.
    """
    with ThreadPoolExecutor(threads) as pool:
        try:
            for group in batched(items, at_once, strict=False):
                yield from zip(group, pool.map(call, group), strict=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
