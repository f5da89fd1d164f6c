"""The local store of a stack's catalog (signatures; the body follows)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch_vision.operator.search.query import Order, Query
    from batch_vision.operator.stack import Stack

type Row = dict[str, Any]  # what a line of version 2 has, and `id`, which stays the same while the cache is not rebuilt


class Store:
    """A context manager: ``with Store(stack) as store: store.refresh(step.progress)``."""

    def __init__(self, stack: Stack) -> None: ...

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    def refresh(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Read what is new in the catalog: index segments first, then catalog objects behind the cursor."""
        raise NotImplementedError

    def select(self, query: Query, order: Order, limit: int | None = None, offset: int = 0) -> Iterator[Row]:
        """Return the rows that are wanted, in an order."""
        raise NotImplementedError

    def count(self, query: Query) -> int:
        """Count the lines that are wanted."""
        raise NotImplementedError

    def facets(self, query: Query) -> dict[str, dict[str, int]]:
        """Count the lines that are wanted by label, kind, status, reason, verdict, model and prefix.

        The most frequent values first, at most 100 of each facet. A line counts once for each of its labels and kinds.
        """
        raise NotImplementedError

    def row(self, row_id: int) -> Row | None:
        """Return the row of an id; None where there is none."""
        raise NotImplementedError
