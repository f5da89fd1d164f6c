"""Results and summaries that may not be there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import found
from batch_vision.core.names import MARK, RESULT
from batch_vision.core.run_summaries import summary_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mypy_boto3_s3 import S3Client


def read_known[T](s3: S3Client, bucket: str, key: str, read: Callable[[dict[str, Any]], T]) -> tuple[T, str] | None:
    """Read an object of JSON and its ETag; None where it is not there, or has a form that this tool does not know.

    Parameters
    ----------
    read
        Reads the content.
    """
    answer = found(s3.get_object, Bucket=bucket, Key=key)
    try:
        return (read(json.loads(answer["Body"].read())), answer["ETag"]) if answer else None
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return None


def read_summary(s3: S3Client, bucket: str, run_id: str) -> dict[str, Any] | None:
    """Read the summary of a run; None where it wrote none."""
    answer = found(s3.get_object, Bucket=bucket, Key=summary_key(run_id))
    return json.loads(answer["Body"].read()) if answer else None


def marked_boxes(predictions: Iterable[Mapping[str, Any]]) -> list[tuple[str, dict[str, float]]]:
    """Return the names and boxes of a result's predictions and of their instances."""
    parts = [(said["name"], part) for said in predictions for part in (said, *(said.get("instances") or []))]
    return [(name, part["bounding_box"]) for name, part in parts if part.get("bounding_box")]


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
    is_result = isinstance(result, dict) and isinstance(result.get("source"), dict)
    return result if is_result and (result.get("image_key") or result["source"].get("key")) else None


def image_place(bucket: str, result: dict[str, Any]) -> dict[str, str]:
    """Return where the image of a result is, as the arguments of a request.

    Parameters
    ----------
    bucket
        The final bucket, which has the images of a drop-off bucket. Those of an existing bucket are still there, and
        may have been replaced since: the request is for the very upload.
    """
    if key := result.get("image_key"):
        return {"Bucket": bucket, "Key": key}
    return _source_place(result["source"])


def video_place(bucket: str, result: dict[str, Any]) -> dict[str, str]:
    """Return where the video of a result is, as `image_place` does; one that failed never leaves its bucket."""
    if key := result.get("video_key"):
        return {"Bucket": bucket, "Key": key}
    return _source_place(result["source"])


def _source_place(source: dict[str, Any]) -> dict[str, str]:
    upload = {"VersionId": source["version_id"]} if source.get("version_id") else {"IfMatch": f'"{source["etag"]}"'}
    return {"Bucket": source["bucket"], "Key": source["key"], **upload}
