"""What is to be done about the keys of an existing bucket, by one pass over two listings.

S3 lists keys in the order of their UTF-8 bytes. The results of a bucket are listed as ``results/<key>.json``, and the
suffix makes that another order: ``a-b.json`` comes before ``a.json``, and ``a`` before ``a-b``. So the listing of the
bucket is first brought into the order of the results. The keys that are held back for it are a chain in which each
begins the next one: at most 1,024.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from batch_vision.core.names import result_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime


class State(StrEnum):
    """How a key is."""

    DONE = "done"
    MISSING = "missing"  # an object without a result
    STALE = "stale"  # its result is not younger than the object: of another upload, or written in the same second
    OUTDATED = "outdated"  # its result is from before the deployed settings
    ORPHAN = "orphan"  # a result without an object
    UNKNOWN = "unknown"  # its result has a hash for a name, so only a HEAD tells


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, or a result, as a listing tells of it; a result by the key that it is of."""

    key: str
    modified_at: datetime


def join(
    objects: Iterable[Listed], results: Iterable[Listed], settings_since: datetime | None
) -> Iterator[tuple[State, str]]:
    """Yield each key of an object or of a result, and how it is.

    Parameters
    ----------
    objects
        The objects in scope, in the order in which S3 lists them.
    results
        Those under ``results/``, in the order in which S3 lists them.
    settings_since
        Since when the deployed settings are deployed; None where results of any settings are as good.
    """
    there = iter(results)
    result = next(there, None)
    for one in in_order_of_results(objects):
        if is_long(one.key):
            yield State.UNKNOWN, one.key
            continue
        place = _place(one.key)
        while result is not None and _place(result.key) < place:
            yield State.ORPHAN, result.key
            result = next(there, None)
        if result is None or result.key != one.key:
            yield State.MISSING, one.key
            continue
        yield _compare(one, result, settings_since), one.key
        result = next(there, None)
    while result is not None:
        yield State.ORPHAN, result.key
        result = next(there, None)


def in_order_of_results(objects: Iterable[Listed]) -> Iterator[Listed]:
    """Yield objects that come in the order of their keys in the order of their results."""
    held: list[Listed] = []  # each key begins the next one, and has the later result
    for one in objects:
        place = _place(one.key)
        while held and _place(held[-1].key) < place:
            yield held.pop()
        held.append(one)
    while held:
        yield held.pop()


def is_long(key: str) -> bool:
    """Return whether the result of a key has a hash for a name."""
    return not result_key(key).startswith("results/")


def _compare(one: Listed, result: Listed, settings_since: datetime | None) -> State:
    if result.modified_at <= one.modified_at:
        return State.STALE
    if settings_since is not None and result.modified_at < settings_since:
        return State.OUTDATED
    return State.DONE


def _place(key: str) -> bytes:
    return f"{key}.json".encode()
