"""Analyze one image: ask the model, then give image and result their place."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_fixed

from batch_vision.core import errors
from batch_vision.core.catalog import line_of
from batch_vision.core.names import is_folder_marker
from batch_vision.core.times import to_text, utc_now
from batch_vision.core.versions import NULL_VERSION
from batch_vision.images.detectors import COSTS_NO_DELIVERY, Calls
from batch_vision.images.results import make_result, source_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batch_vision.core.events import SourceImage
    from batch_vision.images.detectors import Detectors
    from batch_vision.images.final import FinalBucket
    from batch_vision.images.source import SourceBucket

# How long a newer upload waits for an older one of its key that another invocation is moving: a redelivery would cost
# a visibility timeout.
_OLDER_WAIT_SECONDS = 5.0
_OLDER_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image.

    Attributes
    ----------
    status
        ``processed``; ``rejected``; ``gone`` when its version had already left the source bucket; ``taken_back`` when
        its user deleted it before its turn; ``stuck`` when it is given up until somebody looks; ``folder_marker``
        for what is no image.
    result
        The result JSON of what was processed or rejected.
    calls
        What it has cost in this invocation.
    """

    image: SourceImage
    status: str
    result: dict[str, Any] | None
    calls: Calls
    duration_ms: int
    cause: BaseException | None = None
    finished_at: datetime = field(default_factory=utc_now)

    @property
    def attempts(self) -> int:
        """How often a detector was asked."""
        return self.calls.made.total()

    @property
    def throttles(self) -> int:
        """How many of these attempts the service refused because there were too many."""
        return self.calls.throttled.total()

    @property
    def error_type(self) -> str | None:
        """Why it was rejected or is stuck."""
        if self.cause:
            return type(self.cause).__name__
        error = self.result and self.result["error"]
        return error["type"] if error else None

    def catalog_line(self) -> dict[str, Any]:
        """Return the image's line of the catalog."""
        result = self.result or {}
        line = line_of(result, attempts=self.attempts, throttles=self.throttles, duration_ms=self.duration_ms)
        return line | {"finished_at": to_text(self.finished_at), "image_key": result["image_key"]}


def analyze(
    image: SourceImage,
    detectors: Detectors,
    source: SourceBucket,
    final: FinalBucket,
    calls: Calls | None = None,
    *,
    is_redelivery: bool,
    deadline: float,
    is_last_delivery: bool = False,
) -> Outcome:
    """Take one image to its end.

    Parameters
    ----------
    calls
        What it costs is added to it, whatever the outcome.
    is_redelivery
        Whether the message was delivered before: then a result may be there already, and is kept.
    deadline
        Until when to ask the model, as `time.monotonic` tells it.
    is_last_delivery
        Whether the message will be a dead letter if this fails: then the image is given up instead.

    Raises
    ------
    ModelNotReadyError, ConversionWaitsError
        The model is not running, or others were converted: the message is to be sent anew. The image is still in the
        source bucket.
    TransientError, AccessDeniedError, ModelError
        Not now: the message is to be delivered again. The image is still in the source bucket.
    """
    began = time.monotonic()
    spent = Calls() if calls is None else calls

    def outcome(status: str, result: dict[str, Any] | None = None, cause: BaseException | None = None) -> Outcome:
        duration_ms = round((time.monotonic() - began) * 1000)
        return Outcome(image, status, result, spent, duration_ms, cause)

    def take() -> Outcome:
        nonlocal image
        if began > deadline:
            raise errors.NoTimeLeftError("The invocation is nearly over: the image is left for another one.")
        image = source.resolve(image)
        earlier: dict[str, Any] | None = None
        newer: tuple[str, ...] = ()
        kept = final.kept_answers(image, detectors.fingerprint) if detectors.has_several else None
        if is_redelivery or image.is_resent:
            if final.is_stuck(image.key, str(image.version_id)):
                return outcome("stuck")
            earlier = final.find_result(image)
        if earlier is None:
            image, standing = source.look(image)
            if is_folder_marker(image.key, image.size_bytes):
                return outcome("folder_marker")
            # A claimed upload is finished, whatever became of its key since.
            if standing.is_taken_back and not (earlier := final.find_result(image)):
                return outcome("taken_back")
            newer = standing.newer
        if earlier and final.has_mask_of(earlier):
            final.move(image, earlier)
            if kept:
                kept.load()  # of a delivery that died after it had written the result
                kept.discard()
            return outcome(earlier["status"], earlier)
        if newer and image.version_id == NULL_VERSION:
            # Only as the current version of its key can a service read it by reference.
            raise errors.ImageUnreadableError("It was stored before versioning was enabled: newer uploads go first.")
        stored = source.stored(image)
        answers, mask_png = detectors.ask(
            stored,
            spent,
            deadline=deadline,
            check_readable=partial(source.check_readable, image),
            kept=kept,
        )
        result = make_result(
            source_of(image), detectors.backend, detectors.model_id, answers, utc_now(), stored.sides_px
        )

        def file(*, gives_way: bool) -> dict[str, Any]:
            return final.file(image, earlier or result, mask_png, newer=newer, gives_way=gives_way)

        filed = _wait_for_older(file, deadline, is_last_delivery=is_last_delivery)
        if kept:
            kept.discard()
        return outcome(filed["status"], filed)

    try:
        try:
            return take()
        except errors.ImageGoneError as error:
            # An end only when it is sure: S3's listing has to agree.
            if source.has(image):
                raise errors.ImageUnreadableError(f"S3 lists it and does not find it: {error}") from error
            return outcome("gone")
    except COSTS_NO_DELIVERY:
        raise
    except Exception as error:
        is_refused_for_good = isinstance(error, errors.StorageRefusedError)
        if not (is_refused_for_good or is_last_delivery) or image.version_id is None:
            raise
        if not source.has(image):
            return outcome("gone")  # another delivery was faster
        # An invocation that had no time left because the service was throttled is the service's doing.
        throttle = spent.last_throttle
        cause = throttle if isinstance(error, errors.NoTimeLeftError) and throttle else error
        final.give_up(image, cause)
        return outcome("stuck", cause=cause)


def _wait_for_older(file: Callable[..., dict[str, Any]], deadline: float, *, is_last_delivery: bool) -> dict[str, Any]:
    """File an image, after the older upload of its key that is being moved; at the last delivery beside it."""
    retrying = Retrying(
        retry=retry_if_exception_type(errors.OlderUploadInProgressError),
        stop=stop_before_delay(min(_OLDER_WAIT_SECONDS, max(0.0, deadline - time.monotonic()))),
        wait=wait_fixed(_OLDER_POLL_SECONDS),
        reraise=True,
    )
    try:
        return retrying(file, gives_way=False)
    except errors.OlderUploadInProgressError:
        if not is_last_delivery:
            raise
        return file(gives_way=True)
