"""The index of the catalog, as it stands in the final bucket; `core.index` tells what it is."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import found, list_entries
from batch_vision.core.catalog import upgraded
from batch_vision.core.index import CURSOR, SEGMENTS, Header, IndexDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

_BROKEN = (gzip.BadGzipFile, zlib.error, EOFError)
_HEADER_BYTES = 8192  # a header is a gzip member of its own, with two keys of up to 1,024 bytes


def read_cursor(s3: S3Client, bucket: str) -> str:
    """Return the last catalog key of which all up to it are in segments; empty where there is no cursor."""
    return read_cursor_and_etag(s3, bucket)[0]


def read_cursor_and_etag(s3: S3Client, bucket: str) -> tuple[str, str]:
    """Return the cursor and the ETag of its object, both empty where there is none."""
    answer = found(s3.get_object, Bucket=bucket, Key=CURSOR)
    if answer is None:
        return "", ""
    body = answer["Body"].read()
    try:
        return str(json.loads(body)["last_key"]), answer["ETag"]
    except (KeyError, TypeError, ValueError) as error:
        raise IndexDamagedError(f"{CURSOR} is {body[:200]!r}.") from error


def list_segments(s3: S3Client, bucket: str, after: str = "") -> Iterator[Any]:
    """List the segments as ListObjectsV2 has them, in the order of their catalog objects.

    Parameters
    ----------
    after
        Only those whose key comes after this one; empty for all.
    """
    return list_entries(s3, bucket, SEGMENTS, after)


def read_segment(s3: S3Client, bucket: str, key: str) -> Iterator[dict[str, Any]]:
    """Return the lines of a segment in the form of now, as they are read; see `parse_segment`."""
    return parse_segment(s3.get_object(Bucket=bucket, Key=key)["Body"], key)[1]


def read_header(s3: S3Client, bucket: str, key: str) -> Header:
    """Return the header of a segment, with one request for its beginning; raises as `parse_segment`."""
    answer = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{_HEADER_BYTES - 1}")
    return parse_segment(answer["Body"], key)[0]


def parse_segment(body: Any, key: str) -> tuple[Header, Iterator[dict[str, Any]]]:
    """Return the header and the lines of a segment, which may be an object's body or a file of the same content.

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
        raise IndexDamagedError(f"{key!r} is no gzip file: {error}") from error
    return header, _lines(unpacked, header, key)


def _lines(unpacked: gzip.GzipFile, header: Header, key: str) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for line in unpacked:
            yield upgraded(json.loads(line))
            number += 1
    except (*_BROKEN, ValueError) as error:
        raise IndexDamagedError(f"{key!r} breaks off after line {number:,}: {error}") from error
    if number != header.lines:
        raise IndexDamagedError(f"{key!r} has {number:,} lines; its header names {header.lines:,}.")
