"""Requests about objects that may not be there, results among them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.core.run_summaries import summary_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

_MARK, _RESULT = "batch-vision", "result"  # a result of an upload that had neighbours has more metadata


def found(call: Callable[..., Any], **request: Any) -> Any:
    """Make a request about an object; None when that is not there."""
    try:
        return call(**request)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise


def read_summary(s3: S3Client, bucket: str, run_id: str) -> dict[str, Any] | None:
    """Read the summary of a run; None where it wrote none."""
    answer = found(s3.get_object, Bucket=bucket, Key=summary_key(run_id))
    return json.loads(answer["Body"].read()) if answer else None


def read_result(s3: S3Client, bucket: str, key: str) -> tuple[dict[str, Any], str] | None:
    """Read a result and its version; None where there is no object, or one that is no result."""
    answer = found(s3.get_object, Bucket=bucket, Key=key)
    if answer is None or answer["Metadata"].get(_MARK) != _RESULT:
        return None
    return json.loads(answer["Body"].read()), answer["VersionId"]
