"""Put objects that have no message back on the queue."""

from __future__ import annotations

from itertools import batched
from typing import TYPE_CHECKING

from batch_vision.core.errors import ServiceUnavailableError
from batch_vision.core.events import SourceImage, message_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_MESSAGES_PER_REQUEST = 10  # the most that SendMessageBatch takes


def list_uploads(s3: S3Client, bucket: str, prefix: str) -> Iterator[SourceImage]:
    """Give every object version under a prefix, but those of deleted keys; the older uploads of a page come first."""
    deleted: set[str] = set()
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        # Kept from page to page: a marker may end one page and its versions begin the next.
        deleted.update(marker["Key"] for marker in page.get("DeleteMarkers", []) if marker["IsLatest"])
        versions = [version for version in page.get("Versions", []) if version["Key"] not in deleted]
        # S3 lists the newest version of a key first, and tells times to the second: the stable sort does the rest.
        versions.reverse()
        for version in sorted(versions, key=lambda version: version["LastModified"]):
            yield SourceImage(
                bucket=bucket,
                key=version["Key"],
                version_id=version["VersionId"],
                etag=version["ETag"].strip('"'),
                size_bytes=version["Size"],
                uploaded_at=version["LastModified"],
            )


def send(sqs: SQSClient, queue_url: str, images: Iterable[SourceImage]) -> int:
    """Send one message for each image and say how many were sent.

    Raises
    ------
    ServiceUnavailableError
        The queue did not take a message. Those sent before stay: a second message for an image does no harm.
    """
    sent = 0
    for group in batched(images, _MESSAGES_PER_REQUEST, strict=False):
        entries = [{"Id": str(i), "MessageBody": message_for([image])} for i, image in enumerate(group)]
        answer = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)  # type: ignore[arg-type]
        if failed := answer.get("Failed"):
            raise ServiceUnavailableError(f"Queue {queue_url} did not take {len(failed)} messages: {failed[0]}")
        sent += len(group)
    return sent
