"""Images are converted as the model takes them, and none that cannot be takes anything with it."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageOps, ImageStat, TiffImagePlugin

from batch_vision.core import errors
from batch_vision.core.conversion import (
    MIB_BYTES,
    Picture,
    Target,
    affordable_target,
    conversion_reasons,
    decoded_scale,
    is_heif,
    most_cpu_seconds,
    needed_bytes,
    shade_range,
    sides_of_less,
    sides_within,
    target_of,
    webp_sides_px,
)
from batch_vision.core.events import SourceImage
from batch_vision.core.image_limits import ImageLimits
from batch_vision.images import converting
from batch_vision.images.convert_file import FORMATS, convert
from batch_vision.images.converting import Converter
from batch_vision.images.detectors import Calls, Detectors
from batch_vision.images.pace import Pace
from batch_vision.images.preparing import Prepared, as_it_is, preparing
from batch_vision.images.results import make_result
from batch_vision.images.source import SourceBucket
from local.config import REPOSITORY
from tests.unit.conftest import NOW, FakeBackend

Upload = Callable[..., SourceImage]
TARGET = Target(4 * MIB_BYTES, 4096)
LAMBDA_BYTES = 512 * MIB_BYTES
STRICT = ImageLimits(max_sent_bytes=4 * MIB_BYTES, max_stored_bytes=15 * MIB_BYTES, min_side_px=64, max_side_px=4096)
WIDE = ImageLimits(max_sent_bytes=5 * MIB_BYTES, max_stored_bytes=15 * MIB_BYTES, min_side_px=80, max_side_px=10_000)

pillow_heif.register_heif_opener()
# Every format that Pillow writes, and HEIF; the mode of a picture for it, and whether it is converted.
WRITTEN = {
    "AVIF": ("RGB", True),
    "BLP": ("P", True),
    "BMP": ("RGB", True),
    "DDS": ("RGB", True),
    "DIB": ("RGB", True),
    "EPS": ("RGB", False),
    "GIF": ("RGB", True),
    "HEIF": ("RGB", True),
    "ICNS": ("RGB", True),
    "ICO": ("RGB", True),
    "IM": ("RGB", True),
    "JPEG": ("RGB", True),
    "JPEG2000": ("RGB", True),
    "MPO": ("RGB", True),
    "MSP": ("1", True),
    "PALM": ("P", False),
    "PCX": ("RGB", True),
    "PDF": ("RGB", False),
    "PNG": ("RGB", True),
    "PPM": ("RGB", True),
    "QOI": ("RGB", True),
    "SGI": ("RGB", True),
    "SPIDER": ("F", True),
    "TGA": ("RGB", True),
    "TIFF": ("RGB", True),
    "WEBP": ("RGB", True),
    "XBM": ("1", True),
}
# Pillow has a name for their encoders, and none of them.
NOT_WRITTEN = {"BUFR", "GRIB", "HDF5", "WMF"}


def picture(width_px: int = 128, height_px: int = 96) -> Image.Image:
    """Four fields of different colours, so that each way to turn it is another picture."""
    made = Image.new("RGB", (width_px, height_px), "red")
    half = width_px // 2, height_px // 2
    made.paste("lime", (half[0], 0, width_px, half[1]))
    made.paste("blue", (0, half[1], half[0], height_px))
    return made


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, image_format, **options)
    return content.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def converted(
    content: bytes, target: Target = TARGET, memory_bytes: int = 400 * MIB_BYTES
) -> tuple[dict[str, Any], Image.Image]:
    made = io.BytesIO()
    told = convert(io.BytesIO(content), made, target, memory_bytes)
    image = Image.open(made)
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (told["to_width"], told["to_height"]))
    assert told["to_bytes"] == len(made.getvalue())
    return told, image


def difference(one: Image.Image, other: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


def test_the_table_has_every_format_that_pillow_writes() -> None:
    Image.init()
    assert set(Image.SAVE) == set(WRITTEN) | NOT_WRITTEN
    assert not set(FORMATS) & ({"EPS", "IPTC", "FPX", "MIC", "MPEG"} | NOT_WRITTEN)


@pytest.mark.parametrize("image_format", WRITTEN)
def test_every_format_that_pillow_writes(image_format: str) -> None:
    mode, is_converted = WRITTEN[image_format]
    original = picture(128, 128).convert(mode)  # ICNS has squares
    content = saved(original, image_format)
    if not is_converted:
        with pytest.raises(errors.InvalidImageFormatError, match="It is in no format that is converted"):
            converted(content)
        return
    told, image = converted(content)
    side_px = 1024 if image_format == "ICNS" else 128  # which is written in several sizes
    said = {"from_format": image_format, "from_width": side_px, "from_height": side_px, "to_format": "JPEG"}
    if image_format == "MPO":
        said["from_format"] = "JPEG"  # one of one picture
    assert told | said == told
    assert difference(image.resize((128, 128)), original) < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_it_is_upright(image_format: str, orientation: int) -> None:
    original = picture(160, 96)
    original.info["exif"] = turned(orientation).tobytes()
    content = saved(original, image_format, exif=turned(orientation).tobytes())
    upright = ImageOps.exif_transpose(original)
    told, image = converted(content)
    assert (told["from_width"], told["from_height"]) == upright.size == image.size
    assert difference(image, upright) < 20
    smaller = converted(content, Target(MIB_BYTES, 64))[1]
    assert max(smaller.size) == 64
    assert difference(smaller, upright.resize(smaller.size)) < 20


@pytest.mark.parametrize("tags", [{254: 1}, {254: 0, 50_706: b"\1\4\0\0"}])
def test_a_raw_file_is_not_taken_for_the_small_picture_in_it(tags: dict[int, Any]) -> None:
    content = saved(picture(), "TIFF", tiffinfo=tags)
    with pytest.raises(
        errors.InvalidImageFormatError, match="raw file of a camera, which is in no format that is conv"
    ):
        converted(content)
    assert converted(saved(picture(), "TIFF", tiffinfo={254: 0}))[0]["from_format"] == "TIFF"


def test_colours_of_print() -> None:
    assert difference(converted(saved(picture().convert("CMYK"), "JPEG", quality=95))[1], picture()) < 6


def png(width_px: int, height_px: int, bits: int, colours: int, rows: bytes) -> bytes:
    """A PNG of samples that Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width_px, height_px, bits, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_shades_of_many_bits_are_scaled() -> None:
    ramp = Image.linear_gradient("L")
    high = ramp.convert("I").point(lambda shade: shade * 257)
    for content in (
        saved(high.convert("I;16"), "PNG"),
        saved(high, "PPM"),
        saved(high, "TIFF"),
        saved(ramp.convert("F"), "TIFF"),
        saved(ramp.convert("F").point(lambda shade: shade * (1 / 255) + 0), "TIFF"),
        saved(ramp.convert("F").point(lambda shade: shade * 1000 - 90_000), "TIFF"),
    ):
        assert difference(converted(content)[1], ramp) < 2
    rows = b"".join(b"\0" + struct.pack(">3H", 0xFF00, 0x8000, 0x0010) * 70 for _ in range(70))
    assert converted(png(70, 70, 16, 2, rows))[1].getpixel((9, 9)) == pytest.approx((255, 128, 0), abs=3)
    not_finite = Image.new("F", (80, 80), float("nan"))
    converted(saved(not_finite, "TIFF"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_is_white(image_format: str, mode: str) -> None:
    original = picture().convert("RGBA")
    original.paste((0, 0, 0, 0), (0, 0, 64, 48))
    if mode == "P" and image_format != "TIFF":
        content = saved(original.quantize(), image_format)
    else:
        content = saved(original.convert("LA" if mode == "LA" else "RGBA"), image_format)
    image = converted(content)[1]
    assert image.getpixel((20, 20)) == pytest.approx((255, 255, 255), abs=6)
    assert max(image.getpixel((20, 80))) > 20  # the field of blue is not


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "PNG", "MPO", "AVIF"])
def test_the_first_frame(image_format: str) -> None:
    content = saved(picture(), image_format, save_all=True, append_images=[Image.new("RGB", (128, 96), "white")] * 2)
    told, image = converted(content)
    assert told["from_format"] == image_format
    assert difference(image, picture()) < 12


def test_a_smaller_picture_is_made_strip_by_strip_as_in_one_piece() -> None:
    original = Image.effect_noise((3001, 2003), 80).convert("RGB")
    image = converted(saved(original, "PPM"), Target(4 * MIB_BYTES, 700))[1]
    whole = original.resize(image.size, Image.Resampling.BICUBIC)
    assert image.size == (700, 467)
    assert difference(image, whole) < 4


def test_it_is_within_its_bytes() -> None:
    noise = Image.effect_noise((1200, 900), 200).convert("RGB")
    content = saved(noise, "BMP")
    most = {max_bytes: converted(content, Target(max_bytes, 4096))[0] for max_bytes in (10**6, 300_000, 20_000)}
    for max_bytes, told in most.items():
        assert told["to_bytes"] <= max_bytes
    assert [told["to_width"] for told in most.values()] == sorted(told["to_width"] for told in most.values())[::-1]
    assert most[10**6]["to_width"] == 1200
    assert most[20_000]["to_width"] < 600


# Pure decisions.


def test_what_is_converted_and_why() -> None:
    limits = {"strict": STRICT, "wide": WIDE}
    large = saved(Image.new("L", (5000, 100)), "PNG")
    assert conversion_reasons(large, len(large), limits) == {
        "strict": "It is 5000 by 100 pixels; each side may have 4096 at most."
    }
    assert conversion_reasons(large, 20 * MIB_BYTES, limits).keys() == {"strict", "wide"}
    assert conversion_reasons(saved(picture(), "PNG"), 900, limits) == {}
    assert conversion_reasons(saved(picture(60, 5000), "PNG"), 900, limits) == {}  # converting mends no short side
    assert conversion_reasons(saved(picture(), "GIF"), 900, limits).keys() == {"strict", "wide"}
    assert target_of([STRICT, WIDE]) == Target(4 * MIB_BYTES, 4096)
    assert target_of([WIDE]) == Target(5 * MIB_BYTES, 10_000)
    assert target_of([ImageLimits(9)]).max_side_px == 65_500


def test_sides() -> None:
    assert sides_within(8064, 6048, 4096) == (4096, 3072)
    assert sides_within(10, 20, 4096) == (10, 20)
    assert sides_within(60_000, 1, 4096) == (4096, 1)
    assert sides_of_less(1000, 500, 4000, 1000) == (500, 250)
    assert sides_of_less(1000, 500, 1001, 1000) == (900, 450)
    assert sides_of_less(1, 1, 5000, 1) == (1, 1)


def test_a_jpeg_is_decoded_to_what_is_needed_and_to_less_where_the_memory_is_short() -> None:
    def scale(side_px: int, memory_mb: int = 2000, extra: float = 0, image_format: str = "JPEG") -> int:
        of = Picture(image_format, "RGB", side_px, side_px, 10**6, extra)
        return decoded_scale(of, TARGET, memory_mb * MIB_BYTES)

    assert [scale(side) for side in (4096, 7372, 7373, 8192, 14_745, 14_746, 29_492, 60_000)] == [
        1,
        1,
        2,
        2,
        2,
        4,
        8,
        8,
    ]
    assert scale(7000, 180) == 2
    assert scale(60_000, 10) == 8
    assert scale(60_000, image_format="PNG") == 1


@pytest.mark.parametrize(
    ("most_px", "memory_mb", "side_px"),
    [
        (10_000, 352, (6400, 6800)),
        (10_000, 2000, (10_000, 10_000)),
        (10_000, 100, (4096, 4096)),
        (4096, 352, (4096, 4096)),
    ],
)
def test_a_picture_is_made_as_large_as_there_is_memory_for(
    most_px: int, memory_mb: int, side_px: tuple[int, int]
) -> None:
    of = Picture("HEIF", "RGB", 8064, 6048, 4 * MIB_BYTES)
    target = affordable_target(of, Target(4 * MIB_BYTES, most_px), 1, memory_mb * MIB_BYTES)
    assert side_px[0] <= target.max_side_px <= side_px[1]
    assert (needed_bytes(of, target) <= memory_mb * MIB_BYTES) == (memory_mb > 100)


@pytest.mark.parametrize(
    ("image_format", "mode", "extra", "megabytes"),
    [
        ("PNG", "RGB", 0, (440, 480)),
        ("PNG", "L", 0, (130, 190)),
        ("PNG", "I;16", 0, (220, 290)),
        ("WEBP", "RGBA", 0, (1500, 1600)),
        ("HEIF", "RGB", 0, (480, 540)),
        ("JPEG", "RGB", 3, (690, 740)),
    ],
)
def test_the_memory_for_100_megapixels(image_format: str, mode: str, extra: float, megabytes: tuple[int, int]) -> None:
    needed = needed_bytes(Picture(image_format, mode, 11_547, 8660, 1, extra), TARGET) / MIB_BYTES
    assert megabytes[0] < needed < megabytes[1]


def test_the_range_of_shades() -> None:
    ranges = [(0, 1, (0, 1)), (3, 200, (0, 255)), (0, 256, (0, 65_535)), (-1, 5, (-1, 5)), (0, 1e6, (0, 1e6))]
    for lowest, highest, expected in ranges:
        assert shade_range(lowest, highest) == expected
    black, white = shade_range(-7, -7)
    assert white > black


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": turned(1).tobytes()}])
def test_the_sides_of_a_webp_are_in_its_start(options: dict[str, Any]) -> None:
    assert webp_sides_px(saved(picture(130, 77), "WEBP", **options)[:64]) == (130, 77)
    assert webp_sides_px(saved(picture(), "PNG")) is None


# Hostile files.


def tiff(width_px: int, height_px: int) -> bytes:
    content = saved(Image.new("RGB", (10, 10)), "TIFF", compression="tiff_lzw")
    for tag, value in ((256, width_px), (257, height_px)):
        at = content.index(struct.pack("<HHI", tag, 4 if struct.pack("<HHI", tag, 4, 1) in content else 3, 1))
        content = content[:at] + struct.pack("<HHII", tag, 4, 1, value) + content[at + 12 :]
    return content


def patched(content: bytes, place: int, form: str, *values: int) -> bytes:
    return content[:place] + struct.pack(form, *values) + content[place + struct.calcsize(form) :]


BOMBS = {
    "PNG": png(60_000, 60_000, 8, 2, b"\0"),
    "TIFF": tiff(60_000, 60_000),
    "GIF": patched(saved(picture(), "GIF"), 6, "<HH", 60_000, 60_000),
    "BMP": patched(saved(picture(), "BMP"), 18, "<ii", 60_000, 60_000),
    "WEBP": patched(saved(picture(), "WEBP", exif=turned(1).tobytes()), 24, "<HBHB", 59_999, 0, 59_999, 0),
    "PPM": b"P6 60000 60000 255 ",
    "QOI": b"qoif" + struct.pack(">IIBB", 60_000, 60_000, 3, 0),
}


@pytest.mark.parametrize("image_format", BOMBS)
def test_a_bomb_is_refused_by_the_memory_that_it_would_need(image_format: str) -> None:
    with pytest.raises(errors.ImageTooLargeError, match=r"60,000 by 60,000 pixels .* would need [0-9,]+ MB of memory"):
        converted(BOMBS[image_format])


@pytest.mark.parametrize(
    ("side_px", "remedy"), [(20_000, "raise analyze_memory_mb"), (60_000, "so save the image smaller")]
)
def test_more_memory_is_the_remedy_where_a_function_can_have_it(side_px: int, remedy: str) -> None:
    with pytest.raises(errors.ImageTooLargeError, match=remedy):
        converted(png(side_px, side_px, 8, 2, b"\0"))


def deep_exif() -> bytes:
    """A directory that is its own next, and holds itself."""
    body = struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    return saved(picture(), "JPEG", exif=b"Exif\0\0II*\0" + struct.pack("<I", 8) + body)


def test_what_leads_nowhere_is_not_followed() -> None:
    assert difference(converted(deep_exif())[1], picture()) < 6
    endless = saved(picture(), "TIFF")
    (first,) = struct.unpack_from("<I", endless, 4)
    (entries,) = struct.unpack_from("<H", endless, first)
    endless = patched(endless, first + 2 + 12 * entries, "<I", first)  # its next picture is itself
    assert difference(converted(endless)[1], picture()) < 6


SOUND = {
    name: saved(picture(48, 40).convert(mode), name)
    for name, (mode, is_good) in WRITTEN.items()
    if is_good and name != "ICNS"
}


@pytest.mark.parametrize("image_format", SOUND)
def test_what_is_cut_off_is_refused_or_converted(image_format: str) -> None:
    content, refusals = SOUND[image_format], []
    for end in {0, 1, 3, 11, 30, 64, *range(100, len(content), max(1, len(content) // 12))}:
        try:
            converted(content[: min(end, len(content) - 1)])
        except errors.PermanentImageError as error:
            refusals.append(str(error))
    assert refusals
    assert not [said for said in refusals if "\n" in said or "Traceback" in said]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sound file of which some bytes are others, some are gone, and some are there twice; most near its start."""
    content = bytearray(SOUND[draw(st.sampled_from(sorted(SOUND)))])
    near = st.integers(0, min(len(content) - 1, 120)) | st.integers(0, len(content) - 1)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(near)
        match draw(st.sampled_from(["other", "other", "number", "gone", "twice"])):
            case "other":
                content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":
                number = draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
                content[at : at + 4] = struct.pack(draw(st.sampled_from("<>")) + "I", number)
            case "gone":
                del content[at : at + draw(st.integers(1, 40))]
            case "twice":
                content[at:at] = content[at : at + draw(st.integers(1, 40))]
        content = content or bytearray(b"\0")
        near = st.integers(0, len(content) - 1)
    return bytes(content)


@given(mutated())
@settings(max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
def test_no_mutated_file_fails_but_by_a_refusal(content: bytes) -> None:
    with contextlib.suppress(errors.PermanentImageError):
        converted(content, memory_bytes=64 * MIB_BYTES)


# The process.


@pytest.fixture(autouse=True)
def like_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own process has more memory than a function."""
    monkeypatch.setattr(converting, "_resident_bytes", lambda: 100 * MIB_BYTES)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    def runs(code: str) -> None:
        (tmp_path / "child_of_a_test.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(converting, "_CHILD", "child_of_a_test")

    return runs


def prepare(
    stored: Any, limits: dict[str, ImageLimits] | None = None, seconds: float = 60, memory_bytes: int = LAMBDA_BYTES
) -> Prepared:
    deadline = time.monotonic() + seconds
    return Converter(memory_bytes).prepare(stored, {"strict": STRICT} if limits is None else limits, deadline)


@pytest.fixture
def stored(source: SourceBucket, upload: Upload) -> Callable[..., Any]:
    def put(content: bytes) -> Any:
        return source.stored(upload("a.img", content))

    return put


def refusal(prepared: Prepared, name: str = "strict") -> Exception:
    error = prepared.images[name]
    assert isinstance(error, Exception)
    assert name not in prepared.converted
    return error


def test_the_one_that_needs_it_is_asked_about_a_jpeg(stored: Callable[..., Any]) -> None:
    image = stored(saved(Image.new("RGB", (5000, 1000), "red"), "PNG"))
    prepared = prepare(image, {"strict": STRICT, "wide": WIDE})
    assert prepared.images["wide"] is image
    jpeg: Any = prepared.images["strict"]
    assert not jpeg.is_stored
    assert (jpeg.bucket, jpeg.key, jpeg.version_id) == (image.bucket, image.key, image.version_id)
    assert Image.open(io.BytesIO(jpeg.read_bytes())).size == (4096, 819)
    assert jpeg.read_start(2) == b"\xff\xd8"
    assert jpeg.size_bytes == len(jpeg.content)
    assert prepared.converted == {
        "strict": {
            "converted": {
                "from_format": "PNG",
                "from_width": 5000,
                "from_height": 1000,
                "to_format": "JPEG",
                "to_width": 4096,
                "to_height": 819,
                "to_bytes": jpeg.size_bytes,
                "reason": "It is 5000 by 1000 pixels; each side may have 4096 at most.",
            }
        }
    }


def test_what_the_model_takes_is_left_as_it_is(
    stored: Callable[..., Any], child: Callable[[str], None], s3: Any
) -> None:
    child("raise AssertionError")
    image = stored(saved(picture(), "JPEG"))
    requests: list[str] = []
    s3.meta.events.register("before-call.s3", lambda model, **_: requests.append(model.name))
    assert prepare(image).images == {"strict": image}
    assert image.sides_px() == (128, 96)
    assert requests == ["GetObject"]
    assert prepare(image, {}).images == {}
    assert requests == ["GetObject"]
    far = stored(
        saved(picture(), "JPEG", comment=b"x" * 60_000, exif=b"Exif\0\0" + b"y" * 60_000, icc_profile=b"z" * 90_000)
    )
    assert prepare(far).images == {"strict": far}
    assert requests[1:] == ["PutObject", "GetObject", "GetObject"]


def test_what_a_jpeg_breaks_too_is_refused_before_it_is_paid_for(stored: Callable[..., Any]) -> None:
    prepared = prepare(stored(saved(picture(9000, 100), "GIF")))
    assert str(refusal(prepared)) == "As a JPEG: It is 4096 by 46 pixels; each side must have 64 at least."
    assert isinstance(prepared.images["strict"], errors.InvalidImageError)


def test_what_cannot_be_converted_is_refused_for_those_that_need_it(stored: Callable[..., Any]) -> None:
    image = stored(saved(picture(5000, 100), "PNG")[:-400])
    prepared = prepare(image, {"strict": STRICT, "wide": WIDE})
    assert prepared.images["wide"] is image
    error = refusal(prepared)
    assert isinstance(error, errors.InvalidImageFormatError)
    assert str(error).startswith(
        "It is 5000 by 100 pixels; each side may have 4096 at most. It cannot be decoded as PNG:"
    )
    with pytest.raises(errors.ImageTooLargeError, match=r"600,000,000 bytes; 268,435,456 at most are converted"):
        raise refusal(prepare(SimpleNamespace(size_bytes=600_000_000, read_start=lambda _: b"II*\0")))


@pytest.mark.parametrize("image_format", BOMBS)
def test_the_process_refuses_a_bomb(stored: Callable[..., Any], image_format: str) -> None:
    with pytest.raises(errors.ImageTooLargeError, match=r"would need [0-9,]+ MB of memory, and has 512"):
        raise refusal(prepare(stored(BOMBS[image_format])))


def test_a_process_that_ends_or_loops_takes_its_image_only(
    stored: Callable[..., Any], child: Callable[[str], None]
) -> None:
    image = stored(saved(picture(), "GIF"))
    child("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert "it made the decoder end by SIGSEGV" in str(refusal(prepare(image)))
    child("import resource; resource.setrlimit(resource.RLIMIT_CPU, (0, 1))\nwhile True: pass")
    assert "seconds of a processor" in str(refusal(prepare(image)))
    child("import time; time.sleep(60)")
    with pytest.raises(errors.ConversionTimeoutError, match="not converted within"):
        prepare(image, seconds=0.4)
    child("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(errors.NoMemoryLeftError):
        prepare(image)


@pytest.mark.parametrize(("memory_mb", "seconds"), [(128, 2), (512, 9), (1024, 17), (1769, 20), (10_240, 20)])
def test_a_process_has_the_time_that_its_function_has_in_half_a_minute(memory_mb: int, seconds: int) -> None:
    assert most_cpu_seconds(memory_mb * MIB_BYTES) == seconds


def test_a_process_that_does_not_work_is_not_the_images_fault(
    stored: Callable[..., Any], child: Callable[[str], None]
) -> None:
    child("import no_such_library")
    with pytest.raises(errors.ConversionFailedError, match="No module named 'no_such_library'"):
        prepare(stored(saved(picture(), "GIF")))
    child("import sys; sys.modules['pi_heif'] = None\nfrom batch_vision.images.convert_file import main; main()")
    with pytest.raises(errors.ConversionFailedError, match=r"A decoder is not there: .*pi_heif"):
        prepare(stored(b"\0\0\0\x18ftypheic" + b"\0" * 50))


def test_what_fails_in_the_process_outside_a_file_is_told(
    stored: Callable[..., Any], child: Callable[[str], None]
) -> None:
    child("from batch_vision.images import convert_file\nconvert_file.Target = None\nconvert_file.main()")
    with pytest.raises(errors.ConversionFailedError, match="'NoneType' object is not callable"):
        prepare(stored(saved(picture(), "GIF")))


@pytest.mark.parametrize(
    ("brands", "is_it"),
    [
        (b"heic\0\0\0\0mif1heic", True),
        (b"mif1\0\0\0\0mif1heix", True),
        (b"avif\0\0\0\0avifmif1miaf", False),
        (b"isom\0\0\2\0isomiso2avc1mp41", False),
        (b"qt  \0\0\0\0qt  ", False),
        (b"crx \0\0\0\1crx isom", False),
    ],
)
def test_a_heif_is_told_from_videos_and_raw_files_that_begin_alike(brands: bytes, is_it: bool) -> None:
    start = struct.pack(">I4s", 8 + len(brands), b"ftyp") + brands
    assert is_heif(start.ljust(64, b"\0")) is is_it
    if not is_it and b"avif" not in brands:
        with pytest.raises(errors.InvalidImageFormatError, match="in no format that is converted"):
            convert(io.BytesIO(start + b"\0" * 100), io.BytesIO(), Target(10**6, 4096), 10**9)


_UNFORESEEN = """
from batch_vision.images import convert_file
convert_file.needed_bytes = lambda *_: 0
convert_file.main()
"""


def test_a_process_that_needs_more_memory_than_was_foreseen(
    stored: Callable[..., Any], child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = stored(saved(Image.new("RGB", (5000, 5000)), "PNG", compress_level=1))
    child(_UNFORESEEN)
    few_bytes = 230 * MIB_BYTES
    with pytest.raises(errors.ImageTooLargeError, match="takes more memory than the function has"):
        raise refusal(prepare(image, memory_bytes=few_bytes))
    monkeypatch.setattr(converting, "_resident_bytes", lambda: 430 * MIB_BYTES)
    with pytest.raises(errors.NoMemoryLeftError, match="The images beside it leave too little memory"):
        prepare(image)


def test_neighbours_that_leave_no_memory_are_not_the_images_fault(
    stored: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "_resident_bytes", lambda: 440 * MIB_BYTES)
    with pytest.raises(errors.NoMemoryLeftError):
        prepare(stored(saved(Image.new("L", (5000, 5000)), "PNG", compress_level=1)))
    with pytest.raises(errors.ImageTooLargeError):
        raise refusal(prepare(stored(BOMBS["PNG"])))


def test_the_process_has_no_credentials(
    stored: Callable[..., Any], child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    child("import os; raise SystemExit(' '.join(sorted(name for name in os.environ if 'AWS' in name)) or 'none')")
    with pytest.raises(errors.ConversionFailedError, match="ended with: none"):
        prepare(stored(saved(picture(), "GIF")))


def test_one_at_a_time_and_who_has_no_turn_waits(stored: Callable[..., Any]) -> None:
    image = stored(saved(picture(), "GIF"))
    with pytest.raises(errors.ConversionWaitsError):
        prepare(image, seconds=-1)
    converter = Converter(LAMBDA_BYTES)
    converter._lock.acquire()
    with pytest.raises(errors.ConversionWaitsError):
        converter.prepare(image, {"strict": STRICT}, time.monotonic() + 0.05)
    threading.Timer(0.05, converter._lock.release).start()
    prepared = converter.prepare(image, {"strict": STRICT}, time.monotonic() + 60)
    assert isinstance(prepared.images["strict"], converting.ConvertedImage)


def test_who_has_too_little_time_after_others_waits_too(
    stored: Callable[..., Any], child: Callable[[str], None]
) -> None:
    image = stored(saved(picture(), "GIF"))
    child("import time; time.sleep(2.5); raise SystemExit('asleep')")
    converter, deadline = Converter(LAMBDA_BYTES), time.monotonic() + 4.5
    for expected in (errors.ConversionFailedError, errors.ConversionWaitsError):
        with pytest.raises(expected):
            converter.prepare(image, {"strict": STRICT}, deadline)
    with pytest.raises(errors.ConversionTimeoutError):
        converter.prepare(image, {"strict": STRICT}, time.monotonic() + 0.3)


def test_an_image_that_is_gone(stored: Callable[..., Any], s3: Any) -> None:
    image = stored(saved(picture(), "GIF"))
    s3.delete_object(Bucket="source", Key="a.img", VersionId=image.version_id)
    with pytest.raises(errors.ImageGoneError):
        prepare(image)


@pytest.mark.parametrize(
    ("image_format", "mode", "options"),
    [("JPEG", "RGB", {"quality": 30}), ("PNG", "L", {"compress_level": 1})],
)
def test_100_megapixels_with_512_mb(
    stored: Callable[..., Any], image_format: str, mode: str, options: dict[str, Any]
) -> None:
    prepared = prepare(
        stored(saved(Image.new(mode, (11_600, 8700), 200 if mode == "L" else "red"), image_format, **options))
    )
    told = prepared.converted["strict"]["converted"]
    assert (told["from_width"], told["from_height"]) == (11_600, 8700)
    assert (told["to_width"], told["to_height"]) == (4096, 3072)


def test_48_megapixels_with_512_mb_for_a_model_that_takes_larger_ones(stored: Callable[..., Any]) -> None:
    prepared = prepare(
        stored(saved(Image.new("RGB", (8064, 6048), "red"), "TIFF", compression="tiff_deflate")), {"wide": WIDE}
    )
    told = prepared.converted["wide"]["converted"]
    assert 6000 < told["to_width"] < 8064


def test_a_compressed_tiff_is_not_read_whole(stored: Callable[..., Any]) -> None:
    noise = Image.frombytes("RGB", (4000, 3000), random.Random(7).randbytes(36_000_000))
    image = stored(saved(noise, "TIFF", compression="tiff_lzw"))
    limits = ImageLimits(4 * MIB_BYTES, max_side_px=500)
    few_bytes = 160 * MIB_BYTES + needed_bytes(Picture("TIFF", "RGB", 4000, 3000, 1), target_of([limits]))
    assert prepare(image, {"small": limits}, memory_bytes=few_bytes + 4 * MIB_BYTES).converted


def test_a_tiff_of_a_single_strip_needs_more(
    stored: Callable[..., Any], child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Image.new("RGB", (5000, 5000), "red")
    strips = saved(large, "TIFF", compression="tiff_lzw")
    monkeypatch.setattr(TiffImagePlugin, "STRIP_SIZE", 10**9)
    whole = saved(large, "TIFF", compression="tiff_lzw")
    most_bytes = needed_bytes(Picture("TIFF", "RGB", 5000, 5000, 1), Target(10**6, 500))
    converted(strips, Target(10**6, 500), most_bytes)
    with pytest.raises(errors.ImageTooLargeError, match="would need 203 MB"):
        converted(whole, Target(10**6, 500), most_bytes)
    converted(whole, Target(10**6, 500), 203 * MIB_BYTES)
    child(_UNFORESEEN)
    limits = {"strict": ImageLimits(10**6, max_side_px=500)}
    with pytest.raises(errors.ImageTooLargeError, match="takes more memory than the function has"):
        raise refusal(prepare(stored(whole), limits, memory_bytes=160 * MIB_BYTES + most_bytes))


def test_100_megapixels_of_a_png_in_colours_need_more() -> None:
    with pytest.raises(errors.ImageTooLargeError, match="need 469 MB of memory, and has 352"):
        converted(png(11_600, 8700, 8, 2, b"\0"), memory_bytes=352 * MIB_BYTES)


# The result.


def test_the_result_says_what_was_converted(
    source: SourceBucket, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
    fakes = {"strict": FakeBackend(), "wide": FakeBackend()}
    fakes["strict"].limits, fakes["wide"].limits = STRICT, WIDE
    image = upload("a.jpg", saved(picture(5000, 1000), "JPEG", exif=turned(6)))
    prepare = preparing(convert_images=True)
    detectors = Detectors("rekognition", fakes, {name: Pace(1000, 8000) for name in fakes}, "", prepare)
    stored = source.stored(image)
    deadline = time.monotonic() + 60
    answers, _ = detectors.ask(stored, Calls(), deadline=deadline, check_readable=lambda: None)
    result = make_result({}, "rekognition", "m", answers, NOW, stored.sides_px)
    assert (result["width"], result["height"]) == (1000, 5000)
    said = {"from_width": 1000, "from_height": 5000, "to_width": 819, "to_height": 4096, "detectors": ["strict"]}
    assert result["converted"] | said == result["converted"]
    schema = json.loads((REPOSITORY / "batch_vision/images/result.schema.json").read_text())
    jsonschema.validate(result["converted"], schema["properties"]["converted"])
    assert make_result({}, "rekognition", "m", {"wide": answers["wide"]}, NOW)["converted"] is None


def test_nothing_is_prepared_where_nothing_is_converted() -> None:
    assert preparing(convert_images=False) is as_it_is
