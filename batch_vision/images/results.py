"""The result JSON of one image, as `result.schema.json` defines it.

`FinalBucket.file` adds ``image_key`` and ``mask_key``, the places that it finds for image and mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.core.times import to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from batch_vision.backends.contracts import BoundingBox, Detection, Prediction
    from batch_vision.core.errors import PermanentImageError
    from batch_vision.core.events import SourceImage

SCHEMA_VERSION = 2

# What a detector said about an image, ready for JSON: ``predictions``, ``anomaly`` and ``raw``; or ``error``, where it
# can never take the image. And ``converted``, where it was asked about what was made of the image.
type Answer = dict[str, Any]


def answer_of(detection: Detection) -> Answer:
    """Return what a detector said."""
    anomaly = detection.anomaly
    return {
        "predictions": [_prediction(prediction) for prediction in detection.predictions],
        "anomaly": anomaly and {"is_anomalous": anomaly.is_anomalous, "confidence": anomaly.confidence_percent},
        "raw": detection.raw,
    }


def refusal_of(error: PermanentImageError) -> Answer:
    """Return why a detector can never take an image."""
    return {"error": {"type": type(error).__name__, "message": str(error)}}


def make_result(
    source: Mapping[str, Any],
    backend: str,
    model_id: str,
    answers: Mapping[str, Answer],
    now: datetime,
    find_sides_px: Callable[[], tuple[int, int] | None] = lambda: None,
) -> dict[str, Any]:
    """Write down what the detectors said, or that none of them can ever take the image.

    Parameters
    ----------
    source
        The object that was analyzed, such as `source_of` returns.
    answers
        By the name of the detector.
    find_sides_px
        Returns width and height of the image; asked for an image that was processed, and not converted.
    """
    errors = {name: answer["error"] for name, answer in answers.items() if "error" in answer}
    said = {name: answer for name, answer in answers.items() if name not in errors}
    raw = {name: answer["raw"] for name, answer in said.items()}
    converted = _converted(answers)
    if converted and said:
        sides_px: tuple[int, int] | None = converted["from_width"], converted["from_height"]
    else:
        sides_px = find_sides_px() if said else None
    width_px, height_px = sides_px or (None, None)
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "processed" if said else "rejected",
        "source": source,
        "width": width_px,
        "height": height_px,
        "converted": converted,
        "model": {"backend": backend, "id": model_id},
        "analyzed_at": to_text(now),
        "predictions": [prediction for answer in said.values() for prediction in answer["predictions"]],
        "anomaly": next((answer["anomaly"] for answer in said.values() if answer["anomaly"]), None),
        "error": None if said else _joined(errors),
        "errors": errors if said else {},
        # A backend of a single model names its detector as itself.
        "raw": raw.get(backend, raw) if said else None,
    }


def source_of(image: SourceImage) -> dict[str, Any]:
    """Return what a result says about the upload that it is of."""
    return {
        "bucket": image.bucket,
        "key": image.key,
        "version_id": image.version_id,
        "etag": image.etag,
        "size_bytes": image.size_bytes,
        "uploaded_at": to_text(image.uploaded_at),
    }


def _converted(answers: Mapping[str, Answer]) -> dict[str, Any] | None:
    """Return what was made of the image for detectors, and for which; None where all were asked about itself."""
    told = {name: answer["converted"] for name, answer in answers.items() if "converted" in answer}
    return next(iter(told.values())) | {"detectors": [*told]} if told else None


def _joined(errors: Mapping[str, dict[str, str]]) -> dict[str, str]:
    """Return one error for those of all detectors: their messages, where these differ."""
    first = next(iter(errors.values()))
    if all(error["message"] == first["message"] for error in errors.values()):
        return first
    return first | {"message": " ".join(f"{name}: {error['message']}" for name, error in errors.items())}


def _prediction(prediction: Prediction) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": prediction.name,
        "kind": str(prediction.kind),
        "confidence": prediction.confidence_percent,
        "bounding_box": prediction.bounding_box and _box(prediction.bounding_box),
    }
    if prediction.parents is not None:
        told["parents"] = [*prediction.parents]
    if prediction.instances is not None:
        told["instances"] = [
            {"confidence": instance.confidence_percent, "bounding_box": _box(instance.bounding_box)}
            for instance in prediction.instances
        ]
    if prediction.attributes is not None:
        told["attributes"] = dict(prediction.attributes)
    return told


def _box(box: BoundingBox) -> dict[str, float]:
    return {"left": box.left, "top": box.top, "width": box.width, "height": box.height}
