"""What the last runs showed of the model's throughput: one small object in the final bucket.

Runs have names that do not sort by time, and finding the newest summaries would take a listing that grows with the
past: so what is learned has an object of its own, and is read and written with one request each.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from batch_vision.core.observability import logger
from batch_vision.runs.throughput import KEPT_RUNS, learned, measurement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client

    from batch_vision.core.settings import Settings

KEY = "throughput.json"


def read_learned(s3: S3Client, settings: Settings) -> float:
    """Read what the last runs show; whatever is wrong with that, what was configured will do."""
    try:
        return learned(_read(s3, settings), settings)
    except (BotoCoreError, ClientError, AttributeError, KeyError, TypeError, ValueError):
        logger.warning("the throughput of the last runs cannot be read", exc_info=True)
        return settings.images_per_second_per_unit


def learn(s3: S3Client, settings: Settings, summary: Mapping[str, Any]) -> None:
    """Keep what a run shows, if anything; a failure here is logged, because the run is done."""
    if not (found := measurement(summary, settings)):
        return
    try:
        try:
            runs = [run for run in _read(s3, settings) if run["run_id"] != found["run_id"]]
        except (KeyError, TypeError, ValueError):
            runs = []  # not as we write it: it is begun anew
        body = json.dumps([*runs, found][-KEPT_RUNS:], indent=1).encode()
        s3.put_object(Bucket=settings.final_bucket_name, Key=KEY, Body=body, ContentType="application/json")
    except (BotoCoreError, ClientError):
        logger.exception("the throughput of the run was not kept")


def _read(s3: S3Client, settings: Settings) -> list[dict[str, Any]]:
    try:
        answer = s3.get_object(Bucket=settings.final_bucket_name, Key=KEY)
    except s3.exceptions.NoSuchKey:
        return []
    runs: list[dict[str, Any]] = json.loads(answer["Body"].read())
    return runs
