"""Pictures for a page: thumbnails of images and of masks, made of content that may be anything."""

from __future__ import annotations

import base64
import io
import threading
import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from pi_heif import register_heif_opener
from PIL import ExifTags, Image, ImageChops, ImageOps

from batch_vision.core.conversion import FORMATS, in_eight_bits, shade_range
from batch_vision.core.image_header import SIDEWAYS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

register_heif_opener()

THUMBNAIL_PX = 320
MOST_BYTES = 256 * 1024**2  # nothing larger is converted for a model
_THUMBNAIL_QUALITY = 70
_MOST_PIXELS = 150_000_000
_SHOWN_PX = 4096  # of a picture that is encoded for a browser; more is slow, and a WebP has 16,383 at the most
_SHOWN_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")  # by every browser
_MASK_BACKGROUND = (255, 255, 255)

_LARGE_BYTES, _LARGE_PIXELS = 20 * 1024**2, 25_000_000
_large = threading.RLock()  # of large pictures, one at a time is in memory

type Size = tuple[int, int]

# What Pillow raises at content that is broken; some decoders raise what Python has for a wrong value.
UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, RuntimeError),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


@contextmanager
def without_bombs() -> Iterator[None]:
    """Let an image with far too many pixels be an error, rather than a line that Pillow prints."""
    most = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = most


def room_for(size_bytes: int) -> AbstractContextManager[Any]:
    """Wait until no other large file is in memory; held while a file of so many bytes is read and shown."""
    return _large if size_bytes > _LARGE_BYTES else nullcontext()


def make_thumbnail(content: bytes) -> tuple[bytes, Size, Size]:
    """Make a WebP of at most `THUMBNAIL_PX`; return it, its size and that of the image, in pixels.

    Raises
    ------
    UNREADABLE
        The content is no picture, or not one that is shown.
    """
    with _open(content) as opened:
        width_px, height_px = opened.size
        opened.draft("RGB", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))  # JPEG: decode no more than is needed
        image, is_turned = _seen(opened, THUMBNAIL_PX)
        whole_px = (height_px, width_px) if is_turned else (width_px, height_px)
        return _webp(image, quality=_THUMBNAIL_QUALITY), image.size, whole_px


def make_mask(content: bytes) -> bytes:
    """Make what is no anomaly transparent, so that the mask lies over the picture; raises as `make_thumbnail`."""
    with _open(content) as opened:
        image = opened.convert("RGBA")
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.NEAREST)
    difference = ImageChops.difference(image.convert("RGB"), Image.new("RGB", image.size, _MASK_BACKGROUND))
    red, green, blue = difference.split()
    alpha = ImageChops.lighter(ImageChops.lighter(red, green), blue).point([0] + [255] * 255)
    image.putalpha(alpha)
    return _webp(image, lossless=True)


def for_browser(content: bytes) -> tuple[bytes, str]:
    """Return an image as every browser can show it, and its media type; raises as `make_thumbnail`."""
    with _open(content) as opened:
        if opened.format in _SHOWN_FORMATS:
            return content, Image.MIME[opened.format]
        return _webp(_seen(opened, _SHOWN_PX)[0], quality=90), "image/webp"


def data_uri(webp: bytes) -> str:
    """Return a WebP as text for a page."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def _open(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=(*FORMATS, "HEIF"))
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels")
    return image


def _seen(opened: Image.Image, most_px: int) -> tuple[Image.Image, bool]:
    """Return an image as it is seen, with sides of so many pixels at most; and whether its sides were exchanged."""
    with _large if opened.width * opened.height > _LARGE_PIXELS else nullcontext():
        opened.load()  # a TIFF turns itself upright
        image = _in_eight_bits(opened)
        if image.mode not in ("RGB", "RGBA"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image.thumbnail((most_px, most_px))
    # Boxes are of the image as it is seen, after its Exif orientation. What is small is turned at no cost.
    is_turned = image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS
    return ImageOps.exif_transpose(image), is_turned


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Return greys of more bits from black to white, as a model sees them: Pillow cuts them off at 255."""
    if image.mode[0] not in "IF":
        return image
    shades = (0, 65_535) if image.mode.startswith("I;16") else shade_range(*_extrema(image))
    return in_eight_bits(image, *shades)


def _extrema(numbers: Image.Image) -> tuple[float, float]:
    lowest, highest = numbers.getextrema()
    return float(lowest), float(highest)  # type: ignore[arg-type]


def _webp(image: Image.Image, **options: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", **options)
    return encoded.getvalue()
