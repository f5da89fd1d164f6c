"""Chunks in the final bucket: see `core.chunks`."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

from batch_vision.aws.objects import found, list_entries, put_if
from batch_vision.core.backfills import Left
from batch_vision.core.chunks import PREFIX, Chunk, WaitingChunk, chunks_prefix, images_in, live_chunk_key
from batch_vision.core.errors import ServiceUnavailableError
from batch_vision.core.times import utc_now
from batch_vision.core.versions import NULL_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

_MOST_TRIES = 10
_PAUSE_SECONDS = 0.01


def list_chunks(s3: S3Client, bucket: str, most_of_each: int | None = None) -> Iterator[WaitingChunk]:
    """List the chunks that wait: a request for the jobs, and one for each thousand chunks of a job.

    Parameters
    ----------
    most_of_each
        At most so many of each job, in the order of their keys; None for all.
    """
    for top in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX, Delimiter="/"):
        for folder in top.get("CommonPrefixes", []):
            job = folder["Prefix"].removeprefix(PREFIX).rstrip("/")
            for entry in islice(list_entries(s3, bucket, chunks_prefix(job)), most_of_each):
                if (images := images_in(entry["Key"])) is not None:
                    yield WaitingChunk(entry["LastModified"], entry["Key"], images)


def count_left(s3: S3Client, bucket: str, job: str) -> Left:
    """Count what is left of a backfill, by the names of its chunks: an image that is done counts with its chunk."""
    numbers = [images_in(entry["Key"]) for entry in list_entries(s3, bucket, chunks_prefix(job))]
    images = [number for number in numbers if number is not None]
    return Left(sum(images), len(images))


def read_chunk(s3: S3Client, bucket: str, key: str) -> tuple[Chunk, str] | None:
    """Read a chunk, and say in which version; None where it is gone.

    Raises
    ------
    ValueError
        It holds something else.
    """
    answer = found(s3.get_object, Bucket=bucket, Key=key)
    return (Chunk.from_body(answer["Body"].read()), answer.get("VersionId", NULL_VERSION)) if answer else None


def write_chunk(s3: S3Client, bucket: str, key: str, chunk: Chunk) -> bool:
    """Write a chunk where there is none of that key; return whether it was written."""
    body = chunk.body()
    return bool(put_if(s3, Bucket=bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"))


def write_live_chunk(s3: S3Client, bucket: str, chunk: Chunk) -> str:
    """Write a chunk of what events told of, and return its key.

    Where another one has the key, this one gets that of a later millisecond: the other one may have been read already.

    Raises
    ------
    ServiceUnavailableError
        Every key was taken.
    """
    for _ in range(_MOST_TRIES):
        if write_chunk(s3, bucket, key := live_chunk_key(utc_now(), chunk), chunk):
            return key
        time.sleep(_PAUSE_SECONDS)
    raise ServiceUnavailableError(f"S3 found another chunk at {key!r}, time and again.")


def delete_chunk(s3: S3Client, bucket: str, key: str, version_id: str) -> None:
    """Delete a chunk in the version that was read: one that was written meanwhile stays."""
    s3.delete_object(Bucket=bucket, Key=key, VersionId=version_id)


def set_aside_chunk(s3: S3Client, bucket: str, key: str) -> None:
    """Put a delete marker over what is no chunk: it waits no more, and its version can be looked at for a day."""
    s3.delete_object(Bucket=bucket, Key=key)


def deployed_at(s3: S3Client, bucket: str, fingerprint: str) -> datetime | None:
    """Return since when settings are deployed; None where they are not."""
    answer = found(s3.head_object, Bucket=bucket, Key=f"settings/{fingerprint}.json")
    return answer["LastModified"] if answer else None
