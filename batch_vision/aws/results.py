"""The results of keys in the final bucket, one place for each key."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from batch_vision.aws.conditional import put_on_condition
from batch_vision.aws.s3_errors import TakenError, translated
from batch_vision.core import errors
from batch_vision.core.in_place import ResultHead
from batch_vision.core.names import MARK, RESULT, result_key
from batch_vision.core.times import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

_UPLOAD, _FINGERPRINT, _STATUS = "upload", "fingerprint", "status"


class Results:
    """The results of one kind of object.

    Parameters
    ----------
    place
        Returns where the result of a key is.
    """

    def __init__(self, s3: S3Client, bucket: str, place: Callable[[str], str] = result_key) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._place = place

    def head(self, key: str) -> ResultHead | None:
        """Return which upload the result of a key is of; None where there is no result."""
        try:
            with translated():
                head = self._s3.head_object(Bucket=self._bucket, Key=self._place(key))
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
                Key=self._place(key),
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
            return _answered_at(self._s3.delete_object(Bucket=self._bucket, Key=self._place(key)))

    def read(self, key: str) -> tuple[dict[str, Any] | None, datetime]:
        """Return the result of a key, None where there is none, and the time of S3's answer."""
        try:
            with translated():
                answer = self._s3.get_object(Bucket=self._bucket, Key=self._place(key))
                content = answer["Body"].read()
        except errors.ImageGoneError as gone:
            return None, _answered_at(getattr(gone.__cause__, "response", {}))
        is_result = answer["Metadata"].get(MARK) == RESULT  # and nothing that somebody else put there
        return json.loads(content) if is_result else None, _answered_at(answer)


def _answered_at(answer: Any) -> datetime:
    """Return the Date of S3's answer: the clock that all workers share."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date) if date else utc_now()  # a server without a clock sends none (RFC 9110, 6.6.1)
