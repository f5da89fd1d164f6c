"""What an image's header says."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from batch_vision.core.image_header import ImageHeader, read_header, sides_px


def encoded(kind: str, mode: str = "L", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (100, 80), 128).save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode", "channel_bits", "is_cmyk"),
    [
        ("PNG", "1", 1, False),
        ("PNG", "L", 8, False),
        ("PNG", "RGBA", 8, False),
        ("PNG", "I;16", 16, False),
        ("JPEG", "L", 8, False),
        ("JPEG", "RGB", 8, False),
        ("JPEG", "CMYK", 8, True),
    ],
)
def test_colours(kind: str, mode: str, channel_bits: int, is_cmyk: bool) -> None:
    assert read_header(encoded(kind, mode)) == ImageHeader(kind, 100, 80, channel_bits, is_cmyk)


def test_a_jpeg_of_more_bits() -> None:
    """Pillow writes none: twelve in each channel, as T.81 has it."""
    jpeg = bytearray(encoded("JPEG"))
    at = jpeg.index(b"\xff\xc0") + 4
    jpeg[at : at + 1] = b"\x0c"
    assert read_header(bytes(jpeg)) == ImageHeader("JPEG", 100, 80, 12, is_cmyk=False)


def exif(orientation: int) -> bytes:
    """A TIFF directory of two entries."""
    told = Image.Exif()
    told[271] = "maker"
    told[274] = orientation
    return told.tobytes()


@pytest.mark.parametrize("orientation", range(10))
def test_the_sides_are_those_after_the_orientation(orientation: int) -> None:
    turned = (80, 100) if orientation in (5, 6, 7, 8) else (100, 80)
    jpeg = encoded("JPEG", exif=exif(orientation), comment=b"x" * 60_000)
    assert sides_px(jpeg) == turned
    swapped = jpeg.replace(b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0II*\0\x08\0\0\0")  # entries that are nonsense then
    assert sides_px(swapped) == (100, 80)
    assert sides_px(encoded("PNG")) == (100, 80)


def test_sides_that_are_not_told() -> None:
    jpeg = encoded("JPEG", exif=exif(6))
    frame = jpeg.index(b"\xff\xc0")
    without_height = jpeg[: frame + 5] + b"\0\0" + jpeg[frame + 7 :]
    for content in (b"", b"text", b"\xff\xd8", encoded("GIF"), jpeg[:frame], without_height):
        assert sides_px(content) is None
    for end in range(len(jpeg)):
        sides_px(jpeg[:end])
    at = jpeg.index(b"Exif")
    for place in range(at, at + 40):  # an Exif that leads nowhere
        assert sides_px(jpeg[:place] + b"\xff" + jpeg[place + 1 :]) in ((100, 80), (80, 100))
