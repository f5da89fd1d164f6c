"""The documented limits, held against what an image's header says."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from batch_vision.core.image_header import HEADER_BYTES
from batch_vision.core.image_limits import BrokenLimit, ImageLimits, broken_limit

LIMITS = ImageLimits(
    max_sent_bytes=500_000, max_stored_bytes=1000_000, min_side_px=64, max_side_px=4096, max_aspect_ratio=20
)


def encoded(kind: str, width_px: int = 100, height_px: int = 80, mode: str = "L", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new(mode, (width_px, height_px), 128).save(content, kind, **options)
    return content.getvalue()


def broken(content: bytes, size_bytes: int | None = None, limits: ImageLimits = LIMITS) -> BrokenLimit | None:
    return broken_limit(content[:HEADER_BYTES], size_bytes or len(content), limits)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    ("sides", "is_mended"),
    [
        ((64, 64), None),
        ((63, 64), False),
        ((64, 63), False),
        ((4096, 205), None),
        ((4097, 300), True),
        ((300, 4097), True),
        ((1280, 64), None),
        ((1281, 64), False),
        ((64, 1281), False),
    ],
)
def test_each_side_of_each_limit(kind: str, sides: tuple[int, int], is_mended: bool | None) -> None:
    found = broken(encoded(kind, *sides))
    if is_mended is None:
        assert found is None
    else:
        assert found is not None
        assert f"{sides[0]} by {sides[1]}" in found.reason
        assert found.is_mended_by_converting is is_mended


def test_size() -> None:
    """What is in S3 may have as much as the service reads there; one that does not read S3 is sent all."""
    png = encoded("PNG")
    assert broken(png, 1000_000) is None
    assert broken(png, 1000_001) == BrokenLimit("It has 1,000,001 bytes, more than 1,000,000.", True)
    only_sent = replace(LIMITS, max_stored_bytes=None)
    assert broken(png, 500_000, only_sent) is None
    assert broken(png, 500_001, only_sent) == BrokenLimit("It has 500,001 bytes, more than 500,000.", True)


@pytest.mark.parametrize(
    "content", [b"text", b"GIF89a", encoded("GIF"), encoded("BMP"), encoded("WEBP"), b"\xff\xd8\xff\xd9"]
)
def test_other_formats(content: bytes) -> None:
    assert broken(content) == BrokenLimit("It is neither a PNG nor a JPEG.", True)


def test_colours() -> None:
    cmyk, deep = encoded("JPEG", mode="CMYK"), encoded("PNG", mode="I;16")
    assert broken(cmyk) == BrokenLimit("Its colours are those of print (CMYK).", True)
    assert broken(deep) == BrokenLimit("It has 16 bits in each channel; there may be 8.", True)
    takes_both = replace(LIMITS, takes_cmyk=True, max_channel_bits=16)
    assert (broken(cmyk, limits=takes_both), broken(deep, limits=takes_both)) == (None, None)


@pytest.mark.parametrize("sides", [(63, 5000), (200, 4200)])
@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "CMYK"), ("PNG", "I;16"), ("PNG", "L")])
def test_what_converting_does_not_mend_is_told_first(sides: tuple[int, int], kind: str, mode: str) -> None:
    """Of an image that is too narrow or too long for its breadth, and too large and of the wrong colours too."""
    found = broken(encoded(kind, *sides, mode), 2000_000)
    assert found is not None
    assert not found.is_mended_by_converting


def test_an_image_without_a_limit_that_it_could_break() -> None:
    anything = ImageLimits(max_sent_bytes=1000_000, max_channel_bits=16, takes_cmyk=True)
    for sides in ((1, 1), (1, 9000), (9000, 1)):
        assert broken(encoded("PNG", *sides), limits=anything) is None


def test_progressive_and_with_much_before_the_sides() -> None:
    much: dict[str, Any] = {"progressive": True, "comment": b"x" * 60_000}
    assert broken(encoded("JPEG", 63, 100, **much, exif=b"Exif\0\0" + b"y" * 60_000))
    assert not broken(encoded("JPEG", 64, 100, **much))
    padded = b"\xff\xd8\xff\xff\xff\x01\xff\xd0" + encoded("JPEG", 63, 100)[2:]
    assert "63 by 100" in str(broken(padded))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_is_cut_off_in_its_header_is_broken_and_what_was_not_read_is_not(kind: str) -> None:
    content = encoded(kind)[:20]
    assert broken(content) == BrokenLimit("Its header is cut off.", False)
    assert broken(content, 5000) is None
    assert broken(content, 1000_001) == BrokenLimit("It has 1,000,001 bytes, more than 1,000,000.", True)


def test_no_beginning_makes_it_fail() -> None:
    jpeg, png = encoded("JPEG"), encoded("PNG")
    for content in (jpeg, png, b"\xff\xd8" + b"\xff" * 50, b"\xff\xd8" + struct.pack(">BBH", 0xFF, 0xE0, 0)):
        for end in range(min(len(content), 700)):
            broken(content[:end])
            broken(content[:end], 10_000)
