"""The end of a run: its summary is written and counted, and a run that succeeded is published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit
from botocore.exceptions import BotoCoreError, ClientError

from batch_vision.aws import clients
from batch_vision.aws.catalog import read_catalog
from batch_vision.core.observability import logger, metrics
from batch_vision.core.run_summaries import summary_key
from batch_vision.core.settings import settings_of
from batch_vision.core.times import from_text, utc_now
from batch_vision.runs.notices import facts, subject
from batch_vision.runs.settings import SummarizeRunSettings
from batch_vision.runs.summary import count_left, summarize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client

_METRICS = {
    "ImagesFound": ("images_found", MetricUnit.Count),
    "ImagesLeft": ("images_left", MetricUnit.Count),
    "ImagesStuck": ("images_stuck", MetricUnit.Count),
    "RunRetries": ("retries", MetricUnit.Count),
    "RunThrottles": ("throttles", MetricUnit.Count),
    "InferenceUnits": ("inference_units", MetricUnit.Count),
    "StartSeconds": ("start_seconds", MetricUnit.Seconds),
    "DrainSeconds": ("drain_seconds", MetricUnit.Seconds),
    "StopSeconds": ("stop_seconds", MetricUnit.Seconds),
    "ModelOnSeconds": ("model_on_seconds", MetricUnit.Seconds),
    "CostDollars": ("cost_dollars", MetricUnit.NoUnit),
}


def summarize_run(event: Mapping[str, Any]) -> dict[str, Any]:
    """Sum up the run, write ``runs/<run id>.json``, count it, and publish it when it succeeded.

    The workflow may call again when the answer was lost: the summary is written again, and published only once.

    Parameters
    ----------
    event
        See `summary.summarize`.

    Returns
    -------
    dict
        The summary.
    """
    settings, s3 = settings_of(SummarizeRunSettings), clients.s3()
    lines = read_catalog(s3, settings.final_bucket_name, from_text(event["run"]["started_at"]))
    summary = summarize(event, lines, count_left(s3, settings), settings, utc_now())
    is_first = _write(s3, settings.final_bucket_name, summary)
    _count(summary)
    if summary["outcome"] == "succeeded" and is_first and settings.success_topic_arn:
        _tell(summary, settings.success_topic_arn)
    return summary


def _write(s3: S3Client, bucket: str, summary: dict[str, Any]) -> bool:
    """Write the summary, over one that there is; return whether there was none."""
    key = summary_key(summary["run_id"])
    body, kind = json.dumps(summary, indent=2).encode(), "application/json"
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind, IfNoneMatch="*")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 412:
            raise
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind)
        return False
    return True


def _count(summary: dict[str, Any]) -> None:
    metrics.add_metric("RunsFailed", MetricUnit.Count, int(summary["outcome"] == "failed"))
    for name, (key, unit) in _METRICS.items():
        if summary[key] is not None:
            metrics.add_metric(name, unit, summary[key])
    if finished := summary["images_processed"] + summary["images_rejected"]:
        metrics.add_metric("RejectedPercent", MetricUnit.Percent, 100 * summary["images_rejected"] / finished)


def _tell(summary: dict[str, Any], topic_arn: str) -> None:
    """Publish a run that succeeded; the watchdog publishes the others."""
    name = summary["execution_arn"].split(":")[-2]
    lines = ["Nothing to do: the run is done, and the model is stopped.", "", *facts(summary)]
    try:
        clients.sns().publish(
            TopicArn=topic_arn,
            Subject=subject(f"{name}: {summary['images_processed']} images processed"),
            Message="\n".join(lines),
        )
    except (BotoCoreError, ClientError):
        # The run is done whether it is heard of or not.
        logger.exception("the notice was not sent")
