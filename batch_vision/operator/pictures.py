"""Pictures for a page: thumbnails of images and of masks, made of content that may be anything."""

from __future__ import annotations

import base64
import io
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image, ImageChops, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterator

THUMBNAIL_PX = 320
MOST_BYTES = 20 * 1024**2  # no model takes a larger image
_THUMBNAIL_QUALITY = 70
_MOST_PIXELS = 100_000_000
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")  # no decoder that starts another program
_SHOWN_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")  # by every browser
_MASK_BACKGROUND = (255, 255, 255)
_SIDEWAYS = (5, 6, 7, 8)  # Exif orientations that exchange the sides (CIPA DC-008, "Orientation")

type Size = tuple[int, int]

# What Pillow raises at content that is broken; some decoders raise what Python has for a wrong value.
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)


@contextmanager
def without_bombs() -> Iterator[None]:
    """Let an image with far too many pixels be an error, rather than a line that Pillow prints."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def make_thumbnail(content: bytes) -> tuple[bytes, Size, Size]:
    """Make a WebP of at most `THUMBNAIL_PX`; return it, its size and that of the image, in pixels.

    Raises
    ------
    UNREADABLE
        The content is no picture, or not one that is shown.
    """
    with _open(content) as opened:
        whole_px = _seen_size(opened)
        opened.draft("RGB", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))  # JPEG: decode no more than is needed
        # Boxes are of the image as it is seen, after its Exif orientation.
        image = ImageOps.exif_transpose(opened)
        if image.mode not in ("RGB", "RGBA"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
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
    """Return an image at full size as every browser can show it, and its media type; raises as `make_thumbnail`."""
    with _open(content) as opened:
        if opened.format in _SHOWN_FORMATS:
            return content, Image.MIME[opened.format]
        return _webp(ImageOps.exif_transpose(opened).convert("RGBA"), quality=90), "image/webp"


def data_uri(webp: bytes) -> str:
    """Return a WebP as text for a page."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def _open(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels")
    return image


def _seen_size(opened: Image.Image) -> Size:
    width, height = opened.size
    # Of a JPEG it stands at the beginning; the models look at that of no other format.
    is_sideways = opened.format == "JPEG" and opened.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
    return (height, width) if is_sideways else (width, height)


def _webp(image: Image.Image, **options: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", **options)
    return encoded.getvalue()
