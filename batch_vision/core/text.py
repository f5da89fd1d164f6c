"""Text from outside (keys, names of labels, messages of services), made harmless for where it goes."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_FORMULA = ("=", "+", "-", "@")  # what a spreadsheet takes a cell that begins so for


def visible(text: str) -> str:
    r"""Write out what no eye sees, or what a terminal obeys: ``a\nb`` for a line end, ``\x1b`` for an escape.

    Keys, error messages of services and names of files may hold anything.
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def csv_line(cells: Iterable[Any]) -> str:
    """Return a line of CSV that neither a terminal nor a spreadsheet obeys."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        [_harmless(cell) if isinstance(cell, str) else cell for cell in cells]
    )
    return line.getvalue()


def _harmless(text: str) -> str:
    return visible(f"'{text}" if text.startswith(_FORMULA) else text)
