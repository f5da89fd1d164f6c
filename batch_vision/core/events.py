"""Queue messages: what S3, or a message of ours, says about uploaded objects."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, unquote_plus

from batch_vision.core.names import KEY_LIMIT_BYTES
from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from datetime import datetime


UNKNOWN_SIZE_BYTES = -1
_OWN_SOURCE = "batch-vision:requeue"


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One version of one uploaded object.

    Attributes
    ----------
    key
        As uploaded, not URL-encoded.
    version_id
        None only where an event does not name it; it is then looked up.
    size_bytes
        `UNKNOWN_SIZE_BYTES` only where an event does not name it; it is then looked up.
    uploaded_at
        When S3 took the upload (`core.versions` says how far it can be trusted).
    is_resent
        Whether a message of ours names it, and not S3's own: then an earlier delivery may have written its result.
        It says how we heard of the image, not which one it is, so it is left out of comparisons.
    """

    bucket: str
    key: str
    version_id: str | None
    etag: str
    size_bytes: int
    uploaded_at: datetime
    is_resent: bool = field(default=False, compare=False)


def parse_message(body: str, source_bucket_name: str) -> tuple[list[SourceImage], list[str]]:
    """Read the images that a queue message names; raises nothing, whatever the message holds.

    Records of other buckets and other events than ObjectCreated name no image of ours and are left out;
    so is the ``s3:TestEvent`` that S3 sends when a notification is set up.

    Returns
    -------
    images, problems
        What could be read, and a sentence for each thing that could not: one bad record hides no good one.
    """
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return [], [f"The message is not JSON: {body[:200]!r}"]
    if isinstance(event, dict) and event.get("Event") == "s3:TestEvent":
        return [], []
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        return [], [f"The message is not an S3 event with a list of Records: {body[:200]!r}"]
    images, problems = [], []
    for number, record in enumerate(records):
        try:
            image = _parse_record(record)
        except Exception as error:  # anybody who may send messages writes what stands here
            problems.append(f"Record {number} of the message cannot be read ({repr(error)[:200]}): {body[:200]!r}")
            continue
        if image is not None and image.bucket == source_bucket_name:
            images.append(image)
    return images, problems


def _parse_record(record: Any) -> SourceImage | None:
    if not _text(record, "eventName").removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    described = record["s3"]["object"]
    key = unquote_plus(_text(described, "key"), errors="strict")
    _check_key(key)
    size_bytes = described.get("size", UNKNOWN_SIZE_BYTES)
    if type(size_bytes) is not int or size_bytes < UNKNOWN_SIZE_BYTES:
        raise TypeError(f"size is {size_bytes!r}")
    return SourceImage(
        bucket=_text(record["s3"]["bucket"], "name"),
        key=key,
        version_id=_text(described, "versionId") if described.get("versionId") else None,
        etag=_text(described, "eTag").strip('"') if "eTag" in described else "",
        size_bytes=size_bytes,
        # A time at the edge of the calendar has no time in UTC: that is found here.
        uploaded_at=from_text(_text(record, "eventTime")).astimezone(UTC),
        is_resent=record.get("eventSource") == _OWN_SOURCE,
    )


def _check_key(key: str) -> None:
    if not 1 <= len(key.encode()) <= KEY_LIMIT_BYTES:  # encoding refuses a lone surrogate, which is no key of S3
        raise ValueError(f"a key has 1 to {KEY_LIMIT_BYTES} bytes")


def _text(described: Any, name: str) -> str:
    value = described[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def message_for(images: list[SourceImage]) -> str:
    """Return the message that makes images be analyzed, in the form S3 itself uses."""
    return json.dumps(
        {
            "Records": [
                {
                    "eventSource": _OWN_SOURCE,
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


@dataclass(frozen=True, slots=True)
class Change:
    """A key of an existing bucket to look at.

    Attributes
    ----------
    is_resent
        Whether a message of ours names it: then somebody may have worked on it before.
    """

    key: str
    is_resent: bool = False


def parse_change(body: str, bucket: str) -> tuple[list[Change], str | None]:
    """Read which keys a message of EventBridge says to look at; raises nothing, whatever the message holds.

    Only bucket and key are read: what happened, when and to which version is what S3 says when it is asked.

    Returns
    -------
    changes, problem
        None or one, or two where the key holds `+` or `%`: as it stands, and URL-decoded. It is not documented which
        of the two EventBridge sends; to look at a key that is not there does no harm. Or a sentence about what cannot
        be read or is of another bucket.
    """
    try:
        event = json.loads(body)
        detail = event["detail"]
        key = _text(detail["object"], "key")
        _check_key(key)
        named = _text(detail["bucket"], "name")
        is_resent = event.get("source") == _OWN_SOURCE
    except Exception as error:  # anybody who may send messages writes what stands here
        return [], f"The message is not an event of an object ({repr(error)[:200]}): {body[:200]!r}"
    if named != bucket:
        return [], f"The message is about another bucket: {named[:200]!r}"
    keys = [key]
    if not is_resent and ("+" in key or "%" in key):
        with suppress(ValueError):  # not what is encoded so
            decoded = unquote_plus(key, errors="strict")
            _check_key(decoded)
            keys.append(decoded)
    return [Change(each, is_resent) for each in dict.fromkeys(keys)], None


def message_about(bucket: str, key: str) -> str:
    """Return the message that makes a key of an existing bucket be looked at, in the form of EventBridge."""
    return json.dumps({"source": _OWN_SOURCE, "detail": {"bucket": {"name": bucket}, "object": {"key": key}}})
