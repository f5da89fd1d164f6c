"""What waits, as far as it is worth counting."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from batch_vision.aws.objects import list_entries
from batch_vision.aws.queues import count_messages
from batch_vision.aws.stuck import list_stuck
from batch_vision.aws.waiting import list_waiting
from batch_vision.core.chunks import LIVE, PREFIX, chunks_prefix, images_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batch_vision.operator.stack import Stack

_MOST = 10_000  # in ten requests, or some more


@dataclass(frozen=True, slots=True)
class Waiting:
    """Images that wait, or at least so many.

    Attributes
    ----------
    stuck
        Images that were given up until somebody looks; they are not among those that wait.
    oldest_at
        When the oldest of those that were counted was uploaded; None where none waits, or that is not known.
    """

    images: int
    is_at_least: bool
    stuck: int = 0
    oldest_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.images:,}{' or more' if self.is_at_least else ''} image{'' if self.images == 1 else 's'}"


def count_waiting(stack: Stack) -> Waiting:
    """Count the images that wait.

    In a drop-off bucket up to 10,000, as `runs.backlog.count_waiting` does, which counts to 1,000. Of an existing
    bucket, those of the first 10,000 chunks in ``work/``, or for a managed model the messages on the queue, which SQS
    counts approximately.
    """
    if stack.is_drop_off:
        stuck = list_stuck(stack.s3, stack.final_bucket_name)
        found = list(islice(list_waiting(stack.s3, stack.places, stuck), _MOST + 1))
        oldest_at = min((at for _, at in found), default=None)
        return Waiting(min(len(found), _MOST), len(found) > _MOST, len(stuck), oldest_at)
    if not stack.is_hosted:
        return Waiting(sum(count_messages(stack.sqs, stack.queue_url).values()), is_at_least=False)
    counts = list(islice(filter(None, map(images_in, _keys(stack, PREFIX))), _MOST + 1))
    return Waiting(sum(counts[:_MOST]), is_at_least=len(counts) > _MOST)


def left_chunks(stack: Stack) -> Iterator[str]:
    """Yield the chunks of a hosted model that the stack had before its managed one: no run works them off."""
    if not stack.is_drop_off and not stack.is_hosted:
        yield from filter(images_in, _keys(stack, chunks_prefix(LIVE)))


def _keys(stack: Stack, prefix: str) -> Iterator[str]:
    return (entry["Key"] for entry in list_entries(stack.s3, stack.final_bucket_name, prefix))
