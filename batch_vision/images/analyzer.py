"""The images of an existing bucket, taken to the detectors, and the results that are made of what these say."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from batch_vision.core import errors
from batch_vision.core.names import partial_key
from batch_vision.core.times import to_text, utc_now
from batch_vision.core.versions import NULL_VERSION
from batch_vision.images.detectors import Calls, KeptAnswers
from batch_vision.images.results import make_result

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from batch_vision.core.settings import ExistingBucketSettings
    from batch_vision.images.detectors import Detectors
    from batch_vision.images.in_place import Found
    from batch_vision.images.source import SourceBucket


class ImageAnalyzer:
    """Asks the detectors about one image of an existing bucket.

    Parameters
    ----------
    deadline
        Until when to ask, as `time.monotonic` tells it.

    Attributes
    ----------
    calls
        What it has cost.
    """

    def __init__(
        self,
        detectors: Detectors,
        s3: S3Client,
        settings: ExistingBucketSettings,
        source: SourceBucket,
        deadline: float,
    ) -> None:
        self.fingerprint = settings.settings_fingerprint
        self.calls = Calls()
        self._detectors = detectors
        self._s3 = s3
        self._final_bucket_name = settings.final_bucket_name
        self._source = source
        self._deadline = deadline
        self._kept: KeptAnswers | None = None

    def analyze(self, found: Found) -> dict[str, Any]:
        """Return the result JSON of an image that was processed or rejected; raises as `Detectors.ask`."""
        image = found.image
        if self._detectors.has_several:
            key = partial_key(image.bucket, image.key, found.upload, self.fingerprint)
            self._kept = KeptAnswers(self._s3, self._final_bucket_name, key)
        stored = self._source.stored(image)
        answers, _ = self._detectors.ask(
            stored,
            self.calls,
            deadline=self._deadline,
            check_readable=partial(self._source.check_readable, image),
            kept=self._kept,
        )
        return make_result(
            _source_of(found), self._detectors.backend, self._detectors.model_id, answers, utc_now(), stored.sides_px
        )

    def fail(self, found: Found, error: Exception) -> dict[str, Any]:
        """Return the result JSON of an image that is given up until `retry`, with the remedy."""
        remedy = error.remedy if isinstance(error, errors.BatchVisionError) else errors.BatchVisionError.remedy
        told = {"type": type(error).__name__, "message": str(error), "remedy": remedy}
        rejected = make_result(
            _source_of(found), self._detectors.backend, self._detectors.model_id, {"": {"error": told}}, utc_now()
        )
        return rejected | {"status": "failed"}

    def written(self) -> None:
        """Forget the answers that were kept, for the image has its result."""
        if self._kept:
            self._kept.discard()


def _source_of(found: Found) -> dict[str, Any]:
    image = found.image
    return {
        "bucket": image.bucket,
        "key": image.key,
        "version_id": None if image.version_id == NULL_VERSION else image.version_id,
        "etag": image.etag,
        "size_bytes": image.size_bytes,
        "last_modified": to_text(image.uploaded_at),
    }
