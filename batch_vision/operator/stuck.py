"""Images that were given up until somebody looks: why, and another try for them.

Each has an entry in the final bucket (`batch_vision.core.stuck`). A retry deletes the entry and sends the image's
message: in this order, for the analyzing function leaves alone what has an entry. Interrupted in between, the image
waits without a message, as one does whose event was lost, and the next run puts it back on the queue.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import found, list_entries
from batch_vision.aws.parallel import in_parallel
from batch_vision.aws.uploads import is_there
from batch_vision.core.events import SourceImage, message_for
from batch_vision.core.stuck import PREFIX, stuck_key
from batch_vision.core.times import from_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch_vision.operator.stack import Stack

_PARALLEL = 16
_MOST_READ = 500  # to tell the causes


@dataclass(frozen=True, slots=True)
class Cause:
    """Why images were given up, and what to do before they are tried again."""

    type: str
    images: int
    remedy: str


@dataclass(frozen=True, slots=True)
class _Entry:
    image: SourceImage
    error_type: str
    remedy: str


def causes(stack: Stack) -> list[Cause]:
    """Read why images were given up, of the first 500, the commonest cause first."""
    keys = islice(_keys(stack), _MOST_READ)
    entries = [entry for _, entry in in_parallel(lambda key: _read(stack, key), keys, _PARALLEL) if entry]
    counts = Counter((entry.error_type, entry.remedy) for entry in entries)
    return [Cause(error_type, number, remedy) for (error_type, remedy), number in counts.most_common()]


@dataclass
class Unstuck:
    """What became of the images that were given up.

    Attributes
    ----------
    retried
        Images whose message is on the queue.
    dropped
        Images that are no longer in the source bucket: their entries are deleted.
    foreign
        Keys under ``stuck/`` that are no entries of this stack, and were left.
    """

    retried: int = 0
    dropped: int = 0
    foreign: list[str] = field(default_factory=list)


def retry_stuck(stack: Stack, progress: Callable[[int, int], None]) -> Unstuck:
    """Send the messages of the images that were given up.

    Parameters
    ----------
    progress
        Told how many are done, of how many seen so far.
    """
    answer = Unstuck()
    outcomes = in_parallel(lambda key: _retry(stack, key), _keys(stack), _PARALLEL)
    for done, (key, outcome) in enumerate(outcomes, 1):
        answer.retried += outcome == "retried"
        answer.dropped += outcome == "dropped"
        if outcome == "foreign":
            answer.foreign.append(key)
        progress(done, done)
    return answer


def _keys(stack: Stack) -> Iterator[str]:
    return (entry["Key"] for entry in list_entries(stack.s3, stack.final_bucket_name, PREFIX))


def _retry(stack: Stack, key: str) -> str:
    entry = _read(stack, key)
    if entry is None:
        return "foreign"
    is_kept = is_there(stack.s3, entry.image)
    stack.s3.delete_object(Bucket=stack.final_bucket_name, Key=key)
    if not is_kept:
        return "dropped"
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=message_for([entry.image]))
    return "retried"


def _read(stack: Stack, key: str) -> _Entry | None:
    """Read an entry; None where the object is none that this stack wrote in this place, or is gone."""
    answer = found(stack.s3.get_object, Bucket=stack.final_bucket_name, Key=key)
    if answer is None:
        return None
    try:
        read: Any = json.loads(answer["Body"].read())
        source = read["source"]
        image = SourceImage(
            bucket=source["bucket"],
            key=source["key"],
            version_id=source["version_id"],
            etag=str(source["etag"]),
            size_bytes=int(source["size_bytes"]),
            uploaded_at=from_text(source["uploaded_at"]),
        )
        is_ours = image.bucket == stack.source_bucket_name and stuck_key(image.key, image.version_id or "") == key
        entry = _Entry(image, str(read["error"]["type"]), str(read["remedy"]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return entry if is_ours else None
