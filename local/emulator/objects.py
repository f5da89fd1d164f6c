"""Reads the images and videos that requests name by bucket, key and version."""

from __future__ import annotations

import contextlib
import shutil
from typing import IO, TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from local.emulator.aws import client_at
from local.emulator.errors import ImageTooLargeError, ObjectStoreError, ObjectUnreadableError, VideoTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

UNREADABLE_STATUSES = (400, 403, 404, 405)


class ObjectReader(Protocol):
    """Where the emulator takes the objects from."""

    def read(self, bucket: str, key: str, version: str | None, max_bytes: int) -> bytes:
        """Return the content of one object version, the latest one if none is named.

        Raises
        ------
        ObjectUnreadableError
            If the bucket, key or version does not exist or may not be read.
        ImageTooLargeError
            If the object has more than `max_bytes`.
        ObjectStoreError
            If the store itself failed.
        """
        ...

    def copy(self, bucket: str, key: str, version: str | None, file: IO[bytes], max_bytes: int) -> None:
        """Write the content of one object version to a file; see `read`, but a large one is a `VideoTooLargeError`."""
        ...


class S3ObjectReader:
    """Reads objects through S3's own interface."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    @classmethod
    def at(cls, endpoint_url: str) -> S3ObjectReader:
        """Return a reader of the S3 at a local address."""
        return cls(client_at(endpoint_url, "s3", s3={"addressing_style": "path"}, max_pool_connections=50))

    def read(self, bucket: str, key: str, version: str | None, max_bytes: int) -> bytes:
        """See `ObjectReader.read`."""
        with self._opened(bucket, key, version) as (body, size_bytes):
            if size_bytes > max_bytes:
                raise ImageTooLargeError(f"the object has {size_bytes} bytes, at most {max_bytes} are accepted")
            return body.read()

    def copy(self, bucket: str, key: str, version: str | None, file: IO[bytes], max_bytes: int) -> None:
        """See `ObjectReader.copy`."""
        with self._opened(bucket, key, version) as (body, size_bytes):
            if size_bytes > max_bytes:
                # In the service's own words, as its guide quotes them.
                raise VideoTooLargeError(
                    f"Video size in bytes: {size_bytes} is more than the maximum limit of: {max_bytes} bytes."
                )
            shutil.copyfileobj(body, file)

    @contextlib.contextmanager
    def _opened(self, bucket: str, key: str, version: str | None) -> Iterator[tuple[StreamingBody, int]]:
        try:
            if version is None:
                answer = self._client.get_object(Bucket=bucket, Key=key)
            else:
                answer = self._client.get_object(Bucket=bucket, Key=key, VersionId=version)
            with answer["Body"] as body:
                yield body, answer["ContentLength"]
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in UNREADABLE_STATUSES:
                raise ObjectUnreadableError(str(error)) from error
            raise ObjectStoreError(str(error)) from error
        except BotoCoreError as error:
            raise ObjectStoreError(str(error)) from error
