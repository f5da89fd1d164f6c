"""Corrections: what a person says about the predictions for an upload, and which of several corrections counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batch_vision.core.catalog import verdict_of
from batch_vision.core.times import from_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMA_VERSION = 1
PREFIX = "corrections/"
MAX_LABEL_LENGTH = 256
_RESULTS = ("results/", "results-long/")  # of images in an existing bucket
_SIDES = ("left", "top", "width", "height")
_ROUNDING = 1e-3  # a box may end so much outside of its image, of numbers that were rounded

# What is judged of a key: its bytes, by their ETag, so that the same ones uploaded again are as they were judged; or
# its version id, where an old line of the catalog has no ETag.
type Upload = tuple[str, str]


def upload_of(key: str, version_id: str | None, etag: str | None) -> Upload:
    """Return what corrections of an upload are found by."""
    return key, etag or version_id or ""


class Verdict(StrEnum):
    """What a person says about the predictions for an upload."""

    RIGHT = "right"
    WRONG = "wrong"
    UNSURE = "unsure"
    WITHDRAWN = "withdrawn"  # the person says nothing any more


@dataclass(frozen=True, slots=True)
class Box:
    """Where a label is in the image, in ratios of its sides."""

    name: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Correction:
    """What one person says about one upload.

    Attributes
    ----------
    result
        Key of the image in the final bucket, or of the result of an image in an existing bucket.
    predicted
        Names of the predictions that were judged.
    labels
        Names of all labels that the image has; none where the person is unsure.
    boxes
        The boxes that a person drew or kept; None where nobody looked at boxes, or all are as predicted.
    at
        When it was said, in UTC.
    """

    key: str
    version_id: str | None
    etag: str | None
    result: str
    model: str | None
    predicted: tuple[str, ...]
    verdict: Verdict
    labels: tuple[str, ...]
    boxes: tuple[Box, ...] | None
    by: str
    at: str
    fingerprint: str | None = None

    @property
    def upload(self) -> Upload:
        """What tells the upload from every other one."""
        return upload_of(self.key, self.version_id, self.etag)

    @property
    def result_key(self) -> str:
        """Key of the result in the final bucket."""
        return self.result if self.result.startswith(_RESULTS) else f"{self.result}.json"

    def to_line(self) -> dict[str, Any]:
        """Return it as a line of ``corrections/``."""
        line: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "key": self.key,
            "version_id": self.version_id,
            "etag": self.etag,
            "result": self.result,
            "model": self.model,
            "predicted": [*self.predicted],
            "verdict": str(self.verdict),
            "labels": [*self.labels],
            "boxes": None if self.boxes is None else [box_line(box) for box in self.boxes],
            "by": self.by,
            "at": self.at,
        }
        return line if self.fingerprint is None else line | {"fingerprint": self.fingerprint}


def box_line(box: Box) -> dict[str, Any]:
    """Return a box as JSON."""
    return {"name": box.name} | {side: getattr(box, side) for side in _SIDES}


def read_line(line: Any) -> Correction:
    """Read a line of ``corrections/``.

    Raises
    ------
    ValueError
        It is no such line; the message says what is wrong.
    """
    if not isinstance(line, dict):
        raise ValueError("it is no JSON object")
    if line.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"its schema_version is {line.get('schema_version')!r}, and not {SCHEMA_VERSION}")
    correction = Correction(
        key=_text(line, "key"),
        version_id=_text_or_none(line, "version_id"),
        etag=_text_or_none(line, "etag"),
        result=_text(line, "result"),
        model=_text_or_none(line, "model"),
        predicted=read_names(line.get("predicted"), "predicted"),
        verdict=read_verdict(line.get("verdict")),
        labels=read_names(line.get("labels"), "labels"),
        boxes=read_boxes(line.get("boxes")),
        by=_text(line, "by"),
        at=_text(line, "at"),
        fingerprint=_text_or_none(line, "fingerprint"),
    )
    from_text(correction.at)
    if strange := {box.name for box in correction.boxes or ()} - {*correction.labels}:
        raise ValueError(f"boxes are of {', '.join(map(repr, sorted(strange)))}, which labels lacks")
    if not correction.upload[1]:
        raise ValueError("it has neither version_id nor etag")
    return correction


def read_verdict(value: Any) -> Verdict:
    """Read a verdict; raises ValueError."""
    try:
        return Verdict(value)
    except ValueError as error:
        raise ValueError(f"verdict is {value!r}, and not one of {', '.join(Verdict)}") from error


def read_names(value: Any, name: str) -> tuple[str, ...]:
    """Read a list of labels, each of them once; raises ValueError."""
    if not isinstance(value, list):
        raise ValueError(f"{name} is {value!r}, and no list")
    for label in value:
        if not _is_text(label) or len(label) > MAX_LABEL_LENGTH:
            raise ValueError(f"{name} holds {label!r}, which is no text of 1 to {MAX_LABEL_LENGTH} characters")
    return tuple(dict.fromkeys(value))


def read_boxes(value: Any) -> tuple[Box, ...] | None:
    """Read a list of boxes, or None; raises ValueError."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError(f"boxes is {value!r}, and no list")
    return tuple(_box(entry) for entry in value)


def _box(entry: Any) -> Box:
    if not isinstance(entry, dict):
        raise ValueError(f"boxes holds {entry!r}, which is no JSON object")
    (name,) = read_names([entry.get("name")], "the name of a box")
    sides = [entry.get(side) for side in _SIDES]
    if not all(isinstance(side, int | float) and 0 <= side <= 1 for side in sides):
        raise ValueError(f"boxes holds {entry!r}, whose sides are no ratios of 0 to 1")
    left, top, width, height = (float(side) for side in sides if side is not None)
    if not (width and height) or left + width > 1 + _ROUNDING or top + height > 1 + _ROUNDING:
        raise ValueError(f"boxes holds {entry!r}, which is empty or outside of the image")
    return Box(name, left, top, width, height)


def box_within(name: str, sides: Mapping[str, float]) -> Box | None:
    """Return the part of a model's box that is in the image, which some reach beyond; None where nothing is."""
    left, top = (min(max(sides[side], 0.0), 1.0) for side in ("left", "top"))
    right = min(sides["left"] + sides["width"], 1.0)
    bottom = min(sides["top"] + sides["height"], 1.0)
    return Box(name, left, top, right - left, bottom - top) if right > left and bottom > top else None


def _text(line: Mapping[str, Any], name: str) -> str:
    value = line.get(name)
    if not _is_text(value):
        raise ValueError(f"{name} is {value!r}, and no text")
    return str(value)


def _is_text(value: Any) -> bool:
    """Return whether a value is a text that can be written: JSON can say half of a surrogate pair, UTF-8 cannot."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:
        return False


def _text_or_none(line: Mapping[str, Any], name: str) -> str | None:
    return None if line.get(name) is None else _text(line, name)


# What is seen in an image and is no label of it: texts and faces have names of their own, colors are shares.
_NO_LABELS = ("color", "text", "face")


def judged_labels(
    predictions: Iterable[Mapping[str, Any]], anomaly: Mapping[str, Any] | None, min_confidence: float
) -> tuple[str, ...]:
    """Return the labels that a person judges, and accepts together: what the model says of the image.

    Parameters
    ----------
    predictions
        The most confident first. Those of at least `min_confidence` count; where none has it, the first one does.
    anomaly
        The verdict of a model that looks for anomalies, which is a label too.
    min_confidence
        In percent.
    """
    said = [one for one in predictions if one.get("kind") not in _NO_LABELS]
    names = [str(one["name"]) for one in said if one["confidence"] >= min_confidence]
    if anomaly is not None:
        names.append(verdict_of(anomaly))
    elif said and not names:
        names.append(str(said[0]["name"]))
    return tuple(dict.fromkeys(names))


def counting(corrections: Iterable[Correction]) -> dict[Upload, Correction]:
    """Return the correction that counts for each upload.

    Of each person the last one counts, of several persons the last of these; one that is withdrawn leaves those of
    others. Of two of the same time the one that comes later here is the last.
    """
    by_person: dict[tuple[Upload, str], Correction] = {}
    for correction in corrections:
        place = (correction.upload, correction.by)
        if place not in by_person or _moment(correction) >= _moment(by_person[place]):
            by_person[place] = correction
    answer: dict[Upload, Correction] = {}
    for (upload, _), correction in by_person.items():
        if correction.verdict is Verdict.WITHDRAWN:
            continue
        if upload not in answer or _moment(correction) >= _moment(answer[upload]):
            answer[upload] = correction
    return answer


def _moment(correction: Correction) -> float:
    return from_text(correction.at).timestamp()
