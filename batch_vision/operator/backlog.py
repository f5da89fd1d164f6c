"""What waits: messages of the two queues, and images of the source bucket as far as it is worth counting them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from batch_vision.core.stuck import PREFIX, stuck_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from batch_vision.operator.stack import Stack

_MOST = 10_000  # in ten requests
_COUNTS = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


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
    """Count the images that wait, up to 10,000.

    Neither folder markers, nor images that were taken back, nor those that were given up are among them. Only versions
    can be told from those that were given up, so where any was, versions are listed.
    """
    stuck = {entry["Key"] for entry in islice(_objects(stack.s3, stack.final_bucket_name, PREFIX), _MOST)}
    listing = _current_versions if stuck else _objects
    entries = chain.from_iterable(
        listing(stack.s3, stack.source_bucket_name, prefix) for prefix in stack.settings.source_prefixes
    )
    seen = list(islice(entries, _MOST + 1))
    images = sum(not is_folder_marker(entry) and not _is_stuck(entry, stuck) for entry in seen[:_MOST])
    return Waiting(images, is_at_least=len(seen) > _MOST, stuck=len(stuck))


def is_folder_marker(entry: dict[str, Any]) -> bool:
    """Tell whether an object of a listing is what a console makes for a folder: empty, its key ending in a slash."""
    return bool(entry["Size"] == 0 and entry["Key"].endswith("/"))


def _is_stuck(entry: dict[str, Any], stuck: set[str]) -> bool:
    return bool(stuck) and stuck_key(entry["Key"], entry["VersionId"]) in stuck


def _objects(s3: S3Client, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (dict(entry) for entry in page.get("Contents", []))


def _current_versions(s3: S3Client, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        yield from (dict(entry) for entry in page.get("Versions", []) if entry["IsLatest"])


def count_messages(sqs: SQSClient, queue_url: str) -> dict[str, int]:
    """Count the ``visible``, ``in_flight`` and ``delayed`` messages of a queue; SQS settles a minute later."""
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=list(_COUNTS.values()))  # type: ignore[arg-type]
    attributes: dict[str, str] = dict(answer["Attributes"])  # type: ignore[arg-type]
    return {name: int(attributes[attribute]) for name, attribute in _COUNTS.items()}
