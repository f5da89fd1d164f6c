"""What is in the source bucket: every uploaded version that is an image and was not taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import list_entries
from batch_vision.core.events import SourceImage
from batch_vision.core.names import is_folder_marker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client


def list_objects(s3: S3Client, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """List the current objects under a prefix without folder markers and deleted keys, as ListObjectsV2 has them."""
    for entry in list_entries(s3, bucket, prefix):
        if not is_folder_marker(entry["Key"], entry["Size"]):
            yield dict(entry)


def list_uploads(s3: S3Client, bucket: str, prefix: str) -> Iterator[SourceImage]:
    """List every version under a prefix but folder markers and uploads that were taken back.

    The older uploads of a page come first, so that those of one key do.
    """
    markers_at: dict[str, datetime] = {}
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for marker in page.get("DeleteMarkers", []):
            at = marker["LastModified"]
            markers_at[marker["Key"]] = max(at, markers_at.get(marker["Key"], at))
        versions = [
            version
            for version in page.get("Versions", [])
            if not is_folder_marker(version["Key"], version["Size"])
            and not is_taken_back(version, markers_at.get(version["Key"]))
        ]
        # S3 lists the newest version of a key first, and tells times to the second: the stable sort does the rest.
        versions.reverse()
        for version in sorted(versions, key=lambda version: version["LastModified"]):
            yield SourceImage(
                bucket=bucket,
                key=version["Key"],
                version_id=version["VersionId"],
                etag=version["ETag"].strip('"'),
                size_bytes=version["Size"],
                uploaded_at=version["LastModified"],
            )
        # A key may go on on the next page; of all others nothing more comes.
        last = page.get("NextKeyMarker")
        markers_at = {key: at for key, at in markers_at.items() if key == last}


def is_taken_back(version: Mapping[str, Any], newest_marker_at: datetime | None) -> bool:
    """Return whether a version has a delete marker that is newer than it.

    Parameters
    ----------
    version
        As ListObjectVersions has it.
    newest_marker_at
        When the newest delete marker of its key was made; None where it has none. S3 tells times to the second: of one
        second, the marker counts as the newer one unless the version is the latest of its key. A version that is
        wrongly left out so has its message all the same, and is the latest once the newer ones have left.
    """
    return newest_marker_at is not None and not version["IsLatest"] and newest_marker_at >= version["LastModified"]


def is_there(s3: S3Client, image: SourceImage) -> bool:
    """Return whether the version is still in its bucket, be it taken back or not."""
    versions = versions_of(s3, image.bucket, image.key)
    return any(image.version_id in (None, version["VersionId"]) for version in versions)


def versions_of(s3: S3Client, bucket: str, key: str) -> Iterator[dict[str, Any]]:
    """List the versions of an object, the newest first."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        for entry in page.get("Versions", []):
            if entry["Key"] != key:
                return  # keys come in order, the prefix itself first
            yield dict(entry)
