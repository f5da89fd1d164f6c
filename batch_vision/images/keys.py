"""Keys of an existing bucket with a hosted model: asked about, given up, or only looked at."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from batch_vision.aws.in_step import Update
from batch_vision.aws.results import Results
from batch_vision.backends.registry import make_detectors
from batch_vision.core import errors
from batch_vision.core.in_place import Look, Step
from batch_vision.core.observability import logger
from batch_vision.images.analyzer import ImageAnalyzer
from batch_vision.images.detectors import Detectors
from batch_vision.images.in_place import ImagesBucket, update_result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client

    from batch_vision.core.models import Model
    from batch_vision.core.settings import ExistingBucketSettings
    from batch_vision.images.detectors import Calls
    from batch_vision.images.in_place import Found


@cache
def unasked_detectors(model: Model) -> Detectors:
    """Return the detectors of a function that does not ask them: results name them, and an empty object needs none."""
    return Detectors(model.backend, make_detectors(model, None), {})


class Keys:
    """The keys of the existing bucket of a deployment.

    Parameters
    ----------
    deadline
        Until when to ask the model, as `time.monotonic` tells it.

    Attributes
    ----------
    calls
        What the images have cost that the model was asked about.
    """

    def __init__(
        self, settings: ExistingBucketSettings, s3: S3Client, detectors: Detectors, deadline: float = 0.0
    ) -> None:
        self._images = ImagesBucket(s3, settings.images_bucket_name, settings.scope)
        self._results = Results(s3, settings.final_bucket_name)
        self._given = (detectors, s3, settings, self._images.source, deadline)
        self.calls: list[Calls] = []

    def update(self, key: str, wanted: str | None) -> Update:
        """Bring the result of a key in step, which may have been worked on before; see `update_result`.

        Raises
        ------
        ModelNotReadyError
            The model is not running.
        TransientError, AccessDeniedError, ModelError
            Not now.
        """
        analyzer = ImageAnalyzer(*self._given)
        self.calls.append(analyzer.calls)
        return update_result(key, self._images, self._results, analyzer, may_owe_line=True, wanted=wanted)

    def try_to_give_up(self, key: str, error: Exception, about: Mapping[str, Any]) -> Update | None:
        """Give a key up at its message's last delivery; None, and a line of the log about it, where that failed too."""
        try:
            return self.give_up(key, error)
        except Exception:
            logger.exception("image not given up", extra=dict(about))
            return None

    def give_up(self, key: str, error: Exception) -> Update:
        """Bring the result of a key in step; where its image had to be asked about, it has failed with this error."""
        analyzer = _GivingUp(*self._given)
        analyzer.error = error
        return update_result(key, self._images, self._results, analyzer, may_owe_line=True, is_last_delivery=True)

    def look(self, key: str, *, may_owe_line: bool) -> Update:
        """Bring the result of a key in step as far as that needs no model; where it does, it ends as `Step.HAND_BACK`.

        The lines of what was done until then are left to whoever has the key next, as after a death.
        """
        try:
            return update_result(key, self._images, self._results, _Looking(*self._given), may_owe_line=may_owe_line)
        except errors.ModelNotReadyError:
            return Update(key, Look(Step.HAND_BACK))


class _GivingUp(ImageAnalyzer):
    """Asks nobody, and has always failed."""

    error: Exception

    def analyze(self, found: Found) -> dict[str, Any]:
        """Raise the error."""
        raise self.error


class _Looking(ImageAnalyzer):
    """Asks nobody: knows of an image only whether it is empty. What S3 refuses to read does not even come here."""

    def analyze(self, found: Found) -> dict[str, Any]:
        """Return the result JSON of an empty object; raise `ModelNotReadyError` for all others."""
        if found.image.size_bytes:
            raise errors.ModelNotReadyError("It is handed to a function that asks the model.")
        return super().analyze(found)
