"""What the emulator takes for an image: whole pixels decide, whatever is said about them."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from batch_vision.backends.rekognition_custom_labels import LIMITS
from batch_vision.core.image_limits import ImageLimits
from local.emulator.errors import ImageFormatError
from local.emulator.images import ImageHeader, decode, read_header

ANYTHING = ImageLimits(max_sent_bytes=15 * 1024**2, max_channel_bits=16, takes_cmyk=True)
ORIENTATION = 0x0112
JPEG_MARKERS = [*range(0xE0, 0xF0), 0xFE]
PNG_CHUNKS = [
    b"eXIf",
    b"iCCP",
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"pHYs",
    b"tIME",
    b"sRGB",
    b"gAMA",
    b"cHRM",
    b"acTL",
    b"prIv",
]
# Begins as Pillow knows each of them, so that it looks further.
NAMES = [
    b"",
    b"Exif\0\0",
    b"Exif\0\0MM\0*\0\0\0\x08",
    b"JFIF\0",
    b"Adobe",
    b"ICC_PROFILE\0",
    b"MPF\0",
    b"Photoshop 3.0\0",
]


def picture() -> Image.Image:
    """A picture in which no two places are the same."""
    rng = np.random.default_rng(5)
    rough = Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8))
    return rough.resize((240, 160), Image.Resampling.BICUBIC)


def encoded(image_format: str, **options: object) -> bytes:
    content = io.BytesIO()
    picture().save(content, image_format, **options)
    return content.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2) + content


def chunk(name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return len(content).to_bytes(4) + name + content + checksum.to_bytes(4)


def in_jpeg(*segments: bytes) -> bytes:
    whole = encoded("JPEG", quality=90)
    return whole[:2] + b"".join(segments) + whole[2:]


def in_png(*chunks: bytes) -> bytes:
    """A PNG with more chunks after its header, which is 8 bytes of signature and a chunk of 25."""
    whole = encoded("PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def check_taken(content: bytes, image_format: str) -> None:
    """Check that an image is taken for what its pixels are."""
    whole = decode(encoded(image_format, **({"quality": 90} if image_format == "JPEG" else {})), LIMITS)
    assert decode(content, LIMITS).tobytes() == whole.tobytes()
    assert decode(content, LIMITS, scaled_to_px=512).tobytes() == whole.tobytes()
    assert read_header(content, LIMITS) == ImageHeader(image_format, *whole.size)


@pytest.mark.parametrize("marker", JPEG_MARKERS, ids=hex)
def test_no_segment_of_metadata_decides_about_a_jpeg(marker: int) -> None:
    rng = np.random.default_rng(marker)
    for name in NAMES:
        for size_bytes in (0, 1, 30, 3000):
            check_taken(in_jpeg(segment(marker, name + rng.bytes(size_bytes))), "JPEG")


@pytest.mark.parametrize("name", PNG_CHUNKS)
def test_no_chunk_of_metadata_decides_about_a_png(name: bytes) -> None:
    rng = np.random.default_rng(name[0])
    for content in (b"", rng.bytes(30), rng.bytes(3000), b"word\0" + rng.bytes(30)):
        check_taken(in_png(chunk(name, content)), "PNG")
        check_taken(in_png(chunk(name, content, checksum=12345)), "PNG")


def test_a_profile_that_is_too_large_decides_nothing() -> None:
    profile = b"icc\0\0" + zlib.compress(bytes(20 * 1024**2))
    check_taken(in_png(chunk(b"iCCP", profile)), "PNG")


@pytest.mark.parametrize(
    ("kind", "count", "value", "is_turned"),
    [
        pytest.param(3, 1, b"\0\x06\0\0", True, id="6"),
        pytest.param(3, 1, b"\0\x09\0\0", False, id="9"),
        pytest.param(3, 1, b"\0\0\0\0", False, id="0"),
        pytest.param(2, 2, b"6\0\0\0", False, id="text"),
        pytest.param(3, 0, b"\0\x06\0\0", False, id="no value"),
        pytest.param(5, 1, b"\xff\xff\xff\xff", False, id="value beyond the end"),
    ],
)
@pytest.mark.parametrize("repeated_header", [1, 2])
def test_orientation_counts_where_it_can_be_read(
    kind: int, count: int, value: bytes, is_turned: bool, repeated_header: int
) -> None:
    entry = ORIENTATION.to_bytes(2) + kind.to_bytes(2) + count.to_bytes(4) + value
    # One entry, and a next directory that is this one again.
    tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + entry + b"\0\0\0\x08"
    size = (160, 240) if is_turned else (240, 160)
    for content, image_format in (
        (in_jpeg(segment(0xE1, b"Exif\0\0" * repeated_header + tiff)), "JPEG"),
        (in_png(chunk(b"eXIf", tiff)), "PNG"),
    ):
        assert read_header(content, LIMITS) == ImageHeader(image_format, *size)
        assert decode(content, LIMITS).size == size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_made_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    left, top = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[orientation]
    lying = Image.new("L", (200, 100), 0)
    lying.paste(255, (0, 0, 60, 40))  # the corner where the first row and the first column meet
    content = io.BytesIO()
    lying.save(content, "PNG", exif=exif)
    upright = decode(content.getvalue(), LIMITS)
    assert upright.getpixel((left * (upright.width - 1), top * (upright.height - 1))) == (255, 255, 255)
    assert upright.getpixel(((1 - left) * (upright.width - 1), (1 - top) * (upright.height - 1))) == (0, 0, 0)


JPEG_KINDS = [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}, {"restart_marker_rows": 1}]


@pytest.mark.parametrize("options", JPEG_KINDS, ids=str)
@pytest.mark.parametrize("missing_bytes", [1, 2])
def test_a_jpeg_without_its_end_marker_is_whole(options: dict[str, object], missing_bytes: int) -> None:
    whole = encoded("JPEG", **options)
    assert decode(whole[:-missing_bytes], LIMITS).tobytes() == decode(whole, LIMITS).tobytes()


@pytest.mark.parametrize("options", JPEG_KINDS, ids=str)
def test_a_jpeg_without_some_of_its_pixels_is_refused(options: dict[str, object]) -> None:
    whole = encoded("JPEG", **options)
    all_pixels = decode(whole, LIMITS).tobytes()
    cuts = [*range(3, 40), *range(40, len(whole), len(whole) // 40)]
    refused = 0
    for missing_bytes in cuts:
        try:
            found = decode(whole[:-missing_bytes], LIMITS).tobytes()
        except ImageFormatError:
            refused += 1
        else:
            # The last bits may be a filling up only.
            assert found == all_pixels, f"{missing_bytes} bytes are missing"
    assert refused >= len(cuts) - 3


def test_a_png_that_is_cut_off_is_refused() -> None:
    whole = encoded("PNG")
    for kept in (0.3, 0.7, 0.95):
        with pytest.raises(ImageFormatError):
            decode(whole[: int(kept * len(whole))], LIMITS)
    assert decode(whole[:-12], LIMITS).tobytes() == decode(whole, LIMITS).tobytes()  # all but the chunk of the end


def in_mode(mode: str, image_format: str) -> bytes:
    content = io.BytesIO()
    picture().convert(mode).save(content, image_format)
    return content.getvalue()


def deep(colour_type: int) -> bytes:
    """A PNG with 16 bits in each channel: grey (0), RGB (2), grey with alpha (4) or RGBA (6); Pillow writes grey only.

    From its top to its bottom a picture goes from black to white, and is opaque.
    """
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    levels = np.repeat(np.linspace(0, 65535, 100).astype(">u2")[:, None], 100 * channels, axis=1)
    levels = levels.reshape(100, 100, channels)
    if colour_type in (4, 6):
        levels[..., -1] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    header = (100).to_bytes(4) * 2 + bytes([16, colour_type, 0, 0, 0])
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_cmyk_is_taken_where_the_limits_say_so() -> None:
    cmyk = in_mode("CMYK", "JPEG")
    for look in (read_header, decode):
        with pytest.raises(ImageFormatError, match="CMYK"):
            look(cmyk, LIMITS)
    assert decode(cmyk, ANYTHING).mode == "RGB"


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_16_bits_are_taken_where_the_limits_say_so_and_then_are_scaled(colour_type: int) -> None:
    content = deep(colour_type)
    for look in (read_header, decode):
        with pytest.raises(ImageFormatError, match="a channel has 16 bits, at most 8"):
            look(content, LIMITS)
    shades = np.asarray(decode(content, ANYTHING))[:, 50, 0].astype(int)
    assert np.abs(shades - np.linspace(0, 255, 100)).max() <= 1


@pytest.mark.parametrize("sides", [(1, 1), (1, 5000), (5000, 1)])
def test_sides_are_taken_where_nothing_is_said_of_them(sides: tuple[int, int]) -> None:
    content = io.BytesIO()
    Image.new("RGB", sides).save(content, "PNG")
    assert decode(content.getvalue(), ANYTHING).size == sides
