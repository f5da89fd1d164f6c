"""What waits: messages of the two queues, and objects of the source bucket as far as it is worth counting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_MOST_PAGES = 10  # of 1,000 objects
_COUNTS = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Objects in the source bucket, or at least so many."""

    images: int
    is_at_least: bool

    def __str__(self) -> str:
        return f"{self.images:,}{' or more' if self.is_at_least else ''} object{'' if self.images == 1 else 's'}"


def count_waiting(s3: S3Client, bucket: str, prefix: str) -> Waiting:
    """Count the objects under a prefix, up to 10,000."""
    images = 0
    for number, page in enumerate(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix), start=1):
        images += page["KeyCount"]
        if number == _MOST_PAGES and page["IsTruncated"]:
            return Waiting(images, is_at_least=True)
    return Waiting(images, is_at_least=False)


def count_messages(sqs: SQSClient, queue_url: str) -> dict[str, int]:
    """Count the ``visible``, ``in_flight`` and ``delayed`` messages of a queue; SQS settles a minute later."""
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=list(_COUNTS.values()))  # type: ignore[arg-type]
    attributes: dict[str, str] = dict(answer["Attributes"])  # type: ignore[arg-type]
    return {name: int(attributes[attribute]) for name, attribute in _COUNTS.items()}
