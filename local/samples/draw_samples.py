"""Draws the sample images: a machined flange that is normal, cracked or stained.

`python -m local.samples.draw_samples [FOLDER]` writes `labelled/<label>/…` to learn from and `pile/…` to
analyse. The drawing is seeded: the same code draws the same pixels. Where a defect lies is in `defects.json`,
so that tests can hold a bounding box against it.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

type Box = tuple[int, int, int, int]

HERE = Path(__file__).resolve().parent
SEED = 20_261
WIDTH_PX, HEIGHT_PX = 320, 240
# Drawn larger and scaled down: Pillow's shapes have hard edges.
SCALE = 3
LABELS = ("normal", "crack", "stain")
EXAMPLES_PER_LABEL = 8
JPEG_QUALITY = 82
DEFECTS_FILE = "defects.json"

# Name in the pile and what it shows. Keys like these get lost when software decodes them carelessly.
PILE = (
    ("part-01.jpg", "normal"),
    ("part-02.png", "crack"),
    ("part-03.jpg", "stain"),
    ("part-04.JPG", "normal"),
    ("part-05.jpeg", "crack"),
    ("line 2/part 06.jpg", "stain"),
    ("line 2/part-07.png", "normal"),
    ("line-3/morning/part+08.jpg", "crack"),
    ("line-3/morning/90% done & dry.jpg", "stain"),
    ("line-3/café-09.jpg", "normal"),
    ("line-3/部品-10.jpg", "crack"),
    ("broken.jpg", None),
)
BROKEN_CONTENT = b"This file was cut off on its way: it has the name of an image, and nothing else of one.\n"


def draw_part(label: str, rng: np.random.Generator) -> tuple[Image.Image, Box | None]:
    """Draw one part.

    Parameters
    ----------
    label
        `normal`, `crack` or `stain`.
    rng
        Source of the variation of light, position, grain and defect.

    Returns
    -------
    tuple
        The picture, and the box of its defect in pixels (left, top, right, bottom), or None.
    """
    size = (WIDTH_PX * SCALE, HEIGHT_PX * SCALE)
    centre = (
        WIDTH_PX / 2 + float(rng.uniform(-5, 5)),
        HEIGHT_PX / 2 + float(rng.uniform(-4, 4)),
    )
    light = float(rng.uniform(0.95, 1.05))
    picture = Image.new("RGB", size, _grey(54, light))
    draw = ImageDraw.Draw(picture)

    _disc(draw, (centre[0] + 3, centre[1] + 5), 101, _grey(36, light))  # its shadow
    _disc(draw, centre, 100, _grey(112, light))
    _disc(draw, centre, 97, _grey(168, light))
    _disc(draw, centre, 62, _grey(128, light))
    _disc(draw, centre, 60, _grey(186, light))
    _disc(draw, centre, 30, _grey(104, light))
    _disc(draw, centre, 27, _grey(40, light))
    for i in range(6):
        angle = np.pi * i / 3 + np.pi / 6
        bolt = (centre[0] + 79 * float(np.cos(angle)), centre[1] + 79 * float(np.sin(angle)))
        _disc(draw, bolt, 10, _grey(118, light))
        _disc(draw, bolt, 8, _grey(44, light))

    box = None
    if label == "crack":
        box = _draw_crack(draw, centre, rng)
    elif label == "stain":
        picture, box = _draw_stain(picture, centre, rng)
    small = picture.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BOX)
    return _finished(small, centre, rng), box


def draw_all(folder: Path) -> None:
    """Draw the labelled samples and the pile into a folder."""
    rng = np.random.default_rng(SEED)
    defects: dict[str, Box] = {}

    def write(name: str, label: str) -> None:
        picture, box = draw_part(label, rng)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".png":
            picture.quantize(96, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
        else:
            picture.save(path, format="JPEG", quality=JPEG_QUALITY)
        if box is not None:
            defects[name] = box

    for label in LABELS:
        for i in range(EXAMPLES_PER_LABEL):
            write(f"labelled/{label}/{label}-{i + 1}.{'png' if i == 3 else 'jpg'}", label)
    for name, shown in PILE:
        if shown is None:
            (folder / "pile" / name).write_bytes(BROKEN_CONTENT)
        else:
            write(f"pile/{name}", shown)
    text = json.dumps(defects, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / DEFECTS_FILE).write_text(text + "\n", encoding="utf-8")


def _grey(level: int, light: float) -> tuple[int, int, int]:
    value = level * light
    return round(value), round(value * 1.01), round(value * 1.04)


def _disc(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, fill: tuple[int, int, int]) -> None:
    x, y, r = centre[0] * SCALE, centre[1] * SCALE, radius * SCALE
    draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _place(centre: tuple[float, float], radius: float, angle: float) -> npt.NDArray[np.float64]:
    return np.array([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)])


def _draw_crack(draw: ImageDraw.ImageDraw, centre: tuple[float, float], rng: np.random.Generator) -> Box:
    """Draw a jagged dark line across the flat of the part, narrowing to its end, with one branch."""
    angle = float(rng.uniform(0, 2 * np.pi))
    heading = angle + float(rng.choice([-1.0, 1.0])) * float(rng.uniform(0.9, 1.5))
    position = _place(centre, float(rng.uniform(40, 52)), angle)
    points = [position]
    for _ in range(int(rng.integers(8, 11))):
        turn = heading + float(rng.uniform(-0.8, 0.8))
        position = position + float(rng.uniform(6, 9)) * np.array([np.cos(turn), np.sin(turn)])
        points.append(position)
    for i, (start, end) in enumerate(itertools.pairwise(points)):
        thickness = round((3.6 - 2.0 * i / len(points)) * SCALE)
        draw.line([*(start * SCALE), *(end * SCALE)], fill=(22, 20, 20), width=thickness, joint="curve")
    middle = points[len(points) // 2]
    turn = heading + float(rng.choice([-1.0, 1.0])) * 1.1
    branch = middle + 13 * np.array([np.cos(turn), np.sin(turn)])
    draw.line([*(middle * SCALE), *(branch * SCALE)], fill=(26, 24, 24), width=round(1.6 * SCALE))
    return _box_of(np.array([*points, branch]), 2.0)


def _draw_stain(picture: Image.Image, centre: tuple[float, float], rng: np.random.Generator) -> tuple[Image.Image, Box]:
    """Lay a brown blot with a darker rim over the part."""
    middle = _place(centre, float(rng.uniform(45, 72)), float(rng.uniform(0, 2 * np.pi)))
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = float(rng.uniform(15, 22)) * np.ones_like(turns)
    for wave in (2, 3, 5):
        radius *= 1 + float(rng.uniform(0.05, 0.16)) * np.sin(wave * turns + float(rng.uniform(0, 6)))
    outline = middle[:, None] + radius * np.stack([np.cos(turns), np.sin(turns)])
    layers = ((1.0, (104, 62, 22), 150), (0.82, (134, 84, 34), 120))
    for share, colour, opacity in layers:
        mask = Image.new("L", picture.size, 0)
        ring = middle[:, None] + share * (outline - middle[:, None])
        ImageDraw.Draw(mask).polygon([(float(x) * SCALE, float(y) * SCALE) for x, y in ring.T], fill=opacity)
        mask = mask.filter(ImageFilter.GaussianBlur(1.2 * SCALE))
        picture = Image.composite(Image.new("RGB", picture.size, colour), picture, mask)
    return picture, _box_of(outline.T, 1.0)


def _box_of(points: npt.NDArray[np.float64], margin_px: float) -> Box:
    low, high = points.min(axis=0) - margin_px, points.max(axis=0) + margin_px
    return (
        max(0, int(low[0])),
        max(0, int(low[1])),
        min(WIDTH_PX, int(high[0]) + 1),
        min(HEIGHT_PX, int(high[1]) + 1),
    )


def _finished(picture: Image.Image, centre: tuple[float, float], rng: np.random.Generator) -> Image.Image:
    """Add turning marks, a sheen, light that falls off, and the grain of the camera."""
    pixels = np.asarray(picture, dtype=np.float64)
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float64)
    right, down = columns - centre[0], rows - centre[1]
    radius = np.hypot(right, down)
    on_part = (radius < 97) & (radius > 30)
    marks = 2.2 * np.sin(radius * 1.9) + 1.2 * np.sin(radius * 0.83 + 1.0)
    # A turned face throws the light back in two opposite fans.
    sheen = 14.0 * np.cos(2 * (np.arctan2(down, right) - 0.7)) * on_part
    vignette = 1.0 - 0.16 * (((columns / WIDTH_PX - 0.5) * 2) ** 2 + ((rows / HEIGHT_PX - 0.5) * 2) ** 2) / 2
    grain = rng.normal(0.0, 1.0, size=(HEIGHT_PX, WIDTH_PX, 1))
    lit = (pixels + (marks * on_part + sheen)[..., None]) * vignette[..., None] + grain
    return Image.fromarray(np.clip(np.round(lit), 0, 255).astype(np.uint8))


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
