"""Ask every detector of a deployment about one image, and keep the answers that were paid for.

An image is finished when all its detectors have answered. Where one cannot answer now, what the others said is written
to `work/partial/`, once, as the image is left; whoever has its message next asks only for what is missing. The object
goes when the image has its result. A function that dies in the middle has one call for each detector paid again.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

from batch_vision.aws.s3_errors import translated
from batch_vision.backends.registry import make_detectors
from batch_vision.core import errors
from batch_vision.core.models import fingerprint_of
from batch_vision.core.observability import logger
from batch_vision.images.pace import Pace
from batch_vision.images.preparing import as_it_is, preparing
from batch_vision.images.results import SCHEMA_VERSION, answer_of, refusal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from mypy_boto3_s3 import S3Client
    from tenacity import RetryCallState

    from batch_vision.backends.contracts import Detection, Detector, ReadableImage
    from batch_vision.images.preparing import Prepare
    from batch_vision.images.results import Answer
    from batch_vision.images.settings import DetectorSettings
    from batch_vision.images.source import StoredImage

# After these the message of an image is sent anew, and no delivery of it is used up.
COSTS_NO_DELIVERY = (errors.ModelNotReadyError, errors.ConversionWaitsError)

_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 10
_BACK_OFF = wait_random_exponential(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)


@dataclass(slots=True)
class Calls:
    """What an image has cost in one invocation, by the name of the detector.

    Attributes
    ----------
    made
        Calls of the service.
    throttled
        How many of these the service refused because there were too many.
    last_throttle
        The last such refusal: it is why there was no time for more.
    """

    made: Counter[str] = field(default_factory=Counter)
    throttled: Counter[str] = field(default_factory=Counter)
    last_throttle: errors.ThrottledError | None = None


class KeptAnswers:
    """The answers about one upload that are kept until all are there.

    Parameters
    ----------
    bucket, key
        Of the object (`core.names.partial_key`).
    """

    def __init__(self, s3: S3Client, bucket: str, key: str) -> None:
        self._s3 = s3
        self._place = {"Bucket": bucket, "Key": key}
        self._version: dict[str, str] | None = None  # of the object that is there, as far as is known

    def load(self) -> dict[str, Answer]:
        """Read what an earlier delivery has kept; raises as `s3_errors.translated`, but for an object that is gone.

        What another version of this code has written, or somebody else, is no answer.
        """
        try:
            with translated():
                answer = self._s3.get_object(**self._place)  # type: ignore[arg-type]
                body = answer["Body"].read()
        except errors.ImageGoneError:
            return {}
        self._version = _version_in(answer)
        try:
            kept = json.loads(body)
            return dict(kept["answers"]) if kept["schema_version"] == SCHEMA_VERSION else {}
        except (ValueError, TypeError, KeyError):
            return {}

    def save(self, answers: Mapping[str, Answer]) -> None:
        """Write all answers that there are; a failure is logged, for the image is left for a reason of its own."""
        body = json.dumps({"schema_version": SCHEMA_VERSION, "answers": answers}, ensure_ascii=False)
        try:
            self._s3.put_object(**self._place, Body=body.encode(), ContentType="application/json")  # type: ignore[arg-type]
        except Exception:
            logger.exception("answers not kept", extra={"partial_key": self._place["Key"]})
            return
        self.discard()  # the version that was read: it would be the current one again when this one goes

    def discard(self) -> None:
        """Delete the version that was read; a failure is logged, for a leftover does no harm."""
        if self._version is None:
            return
        try:
            self._s3.delete_object(**self._place, **self._version)  # type: ignore[arg-type]
        except Exception:
            logger.exception("kept answers not deleted", extra={"partial_key": self._place["Key"]})


class Detectors:
    """The detectors of a deployment, each with a pace of its own, which it keeps from batch to batch.

    Parameters
    ----------
    backend
        Name of the backend.
    by_name
        The detectors, in the order of their answers in a result.
    paces
        Of the same names.
    fingerprint
        What tells their answers from those of other models and settings.
    prepare
        Makes of an image what they can be asked about.
    """

    def __init__(
        self,
        backend: str,
        by_name: Mapping[str, Detector],
        paces: Mapping[str, Pace],
        fingerprint: str = "",
        prepare: Prepare = as_it_is,
    ) -> None:
        self.backend = backend
        self.fingerprint = fingerprint
        self._by_name = by_name
        self._paces = paces
        self._prepare = prepare

    @classmethod
    def of(cls, settings: DetectorSettings) -> Self:
        """Make the detectors of a deployment.

        Raises
        ------
        SettingsError
            See `make_detectors`; or a detector has no rate.
        """
        model, min_confidence_percent, rates = settings.model, settings.min_confidence_percent, settings.paces
        by_name = make_detectors(model, min_confidence_percent)
        if missing := [name for name in by_name if name not in rates]:
            raise errors.SettingsError(
                f"Environment variable PACES has nothing for {', '.join(missing)}, which the backend {model.backend}"
                " asks. Terraform sets it: apply the module again."
            )
        prepare = preparing(convert_images=settings.convert_images)
        paces = {name: Pace(rates[name].calls_per_second, rates[name].most_calls_per_second) for name in by_name}
        return cls(model.backend, by_name, paces, fingerprint_of(model, min_confidence_percent), prepare)

    @property
    def model_id(self) -> str:
        """What identifies the model in results: those of all detectors."""
        return ", ".join(detector.model_id for detector in self._by_name.values())

    @property
    def has_several(self) -> bool:
        """Whether there is anything to keep while another one has not answered."""
        return len(self._by_name) > 1

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations of a service that has several; none where a backend has a single model."""
        return tuple(name for name in self._by_name if name != self.backend)

    def take_share(self, share: float) -> None:
        """Keep to a share of all paces; see `Pace.take_share`."""
        for pace in self._paces.values():
            pace.take_share(share)

    def begin_batch(self, images: int, deadline: float) -> None:
        """Be fast enough for a batch of so many images; see `Pace.begin_batch`."""
        for pace in self._paces.values():
            pace.begin_batch(images, deadline)

    def ask(
        self,
        image: StoredImage,
        calls: Calls,
        *,
        deadline: float,
        check_readable: Callable[[], None],
        kept: KeptAnswers | None = None,
    ) -> tuple[dict[str, Answer], bytes | None]:
        """Ask each detector that has not answered yet, side by side, again and again while time allows.

        Parameters
        ----------
        calls
            What it costs is added to it, whatever the outcome.
        deadline
            Until when to ask, as `time.monotonic` tells it.
        check_readable
            Raises S3's own reason where the service cannot read the image.
        kept
            Where answers are kept, by an earlier delivery or another message of the same upload; None where there is
            one detector only.

        Returns
        -------
        answers, mask_png
            By the names of all detectors, ready for JSON; and the mask of the anomalies, if there is one. A refusal
            that blames the image is an answer.

        Raises
        ------
        ModelNotReadyError
            The hosted model is not running.
        ConversionWaitsError
            There was no time left to convert the image.
        ImageGoneError
            The image is gone.
        TransientError, AccessDeniedError, ModelError, StorageRefusedError
            Not now: what was answered until then is kept.
        """
        if image.size_bytes == 0:
            empty = refusal_of(errors.InvalidImageFormatError("The object is empty."))
            return dict.fromkeys(self._by_name, empty), None
        answers = kept.load() if kept else {}
        missing = [name for name in self._by_name if name not in answers]
        prepared = self._prepare(image, {name: self._by_name[name].limits for name in missing}, deadline)
        asked: dict[str, Answer | Exception] = {}
        masks: list[bytes] = []

        def ask_one(name: str) -> None:
            taken, converted = prepared.images[name], prepared.converted.get(name, {})
            try:
                if isinstance(taken, errors.PermanentImageError):
                    raise taken
                detection = self._ask_one(name, taken, calls, deadline, check_readable)
            except errors.PermanentImageError as error:
                asked[name] = refusal_of(error) | converted
            except Exception as error:
                asked[name] = error
            else:
                asked[name] = answer_of(detection) | converted
                masks.extend([detection.mask_png] if detection.mask_png else [])

        if len(missing) == 1:
            ask_one(missing[0])
        elif missing:
            # Side by side: one after the other, a turn of the pace that waits for another service's answer is lost.
            with ThreadPoolExecutor(len(missing)) as pool:
                list(pool.map(ask_one, missing))
        failed = [said for name in missing if isinstance(said := asked[name], Exception)]
        answers |= {name: said for name, said in asked.items() if not isinstance(said, Exception)}
        if failed:
            is_gone = any(isinstance(error, errors.ImageGoneError) for error in failed)
            if kept and not is_gone and len(failed) < len(missing):
                kept.save(answers)
            raise min(failed, key=_persistence)
        return {name: answers[name] for name in self._by_name}, next(iter(masks), None)

    def _ask_one(
        self, name: str, image: ReadableImage, calls: Calls, deadline: float, check_readable: Callable[[], None]
    ) -> Detection:
        detector, pace = self._by_name[name], self._paces[name]

        def detect() -> Detection:
            try:
                pace.wait(deadline)
            except errors.NoTimeLeftError as late:
                raise late from calls.last_throttle
            calls.made[name] += 1
            try:
                detection = detector.detect(image)
            except errors.ThrottledError as error:
                pace.throttled()
                calls.throttled[name] += 1
                calls.last_throttle = error
                raise
            except errors.ImageUnreadableError:
                check_readable()  # S3 itself says why, and which remedy fits
                raise
            pace.answered()
            return detection

        retrying = Retrying(
            retry=retry_if_exception(is_worth_retrying),
            stop=stop_before_delay(max(0.0, deadline - time.monotonic())),
            wait=_wait_seconds,
            reraise=True,
        )
        return retrying(detect)


def _persistence(error: Exception) -> int:
    """Return the place of an error among those of one image: what no other try mends says more than what passes."""
    if isinstance(error, errors.ImageGoneError):
        return 0
    return 2 if isinstance(error, errors.TransientError) else 1


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


def _version_in(answer: Any) -> dict[str, str]:
    return {"VersionId": answer["VersionId"]} if "VersionId" in answer else {}
