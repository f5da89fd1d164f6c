"""Analyze one image: ask the model, then give image and result their place."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tenacity import (
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_before_delay,
    wait_fixed,
    wait_random_exponential,
)

from batch_vision.core import errors
from batch_vision.core.names import is_folder_marker
from batch_vision.core.times import to_text, utc_now
from batch_vision.core.versions import NULL_VERSION
from batch_vision.images import results

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tenacity import RetryCallState

    from batch_vision.backends.contracts import Detection, Detector
    from batch_vision.core.events import SourceImage
    from batch_vision.images.final import FinalBucket
    from batch_vision.images.pace import Pace
    from batch_vision.images.source import SourceBucket

_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 10
# How long a newer upload waits for an older one of its key that another invocation is moving: a redelivery would cost
# a visibility timeout.
_OLDER_WAIT_SECONDS = 5.0
_OLDER_POLL_SECONDS = 0.5
_BACK_OFF = wait_random_exponential(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)


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
    attempts
        How often the model was asked in this invocation.
    throttles
        How many of these attempts the service refused because there were too many.
    """

    image: SourceImage
    status: str
    result: dict[str, Any] | None
    attempts: int
    throttles: int
    duration_ms: int
    cause: BaseException | None = None
    finished_at: datetime = field(default_factory=utc_now)

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
        best = max(result["predictions"], key=lambda label: label["confidence"], default=None)
        return {
            "finished_at": to_text(self.finished_at),
            "key": self.image.key,
            "version_id": self.image.version_id,
            "size_bytes": self.image.size_bytes,
            "status": self.status,
            "error_type": self.error_type,
            "image_key": result["image_key"],
            "backend": result["model"]["backend"],
            "prediction": best and {"name": best["name"], "confidence": best["confidence"]},
            "anomaly": result["anomaly"],
            "attempts": self.attempts,
            "throttles": self.throttles,
            "duration_ms": self.duration_ms,
        }


def is_worth_retrying(error: BaseException) -> bool:
    """Return whether asking again within this invocation may help."""
    useless = (
        errors.ImageUnreadableError,
        errors.ModelNotReadyError,  # the message is sent anew, and costs no delivery
        errors.NoTimeLeftError,
        errors.UnexplainedRefusalError,
    )
    return isinstance(error, errors.TransientError) and not isinstance(error, useless)


def _wait_seconds(state: RetryCallState) -> float:
    """Back off, and for no less than the service asked for; a throttled image only waits for its next turn."""
    error = state.outcome and state.outcome.exception()
    back_off = 0.0 if isinstance(error, errors.ThrottledError) else _BACK_OFF(state)
    return max(back_off, getattr(error, "retry_after_seconds", None) or 0.0)


def analyze(
    image: SourceImage,
    detector: Detector,
    source: SourceBucket,
    final: FinalBucket,
    pace: Pace,
    *,
    is_redelivery: bool,
    deadline: float,
    is_last_delivery: bool = False,
) -> Outcome:
    """Take one image to its end.

    Parameters
    ----------
    pace
        The pace of the calls of the model.
    is_redelivery
        Whether the message was delivered before: then a result may be there already, and is kept.
    deadline
        Until when to ask the model, as `time.monotonic` tells it.
    is_last_delivery
        Whether the message will be a dead letter if this fails: then the image is given up instead.

    Raises
    ------
    ModelNotReadyError
        The model is not running: the message is to be sent anew. The image is still in the source bucket.
    TransientError, AccessDeniedError, ModelError
        Not now: the message is to be delivered again. The image is still in the source bucket.
    """
    began = time.monotonic()
    attempts = throttles = 0
    throttled: errors.ThrottledError | None = None

    def outcome(status: str, result: dict[str, Any] | None = None, cause: BaseException | None = None) -> Outcome:
        duration_ms = round((time.monotonic() - began) * 1000)
        return Outcome(image, status, result, attempts, throttles, duration_ms, cause)

    def detect() -> Detection:
        nonlocal attempts, throttles, throttled
        try:
            pace.wait(deadline)
        except errors.NoTimeLeftError as late:
            raise late from throttled
        attempts += 1
        try:
            detection = detector.detect(source.stored(image))
        except errors.ThrottledError as error:
            pace.throttled()
            throttles += 1
            throttled = error
            raise
        except errors.ImageUnreadableError:
            source.check_readable(image)  # S3 itself says why, and which remedy fits
            raise
        pace.answered()
        return detection

    def ask() -> tuple[dict[str, Any], bytes | None]:
        if image.size_bytes == 0:
            raise errors.InvalidImageFormatError("The object is empty.")
        retrying = Retrying(
            retry=retry_if_exception(is_worth_retrying),
            stop=stop_before_delay(max(0.0, deadline - time.monotonic())),
            wait=_wait_seconds,
            reraise=True,
        )
        detection = retrying(detect)
        return results.processed(image, detector, detection, utc_now()), detection.mask_png

    def take() -> Outcome:
        nonlocal image
        if began > deadline:
            raise errors.NoTimeLeftError("The invocation is nearly over: the image is left for another one.")
        image = source.resolve(image)
        earlier: dict[str, Any] | None = None
        newer: tuple[str, ...] = ()
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
            return outcome(earlier["status"], earlier)
        if newer and image.version_id == NULL_VERSION:
            # Only as the current version of its key can a service read it by reference.
            raise errors.ImageUnreadableError("It was stored before versioning was enabled: newer uploads go first.")
        mask_png: bytes | None = None
        try:
            result, mask_png = ask()
        except errors.PermanentImageError as error:
            result = results.rejected(image, detector, error, utc_now())

        def file(*, gives_way: bool) -> dict[str, Any]:
            return final.file(image, earlier or result, mask_png, newer=newer, gives_way=gives_way)

        filed = _wait_for_older(file, deadline, is_last_delivery=is_last_delivery)
        return outcome(filed["status"], filed)

    try:
        try:
            return take()
        except errors.ImageGoneError as error:
            # An end only when it is sure: S3's listing has to agree.
            if source.has(image):
                raise errors.ImageUnreadableError(f"S3 lists it and does not find it: {error}") from error
            return outcome("gone")
    except errors.ModelNotReadyError:
        raise
    except Exception as error:
        is_refused_for_good = isinstance(error, errors.StorageRefusedError)
        if not (is_refused_for_good or is_last_delivery) or image.version_id is None:
            raise
        if not source.has(image):
            return outcome("gone")  # another delivery was faster
        # An invocation that had no time left because the service was throttled is the service's doing.
        cause = throttled if isinstance(error, errors.NoTimeLeftError) and throttled else error
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
