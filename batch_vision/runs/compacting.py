"""Compaction: the lines of many catalog objects become segments of the index; `core.index` decides, here it is done."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import closing
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.aws.catalog import PREFIX, catalog_key, read_objects
from batch_vision.aws.index import move_cursor, put_segment, read_header, read_index
from batch_vision.aws.objects import list_entries
from batch_vision.core import errors
from batch_vision.core.catalog import upgraded
from batch_vision.core.index import (
    BEHIND,
    LIMITS,
    Header,
    Limits,
    fits,
    is_catalog_object,
    is_due,
    is_settled,
    segment_key,
)
from batch_vision.core.settings import settings_of
from batch_vision.core.times import utc_now
from batch_vision.runs.settings import CompactCatalogSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

# What is left of the invocation when no more is read: for a window of objects, a segment of all lines and the cursor.
_RESERVE_SECONDS = 30.0
_LEVEL = 6  # a third of the time of 9, for a few percent of the size
_OF_VERSION_2 = b'{"schema_version": 2,'


def compact_catalog(remaining_seconds: Callable[[], float]) -> dict[str, Any]:
    """Make segments of what has no segment yet, while time is left; see `compact`."""
    bucket = settings_of(CompactCatalogSettings).final_bucket_name
    return compact(clients.s3(), bucket, utc_now(), remaining_seconds)


def compact(
    s3: S3Client, bucket: str, now: datetime, remaining_seconds: Callable[[], float], limits: Limits = LIMITS
) -> dict[str, Any]:
    """Make segments of the catalog objects after the cursor that are settled, and move the cursor.

    May be called at any time, by several at once, and die anywhere: what is there is gone on from.

    Parameters
    ----------
    remaining_seconds
        Returns what is left of the invocation.

    Returns
    -------
    dict
        ``segments`` and ``lines`` that were written; ``is_done``, whether nothing is left that is to be made a segment
        now; ``last_key``, how far the index goes.

    Raises
    ------
    IndexDamagedError
        The cursor or a segment is not what this function writes.
    """
    horizon = catalog_key(now - BEHIND)
    index = read_index(s3, bucket)
    segments = lines = 0
    is_done = False
    while remaining_seconds() > _RESERVE_SECONDS:
        listed = takewhile(
            lambda entry: is_settled(entry["Key"], horizon),
            (
                entry
                for entry in list_entries(s3, bucket, PREFIX, index.cursor.last_key)
                if is_catalog_object(entry["Key"])
            ),
        )
        first = list(islice(listed, limits.few_objects))
        name = segment_key(first[0]["Key"]) if first else ""
        header: Header | None
        if etag := index.segments.get(name, ""):  # of another call, or of one that died before it moved the cursor
            header = read_header(s3, bucket, name)
        elif is_due([entry["Key"] for entry in first], horizon, limits):
            header, packed = _fill(s3, bucket, chain(first, listed), remaining_seconds, limits)
            if etag := put_segment(s3, bucket, header, packed):
                segments, lines = segments + 1, lines + header.lines
        else:
            is_done = True
            break
        if header and etag:
            move_cursor(s3, bucket, index.cursor.moved(header, etag), index.cursor_etag)
        index = read_index(s3, bucket)
    return {"segments": segments, "lines": lines, "is_done": is_done, "last_key": index.cursor.last_key}


def _fill(
    s3: S3Client, bucket: str, entries: Iterable[Any], remaining_seconds: Callable[[], float], limits: Limits
) -> tuple[Header, bytes]:
    """Read catalog objects until a segment is full, or time is up; at least one."""
    packed = io.BytesIO()
    first_key = last_key = ""
    number = 0
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=_LEVEL, mtime=0) as unpacked,
        closing(read_objects(s3, bucket, entries)) as objects,
    ):
        for key, lines in objects:
            first_key = first_key or key
            if last_key and not fits(first_key, key, number, len(lines), limits):
                break
            for line in lines:
                unpacked.write(_of_now(line, key) + b"\n")
            last_key, number = key, number + len(lines)
            if remaining_seconds() <= _RESERVE_SECONDS:
                break
    return Header(first_key, last_key, number), packed.getvalue()


def _of_now(line: bytes, key: str) -> bytes:
    """Return a line in the form of now; what is written in it already is not read."""
    if line.startswith(_OF_VERSION_2):
        return line
    try:
        return json.dumps(upgraded(json.loads(line))).encode()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.CatalogDamagedError(
            f"{key!r} has the line {line[:200]!r}, which no function writes. Delete this object: its images keep their"
            " results."
        ) from error
