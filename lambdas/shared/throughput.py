"""What one inference unit of the model really did in the last runs: one small object in the final bucket.

Runs have names that do not sort by time, and finding the newest summaries would take a listing that grows with the
past: so what is learned has an object of its own, and is read and written with one request each.
"""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from lambdas.shared.observability import logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from lambdas.shared.settings import Settings

KEY = "throughput.json"

_KEPT_RUNS = 5
# A smaller run says more of its begin and its end than of the model.
_ENOUGH_IMAGES = 500
# The median of some runs is no more than so many times, and no less than such a part of, what was configured.
_RANGE = 4.0
# So near to the account's quota, it was this that held the run up.
_QUOTA_SHARE = 0.9


def measurement(summary: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    """Give what a run shows of a unit's throughput; None when it shows nothing.

    A run that was never throttled may have had too little to do: it only shows that a unit can do no less.
    """
    each, units = summary["images_per_second_per_unit"], summary["inference_units"]
    if each is None or summary["images_processed"] < _ENOUGH_IMAGES:
        return None
    if each * units >= _QUOTA_SHARE * settings.account_images_per_second:
        return None
    if not summary["throttles"] and each <= settings.images_per_second_per_unit:
        return None
    return {"run_id": summary["run_id"], "model": _model(settings), "images_per_second_per_unit": each}


def learned(runs: Sequence[Mapping[str, Any]], settings: Settings) -> float:
    """Give the images a second that one inference unit is expected to do: as configured, or as the last runs show."""
    configured = settings.images_per_second_per_unit
    of_this_model = [float(run["images_per_second_per_unit"]) for run in runs if run.get("model") == _model(settings)]
    if not of_this_model:
        return configured
    return min(configured * _RANGE, max(configured / _RANGE, median(of_this_model)))


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
        body = json.dumps([*runs, found][-_KEPT_RUNS:], indent=1).encode()
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


def _model(settings: Settings) -> dict[str, Any]:
    return {"backend": settings.backend, **settings.backend_settings}
