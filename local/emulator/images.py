"""Checks an image before it is analysed, and decodes it."""

from __future__ import annotations

import dataclasses
import io
import warnings
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import ExifTags, Image, ImageOps

from local.emulator.errors import ImageDimensionsError, ImageFormatError, ImageTooLargeError

if TYPE_CHECKING:
    from PIL.JpegImagePlugin import JpegImageFile

SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}
# Values of the EXIF orientation of pictures that lie on one of their sides.
LYING_ORIENTATIONS = (5, 6, 7, 8)
HIGH_DEPTH_MODES = ("I", "I;16", "I;16B", "I;16L")


@dataclasses.dataclass(frozen=True)
class ImageLimits:
    """What a service accepts.

    Attributes
    ----------
    max_bytes
        Largest accepted size of the encoded image, in bytes.
    min_side_px, max_side_px
        Shortest and longest accepted side, in pixels.
    max_aspect_ratio
        Most that the longer side may be of the shorter, or None for no limit.
    """

    max_bytes: int
    min_side_px: int = 64
    max_side_px: int = 4096
    max_aspect_ratio: float | None = 20.0


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
    image, image_format = _opened(content, limits)
    try:
        # A PNG would be decoded whole in search of an orientation that its header does not have.
        has_exif = image_format == "JPEG" or "exif" in image.info
        orientation = image.getexif().get(ExifTags.Base.Orientation) if has_exif else None
    except Exception as error:  # Pillow raises many kinds for broken headers
        raise ImageFormatError(f"the {image_format} header cannot be read: {error}") from error
    width_px, height_px = reversed(image.size) if orientation in LYING_ORIENTATIONS else image.size
    return ImageHeader(image_format, width_px, height_px)


def decode(content: bytes, limits: ImageLimits, scaled_to_px: int | None = None) -> Image.Image:
    """Check an encoded image against the limits and decode it to RGB, upright, its first frame only.

    The sides are checked on the header, so that a small file of huge sides is never decompressed.

    Parameters
    ----------
    content
        The encoded image.
    limits
        What the service accepts.
    scaled_to_px
        If given, a JPEG may be decoded smaller, with sides of at least this many pixels: it is quicker.

    Raises
    ------
    ImageFormatError
        If the bytes are not a whole JPEG or PNG.
    ImageTooLargeError
        If there are too many bytes, or a side is too long.
    ImageDimensionsError
        If a side is too short, or the sides are too unequal.
    """
    image, image_format = _opened(content, limits)
    try:
        if image_format == "JPEG" and scaled_to_px is not None:
            cast("JpegImageFile", image).draft(None, (scaled_to_px, scaled_to_px))
        image.load()
        # A decoded image may take 64 MiB: no copy is made that is not needed.
        ImageOps.exif_transpose(image, in_place=True)
        return image if image.mode == "RGB" and not image.has_transparency_data else _to_rgb(image)
    except Exception as error:  # likewise for broken bodies
        raise ImageFormatError(f"the {image_format} content cannot be decoded: {error}") from error


def _opened(content: bytes, limits: ImageLimits) -> tuple[Image.Image, str]:
    if len(content) > limits.max_bytes:
        raise ImageTooLargeError(f"the image has {len(content)} bytes, at most {limits.max_bytes} are accepted")
    image_format = next((name for magic, name in SIGNATURES.items() if content.startswith(magic)), None)
    if image_format is None:
        raise ImageFormatError("the content is neither a JPEG nor a PNG image")
    try:
        with warnings.catch_warnings():
            # The limit of sides below is the stricter one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=[image_format])
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(str(error)) from error
    except Exception as error:  # Pillow raises many kinds for broken headers
        raise ImageFormatError(f"the {image_format} header cannot be read: {error}") from error
    _check_sides(image.size, limits)
    return image, image_format


def _check_sides(size: tuple[int, int], limits: ImageLimits) -> None:
    shorter, longer = min(size), max(size)
    if longer > limits.max_side_px:
        raise ImageTooLargeError(f"a side has {longer} pixels, at most {limits.max_side_px} are accepted")
    if shorter < limits.min_side_px:
        raise ImageDimensionsError(f"a side has {shorter} pixels, at least {limits.min_side_px} are needed")
    if limits.max_aspect_ratio is not None and longer > limits.max_aspect_ratio * shorter:
        raise ImageDimensionsError(
            f"the sides are {longer} and {shorter} pixels, at most {limits.max_aspect_ratio:g} to 1 is accepted"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in HIGH_DEPTH_MODES:
        # Pillow's own conversion clips 16-bit values at 255 instead of scaling them.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
