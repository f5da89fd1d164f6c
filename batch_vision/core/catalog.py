"""The lines of the catalog, in the form that every reader gets, and which line of a key is current.

A line tells what became of one upload (or, with the status ``deleted``, that the result of a key is gone). What two
versions of this code wrote is read as what the newer one writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LINE_VERSION = 2
DELETED = "deleted"  # the status of a line that tells of the deletion of an image or a video and its result
# The media of a line; those of images do not tell it.
IMAGE = "image"
VIDEO = "video"

VERDICTS = {True: "anomalous", False: "normal"}  # of a model that looks for anomalies

_COLOR = "color"
# What lines of version 1 do not tell.
_UNKNOWN = ("etag", "uploaded_at", "width", "height", "model")


def line_of(result: Mapping[str, Any], *, attempts: int, throttles: int, duration_ms: int) -> dict[str, Any]:
    """Return what the line of a result tells, whatever bucket its image is in.

    Parameters
    ----------
    result
        The result JSON; one of an earlier version has no width and height.
    attempts, throttles
        How often a model was asked, and how often the service refused because there were too many calls.
    """
    source = result["source"]
    return {
        "schema_version": LINE_VERSION,
        "finished_at": result["analyzed_at"],
        "key": source["key"],
        "version_id": source["version_id"],
        "etag": source["etag"],
        "uploaded_at": source.get("uploaded_at") or source.get("last_modified"),
        "size_bytes": source["size_bytes"],
        "width": result.get("width"),
        "height": result.get("height"),
        "status": result["status"],
        "error_type": result["error"] and result["error"]["type"],
        "backend": result["model"]["backend"],
        "model": result["model"]["id"],
        "predictions": ranked(result["predictions"]),
        "anomaly": result["anomaly"],
        "attempts": attempts,
        "throttles": throttles,
        "duration_ms": duration_ms,
    }


def tombstone(key: str, recorded_at: str) -> dict[str, Any]:
    """Return the line of the deletion of a key's result."""
    return {"schema_version": LINE_VERSION, "recorded_at": recorded_at, "key": key, "status": DELETED}


def ranked(predictions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return name, kind and confidence of each prediction, the most confident first.

    The share of a color is no confidence, so colors come after all others. Predictions of schema version 1 of the
    result have no kind.
    """
    in_order = sorted(predictions, key=lambda one: (one.get("kind") == _COLOR, -one["confidence"]))
    return [{"name": one["name"], "kind": one.get("kind"), "confidence": one["confidence"]} for one in in_order]


def best(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the most confident prediction of a line; None where it has none."""
    return next(iter(line.get("predictions") or ()), None)


def margin_of(predictions: Sequence[Mapping[str, Any]]) -> float | None:
    """Return by how much the best prediction is more confident than the second one of its kind; None without one."""
    if not predictions or predictions[0].get("kind") == _COLOR:
        return None
    leading = predictions[0]
    second = next((said for said in predictions[1:] if said.get("kind") == leading.get("kind")), None)
    return None if second is None else float(leading["confidence"] - second["confidence"])


def verdict_of(anomaly: Mapping[str, Any] | None) -> str:
    """Return the verdict of a line or a result in a word; empty where it has none."""
    return "" if anomaly is None else VERDICTS[bool(anomaly["is_anomalous"])]


def media_of(line: Mapping[str, Any]) -> str:
    """Return whether a line, or a result, is of an image or of a video."""
    return str(line.get("media") or IMAGE)


def subject_of(line: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a line is about: an image and a video may have the same key, in one bucket or in two."""
    return media_of(line), line["key"]


def moment_of(line: Mapping[str, Any]) -> str:
    """Return when an image was finished, or when its result was recorded in or deleted from an existing bucket."""
    return str(line.get("recorded_at") or line["finished_at"])


def upgraded(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of version 1 in the form of version 2; any other line as it is."""
    if "schema_version" in line:
        return line
    told = {"schema_version": LINE_VERSION} | line
    if line.get("status") == DELETED:
        return told
    said = told.pop("prediction", None)
    told["predictions"] = ranked([said] if said else [])
    told.setdefault("throttles", 0)
    return told | dict.fromkeys(_UNKNOWN)


def identity(line: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Return what is the same in two lines that tell the same: a redelivered message may be told of twice.

    Of an upload to a drop-off bucket a model makes one result, so the time is no part of it.
    """
    if "recorded_at" in line:
        names = ("media", "key", "recorded_at", "status", "fingerprint", "finished_at")
        return tuple(line.get(name) for name in names)
    return line["key"], line["version_id"], line["model"]


def order(line: Mapping[str, Any]) -> tuple[str, str]:
    """Return the place of a line among those of its key: the one with the greatest is current.

    In an existing bucket it is the time at which the result was recorded or deleted, as S3 tells it, to the second: in
    a tie the result as it stands decides. An upload to a drop-off bucket may be analyzed after a newer one of its key,
    so there the time of the upload comes first; lines of version 1 do not tell it.
    """
    if "recorded_at" in line:
        return line["recorded_at"], ""
    return line.get("uploaded_at") or "", line["finished_at"]
