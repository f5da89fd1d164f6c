"""What a model says of a picture that was converted for it is what it says of the original."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from batch_vision.backends.rekognition_custom_labels import LIMITS
from batch_vision.core.conversion import Picture, decoded_scale, needed_bytes, target_of
from benchmarks.convert_quality import LEAST_OVERLAP, SAMPLES, cases_of, compare
from benchmarks.pictures import FORMS, ORIENTATIONS
from local.config import REPOSITORY
from local.emulator.labelled import learn_folder
from local.emulator.pixel_model import PixelModel


@pytest.fixture(scope="module")
def model() -> PixelModel:
    return learn_folder(SAMPLES)


def stretched(picture: Image.Image) -> Image.Image:
    """Too long for the model, and of few pixels: the emulator's model squeezes each picture into the same sides."""
    return picture.resize((4200, picture.height))


# The others are in the rest of the fault matrix, for they take ten seconds each.
@pytest.mark.parametrize(
    "form", [pytest.param(one, marks=[] if one == "WebP" else pytest.mark.matrix) for one in FORMS]
)
def test_answers_about_a_converted_picture_are_those_about_the_original(model: PixelModel, form: str) -> None:
    """In each format a picture of each label lies in every way, and is too large besides."""
    paths = [
        SAMPLES / label / f"{label}-{number}.jpg" for number in (1, 2, 3) for label in ("crack", "stain", "normal")
    ]
    cases = cases_of(paths[: len(ORIENTATIONS)], [form])
    (compared,) = compare(model, stretched, cases).values()
    assert {orientation for _, _, orientation in cases} == {*ORIENTATIONS}
    assert compared.other_labels == []
    assert len(compared.overlaps) == 6  # a normal part has no box
    assert min(compared.overlaps) >= LEAST_OVERLAP


MANUAL = REPOSITORY / "docs" / "architecture.md"
# Format, and what this kind of file makes its decoder hold for each pixel.
TOLD = {"progressive JPEG": ("JPEG", 3), "TIFF, PNG": ("TIFF", 0), "HEIF": ("HEIF", 0)}
TOLD |= {"AVIF": ("AVIF", 0), "WebP": ("WEBP", 0), "JPEG 2000": ("JPEG2000", 0)}


def test_the_manual_tells_what_a_function_has_the_memory_for() -> None:
    head, _, *rows = re.findall(r"^\| `analyze_memory_mb`.*?\n\n", MANUAL.read_text(), re.MULTILINE | re.DOTALL)[
        0
    ].splitlines()
    names = [name.strip() for name in head.strip("|").split("|")][1:]
    assert names == [*TOLD]
    for row in filter(None, rows):
        memory_mb, *told = (int(cell.replace(",", "")) for cell in row.strip("|").split("|"))
        assert told == [most_megapixels(memory_mb, *TOLD[name]) for name in names]


def most_megapixels(memory_mb: int, image_format: str, extra_pixel_bytes: float) -> int:
    target, memory_bytes = target_of([LIMITS]), (memory_mb - 160) * 1024**2

    def fits(megapixels: int) -> bool:
        width_px, height_px = round((megapixels * 4e6 / 3) ** 0.5), round((megapixels * 3e6 / 4) ** 0.5)
        picture = Picture(image_format, "RGB", width_px, height_px, megapixels * 100_000, extra_pixel_bytes)
        return needed_bytes(picture, target, decoded_scale(picture, target, memory_bytes)) <= memory_bytes

    return max(filter(fits, range(1, 1000)))
