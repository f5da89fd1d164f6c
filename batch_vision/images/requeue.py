"""Images that have no message: those of functions that died are given up, all others are put back on the queue."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit

from batch_vision.aws import clients
from batch_vision.aws.queues import count_messages, delete_messages, receive_messages, send_images
from batch_vision.aws.stuck import list_stuck, write_stuck
from batch_vision.aws.uploads import is_there
from batch_vision.aws.waiting import list_waiting_uploads
from batch_vision.core.errors import FunctionDiedError
from batch_vision.core.events import parse_message
from batch_vision.core.observability import logger, metrics
from batch_vision.core.settings import settings_of
from batch_vision.core.stuck import stuck_entry, stuck_key
from batch_vision.core.times import utc_now
from batch_vision.images.settings import RequeueImagesSettings, RequeueOverdueSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_MOST_DEAD_LETTERS = 1000
_HIDDEN_SECONDS = 300  # the timeout of the function
_LEFT_SECONDS = 20  # for what is read and sent at once, however often botocore repeats it

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


def requeue_overdue(remaining_seconds: Callable[[], float]) -> dict[str, Any]:
    """Give up the images of dead letters, and put those that have waited for too long back on the queue.

    This is what a run does for a model that must be started; a managed model has no runs. While the queue holds
    messages, nearly every image that waits has its own, and `RequeueImagesSettings.requeue_limit_images` are put back
    at most. Otherwise as many are as there is time for; the next call goes on.

    Parameters
    ----------
    remaining_seconds
        Tells how much time the function has left.

    Returns
    -------
    dict
        ``requeued_images`` and ``given_up_images``.
    """
    settings, s3, sqs = settings_of(RequeueOverdueSettings), clients.s3(), clients.sqs()
    now = utc_now()
    given_up = give_up_dead_letters(s3, sqs, settings.dead_letter_queue_url, settings, now)
    until = now - timedelta(seconds=settings.requeue_after_seconds)
    stuck = list_stuck(s3, settings.final_bucket_name)
    waiting = takewhile(lambda _: remaining_seconds() > _LEFT_SECONDS, list_waiting_uploads(s3, settings, stuck))
    overdue = (image for image in waiting if image.uploaded_at <= until)
    is_queue_empty = not any(count_messages(sqs, settings.queue_url).values())
    most = None if is_queue_empty else settings.requeue_limit_images
    sent = send_images(sqs, settings.queue_url, islice(overdue, most))
    metrics.add_metric("ImagesRequeued", MetricUnit.Count, sent)
    metrics.add_metric("ImagesStuck", MetricUnit.Count, given_up)
    return {"requeued_images": sent, "given_up_images": given_up}


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
