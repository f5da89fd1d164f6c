"""The result JSON of one image, as `result.schema.json` defines it.

`FinalBucket.file` adds ``image_key`` and ``mask_key``, the places that it finds for image and mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.core.times import to_text

if TYPE_CHECKING:
    from datetime import datetime

    from batch_vision.backends.contracts import BoundingBox, Detection, Detector
    from batch_vision.core.errors import PermanentImageError
    from batch_vision.core.events import SourceImage

SCHEMA_VERSION = 1


def processed(image: SourceImage, detector: Detector, detection: Detection, now: datetime) -> dict[str, Any]:
    """Write down what the model said."""
    anomaly = detection.anomaly
    return _result("processed", image, detector, now) | {
        "predictions": [
            {
                "name": prediction.name,
                "confidence": prediction.confidence_percent,
                "bounding_box": _box(prediction.bounding_box),
            }
            for prediction in detection.predictions
        ],
        "anomaly": anomaly and {"is_anomalous": anomaly.is_anomalous, "confidence": anomaly.confidence_percent},
        "raw": detection.raw,
    }


def rejected(image: SourceImage, detector: Detector, error: PermanentImageError, now: datetime) -> dict[str, Any]:
    """Write down why the model can never take the image."""
    return _result("rejected", image, detector, now) | {"error": {"type": type(error).__name__, "message": str(error)}}


def _result(status: str, image: SourceImage, detector: Detector, now: datetime) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "status": status,
        "source": {
            "bucket": image.bucket,
            "key": image.key,
            "version_id": image.version_id,
            "etag": image.etag,
            "size_bytes": image.size_bytes,
            "uploaded_at": to_text(image.uploaded_at),
        },
        "model": {"backend": detector.name, "id": detector.model_id},
        "analyzed_at": to_text(now),
        "predictions": [],
        "anomaly": None,
        "error": None,
        "raw": None,
    }


def _box(box: BoundingBox | None) -> dict[str, float] | None:
    if box is None:
        return None
    return {"left": box.left, "top": box.top, "width": box.width, "height": box.height}
