"""The index: the lines of many catalog objects in one, so that a reader of all of them makes few requests.

The catalog stays the truth. Compaction goes along its keys, which sort by time, and makes each run of them a segment:
``index/dt=2026-11-20/<end of its first catalog key>.jsonl.gz``, a header and then the lines. Each segment begins with
the first key after the last one of the segment before, whoever makes it and wherever it ends: two that work at once
want the same name, which only the first can write, and the other goes on from where that one ends. So each catalog
object is in exactly one segment, and what was done before a crash is found by its name.

``index/cursor.json`` tells the last catalog key that is in a segment, and which segments have all up to it. It is
believed only while these very objects are there: somebody may delete any of them, at any time. Else all begins anew,
with those segments that are still there.

A catalog object may be written after one whose key is later: by a function that hangs, for as long as it lives. So
compaction stays behind by more than that. `tests/unit/index_model.py` explores the interleavings of these very
functions.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.core.errors import IndexDamagedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

INDEX_VERSION = 1
PREFIX = "index/"
SEGMENTS = f"{PREFIX}dt="
CURSOR = f"{PREFIX}cursor.json"

# How far compaction stays behind: a function lives for 15 minutes, and its clock may be another one.
BEHIND = timedelta(minutes=16)
_CATALOG_KEY = re.compile(
    r"catalog/(dt=(\d{4})-(\d\d)-(\d\d)/)hour=(\d\d)/((\2\3\4T\5\d{4}\.\d{3}Z)-[^/]+)\.jsonl", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large segments are.

    Attributes
    ----------
    most_lines
        No more lines go into one, but for a single catalog object that has more.
    few_objects
        A segment for each handful of objects would be as bad to read as these: fewer than so many wait for more, or for
        their day to end.
    """

    most_lines: int = 100_000
    few_objects: int = 1_000


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line of a segment tells.

    Attributes
    ----------
    first_key, last_key
        Of the catalog objects whose lines it has.
    lines
        How many lines follow.
    """

    first_key: str
    last_key: str
    lines: int

    def as_json(self) -> dict[str, Any]:
        """Return the first line of a segment."""
        return {"index_version": INDEX_VERSION} | asdict(self)

    @classmethod
    def read(cls, line: bytes | str, key: str) -> Header:
        """Read the first line of a segment.

        Raises
        ------
        IndexDamagedError
            It is none of a version that this code reads.
        """
        try:
            told: Mapping[str, Any] = json.loads(line)
            if told["index_version"] == INDEX_VERSION:
                return cls(str(told["first_key"]), str(told["last_key"]), int(told["lines"]))
        except (KeyError, TypeError, ValueError):
            pass
        raise damaged(f"{key!r} begins with {line[:200]!r}, which is no header of version {INDEX_VERSION}.")


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the index goes.

    Attributes
    ----------
    last_key
        Of the catalog, up to which all is in the segments; empty where there is no index.
    segments
        Key and ETag of each, in order.
    """

    last_key: str = ""
    segments: tuple[tuple[str, str], ...] = ()

    def is_true(self, there: Collection[tuple[str, str]]) -> bool:
        """Return whether its segments are among those that are there."""
        return all(segment in there for segment in self.segments)

    def moved(self, header: Header, etag: str) -> Cursor:
        """Return the cursor after the segment that comes next."""
        return Cursor(header.last_key, (*self.segments, (segment_key(header.first_key), etag)))


def damaged(what: str) -> IndexDamagedError:
    """Return the error for an object under ``index/`` that is not what compaction writes."""
    return IndexDamagedError(
        f"{what} The catalog has all that the index has: delete all objects under {PREFIX} in the final bucket, and"
        " compaction makes them anew."
    )


def is_catalog_object(key: str) -> bool:
    """Return whether a key under ``catalog/`` is one that a batch was given, and not somebody else's."""
    named = _CATALOG_KEY.fullmatch(key)
    try:
        return named is not None and bool(datetime.fromisoformat(named[7]))
    except ValueError:
        return False


def segment_key(first_key: str) -> str:
    """Return the key of the segment that begins with a catalog object; the keys sort as the catalog's do."""
    named = _CATALOG_KEY.fullmatch(first_key)
    if named is None:
        raise ValueError(f"{first_key!r} is no key of a catalog object")
    return f"{PREFIX}{named[1]}{named[6]}.jsonl.gz"


def is_settled(key: str, horizon: str) -> bool:
    """Return whether no catalog object can be written any more whose key comes before this one.

    Parameters
    ----------
    horizon
        The place of the time that is `BEHIND` now, among the keys of the catalog.
    """
    return key < horizon


def is_due(keys: Sequence[str], horizon: str, limits: Limits = LIMITS) -> bool:
    """Return whether a segment is to be made of the next catalog objects.

    Parameters
    ----------
    keys
        The settled ones, in order; it is enough to name the first ``limits.few_objects``.
    """
    return len(keys) >= limits.few_objects or (bool(keys) and _day(keys[0]) != _day(horizon))


def fits(first_key: str, key: str, lines_there: int, lines: int, limits: Limits = LIMITS) -> bool:
    """Return whether a catalog object still goes into a segment that has some: of one day, of so many lines at most."""
    return _day(first_key) == _day(key) and lines_there + lines <= limits.most_lines


def _day(key: str) -> str:
    return key.split("/")[1]  # dt=2026-11-20
