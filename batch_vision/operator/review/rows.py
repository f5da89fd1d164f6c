"""The images of a review: what the page shows of each, in as little memory as it takes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from hashlib import sha256
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from batch_vision.core.catalog import margin_of, moment_of
from batch_vision.core.corrections import Upload, judged_labels, upload_of
from batch_vision.operator.results import confidence_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Row:
    """An image to judge.

    Attributes
    ----------
    result
        Key of the image in the final bucket, or of the result of an image in an existing bucket.
    predicted
        The labels that are judged together.
    predictions
        Name and confidence in percent of each prediction, the most confident first.
    confidence
        Of the best prediction, or of the verdict where there is none.
    margin
        By how much the best prediction is more confident than the second one of its kind.
    is_sample
        Whether it is here by chance, and not because it is doubtful.
    """

    key: str
    version_id: str | None
    etag: str | None
    result: str
    model: str | None
    fingerprint: str | None
    size_bytes: int
    finished_at: str
    predicted: tuple[str, ...]
    predictions: tuple[tuple[str, float], ...]
    confidence: float | None
    margin: float | None
    is_sample: bool

    @property
    def upload(self) -> Upload:
        """What corrections of it are found by, as `Correction.upload`."""
        return upload_of(self.key, self.version_id, self.etag)

    def as_line(self) -> dict[str, Any]:
        """Return what tells whether a result is that of the row, as a line of the catalog says it."""
        line: dict[str, Any] = {"version_id": self.version_id, "status": "processed"}
        return line if self.fingerprint is None else line | {"result_key": self.result, "fingerprint": self.fingerprint}


def row_of(line: Mapping[str, Any], min_confidence: float, *, is_sample: bool = False) -> Row:
    """Return the row of a line of the catalog.

    Parameters
    ----------
    min_confidence
        From which a prediction is a label that is judged, in percent.
    """
    predictions = line["predictions"]
    is_in_place = "result_key" in line
    return Row(
        key=line["key"],
        version_id=line["version_id"],
        etag=line["etag"],
        result=line["result_key"] if is_in_place else line["image_key"],
        model=_once(line["model"]),
        fingerprint=_once(line["fingerprint"]) if is_in_place else None,
        size_bytes=line["size_bytes"],
        finished_at=moment_of(line),
        predicted=tuple(map(sys.intern, judged_labels(predictions, line["anomaly"], min_confidence))),
        predictions=tuple((sys.intern(one["name"]), round(float(one["confidence"]), 2)) for one in predictions),
        confidence=confidence_of(line),
        margin=margin_of(predictions),
        is_sample=is_sample,
    )


def _once(text: str | None) -> str | None:
    """Return a text that many rows have, so that it is in memory once."""
    return None if text is None else sys.intern(text)


def sample(lines: Iterable[Mapping[str, Any]], number: int, seed: str) -> list[Mapping[str, Any]]:
    """Choose lines by chance; the same ones again for the same seed, whatever else there is."""

    def chance(line: Mapping[str, Any]) -> bytes:
        return sha256(f"{seed}\0{line['key']}\0{line['version_id'] or line['etag']}".encode()).digest()

    return nsmallest(number, lines, key=chance)
