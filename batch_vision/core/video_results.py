"""The result JSON of one video, as `videos/result.schema.json` defines it, and its line in the catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batch_vision.core.catalog import VIDEO, line_of, tombstone
from batch_vision.core.segments import predictions_of
from batch_vision.core.times import to_text
from batch_vision.core.videos import SCHEMA_VERSION, State, answer_files, moved_key, video_result_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from batch_vision.core.videos import Fault, Plan, Record, VideoMetadata

BACKEND = "rekognition_video"
PROCESSED, REJECTED, FAILED = "processed", "rejected", "failed"


def status_of(records: Iterable[Record]) -> str:
    """Return what became of an upload whose records have ended, and none of which was dropped."""
    states = {record.state for record in records}
    if State.DONE in states:
        return PROCESSED
    return REJECTED if states == {State.REJECTED} else FAILED


def place_of(plan: Plan, records: Iterable[Record]) -> str | None:
    """Return where a video goes that leaves its bucket; None for one that failed, which may be tried again there."""
    status = status_of(records)
    return None if status == FAILED else moved_key(status, plan.key)


def make_result(
    plan: Plan,
    records: Sequence[Record],
    answers: Mapping[str, Mapping[str, Any]],
    now: datetime,
    video_key: str | None,
) -> dict[str, Any]:
    """Return the result of an upload whose records have ended.

    Parameters
    ----------
    answers
        By analysis, the file that has its segments.
    video_key
        Where the video is in the final bucket; None where it stays.
    """
    assert plan.upload is not None  # noqa: S101 - only an upload has records
    status = status_of(records)
    versions = [
        f"{record.analysis} {answers[record.analysis]['model_version']}".strip()
        for record in records
        if record.analysis in answers
    ]
    segments = [segment for answer in answers.values() for segment in answer["segments"]]
    faults = [(record.analysis, record.error) for record in records if record.error]
    return {
        "schema_version": SCHEMA_VERSION,
        "media": VIDEO,
        "status": status,
        "source": {
            "bucket": plan.bucket,
            "key": plan.key,
            "version_id": plan.upload.version_id,
            "etag": plan.upload.etag,
            "size_bytes": plan.upload.size_bytes,
            "last_modified": to_text(plan.upload.last_modified),
        },
        "video": _video_of(plan, records).to_json(),
        "video_key": video_key,
        "model": {"backend": BACKEND, "id": ", ".join(versions or plan.analyses)},
        "analyzed_at": to_text(now),
        "predictions": predictions_of(segments),
        "analyses": {record.analysis: _analysis(record, answers.get(record.analysis)) for record in records},
        "error": None if status == PROCESSED else _joined(faults),
    }


def _video_of(plan: Plan, records: Iterable[Record]) -> VideoMetadata:
    """Return what the service says of the video, and the container that its header names."""
    told = next((record.video for record in records if record.state is State.DONE), plan.video)
    return replace(told, container=plan.video.container or told.container)


def _analysis(record: Record, answer: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "status": str(record.state),
        "job_id": record.job_id,
        "attempt": record.attempt,
        "minutes": record.minutes,
        "model_version": answer["model_version"] if answer else None,
        "detections": answer["detections"] if answer else 0,
        "segments": len(answer["segments"]) if answer else 0,
        "segments_truncated": answer["truncated"] if answer else False,
        "files": answer_files(record.record_id, record.analysis) if answer else None,
        "error": {"type": record.error.type, "message": record.error.message} if record.error else None,
    }


def _joined(faults: Sequence[tuple[str, Fault]]) -> dict[str, str] | None:
    """Return one error for those of all analyses: their messages, where these differ."""
    if not faults:
        return None
    first = faults[0][1]
    if all(fault == first for _, fault in faults):
        return {"type": first.type, "message": first.message}
    return {"type": first.type, "message": " ".join(f"{name}: {fault.message}" for name, fault in faults)}


def video_line(result: dict[str, Any], recorded_at: datetime) -> dict[str, Any]:
    """Return the catalog's line of a result.

    Of the lines of a key and of videos, the one with the greatest ``recorded_at`` tells how it is now.
    """
    video = result["video"]
    attempts = sum(analysis["attempt"] for analysis in result["analyses"].values() if analysis["job_id"])
    sides = {"width": video["width"], "height": video["height"]}
    line = line_of(result | sides | {"anomaly": None}, attempts=attempts, throttles=0, duration_ms=0)
    return line | {
        "media": VIDEO,
        "duration_seconds": video["duration_seconds"],
        "recorded_at": to_text(recorded_at),
        "result_key": video_result_key(result["source"]["key"]),
        "fingerprint": result["fingerprint"],
    }


def video_tombstone(key: str, recorded_at: datetime) -> dict[str, Any]:
    """Return the line of the deletion of a video's result."""
    return tombstone(key, to_text(recorded_at)) | {"media": VIDEO}
