"""Pictures of a page: upright, whatever the format; and nothing that a file holds does harm."""

from __future__ import annotations

import functools
import io
import struct
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from batch_vision.operator import pictures
from benchmarks import pictures as drawn
from local.config import REPOSITORY

FORMS = drawn.FORMS
SIDES = (600, 400)
RED, BLUE, WHITE = (200, 20, 20), (20, 20, 200), (250, 250, 250)

_PEAK = """
import sys
from batch_vision.operator.pictures import make_thumbnail, without_bombs
with without_bombs():
    print(make_thumbnail(open(sys.argv[1], "rb").read())[2])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@functools.cache
def content_of(form: str, orientation: int = 1) -> bytes:
    """A picture with a red part at the upper left and a blue one at the lower left, when it is upright."""
    picture = Image.new("RGB", SIDES, WHITE)
    picture.paste(RED, (0, 0, 200, 200))
    picture.paste(BLUE, (0, 200, 200, 400))
    with tempfile.TemporaryDirectory() as folder:
        drawn.save(picture, form, Path(folder, "picture"), orientation)
        return Path(folder, "picture").read_bytes()


def opened(webp: bytes) -> Image.Image:
    return Image.open(io.BytesIO(webp)).convert("RGB")


def is_near(colour: object, other: tuple[int, int, int]) -> bool:
    assert isinstance(colour, tuple)
    return all(abs(one - two) < 60 for one, two in zip(colour, other, strict=True))


def is_upright(picture: Image.Image) -> bool:
    width, height = picture.size
    places = {(width // 6, height // 4): RED, (width // 6, height * 3 // 4): BLUE, (width * 5 // 6, height // 2): WHITE}
    return all(is_near(picture.getpixel(place), colour) for place, colour in places.items())


@pytest.mark.parametrize("orientation", drawn.ORIENTATIONS)
@pytest.mark.parametrize("form", FORMS)
def test_every_format_is_upright(form: str, orientation: int) -> None:
    content = content_of(form, orientation)
    thumbnail, size, whole_px = pictures.make_thumbnail(content)
    assert (size, whole_px) == ((320, 213), SIDES)
    assert is_upright(opened(thumbnail))
    shown, media_type = pictures.for_browser(content)
    if media_type == "image/webp" and form != "WebP":
        assert opened(shown).size == SIDES
        assert is_upright(opened(shown))


def test_greys_of_16_bits_are_not_cut_off() -> None:
    ramp = b"".join(struct.pack("<H", 65_535 * column // 255) for _ in range(64) for column in range(256))
    whole = struct.pack("<16384i", *struct.unpack("<16384H", ramp))
    for mode, data in (("I;16", ramp), ("I", whole)):
        content = io.BytesIO()
        Image.frombytes(mode, (256, 64), data).save(content, "TIFF")
        thumbnail = opened(pictures.make_thumbnail(content.getvalue())[0])
        shades = [(thumbnail.getpixel((column, 32)) or (0,))[0] for column in (5, 128, 250)]  # type: ignore[index]
        assert [abs(shade - column) < 8 for shade, column in zip(shades, (5, 128, 250), strict=True)] == [True] * 3


def test_a_jpeg_of_100_megapixels_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (12_000, 8_400), "navy").save(path, "JPEG")
    command = [sys.executable, "-c", _PEAK, path]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[0] == "(12000, 8400)"
    assert int(told[1]) < 150 * 1024  # decoded, it is 300 MB


def test_what_a_browser_is_shown_has_a_size_that_it_takes() -> None:
    content = io.BytesIO()
    Image.new("RGB", (17_000, 50), "navy").save(content, "TIFF", compression="tiff_lzw")  # a WebP has 16,383 at most
    shown, media_type = pictures.for_browser(content.getvalue())
    assert (opened(shown).size, media_type) == ((4096, 12), "image/webp")


def test_of_large_files_one_is_in_memory() -> None:
    with pictures.room_for(30 * 1024**2):
        assert pictures.room_for(1000) is not pictures.room_for(30 * 1024**2)
        pictures.make_thumbnail(content_of("JPEG"))  # what is small does not wait, nor does who has the room


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_cut_off_has_no_picture(form: str) -> None:
    content = content_of(form)
    for length in (0, 4, 40, len(content) // 3):
        with pytest.raises(pictures.UNREADABLE):
            pictures.make_thumbnail(content[:length])


@settings(max_examples=150, deadline=None)
@example(form="TIFF", changes=[(4, b"\0\0\0\0")])
@given(
    form=st.sampled_from(FORMS),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_what_a_hostile_file_does_is_known(form: str, changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(content_of(form))
    for place, other in changes:
        place %= len(content)
        content[place : place + len(other)] = other
    with warnings.catch_warnings(), pictures.without_bombs():
        warnings.simplefilter("ignore", UserWarning)
        for make in (pictures.make_thumbnail, pictures.for_browser):
            with suppress(pictures.UNREADABLE):
                assert make(bytes(content))
