"""The corrections of a stack, in its final bucket: objects that are written once, with a line for each correction."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.aws.conditional import put_on_condition
from batch_vision.aws.objects import found, list_entries
from batch_vision.aws.parallel import in_parallel
from batch_vision.aws.s3_errors import TakenError
from batch_vision.core.corrections import PREFIX, Correction, Upload, counting, read_line
from batch_vision.operator.errors import OperatorError
from batch_vision.operator.objects import read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mypy_boto3_s3 import S3Client

    from batch_vision.operator.stack import Stack


def read_all(s3: S3Client, bucket: str) -> Iterator[Correction]:
    """Read every correction that was ever written, the objects in the order of their keys.

    Raises
    ------
    OperatorError
        An object holds something else.
    """

    def read(key: str) -> list[Correction]:
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode(errors="replace")
        # Not `splitlines`: a key may hold U+2028 and other characters that it takes for the end of a line.
        lines = enumerate(text.split("\n"), 1)
        return [_read(bucket, key, number, line) for number, line in lines if line]

    keys = (entry["Key"] for entry in list_entries(s3, bucket, PREFIX))
    for _, corrections in in_parallel(read, keys):
        yield from corrections


def _read(bucket: str, key: str, number: int, line: str) -> Correction:
    try:
        return read_line(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise OperatorError(
            f"Line {number} of s3://{bucket}/{key} is no correction: {error}. If a newer batch-vision wrote it, use"
            " that one; otherwise move the object out of corrections/."
        ) from error


def read_corrections(s3: S3Client, bucket: str) -> dict[Upload, Correction]:
    """Read the correction that counts for each upload; raises as `read_all`."""
    return counting(read_all(s3, bucket))


def write_corrections(s3: S3Client, bucket: str, corrections: Sequence[Correction]) -> str:
    """Write corrections as one new object and return its key; the same ones again are the same object."""
    body = "".join(f"{json.dumps(correction.to_line(), ensure_ascii=False)}\n" for correction in corrections).encode()
    at = corrections[0].at
    stamp = at.replace("-", "").replace(":", "")
    key = f"{PREFIX}dt={at[:10]}/{stamp}-{hashlib.sha256(body).hexdigest()[:16]}.jsonl"
    # Its name is made of its content, so where it is taken this is there: by a request whose answer was lost, say.
    with suppress(TakenError):
        put_on_condition(s3, Bucket=bucket, Key=key, Body=body, ContentType="application/x-ndjson", IfNoneMatch="*")
    return key


@dataclass(frozen=True, slots=True)
class Corrected:
    """A correction, and the image that it is of.

    Attributes
    ----------
    result
        Of the very upload, as it stands; None where the image was replaced or deleted since.
    """

    correction: Correction
    result: dict[str, Any] | None

    @property
    def is_current(self) -> bool:
        """Whether its image is the one that was judged."""
        return self.result is not None


def look_at_images(
    stack: Stack, corrections: Iterable[Correction], progress: Callable[[int], None]
) -> Iterator[Corrected]:
    """Look whether the image of each correction is still the one that was judged."""
    looked = in_parallel(lambda correction: _current_result(stack, correction), corrections)
    for done, (correction, result) in enumerate(looked, 1):
        progress(done)
        yield Corrected(correction, result)


def _current_result(stack: Stack, correction: Correction) -> dict[str, Any] | None:
    s3, bucket = stack.s3, stack.final_bucket_name
    read = read_result(s3, bucket, correction.result_key)
    if read is None:
        return None
    result = read[0]
    source = result["source"]
    if not _is_upload(correction, source.get("version_id"), source.get("etag")):
        return None
    if image_key := result.get("image_key"):
        return result if found(s3.head_object, Bucket=bucket, Key=image_key) else None
    # The result follows the image a moment later: what a manifest names is the image as it stands.
    head = found(s3.head_object, Bucket=source["bucket"], Key=source["key"])
    is_same = head and _is_upload(correction, head.get("VersionId"), head["ETag"].strip('"'))
    return result if is_same else None


def _is_upload(correction: Correction, version_id: str | None, etag: str | None) -> bool:
    """Return whether an upload is the one that was judged, or has the same bytes: it may be there for another model."""
    is_same_version = correction.version_id is not None and correction.version_id == version_id
    return is_same_version or (correction.etag is not None and correction.etag == etag)
