"""How much work there is, and whether it moves.

The source bucket is the truth: its listing is strongly consistent and every finished image leaves it, while
the counts of a queue are approximate for a minute or more (SQS developer guide, GetQueueAttributes). What waits are
the images in the source bucket but folder markers, images that were taken back, and images that were given up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.aws.catalog import PREFIX, catalog_key
from batch_vision.aws.stuck import list_stuck
from batch_vision.aws.waiting import list_waiting
from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

    from batch_vision.backends.contracts import ModelStatus
    from batch_vision.core.settings import BucketSettings
    from batch_vision.runs.settings import CheckBacklogSettings

# How far the clocks of two functions may differ, and how long a catalog object may take to be written.
_CLOCK_MARGIN = timedelta(seconds=5)

# Images that are counted: a page of the listing, more than any decision needs.
_MOST_COUNTED = 1000

# The shortest wait near the end, and how many waits of a run may be shorter than drain_poll_seconds: each is a round of
# the workflow, whose history must not grow too long.
_SHORTEST_WAIT_SECONDS = 5
_SHORT_WAITS = 60

# Checks in a row without an image that was finished, from which on the model is asked for its state.
_CHECKS_UNTIL_LOOK = 2

# How often a run starts a model again that failed.
_MOST_RESTARTS = 1


@dataclass(frozen=True, slots=True)
class Drain:
    """Limits of the drain, and what is expected of it; None while no drain is under way.

    Attributes
    ----------
    poll_seconds
        The longest wait between two checks.
    images_per_second
        What the model can do.
    start_seconds
        How long the model took to start in this run.
    """

    stall_timeout_seconds: int
    drain_timeout_seconds: int
    poll_seconds: int
    images_per_second: float
    start_seconds: float = 0.0

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Drain | None:
        """Read it from what the workflow hands over; None outside of the drain."""
        if "drain_timeout_seconds" not in event:
            return None
        model = event["model"]
        start = from_text(model["running_at"]) - from_text(model["requested_at"])
        return cls(
            stall_timeout_seconds=event["stall_timeout_seconds"],
            drain_timeout_seconds=event["drain_timeout_seconds"],
            poll_seconds=event["poll_seconds"],
            images_per_second=model["images_per_second"],
            start_seconds=start.total_seconds(),
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """The images that wait in the source bucket, counted up to 1,000.

    Attributes
    ----------
    images, with_content
        All, and those that are not empty. An empty file is rejected without the model: alone it is no reason to start
        one.
    oldest_at
        When the oldest of those with content was uploaded, of those that were counted.
    """

    images: int
    with_content: int
    oldest_at: datetime | None = None


def count_waiting(s3: S3Client, settings: BucketSettings) -> Waiting:
    """Count the images that wait: two requests, as long as nothing is stuck."""
    return _count(list_waiting(s3, settings, list_stuck(s3, settings.final_bucket_name)))


def _count(waiting: Iterable[tuple[int, datetime]]) -> Waiting:
    images = with_content = 0
    oldest_at: datetime | None = None
    for size_bytes, uploaded_at in waiting:
        images += 1
        if size_bytes:
            with_content += 1
            oldest_at = min(oldest_at or uploaded_at, uploaded_at)
        if images >= _MOST_COUNTED and with_content:
            break
    return Waiting(images, with_content, oldest_at)


def deferred_because(waiting: Waiting, settings: CheckBacklogSettings, now: datetime) -> str | None:
    """Say why the images that wait do not pay for a start yet; None when they do, or when none waits."""
    images, least, most_seconds = waiting.with_content, settings.start_backlog_images, settings.start_max_age_seconds
    if waiting.oldest_at is None or images >= min(least, _MOST_COUNTED):
        return None
    age_seconds = (now - waiting.oldest_at).total_seconds()
    if most_seconds is None or age_seconds >= most_seconds:
        return None
    return (
        f"{images} images wait, fewer than start_backlog_images = {least}, and the oldest for {age_seconds:.0f}"
        f" seconds, less than start_max_age_seconds = {most_seconds}. The model is not started for them yet;"
        " a run that is started by hand does not wait."
    )


def first_answer(backlog: Mapping[str, Any], deferred: str | None) -> dict[str, Any]:
    """Return the answer of a run's first check: images that do not pay for a start yet are not reported.

    ``model_wanted_at`` is the time from which on the model may be on; None where it is not to be started.
    """
    images = 0 if deferred else backlog["images"]
    return {
        **backlog,
        "images": images,
        "held": deferred,
        "model_wanted_at": backlog["checked_at"] if images else None,
    }


def finished_since(s3: S3Client, bucket: str, moment: datetime) -> bool:
    """Return whether a batch of images was finished since a time; one request, however long the past is."""
    start = catalog_key(moment - _CLOCK_MARGIN)
    return s3.list_objects_v2(Bucket=bucket, Prefix=PREFIX, StartAfter=start, MaxKeys=1)["KeyCount"] > 0


def is_to_look_at_model(waiting: Waiting, previous: Mapping[str, Any] | None, *, is_moving: bool) -> bool:
    """Return whether nothing has moved for so long that the model may have failed, or somebody may have stopped it."""
    return waiting.images > 0 and _idle_rounds(previous, "stalled_checks", is_idle=not is_moving) >= _CHECKS_UNTIL_LOOK


def assess(
    waiting: Waiting,
    messages: Mapping[str, int],
    previous: Mapping[str, Any] | None,
    now: datetime,
    *,
    is_moving: bool = False,
    is_requeued: bool = False,
    model: ModelStatus | None = None,
    drain: Drain | None = None,
) -> dict[str, Any]:
    """Judge the backlog.

    Parameters
    ----------
    waiting
        What waits in the source bucket.
    messages
        ``visible``, ``in_flight`` and ``delayed`` messages of the queue.
    previous
        What the check before answered; None for the first.
    is_moving
        Whether an image was finished since the check before.
    is_requeued
        Whether images without a message were put back on the queue in this run.
    model
        How the model is; None where it was not asked, see `is_to_look_at_model`.

    Returns
    -------
    dict
        ``images`` (estimate), ``messages``, ``started_at``, ``progressed_at``, ``checked_at``, ``idle_checks``
        (checks in a row that saw images but no message), ``stalled_checks`` (checks in a row without an image that was
        finished), ``restarts`` (of the model) and ``state``: ``drained`` (no image, whatever the counts say: a message
        without one is no work), ``model_failed`` (to be started again), ``lost_events`` (images, but no message for
        two checks in a row) or ``waiting``. In a drain also ``wait_seconds`` until the next check, and ``short_waits``
        so far.

    Raises
    ------
    ModelFailedError
        The model failed in mid-run, and the run's bounds do not allow another start.
    ModelStoppedError
        Somebody stopped the model in mid-run.
    NoProgressError
        Nothing moved for `Drain.stall_timeout_seconds`.
    DrainTimeoutError
        The drain is older than `Drain.drain_timeout_seconds`.
    """
    total = messages["visible"] + messages["in_flight"] + messages["delayed"]
    started_at = from_text(previous["started_at"]) if previous else now
    # A model that was started again has all the time for its first image.
    is_fresh = previous is None or previous["state"] == "model_failed"
    is_moving = is_moving or is_fresh
    progressed_at = now if is_moving or previous is None else from_text(previous["progressed_at"])
    idle_checks = _idle_rounds(previous, "idle_checks", is_idle=waiting.images > 0 and total == 0)
    restarts = previous["restarts"] if previous else 0
    if waiting.images == 0:
        state = "drained"
    elif drain and model and model.state not in (ModelState.RUNNING, ModelState.STARTING, ModelState.UNKNOWN):
        left_seconds = drain.drain_timeout_seconds - (now - started_at).total_seconds()
        state = _model_lost(model, restarts, left_seconds, drain.start_seconds)
        restarts += 1
    elif idle_checks >= 2 and not is_requeued:
        state = "lost_events"
    else:
        state = "waiting"
    if drain and state not in ("drained", "model_failed"):
        left = f"{waiting.images} images in the source bucket (counted up to 1,000) and {total} messages are left."
        if now - progressed_at > timedelta(seconds=drain.stall_timeout_seconds):
            raise errors.NoProgressError(
                f"No image was finished since {to_text(progressed_at)}, longer than"
                f" timings.stall_timeout_seconds = {drain.stall_timeout_seconds}: {left} See the log of"
                " analyze-images; nothing is lost."
            )
        if now - started_at > timedelta(seconds=drain.drain_timeout_seconds):
            raise errors.DrainTimeoutError(
                f"The drain began at {to_text(started_at)} and took longer than"
                f" timings.drain_timeout_seconds = {drain.drain_timeout_seconds}: {left} The next run goes on"
                " with them."
            )
    images = max(waiting.with_content, total) if waiting.with_content else 0
    answer = {
        "images": images,
        "messages": total,
        "state": state,
        "started_at": to_text(started_at),
        "progressed_at": to_text(progressed_at),
        "checked_at": to_text(now),
        "idle_checks": idle_checks,
        "stalled_checks": _idle_rounds(previous, "stalled_checks", is_idle=not is_moving),
        "restarts": restarts,
    }
    return answer | (_next_wait(images, previous, now, drain) if drain else {})


def _idle_rounds(previous: Mapping[str, Any] | None, name: str, *, is_idle: bool) -> int:
    if not is_idle or (previous is None and name == "stalled_checks"):
        return 0
    return (previous[name] if previous else 0) + 1


def _model_lost(model: ModelStatus, restarts: int, left_seconds: float, start_seconds: float) -> str:
    """Return what to do about a model that does not run in mid-run."""
    said = f"The model is {model.service_status}{f' ({model.message})' if model.message else ''} in mid-run"
    if model.state is not ModelState.FAILED:
        raise errors.ModelStoppedError(
            f"{said}: somebody stopped it, so this run does not start it again. The images that are left wait for the"
            " next run."
        )
    if restarts >= _MOST_RESTARTS:
        raise errors.ModelFailedError(f"{said}, after it was started again. The images that are left wait.")
    if left_seconds <= start_seconds:
        raise errors.ModelFailedError(
            f"{said}, and of timings.drain_timeout_seconds too little is left for another start:"
            f" {left_seconds:.0f} seconds. The images that are left wait for the next run."
        )
    return "model_failed"


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
