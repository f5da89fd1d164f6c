"""One key of an existing bucket: its result is brought in step with the object, which stays where it is.

`core.in_place` says what to do next; here it is done. Of the bucket itself nothing is ever written.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from batch_vision.core import errors
from batch_vision.core.catalog import DELETED, line_of, tombstone
from batch_vision.core.events import SourceImage
from batch_vision.core.in_place import ENDS, Look, ResultHead, Step, advance, begin, upload_of
from batch_vision.core.names import MARK, RESULT, result_key
from batch_vision.core.scope import Storage, why_out_of_scope, why_unreadable
from batch_vision.core.times import to_text, utc_now
from batch_vision.core.versions import NULL_VERSION
from batch_vision.images.conditional import put_on_condition
from batch_vision.images.detectors import Calls
from batch_vision.images.s3_errors import TakenError, translated
from batch_vision.images.source import SourceBucket

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

    from batch_vision.core.scope import Scope
    from batch_vision.images.analyzer import ImageAnalyzer

_UPLOAD, _FINGERPRINT, _STATUS = "upload", "fingerprint", "status"
_PAUSED = ENDS | {Step.WRITE_LINES}


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


class Results:
    """The results in the final bucket, one place for each key."""

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def head(self, key: str) -> ResultHead | None:
        """Return which upload the result of a key is of; None where there is no result."""
        try:
            with translated():
                head = self._s3.head_object(Bucket=self._bucket, Key=result_key(key))
        except errors.ImageGoneError:
            return None
        metadata = head["Metadata"] if head["Metadata"].get(MARK) == RESULT else {}
        return ResultHead(head["ETag"], metadata.get(_UPLOAD, ""), metadata.get(_FINGERPRINT, ""))

    def write(self, key: str, result: Mapping[str, Any], upload: str, seen: ResultHead | None) -> datetime | None:
        """Write the result of a key in place of what was seen there; None where something else is there now.

        Returns
        -------
        datetime
            The time of S3's answer.
        """
        condition = {"IfMatch": seen.etag} if seen else {"IfNoneMatch": "*"}
        mark = {MARK: RESULT, _UPLOAD: upload, _FINGERPRINT: result["fingerprint"], _STATUS: result["status"]}
        try:
            answer = put_on_condition(
                self._s3,
                Bucket=self._bucket,
                Key=result_key(key),
                Body=json.dumps(result, ensure_ascii=False, indent=1).encode(),
                ContentType="application/json",
                Metadata=mark,
                **condition,
            )
        except TakenError:
            return None
        return _answered_at(answer)

    def delete(self, key: str) -> datetime:
        """Delete the result of a key, whatever it is of, and return the time of S3's answer."""
        with translated():
            return _answered_at(self._s3.delete_object(Bucket=self._bucket, Key=result_key(key)))

    def read(self, key: str) -> tuple[dict[str, Any] | None, datetime]:
        """Return the result of a key, None where there is none, and the time of S3's answer."""
        try:
            with translated():
                answer = self._s3.get_object(Bucket=self._bucket, Key=result_key(key))
                content = answer["Body"].read()
        except errors.ImageGoneError as gone:
            return None, _answered_at(getattr(gone.__cause__, "response", {}))
        is_result = answer["Metadata"].get(MARK) == RESULT  # and nothing that somebody else put there
        return json.loads(content) if is_result else None, _answered_at(answer)


def _answered_at(answer: Any) -> datetime:
    """Return the Date of S3's answer: the clock that all workers share."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date) if date else utc_now()  # a server without a clock sends none (RFC 9110, 6.6.1)


@dataclass
class Update:
    """What became of one key.

    Attributes
    ----------
    look
        Where the protocol is: at `Step.WRITE_LINES`, or at its end where there are no lines.
    status
        That of the result that was written; ``deleted``; ``unchanged``; or ``no_turn`` where nothing was done yet.
    lines
        Lines of the catalog, to be written before the message is acknowledged.
    result
        What was written last.
    cause
        Why it failed.
    """

    key: str
    look: Look
    status: str = "unchanged"
    lines: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    cause: Exception | None = None
    duration_ms: int = 0

    @property
    def ending(self) -> Step:
        """What follows when the lines are written: acknowledge, send anew or hand back."""
        return advance(self.look, True).step if self.look.step is Step.WRITE_LINES else self.look.step


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
    update = Update(key, look)
    found: Found | None = None
    detected: Found | None = None
    result: dict[str, Any] | None = None
    answer: ResultHead | str | bool | None
    while look.step not in _PAUSED:
        match look.step:
            case Step.HEAD_RESULT:
                answer = results.head(key)
            case Step.HEAD_SOURCE:
                found = images.find(key)
                answer = found.upload if found else None
            case Step.DETECT:
                if result is None or detected != found:  # the answer that was paid for in an earlier round is as good
                    detected, (result, update.cause) = (
                        found,
                        _detect(_known(found), _known(analyzer), is_last_delivery=is_last_delivery),
                    )
                answer = result is not None
            case Step.WRITE_RESULT:
                asked = _known(analyzer)
                made = _known(result) | {"fingerprint": asked.fingerprint, "nonce": uuid.uuid4().hex}
                written_at = results.write(key, made, _known(look.upload), look.result)
                if written_at:
                    asked.written()
                    update.status, update.result = made["status"], made
                    update.lines.append(_line(key, made, written_at, asked.calls, ms_since(began)))
                answer = written_at is not None
            case Step.DELETE_RESULT:
                update.lines.append(tombstone(key, to_text(results.delete(key))))
                update.status, update.result, update.cause = DELETED, None, None
                answer = True
            case Step.LOOK_AGAIN:
                again = images.find(key)
                answer = again.upload if again else None
            case _:  # Step.READ_RESULT
                there, read_at = results.read(key)
                update.lines.append(
                    _line(key, there, read_at, Calls(), 0) if there else tombstone(key, to_text(read_at))
                )
                answer = True
        look = update.look = advance(look, answer)
    update.duration_ms = ms_since(began)
    return update


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


def _known[T](value: T | None) -> T:
    assert value is not None  # noqa: S101 - the protocol comes to a step only after the one that finds its value
    return value


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
