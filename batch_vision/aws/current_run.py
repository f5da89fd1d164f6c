"""The name of the run under way, for the log of the function that the queue calls: its messages know of no run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from batch_vision.core.observability import logger

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "current-run.json"


def write_current_run(s3: S3Client, bucket: str, run_id: str) -> None:
    """Write down which run is under way; a failure is logged only, because the run does not need it."""
    try:
        s3.put_object(Bucket=bucket, Key=KEY, Body=json.dumps({"run_id": run_id}), ContentType="application/json")
    except (BotoCoreError, ClientError):
        logger.exception("current run not written")


def read_current_run(s3: S3Client, bucket: str) -> str | None:
    """Read which run is under way; None where that cannot be told."""
    try:
        run_id: str = json.loads(s3.get_object(Bucket=bucket, Key=KEY)["Body"].read())["run_id"]
    except (BotoCoreError, ClientError, KeyError, TypeError, ValueError) as error:
        logger.warning("current run not read", extra={"error": repr(error)})
        return None
    return run_id
