"""Analyze one image: ask the model, then give image and result their place."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

from batch_vision.core import errors
from batch_vision.core.times import to_text, utc_now
from batch_vision.images import results

if TYPE_CHECKING:
    from datetime import datetime

    from tenacity import RetryCallState

    from batch_vision.backends.base import Backend, Detection
    from batch_vision.core.events import SourceImage
    from batch_vision.images.buckets import FinalBucket, SourceBucket
    from batch_vision.images.pace import Pace

_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 10
_BACK_OFF = wait_random_exponential(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image.

    Attributes
    ----------
    status
        ``processed``, ``rejected``, or ``gone`` when its version had already left the source bucket.
    result
        The result JSON; None when gone.
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
    finished_at: datetime = field(default_factory=utc_now)

    @property
    def error_type(self) -> str | None:
        """Why it was rejected."""
        error = self.result and self.result["error"]
        return error["type"] if error else None

    def catalog_line(self) -> dict[str, Any]:
        """Give the image's line of the catalog."""
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
    """Tell whether asking again within this invocation may help."""
    useless = (errors.ImageUnreadableError, errors.OlderUploadInProgressError, errors.NoTimeLeftError)
    return isinstance(error, errors.TransientError) and not isinstance(error, useless)


def _wait_seconds(state: RetryCallState) -> float:
    """Back off, and for no less than the service asked for; a throttled image only waits for its next turn."""
    error = state.outcome and state.outcome.exception()
    back_off = 0.0 if isinstance(error, errors.ThrottledError) else _BACK_OFF(state)
    return max(back_off, getattr(error, "retry_after_seconds", None) or 0.0)


def analyze(
    image: SourceImage,
    backend: Backend,
    source: SourceBucket,
    final: FinalBucket,
    pace: Pace,
    *,
    is_redelivery: bool,
    deadline: float,
) -> Outcome:
    """Take one image to its end.

    Parameters
    ----------
    pace
        Gives each call of the model its turn.
    is_redelivery
        Whether the message was delivered before: then a result may be there already, and is kept.
    deadline
        Until when to ask the model, as `time.monotonic` tells it.

    Raises
    ------
    TransientError, AccessDeniedError, ModelError
        Not now: the message is to be delivered again. The image is still in the source bucket.
    """
    began = time.monotonic()
    attempts = throttles = 0
    throttled: errors.ThrottledError | None = None

    def outcome(status: str, result: dict[str, Any] | None) -> Outcome:
        return Outcome(image, status, result, attempts, throttles, round((time.monotonic() - began) * 1000))

    def detect() -> Detection:
        nonlocal attempts, throttles, throttled
        try:
            pace.wait(deadline)
        except errors.NoTimeLeftError as late:
            raise throttled or late from None
        attempts += 1
        try:
            detection = backend.detect(source.stored(image))
        except errors.ThrottledError as error:
            pace.throttled()
            throttles += 1
            throttled = error
            raise
        pace.answered()
        return detection

    def ask() -> tuple[dict[str, Any], bytes | None]:
        if image.size_bytes == 0:
            raise errors.InvalidImageFormatError("The object is empty.")
        if began > deadline:
            raise errors.NoTimeLeftError("The invocation is nearly over: the image is left for another one.")
        retrying = Retrying(
            retry=retry_if_exception(is_worth_retrying),
            stop=stop_before_delay(max(0.0, deadline - began)),
            wait=_wait_seconds,
            reraise=True,
        )
        detection = retrying(detect)
        return results.processed(image, backend, detection, utc_now()), detection.mask_png

    earlier: dict[str, Any] | None = None
    mask_png: bytes | None = None
    try:
        image = source.resolve(image)
        if is_redelivery and (earlier := final.find_result(image)) and final.has_mask_of(earlier):
            final.move(image, earlier)
            return outcome(earlier["status"], earlier)
        try:
            result, mask_png = ask()
        except errors.PermanentImageError as error:
            result = results.rejected(image, backend, error, utc_now())
        filed = final.file(image, earlier or result, mask_png)
        return outcome(filed["status"], filed)
    except errors.ImageGoneError:
        return outcome("gone", None)
    except errors.ImageUnreadableError:
        # The services have one error for "not there" and for "not allowed": only the first is an end.
        if source.has(image.bucket, image.key, str(image.version_id)):
            raise
        return outcome("gone", None)
