"""The colours and the quality of a picture, from its pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

type Pixels = npt.NDArray[np.uint8]
type Place = npt.NDArray[np.bool_]

_WORKING_SIDE_PX = 128
# The standard deviation of brightness that is a full contrast, half black and half white.
_MOST_DEVIATION = 127.5
# The spread of a picture's edges that is about two thirds of a full sharpness.
_USUAL_EDGES = 20.0
# As the service spells them, `gray` is grey; of two names of one colour the first by the alphabet.
_CSS: Mapping[tuple[int, ...], str] = {
    ImageColor.getrgb(code)[:3]: name
    for name, code in sorted(ImageColor.colormap.items(), reverse=True)
    if "gray" not in name
}
_SIMPLE = ("black", "blue", "brown", "cyan", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
_SIMPLE_CODES: Mapping[tuple[int, ...], str] = {ImageColor.getrgb(name)[:3]: name for name in _SIMPLE}


def properties(picture: Image.Image, max_colours: int) -> dict[str, Any]:
    """Return what `DetectLabels` calls the properties of an image, for the whole and its two grounds.

    The foreground is the middle half of both sides; the background is the rest.

    Parameters
    ----------
    max_colours
        The most colours of each; none for 0.
    """
    small = picture.copy()
    small.thumbnail((_WORKING_SIDE_PX, _WORKING_SIDE_PX), Image.Resampling.NEAREST)  # mixes no colours
    height, width = small.height, small.width
    front = np.zeros((height, width), bool)
    front[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    whole = _ground(small, np.ones_like(front), max_colours)
    return {
        **whole,
        "Foreground": _ground(small, front, max_colours),
        "Background": _ground(small, ~front, max_colours),
    }


def quality(picture: Image.Image, place: Place | None = None) -> dict[str, float]:
    """Return brightness, sharpness and contrast of a picture or of a place in it, each from 0 to 100."""
    grey = np.asarray(picture.convert("L"), dtype=np.float32)
    padded = np.pad(grey, 1, mode="edge")
    edges = 4 * grey - padded[:-2, 1:-1] - padded[2:, 1:-1] - padded[1:-1, :-2] - padded[1:-1, 2:]
    place = np.ones(grey.shape, bool) if place is None else place
    return {
        "Brightness": _percent(float(grey[place].mean()) / 255.0),
        "Sharpness": _percent(1.0 - math.exp(-float(edges[place].std()) / _USUAL_EDGES)),
        "Contrast": _percent(float(grey[place].std()) / _MOST_DEVIATION),
    }


def dominant_colours(pixels: Pixels, max_colours: int) -> list[dict[str, Any]]:
    """Return the colours of a list of pixels, the most frequent first; several may have the same name."""
    if max_colours == 0:
        return []
    reduced = Image.fromarray(pixels[None]).quantize(max_colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = reduced.getpalette() or []
    counts = np.bincount(np.asarray(reduced).ravel())
    found = [(int(count), palette[3 * i : 3 * i + 3]) for i, count in enumerate(counts) if count]
    return [_colour(colour, 100.0 * count / len(pixels)) for count, colour in sorted(found, reverse=True)]


def _ground(picture: Image.Image, place: Place, max_colours: int) -> dict[str, Any]:
    return {
        "Quality": quality(picture, place),
        "DominantColors": dominant_colours(np.asarray(picture)[place], max_colours),
    }


def _colour(colour: Sequence[int], percent: float) -> dict[str, Any]:
    red, green, blue = colour
    return {
        "Red": red,
        "Green": green,
        "Blue": blue,
        "HexCode": f"#{red:02x}{green:02x}{blue:02x}",
        "CSSColor": _nearest(colour, _CSS),
        "SimplifiedColor": _nearest(colour, _SIMPLE_CODES),
        "PixelPercent": round(percent, 4),
    }


def _nearest(colour: Sequence[int], names: Mapping[tuple[int, ...], str]) -> str:
    return names[min(names, key=lambda known: sum((a - b) ** 2 for a, b in zip(known, colour, strict=True)))]


def _percent(share: float) -> float:
    return round(100.0 * min(1.0, max(0.0, share)), 4)
