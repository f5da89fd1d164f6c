"""Images that have no message: those of functions that died are given up, all others are put back on the queue."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.aws.queues import delete_messages, receive_messages, send_images
from batch_vision.aws.stuck import list_stuck, write_stuck
from batch_vision.aws.uploads import is_there
from batch_vision.aws.waiting import list_waiting_uploads
from batch_vision.core.errors import FunctionDiedError
from batch_vision.core.events import parse_message
from batch_vision.core.observability import logger
from batch_vision.core.settings import settings_of
from batch_vision.core.stuck import stuck_entry, stuck_key
from batch_vision.core.times import utc_now
from batch_vision.images.settings import RequeueImagesSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_MOST_DEAD_LETTERS = 1000
_HIDDEN_SECONDS = 300  # the timeout of the function

_DIED = (
    "The analyzing function ended without an answer at every delivery of the image's message, which is in the"
    " dead-letter queue since."
)
_REMEDY = (
    "Look into the log of analyze-images for what ended it, such as its memory or its timeout; mend that, then run"
    " batch-vision retry."
)


def requeue_images(event: Mapping[str, Any]) -> dict[str, Any]:
    """Write the images of dead letters to ``stuck/``, and put all others that wait back on the queue.

    Parameters
    ----------
    event
        ``queue_url``, ``dead_letter_queue_url`` and ``requeued_before``.

    Returns
    -------
    dict
        ``requeued_images`` of the run, ``given_up_images`` of this call, and ``is_done``: not done means that
        `RequeueImagesSettings.requeue_limit_images` was reached, and more may wait.
    """
    settings, s3, sqs = settings_of(RequeueImagesSettings), clients.s3(), clients.sqs()
    given_up = give_up_dead_letters(s3, sqs, event["dead_letter_queue_url"], settings, utc_now())
    sent = requeue(s3, sqs, event["queue_url"], settings)
    return {
        "requeued_images": event["requeued_before"] + sent,
        "given_up_images": given_up,
        "is_done": sent < settings.requeue_limit_images,
    }


def give_up_dead_letters(
    s3: S3Client, sqs: SQSClient, queue_url: str, settings: RequeueImagesSettings, now: datetime
) -> int:
    """Write a stuck entry for each image of a dead letter, delete the letters, and return how many images those are.

    Up to 1,000 letters are read. The analyzing function acknowledges what it can name a reason for, so these are of
    functions that died. A letter without an image that is still there is deleted too; one that cannot be read stays,
    for somebody to look at.
    """
    given_up: set[str] = set()
    for letters in receive_messages(sqs, queue_url, _MOST_DEAD_LETTERS, _HIDDEN_SECONDS):
        done = []
        for letter in letters:
            images, problems = parse_message(letter["Body"], settings.source_bucket_name)
            for image in images:
                if image.version_id and is_there(s3, image):
                    key = stuck_key(image.key, image.version_id)
                    entry = stuck_entry(image, FunctionDiedError(_DIED), _REMEDY, now)
                    write_stuck(s3, settings.final_bucket_name, key, entry)
                    given_up.add(key)
            if problems:
                logger.warning("dead letter not read", extra={"problems": problems})
            else:
                done.append(letter)
        delete_messages(sqs, queue_url, done)
    return len(given_up)


def requeue(s3: S3Client, sqs: SQSClient, queue_url: str, settings: RequeueImagesSettings) -> int:
    """Send a message for each image that waits, and return how many were sent.

    It sends up to `RequeueImagesSettings.requeue_limit_images`. An image that has a message already gets another one,
    which does no harm.
    """
    stuck = list_stuck(s3, settings.final_bucket_name)
    uploads = list_waiting_uploads(s3, settings, stuck)
    return send_images(sqs, queue_url, islice(uploads, settings.requeue_limit_images))
