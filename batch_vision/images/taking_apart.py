"""What becomes of a chunk that functions died of: each of its keys is tried alone, and one that was is given up."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key, name_without_model, write_lines
from batch_vision.aws.chunks import delete_chunk, read_chunk, write_chunk
from batch_vision.aws.objects import found
from batch_vision.core.backfills import cancelled_key
from batch_vision.core.chunks import job_of, split
from batch_vision.core.errors import FunctionDiedError
from batch_vision.core.times import utc_now

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from batch_vision.images.keys import Keys

_DIED = "The analyzing function ended without an answer at every delivery of the image's message."


def take_apart(s3: S3Client, bucket: str, keys: Keys, chunk_key: str) -> int:
    """Split a chunk, or give its only image up; return how many keys it had, 0 where it is gone.

    Raises
    ------
    ValueError
        It is no chunk.
    """
    whole = read_chunk(s3, bucket, chunk_key)
    if whole is None:
        return 0
    chunk, version_id = whole
    if len(chunk.keys) == 1:
        update = keys.give_up(chunk.keys[0], FunctionDiedError(_DIED))
        write_lines(s3, bucket, catalog_key(utc_now(), name_without_model(uuid.uuid4().hex)), update.lines)
    else:
        singles = split(chunk_key, chunk)

        def forget(key: str) -> None:
            if there := read_chunk(s3, bucket, key):
                delete_chunk(s3, bucket, key, there[1])

        with ThreadPoolExecutor(clients.MAX_CONNECTIONS) as pool:
            # One that is there already is of a call that died.
            list(pool.map(lambda single: write_chunk(s3, bucket, *single), singles.items()))
            # Looked at after they were written: whoever cancels after that finds them, and deletes them.
            if found(s3.head_object, Bucket=bucket, Key=cancelled_key(job_of(chunk_key))):
                list(pool.map(forget, singles))
    delete_chunk(s3, bucket, chunk_key, version_id)
    return len(chunk.keys)
