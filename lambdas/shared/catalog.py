"""The catalog: one JSON line for each finished image, one object for each Lambda batch.

Keys sort by time, so a reader starts where it needs to (`StartAfter`) and never lists the past.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdas.shared.times import to_text

if TYPE_CHECKING:
    from datetime import datetime

PREFIX = "catalog/"


def catalog_key(moment: datetime, name: str = "") -> str:
    """Give the key of a catalog object written at a time; without a name, the place just before all of that time.

    Parameters
    ----------
    moment
        When the batch was finished.
    name
        What tells this batch from others of the same millisecond: the id of the invocation.
    """
    text = to_text(moment)
    stamp = text.replace("-", "").replace(":", "")
    partition = f"{PREFIX}dt={text[:10]}/hour={text[11:13]}/"
    return f"{partition}{stamp}-{name}.jsonl" if name else f"{partition}{stamp}"
