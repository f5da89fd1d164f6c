"""Training manifests of Amazon Rekognition Custom Labels, for classification and for the detection of objects.

The formats and rules are those of its developer guide: "Classification and object localization in manifest files",
"Validation rules for manifest files", "Guidelines and quotas".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch_vision.core.corrections import Box

MAX_BYTES = 1024**3
MAX_LINES = 250_000
MAX_LABELS = 250
MAX_OF_AN_IMAGE = 50  # labels or boxes
MIN_SHARED_LABELS = 0.5  # labels of both sets, of those of the training set

LINE_BEGIN = '{"source-ref": '

_ATTRIBUTE = "batch-vision"
_BOXES = "bounding-box"
_HUNDREDTHS = 10_000


class Kind(StrEnum):
    """What a model is trained to tell."""

    LABELS = "labels"
    BOXES = "boxes"


# "Guidelines and quotas": 2 of a classification, 1 of a detection.
MIN_LABELS = {Kind.LABELS: 2, Kind.BOXES: 1}


@dataclass(frozen=True, slots=True)
class Example:
    """An image to train or test with.

    Attributes
    ----------
    bucket, key
        Where the image is.
    etag
        Of its bytes: the same bytes are in one set only.
    labels
        All labels of the image, for a classification.
    boxes
        All boxes of the image in ratios of its sides, for the detection of objects.
    width_px, height_px
        Of the image as it is seen; only for boxes.
    judged_at
        When a person said so.
    is_trainable
        Whether Custom Labels takes the image as it is, without what was converted for the model only.
    """

    bucket: str
    key: str
    etag: str
    labels: tuple[str, ...]
    judged_at: str
    boxes: tuple[Box, ...] = ()
    width_px: int = 0
    height_px: int = 0
    is_trainable: bool = True

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the labels that the image shows."""
        return self.labels if kind is Kind.LABELS else tuple(box.name for box in self.boxes)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The lines of a set, and how many images have each label."""

    lines: list[str] = field(default_factory=list)
    images_by_label: dict[str, int] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Size of the file; its lines are ASCII."""
        return sum(len(line) + 1 for line in self.lines)


def is_test(etag: str, test_percent: float) -> bool:
    """Return whether an image is one of the test set: the same bytes always are, or never."""
    number = int.from_bytes(hashlib.sha256(etag.encode()).digest()[:8])
    return number % _HUNDREDTHS < round(test_percent * _HUNDREDTHS / 100)


def left_out_because(example: Example, kind: Kind) -> str | None:
    """Return why an image cannot be in a manifest; None where it can."""
    if not example.is_trainable:
        return "that Custom Labels does not train with, by format or size"
    names = example.names(kind)
    if not names:
        return "without a label" if kind is Kind.LABELS else "without a box"
    if len(names) > MAX_OF_AN_IMAGE:
        return f"with {len(names)} {kind}; {MAX_OF_AN_IMAGE} at most are taken"
    return None


def make_manifest(examples: Iterable[Example], kind: Kind) -> Manifest:
    """Write the lines of a set."""
    made = Manifest()
    for example in examples:
        made.lines.append(json.dumps(_line(example, kind)))
        for name in dict.fromkeys(example.names(kind)):
            made.images_by_label[name] = made.images_by_label.get(name, 0) + 1
    return made


def problems(train: Manifest, test: Manifest | None, kind: Kind, buckets: Iterable[str]) -> list[tuple[str, str]]:
    """Return which rules of Custom Labels two sets break, each with what to do about it."""
    answer = []
    if len(found := sorted(set(buckets))) > 1:
        problem = f"The images are in several buckets ({', '.join(found)}); Custom Labels takes those of one."
        answer.append((problem, "Narrow it with --prefix or --since, and write a manifest for each bucket."))
    for name, one in (("training", train), ("test", test)):
        if one is not None:
            answer += _size_problems(name, one, has_test=test is not None)
    labels = {*train.images_by_label}
    if train.lines and len(labels) < MIN_LABELS[kind]:
        problem = f"The training set has one label ({', '.join(labels)}); Custom Labels needs {MIN_LABELS[kind]}."
        answer.append((problem, "Judge images of another label too: batch-vision review"))
    if len(labels) > MAX_LABELS:
        problem = f"The training set has {len(labels)} labels; Custom Labels takes {MAX_LABELS}."
        answer.append((problem, "Narrow it with --label."))
    if test and labels and test.lines:
        shared = labels & {*test.images_by_label}
        if len(shared) < MIN_SHARED_LABELS * len(labels):
            missing = sorted(labels - shared)
            problem = (
                f"The test set has {len(shared)} of the {len(labels)} labels of the training set, and Custom Labels"
                f" needs half of them. It lacks {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}."
            )
            remedy = "Judge more images with these, or give a larger --test-percent, or 0: then Custom Labels splits."
            answer.append((problem, remedy))
    return answer


def _size_problems(name: str, one: Manifest, *, has_test: bool) -> list[tuple[str, str]]:
    answer = []
    narrow = "Narrow it with --prefix or --since."
    if not one.lines:
        remedy = "Judge more images (batch-vision review)" + (", or give another --test-percent." if has_test else ".")
        answer.append((f"No image is in the {name} set.", remedy))
    if len(one.lines) > MAX_LINES:
        answer.append((f"The {name} set has {len(one.lines):,} images; Custom Labels takes {MAX_LINES:,}.", narrow))
    if one.size_bytes > MAX_BYTES:
        problem = f"The manifest of the {name} set has {one.size_bytes:,} bytes; Custom Labels takes {MAX_BYTES:,}."
        answer.append((problem, narrow))
    return answer


def _line(example: Example, kind: Kind) -> dict[str, Any]:
    # The key as it stands: Custom Labels takes no encoded one.
    source = {"source-ref": f"s3://{example.bucket}/{example.key}"}
    about = {
        "human-annotated": "yes",
        # In UTC, without a zone.
        "creation-date": to_text(from_text(example.judged_at)).removesuffix("Z"),
        "job-name": "batch-vision",
    }
    if kind is Kind.LABELS:
        return source | _classification(example, about)
    return source | _detection(example, about)


def _classification(example: Example, about: dict[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for number, name in enumerate(example.labels):
        attribute = f"{_ATTRIBUTE}-{number}"
        answer[attribute] = 1
        answer[f"{attribute}-metadata"] = {
            "class-name": name,
            "confidence": 1,
            "type": "groundtruth/image-classification",
            **about,
        }
    return answer


def _detection(example: Example, about: dict[str, str]) -> dict[str, Any]:
    names = list(dict.fromkeys(box.name for box in example.boxes))
    annotations = [{"class_id": names.index(box.name), **_pixels(box, example)} for box in example.boxes]
    return {
        _BOXES: {
            "image_size": [{"width": example.width_px, "height": example.height_px, "depth": 3}],
            "annotations": annotations,
        },
        f"{_BOXES}-metadata": {
            "objects": [{"confidence": 1} for _ in annotations],
            "class-map": {str(number): name for number, name in enumerate(names)},
            "type": "groundtruth/object-detection",
            **about,
        },
    }


def _pixels(box: Box, example: Example) -> dict[str, int]:
    """Return a box in whole pixels, one at least in each direction and none outside of the image."""
    width_px, height_px = example.width_px, example.height_px
    left = min(round(box.left * width_px), width_px - 1)
    top = min(round(box.top * height_px), height_px - 1)
    return {
        "left": left,
        "top": top,
        "width": max(1, min(round(box.width * width_px), width_px - left)),
        "height": max(1, min(round(box.height * height_px), height_px - top)),
    }
