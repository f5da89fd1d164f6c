"""The bucket that videos are uploaded to: which upload a key is of, and what the header of its file says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.aws.s3_errors import TakenError, translated
from batch_vision.core import errors
from batch_vision.core.in_place import upload_of
from batch_vision.core.scope import why_out_of_scope
from batch_vision.core.versions import NULL_VERSION
from batch_vision.core.video_file import read_header, why_refused
from batch_vision.core.videos import Fault, Upload, VideoMetadata

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from batch_vision.core.scope import Scope


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself, and why it is refused for that; None for most."""

    video: VideoMetadata
    refusal: Fault | None


class VideosBucket:
    """A bucket of videos.

    Parameters
    ----------
    scope
        Which of its objects are videos.
    """

    def __init__(self, s3: S3Client, name: str, scope: Scope | None = None) -> None:
        self._s3 = s3
        self._scope = scope
        self.name = name

    def find(self, key: str) -> Upload | None:
        """Return the current upload of a key; None where there is none that is in scope.

        Raises
        ------
        AccessDeniedError, StorageRefusedError
            S3 does not let it be looked at.
        ServiceUnavailableError
            S3 does not answer now.
        """
        try:
            with translated():
                head = self._s3.head_object(Bucket=self.name, Key=key)
        except errors.ImageGoneError:
            return None
        etag, size_bytes = head["ETag"].strip('"'), head["ContentLength"]
        if self._scope and why_out_of_scope(key, size_bytes, self._scope):
            return None
        version_id = head.get("VersionId", NULL_VERSION)
        return Upload(
            name=upload_of(version_id, etag, head["LastModified"], size_bytes),
            version_id=None if version_id == NULL_VERSION else version_id,
            etag=etag,
            last_modified=head["LastModified"],
            size_bytes=size_bytes,
        )

    def read_header(self, key: str, upload: Upload, max_minutes_per_day: int) -> Header:
        """Read what the file of an upload says of itself, by a few small requests.

        What S3 does not let be read is left to the service, which says why.

        Raises
        ------
        ImageGoneError
            The upload was replaced or deleted this moment.
        ServiceUnavailableError
            S3 does not answer now.
        """
        same: Any = {"VersionId": upload.version_id} if upload.version_id else {"IfMatch": upload.etag}

        def read(begin: int, length: int) -> bytes:
            try:
                with translated():
                    answer = self._s3.get_object(
                        Bucket=self.name, Key=key, Range=f"bytes={begin}-{begin + length - 1}", **same
                    )
                    return answer["Body"].read()
            except TakenError as error:
                raise errors.ImageGoneError(f"{key!r} was replaced this moment.") from error

        try:
            file = read_header(read, upload.size_bytes)
        except (errors.AccessDeniedError, errors.StorageRefusedError):
            return Header(VideoMetadata(), None)
        video = VideoMetadata(
            duration_seconds=file.duration_seconds,
            width=file.width,
            height=file.height,
            codec=file.codec,
            container=file.container,
        )
        refusal = why_refused(file, upload.size_bytes, max_minutes_per_day)
        return Header(video, Fault.of(refusal) if refusal else None)
