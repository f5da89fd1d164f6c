"""The summary of one run, from the catalog objects of its own time."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lambdas.shared.catalog import PREFIX, catalog_key
from lambdas.shared.clients import MAX_CONNECTIONS
from lambdas.shared.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

SCHEMA_VERSION = 1


def read_catalog(s3: S3Client, bucket: str, since: datetime) -> Iterator[dict[str, Any]]:
    """Give the catalog lines written since a time; the requests grow with them and not with what came before."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX, StartAfter=catalog_key(since))
    keys = (entry["Key"] for page in pages for entry in page.get("Contents", []))

    def read(key: str) -> str:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()

    with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
        for text in pool.map(read, keys):
            yield from (json.loads(line) for line in text.splitlines())


def summarize(event: Mapping[str, Any], lines: Iterator[dict[str, Any]], now: datetime) -> dict[str, Any]:
    """Sum up a run.

    Parameters
    ----------
    event
        What the workflow knows: ``run``, ``backlog``, ``processed`` (None after an error), ``stop`` (None when
        the model could not be stopped) and ``error``.
    lines
        The catalog lines of the run's time.

    Returns
    -------
    dict
        Times, counts, inference units, ``model_on_seconds`` from the request to start until the confirmed stop
        (None when one of them is unknown), and the error if there was one.
    """
    outcomes = {(line["key"], line["version_id"]): line for line in lines}
    statuses = Counter(line["status"] for line in outcomes.values())
    rejected = Counter(line["error_type"] for line in outcomes.values() if line["status"] == "rejected")
    processed, stop = event["processed"], event["stop"]
    model = processed["model"] if processed else None
    stopped_at = stop["stopped_at"] if stop else None
    model_on_seconds = None
    if model and stopped_at:
        on = from_text(stopped_at) - from_text(model["requested_at"])
        model_on_seconds = round(on.total_seconds(), 3)
    error = event["error"]
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": event["run"]["id"],
        "execution_arn": event["run"]["execution_arn"],
        "started_at": event["run"]["started_at"],
        "ended_at": to_text(now),
        "outcome": "failed" if error else "succeeded",
        "error": {"type": error.get("Error", ""), "message": error.get("Cause", "")} if error else None,
        "images_found": event["backlog"]["images"],
        "images_processed": statuses["processed"],
        "images_rejected": statuses["rejected"],
        "rejected_by_reason": dict(sorted(rejected.items())),
        "requeued_images": processed["requeue"]["requeued_images"] if processed else None,
        "inference_units": model["inference_units"] if model else None,
        "model_requested_at": model["requested_at"] if model else None,
        "model_running_at": model["running_at"] if model else None,
        "model_stopped_at": stopped_at,
        "model_on_seconds": model_on_seconds,
    }
