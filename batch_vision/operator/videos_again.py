"""Videos that are to be analyzed again: those that failed or were rejected, or whose settings were other ones.

What a video is to have is its plan. A video that is still in its bucket gets a new one by a mark on the plan that there
is and a message that makes the key be looked at: in this order, for who looks leaves a key alone that has a result of
the very upload. Interrupted in between, the next call finds it as it was and sends the message. A rejected video of a
drop-off bucket has left it: it goes back, as a new upload.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import found, list_entries, put_if
from batch_vision.aws.parallel import in_parallel
from batch_vision.core.events import message_about
from batch_vision.core.times import utc_now
from batch_vision.core.videos import WAITING, Plan, Record, State, marked_record, plan_key, record_key
from batch_vision.operator.objects import read_known, read_result
from batch_vision.operator.rejected import RETRY_MARK, copy_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batch_vision.operator.stack import Stack, Videos

_PARALLEL = 16
_MOST_WAITING = 10_000  # that are looked at in one call


@dataclass
class Again:
    """What became of the videos.

    Attributes
    ----------
    retried
        Videos that are to be analyzed again.
    changed
        Keys of videos that were left: analyzed again, replaced or deleted since.
    """

    retried: int
    changed: list[str]


def retry_videos(
    stack: Stack, videos: Videos, lines: Iterable[dict[str, Any]], progress: Callable[[int, int], None]
) -> Again:
    """Have the videos of catalog lines analyzed again.

    Parameters
    ----------
    lines
        The current lines of videos that failed or were rejected.
    progress
        Told how many are done, of how many.
    """
    wanted, answer = list(lines), Again(0, [])
    outcomes = in_parallel(lambda line: _retry(stack, videos, line), wanted, _PARALLEL)
    for done, (line, is_retried) in enumerate(outcomes, start=1):
        answer.retried += is_retried
        if not is_retried:
            answer.changed.append(line["key"])
        progress(done, len(wanted))
    return answer


def retry_refused(stack: Stack, videos: Videos) -> int:
    """Have videos begun anew whose jobs wait because Rekognition refuses to start them, and return how many.

    A job is started with the settings of its upload, such as the role that Rekognition takes: where that is gone, all
    starts are refused for ever. Nothing was paid for a job that waits.
    """
    markers = islice(list_entries(stack.s3, stack.final_bucket_name, WAITING), _MOST_WAITING)
    ids = [marked_record(entry["Key"]) for entry in markers]
    records = (record for _, record in in_parallel(lambda one: _read_refused(stack, one), ids, _PARALLEL) if record)
    wanted = {record.key: record for record in records if record.bucket == videos.bucket_name}
    begun = in_parallel(lambda record: _begin_anew(stack, videos, record), wanted.values(), _PARALLEL)
    return sum(is_begun for _, is_begun in begun)


def _read_refused(stack: Stack, record_id: str) -> Record | None:
    read = read_known(stack.s3, stack.final_bucket_name, record_key(record_id), Record.from_json)
    return read[0] if read and read[0].state is State.WAITING and read[0].refusals else None


def _begin_anew(stack: Stack, videos: Videos, record: Record) -> bool:
    read = read_plan(stack, videos, record.key)
    if read is None or read[0].ended_at or record.record_id not in read[0].record_ids:
        return False
    if not _mark(stack, videos, *read):
        return False
    send_look(stack, videos, record.key)
    return True


def _retry(stack: Stack, videos: Videos, line: dict[str, Any]) -> bool:
    read = read_result(stack.s3, stack.final_bucket_name, line["result_key"])
    if read is None or read[0].get("fingerprint") != line["fingerprint"]:
        return False
    result, _ = read
    if result.get("video_key"):
        return _take_back(stack, videos, result)
    if not request_again(stack, videos, line["key"], line["fingerprint"]):
        return False
    send_look(stack, videos, line["key"])
    return True


def read_plan(stack: Stack, videos: Videos, key: str) -> tuple[Plan, str] | None:
    """Read the plan of a key and its ETag; None where there is none that this tool can read."""
    return read_known(stack.s3, stack.final_bucket_name, plan_key(videos.bucket_name, key), Plan.from_json)


def request_again(stack: Stack, videos: Videos, key: str, fingerprint: str) -> bool:
    """Mark the plan of a key, so that whoever looks at the key makes a new one; False where it is another one by now.

    Parameters
    ----------
    fingerprint
        Of the plan that was seen, and of the result that it had.
    """
    read = read_plan(stack, videos, key)
    if read is None or read[0].fingerprint != fingerprint or not read[0].ended_at:
        return False
    return _mark(stack, videos, *read)


def _mark(stack: Stack, videos: Videos, plan: Plan, etag: str) -> bool:
    if plan.retry_requested:  # by a call that was interrupted before it sent the message
        return True
    body = json.dumps(replace(plan, retry_requested=utc_now()).to_json()).encode()
    place = {"Bucket": stack.final_bucket_name, "Key": plan_key(videos.bucket_name, plan.key)}
    return bool(put_if(stack.s3, **place, Body=body, ContentType="application/json", IfMatch=etag))


def send_look(stack: Stack, videos: Videos, key: str) -> None:
    """Send the message that makes a key be looked at."""
    stack.sqs.send_message(QueueUrl=videos.queue_url, MessageBody=message_about(videos.bucket_name, key))


def _take_back(stack: Stack, videos: Videos, result: dict[str, Any]) -> bool:
    """Copy a video back to the drop-off bucket, and then delete it where it was."""
    s3, source, video_key = stack.s3, result["source"], result["video_key"]
    moved = found(s3.head_object, Bucket=stack.final_bucket_name, Key=video_key)
    there = found(s3.head_object, Bucket=videos.bucket_name, Key=source["key"])
    is_copied = there is not None and there["Metadata"].get(RETRY_MARK) == source["version_id"]
    if moved is None or (there is not None and not is_copied):
        return False
    back = {"stack": stack, "moved": moved, "moved_key": video_key, "bucket": videos.bucket_name}
    if not is_copied and found(copy_back, **back, source=source) is None:
        return False
    s3.delete_object(Bucket=stack.final_bucket_name, Key=video_key, VersionId=moved["VersionId"])
    return True
