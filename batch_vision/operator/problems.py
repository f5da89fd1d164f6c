"""What an operator is shown when something is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass

from batch_vision.core import errors


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be, and what to do about it."""

    problem: str
    remedy: str


def remedy_of(error_type: str) -> str | None:
    """Return what to do about an error of a result, by its name; None for one that this tool does not know."""
    found = getattr(errors, error_type, None)
    return found.remedy if isinstance(found, type) and issubclass(found, errors.BatchVisionError) else None
