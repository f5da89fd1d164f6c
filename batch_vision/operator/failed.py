"""Images of an existing bucket that failed, or were rejected: another try for them.

A retry deletes the result and sends the message that makes the key be looked at: in this order, for who looks leaves
alone what has a result of the very upload. Interrupted in between, the key has no result and no message; the next
retry, which finds its line in the catalog, sends the message then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.aws.chunks import delete_chunk, read_chunk, set_aside_chunk
from batch_vision.aws.objects import found
from batch_vision.aws.parallel import in_parallel
from batch_vision.aws.queues import send_messages
from batch_vision.core.events import message_about
from batch_vision.operator.backlog import left_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batch_vision.operator.stack import Stack

_PARALLEL = 16


@dataclass
class Sent:
    """What became of the images.

    Attributes
    ----------
    retried
        Images whose message is on the queue.
    changed
        Images whose result is another one by now: they were analyzed, or retried, since.
    """

    retried: int = 0
    changed: int = 0


def retry_lines(stack: Stack, lines: Iterable[dict[str, Any]], progress: Callable[[int, int], None]) -> Sent:
    """Delete the results of catalog lines and send messages about their keys.

    Parameters
    ----------
    lines
        The current lines of keys of an existing bucket.
    progress
        Told how many are done, of how many.
    """
    answer, wanted = Sent(), list(lines)
    outcomes = in_parallel(lambda line: _retry(stack, line), wanted, _PARALLEL)
    for done, (_, is_sent) in enumerate(outcomes, start=1):
        answer.retried += is_sent
        answer.changed += not is_sent
        progress(done, len(wanted))
    return answer


def send_left_chunks(stack: Stack, progress: Callable[[int, int], None]) -> int:
    """Turn what waits for a hosted model that there is no more into messages, and return how many images that is.

    A chunk is deleted, in the version that was read, when all its messages are sent.
    """
    images, chunks = 0, list(left_chunks(stack))
    for done, key in enumerate(chunks, start=1):
        try:
            found_chunk = read_chunk(stack.s3, stack.final_bucket_name, key)
        except ValueError:
            set_aside_chunk(stack.s3, stack.final_bucket_name, key)  # as the function that works off chunks does
            found_chunk = None
        if found_chunk:
            chunk, version_id = found_chunk
            bodies = (message_about(stack.images_bucket_name, each) for each in chunk.keys)
            send_messages(stack.sqs, stack.look_queue_url, bodies)
            delete_chunk(stack.s3, stack.final_bucket_name, key, version_id)
            images += len(chunk.keys)
        progress(done, len(chunks))
    return images


def _retry(stack: Stack, line: dict[str, Any]) -> bool:
    place = {"Bucket": stack.final_bucket_name, "Key": line["result_key"]}
    if head := found(stack.s3.head_object, **place):
        if head["Metadata"].get("status") != line["status"]:
            return False
        stack.s3.delete_object(**place)
    stack.sqs.send_message(
        QueueUrl=stack.look_queue_url, MessageBody=message_about(stack.images_bucket_name, line["key"])
    )
    return True
