"""The catalog of finished images and videos, read from the time on that is asked for: what came before costs nothing.

An image uploaded to a drop-off bucket has one line. A video, and a key of an existing bucket, has a line for each of
its results and for each deletion of one, and the line that was recorded last is the current one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from batch_vision.aws.catalog import catalog_key, keys_since, read_lines
from batch_vision.aws.objects import found
from batch_vision.core.catalog import DELETED, VIDEO, identity, media_of, moment_of, order, subject_of
from batch_vision.core.times import from_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

# An object is written when its batch ends: after its images are finished, by no more than a Lambda may live.
_LONGEST_BATCH = timedelta(minutes=15)
# How late an object may show behind one whose key is later: clocks differ, and a write takes its time.
_LATE = timedelta(seconds=60)
_RECENT = timedelta(hours=24)
_MOST_RECENT_OBJECTS = 1000


def lines_between(s3: S3Client, bucket: str, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
    """Return the catalog lines of the images and videos finished in a span of time, the oldest first.

    Each image uploaded to a drop-off bucket comes once for each model that analyzed it. Each video, and each key of an
    existing bucket, comes with its line that was current at the end of the span, unless that tells of its deletion.
    """
    seen = set()
    subjects: dict[tuple[str, str], list[dict[str, Any]]] = {}
    end = catalog_key(until + _LONGEST_BATCH)
    for line in read_lines(s3, bucket, takewhile(lambda key: key <= end, keys_since(s3, bucket, since))):
        if not since <= finished_at(line) <= until:
            continue
        if "recorded_at" in line:
            _keep_newest(subjects.setdefault(subject_of(line), []), line)
        elif (told := identity(line)) not in seen:
            seen.add(told)
            yield line
    current = (current_of(s3, bucket, lines) for lines in subjects.values())
    yield from sorted((line for line in current if line), key=finished_at)


def finished_at(line: dict[str, Any]) -> datetime:
    """Return when an image was finished, or when its result was recorded in or deleted from an existing bucket."""
    return from_text(moment_of(line))


def _keep_newest(lines: list[dict[str, Any]], line: dict[str, Any]) -> None:
    """Keep the lines of a key that were recorded last, which may be several in one second."""
    if lines and order(line) < order(lines[0]):
        return
    if lines and order(line) > order(lines[0]):
        lines.clear()
    if line not in lines:  # a redelivery writes the same line again
        lines.append(line)


def current_of(s3: S3Client, bucket: str, lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Choose the current one of the lines of a key that were recorded in the same second; None where it is deleted.

    S3 tells times to the second, so the result as it stands decides.
    """
    alive = [line for line in lines if line["status"] != DELETED]
    if not alive or len(lines) == 1:
        return alive[0] if alive else None
    head = found(s3.head_object, Bucket=bucket, Key=alive[0]["result_key"])
    if head is None:
        return None
    said = head["Metadata"]

    def agrees(line: dict[str, Any]) -> bool:
        is_same = (said.get("fingerprint"), said.get("status")) == (line["fingerprint"], line["status"])
        return is_same and line["version_id"] in (None, said.get("upload"))

    return next((line for line in reversed(alive) if agrees(line)), alive[-1])


@dataclass(frozen=True, slots=True)
class Recent:
    """What was finished lately, as far as it is worth reading.

    Attributes
    ----------
    since
        The lines are all of those that were written from then on.
    lines
        The oldest first; a key of an existing bucket has only its current one.
    """

    since: datetime
    now: datetime
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def hours(self) -> float:
        """How long the span is."""
        return (self.now - self.since) / timedelta(hours=1)

    @property
    def images_per_hour(self) -> int:
        """Images in the last hour; where fewer minutes were read, as many as an hour would have at their rate."""
        begin = max(self.since, self.now - timedelta(hours=1))
        images = sum(finished_at(line) >= begin for line in self.lines)
        return round(images * timedelta(hours=1) / max(self.now - begin, timedelta(seconds=1)))

    @property
    def refused_percent(self) -> float | None:
        """Of the calls of the model, those that the service refused because there were too many; None without calls."""
        calls = sum(line.get("attempts") or 0 for line in self.lines)
        return 100 * sum(line.get("throttles") or 0 for line in self.lines) / calls if calls else None

    def of(self, media: str) -> Recent:
        """Return what is of images, or of videos."""
        return replace(self, lines=[line for line in self.lines if media_of(line) == media])

    def with_status(self, status: str) -> list[dict[str, Any]]:
        """Return the lines with a status."""
        return [line for line in self.lines if line["status"] == status]


def read_recent(s3: S3Client, bucket: str, now: datetime) -> Recent:
    """Read what was finished in the last 24 hours, or as much of the end of it as 1,000 catalog objects hold."""
    keys: list[str] = []
    since = now
    for hours in range(int(_RECENT / timedelta(hours=1))):
        end, since = since, now - timedelta(hours=hours + 1)
        keys = [*takewhile(catalog_key(end).__ge__, keys_since(s3, bucket, since)), *keys]
        if len(keys) > _MOST_RECENT_OBJECTS:
            keys = keys[-_MOST_RECENT_OBJECTS:]
            since = written_at(keys[0])
            break
    if not keys:
        return Recent(since, now)
    return Recent(since, now, list(lines_between(s3, bucket, since, now)))


def written_at(key: str) -> datetime:
    """Return when a catalog object was written, as its key says."""
    stamp = key.rpartition("/")[2].partition("-")[0]  # 20261120T080000.000Z, as `catalog_key` writes it
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)


class FinishedImages:
    """Counts the images that are finished since a time, again and again; each look reads what is new."""

    def __init__(self, s3: S3Client, bucket: str, since: datetime) -> None:
        self._s3, self._bucket = s3, bucket
        self._start = since
        self._keys: set[str] = set()
        self._uploads: set[tuple[str, str | None]] = set()

    def count(self, now: datetime) -> int:
        """Read the catalog objects written since the last look, and return the number of images until now."""
        new = [key for key in keys_since(self._s3, self._bucket, self._start) if key not in self._keys]
        for line in read_lines(self._s3, self._bucket, new):
            if line["status"] != DELETED and media_of(line) != VIDEO:
                self._uploads.add((line["key"], line["version_id"]))
        self._start = max(self._start, now - _LATE)
        self._keys.update(new)
        return len(self._uploads)
