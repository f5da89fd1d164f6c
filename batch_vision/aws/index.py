"""The index of the catalog, as it stands in the final bucket; `core.index` tells what it is."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from batch_vision.aws.objects import found, list_entries, put_if
from batch_vision.core.index import (
    CURSOR,
    INDEX_VERSION,
    SEGMENTS,
    Cursor,
    Header,
    damaged,
    segment_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

_BROKEN = (gzip.BadGzipFile, zlib.error, EOFError)
_HEADER_BYTES = 8192  # a header is a gzip member of its own, with two keys of up to 1,024 bytes


class Index(NamedTuple):
    """The index as it is.

    Attributes
    ----------
    cursor
        An empty one where one of its segments is not there any more.
    cursor_etag
        Of the cursor's object; empty where there is none.
    segments
        The ETag of each segment that is there, whether the cursor names it or not, by its key.
    """

    cursor: Cursor
    cursor_etag: str
    segments: dict[str, str]


def read_index(s3: S3Client, bucket: str) -> Index:
    """Read the cursor, and list the segments."""
    answer = found(s3.get_object, Bucket=bucket, Key=CURSOR)
    cursor, etag = Cursor(), ""
    if answer is not None:
        body, etag = answer["Body"].read(), answer["ETag"]
        try:
            told = json.loads(body)
            cursor = Cursor(str(told["last_key"]), tuple((str(key), str(tag)) for key, tag in told["segments"]))
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(f"{CURSOR} is {body[:200]!r}.") from error
    segments = {entry["Key"]: entry["ETag"] for entry in list_segments(s3, bucket)}
    return Index(cursor if cursor.is_true(segments.items()) else Cursor(), etag, segments)


def list_segments(s3: S3Client, bucket: str) -> Iterator[Any]:
    """List the segments as ListObjectsV2 has them, in the order of their catalog objects."""
    return list_entries(s3, bucket, SEGMENTS)


def read_header(s3: S3Client, bucket: str, key: str) -> Header | None:
    """Return the header of a segment, None where there is none, with one request; raises as `parse_segment`."""
    answer = found(s3.get_object, Bucket=bucket, Key=key, Range=f"bytes=0-{_HEADER_BYTES - 1}")
    return parse_segment(answer["Body"], key)[0] if answer else None


def parse_segment(body: Any, key: str) -> tuple[Header, Iterator[str]]:
    """Return the header and the lines, as they are written, of a segment: an object's body, or a file of the same.

    Parameters
    ----------
    body
        Anything with ``read(size)``, in bytes; it is read as the lines are.
    key
        For messages.

    Raises
    ------
    IndexDamagedError
        It is no segment, or (from the lines) it ends early.
    """
    unpacked = gzip.GzipFile(fileobj=body)
    try:
        header = Header.read(unpacked.readline(), key)
    except _BROKEN as error:
        raise damaged(f"{key!r} is no gzip file: {error}") from error
    return header, _texts(unpacked, header, key)


def _texts(unpacked: gzip.GzipFile, header: Header, key: str) -> Iterator[str]:
    number = 0
    try:
        for line in unpacked:
            yield line.decode()
            number += 1
    except (*_BROKEN, ValueError) as error:
        raise damaged(f"{key!r} breaks off after line {number:,}: {error}") from error
    if number != header.lines:
        raise damaged(f"{key!r} has {number:,} lines; its header names {header.lines:,}.")


def put_segment(s3: S3Client, bucket: str, header: Header, packed_lines: bytes) -> str:
    """Write a segment where there is none of its name; return its ETag, empty where it was not written.

    Parameters
    ----------
    packed_lines
        The lines as a gzip member; the header, which is known last and stands first, becomes a member before it.
    """
    first = gzip.compress(json.dumps(header.as_json()).encode() + b"\n", mtime=0)
    return put_if(
        s3,
        Bucket=bucket,
        Key=segment_key(header.first_key),
        Body=first + packed_lines,
        ContentType="application/gzip",
        IfNoneMatch="*",
    )


def move_cursor(s3: S3Client, bucket: str, cursor: Cursor, etag: str) -> None:
    """Write the cursor, unless somebody else did since it was read.

    Parameters
    ----------
    etag
        Of its object when it was read; empty where there was none.
    """
    body = json.dumps({"index_version": INDEX_VERSION, **asdict(cursor)}).encode()
    condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    put_if(s3, Bucket=bucket, Key=CURSOR, Body=body, ContentType="application/json", **condition)
