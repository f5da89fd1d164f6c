"""What a service takes as an image, and what of an image breaks it."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from batch_vision.core.image_header import read_header


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a service documents about the images that it takes; PNG and JPEG, as all of them do.

    Attributes
    ----------
    max_sent_bytes
        Largest size of the encoded image whose bytes are in a request.
    max_stored_bytes
        Largest size of one that the service reads from S3; None where it does not read S3.
    min_side_px, max_side_px
        Shortest and longest side; infinite where no longest is documented.
    max_aspect_ratio
        Most that the longer side may be of the shorter; infinite where none is documented.
    max_channel_bits
        Most bits of a channel of a pixel.
    takes_cmyk
        Whether the four colours of print are taken.
    """

    max_sent_bytes: int
    max_stored_bytes: int | None = None
    min_side_px: int = 1
    max_side_px: float = math.inf
    max_aspect_ratio: float = math.inf
    max_channel_bits: int = 8
    takes_cmyk: bool = False

    @property
    def max_bytes(self) -> int:
        """Largest size of an image as it is in S3."""
        return self.max_sent_bytes if self.max_stored_bytes is None else self.max_stored_bytes


@dataclass(frozen=True, slots=True)
class BrokenLimit:
    """A limit that an image breaks.

    Attributes
    ----------
    reason
        A sentence.
    is_mended_by_converting
        Whether the same picture in another format, or smaller, would break it no more.
    """

    reason: str
    is_mended_by_converting: bool


def broken_limit(start: bytes, size_bytes: int, limits: ImageLimits) -> BrokenLimit | None:
    """Return the limit that an image in S3 breaks; None where it breaks none, or none that can be seen.

    What converting does not mend is told before what it mends.

    Parameters
    ----------
    start
        The first bytes of the image.
    size_bytes
        Size of the whole image.
    """
    try:
        header = read_header(start)
    except struct.error:  # the bytes end before the sides
        if len(start) >= size_bytes:
            return BrokenLimit("Its header is cut off.", is_mended_by_converting=False)
        header = None
    else:
        if header is None:
            return BrokenLimit("It is neither a PNG nor a JPEG.", is_mended_by_converting=True)
    if header:
        measured = f"It is {header.width_px} by {header.height_px} pixels"
        shorter_px, longer_px = sorted((header.width_px, header.height_px))
        if shorter_px < limits.min_side_px:
            return BrokenLimit(f"{measured}; each side must have {limits.min_side_px} at least.", False)
        if longer_px > limits.max_aspect_ratio * shorter_px:
            ratio = f"the longer side may be {limits.max_aspect_ratio:g} times the shorter at most"
            return BrokenLimit(f"{measured}; {ratio}.", False)
        if longer_px > limits.max_side_px:
            return BrokenLimit(f"{measured}; each side may have {limits.max_side_px:g} at most.", True)
        if header.is_cmyk and not limits.takes_cmyk:
            return BrokenLimit("Its colours are those of print (CMYK).", True)
        if header.channel_bits > limits.max_channel_bits:
            bits = f"{header.channel_bits} bits in each channel; there may be {limits.max_channel_bits}"
            return BrokenLimit(f"It has {bits}.", True)
    if size_bytes > limits.max_bytes:
        return BrokenLimit(f"It has {size_bytes:,} bytes, more than {limits.max_bytes:,}.", True)
    return None
