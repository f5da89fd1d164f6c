"""What of an image is converted for a model, and to what. Nothing is decoded here."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batch_vision.core.image_limits import broken_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from PIL.Image import Image

    from batch_vision.core.image_limits import ImageLimits

MIB_BYTES = 1024**2
MOST_FUNCTION_MB = 10_240  # AWS Lambda developer guide, "Lambda quotas"

# What Pillow decodes by itself, the usual ones first; those that have no mark of their own last. Not EPS, which starts
# another program; WMF, GRIB, BUFR, HDF5 and MPEG, which it only recognizes; IPTC, FPX and MIC, which hold a file of any
# format.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "DIB", "BLP", "CUR", "DCX"),
    *("DDS", "FITS", "FLI", "FTEX", "GBR", "ICNS", "ICO", "MCIDAS", "MSP", "PCX", "PIXAR", "PSD", "QOI"),
    *("SGI", "SUN", "XBM", "XPM", "XVTHUMB", "PCD", "IM", "SPIDER", "TGA"),
)

# Longest side of a JPEG that the encoder takes.
_MOST_JPEG_PX = 65_500
# The formats that are decoded at a half, a quarter or an eighth of their sides, for a part of the memory.
_SCALABLE = frozenset({"JPEG", "MPO"})
_SCALES = (8, 4, 2)
# A JPEG is decoded to a few pixels less than a model takes where that saves three quarters of the time and memory.
_ENOUGH = 0.9

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1"}
)

_MOST_CPU_SECONDS = 20
_MOST_SECONDS = 30  # of the 36 in which a function asks the model, unless it is given more

# Measured with Pillow 13.0.0 and pi-heif 1.4.0, as the limit with which the process still does it, less the pictures.
PROCESS_BYTES = 36 * MIB_BYTES
# Bytes of a pixel of a decoded picture; in all other modes 4.
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_MOST_PIXEL_BYTES = 4
# What a decoder holds beside that for each pixel while it works.
_DECODER_BYTES = {"WEBP": 12, "AVIF": 6, "HEIF": 1, "JPEG2000": 15}
# Decoders that have the whole file in memory.
_READING_WHOLE = frozenset({"WEBP", "AVIF", "HEIF", "ICNS"})
# For each pixel of the JPEG: the picture, the same turned upright, and the encoded bytes.
_ENCODING_BYTES = 8
# Want of memory makes no picture smaller than this, but a JPEG that is decoded at a part of its sides.
_LEAST_SIDE_PX = 4096
_ROUNDED = 0.98  # sides are rounded up


@dataclass(frozen=True, slots=True)
class Target:
    """What a converted image must keep to.

    Attributes
    ----------
    max_bytes, max_side_px
        Of the encoded JPEG.
    """

    max_bytes: int
    max_side_px: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What a decoder says of an image before it decodes it.

    Attributes
    ----------
    image_format, mode
        As Pillow calls them.
    size_bytes
        Of the file.
    extra_pixel_bytes
        What this file makes its decoder hold for each pixel, beside what every file of its format does.
    """

    image_format: str
    mode: str
    width_px: int
    height_px: int
    size_bytes: int
    extra_pixel_bytes: float = 0

    def __str__(self) -> str:
        return f"{self.width_px:,} by {self.height_px:,} pixels ({self.image_format}, {self.mode})"


def conversion_reasons(start: bytes, size_bytes: int, limits: Mapping[str, ImageLimits]) -> dict[str, str]:
    """Return why an image is converted, by the names of the detectors for which it is.

    Parameters
    ----------
    start
        The first bytes of the image.
    size_bytes
        Size of the whole image.
    """
    broken = {name: broken_limit(start, size_bytes, one) for name, one in limits.items()}
    return {name: one.reason for name, one in broken.items() if one and one.is_mended_by_converting}


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


def sides_of_less(width_px: int, height_px: int, size_bytes: int, max_bytes: int) -> tuple[int, int]:
    """Return smaller sides of the same ratio, at which an encoded image is likely to be within its bytes."""
    return sides_within(
        width_px, height_px, max(1, int(max(width_px, height_px) * min(0.9, math.sqrt(max_bytes / size_bytes))))
    )


def decoded_scale(picture: Picture, target: Target, memory_bytes: int) -> int:
    """Return by how much the sides of a picture are divided as it is decoded: 1, 2, 4 or 8.

    As much as leaves what the target admits; more, where there is not the memory for it.
    """
    if picture.image_format not in _SCALABLE:
        return 1
    longer_px = max(picture.width_px, picture.height_px)
    scale = next((scale for scale in _SCALES if longer_px >= _ENOUGH * scale * target.max_side_px), 1)
    while scale < max(_SCALES) and needed_bytes(picture, target, scale) > memory_bytes:
        scale *= 2
    return scale


def affordable_target(picture: Picture, target: Target, scale: int, memory_bytes: int) -> Target:
    """Return a target of the sides for which there is the memory: up to what a model takes, and 4,096 pixels at least.

    Parameters
    ----------
    scale
        By how much the sides are divided as it is decoded.
    """
    sides_px = picture.width_px / scale, picture.height_px / scale
    spare_bytes = memory_bytes - PROCESS_BYTES
    most_px = min(
        spare_bytes / _ENCODING_BYTES,
        (spare_bytes - math.prod(sides_px) * _pixel_bytes(picture)) / _MOST_PIXEL_BYTES,
    )
    most_side_px = int(math.sqrt(_ROUNDED * max(0.0, most_px) * max(sides_px) / min(sides_px)))
    return replace(target, max_side_px=min(target.max_side_px, max(_LEAST_SIDE_PX, most_side_px)))


def needed_bytes(picture: Picture, target: Target, scale: int = 1) -> int:
    """Return the memory of a process that converts a picture.

    Parameters
    ----------
    scale
        By how much the sides are divided as it is decoded.
    """
    width_px, height_px = math.ceil(picture.width_px / scale), math.ceil(picture.height_px / scale)
    made_width_px, made_height_px = sides_within(width_px, height_px, target.max_side_px)
    made_px = made_width_px * made_height_px
    decoded_bytes = width_px * height_px * _pixel_bytes(picture)
    for_pixel = _DECODER_BYTES.get(picture.image_format, 0) + picture.extra_pixel_bytes
    decoding_bytes = math.ceil(picture.width_px * picture.height_px * for_pixel)
    if picture.image_format in _READING_WHOLE:
        decoding_bytes += picture.size_bytes
    return PROCESS_BYTES + max(
        decoded_bytes + decoding_bytes, decoded_bytes + made_px * _MOST_PIXEL_BYTES, made_px * _ENCODING_BYTES
    )


def _pixel_bytes(picture: Picture) -> int:
    return _PIXEL_BYTES.get(picture.mode, _MOST_PIXEL_BYTES)


def most_cpu_seconds(memory_bytes: int) -> int:
    """Return for how long a process may convert one image, so that a hostile one is found out within an invocation.

    A function has as much of a processor as its memory is of 1,769 MB (Lambda developer guide, "Configure Lambda
    function memory").

    Parameters
    ----------
    memory_bytes
        Of the function.
    """
    return max(2, min(_MOST_CPU_SECONDS, round(_MOST_SECONDS * memory_bytes / (1769 * MIB_BYTES))))


def shade_range(lowest: float, highest: float) -> tuple[float, float]:
    """Return what is black and what is white in a picture whose shades are whole or floating numbers of any range.

    The range that such numbers usually have, where all are within it: 0 to 1, to 255 or to 65,535. Else their own.
    """
    if lowest >= 0:
        for white in (1, 255, 65_535):
            if highest <= white:
                return 0, white
    return lowest, max(highest, math.nextafter(lowest, math.inf))


def in_eight_bits(grey: Image, black: float, white: float) -> Image:
    """Return a grey picture whose shades are whole or floating numbers in 8 bits: Pillow cuts them off at 255.

    Parameters
    ----------
    black, white
        What these are in the picture.
    """
    scale = 255 / (white - black)
    offset = -black * scale
    numbers = grey if grey.mode == "F" else grey.convert("I").convert("F")
    return numbers.point(lambda shade: shade * scale + offset).convert("L")


def is_heif(start: bytes) -> bool:
    """Return whether a file is a HEIF with pictures of HEVC, by its brands (ISO/IEC 23008-12, annex B).

    A video (MP4, MOV) and a raw file of a camera (CR3) begin alike.

    Parameters
    ----------
    start
        The first 64 bytes at least.
    """
    length = int.from_bytes(start[:4])
    brands = {start[at : at + 4] for at in (8, *range(16, min(length, len(start)), 4))}
    return start[4:8] == b"ftyp" and not brands & _AVIF_BRANDS and bool(brands & _HEIF_BRANDS)


def webp_sides_px(start: bytes) -> tuple[int, int] | None:
    """Return width and height of a WebP, whose decoder has all its memory before it tells them; None of another file.

    Parameters
    ----------
    start
        The first 30 bytes at least.
    """
    if not (start.startswith(b"RIFF") and start[8:12] == b"WEBP" and len(start) >= 30):
        return None
    match start[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", start, 21)
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", start, 26)
            return width & 0x3FFF, height & 0x3FFF
    return None
