"""Dead letters go back to the queue, from which the next run takes them.

Each message is sent before it is deleted, so that nothing is lost when this is interrupted: at worst a message is on
both queues, and a second message for an image does no harm. SQS has a redrive of its own; it can't tell a message
whose image is gone, and such a message would only wait on the queue.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from batch_vision.aws.queues import count_messages
from batch_vision.aws.uploads import is_there
from batch_vision.core.events import message_about, parse_change, parse_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from batch_vision.operator.stack import Stack

_PARALLEL = 8
_MESSAGES_PER_REQUEST = 10
# A long poll asks every server of a queue, so an empty answer means an empty queue.
_WAIT_SECONDS = 2
# Counts settle after a minute, and a message that an interrupted redrive had taken shows again after half of one.
_SETTLE_SECONDS = 65
_PAUSE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of the dead letters.

    Attributes
    ----------
    moved
        Messages that are on the queue again.
    dropped
        Messages whose image is no longer in the source bucket: there is nothing to analyze.
    failed_again
        Messages that were moved and came back meanwhile, because a run is under way and what made them fail is not
        mended.
    left
        Messages that are in the dead-letter queue now, as far as SQS can tell.
    """

    moved: int
    dropped: int
    failed_again: int
    left: int

    @property
    def is_good(self) -> bool:
        """Whether no dead letter is left."""
        return not self.failed_again and not self.left


def redrive(stack: Stack, progress: Callable[[int, int], None]) -> Redriven:
    """Move every dead letter back to the queue that it belongs to; see `Stack.queues`.

    Parameters
    ----------
    progress
        Told how many messages are done, of how many.
    """
    found = [_redrive(stack, dead, queue, progress) for dead, queue in stack.queues.values()]
    return Redriven(*(sum(numbers) for numbers in zip(*map(astuple, found), strict=True)))


def _redrive(
    stack: Stack, dead_letter_queue_url: str, queue_url: str, progress: Callable[[int, int], None]
) -> Redriven:
    mover = _Mover(stack, dead_letter_queue_url, queue_url, progress)
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        before = mover.done.total()
        mover.work_in_parallel()
        left = sum(count_messages(stack.sqs, dead_letter_queue_url).values())
        if not left or mover.done["failed_again"] or time.monotonic() > deadline:
            done = mover.done
            return Redriven(done["moved"], done["dropped"], done["failed_again"], left)
        if mover.done.total() > before:
            deadline = time.monotonic() + _SETTLE_SECONDS
        time.sleep(_PAUSE_SECONDS)


class _Mover:
    def __init__(
        self, stack: Stack, dead_letter_queue_url: str, queue_url: str, progress: Callable[[int, int], None]
    ) -> None:
        self._stack, self._progress = stack, progress
        self._dead_letter_queue_url, self._queue_url = dead_letter_queue_url, queue_url
        self._total = sum(count_messages(stack.sqs, dead_letter_queue_url).values())
        self._lock = threading.Lock()
        self._sent: set[str] = set()
        self.done: Counter[str] = Counter()
        self._is_stopped = threading.Event()

    def work_in_parallel(self) -> None:
        """Take messages until none is to be had; interrupted, each worker finishes the message that it has."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            workers = [pool.submit(self._work) for _ in range(_PARALLEL)]
            try:
                for worker in workers:
                    worker.result()
            except BaseException:
                self._is_stopped.set()
                raise

    def _work(self) -> None:
        """Take messages until there are none, or only those that were sent before."""
        while not self._is_stopped.is_set():
            answer = self._stack.sqs.receive_message(
                QueueUrl=self._dead_letter_queue_url,
                MaxNumberOfMessages=_MESSAGES_PER_REQUEST,
                WaitTimeSeconds=_WAIT_SECONDS,
            )
            messages = answer.get("Messages", [])
            # A message that failed again keeps its id. It is left, or this would go on as long as a run does.
            new = [message for message in messages if message["MessageId"] not in self._sent]
            self._count("failed_again", len(messages) - len(new))
            if not new:
                return
            for message in new:
                if self._is_stopped.is_set():
                    return
                self._count(self._move(message), 1)

    def _move(self, message: MessageTypeDef) -> str:
        outcome = "moved"
        if self._is_of_gone_images(message["Body"]):
            outcome = "dropped"
        else:
            for body in self._bodies(message["Body"]):
                sent = self._stack.sqs.send_message(QueueUrl=self._queue_url, MessageBody=body)
                with self._lock:
                    self._sent.add(sent["MessageId"])
        self._stack.sqs.delete_message(QueueUrl=self._dead_letter_queue_url, ReceiptHandle=message["ReceiptHandle"])
        return outcome

    def _bodies(self, body: str) -> list[str]:
        """Return what is sent in the place of a dead letter."""
        if self._stack.is_drop_off:
            return [body]
        # It is a first delivery again. A message of ours tells all the same that a function may have worked on the key
        # and died before it wrote the line of the catalog.
        bucket = self._stack.bucket_name
        changes, _ = parse_change(body, bucket)
        return [message_about(bucket, change.key) for change in changes] or [body]

    def _count(self, outcome: str, number: int) -> None:
        with self._lock:
            self.done[outcome] += number
            done = self.done.total()
            self._progress(done, max(done, self._total))

    def _is_of_gone_images(self, body: str) -> bool:
        if not self._stack.is_drop_off:
            return False  # to look at a key that is gone is what its deletion asks for
        images, problems = parse_message(body, self._stack.source_bucket_name)
        # What names no image, or can't be read whole, is for the analyzing function to judge and to log.
        return bool(images) and not problems and not any(is_there(self._stack.s3, image) for image in images)
