"""Draws the sample scenes: words, faces and people at work, for models that find such things.

Each picture carries an annotation of what was drawn where (see `local.emulator.annotations`), because the emulator can
tell no face from a wheel. `draw_samples` calls this; no chance is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from local.emulator.annotations import KEYWORD, write_annotation

if TYPE_CHECKING:
    from pathlib import Path

type Colour = tuple[int, int, int]
type Box = tuple[float, float, float, float]

WIDTH_PX, HEIGHT_PX = 320, 240
# Drawn larger and scaled down: Pillow's shapes have hard edges.
SCALE = 3
JPEG_QUALITY = 82
# How sure a model may be of what is drawn without doubt.
SURE_PERCENT = 99.5

WALL: Colour = (176, 190, 197)
FLOOR: Colour = (120, 124, 120)
SKIN: Colour = (224, 172, 132)
HAIR: Colour = (72, 48, 32)
DARK: Colour = (30, 30, 34)
YELLOW: Colour = (255, 204, 0)
BLUE: Colour = (38, 84, 160)
RED: Colour = (178, 34, 34)
WHITE: Colour = (245, 245, 245)

CELEBRITY = {
    "Name": "Ada Example",
    "Id": "1aB2cD3",
    "Urls": ["example.com/ada"],
    "MatchConfidence": 98.0,
    "KnownGender": {"Type": "Female"},
}


@dataclass(frozen=True)
class Looks:
    """How somebody is drawn."""

    shirt: Colour
    is_smiling: bool = False
    has_glasses: bool = False
    has_helmet: bool = False
    has_mask: bool = False
    gloved_hands: int = 0
    hands: int = 2


class Scene:
    """A picture in the making, in pixels of its final size, and what is on it."""

    def __init__(self, ground: Image.Image) -> None:
        self._picture = ground.resize((WIDTH_PX * SCALE, HEIGHT_PX * SCALE), Image.Resampling.BICUBIC)
        self._draw = ImageDraw.Draw(self._picture)
        self.annotation: dict[str, list[dict[str, Any]]] = {}

    def add_line(self, text: str, left: float, top: float, height: float, colour: Colour) -> None:
        """Write a line of words, each of which has a place."""
        font = ImageFont.load_default(height * SCALE)
        x, y = left * SCALE, top * SCALE
        words = []
        for word in text.split(" "):
            self._draw.text((x, y), word, font=font, fill=colour)
            bounds = self._draw.textbbox((x, y), word, font=font)
            place: Box = (bounds[0] / SCALE, bounds[1] / SCALE, bounds[2] / SCALE, bounds[3] / SCALE)
            words.append({"Text": word, "Confidence": SURE_PERCENT, "BoundingBox": _box(place)})
            x = bounds[2] + height * SCALE * 0.35
        self._add("Lines", {"Text": text, "Confidence": SURE_PERCENT, "Words": words})

    def add_person(self, x: float, looks: Looks, celebrity: dict[str, Any] | None = None) -> None:
        """Draw somebody who looks at the camera, the middle of the face at `x`."""
        y, radius = 84.0, 30.0
        self.shape("rounded_rectangle", (x - 44, 122, x + 44, 240), looks.shirt)
        self.shape("rectangle", (x - 10, 108, x + 10, 126), SKIN)
        self.shape("ellipse", (x - radius - 3, y - radius - 8, x + radius + 3, y + radius), HAIR)
        face = (x - radius + 4, y - radius + 2, x + radius - 4, y + radius + 6)
        self.shape("ellipse", face, SKIN)
        self._draw_features(x, y, looks)
        head = (x - radius - 3, y - radius - 8, x + radius + 3, y + radius + 6)
        head_covers, face_covers = [], []
        if looks.has_helmet:
            helmet = (x - radius - 6, y - radius - 18, x + radius + 6, y + 14)
            self.shape("pieslice", helmet, YELLOW, 180, 360)
            brim = (x - radius - 12, y - 20, x + radius + 12, y - 13)
            self.shape("rectangle", brim, YELLOW)
            cover = (brim[0], helmet[1], brim[2], brim[3])
            head = (brim[0], helmet[1], brim[2], head[3])
            head_covers.append(_equipment("HEAD_COVER", cover))
        if looks.has_mask:
            mask = (x - 20, y + 8, x + 20, y + 32)
            self.shape("rounded_rectangle", mask, WHITE)
            face_covers.append(_equipment("FACE_COVER", mask))
        parts = [_part("HEAD", head_covers), _part("FACE", face_covers)]
        for number, (name, side) in enumerate((("RIGHT_HAND", -1), ("LEFT_HAND", 1))[: looks.hands]):
            hand = (x + side * 58 - 12, 176.0, x + side * 58 + 12, 204.0)
            self.shape("rounded_rectangle", (hand[0] + 2, 128, hand[2] - 2, 186), looks.shirt)
            is_gloved = number < looks.gloved_hands
            self.shape("ellipse", hand, RED if is_gloved else SKIN)
            parts.append(_part(name, [_equipment("HAND_COVER", hand)] if is_gloved else []))
        person = (x - 70, head[1], x + 70, float(HEIGHT_PX))
        self._add("Persons", {"BoundingBox": _box(person), "Confidence": SURE_PERCENT, "BodyParts": parts})
        self._add("Faces", _face(face, x, y, looks) | ({"Celebrity": celebrity} if celebrity else {}))

    def save(self, path: Path) -> None:
        """Save the picture with its annotation, in the format that its name says."""
        picture = self._picture.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BOX)
        text = write_annotation(self.annotation)
        if path.suffix == ".png":
            chunks = PngInfo()
            chunks.add_text(KEYWORD, text)
            palette = picture.quantize(96, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            palette.save(path, optimize=True, pnginfo=chunks)
        else:
            picture.save(path, format="JPEG", quality=JPEG_QUALITY, comment=f"{KEYWORD}\0{text}".encode())

    def _add(self, kind: str, thing: dict[str, Any]) -> None:
        self.annotation.setdefault(kind, []).append(thing)

    def shape(self, kind: str, box: Box, colour: Colour, *angles: float) -> None:
        """Draw a filled shape, named as Pillow's drawing names it."""
        options: dict[str, Any] = {"radius": 8 * SCALE} if kind == "rounded_rectangle" else {}
        getattr(self._draw, kind)([side * SCALE for side in box], *angles, fill=colour, **options)

    def _draw_features(self, x: float, y: float, looks: Looks) -> None:
        for side in (-1, 1):
            eye = x + side * 11
            self.shape("ellipse", (eye - 5, y - 6, eye + 5, y + 2), WHITE)
            self.shape("ellipse", (eye - 2, y - 4, eye + 2, y), DARK)
            if looks.has_glasses:
                rim = [(eye - 9) * SCALE, (y - 10) * SCALE, (eye + 9) * SCALE, (y + 6) * SCALE]
                self._draw.ellipse(rim, outline=DARK, width=2 * SCALE)
        self.shape("polygon", (x, y + 2, x - 3, y + 12), (200, 144, 108))
        mouth = [(x - 12) * SCALE, (y + 8) * SCALE, (x + 12) * SCALE, (y + 24) * SCALE]
        if looks.is_smiling:
            self._draw.arc(mouth, 20, 160, fill=RED, width=3 * SCALE)
        else:
            self.shape("rectangle", (x - 9, y + 19, x + 9, y + 21), RED)


def draw_scenes(folder: Path, part: Image.Image) -> None:
    """Draw the scenes into a folder.

    Parameters
    ----------
    part
        A picture of a part, on which its number is to be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbered = Scene(part)
    numbered.add_line("LOT 4711", 8, 212, 18, WHITE)
    numbered.save(folder / "lot 4711.jpg")

    sign = Scene(_room(WALL, WALL))
    sign.shape("rounded_rectangle", (40, 50, 280, 190), YELLOW)
    sign.add_line("KEEP CLEAR", 62, 72, 34, DARK)
    sign.add_line("Fire door 12", 62, 132, 26, RED)
    sign.save(folder / "keep-clear.jpg")

    equipped = Scene(_room(WALL, FLOOR))
    equipped.add_person(160, Looks(BLUE, has_helmet=True, has_mask=True, gloved_hands=2))
    equipped.save(folder / "worker-equipped.jpg")

    bare = Scene(_room(WALL, FLOOR))
    bare.add_person(85, Looks(BLUE, has_helmet=True, gloved_hands=1))
    bare.add_person(235, Looks(RED, is_smiling=True, hands=1))
    bare.save(folder / "workers-one-without-helmet.png")

    famous = Scene(_room(WALL, WALL))
    famous.add_person(95, Looks(DARK, is_smiling=True, has_glasses=True, hands=0), CELEBRITY)
    famous.add_person(230, Looks(WHITE, hands=0))
    famous.add_line("Ada Example", 20, 6, 14, DARK)
    famous.save(folder / "portrait.jpg")


def _room(wall: Colour, floor: Colour) -> Image.Image:
    """Draw a wall that is lit from above, and a floor."""
    rows = np.linspace(1.06, 0.9, HEIGHT_PX)[:, None, None]
    pixels = np.broadcast_to(np.array(wall, float), (HEIGHT_PX, WIDTH_PX, 3)) * rows
    pixels[200:] = np.array(floor, float) * rows[200:]
    return Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))


def _face(face: Box, x: float, y: float, looks: Looks) -> dict[str, Any]:
    """Return the `FaceDetail` of a face that was drawn."""
    places = {
        "eyeLeft": (x - 11, y - 2),
        "eyeRight": (x + 11, y - 2),
        "nose": (x, y + 10),
        "mouthLeft": (x - 10, y + 20),
        "mouthRight": (x + 10, y + 20),
    }
    return {
        "BoundingBox": _box(face),
        "Confidence": SURE_PERCENT,
        "Landmarks": [
            {"Type": name, "X": round(px / WIDTH_PX, 4), "Y": round(py / HEIGHT_PX, 4)}
            for name, (px, py) in places.items()
        ],
        "Pose": {"Roll": 0.0, "Yaw": 0.0, "Pitch": 0.0},
        "AgeRange": {"Low": 28, "High": 40},
        "Smile": _verdict(looks.is_smiling),
        "Eyeglasses": _verdict(looks.has_glasses),
        "Sunglasses": _verdict(False),
        "Beard": _verdict(False),
        "Mustache": _verdict(False),
        "EyesOpen": _verdict(True),
        "MouthOpen": _verdict(False),
        "FaceOccluded": _verdict(looks.has_mask),
        "Emotions": [{"Type": "HAPPY" if looks.is_smiling else "CALM", "Confidence": SURE_PERCENT}],
    }


def _verdict(value: bool) -> dict[str, Any]:
    return {"Value": value, "Confidence": SURE_PERCENT}


def _part(name: str, equipment: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Name": name, "Confidence": SURE_PERCENT, "EquipmentDetections": equipment}


def _equipment(kind: str, box: Box) -> dict[str, Any]:
    return {
        "Type": kind,
        "Confidence": SURE_PERCENT,
        "BoundingBox": _box(box),
        "CoversBodyPart": _verdict(True),
    }


def _box(box: Box) -> dict[str, float]:
    left, top, right, bottom = box
    return {
        "Left": round(left / WIDTH_PX, 4),
        "Top": round(top / HEIGHT_PX, 4),
        "Width": round((right - left) / WIDTH_PX, 4),
        "Height": round((bottom - top) / HEIGHT_PX, 4),
    }
