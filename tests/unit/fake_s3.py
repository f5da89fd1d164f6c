"""An S3 in memory, as far as existing buckets need it, that can be stopped before every request."""

# ruff: noqa: N803 - the parameters are named as those of boto3

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import batched
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

BEGIN = datetime(2026, 11, 20, 8, 0, 0, tzinfo=UTC)


@dataclass
class Stored:
    """A version of an object, or a delete marker, which has no body."""

    version_id: str
    last_modified: datetime
    body: bytes | None
    metadata: dict[str, str] = field(default_factory=dict)
    # What HEAD, GET and a listing say of it beside; and how they refuse it.
    told: dict[str, Any] = field(default_factory=dict)
    refusal: Callable[[str], ClientError] | None = None

    @property
    def etag(self) -> str:
        return _etag(self.body or b"")


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def refused(code: str, http_status: int, message: str, operation: str, date: str = "") -> ClientError:
    headers = {"date": date} if date else {}
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": http_status, "HTTPHeaders": headers},  # type: ignore[typeddict-item]
        },
        operation,
    )


class FakeS3:
    """The service.

    Attributes
    ----------
    versioned
        Names of the buckets with versions.
    requests
        What was asked for, by operation, bucket and key.
    seconds_each
        How long a request takes, so that some have the same Date and some do not.
    """

    exceptions = SimpleNamespace(NoSuchKey=ClientError)

    def __init__(self, *versioned: str, seconds_each: float = 0.3) -> None:
        self.versioned = set(versioned)
        self.objects: defaultdict[str, dict[str, list[Stored]]] = defaultdict(dict)
        self.requests: list[tuple[str, str, str]] = []
        self._now = BEGIN
        self._seconds_each = seconds_each
        self._made = 0
        self.uploads: dict[str, dict[int, bytes]] = {}  # of parts, by their id
        self.smallest_part_bytes = 5 * 1024**2

    def let_pass(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    # What the owner of a bucket does.

    def upload(self, bucket: str, key: str, body: bytes, **about: Any) -> Stored:
        self._tick()
        return self._put(bucket, key, body, **about)

    def remove(self, bucket: str, key: str) -> None:
        self._tick()
        self._delete(bucket, key)

    def remove_newest(self, bucket: str, key: str) -> None:
        """Remove the newest version or delete marker: what is under it is current again."""
        self._tick()
        self.objects[bucket][key].pop()

    def current(self, bucket: str, key: str) -> Stored | None:
        versions = self.objects[bucket].get(key)
        return versions[-1] if versions and versions[-1].body is not None else None

    def keys(self, bucket: str) -> list[str]:
        return sorted(key for key in self.objects[bucket] if self.current(bucket, key))

    # The requests.

    def head_object(self, Bucket: str, Key: str, **version: str) -> dict[str, Any]:
        self._asked("HeadObject", Bucket, Key)
        return self._told(self._found("HeadObject", Bucket, Key, **version))

    def get_object(self, Bucket: str, Key: str, Range: str = "", IfMatch: str = "", **version: str) -> dict[str, Any]:
        self._asked("GetObject", Bucket, Key)
        found = self._found("GetObject", Bucket, Key, **version)
        if IfMatch.strip('"') not in ("", found.etag.strip('"')):
            raise refused("PreconditionFailed", 412, "", "GetObject", self._date())
        begin, _, last = Range.removeprefix("bytes=").partition("-")
        body = (found.body or b"")[int(begin or 0) : int(last) + 1 if last else None]
        return self._told(found) | {"Body": io.BytesIO(body)}

    def copy_object(self, Bucket: str, Key: str, CopySource: dict[str, str]) -> dict[str, Any]:
        self._asked("CopyObject", Bucket, Key)
        source = self._found("CopyObject", CopySource["Bucket"], CopySource["Key"], CopySource["VersionId"])
        return self._told(self._put(Bucket, Key, source.body or b"", metadata=source.metadata))

    def put_object(self, Bucket: str, Key: str, Body: bytes, **request: Any) -> dict[str, Any]:
        self._asked("PutObject", Bucket, Key)
        current = self.current(Bucket, Key)
        if request.get("IfNoneMatch") == "*" and current:
            raise refused("PreconditionFailed", 412, "", "PutObject", self._date())
        if match := request.get("IfMatch"):
            if current is None:
                raise refused("NoSuchKey", 404, "", "PutObject", self._date())
            if current.etag != match:
                raise refused("PreconditionFailed", 412, "", "PutObject", self._date())
        return self._told(self._put(Bucket, Key, Body, metadata=request.get("Metadata", {})))

    def delete_object(self, Bucket: str, Key: str, **version: str) -> dict[str, Any]:
        self._asked("DeleteObject", Bucket, Key)
        if version:
            versions = self.objects[Bucket].get(Key, [])
            self.objects[Bucket][Key] = [one for one in versions if one.version_id != version["VersionId"]]
        else:
            self._delete(Bucket, Key)
        return self._answered()

    def create_multipart_upload(self, Bucket: str, Key: str, **_: Any) -> dict[str, Any]:
        self._asked("CreateMultipartUpload", Bucket, Key)
        self._made += 1
        self.uploads[f"upload{self._made}"] = {}
        return {"UploadId": f"upload{self._made}"}

    def upload_part(self, Bucket: str, Key: str, UploadId: str, PartNumber: int, Body: bytes) -> dict[str, Any]:
        self._asked("UploadPart", Bucket, Key)
        self._parts("UploadPart", UploadId)[PartNumber] = Body
        return {"ETag": _etag(Body)}

    def complete_multipart_upload(self, Bucket: str, Key: str, UploadId: str, MultipartUpload: Any) -> dict[str, Any]:
        operation = "CompleteMultipartUpload"
        self._asked(operation, Bucket, Key)
        stored, named = self._parts(operation, UploadId), MultipartUpload["Parts"]
        numbers = [part["PartNumber"] for part in named]
        if numbers != sorted(set(numbers)):
            raise refused("InvalidPartOrder", 400, "", operation)
        if not named or any(_etag(stored.get(part["PartNumber"], b"")) != part["ETag"] for part in named):
            raise refused("InvalidPart", 400, "", operation)
        if any(len(stored[number]) < self.smallest_part_bytes for number in numbers[:-1]):
            raise refused("EntityTooSmall", 400, "", operation)
        del self.uploads[UploadId]
        return self._told(self._put(Bucket, Key, b"".join(stored[number] for number in numbers)))

    def abort_multipart_upload(self, Bucket: str, Key: str, UploadId: str) -> None:
        self._asked("AbortMultipartUpload", Bucket, Key)
        self._parts("AbortMultipartUpload", UploadId)
        del self.uploads[UploadId]

    def _parts(self, operation: str, upload_id: str) -> dict[int, bytes]:
        if upload_id not in self.uploads:
            raise refused("NoSuchUpload", 404, "", operation)
        return self.uploads[upload_id]

    def get_paginator(self, operation: str) -> Any:
        pages = {"list_object_versions": self._list_versions, "list_objects_v2": self._list}[operation]
        return type("Paginator", (), {"paginate": staticmethod(pages)})

    def _list_versions(self, Bucket: str, Prefix: str = "", **_: Any) -> Iterator[dict[str, Any]]:
        self._asked("ListObjectVersions", Bucket, Prefix)
        versions, markers = [], []
        for key in sorted(key for key in self.objects[Bucket] if key.startswith(Prefix)):
            for place, one in enumerate(reversed(self.objects[Bucket][key])):
                about = {"Key": key, "IsLatest": place == 0, "VersionId": one.version_id}
                about |= {"LastModified": one.last_modified}
                if one.body is None:
                    markers.append(about)
                else:
                    versions.append(about | {"Size": len(one.body), "ETag": one.etag})
        yield {"Versions": versions, "DeleteMarkers": markers}

    def _list(
        self, Bucket: str, Prefix: str = "", Delimiter: str = "", StartAfter: str = "", **_: Any
    ) -> Iterator[dict[str, Any]]:
        self._asked("ListObjectsV2", Bucket, Prefix)
        if Delimiter:
            rest = [key.removeprefix(Prefix) for key in self.keys(Bucket) if key.startswith(Prefix)]
            folders = sorted({key.partition(Delimiter)[0] for key in rest if Delimiter in key})
            yield {"CommonPrefixes": [{"Prefix": f"{Prefix}{folder}{Delimiter}"} for folder in folders]}
            return
        found = [key for key in self.keys(Bucket) if key.startswith(Prefix) and key > StartAfter]
        for number, keys in enumerate(batched(found, 1000, strict=False) if found else [()]):
            if number:
                self._asked("ListObjectsV2", Bucket, Prefix)
            yield {
                "Contents": [
                    {"Key": key, "Size": len(one.body or b""), "LastModified": one.last_modified, "ETag": one.etag}
                    | {name: value for name, value in one.told.items() if name == "StorageClass"}
                    for key in keys
                    if (one := self.current(Bucket, key))
                ]
            }

    def _asked(self, operation: str, bucket: str, key: str) -> None:
        self.requests.append((operation, bucket, key))
        self._tick()

    def _tick(self) -> None:
        self._now += timedelta(seconds=self._seconds_each)

    def _date(self) -> str:
        return format_datetime(self._now.replace(microsecond=0), usegmt=True)

    def _answered(self) -> dict[str, Any]:
        return {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"date": self._date()}}}

    def _told(self, one: Stored) -> dict[str, Any]:
        version = {} if one.version_id == "null" else {"VersionId": one.version_id}
        return self._answered() | version | one.told | {
            "ETag": one.etag,
            "ContentLength": len(one.body or b""),
            "LastModified": one.last_modified.replace(microsecond=0),  # a header has no more than that
            "Metadata": one.metadata,
        }  # fmt: skip

    def _found(self, operation: str, bucket: str, key: str, VersionId: str = "") -> Stored:
        found = self.current(bucket, key)
        if VersionId:
            of_it = [one for one in self.objects[bucket].get(key, []) if one.version_id == VersionId]
            found = of_it[0] if of_it else None
        if found is None or found.body is None:
            code = "404" if operation == "HeadObject" else "NoSuchKey"
            raise refused(code, 404, "Not Found", operation, self._date())
        if found.refusal:
            raise found.refusal(operation)
        return found

    def _put(self, bucket: str, key: str, body: bytes, **about: Any) -> Stored:
        self._made += 1
        is_versioned = bucket in self.versioned
        one = Stored(f"v{self._made}" if is_versioned else "null", self._now, body, **about)
        earlier = self.objects[bucket].get(key, [])
        self.objects[bucket][key] = [*earlier, one] if is_versioned else [one]
        return one

    def _delete(self, bucket: str, key: str) -> None:
        if bucket in self.versioned:
            self._made += 1
            marker = Stored(f"v{self._made}", self._now, None)
            self.objects[bucket].setdefault(key, []).append(marker)
        else:
            self.objects[bucket].pop(key, None)
