"""How much work there is, and whether it moves.

The source bucket is the truth: its listing is strongly consistent and every finished image leaves it, while
the counts of a queue are approximate for a minute or more (SQS developer guide, GetQueueAttributes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.aws.catalog import PREFIX, catalog_key
from batch_vision.core import errors
from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from batch_vision.core.settings import Settings

# How far the clocks of two functions may differ, and how long a catalog object may take to be written.
_CLOCK_MARGIN = timedelta(seconds=5)


# The shortest wait near the end, and how many waits of a run may be shorter than drain_poll_seconds: each is a round of
# the workflow, whose history must not grow too long.
_SHORTEST_WAIT_SECONDS = 5
_SHORT_WAITS = 60


@dataclass(frozen=True, slots=True)
class Drain:
    """Limits of the drain, and what is expected of it; None while no drain is under way.

    Attributes
    ----------
    poll_seconds
        The longest wait between two checks.
    images_per_second
        What the model can do.
    """

    stall_timeout_seconds: int
    drain_timeout_seconds: int
    poll_seconds: int
    images_per_second: float

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Drain | None:
        """Read it from what the workflow hands over; None outside of the drain."""
        if "drain_timeout_seconds" not in event:
            return None
        return cls(**{field.name: event[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class Objects:
    """What waits in the source bucket, counted as far as the first 1,000 objects with some that are not empty.

    Attributes
    ----------
    total, with_content
        All objects, and those that are not empty: a folder made in the console is an empty object, and alone it
        is no reason to start a model.
    are_all
        Whether there are no more than were counted.
    oldest_at
        When the oldest of those with content was uploaded.
    """

    total: int
    with_content: int
    are_all: bool = True
    oldest_at: datetime | None = None


def count_objects(s3: S3Client, bucket: str, prefix: str) -> Objects:
    """Count the objects under a prefix; one request, unless it tells of empty objects only."""
    total = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        contents = page.get("Contents", [])
        total += len(contents)
        if uploaded := [entry["LastModified"] for entry in contents if entry["Size"] > 0]:
            return Objects(total, len(uploaded), not page.get("IsTruncated", False), min(uploaded))
    return Objects(total, 0)


def held_because(objects: Objects, settings: Settings, now: datetime) -> str | None:
    """Say why the images that wait do not pay for a start yet; None when they do, or when none waits.

    More objects than one page of the listing has are enough, for ``start_backlog_images`` is no more than a page.
    """
    images, least, most_seconds = objects.with_content, settings.start_backlog_images, settings.start_max_age_seconds
    if objects.oldest_at is None or not objects.are_all or images >= least:
        return None
    age_seconds = (now - objects.oldest_at).total_seconds()
    if most_seconds is None or age_seconds >= most_seconds:
        return None
    return (
        f"{images} images wait, fewer than start_backlog_images = {least}, and the oldest for {age_seconds:.0f}"
        f" seconds, less than start_max_age_seconds = {most_seconds}. The model is not started for them yet;"
        " a run that is started by hand does not wait."
    )


def with_held(backlog: Mapping[str, Any], held: str | None) -> dict[str, Any]:
    """Give the answer of a run's first check: held images do not pay for a start, so none are reported."""
    return {**backlog, "held": held, "images": 0 if held else backlog["images"]}


def count_dead_letters(sqs: SQSClient, queue_url: str) -> int:
    """Count the messages of the dead-letter queue."""
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def finished_since(s3: S3Client, bucket: str, moment: datetime) -> bool:
    """Tell whether a batch of images was finished since a time; one request, however long the past is."""
    start = catalog_key(moment - _CLOCK_MARGIN)
    return s3.list_objects_v2(Bucket=bucket, Prefix=PREFIX, StartAfter=start, MaxKeys=1)["KeyCount"] > 0


def assess(
    objects: Objects,
    messages: Mapping[str, int],
    previous: Mapping[str, Any] | None,
    now: datetime,
    *,
    is_moving: bool = False,
    is_requeued: bool = False,
    dead_letters: int = 0,
    drain: Drain | None = None,
) -> dict[str, Any]:
    """Judge the backlog.

    Parameters
    ----------
    objects
        What is under the source prefix.
    messages
        ``visible``, ``in_flight`` and ``delayed`` messages of the queue.
    previous
        What the check before answered; None for the first.
    is_moving
        Whether an image was finished since the check before.
    is_requeued
        Whether objects without a message were put back on the queue in this run.
    dead_letters
        Messages in the dead-letter queue; asked only about objects without a message.

    Returns
    -------
    dict
        ``images`` (estimate), ``messages``, ``started_at``, ``progressed_at``, ``checked_at``, ``idle_checks``
        (checks in a row that saw objects but no message) and ``state``: ``drained`` (no object, whatever the counts
        say: a message without one is no work), ``lost_events`` (objects, but no message for two checks in a row) or
        ``waiting``. In a drain also ``wait_seconds`` until the next check, and ``short_waits`` so far.

    Raises
    ------
    DeadLettersError
        Every object that waits may be one of the dead letters: starting the model for them again would cost
        money in every run and change nothing.
    NoProgressError
        Nothing moved for `Drain.stall_timeout_seconds`.
    DrainTimeoutError
        The drain is older than `Drain.drain_timeout_seconds`.
    """
    total = messages["visible"] + messages["in_flight"] + messages["delayed"]
    started_at = from_text(previous["started_at"]) if previous else now
    progressed_at = now if previous is None or is_moving else from_text(previous["progressed_at"])
    is_idle = objects.total > 0 and total == 0
    idle_checks = (previous["idle_checks"] if previous else 0) + 1 if is_idle else 0
    if is_idle and 0 < objects.total <= dead_letters and (idle_checks >= 2 or previous is None):
        raise errors.DeadLettersError(
            f"{objects.total} objects are left in the source bucket, none has a message on the queue, and the"
            f" dead-letter queue holds {dead_letters} messages. See the log of analyze-images for what failed; when it"
            " is mended, bring the messages back: batch-vision retry (or make redrive)."
        )
    if objects.total == 0:
        state = "drained"
    elif idle_checks >= 2 and not is_requeued:
        state = "lost_events"
    else:
        state = "waiting"
    if drain and state != "drained":
        left = f"{objects.total} objects in the source bucket (counted up to 1,000) and {total} messages are left."
        if now - progressed_at > timedelta(seconds=drain.stall_timeout_seconds):
            raise errors.NoProgressError(
                f"No image was finished since {to_text(progressed_at)}, longer than stall_timeout_seconds ="
                f" {drain.stall_timeout_seconds}: {left} See the log of analyze-images; nothing is lost."
            )
        if now - started_at > timedelta(seconds=drain.drain_timeout_seconds):
            raise errors.DrainTimeoutError(
                f"The drain began at {to_text(started_at)} and took longer than drain_timeout_seconds ="
                f" {drain.drain_timeout_seconds}: {left} The next run goes on with them."
            )
    images = max(objects.with_content, total) if objects.with_content else 0
    answer = {
        "images": images,
        "messages": total,
        "state": state,
        "started_at": to_text(started_at),
        "progressed_at": to_text(progressed_at),
        "checked_at": to_text(now),
        "idle_checks": idle_checks,
    }
    return answer | (_next_wait(images, previous, now, drain) if drain else {})


def _next_wait(images: int, previous: Mapping[str, Any] | None, now: datetime, drain: Drain) -> dict[str, int]:
    """Wait for half of the time that the rest will take: the end is seen soon, and the middle seldom looked at."""
    short_waits = previous["short_waits"] if previous else 0
    images_per_second = drain.images_per_second
    if previous and previous["images"] > images:
        seconds = (now - from_text(previous["checked_at"])).total_seconds()
        images_per_second = (previous["images"] - images) / max(1.0, seconds)
    half = math.ceil(images / images_per_second / 2)
    wait_seconds = min(drain.poll_seconds, max(_SHORTEST_WAIT_SECONDS, half))
    if wait_seconds < drain.poll_seconds:
        if short_waits >= _SHORT_WAITS:
            wait_seconds = drain.poll_seconds
        short_waits += 1
    return {"wait_seconds": wait_seconds, "short_waits": short_waits}
