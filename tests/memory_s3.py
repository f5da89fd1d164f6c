"""An S3 of one bucket in memory, with uploads of parts and their errors as S3 has them."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from botocore.exceptions import ClientError


@dataclass
class MemoryS3:
    """Objects by key.

    Attributes
    ----------
    smallest_part_bytes
        Of every part but the last; S3 has 5 MiB.
    """

    smallest_part_bytes: int = 5 * 1024**2
    objects: dict[str, bytes] = field(default_factory=dict)
    content_types: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    _ids: Any = field(default_factory=count)

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> Any:
        self.objects[Key], self.content_types[Key] = bytes(Body), ContentType
        return {"ETag": _etag(Body)}

    def get_object(self, *, Bucket: str, Key: str) -> Any:
        if Key not in self.objects:
            raise _error("NoSuchKey", 404)
        return {"Body": io.BytesIO(self.objects[Key])}

    def delete_object(self, *, Bucket: str, Key: str) -> None:
        self.objects.pop(Key, None)

    def create_multipart_upload(self, *, Bucket: str, Key: str, ContentType: str) -> Any:
        upload_id = f"upload-{next(self._ids)}"
        self.uploads[upload_id] = {}
        self.content_types[Key] = ContentType
        return {"UploadId": upload_id}

    def upload_part(self, *, Bucket: str, Key: str, UploadId: str, PartNumber: int, Body: bytes) -> Any:
        self._upload(UploadId)[PartNumber] = bytes(Body)
        return {"ETag": _etag(Body)}

    def complete_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str, MultipartUpload: Any) -> None:
        stored, named = self._upload(UploadId), MultipartUpload["Parts"]
        numbers = [part["PartNumber"] for part in named]
        if numbers != sorted(set(numbers)):
            raise _error("InvalidPartOrder", 400)
        if not named or any(_etag(stored.get(part["PartNumber"], b"")) != part["ETag"] for part in named):
            raise _error("InvalidPart", 400)
        if any(len(stored[number]) < self.smallest_part_bytes for number in numbers[:-1]):
            raise _error("EntityTooSmall", 400)
        self.objects[Key] = b"".join(stored[number] for number in numbers)
        self.parts[Key] = len(numbers)
        del self.uploads[UploadId]

    def abort_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str) -> None:
        self._upload(UploadId)
        del self.uploads[UploadId]

    def _upload(self, upload_id: str) -> dict[int, bytes]:
        if upload_id not in self.uploads:
            raise _error("NoSuchUpload", 404)
        return self.uploads[upload_id]


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def _error(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "call")  # type: ignore[typeddict-item]
