"""The versions of one key, in the order that S3 keeps: which upload is newer, and which was taken back.

S3's own order decides wherever it is known. Times come from two clocks: an event names the completion of an upload in
milliseconds, a listing names whole seconds and, of a multipart upload, its initiation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime


NULL_VERSION = "null"  # S3's name for the version of an object that was stored before versioning was enabled


@dataclass(frozen=True, slots=True)
class Entry:
    """One version or delete marker of a key, as ``ListObjectVersions`` names it.

    Attributes
    ----------
    is_marker
        Whether it is a delete marker: then size and ETag say nothing.
    is_latest
        Whether it is the newest entry of its key.
    """

    version_id: str
    is_marker: bool
    is_latest: bool
    last_modified: datetime
    size_bytes: int = 0
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands among the versions of its key.

    Attributes
    ----------
    is_taken_back
        Whether a delete marker is newer than it: its user deleted it.
    newer
        Version ids of newer uploads of the key.
    """

    is_taken_back: bool
    newer: tuple[str, ...]


CURRENT = Standing(is_taken_back=False, newer=())


def standing_of(version_id: str, entries: Iterable[Entry], older: Collection[str]) -> Standing:
    """Return where an upload stands.

    Parameters
    ----------
    entries
        All entries of the key, in any order: boto3 lists versions and delete markers apart.
    older
        Version ids of what S3 lists after the upload.
    """
    newer = [entry for entry in entries if entry.version_id != version_id and entry.version_id not in older]
    return Standing(
        is_taken_back=any(entry.is_marker for entry in newer),
        newer=tuple(entry.version_id for entry in newer if not entry.is_marker),
    )


@dataclass(frozen=True, slots=True)
class Upload:
    """What is known of an upload when it is compared with another one of its key.

    Attributes
    ----------
    newer
        Version ids of the uploads that S3 listed as newer when this one was looked at.
    """

    version_id: str
    uploaded_at: datetime
    newer: Collection[str] = ()


def is_newer(filed: Upload, late: Upload) -> bool:
    """Return whether an upload that was filed before is newer than one that comes now.

    What S3 listed decides; where neither saw the other, the times do, at whole seconds unless both are finer. Of two
    in one second the filed one counts as newer: the other one, had it been newer, was listed when it was filed.
    """
    if filed.version_id in late.newer:
        return True
    if late.version_id in filed.newer:
        return False
    filed_at, late_at = filed.uploaded_at, late.uploaded_at
    if not (filed_at.microsecond and late_at.microsecond):
        filed_at, late_at = filed_at.replace(microsecond=0), late_at.replace(microsecond=0)
    return filed_at >= late_at
