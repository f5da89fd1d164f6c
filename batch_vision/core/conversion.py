"""What of an image is converted for a model, and to what. Nothing is decoded here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch_vision.core.image_limits import ImageLimits


@dataclass(frozen=True, slots=True)
class Target:
    """What a converted image must keep to.

    Attributes
    ----------
    max_bytes, max_side_px
        Of the encoded JPEG; 65,500 pixels are the most that the format's encoder takes.
    """

    max_bytes: int
    max_side_px: int


_MOST_JPEG_PX = 65_500


def target_of(limits: Iterable[ImageLimits]) -> Target:
    """Return what a single converted image must keep to, so that each of several services takes it."""
    chosen = [*limits]
    return Target(
        min(one.max_sent_bytes for one in chosen), int(min(_MOST_JPEG_PX, *(one.max_side_px for one in chosen)))
    )


def sides_within(width_px: int, height_px: int, max_side_px: int) -> tuple[int, int]:
    """Return the largest sides of the same ratio that are within a limit; never larger ones than there are."""
    scale = min(1.0, max_side_px / max(width_px, height_px))
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))
