"""Requests about objects that may not be there, results among them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.core.names import MARK, RESULT
from batch_vision.core.run_summaries import summary_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client


def found(call: Callable[..., Any], **request: Any) -> Any:
    """Make a request about an object; None when that is not there."""
    try:
        return call(**request)
    except ClientError as error:
        if is_not_found(error):
            return None
        raise


def is_not_found(error: ClientError) -> bool:
    """Return whether an error says that there is no such object, or no such version of it."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404


def read_summary(s3: S3Client, bucket: str, run_id: str) -> dict[str, Any] | None:
    """Read the summary of a run; None where it wrote none."""
    answer = found(s3.get_object, Bucket=bucket, Key=summary_key(run_id))
    return json.loads(answer["Body"].read()) if answer else None


def read_result(s3: S3Client, bucket: str, key: str) -> tuple[dict[str, Any], str] | None:
    """Read a result and its version; None where there is no object, or one that is no result."""
    answer = found(s3.get_object, Bucket=bucket, Key=key)
    result = answer and as_result(answer)
    return (result, answer["VersionId"]) if result else None


def as_result(answer: Any) -> dict[str, Any] | None:
    """Read the answer to a GetObject as a result; None where it is none of ours, whatever its name says."""
    if answer["Metadata"].get(MARK) != RESULT:
        return None
    try:
        result = json.loads(answer["Body"].read())
    except (ValueError, RecursionError):
        return None
    is_result = isinstance(result, dict) and isinstance(result.get("source"), dict) and result.get("image_key")
    return result if is_result else None
