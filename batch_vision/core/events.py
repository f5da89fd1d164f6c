"""Queue messages: what S3 (or a requeue of ours) says about uploaded objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, unquote_plus

from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One version of one uploaded object.

    Attributes
    ----------
    key
        As uploaded, not URL-encoded.
    version_id
        None only where an event does not name it; it is then looked up.
    uploaded_at
        When S3 took the upload: tells the newer of two uploads of one key.
    """

    bucket: str
    key: str
    version_id: str | None
    etag: str
    size_bytes: int
    uploaded_at: datetime


def parse_message(body: str, source_bucket_name: str) -> tuple[list[SourceImage], list[str]]:
    """Read the images that a queue message names.

    Records of other buckets and other events than ObjectCreated name no image of ours and are left out;
    so is the ``s3:TestEvent`` that S3 sends when a notification is set up.

    Returns
    -------
    images, problems
        What could be read, and a sentence for each thing that could not: one bad record hides no good one.
    """
    try:
        event = json.loads(body)
    except ValueError:
        return [], [f"The message is not JSON: {body[:200]!r}"]
    if isinstance(event, dict) and event.get("Event") == "s3:TestEvent":
        return [], []
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        return [], [f"The message is not an S3 event with a list of Records: {body[:200]!r}"]
    images, problems = [], []
    for record in records:
        try:
            image = _parse_record(record)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problems.append(f"A record of the message cannot be read ({error!r}): {str(record)[:200]}")
            continue
        if image is not None and image.bucket == source_bucket_name:
            images.append(image)
    return images, problems


def _parse_record(record: Any) -> SourceImage | None:
    if not str(record["eventName"]).removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    described = record["s3"]["object"]
    key = unquote_plus(str(described["key"]), errors="strict")
    key.encode()  # a lone surrogate is no key of S3: refuse it here rather than in a call
    return SourceImage(
        bucket=str(record["s3"]["bucket"]["name"]),
        key=key,
        version_id=described.get("versionId") or None,
        etag=str(described.get("eTag", "")).strip('"'),
        size_bytes=int(described.get("size", 0)),
        uploaded_at=from_text(str(record["eventTime"])),
    )


def message_for(images: list[SourceImage]) -> str:
    """Write the message that makes images be analyzed, in the form S3 itself uses."""
    return json.dumps(
        {
            "Records": [
                {
                    "eventSource": "batch-vision:requeue",
                    "eventName": "ObjectCreated:Requeue",
                    "eventTime": to_text(image.uploaded_at),
                    "s3": {
                        "bucket": {"name": image.bucket},
                        "object": {
                            "key": quote_plus(image.key),
                            "versionId": image.version_id,
                            "eTag": image.etag,
                            "size": image.size_bytes,
                        },
                    },
                }
                for image in images
            ]
        }
    )
