"""What waits in the source bucket, as far as it is worth counting."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from batch_vision.aws.stuck import list_stuck
from batch_vision.aws.waiting import list_waiting

if TYPE_CHECKING:
    from batch_vision.operator.stack import Stack

_MOST = 10_000  # in ten requests, or some more


@dataclass(frozen=True, slots=True)
class Waiting:
    """Images in the source bucket, or at least so many.

    Attributes
    ----------
    stuck
        Images that were given up until somebody looks; they are not among those that wait.
    """

    images: int
    is_at_least: bool
    stuck: int = 0

    def __str__(self) -> str:
        return f"{self.images:,}{' or more' if self.is_at_least else ''} image{'' if self.images == 1 else 's'}"


def count_waiting(stack: Stack) -> Waiting:
    """Count the images that wait, up to 10,000; as `runs.backlog.count_waiting` does, which counts to 1,000."""
    stuck = list_stuck(stack.s3, stack.final_bucket_name)
    number = sum(1 for _ in islice(list_waiting(stack.s3, stack.places, stuck), _MOST + 1))
    return Waiting(min(number, _MOST), is_at_least=number > _MOST, stuck=len(stuck))
