"""Types of options that click does not have."""

from __future__ import annotations

import math
from typing import Any, override

import click


class FiniteRange(click.FloatRange):
    """A number within bounds. click's own range takes `nan`, because no comparison with it holds."""

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number in the range {self._describe_range()}.", param, ctx)
        return number
