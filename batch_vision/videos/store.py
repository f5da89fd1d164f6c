"""Plans, records, markers and reservations in the final bucket, written under the condition that they are as seen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from batch_vision.aws.objects import found, list_entries, put_if
from batch_vision.aws.parallel import in_parallel
from batch_vision.core.video_reservations import Reservations
from batch_vision.core.videos import (
    JOBS,
    OPEN,
    RESERVATIONS,
    Plan,
    Record,
    answer_files,
    marked_record,
    plan_key,
    record_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from mypy_boto3_s3 import S3Client


class Held[T](NamedTuple):
    """What was read, and the ETag that it was read with; an empty one where there was nothing."""

    content: T
    etag: str


class Marker(NamedTuple):
    """A marker, as it is listed."""

    key: str
    record_id: str
    written_at: datetime


class VideoStore:
    """The videos' part of the final bucket."""

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def plan(self, bucket: str, key: str) -> Held[Plan]:
        """Return the plan of a key; one of generation 0 where there was none yet."""
        content, etag = self._read(plan_key(bucket, key))
        return Held(Plan.from_json(content) if content else Plan(bucket, key), etag)

    def write_plan(self, plan: Plan, etag: str) -> str:
        """Write a plan in place of the one that was read with an ETag; return its own, empty where that has changed."""
        return self._write(plan_key(plan.bucket, plan.key), plan.to_json(), etag)

    def record(self, record_id: str) -> Held[Record] | None:
        """Return a record; None where there is none."""
        content, etag = self._read(record_key(record_id))
        return Held(Record.from_json(content), etag) if content else None

    def records(self, record_ids: Iterable[str]) -> list[Held[Record] | None]:
        """Return records side by side, in the order of their ids; None where there is none."""
        return [held for _, held in in_parallel(self.record, record_ids)]

    def write_record(self, record: Record, etag: str) -> Held[Record] | None:
        """Write a record in place of the one that was read with an ETag; None where that is another one now.

        Parameters
        ----------
        etag
            Empty for one that is not to be there yet.
        """
        written = self._write(record_key(record.record_id), record.to_json(), etag)
        return Held(record, written) if written else None

    def reservations(self) -> Held[Reservations]:
        """Return what is reserved."""
        content, etag = self._read(RESERVATIONS)
        return Held(Reservations.from_json(content) if content else Reservations(), etag)

    def write_reservations(self, reservations: Reservations, etag: str) -> bool:
        """Write what is reserved in place of what was read with an ETag; False where that is another one now."""
        return bool(self._write(RESERVATIONS, reservations.to_json(), etag))

    def put_marker(self, key: str) -> None:
        """Write a marker; one that is there stays."""
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=b"")

    def delete(self, keys: Iterable[str]) -> None:
        """Delete markers, in their order; those that are not there do no harm."""
        for key in keys:
            self._s3.delete_object(Bucket=self._bucket, Key=key)

    def markers(self, prefix: str = OPEN) -> Iterator[Marker]:
        """List markers, as far as somebody reads: the active ones, then each kind of the others, longest due first."""
        for entry in list_entries(self._s3, self._bucket, prefix):
            yield Marker(entry["Key"], marked_record(entry["Key"]), entry["LastModified"])

    def answers(self, record: Record) -> dict[str, Any] | None:
        """Return the file of a job that has the segments; None where it is gone."""
        content: dict[str, Any] | None = self._read(answer_files(record.record_id, record.analysis)["segments"])[0]
        return content

    def delete_job(self, record_id: str) -> None:
        """Delete a record and all files of its job, the record last."""
        keys = [entry["Key"] for entry in list_entries(self._s3, self._bucket, f"{JOBS}{record_id}/")]
        keys.sort(key=lambda key: key == record_key(record_id))
        self.delete(keys)

    def _read(self, key: str) -> tuple[Any, str]:
        answer = found(self._s3.get_object, Bucket=self._bucket, Key=key)
        return (json.loads(answer["Body"].read()), answer["ETag"]) if answer else (None, "")

    def _write(self, key: str, content: dict[str, Any], etag: str) -> str:
        return put_if(
            self._s3,
            Bucket=self._bucket,
            Key=key,
            Body=json.dumps(content, ensure_ascii=False, indent=1).encode(),
            ContentType="application/json",
            **({"IfMatch": etag} if etag else {"IfNoneMatch": "*"}),
        )
