"""The index: the lines of many catalog objects in one, so that a reader of all of them makes few requests.

The catalog stays the truth. Compaction goes along its keys, which sort by time, and makes each run of them a segment:
``index/dt=2026-11-20/<end of its first catalog key>.jsonl.gz``, a header and then the lines. Each segment begins with
the first key after the last one of the segment before, whoever makes it and wherever it ends: two that work at once
want the same name, which only the first can write, and the other goes on from where that one ends. So each catalog
object is in exactly one segment, and what was done before a crash is found by its name. ``index/cursor.json`` tells the
last catalog key that is in a segment.

A catalog object may be written after one whose key is later: by a function that hangs, for as long as it lives. So
compaction stays behind that. `tests/unit/index_model.py` explores the interleavings of these very functions.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.core.errors import BatchVisionError

if TYPE_CHECKING:
    from collections.abc import Mapping

INDEX_VERSION = 1
PREFIX = "index/"
SEGMENTS = f"{PREFIX}dt="
CURSOR = f"{PREFIX}cursor.json"
_CATALOG_KEY = re.compile(r"catalog/(dt=\d{4}-\d\d-\d\d/)hour=\d\d/([^/]+)\.jsonl")


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
        raise IndexDamagedError(f"{key!r} begins with {line[:200]!r}, which is no header of version {INDEX_VERSION}.")


class IndexDamagedError(BatchVisionError):
    """An object under ``index/`` is not what compaction writes."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} The catalog has all that the index has: delete all objects under {PREFIX} in the final bucket, and"
            " compaction makes them anew."
        )


def is_catalog_object(key: str) -> bool:
    """Return whether a key under ``catalog/`` is one that a batch was given, and not somebody else's."""
    return _CATALOG_KEY.fullmatch(key) is not None


def segment_key(first_key: str) -> str:
    """Return the key of the segment that begins with a catalog object; the keys sort as the catalog's do."""
    named = _CATALOG_KEY.fullmatch(first_key)
    if named is None:
        raise ValueError(f"{first_key!r} is no key of a catalog object")
    return f"{PREFIX}{named[1]}{named[2]}.jsonl.gz"
