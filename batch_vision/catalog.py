"""The catalog of finished images, read from the time on that is asked for: what came before costs nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from lambdas.shared.catalog import PREFIX, catalog_key
from lambdas.shared.clients import MAX_CONNECTIONS
from lambdas.shared.times import from_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

# An object is written when its batch ends: after its images are finished, by no more than a Lambda may live.
_LONGEST_BATCH = timedelta(minutes=15)
# How late an object may show behind one whose key is later: clocks differ, and a write takes its time.
_LATE = timedelta(seconds=60)


def images_between(s3: S3Client, bucket: str, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
    """Give the catalog lines of the images that were finished in a span of time, each upload once, the oldest first."""
    seen = set()
    end = catalog_key(until + _LONGEST_BATCH)
    for line in _read(s3, bucket, takewhile(lambda key: key <= end, _keys(s3, bucket, catalog_key(since)))):
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
        new = [key for key in _keys(self._s3, self._bucket, catalog_key(self._start)) if key not in self._keys]
        for line in _read(self._s3, self._bucket, new):
            upload = (line["key"], line["version_id"])
            self.rejected += upload not in self._uploads and line["status"] == "rejected"
            self._uploads.add(upload)
        self._start = max(self._start, now - _LATE)
        self._keys.update(new)
        return len(self._uploads)


def _keys(s3: S3Client, bucket: str, start_after: str) -> Iterator[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX, StartAfter=start_after)
    return (entry["Key"] for page in pages for entry in page.get("Contents", []))


def _read(s3: S3Client, bucket: str, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
    def read(key: str) -> str:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()

    with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
        for text in pool.map(read, keys):
            # Not `splitlines`: a key may hold U+2028 and other characters that it takes for the end of a line.
            yield from (json.loads(line) for line in text.split("\n") if line)
