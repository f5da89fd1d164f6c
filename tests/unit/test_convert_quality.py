"""What a model says of a picture that was converted for it is what it says of the original."""

from __future__ import annotations

import pytest
from PIL import Image

from benchmarks.convert_quality import LEAST_OVERLAP, SAMPLES, cases_of, compare
from benchmarks.pictures import FORMS, ORIENTATIONS
from local.emulator.labelled import learn_folder
from local.emulator.pixel_model import PixelModel


@pytest.fixture(scope="module")
def model() -> PixelModel:
    return learn_folder(SAMPLES)


def stretched(picture: Image.Image) -> Image.Image:
    """Too long for the model, and of few pixels: the emulator's model squeezes each picture into the same sides."""
    return picture.resize((4200, picture.height))


@pytest.mark.parametrize("form", FORMS)
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
