"""The summary of one run, from the catalog objects of its own time."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from batch_vision.aws.chunks import list_chunks
from batch_vision.aws.stuck import list_stuck
from batch_vision.aws.waiting import list_waiting
from batch_vision.core.catalog import DELETED, VIDEO, media_of
from batch_vision.core.errors import read_error
from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

    from batch_vision.core.settings import BucketSettings
    from batch_vision.runs.settings import SummarySettings

SCHEMA_VERSION = 1

_MOST_COUNTED = 100_000


def count_left(s3: S3Client, places: BucketSettings) -> tuple[int, int]:
    """Count what a run leaves: a listing of what waits, and one of what is stuck.

    Returns
    -------
    images_left, images_stuck
        Images that wait, up to 100,000, without those that are stuck; and those.
    """
    stuck = list_stuck(s3, places.final_bucket_name)
    waiting = list_waiting(s3, places, stuck)
    return sum(1 for _ in islice(waiting, _MOST_COUNTED)), len(stuck)


def count_left_in_chunks(s3: S3Client, bucket: str) -> int:
    """Count the images that a run leaves in chunks, of up to 100,000 chunks."""
    return sum(chunk.images for chunk in islice(list_chunks(s3, bucket), _MOST_COUNTED))


@dataclass(slots=True)
class _Images:
    """What the catalog says, without keeping its lines: a run may have a million of them.

    Attributes
    ----------
    outcomes
        Status and error type of each upload, by a digest of its key and version.
    """

    outcomes: dict[bytes, tuple[str, str | None]] = field(default_factory=dict)
    retries: int = 0
    throttles: int = 0
    slowest: dict[str, Any] | None = None
    asked: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    @classmethod
    def counted(cls, lines: Iterable[Mapping[str, Any]]) -> _Images:
        images = cls()
        known: dict[
            tuple[str, str | None], tuple[str, str | None]
        ] = {}  # one object for each outcome, not for each line
        for line in lines:
            # A tombstone of a result, or a video, which no run analyzes.
            if line["status"] == DELETED or media_of(line) == VIDEO:
                continue
            # By upload, because a message may be delivered again; what that cost is counted each time.
            outcome = (line["status"], line["error_type"])
            images.outcomes[_digest(line["key"], _upload_of(line))] = known.setdefault(outcome, outcome)
            images.retries += max(0, line["attempts"] - 1)
            images.throttles += line.get("throttles", 0)  # a line of a version before has none
            if line["attempts"]:
                finished_at = from_text(line["finished_at"])
                images.asked += 1
                images.first_at = min(images.first_at or finished_at, finished_at)
                images.last_at = max(images.last_at or finished_at, finished_at)
            if images.slowest is None or line["duration_ms"] > images.slowest["duration_ms"]:
                images.slowest = {name: line[name] for name in ("key", "version_id", "duration_ms", "attempts")}
        return images

    def per_second(self) -> float | None:
        """Return the images that were analyzed in a second, between the first and the last."""
        seconds = (self.last_at - self.first_at).total_seconds() if self.first_at and self.last_at else 0
        return (self.asked - 1) / seconds if seconds > 0 else None


def summarize(
    event: Mapping[str, Any],
    lines: Iterable[Mapping[str, Any]],
    left: tuple[int, int],
    settings: SummarySettings,
    now: datetime,
) -> dict[str, Any]:
    """Sum up a run.

    Parameters
    ----------
    event
        What the workflow knows: ``run``, ``backlog``, ``started``, ``processed`` (None after an error), ``stopping``,
        ``stop`` (None when the model could not be stopped) and ``error``.
    lines
        The catalog lines of the run's time.
    left
        Images that wait when the run ends, and images that are stuck: see `count_left`. In an existing bucket an image
        that is given up has a result that says so: these are counted as stuck, as far as they are of this run.

    Returns
    -------
    dict
        As ``summary.schema.json`` defines it.
    """
    images = _Images.counted(lines)
    images_left, images_stuck = left
    statuses = Counter(status for status, _ in images.outcomes.values())
    rejected = Counter(error_type for status, error_type in images.outcomes.values() if status == "rejected")
    error = event["error"] and read_error(event["error"])
    processed, stop = event["processed"], event["stop"]
    model = processed["model"] if processed else None
    drained_at = processed["drain"]["checked_at"] if processed else None
    running_at = model["running_at"] if model else None
    stopped_at = stop["stopped_at"] if stop else None
    requested_at = model["requested_at"] if model else event["started"]["at"]
    model_on_seconds = _seconds(requested_at, stopped_at)
    # After an error the workflow does not know the units any more: no more than these were asked for.
    units = model["inference_units"] if model else settings.max_inference_units
    per_second = images.per_second()
    run_seconds = (now - from_text(event["run"]["started_at"])).total_seconds()
    always_on_seconds = round(max(run_seconds, settings.schedule_period_seconds or 0), 3)

    def dollars(seconds: float) -> float:
        return round(units * seconds / 3600 * settings.inference_unit_hour_dollars, 6)

    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": event["run"]["id"],
        "execution_arn": event["run"]["execution_arn"],
        "started_at": event["run"]["started_at"],
        "ended_at": to_text(now),
        "outcome": "failed" if error else "succeeded",
        "end_reason": error["type"] if error else "drained",
        "error": error,
        "images_found": event["backlog"]["images"],
        "images_processed": statuses["processed"],
        "images_rejected": statuses["rejected"],
        "rejected_by_reason": dict(sorted(rejected.items())),
        "images_left": images_left,
        "images_stuck": images_stuck + statuses["failed"],
        "requeued_images": processed["requeue"]["requeued_images"] if processed else None,
        "retries": images.retries,
        "throttles": images.throttles,
        "slowest_image": images.slowest,
        "inference_units": model["inference_units"] if model else None,
        "images_per_second_per_unit": round(per_second / units, 3) if model and per_second else None,
        "model_requested_at": requested_at,
        "model_running_at": running_at,
        "model_stopped_at": stopped_at,
        "start_seconds": _seconds(requested_at, running_at),
        "drain_seconds": _seconds(running_at, drained_at),
        "stop_seconds": _seconds(event["stopping"]["at"], stopped_at) if requested_at else None,
        "model_on_seconds": model_on_seconds,
        "cost_dollars": None if requested_at and not stopped_at else dollars(model_on_seconds or 0),
        "always_on_seconds": always_on_seconds,
        "always_on_cost_dollars": dollars(always_on_seconds),
    }


def _upload_of(line: Mapping[str, Any]) -> str:
    """Tell an upload from others of its key; where S3 keeps no versions, by when it was analyzed."""
    return str(line["version_id"] or line["finished_at"])


def _digest(key: str, version_id: str) -> bytes:
    return hashlib.blake2b(f"{key}\0{version_id}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _seconds(since: str | None, until: str | None) -> float | None:
    if not (since and until):
        return None
    return round((from_text(until) - from_text(since)).total_seconds(), 3)
