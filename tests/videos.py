"""The promises of videos, looked at from outside with clients of S3 and what the emulator counts.

When all is quiet, each version has ended once, each current object has one result of that very object, no job ran twice
for an attempt of a record, and the minutes that the service bills are those of distinct attempts, on no day more than
the settings allow.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from batch_vision.aws.objects import found
from batch_vision.core.catalog import VIDEO
from batch_vision.core.scope import Scope, why_out_of_scope
from batch_vision.core.videos import JOBS, record_key
from tests.existing_bucket import listed, wrong_lines

ENDS = {"done", "rejected", "failed", "dropped"}


def records(s3: Any, final_bucket: str) -> list[dict[str, Any]]:
    """Return every record of a job."""
    keys = (record_key(record_id) for record_id in record_ids(s3, final_bucket))
    return [record for key in keys if (record := read(s3, final_bucket, key))]


def record_ids(s3: Any, final_bucket: str) -> list[str]:
    """Return the ids of all records."""
    keys = (entry["Key"] for entry in listed(s3, final_bucket, JOBS))
    return [key.split("/")[-2] for key in keys if key.endswith("/record.json")]


def results(s3: Any, final_bucket: str) -> dict[str, dict[str, Any]]:
    """Return the result of each video, by its key."""
    told = {}
    for prefix in ("videos/results/", "videos/results-long/"):
        for entry in listed(s3, final_bucket, prefix):
            if result := read(s3, final_bucket, entry["Key"]):
                told[result["source"]["key"]] = result
    return told


def open_work(s3: Any, final_bucket: str) -> list[str]:
    """Return the markers of what has not ended."""
    return [entry["Key"] for entry in listed(s3, final_bucket, "videos/open/")]


def broken_promises(
    s3: Any,
    bucket: str,
    final_bucket: str,
    jobs: list[dict[str, Any]],
    scope: Scope,
    *,
    moves: bool,
    max_minutes_per_day: int,
    midnights: Sequence[datetime] = (),
) -> list[str]:
    """Return a sentence for each thing that is not as it must be.

    Parameters
    ----------
    jobs
        Those of the emulator, also of other applications.
    moves
        Whether videos leave the bucket when they are done.
    max_minutes_per_day
        What the settings allow.
    midnights
        When a test let a day end, beside those of UTC.
    """
    told, all_records = results(s3, final_bucket), records(s3, final_bucket)
    problems = [f"{marker} is left" for marker in open_work(s3, final_bucket)]
    problems += [
        f"{record['record_id']} of {record['key']!r} is {record['state']}"
        for record in all_records
        if record["state"] not in ENDS
    ]
    return [
        *problems,
        *_wrong_results(s3, bucket, final_bucket, told, scope, moves=moves),
        *_wrong_jobs(jobs, all_records),
        *_wrong_days(jobs, max_minutes_per_day, midnights),
        *wrong_lines(s3, final_bucket, told, VIDEO),
    ]


def _wrong_results(
    s3: Any, bucket: str, final_bucket: str, told: dict[str, dict[str, Any]], scope: Scope, *, moves: bool
) -> list[str]:
    current = {
        entry["Key"]: head
        for entry in listed(s3, bucket, "")
        if not why_out_of_scope(entry["Key"], entry["Size"], scope)
        # One that left since it was listed: whoever waits asks again.
        and (head := found(s3.head_object, Bucket=bucket, Key=entry["Key"]))
    }
    problems = []
    for key, head in current.items():
        if key not in told:
            problems.append(f"{key!r} has no result")
        elif moves and told[key]["status"] != "failed" and _is_of(told[key], head):
            problems.append(f"{key!r} is {told[key]['status']}, and is still in its bucket")
        elif not _is_of(told[key], head):
            problems.append(f"the result of {key!r} is of {told[key]['source']}, and another object is there")
    for key, result in told.items():
        if moves and result["status"] != "failed":
            place = result["video_key"]
            if not place.startswith((f"videos/{result['status']}/", f"videos/{result['status']}-long/")):
                problems.append(f"{key!r} is {result['status']}, and is at {place!r}")
            moved = found(s3.head_object, Bucket=final_bucket, Key=place)
            if moved is None or moved["ContentLength"] != result["source"]["size_bytes"]:
                problems.append(f"{place!r} is not what was uploaded as {key!r}")
        elif key not in current:
            problems.append(f"{key!r} has a result and is not there")
    return problems


def _wrong_jobs(jobs: list[dict[str, Any]], all_records: list[dict[str, Any]]) -> list[str]:
    by_id = {record["record_id"]: record for record in all_records}
    problems = [f"the job of {job['tag']} ran {job['runs']} times" for job in jobs if job["runs"] != 1]
    tags = Counter(job["tag"] for job in jobs)
    problems += [f"{count} jobs have the tag {tag}" for tag, count in tags.items() if count > 1]
    for tag in tags:
        record_id, _, attempt = tag.rpartition("-")
        # A record goes with the files of its job when another upload took its video's place.
        most = by_id[record_id]["attempt"] if record_id in by_id else 2
        if not 1 <= int(attempt) <= min(2, most):
            problems.append(f"a job has the tag {tag}, and its record is at attempt {most}")
    return problems


def _wrong_days(jobs: list[dict[str, Any]], max_minutes_per_day: int, midnights: Sequence[datetime]) -> list[str]:
    minutes: Counter[tuple[str, int]] = Counter()
    for job in jobs:
        at = datetime.fromisoformat(job["started_at"])
        minutes[f"{at:%Y-%m-%d}", sum(midnight <= at for midnight in midnights)] += job["minutes"]
    return [
        f"{used} minutes were started on {day}, and {max_minutes_per_day} are allowed"
        for (day, _), used in minutes.items()
        if used > max_minutes_per_day
    ]


def _is_of(result: dict[str, Any], head: Any) -> bool:
    source = result["source"]
    version_id = head.get("VersionId", "null")
    return (source["version_id"] or "null", source["etag"], source["size_bytes"]) == (
        version_id,
        head["ETag"].strip('"'),
        head["ContentLength"],
    )


def read(s3: Any, bucket: str, key: str) -> Any:
    """Return the content of a JSON object; None where it is gone since it was listed."""
    answer = found(s3.get_object, Bucket=bucket, Key=key)
    return json.loads(answer["Body"].read()) if answer else None
