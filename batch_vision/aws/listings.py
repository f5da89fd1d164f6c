"""The two listings of an existing bucket that `core.joining` joins: its objects, and their results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from batch_vision.aws.objects import found, list_entries
from batch_vision.core.joining import Listed
from batch_vision.core.names import result_key
from batch_vision.core.scope import prefix_to_list, why_out_of_scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from batch_vision.core.scope import Scope

RESULTS_LONG = "results-long/"
_RESULTS = "results/"
_SUFFIX = ".json"


def list_images(s3: S3Client, bucket: str, prefix: str, scope: Scope, after: str = "") -> Iterator[Listed]:
    """List the objects under a prefix that may be in scope, after a key."""
    for entry in list_entries(s3, bucket, prefix_to_list(prefix, scope), after):
        reason = why_out_of_scope(entry["Key"], entry["Size"], scope) or ""
        yield Listed(entry["Key"], entry["LastModified"], entry.get("StorageClass", ""), reason)


def list_results(s3: S3Client, bucket: str, prefix: str, after: str = "") -> Iterator[Listed]:
    """List the results of the keys under a prefix, after a key; not those that have hashes for names."""
    begin = f"{_RESULTS}{after}{_SUFFIX}" if after else ""
    for entry in list_entries(s3, bucket, f"{_RESULTS}{prefix}", begin):
        if entry["Key"].endswith(_SUFFIX):
            yield Listed(entry["Key"].removeprefix(_RESULTS).removesuffix(_SUFFIX), entry["LastModified"])


def key_of_long_result(s3: S3Client, bucket: str, name: str) -> str | None:
    """Return the key whose result has a hash for a name, which only the result tells; None for none of ours."""
    answer = found(s3.get_object, Bucket=bucket, Key=name)
    try:
        key = json.loads(answer["Body"].read())["source"]["key"] if answer else None
    except (KeyError, RecursionError, TypeError, ValueError):
        return None
    return key if isinstance(key, str) and result_key(key) == name else None
