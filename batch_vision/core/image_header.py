"""What the header of a PNG or JPEG tells of the image. Nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDEWAYS = frozenset({5, 6, 7, 8})  # Exif orientations that exchange the sides (CIPA DC-008, "Orientation")
HEADER_BYTES = 1024**2  # a PNG has its sides in the first 24; a JPEG after its metadata, in segments of up to 64 KiB

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# Start of frame (ITU-T T.81, table B.1): C0 to CF, of which C4, C8 and CC are other segments.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_SCAN, _END = 0xDA, 0xD9
_APP1, _EXIF, _ORIENTATION = 0xE1, b"Exif\0\0", 274
_CMYK_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a header says.

    Attributes
    ----------
    image_format
        `PNG` or `JPEG`.
    width_px, height_px
        As they are stored, which is before the Exif orientation of a JPEG.
    channel_bits
        Bits of a channel of a pixel.
    is_cmyk
        Whether its channels are the four colours of print.
    """

    image_format: str
    width_px: int
    height_px: int
    channel_bits: int
    is_cmyk: bool


def read_header(start: bytes) -> ImageHeader | None:
    """Return what an image says of itself; None where the bytes are of no PNG or JPEG.

    Parameters
    ----------
    start
        The first bytes of the image.

    Raises
    ------
    struct.error
        They end before it is said.
    """
    if start.startswith(_PNG):
        (kind,) = struct.unpack_from(">4s", start, 12)
        if kind != b"IHDR":
            return None
        width_px, height_px, channel_bits = struct.unpack_from(">IIB", start, 16)
        return ImageHeader("PNG", width_px, height_px, channel_bits, is_cmyk=False)
    for marker, at in _segments(start):
        if marker in _FRAMES:
            channel_bits, height_px, width_px, channels = struct.unpack_from(">BHHB", start, at + 4)
            return ImageHeader("JPEG", width_px, height_px, channel_bits, is_cmyk=channels == _CMYK_CHANNELS)
    return None


def is_cut_off(start: bytes) -> bool:
    """Return whether the bytes are of a PNG or JPEG, and end before it says what it is."""
    try:
        read_header(start)
    except struct.error:
        return True
    return False


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
        header = read_header(start)
    except struct.error:
        return None
    # The height of a JPEG may be told after its first scan.
    if header is None or not header.width_px or not header.height_px:
        return None
    try:
        is_turned = _is_turned(start)
    except struct.error:  # an Exif that leads nowhere is no Exif
        is_turned = False
    sides = header.width_px, header.height_px
    return sides[::-1] if is_turned else sides


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
                    return value in SIDEWAYS
            return False
    return False
