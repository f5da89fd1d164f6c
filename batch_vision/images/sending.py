"""Chunks that have no message get one; those that functions died of are taken apart, down to the image that did it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit

from batch_vision.aws import clients
from batch_vision.aws.chunks import list_chunks
from batch_vision.aws.queues import delete_messages, receive_messages, send_messages
from batch_vision.core.chunks import ChunkMessage, to_send
from batch_vision.core.observability import logger, metrics
from batch_vision.core.settings import settings_of
from batch_vision.core.times import to_text, utc_now
from batch_vision.images.keys import Keys, unasked_detectors
from batch_vision.images.settings import SendChunksSettings
from batch_vision.images.taking_apart import take_apart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# Of 1,000 keys each: more than the model does in a run, and what fits into the memory and the time of the function.
_MOST_SENT = 1000
_MOST_LISTED = 50_000
# A dead letter may name a chunk of 1,000 keys, each of which becomes an object.
_MOST_SPLIT_KEYS = 10_000
_MOST_DEAD_LETTERS = 1000
_HIDDEN_SECONDS = 300  # the timeout of the function


def send_chunks(event: Mapping[str, Any]) -> dict[str, Any]:
    """Take dead letters apart, and send a message for each chunk that waits, the oldest first.

    Up to 1,000 messages are sent in one call. Where each chunk had one in this run already, they are lost, and sent
    again: a second message does no harm.

    Parameters
    ----------
    event
        ``run``, ``queue_url``, ``dead_letter_queue_url`` and ``requeue``, what the call before answered.

    Returns
    -------
    dict
        ``requeued_images`` of the run (those whose messages were lost), ``given_up_images`` of this call, ``is_done``
        (not done means that more wait than were sent), ``sent_until`` and ``sent_at`` for `core.chunks.is_to_send`.
    """
    settings, s3, sqs = settings_of(SendChunksSettings), clients.s3(), clients.sqs()
    bucket, before = settings.final_bucket_name, event["requeue"]
    given_up = DeadLetters(s3, sqs, event["dead_letter_queue_url"], settings).take()
    metrics.add_metric("ImagesFailed", MetricUnit.Count, given_up)
    waiting = list(islice(list_chunks(s3, bucket), _MOST_LISTED))
    sent_until = before.get("sent_until", "")
    chunks = to_send(waiting, sent_until, _MOST_SENT)
    run_id = event["run"]["id"]
    send_messages(sqs, event["queue_url"], (ChunkMessage(chunk.key, run_id).body() for chunk in chunks))
    lost = sum(chunk.images for chunk in chunks if chunk.place <= sent_until)
    sent_until = chunks[-1].place if chunks else sent_until
    return {
        "requeued_images": before["requeued_images"] + lost,
        "given_up_images": given_up,
        "is_done": all(chunk.place <= sent_until for chunk in waiting),
        "sent_until": sent_until,
        "sent_at": to_text(utc_now()),
    }


class DeadLetters:
    """The messages of chunks of which functions died.

    The analyzing function settles what it can name a reason for. A chunk of many keys becomes one for each, and the
    image of one that was left alone is given up: so none holds up another, and each costs no more than two rows of
    deliveries.
    """

    def __init__(self, s3: S3Client, sqs: SQSClient, queue_url: str, settings: SendChunksSettings) -> None:
        self._s3 = s3
        self._sqs = sqs
        self._queue_url = queue_url
        self._bucket = settings.final_bucket_name
        self._keys = Keys(settings, s3, unasked_detectors(settings.model))

    def take(self) -> int:
        """Deal with up to 1,000 letters, and return how many images were given up.

        A letter that cannot be read stays, for somebody to look at; one that cannot be dealt with now comes again.
        """
        given_up = keys = 0
        for letters in receive_messages(self._sqs, self._queue_url, _MOST_DEAD_LETTERS, _HIDDEN_SECONDS):
            done = []
            for letter in letters:
                try:
                    taken = take_apart(self._s3, self._bucket, self._keys, ChunkMessage.from_body(letter["Body"]).chunk)
                except ValueError as error:
                    logger.warning("dead letter not read", extra={"problems": [str(error)]})
                except Exception:
                    logger.exception("dead letter left for later", extra={"body": letter["Body"][:2000]})
                else:
                    given_up += taken == 1
                    keys += taken
                    done.append(letter)
            delete_messages(self._sqs, self._queue_url, done)
            if keys >= _MOST_SPLIT_KEYS:
                break
        return given_up
