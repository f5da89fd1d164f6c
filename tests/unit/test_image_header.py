"""What an image's header says, and the documented limits."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from PIL import Image

from batch_vision.core.image_header import HEADER_BYTES, sides_px
from batch_vision.core.image_limits import ImageLimits, broken_limit

LIMITS = ImageLimits(max_sent_bytes=1000_000, min_side_px=64, max_side_px=4096, max_aspect_ratio=20)


def encoded(kind: str, width_px: int = 100, height_px: int = 80, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new("L", (width_px, height_px), 128).save(content, kind, **options)
    return content.getvalue()


def broken(content: bytes, size_bytes: int | None = None) -> str | None:
    limit = broken_limit(content[:HEADER_BYTES], size_bytes or len(content), LIMITS)
    return limit and limit.reason


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    ("sides", "is_broken"),
    [
        ((64, 64), False),
        ((63, 64), True),
        ((64, 63), True),
        ((4096, 205), False),
        ((4097, 300), True),
        ((300, 4097), True),
        ((1280, 64), False),
        ((1281, 64), True),
        ((64, 1281), True),
    ],
)
def test_each_side_of_each_limit(kind: str, sides: tuple[int, int], is_broken: bool) -> None:
    reason = broken(encoded(kind, *sides))
    assert bool(reason) is is_broken
    assert reason is None or f"{sides[0]} by {sides[1]}" in reason


def test_size() -> None:
    assert broken(encoded("PNG"), 1000_000) is None
    assert broken(encoded("PNG"), 1000_001) == "It has 1,000,001 bytes, more than 1,000,000."


@pytest.mark.parametrize(
    "content", [b"text", b"GIF89a", encoded("GIF"), encoded("BMP"), encoded("WEBP"), b"\xff\xd8\xff\xd9"]
)
def test_other_formats(content: bytes) -> None:
    assert broken(content) == "It is neither a PNG nor a JPEG."


def test_progressive_and_with_much_before_the_sides() -> None:
    assert broken(encoded("JPEG", 63, 100, progressive=True, comment=b"x" * 60_000, exif=b"Exif\0\0" + b"y" * 60_000))
    assert not broken(encoded("JPEG", 64, 100, progressive=True, comment=b"x" * 60_000))
    padded = b"\xff\xd8\xff\xff\xff\x01\xff\xd0" + encoded("JPEG", 63, 100)[2:]
    assert "63 by 100" in str(broken(padded))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_is_cut_off_in_its_header_is_broken_and_what_was_not_read_is_not(kind: str) -> None:
    content = encoded(kind)[:20]
    assert broken(content) == "Its header is cut off."
    assert broken(content, 5000) is None


def test_no_beginning_makes_it_fail() -> None:
    jpeg, png = encoded("JPEG"), encoded("PNG")
    for content in (jpeg, png, b"\xff\xd8" + b"\xff" * 50, b"\xff\xd8" + struct.pack(">BBH", 0xFF, 0xE0, 0)):
        for end in range(min(len(content), 700)):
            broken(content[:end])
            broken(content[:end], 10_000)


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
