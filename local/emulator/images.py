"""Checks an image before it is analysed, and decodes it."""

from __future__ import annotations

import dataclasses
import io
import warnings
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from local.emulator.errors import (
    ImageDimensionsError,
    ImageFormatError,
    ImageSidesTooLongError,
    ImageTooLargeError,
)
from local.emulator.metadata import orientation, split_jpeg, split_png

if TYPE_CHECKING:
    from PIL.JpegImagePlugin import JpegImageFile

    from batch_vision.core.image_limits import ImageLimits

SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
_SPLIT = {"JPEG": split_jpeg, "PNG": split_png}
# What makes a picture upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Values of the EXIF orientation of pictures that lie on one of their sides.
_LYING_ORIENTATIONS = (5, 6, 7, 8)
_END_OF_JPEG = b"\xff\xd9"
# More pixels, for a decoder that still waits for some.
_MORE_JPEG_DATA = b"\xa5\x5a\x3c\xc3" * 64
# Of a PNG, the byte that says how many bits a channel has: the ninth of its first chunk's content.
_PNG_CHANNEL_BITS_AT = 24
_HIGH_DEPTH_MODES = ("I", "I;16", "I;16B", "I;16L")


@dataclasses.dataclass(frozen=True)
class ImageHeader:
    """What an encoded image says of itself before it is decoded.

    Attributes
    ----------
    image_format
        `JPEG` or `PNG`.
    width_px, height_px
        Its sides when it is upright.
    """

    image_format: str
    width_px: int
    height_px: int


def read_header(content: bytes, limits: ImageLimits) -> ImageHeader:
    """Check an encoded image against the limits without decoding it; see `decode` for the errors."""
    opened = _Opened.of(content, limits)
    size = opened.image.size
    width_px, height_px = reversed(size) if opened.orientation in _LYING_ORIENTATIONS else size
    return ImageHeader(opened.image_format, width_px, height_px)


def decode(content: bytes, limits: ImageLimits, scaled_to_px: int | None = None) -> Image.Image:
    """Check an encoded image against the limits and decode it to RGB, upright, its first frame only.

    The sides are checked on the header, so that a small file of huge sides is never decompressed.

    Parameters
    ----------
    content
        The encoded image.
    limits
        What the service accepts; for the size, that of an object in S3 where the service reads S3.
    scaled_to_px
        If given, a JPEG may be decoded smaller, with sides of at least this many pixels: it is quicker.

    Raises
    ------
    ImageFormatError
        If the bytes are not a whole JPEG or PNG, or its colours are not accepted.
    ImageTooLargeError
        If there are too many bytes, or a side is too long.
    ImageDimensionsError
        If a side is too short, or the sides are too unequal.
    """
    opened = _Opened.of(content, limits)
    image = opened.image
    try:
        if opened.image_format == "JPEG" and scaled_to_px is not None:
            cast("JpegImageFile", image).draft(None, (scaled_to_px, scaled_to_px))
        try:
            image.load()
        except OSError:
            if opened.image_format == "PNG" or not _has_all_pixels(opened.pixels):
                raise
            image = _jpeg(opened.pixels + _END_OF_JPEG)
        # A decoded image may take 64 MiB: no copy is made that is not needed.
        if opened.orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[opened.orientation])
        return image if image.mode == "RGB" and not image.has_transparency_data else _to_rgb(image)
    except Exception as error:  # Pillow raises many kinds for broken bodies
        raise ImageFormatError(f"the {opened.image_format} content cannot be decoded: {error}") from error


@dataclasses.dataclass(frozen=True)
class _Opened:
    """An image whose header was read: its format, its pixels still encoded and without metadata, and how it lies."""

    image: Image.Image
    image_format: str
    pixels: bytes
    orientation: int

    @classmethod
    def of(cls, content: bytes, limits: ImageLimits) -> _Opened:
        if len(content) > limits.max_bytes:
            raise ImageTooLargeError(f"the image has {len(content)} bytes, at most {limits.max_bytes} are accepted")
        image_format = next((name for magic, name in SIGNATURES.items() if content.startswith(magic)), None)
        if image_format is None:
            raise ImageFormatError("the content is neither a JPEG nor a PNG image")
        pixels, exif = _SPLIT[image_format](content)
        try:
            with warnings.catch_warnings():
                # The limit of sides below is the stricter one.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(pixels), formats=[image_format])
        except Image.DecompressionBombError as error:
            raise ImageSidesTooLongError(str(error)) from error
        except Exception as error:  # Pillow raises many kinds for broken headers
            raise ImageFormatError(f"the {image_format} header cannot be read: {error}") from error
        _check_sides(image.size, limits)
        channel_bits = pixels[_PNG_CHANNEL_BITS_AT] if image_format == "PNG" else 8  # Pillow opens no other JPEG
        _check_colours(image.mode, channel_bits, limits)
        return cls(image, image_format, pixels, orientation(exif))


def _has_all_pixels(jpeg: bytes) -> bool:
    """Return whether a JPEG that ends early lacks its end marker only: then more data changes no pixel."""
    jpeg = jpeg.rstrip(_END_OF_JPEG[:1])  # half of the marker
    as_it_is, with_more = (_jpeg(jpeg + more + _END_OF_JPEG) for more in (b"", _MORE_JPEG_DATA))
    return as_it_is.tobytes() == with_more.tobytes()


def _jpeg(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=["JPEG"])
    image.load()
    return image


def _check_sides(size: tuple[int, int], limits: ImageLimits) -> None:
    shorter, longer = min(size), max(size)
    if longer > limits.max_side_px:
        raise ImageSidesTooLongError(f"a side has {longer} pixels, at most {limits.max_side_px} are accepted")
    if shorter < limits.min_side_px:
        raise ImageDimensionsError(f"a side has {shorter} pixels, at least {limits.min_side_px} are needed")
    if longer > limits.max_aspect_ratio * shorter:
        raise ImageDimensionsError(
            f"the sides are {longer} and {shorter} pixels, at most {limits.max_aspect_ratio:g} to 1 is accepted"
        )


def _check_colours(mode: str, channel_bits: int, limits: ImageLimits) -> None:
    if mode == "CMYK" and not limits.takes_cmyk:
        raise ImageFormatError("its colours are CMYK, which is not accepted")
    if channel_bits > limits.max_channel_bits:
        raise ImageFormatError(f"a channel has {channel_bits} bits, at most {limits.max_channel_bits} are accepted")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _HIGH_DEPTH_MODES:
        # Pillow's own conversion clips 16-bit values at 255 instead of scaling them.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
