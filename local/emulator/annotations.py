"""What a drawn picture says of itself, for what no model on a laptop could tell: its text, faces and equipment.

The script of the drawn samples writes it into a PNG as a text chunk, or into a JPEG as a comment: the keyword, a zero
byte, and an object of JSON in ASCII with some of these members, in the words of the service's own model.

`Lines`
    Each has a `Text`, a `Confidence` and its `Words`, which have a `Text`, a `Confidence` and a `BoundingBox`.
`Faces`
    Each is a `FaceDetail`; that of somebody famous has a `Celebrity` too, a `Celebrity` without its `Face`.
`Persons`
    Each is a `ProtectiveEquipmentPerson` without an `Id`.

A picture without an annotation has no text, no face and no person for the emulator.

The frames of a video cannot hold any: its annotation is the comment of its container, the keyword, a colon, and a list
of such objects, each with the `StartSeconds` and `EndSeconds` between which it holds.
"""

from __future__ import annotations

import json
from typing import Any, cast

KEYWORD = "batch-vision annotation"
_MARK = KEYWORD.encode() + b"\0"
_MAX_BYTES = 64 * 1024


def write_annotation(annotation: dict[str, Any]) -> str:
    """Return the text that follows the keyword."""
    return json.dumps(annotation, separators=(",", ":"))


def read_annotation(content: bytes) -> dict[str, Any]:
    """Return the annotation of an encoded picture; empty if there is none that can be read."""
    _, _, rest = content.partition(_MARK)
    try:
        # Each byte is a character, so that what follows the JSON cannot break it.
        found, _ = json.JSONDecoder().raw_decode(rest[:_MAX_BYTES].decode("latin-1"))
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def write_video_annotation(spans: list[dict[str, Any]]) -> str:
    """Return the comment of a video's container."""
    return f"{KEYWORD}:{json.dumps(spans, separators=(',', ':'))}"


def read_video_annotation(comment: str) -> list[dict[str, Any]]:
    """Return the annotation of a video in spans; empty if there is none that can be read."""
    mark, _, text = comment.partition(":")
    try:
        found = json.loads(text) if mark == KEYWORD else []
    except ValueError:
        return []
    return found if isinstance(found, list) else []


def annotation_at(spans: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return what is annotated at a time of a video; empty if nothing is."""
    return next((span for span in spans if span["StartSeconds"] <= seconds < span["EndSeconds"]), {})
