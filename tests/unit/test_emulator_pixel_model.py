"""What the pixel model promises: it generalises, repeats itself, and points at the defect."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from batch_vision.backends.rekognition_custom_labels import LIMITS
from local.config import REPOSITORY
from local.emulator.images import ImageHeader, decode, read_header
from local.emulator.labelled import learn_folder
from local.emulator.pixel_model import Analysis, PixelModel
from local.samples import draw_samples
from local.samples.draw_samples import DEFECTS_FILE, LABELS, PILE, Box, draw_all, draw_part

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = REPOSITORY / "local" / "samples"
MAX_SAMPLES_BYTES = 600_000


@pytest.fixture(scope="module")
def model() -> PixelModel:
    return learn_folder(SAMPLES / "labelled")


@pytest.fixture(scope="module")
def fresh() -> list[tuple[str, Image.Image, Box | None]]:
    """Parts that are drawn by another seed than the samples."""
    rng = np.random.default_rng(77)
    return [(label, *draw_part(label, rng)) for label in LABELS for _ in range(10)]


def winner(analysis: Analysis) -> str:
    return analysis.scores[0].name


def overlap(analysis: Analysis, truth: Box) -> float:
    """Intersection over union of the found box and the true one."""
    box = analysis.scores[0].bounding_box
    assert box is not None
    left, top = box.left * draw_samples.WIDTH_PX, box.top * draw_samples.HEIGHT_PX
    right, bottom = left + box.width * draw_samples.WIDTH_PX, top + box.height * draw_samples.HEIGHT_PX
    shared = max(0.0, min(right, truth[2]) - max(left, truth[0])) * max(0.0, min(bottom, truth[3]) - max(top, truth[1]))
    areas = (right - left) * (bottom - top) + (truth[2] - truth[0]) * (truth[3] - truth[1])
    return shared / (areas - shared)


def test_pictures_it_never_saw(model: PixelModel, fresh: list[tuple[str, Image.Image, Box | None]]) -> None:
    wrong = [label for label, picture, _ in fresh if winner(model.analyse(picture)) != label]
    assert len(wrong) <= 1, wrong


@pytest.mark.parametrize("half", [0, 1])
def test_half_of_the_samples_teaches_the_other(half: int) -> None:
    pictures = {
        label: [Image.open(path).convert("RGB") for path in sorted((SAMPLES / "labelled" / label).iterdir())]
        for label in LABELS
    }
    model = PixelModel.learn({label: found[half::2] for label, found in pictures.items()})
    answers = [
        (label, winner(model.analyse(picture))) for label, found in pictures.items() for picture in found[1 - half :: 2]
    ]
    assert len(answers) == 12
    assert sum(label == answer for label, answer in answers) >= 11, answers


def test_pile_is_told_apart_with_confidence(model: PixelModel) -> None:
    for name, label in PILE:
        if label is not None:
            first, second, _ = model.analyse(decode((SAMPLES / "pile" / name).read_bytes(), LIMITS)).scores
            assert first.name == label, name
            assert first.confidence_percent > 80 > 20 > second.confidence_percent, name


def test_box_lies_on_the_defect(model: PixelModel, fresh: list[tuple[str, Image.Image, Box | None]]) -> None:
    overlaps = [overlap(model.analyse(picture), box) for _, picture, box in fresh if box is not None]
    assert len(overlaps) == 20
    assert min(overlaps) > 0.1
    assert float(np.median(overlaps)) > 0.6


def test_normal_has_no_box(model: PixelModel) -> None:
    analysis = model.analyse(Image.open(SAMPLES / "pile" / "part-01.jpg"))
    assert winner(analysis) == "normal"
    assert analysis.scores[0].bounding_box is None


def test_anomaly_map_is_high_where_the_defect_is(
    model: PixelModel, fresh: list[tuple[str, Image.Image, Box | None]]
) -> None:
    for label, picture, box in fresh:
        analysis = model.analyse(picture)
        height, width = analysis.anomaly_map.shape
        row, column = np.unravel_index(int(analysis.anomaly_map.argmax()), (height, width))
        if box is None:
            assert analysis.anomaly_percent < 50
        else:
            assert analysis.anomaly_map.max() > analysis.defect_level, label
            x, y = column / width * draw_samples.WIDTH_PX, row / height * draw_samples.HEIGHT_PX
            assert box[0] - 6 <= x <= box[2] + 6
            assert box[1] - 6 <= y <= box[3] + 6


def test_defect_area_covers_the_defect(model: PixelModel, fresh: list[tuple[str, Image.Image, Box | None]]) -> None:
    for label, picture, box in fresh:
        if box is None:
            continue
        area = model.analyse(picture).defect_area
        rows, columns = np.nonzero(area)
        x = (columns + 0.5) / area.shape[1] * draw_samples.WIDTH_PX
        y = (rows + 0.5) / area.shape[0] * draw_samples.HEIGHT_PX
        inside = (box[0] - 8 <= x) & (x <= box[2] + 8) & (box[1] - 8 <= y) & (y <= box[3] + 8)
        assert inside.mean() > 0.8, label


def test_nothing_stands_out_of_a_flat_map() -> None:
    flat = Analysis((), 10.0, np.full((9, 9), 1.5, np.float32), 2.0)
    assert not flat.defect_area.any()
    one = np.full((9, 9), 2.5, np.float32)
    one[4, 4] = 20.0
    assert np.argwhere(Analysis((), 10.0, one, 2.0).defect_area).tolist() == [[4, 4]]


def test_it_knows_the_sizes_of_its_pictures(model: PixelModel, tmp_path: Path) -> None:
    assert model.sizes_px == {(draw_samples.WIDTH_PX, draw_samples.HEIGHT_PX)}
    exif = Image.Exif()
    exif[0x0112] = 8
    for label, grey in (("good", 50), ("bad", 200)):
        (tmp_path / label).mkdir()
        # Larger than what is kept of them, and one of them lying on its side.
        Image.new("L", (1600, 1200), grey).save(tmp_path / label / "1.png")
        Image.new("L", (1200, 1600), grey).save(tmp_path / label / "2.jpg", exif=exif)
        Image.new("L", (100, 80), grey).save(tmp_path / label / "3.jpg")
    assert learn_folder(tmp_path).sizes_px == {(1600, 1200), (100, 80)}


def test_same_pixels_same_answer(model: PixelModel) -> None:
    picture = Image.open(SAMPLES / "pile" / "part-02.png")
    again = learn_folder(SAMPLES / "labelled")
    assert model.analyse(picture).scores == model.analyse(picture).scores == again.analyse(picture).scores
    assert model.thresholds_percent == again.thresholds_percent


def test_other_pixels_of_the_same_thing_same_answer(model: PixelModel) -> None:
    rng = np.random.default_rng(3)
    for name, label in (("part-01.jpg", "normal"), ("part-02.png", "crack"), ("part-03.jpg", "stain")):
        pixels = np.asarray(Image.open(SAMPLES / "pile" / name).convert("RGB")).astype(np.float64)
        noisy = Image.fromarray(np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8))
        moved = Image.fromarray(np.roll(pixels, (4, -6), axis=(0, 1)).astype(np.uint8))
        larger = Image.fromarray(pixels.astype(np.uint8)).resize((800, 600))
        brighter = Image.fromarray(np.clip(pixels * 1.05, 0, 255).astype(np.uint8))
        answers = [winner(model.analyse(changed)) for changed in (noisy, moved, larger, brighter)]
        assert answers == [label] * 4, name


def test_scores_share_one_hundred_percent(model: PixelModel) -> None:
    rng = np.random.default_rng(1)
    nothing = Image.fromarray(rng.integers(0, 256, (100, 300, 3), dtype=np.uint8))
    analysis = model.analyse(nothing)
    assert sum(score.confidence_percent for score in analysis.scores) == pytest.approx(100)
    assert all(0 <= score.confidence_percent <= 100 for score in analysis.scores)
    assert winner(analysis) != "normal"


def test_name_of_the_normal_label() -> None:
    rng = np.random.default_rng(2)
    good, bad = ([draw_part(label, rng)[0] for _ in range(4)] for label in ("normal", "stain"))
    assert PixelModel.learn({"bad": [*bad], "GOOD": good[:3]}).labels == ("GOOD", "bad")
    assert PixelModel.learn({"a": bad[:3], "b": good}).labels == ("b", "a")
    assert PixelModel.learn({"a": bad, "b": good}).labels == ("a", "b")


def test_too_little_to_learn_from() -> None:
    picture = Image.new("RGB", (100, 100))
    for examples in ({}, {"a": [picture] * 3}, {"a": [picture] * 3, "b": [picture]}):
        with pytest.raises(ValueError, match="two labels"):
            PixelModel.learn(examples)


def test_samples_are_what_the_script_draws(tmp_path: Path) -> None:
    draw_all(tmp_path)
    drawn = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    # What another script draws of them has its test beside the emulator of videos.
    others = (".py", ".pyc", ".md", ".mp4")
    kept = sorted(p.relative_to(SAMPLES) for p in SAMPLES.rglob("*") if p.is_file() and p.suffix not in others)
    assert drawn == kept
    assert sum((SAMPLES / name).stat().st_size for name in kept) < MAX_SAMPLES_BYTES
    assert json.loads((tmp_path / DEFECTS_FILE).read_text()) == json.loads((SAMPLES / DEFECTS_FILE).read_text())
    for name in drawn:
        if name.name == DEFECTS_FILE:
            continue
        if name.name == "broken.jpg":
            assert (tmp_path / name).read_bytes() == (SAMPLES / name).read_bytes()
            continue
        new, old = (np.asarray(Image.open(f / name).convert("RGB")).astype(int) for f in (tmp_path, SAMPLES))
        # Builds of libjpeg round differently; PNG leaves no such room.
        tolerance = 0 if name.suffix == ".png" else 3
        assert np.abs(new - old).mean() <= tolerance, name


def test_decoding_turns_a_picture_upright() -> None:
    picture = Image.new("RGB", (200, 100), "white")
    picture.paste("black", (0, 0, 100, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    content = io.BytesIO()
    picture.save(content, "JPEG", exif=exif)
    upright = decode(content.getvalue(), LIMITS)
    assert upright.size == (100, 200)
    assert upright.getpixel((50, 20)) < (50, 50, 50)
    assert upright.getpixel((50, 180)) > (200, 200, 200)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
@pytest.mark.parametrize(("orientation", "size"), [(1, (200, 100)), (3, (200, 100)), (6, (100, 200)), (8, (100, 200))])
def test_header_tells_the_size_of_the_decoded(image_format: str, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = io.BytesIO()
    Image.new("RGB", (200, 100)).save(content, image_format, exif=exif)
    assert read_header(content.getvalue(), LIMITS) == ImageHeader(image_format, *size)
    assert decode(content.getvalue(), LIMITS).size == size


def test_decoding_lays_transparency_on_white() -> None:
    content = io.BytesIO()
    Image.new("RGBA", (100, 100), (0, 0, 0, 0)).save(content, "PNG")
    assert decode(content.getvalue(), LIMITS).getpixel((5, 5)) == (255, 255, 255)
