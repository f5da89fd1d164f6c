"""How much work there is, and whether it moves.

The source bucket is the truth: its listing is strongly consistent and every finished image leaves it, while
the counts of a queue are approximate for a minute or more (SQS developer guide, GetQueueAttributes).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lambdas.shared import errors
from lambdas.shared.catalog import PREFIX, catalog_key
from lambdas.shared.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

# How far the clocks of two functions may differ, and how long a catalog object may take to be written.
_CLOCK_MARGIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of the drain; None while no drain is under way."""

    stall_timeout_seconds: int
    drain_timeout_seconds: int


def count_objects(s3: S3Client, bucket: str, prefix: str) -> int:
    """Count the objects under a prefix, up to the 1,000 that one request tells of."""
    return s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"]


def finished_since(s3: S3Client, bucket: str, moment: datetime) -> bool:
    """Tell whether a batch of images was finished since a time; one request, however long the past is."""
    start = catalog_key(moment - _CLOCK_MARGIN)
    return s3.list_objects_v2(Bucket=bucket, Prefix=PREFIX, StartAfter=start, MaxKeys=1)["KeyCount"] > 0


def assess(
    objects: int,
    messages: Mapping[str, int],
    previous: Mapping[str, Any] | None,
    now: datetime,
    *,
    is_moving: bool = False,
    is_requeued: bool = False,
    bounds: Bounds | None = None,
) -> dict[str, Any]:
    """Judge the backlog.

    Parameters
    ----------
    objects
        Objects under the source prefix, counted up to a bound.
    messages
        ``visible``, ``in_flight`` and ``delayed`` messages of the queue.
    previous
        What the check before answered; None for the first.
    is_moving
        Whether an image was finished since the check before.
    is_requeued
        Whether objects without a message were put back on the queue in this run.

    Returns
    -------
    dict
        ``images`` (estimate), ``messages``, ``started_at``, ``progressed_at``, ``checked_at``, ``idle_checks``
        (checks in a row that saw objects but no message) and ``state``: ``drained`` (no message, no object),
        ``lost_events`` (objects, but no message for two checks in a row) or ``waiting``.

    Raises
    ------
    NoProgressError
        Nothing moved for `Bounds.stall_timeout_seconds`.
    DrainTimeoutError
        The drain is older than `Bounds.drain_timeout_seconds`.
    """
    total = messages["visible"] + messages["in_flight"] + messages["delayed"]
    started_at = from_text(previous["started_at"]) if previous else now
    progressed_at = now if previous is None or is_moving else from_text(previous["progressed_at"])
    is_idle = objects > 0 and total == 0
    idle_checks = (previous["idle_checks"] if previous else 0) + 1 if is_idle else 0
    if objects == 0 and total == 0:
        state = "drained"
    elif idle_checks >= 2 and not is_requeued:
        state = "lost_events"
    else:
        state = "waiting"
    if bounds and state != "drained":
        left = f"{objects} objects in the source bucket (counted up to 1,000) and {total} messages are left."
        if now - progressed_at > timedelta(seconds=bounds.stall_timeout_seconds):
            raise errors.NoProgressError(
                f"No image was finished since {to_text(progressed_at)}, longer than stall_timeout_seconds ="
                f" {bounds.stall_timeout_seconds}: {left} See the log of analyze-images; nothing is lost."
            )
        if now - started_at > timedelta(seconds=bounds.drain_timeout_seconds):
            raise errors.DrainTimeoutError(
                f"The drain began at {to_text(started_at)} and took longer than drain_timeout_seconds ="
                f" {bounds.drain_timeout_seconds}: {left} The next run goes on with them."
            )
    return {
        "images": max(objects, total) if objects else 0,
        "messages": total,
        "state": state,
        "started_at": to_text(started_at),
        "progressed_at": to_text(progressed_at),
        "checked_at": to_text(now),
        "idle_checks": idle_checks,
    }
