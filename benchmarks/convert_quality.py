"""What converting does to the answers of a model: pictures of above 4,096 pixels in every format, lying in every way.

``python -m benchmarks.convert_quality FOLDER`` does the same with photographs: the folder has one subfolder for each
label, as `make local-run LABELLED=` takes it.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from PIL import Image, ImageOps
from rich.console import Console

from benchmarks import pictures
from benchmarks.convert import convert
from benchmarks.report import Result
from local.config import REPOSITORY
from local.emulator.labelled import SUFFIXES, learn_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from local.emulator.pixel_model import Analysis, BoundingBox, PixelModel

LEAST_OVERLAP = 0.8
SAMPLES = REPOSITORY / "local" / "samples" / "labelled"
_DRAFT_PX = 512  # as the emulator decodes
_MEGAPIXELS = 14.0  # of 4:3, just above 4,096 pixels


@dataclass
class Compared:
    """The pictures of a format beside their originals.

    Attributes
    ----------
    overlaps
        Of the boxes of the surest label, intersection over union; of pictures that have one.
    other_labels
        Which pictures have another label than their original.
    """

    count: int = 0
    other_labels: list[str] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)

    def add(self, name: str, original: Analysis, converted: Analysis) -> None:
        """Compare what is said of a picture with what is said of its original."""
        self.count += 1
        before, after = original.scores[0], converted.scores[0]
        if before.name != after.name:
            self.other_labels.append(name)
        elif before.bounding_box or after.bounding_box:
            self.overlaps.append(overlap(before.bounding_box, after.bounding_box))


def overlap(one: BoundingBox | None, other: BoundingBox | None) -> float:
    """Return intersection over union of two boxes; 0 where there is only one."""
    if one is None or other is None:
        return 0.0
    right = min(one.left + one.width, other.left + other.width)
    bottom = min(one.top + one.height, other.top + other.height)
    shared = max(0.0, right - max(one.left, other.left)) * max(0.0, bottom - max(one.top, other.top))
    return shared / (one.width * one.height + other.width * other.height - shared)


def cases_of(paths: Sequence[Path], forms: Sequence[str], rounds: int = 1) -> list[tuple[Path, str, int]]:
    """Return picture, format and Exif orientation of what is compared.

    In a round, each picture is in each format, and each way to lie is in each format; eight rounds are all there are.
    The pictures change fastest, so that a part of a round has all of them.
    """
    ways = pictures.ORIENTATIONS
    return [
        (path, forms[(number + place) % len(forms)], ways[(number + number // len(ways) + shift) % len(ways)])
        for shift in range(rounds)
        for place in range(len(forms))
        for number, path in enumerate(paths)
    ]


def converted_analysis(model: PixelModel, picture: Image.Image, form: str, orientation: int) -> Analysis:
    """Save a picture, convert that file, and ask the model about what it was converted to."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture")
        pictures.save(picture, form, path, orientation)
        jpeg = Path(folder, "converted.jpg")
        jpeg.write_bytes(convert(path, memory_mb=3008))
        with Image.open(jpeg) as opened:
            opened.draft("RGB", (_DRAFT_PX, _DRAFT_PX))
            return model.analyse(opened)


def compare(
    model: PixelModel,
    enlarge: Callable[[Image.Image], Image.Image],
    cases: Sequence[tuple[Path, str, int]],
    seconds: float = float("inf"),
) -> dict[str, Compared]:
    """Compare the answers about pictures with those about their originals, by format, while there is time.

    Parameters
    ----------
    enlarge
        Makes a picture too large for the model.
    cases
        Picture, format and Exif orientation.
    """
    until = time.monotonic() + seconds
    found: dict[str, Compared] = {}
    for path, form, orientation in cases:
        if time.monotonic() > until:
            break
        with Image.open(path) as opened:
            original = ImageOps.exif_transpose(opened).convert("RGB")
        analysis = converted_analysis(model, enlarge(original), form, orientation)
        name = f"{path.parent.name}/{path.name} lying as {orientation}"
        found.setdefault(form, Compared()).add(name, model.analyse(original), analysis)
    return found


def result_of(title: str, found: dict[str, Compared]) -> Result:
    """Return the table of what was compared."""
    rows: list[dict[str, Any]] = [
        {
            "format": form,
            "pictures": one.count,
            "another label": len(one.other_labels),
            "with a box": len(one.overlaps),
            "least overlap of boxes": min(one.overlaps, default="-"),
            "mean overlap": sum(one.overlaps) / len(one.overlaps) if one.overlaps else "-",
        }
        for form, one in sorted(found.items())
    ]
    result = Result(title, rows)
    others = [f"{form}: {name}" for form, one in found.items() for name in one.other_labels]
    result.target("pictures with another label than their original", ", ".join(others) or 0, is_met=not others)
    overlaps = [shared for one in found.values() for shared in one.overlaps]
    least = min(overlaps, default=0.0)
    goal = f"boxes overlap those of the original by {LEAST_OVERLAP:g} (intersection over union)"
    result.target(goal, least, is_met=least >= LEAST_OVERLAP)
    result.notes.append(
        "The model is the emulator's, learned from the folder. The overlap is that of the boxes of the surest label;"
        " the map on which that model marks a box is 128 pixels wide."
    )
    return result


def run(quick: bool = False) -> Result:
    """Compare the drawn samples, each in each format."""
    forms = pictures.FORMS
    cases = cases_of(sorted(SAMPLES.rglob("*.*")), forms)[: len(forms) if quick else None]
    return result_of(
        f"Converted pictures: the answers of a model, drawn samples at {_MEGAPIXELS:g} megapixels",
        compare(learn_folder(SAMPLES), lambda picture: pictures.enlarged(picture, _MEGAPIXELS * 1e6), cases),
    )


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--megapixels", default=48.0, show_default=True)
@click.option("--minutes", default=10.0, show_default=True, help="What was not compared by then is left out.")
@click.option("--form", "chosen", multiple=True, help="A format; all that can be written without it.")
def main(folder: Path, megapixels: float, minutes: float, chosen: tuple[str, ...]) -> None:
    """Compare photographs in every format, lying in every way."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    cases = cases_of(paths, chosen or pictures.FORMS, rounds=len(pictures.ORIENTATIONS))
    found = compare(
        learn_folder(folder), lambda picture: pictures.enlarged(picture, megapixels * 1e6), cases, 60 * minutes
    )
    result = result_of(f"Converted pictures: {len(paths)} photographs at {megapixels:g} megapixels", found)
    result.notes.append(f"{sum(one.count for one in found.values()):,} of {len(cases):,} cases were compared.")
    result.show(Console(width=150))


if __name__ == "__main__":
    main()
