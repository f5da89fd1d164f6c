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
            # Not `splitlines`: a key may hold U+2028 and other characters that it takes for the end of a line.
            yield from (json.loads(line) for line in text.split("\n") if line)


def read_error(error: Mapping[str, str]) -> dict[str, str]:
    """Read the error that Step Functions caught; the cause of a function's error is a JSON text with its message."""
    cause = error.get("Cause", "")
    try:
        message = json.loads(cause)["errorMessage"]
    except (KeyError, TypeError, ValueError):
        message = cause
    return {"type": error.get("Error", ""), "message": message}


def summarize(event: Mapping[str, Any], lines: Iterator[dict[str, Any]], now: datetime) -> dict[str, Any]:
    """Sum up a run.

    Parameters
    ----------
    event
        What the workflow knows: ``run``, ``backlog``, ``started``, ``processed`` (None after an error), ``stop``
        (None when the model could not be stopped) and ``error``.
    lines
        The catalog lines of the run's time.

    Returns
    -------
    dict
        Times, counts, inference units, ``model_on_seconds`` from the request to start until the confirmed stop
        (None when there was no start, or the stop was not confirmed), and the error if there was one.
    """
    # By upload, because a message may be delivered again; and no more of a line than is counted, because a run may
    # have half a million of them.
    outcomes = {(line["key"], line["version_id"]): (line["status"], line["error_type"]) for line in lines}
    statuses = Counter(status for status, _ in outcomes.values())
    rejected = Counter(error_type for status, error_type in outcomes.values() if status == "rejected")
    processed, stop = event["processed"], event["stop"]
    model = processed["model"] if processed else None
    stopped_at = stop["stopped_at"] if stop else None
    requested_at = model["requested_at"] if model else event["started"]["at"]
    model_on_seconds = None
    if requested_at and stopped_at:
        model_on_seconds = round((from_text(stopped_at) - from_text(requested_at)).total_seconds(), 3)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": event["run"]["id"],
        "execution_arn": event["run"]["execution_arn"],
        "started_at": event["run"]["started_at"],
        "ended_at": to_text(now),
        "outcome": "failed" if event["error"] else "succeeded",
        "error": event["error"] and read_error(event["error"]),
        "images_found": event["backlog"]["images"],
        "images_processed": statuses["processed"],
        "images_rejected": statuses["rejected"],
        "rejected_by_reason": dict(sorted(rejected.items())),
        "requeued_images": processed["requeue"]["requeued_images"] if processed else None,
        "inference_units": model["inference_units"] if model else None,
        "model_requested_at": requested_at,
        "model_running_at": model["running_at"] if model else None,
        "model_stopped_at": stopped_at,
        "model_on_seconds": model_on_seconds,
    }
