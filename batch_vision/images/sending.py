"""Chunks that have no message get one; those that functions died of are taken apart, down to the image that did it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.aws.chunks import delete_chunk, list_chunks, read_chunk, set_aside_chunk, write_chunk
from batch_vision.aws.queues import delete_messages, receive_messages, send_messages
from batch_vision.core.chunks import ChunkMessage, split, to_send
from batch_vision.core.observability import logger
from batch_vision.core.settings import settings_of
from batch_vision.core.times import to_text, utc_now
from batch_vision.images.settings import SendChunksSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
    given_up = take_dead_letters(s3, sqs, event["dead_letter_queue_url"], bucket, give_up)
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


def give_up(key: str) -> None:
    """Give an image up."""
    raise NotImplementedError(key)


def take_dead_letters(s3: S3Client, sqs: SQSClient, queue_url: str, bucket: str, give_up: Callable[[str], None]) -> int:
    """Deal with the chunks of dead letters, delete the letters, and return how many images were given up.

    The analyzing function settles what it can name a reason for, so these are of functions that died. A chunk of many
    keys becomes one for each, and the image of one that dies alone is given up: so one image holds up no other, and
    costs no more than two rows of deliveries. A letter that cannot be read stays, for somebody to look at.
    """
    given_up = split_keys = 0
    for letters in receive_messages(sqs, queue_url, _MOST_DEAD_LETTERS, _HIDDEN_SECONDS):
        done = []
        for letter in letters:
            try:
                message = ChunkMessage.from_body(letter["Body"])
            except ValueError as error:
                logger.warning("dead letter not read", extra={"problems": [str(error)]})
                continue
            images = _take_dead_chunk(s3, bucket, message.chunk, give_up)
            given_up += images == 1
            split_keys += images
            done.append(letter)
        delete_messages(sqs, queue_url, done)
        if split_keys >= _MOST_SPLIT_KEYS:
            break
    return given_up


def _take_dead_chunk(s3: S3Client, bucket: str, key: str, give_up: Callable[[str], None]) -> int:
    """Take a chunk apart, or give its only image up; return how many keys it had, 0 where it is gone."""
    try:
        found = read_chunk(s3, bucket, key)
    except ValueError as error:
        logger.exception("chunk not read", extra={"chunk": key, "error": repr(error)})
        set_aside_chunk(s3, bucket, key)
        return 0
    if found is None:
        return 0
    chunk, version_id = found
    if len(chunk.keys) == 1:
        give_up(chunk.keys[0])
    else:
        with ThreadPoolExecutor(clients.MAX_CONNECTIONS) as pool:
            # One that is there already is of a call before this one that died.
            list(pool.map(lambda single: write_chunk(s3, bucket, *single), split(key, chunk).items()))
    delete_chunk(s3, bucket, key, version_id)
    return len(chunk.keys)
