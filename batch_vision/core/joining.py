"""What is to be done about the keys of an existing bucket, by one pass over two listings.

S3 lists keys in the order of their UTF-8 bytes. The results of a bucket are listed as ``results/<key>.json``, and the
suffix makes that another order: ``a-b.json`` comes before ``a.json``, and ``a`` before ``a-b``. So the listing of the
bucket is brought into the order of the results. The objects that are held back for it are a chain in which the key of
each begins that of the next one: at most 1,024.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batch_vision.core.names import result_key
from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime


class State(StrEnum):
    """How a key is."""

    DONE = "done"
    MISSING = "missing"  # an object without a result
    STALE = "stale"  # its result is older than the object: of another upload
    DOUBTFUL = "doubtful"  # its result was written in the same second as the object, so a look has to tell
    OUTDATED = "outdated"  # its result is from before the deployed settings
    ORPHANED = "orphaned"  # a result without an object
    UNKNOWN = "unknown"  # its result has a hash for a name, so a HEAD has to tell
    LEFT_OUT = "left_out"  # an object that is out of scope


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, or a result, as a listing tells of it; a result by the key that it is of.

    Attributes
    ----------
    storage_class
        Empty where it does not matter.
    left_out
        Why an object is out of scope; empty where it is in scope.
    """

    key: str
    modified_at: datetime
    storage_class: str = ""
    left_out: str = ""


@dataclass(slots=True)
class Position:
    """How far a join has come: what was yielded is before it.

    Attributes
    ----------
    objects_after, results_after
        The last keys that were dealt with in each listing; empty at the beginning.
    held
        Objects that were taken and not yielded yet.
    """

    objects_after: str = ""
    results_after: str = ""
    held: list[Listed] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it for a checkpoint."""
        held = [asdict(one) | {"modified_at": to_text(one.modified_at)} for one in self.held]
        return {"objects_after": self.objects_after, "results_after": self.results_after, "held": held}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Position:
        """Read it from a checkpoint."""
        held = [Listed(**(one | {"modified_at": from_text(one["modified_at"])})) for one in content["held"]]
        return cls(content["objects_after"], content["results_after"], held)


class Join:
    """The objects of a bucket and their results, side by side.

    Parameters
    ----------
    list_objects
        Yields the objects after a key, in the order in which S3 lists them.
    list_results
        The same of what is listed under ``results/``.
    settings_since
        Since when the deployed settings are deployed; None where results of any settings are as good.

    Attributes
    ----------
    position
        Where a join goes on that another one began. It moves with each key that is yielded.
    """

    def __init__(
        self,
        list_objects: Callable[[str], Iterable[Listed]],
        list_results: Callable[[str], Iterable[Listed]],
        settings_since: datetime | None,
        position: Position | None = None,
    ) -> None:
        self.position = position or Position()
        self._objects = iter(list_objects(self.position.objects_after))
        self._results = iter(list_results(self.position.results_after))
        self._result = next(self._results, None)
        self._settings_since = settings_since

    def __iter__(self) -> Iterator[tuple[State, Listed]]:
        """Yield each object, or each result that has none, and how it is."""
        held = self.position.held
        for one in self._objects:
            if one.left_out:
                self.position.objects_after = one.key
                yield State.LEFT_OUT, one
                continue
            place = _place(one.key)
            while held and _place(held[-1].key) < place:
                yield from self._next()
            held.append(one)
            self.position.objects_after = one.key
        while held:
            yield from self._next()
        while self._result is not None:
            yield self._orphan(self._result)

    def _next(self) -> Iterator[tuple[State, Listed]]:
        """Yield the last of the objects that are held, after the results that come before its own."""
        one = self.position.held[-1]
        if is_long(one.key):
            self.position.held.pop()
            yield State.UNKNOWN, one
            return
        place = _place(one.key)
        while (result := self._result) is not None and _place(result.key) < place:
            yield self._orphan(result)
        self.position.held.pop()
        # Also where it has no result: it may have one when somebody goes on here, and is no orphan then.
        self.position.results_after = one.key
        if result is None or result.key != one.key:
            yield State.MISSING, one
            return
        self._result = next(self._results, None)
        yield compare(one, result.modified_at, self._settings_since), one

    def _orphan(self, result: Listed) -> tuple[State, Listed]:
        self.position.results_after = result.key
        self._result = next(self._results, None)
        return State.ORPHANED, result


def compare(one: Listed, result_at: datetime, settings_since: datetime | None) -> State:
    """Return how an object is whose result was written at a time."""
    if result_at < one.modified_at:
        return State.STALE
    if settings_since is not None and result_at < settings_since:
        return State.OUTDATED
    return State.DOUBTFUL if result_at == one.modified_at else State.DONE


def is_long(key: str) -> bool:
    """Return whether the result of a key has a hash for a name."""
    return not result_key(key).startswith("results/")


def _place(key: str) -> bytes:
    return f"{key}.json".encode()
