"""The entries of images that were given up, in the final bucket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import list_entries
from batch_vision.core.stuck import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client


def list_stuck(s3: S3Client, bucket: str) -> set[str]:
    """Return the keys of all entries; one request for each thousand."""
    return {entry["Key"] for entry in list_entries(s3, bucket, PREFIX)}


def write_stuck(s3: S3Client, bucket: str, key: str, entry: Mapping[str, Any]) -> None:
    """Write an entry, over one that is there."""
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(entry, indent=1).encode(), ContentType="application/json")
