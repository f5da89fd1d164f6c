"""Messages of a queue."""

from __future__ import annotations

from itertools import batched
from typing import TYPE_CHECKING

from batch_vision.core.errors import ServiceUnavailableError
from batch_vision.core.events import message_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from batch_vision.core.events import SourceImage

_MOST_AT_ONCE = 10  # what SendMessageBatch, ReceiveMessage and DeleteMessageBatch take
_COUNTS = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


def count_messages(sqs: SQSClient, queue_url: str) -> dict[str, int]:
    """Count the ``visible``, ``in_flight`` and ``delayed`` messages of a queue.

    The counts are approximate for a minute or more (SQS API reference, GetQueueAttributes).
    """
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=list(_COUNTS.values()))  # type: ignore[arg-type]
    attributes: dict[str, str] = dict(answer["Attributes"])  # type: ignore[arg-type]
    return {name: int(attributes[attribute]) for name, attribute in _COUNTS.items()}


def send_images(sqs: SQSClient, queue_url: str, images: Iterable[SourceImage]) -> int:
    """Send one message for each image and return how many were sent; raises as `send_messages`."""
    return send_messages(sqs, queue_url, (message_for([image]) for image in images))


def send_messages(sqs: SQSClient, queue_url: str, bodies: Iterable[str]) -> int:
    """Send messages and return how many were sent.

    Raises
    ------
    ServiceUnavailableError
        The queue did not take a message. Those sent before stay: a second message for the same work does no harm.
    """
    sent = 0
    for group in batched(bodies, _MOST_AT_ONCE, strict=False):
        entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(group)]
        answer = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)  # type: ignore[arg-type]
        if failed := answer.get("Failed"):
            raise ServiceUnavailableError(f"Queue {queue_url} did not take {len(failed)} messages: {failed[0]}")
        sent += len(group)
    return sent


def receive_messages(sqs: SQSClient, queue_url: str, most: int, hidden_seconds: int) -> Iterator[list[MessageTypeDef]]:
    """Receive up to so many messages of a queue, in batches.

    Parameters
    ----------
    hidden_seconds
        For how long a message that is received is hidden from the next receive: longer than the work on all of them.
    """
    received = 0
    while received < most:
        answer = sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=min(_MOST_AT_ONCE, most - received),
            VisibilityTimeout=hidden_seconds,
            WaitTimeSeconds=1,  # long polling asks all servers of the queue
        )
        if not (messages := answer.get("Messages")):
            return
        received += len(messages)
        yield messages


def delete_messages(sqs: SQSClient, queue_url: str, messages: Sequence[MessageTypeDef]) -> None:
    """Delete up to ten messages that were received; one that is not deleted comes again, which does no harm."""
    entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(messages)]
    if entries:
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)  # type: ignore[arg-type]
