"""Requests about objects that may not be there, and listings of those that are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    """Return whether an error says that there is no such object, no such version of it, or none with that ETag."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (404, 412)


def put_if(s3: S3Client, **request: Any) -> str:
    """Write an object under a condition, and return its ETag; empty where the condition does not hold.

    Or may not hold any more: S3 answers 409 while another conditional write is under way, and 404 where what an IfMatch
    names is gone.
    """
    try:
        return s3.put_object(**request)["ETag"]
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in (409, 412) or (status == 404 and "IfMatch" in request):
            return ""
        raise


def list_entries(s3: S3Client, bucket: str, prefix: str, after: str = "") -> Iterator[Any]:
    """List the current objects under a prefix as ListObjectsV2 has them, one request for each thousand.

    Parameters
    ----------
    after
        Only keys after this one; empty for all.
    """
    begin: Any = {"StartAfter": after} if after else {}
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **begin)
    return (entry for page in pages for entry in page.get("Contents", []))
