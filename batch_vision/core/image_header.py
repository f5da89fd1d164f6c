"""What an image's own header tells: its sides, and whether they break a documented limit. Nothing is decoded."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER_BYTES = 1024**2  # a PNG has its sides in the first 24; a JPEG after its metadata, in segments of up to 64 KiB

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# Start of frame (ITU-T T.81, table B.1): C0 to CF, of which C4, C8 and CC are other segments.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_SCAN, _END = 0xDA, 0xD9
_APP1, _EXIF, _ORIENTATION = 0xE1, b"Exif\0\0", 274
_TURNED = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a service documents about the PNG and JPEG images that it takes.

    Attributes
    ----------
    max_bytes
        Largest size of the encoded image.
    min_side_px, max_side_px
        Shortest and longest side.
    max_aspect_ratio
        Most that the longer side may be of the shorter; infinite where none is documented.
    """

    max_bytes: int
    min_side_px: int
    max_side_px: int
    max_aspect_ratio: float = math.inf


def broken_limit(start: bytes, size_bytes: int, limits: ImageLimits) -> str | None:
    """Return a sentence about the limit that an image breaks; None where it breaks none, or none that can be seen.

    Parameters
    ----------
    start
        The first bytes of the image.
    size_bytes
        Size of the whole image.
    """
    if size_bytes > limits.max_bytes:
        return f"It has {size_bytes:,} bytes, more than {limits.max_bytes:,}."
    try:
        sides = _sides_px(start)
    except struct.error:  # the bytes end before the sides
        return "Its header is cut off." if len(start) >= size_bytes else None
    if sides is None:
        return "It is neither a PNG nor a JPEG."
    width_px, height_px = sides
    shorter_px, longer_px = sorted(sides)
    measured = f"It is {width_px} by {height_px} pixels"
    if shorter_px < limits.min_side_px:
        return f"{measured}; each side must have {limits.min_side_px} at least."
    if longer_px > limits.max_side_px:
        return f"{measured}; each side may have {limits.max_side_px} at most."
    if longer_px > limits.max_aspect_ratio * shorter_px:
        return f"{measured}; the longer side may be {limits.max_aspect_ratio:g} times the shorter at most."
    return None


def sides_px(start: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG or JPEG as it is shown, which is after the Exif orientation of a JPEG.

    Parameters
    ----------
    start
        The first bytes of the image.

    Returns
    -------
    tuple or None
        None where they do not tell it.
    """
    try:
        sides = _sides_px(start)
    except struct.error:
        return None
    if sides is None or not all(sides):  # the height of a JPEG may be told after its first scan
        return None
    try:
        is_turned = _is_turned(start)
    except struct.error:  # an Exif that leads nowhere is no Exif
        is_turned = False
    return sides[::-1] if is_turned else sides


def _sides_px(start: bytes) -> tuple[int, int] | None:
    """Return width and height; None where the bytes are of no PNG or JPEG. Raises `struct.error` at their end."""
    if start.startswith(_PNG):
        (kind,) = struct.unpack_from(">4s", start, 12)
        return struct.unpack_from(">II", start, 16) if kind == b"IHDR" else None
    for marker, at in _segments(start):
        if marker in _FRAMES:
            height_px, width_px = struct.unpack_from(">HH", start, at + 5)
            return width_px, height_px
    return None


def _segments(start: bytes) -> Iterator[tuple[int, int]]:
    """Return marker and place of each segment of a JPEG, up to the frame; raises `struct.error` at the bytes' end."""
    at = len(_JPEG)
    while start.startswith(_JPEG):
        filler, marker = struct.unpack_from(">BB", start, at)
        if filler != 0xFF or marker in (_SCAN, _END):
            return
        if marker == 0xFF:  # any number of these may stand before a marker
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            yield marker, at
            if marker in _FRAMES:
                return
            (length,) = struct.unpack_from(">H", start, at + 2)
            at += 2 + length


def _is_turned(start: bytes) -> bool:
    """Return whether the Exif orientation of a JPEG exchanges its sides (Exif 2.32, tag 274: 5 to 8)."""
    for marker, at in _segments(start):
        if marker == _APP1 and start.startswith(_EXIF, at + 4):
            tiff = at + 4 + len(_EXIF)
            order = {b"II": "<", b"MM": ">"}.get(start[tiff : tiff + 2])
            if order is None:
                return False
            (directory,) = struct.unpack_from(f"{order}I", start, tiff + 4)
            (entries,) = struct.unpack_from(f"{order}H", start, tiff + directory)
            for entry in range(entries):
                tag, _, _, value = struct.unpack_from(f"{order}HHIH", start, tiff + directory + 2 + 12 * entry)
                if tag == _ORIENTATION:
                    return value in _TURNED
            return False
    return False
