"""Copies of objects that may be larger than what one request takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig

from batch_vision.aws.s3_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_GIB_BYTES = 1024**3
_COPY_LIMIT_BYTES = 5 * _GIB_BYTES  # the most that one CopyObject takes
_LARGE_COPY = TransferConfig(multipart_threshold=_COPY_LIMIT_BYTES, multipart_chunksize=_GIB_BYTES)


def copy_version(
    s3: S3Client, bucket: str, key: str, version_id: str, size_bytes: int, to_bucket: str, to_key: str
) -> str:
    """Copy a version of an object, and return the version of the copy; empty where S3 does not tell it.

    Raises
    ------
    ImageGoneError
        There is no such version.
    ServiceUnavailableError, StorageRefusedError, AccessDeniedError
        What S3 says.
    """
    source: Any = {"Bucket": bucket, "Key": key, "VersionId": version_id}
    with translated():
        if size_bytes <= _COPY_LIMIT_BYTES:
            return s3.copy_object(Bucket=to_bucket, Key=to_key, CopySource=source).get("VersionId", "")
        s3.copy(source, to_bucket, to_key, Config=_LARGE_COPY)
    return ""
