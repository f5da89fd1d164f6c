"""The catalog of finished images, read from the time on that is asked for: what came before costs nothing."""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from batch_vision.aws.catalog import catalog_key, keys_since, read_lines
from batch_vision.core.times import from_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

# An object is written when its batch ends: after its images are finished, by no more than a Lambda may live.
_LONGEST_BATCH = timedelta(minutes=15)
# How late an object may show behind one whose key is later: clocks differ, and a write takes its time.
_LATE = timedelta(seconds=60)


def images_between(s3: S3Client, bucket: str, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
    """Return the catalog lines of the images finished in a span of time, each upload once, the oldest first."""
    seen = set()
    end = catalog_key(until + _LONGEST_BATCH)
    for line in read_lines(s3, bucket, takewhile(lambda key: key <= end, keys_since(s3, bucket, since))):
        upload = (line["key"], line["version_id"])
        if upload not in seen and since <= from_text(line["finished_at"]) <= until:
            seen.add(upload)
            yield line


class FinishedImages:
    """Counts the images that are finished since a time, again and again; each look reads what is new."""

    def __init__(self, s3: S3Client, bucket: str, since: datetime) -> None:
        self._s3, self._bucket = s3, bucket
        self._start = since
        self._keys: set[str] = set()
        self._uploads: set[tuple[str, str]] = set()
        self.rejected = 0

    def count(self, now: datetime) -> int:
        """Read the catalog objects written since the last look, and give the number of images until now."""
        new = [key for key in keys_since(self._s3, self._bucket, self._start) if key not in self._keys]
        for line in read_lines(self._s3, self._bucket, new):
            upload = (line["key"], line["version_id"])
            self.rejected += upload not in self._uploads and line["status"] == "rejected"
            self._uploads.add(upload)
        self._start = max(self._start, now - _LATE)
        self._keys.update(new)
        return len(self._uploads)
