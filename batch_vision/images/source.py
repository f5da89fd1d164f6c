"""The source bucket: what an upload is, where it stands among the versions of its key, and whether it can be read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from batch_vision.aws.s3_errors import translated
from batch_vision.core import errors
from batch_vision.core.events import UNKNOWN_SIZE_BYTES
from batch_vision.core.image_header import sides_px
from batch_vision.core.times import utc_now
from batch_vision.core.versions import CURRENT, NULL_VERSION, Entry, Standing, standing_of

if TYPE_CHECKING:
    from typing import IO

    from mypy_boto3_s3 import S3Client

    from batch_vision.core.events import SourceImage


# Where a JPEG has its sides: behind its metadata, of which an Exif has up to 64 KiB.
_SIDES_BYTES = 128 * 1024


@dataclass(slots=True)
class StoredImage:
    """One version of an object, readable by reference or by content."""

    s3: S3Client
    bucket: str
    key: str
    version_id: str
    size_bytes: int
    is_stored: bool = field(default=True, init=False)
    _start: bytes = field(default=b"", repr=False)  # what was read last, or the beginning of it

    def read_bytes(self) -> bytes:
        """Fetch the content; raises `ImageGoneError` when that version is no longer there."""
        with translated():
            answer = self.s3.get_object(Bucket=self.bucket, Key=self.key, VersionId=self.version_id)
            content = answer["Body"].read()
        self._start = content[:_SIDES_BYTES]
        return content

    def save_to(self, file: IO[bytes]) -> None:
        """Write the content to a file; raises as `read_bytes` does."""
        with translated():
            answer = self.s3.get_object(Bucket=self.bucket, Key=self.key, VersionId=self.version_id)
            for part in answer["Body"].iter_chunks(_SIDES_BYTES):
                file.write(part)

    def read_start(self, most_bytes: int) -> bytes:
        """Fetch the first bytes of the content; raises as `read_bytes` does."""
        if self.size_bytes == 0:  # S3 has no range of it
            return self.read_bytes()
        with translated():
            answer = self.s3.get_object(
                Bucket=self.bucket, Key=self.key, VersionId=self.version_id, Range=f"bytes=0-{most_bytes - 1}"
            )
            content = answer["Body"].read()
        self._start = content
        return content

    def sides_px(self) -> tuple[int, int] | None:
        """Return width and height of the image as it is shown; None where they cannot be told.

        One request, unless a backend has read the content. A failure is none of the image, which is analyzed.
        """
        try:
            return sides_px(self._start or self.read_start(_SIDES_BYTES))
        except errors.BatchVisionError:
            return None


class SourceBucket:
    """Where images are uploaded."""

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3

    def resolve(self, image: SourceImage) -> SourceImage:
        """Look up what the event did not name, version or size; raises `ImageGoneError` when there is no such image."""
        if image.version_id and image.size_bytes != UNKNOWN_SIZE_BYTES:
            return image
        entry = self._find(image)
        if entry is None:
            raise errors.ImageGoneError(f"{image.key!r} is not in {image.bucket}.")
        return replace(
            image,
            version_id=entry.version_id,
            etag=entry.etag,
            size_bytes=entry.size_bytes,
            uploaded_at=image.uploaded_at if image.version_id else entry.last_modified,
        )

    def look(self, image: SourceImage) -> tuple[SourceImage, Standing]:
        """Return the image with its size as S3 has it, and where it stands among the versions of its key.

        One HEAD where it is the current version, as it nearly always is.

        Raises
        ------
        ImageGoneError
            S3 does not list it.
        ImageUnreadableError, StorageRefusedError, AccessDeniedError
            S3 does not let it be read.
        ImageLockedError
            S3 will not let it be deleted.
        """
        try:
            with translated():
                head = self._s3.head_object(Bucket=image.bucket, Key=image.key)
        except (errors.ImageGoneError, errors.StorageRefusedError, errors.AccessDeniedError):
            pass  # under a delete marker, or of another upload: the listing tells
        else:
            if head.get("VersionId", NULL_VERSION) == image.version_id:
                _check_unlocked(head)
                return replace(image, size_bytes=head["ContentLength"]), CURRENT
        entries = self._entries(image)
        ours = _entry_of(image, entries)
        if ours is None:
            raise errors.ImageGoneError(f"{image.key!r} has no version {image.version_id} in {image.bucket}.")
        image = replace(image, size_bytes=ours.size_bytes)
        if ours.is_latest:
            self.check_readable(image)
            return image, CURRENT
        older = {entry.version_id for entry in self._entries(image, after=ours.version_id)}
        return image, standing_of(ours.version_id, entries, older)

    def check_readable(self, image: SourceImage) -> None:
        """Read a byte of an image, for S3's own reason why it cannot be read.

        Raises
        ------
        ImageGoneError
            S3 neither reads nor lists it.
        ImageUnreadableError
            S3 lists it and does not find it, as it may for 15 minutes after versioning was enabled (S3 user guide,
            "Enabling versioning on buckets").
        StorageRefusedError, AccessDeniedError
            What S3 says.
        """
        try:
            self.stored(image).read_start(1)
        except errors.ImageGoneError as error:
            if self.has(image):
                raise errors.ImageUnreadableError(f"S3 lists {image.key!r} and does not find it: {error}") from error
            raise

    def has(self, image: SourceImage) -> bool:
        """Return whether S3 lists an image: a 404 alone is no proof that it is gone, nor a 400 that it is there."""
        return self._find(image) is not None

    def stored(self, image: SourceImage) -> StoredImage:
        """Return what a backend reads the image from."""
        return StoredImage(self._s3, image.bucket, image.key, str(image.version_id), image.size_bytes)

    def _find(self, image: SourceImage) -> Entry | None:
        return _entry_of(image, self._entries(image))

    def _entries(self, image: SourceImage, after: str | None = None) -> list[Entry]:
        """List versions and delete markers of a key; with ``after`` those that S3 lists after a version of it."""
        start: Any = {"KeyMarker": image.key, "VersionIdMarker": after} if after else {}
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=image.bucket, Prefix=image.key, **start)
        found = []
        with translated():
            for page in pages:
                listed: Any = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                found += [
                    Entry(
                        version_id=entry["VersionId"],
                        is_marker="Size" not in entry,
                        is_latest=entry["IsLatest"],
                        last_modified=entry["LastModified"],
                        size_bytes=entry.get("Size", 0),
                        etag=entry.get("ETag", "").strip('"'),
                    )
                    for entry in listed
                    if entry["Key"] == image.key
                ]
                if any(entry["Key"] != image.key for entry in listed):  # a key comes before all that begin with it
                    break
        return found


def _entry_of(image: SourceImage, entries: list[Entry]) -> Entry | None:
    """Return the entry of an image, of the current version where the image names none."""
    for entry in entries:
        is_it = entry.version_id == image.version_id if image.version_id else entry.is_latest
        if is_it and not entry.is_marker:
            return entry
    return None


def _check_unlocked(head: Any) -> None:
    """Check that a version may be deleted, as far as S3 tells the function: it needs permissions for both."""
    if head.get("ObjectLockLegalHoldStatus") == "ON":
        raise errors.ImageLockedError("The version is under a legal hold.")
    if (until := head.get("ObjectLockRetainUntilDate")) and until > utc_now():
        raise errors.ImageLockedError(f"The version is under retention until {until:%Y-%m-%d %H:%M} UTC.")
