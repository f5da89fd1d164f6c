"""Kinds of values that the commands take: one that is given and empty, or no number, is refused by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, override

import click

_EMPTY = "it is empty. Give a value, or leave it out."


class Text(click.ParamType[str]):
    """A text that is not empty: an empty one mostly comes from a variable that is not set."""

    name = "text"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail(_EMPTY, param, ctx)
        return str(value)


class FilePath(click.Path):
    """A path that is not empty: an empty one would be the current folder."""

    def __init__(self, **more: Any) -> None:
        super().__init__(path_type=Path, **more)

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail(_EMPTY, param, ctx)
        if "\0" in str(value):
            self.fail(f"{str(value)!r} is no path.", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number in a range; NaN and infinity are in none."""

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number
