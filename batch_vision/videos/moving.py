"""The way of a video that is finished from the drop-off bucket to the final bucket."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from batch_vision.aws.copying import copy_version
from batch_vision.aws.s3_errors import translated
from batch_vision.core.errors import ImageGoneError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from batch_vision.core.videos import Upload


class Mover:
    """Moves videos to the final bucket, by version."""

    def __init__(self, s3: S3Client, final_bucket: str) -> None:
        self._s3 = s3
        self._final_bucket = final_bucket

    def move(self, bucket: str, key: str, upload: Upload, place: str) -> None:
        """Copy an upload to its place, then delete it from its bucket: by its version, so that a newer one stays.

        One that is not there any more was moved by another collector, or deleted by its owner this moment.
        """
        version = str(upload.version_id)
        with suppress(ImageGoneError):
            copy_version(self._s3, bucket, key, version, upload.size_bytes, self._final_bucket, place)
            with translated():
                self._s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
