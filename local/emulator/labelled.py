"""Reads a folder of labelled pictures, one subfolder for each label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_vision.backends.rekognition_custom_labels import LIMITS
from local.emulator.errors import ConfigurationError, ImageError
from local.emulator.images import ImageHeader, decode, read_header
from local.emulator.pixel_model import MIN_EXAMPLES, PixelModel

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png")
# Pictures are kept small enough to learn from hundreds of them; the model looks at far less.
KEPT_SIDE_PX = 512


def learn_folder(folder: Path) -> PixelModel:
    """Learn a model from a folder of labelled pictures.

    Raises
    ------
    ConfigurationError
        If the folder is missing, holds no two labels with enough pictures, or a picture cannot be used.
    """
    layout = "give a folder with one subfolder of JPEG or PNG images for each label"
    if not folder.is_dir():
        raise ConfigurationError(f"the folder of labelled images {str(folder)!r} does not exist: {layout}")
    paths = {
        child.name: sorted(p for p in child.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }
    paths = {label: found for label, found in paths.items() if found}
    if not paths:
        raise ConfigurationError(f"the folder {str(folder)!r} holds no labelled image: {layout}")
    if len(paths) == 1:
        raise ConfigurationError(
            f"the folder {str(folder)!r} holds one label only, {next(iter(paths))!r}: "
            "add a subfolder of images with another label"
        )
    for label, found in paths.items():
        if len(found) < MIN_EXAMPLES:
            raise ConfigurationError(
                f"the label {label!r} in {str(folder)!r} has {len(found)} image: "
                f"add images until each label has {MIN_EXAMPLES} or more"
            )
    sizes_px: set[tuple[int, int]] = set()

    def read(path: Path) -> Image.Image:
        picture, header = _read(path)
        sizes_px.add((header.width_px, header.height_px))
        return picture

    examples = {label: [read(path) for path in found] for label, found in paths.items()}
    return PixelModel.learn(examples, sizes_px)


def _read(path: Path) -> tuple[Image.Image, ImageHeader]:
    content = path.read_bytes()
    try:
        header = read_header(content, LIMITS)
        picture = decode(content, LIMITS, scaled_to_px=KEPT_SIDE_PX)
    except ImageError as error:
        raise ConfigurationError(
            f"the labelled image {str(path)!r} cannot be used, {error}: replace or remove it"
        ) from error
    picture.thumbnail((KEPT_SIDE_PX, KEPT_SIDE_PX))
    return picture, header
