"""Large pictures in the formats of phones, cameras and browsers, made for what converts them."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ExifTags, Image
from pillow_heif import register_heif_opener

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

register_heif_opener()  # its encoder too, which what converts does not have

ORIENTATIONS = range(1, 9)

# How a picture lies in a file whose Exif orientation makes it upright.
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_GRAIN_PX = 512
_GRAIN_SPREAD = 3.0


def enlarged(picture: Image.Image, pixels: float) -> Image.Image:
    """Return a picture with so many pixels, of the same ratio."""
    scale = (pixels / (picture.width * picture.height)) ** 0.5
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)


def grained(picture: Image.Image) -> Image.Image:
    """Return a picture with the grain of a camera: what is only enlarged is decoded faster than a photograph."""
    chance = np.random.default_rng(1)
    grain = np.round(chance.normal(0, _GRAIN_SPREAD, (_GRAIN_PX, _GRAIN_PX, 3))).astype(np.int16)
    pixels = np.array(picture)
    for top in range(0, picture.height, _GRAIN_PX):
        band = pixels[top : top + _GRAIN_PX].astype(np.int16)
        band += np.tile(grain, (1, -(-picture.width // _GRAIN_PX), 1))[: len(band), : picture.width]
        pixels[top : top + _GRAIN_PX] = np.clip(band, 0, 255)
    return Image.fromarray(pixels)


def save(picture: Image.Image, form: str, path: Path, orientation: int = 1) -> None:
    """Write a picture in one of `FORMS`, lying so that its Exif orientation makes it upright."""
    stored = picture.transpose(_STORED[orientation]) if orientation in _STORED else picture
    _ENCODERS[form](stored, path, orientation)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def _by_pillow(name: str, mode: str = "RGB", **options: Any) -> Callable[[Image.Image, Path, int], None]:
    def encode(picture: Image.Image, path: Path, orientation: int) -> None:
        converted = picture if picture.mode == mode else picture.convert(mode)
        converted.save(path, name, exif=_exif(orientation).tobytes(), **options)

    return encode


def _png_16(picture: Image.Image, path: Path, orientation: int) -> None:
    """Write three channels of 16 bits, which Pillow reads and does not write."""
    rows = np.zeros((picture.height, 1 + 6 * picture.width), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = np.repeat(np.asarray(picture).reshape(picture.height, -1), 2, axis=1)  # 257 times the value
    head = struct.pack(">IIBBBBB", picture.width, picture.height, 16, 2, 0, 0, 0)
    exif = _exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in (
            (b"IHDR", head),
            (b"eXIf", exif),
            (b"IDAT", zlib.compress(rows, 1)),
            (b"IEND", b""),
        ):
            file.write(struct.pack(">I", len(content)) + kind + content)
            file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))


_ENCODERS: dict[str, Callable[[Image.Image, Path, int], None]] = {
    "JPEG": _by_pillow("JPEG", quality=92),
    "progressive JPEG": _by_pillow("JPEG", quality=92, progressive=True),
    "CMYK JPEG": _by_pillow("JPEG", "CMYK", quality=92),
    "16-bit PNG": _png_16,
    "WebP": _by_pillow("WEBP", quality=90, method=0),
    "TIFF": _by_pillow("TIFF", compression="tiff_lzw"),
    "AVIF": _by_pillow("AVIF", quality=80, speed=10),
    "HEIF": _by_pillow("HEIF", quality=80, enc_params={"preset": "ultrafast"}),
}
FORMS = tuple(_ENCODERS)
