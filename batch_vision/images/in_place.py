"""One key of an existing bucket: its result is brought in step with the object, which stays where it is.

`aws.in_step` does what `core.in_place` says; what it is to find and to detect is said here. Of the bucket itself
nothing is ever written.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from batch_vision.aws.in_step import bring_in_step
from batch_vision.aws.s3_errors import translated
from batch_vision.core import errors
from batch_vision.core.catalog import DELETED, line_of, tombstone
from batch_vision.core.events import SourceImage
from batch_vision.core.in_place import begin, upload_of
from batch_vision.core.names import result_key
from batch_vision.core.scope import Storage, why_out_of_scope, why_unreadable
from batch_vision.core.times import to_text, utc_now
from batch_vision.core.versions import NULL_VERSION
from batch_vision.images.detectors import Calls
from batch_vision.images.source import SourceBucket

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

    from batch_vision.aws.in_step import Update
    from batch_vision.aws.results import Results
    from batch_vision.core.scope import Scope
    from batch_vision.images.analyzer import ImageAnalyzer


@dataclass(frozen=True, slots=True)
class Found:
    """The object of a key.

    Attributes
    ----------
    image
        Its version is ``null`` where it has none.
    upload
        What names the upload (`core.in_place.upload_of`).
    refusal
        Why S3 does not let it be read, where that is known already.
    """

    image: SourceImage
    upload: str
    refusal: errors.BatchVisionError | None = None


class ImagesBucket:
    """An existing bucket, of which nothing is written."""

    def __init__(self, s3: S3Client, name: str, scope: Scope) -> None:
        self._s3 = s3
        self._name = name
        self._scope = scope
        self.source = SourceBucket(s3)

    def find(self, key: str) -> Found | None:
        """Return the current object of a key; None where there is none that is in scope.

        One HEAD; where S3 refuses that one, as for an object with a key of its own (SSE-C), a listing tells.

        Raises
        ------
        AccessDeniedError
            The role may list neither.
        ServiceUnavailableError
            S3 does not answer now.
        """
        try:
            with translated():
                head = self._s3.head_object(Bucket=self._name, Key=key)
        except errors.ImageGoneError:
            return None
        except (errors.StorageRefusedError, errors.AccessDeniedError) as refusal:
            return self._find_listed(key, refusal)
        image = SourceImage(
            bucket=self._name,
            key=key,
            version_id=head.get("VersionId", NULL_VERSION),
            etag=head["ETag"].strip('"'),
            size_bytes=head["ContentLength"],
            uploaded_at=head["LastModified"],
        )
        if cls := why_unreadable(_storage_of(head), utc_now()):
            return self._found(image, cls(f"{head.get('StorageClass')}: the object is archived."))
        return self._found(image)

    def _find_listed(self, key: str, refusal: errors.BatchVisionError) -> Found | None:
        nameless = SourceImage(self._name, key, None, "", 0, utc_now())
        try:
            image = replace(self.source.resolve(nameless), is_resent=False)
        except errors.ImageGoneError:
            return None
        try:
            self.source.check_readable(image)  # a HEAD has no message, a GET says why
        except (errors.StorageRefusedError, errors.AccessDeniedError) as told:
            refusal = told
        except errors.ImageGoneError:
            return None  # this moment
        return self._found(image, refusal)

    def _found(self, image: SourceImage, refusal: errors.BatchVisionError | None = None) -> Found | None:
        if why_out_of_scope(image.key, image.size_bytes, self._scope):
            return None
        upload = upload_of(str(image.version_id), image.etag, image.uploaded_at, image.size_bytes)
        return Found(image, upload, refusal)


def _storage_of(head: Any) -> Storage:
    until = re.search('expiry-date="([^"]+)"', head.get("Restore", ""))
    return Storage(
        storage_class=head.get("StorageClass", ""),
        archive_tier=head.get("ArchiveStatus", ""),
        restored_until=parsedate_to_datetime(until[1]) if until else None,
    )


def update_result(
    key: str,
    images: ImagesBucket,
    results: Results,
    analyzer: ImageAnalyzer | None,
    *,
    may_owe_line: bool,
    wanted: str | None = None,
    is_last_delivery: bool = False,
) -> Update:
    """Bring the result of a key in step with its object, up to the lines of the catalog, which the caller writes.

    Parameters
    ----------
    analyzer
        None where this function does not ask the model: then `Update.ending` is `Step.HAND_BACK` for what needs it.
    may_owe_line
        Whether somebody may have worked on the key before: a redelivery, a message that was sent anew, and every key of
        a chunk.
    wanted
        The fingerprint that the result must have, which is the analyzer's own; None for a live event.
    is_last_delivery
        Whether the message will be a dead letter if this fails: then the image is given up instead.

    Raises
    ------
    ModelNotReadyError
        The model is not running: the message is to be sent anew.
    TransientError, AccessDeniedError, ModelError
        Not now: the message is to be delivered again, or sent anew (`is_no_attempt`).
    """
    began = time.monotonic()
    look = begin(may_owe_line=may_owe_line, wanted=wanted, asks_model=analyzer is not None)
    work = _Asking(key, images, analyzer, began, is_last_delivery=is_last_delivery)
    update = bring_in_step(key, look, results, work)
    update.cause = None if update.status == DELETED else work.cause
    update.duration_ms = ms_since(began)
    return update


class _Asking:
    """What is done about the image of a key.

    Attributes
    ----------
    cause
        Why it failed.
    """

    def __init__(
        self, key: str, images: ImagesBucket, analyzer: ImageAnalyzer | None, began: float, *, is_last_delivery: bool
    ) -> None:
        self.cause: Exception | None = None
        self._key = key
        self._images = images
        self._analyzer = analyzer
        self._began = began
        self._is_last_delivery = is_last_delivery

    def find(self, _resulting: str | None) -> Found | None:
        return self._images.find(self._key)

    def detect(self, found: Found) -> dict[str, Any] | None:
        result, self.cause = _detect(found, self._asked, is_last_delivery=self._is_last_delivery)
        return result

    def fingerprint_of(self, _found: Found) -> str:
        return self._asked.fingerprint

    def written(self, result: Mapping[str, Any], recorded_at: datetime) -> dict[str, Any]:
        self._asked.written()
        return _line(self._key, result, recorded_at, self._asked.calls, ms_since(self._began))

    def line(self, result: Mapping[str, Any] | None, recorded_at: datetime) -> dict[str, Any]:
        if result is None:
            return tombstone(self._key, to_text(recorded_at))
        return _line(self._key, result, recorded_at, Calls(), 0)

    @property
    def _asked(self) -> ImageAnalyzer:
        assert self._analyzer is not None  # noqa: S101 - a look that asks no model detects nothing
        return self._analyzer


def is_no_attempt(error: Exception, calls: Calls) -> bool:
    """Return whether the model was not even asked, because no turn of its pace came in time.

    Then the message is sent anew, and no delivery of it is used up.
    """
    return isinstance(error, errors.NoTimeLeftError) and not calls.made.total()


def _detect(
    found: Found, analyzer: ImageAnalyzer, *, is_last_delivery: bool
) -> tuple[dict[str, Any] | None, Exception | None]:
    """Return the result of an image, None where it is not there any more, and why it failed."""
    try:
        if found.refusal:
            raise found.refusal
        return analyzer.analyze(found), None
    except errors.ImageGoneError:
        return None, None
    except errors.ModelNotReadyError:
        raise
    except Exception as error:
        if not (isinstance(error, errors.StorageRefusedError) or is_last_delivery):
            raise
        if is_no_attempt(error, analyzer.calls):
            raise
        # An invocation that had no time left because the service was throttled is the service's doing.
        late = isinstance(error, errors.NoTimeLeftError) and isinstance(error.__cause__, errors.ThrottledError)
        cause = error.__cause__ if late else error
        assert isinstance(cause, Exception)  # noqa: S101 - as was just asked
        return analyzer.fail(found, cause), cause


def ms_since(began: float) -> int:
    """Return the milliseconds since a time of `time.monotonic`."""
    return round((time.monotonic() - began) * 1000)


def _line(key: str, result: Mapping[str, Any], recorded_at: datetime, calls: Calls, duration_ms: int) -> dict[str, Any]:
    """Return the catalog's line of a result.

    Of the lines of a key, the one with the greatest ``recorded_at`` tells how it is now. Lines of one key and one
    ``finished_at`` are of one result: a redelivery writes the line again.
    """
    line = line_of(result, attempts=calls.made.total(), throttles=calls.throttled.total(), duration_ms=duration_ms)
    return line | {
        "recorded_at": to_text(recorded_at),
        "key": key,
        "result_key": result_key(key),
        "fingerprint": result["fingerprint"],
    }
