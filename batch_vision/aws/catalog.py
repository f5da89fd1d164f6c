"""The catalog: one JSON line for each finished image, one object for each Lambda batch.

Keys sort by time, so a reader starts where it needs to (`StartAfter`) and never lists the past.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from batch_vision.aws.clients import MAX_CONNECTIONS
from batch_vision.aws.objects import list_entries
from batch_vision.aws.parallel import in_parallel
from batch_vision.core.catalog import upgraded
from batch_vision.core.times import to_text

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

PREFIX = "catalog/"
_WITHOUT_MODEL = "-looked"

# Objects that are read at once and kept until their lines are used: some kB each, and 100 images at most.
_WINDOW = 8 * MAX_CONNECTIONS
# The same where a reader stops in the middle and what it has not used is read again, or where a thousand images are in
# each.
_SMALL_WINDOW = 2 * MAX_CONNECTIONS
_SMALL_WINDOW_BYTES = 16 * 1024**2


def catalog_key(moment: datetime, name: str = "") -> str:
    """Return the key of a catalog object written at a time; without a name, the place just before all of that time.

    Parameters
    ----------
    moment
        When the batch was finished.
    name
        What tells this batch from others of the same millisecond: the id of the invocation.
    """
    text = to_text(moment)
    stamp = text.replace("-", "").replace(":", "")
    partition = f"{PREFIX}dt={text[:10]}/hour={text[11:13]}/"
    return f"{partition}{stamp}-{name}.jsonl" if name else f"{partition}{stamp}"


def name_without_model(name: str) -> str:
    """Return the name of a catalog object of a function that does not ask the model."""
    return f"{name}{_WITHOUT_MODEL}"


def is_without_model(key: str) -> bool:
    """Return whether a function that does not ask the model wrote a catalog object."""
    return key.removesuffix(".jsonl").endswith(_WITHOUT_MODEL)


def write_lines(s3: S3Client, bucket: str, key: str, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write one catalog object of one JSON line for each image."""
    body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    s3.put_object(Bucket=bucket, Key=key, Body=body.encode(), ContentType="application/x-ndjson")


def keys_since(s3: S3Client, bucket: str, since: datetime) -> Iterator[str]:
    """List the keys of the catalog objects written since a time; what came before costs nothing."""
    return (entry["Key"] for entry in list_entries(s3, bucket, PREFIX, catalog_key(since)))


def read_lines(s3: S3Client, bucket: str, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Return the lines of catalog objects in the form of now, in the order of the keys.

    No more than a window of objects is kept.
    """

    def read(key: str) -> str:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()

    for _, text in in_parallel(read, keys, at_once=_WINDOW):
        # Not `splitlines`: a key may hold U+2028 and other characters that it takes for the end of a line.
        yield from (upgraded(json.loads(line)) for line in text.split("\n") if line)


def read_objects(s3: S3Client, bucket: str, entries: Iterable[Any]) -> Generator[tuple[str, list[bytes]]]:
    """Return the keys and the lines, as they were written, of catalog objects, in their order.

    Parameters
    ----------
    entries
        As ListObjectsV2 has them. No more of them are read ahead than fit into a little memory.
    """

    def read(key: str) -> bytes:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
        for keys in _small_windows(entries):
            for key, body in zip(keys, pool.map(read, keys), strict=True):
                yield key, [line for line in body.split(b"\n") if line]


def _small_windows(entries: Iterable[Any]) -> Iterator[list[str]]:
    keys: list[str] = []
    size_bytes = 0
    for entry in entries:
        if keys and (len(keys) == _SMALL_WINDOW or size_bytes + entry["Size"] > _SMALL_WINDOW_BYTES):
            yield keys
            keys, size_bytes = [], 0
        keys.append(entry["Key"])
        size_bytes += entry["Size"]
    if keys:
        yield keys


def read_catalog(s3: S3Client, bucket: str, since: datetime) -> Iterator[dict[str, Any]]:
    """Return the catalog lines written since a time; the requests grow with them and not with what came before."""
    return read_lines(s3, bucket, keys_since(s3, bucket, since))
