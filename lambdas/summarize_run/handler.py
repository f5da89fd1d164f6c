"""Last step of the workflow: write what the run did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit

from lambdas.shared import clients
from lambdas.shared.observability import logger, metrics
from lambdas.shared.settings import settings
from lambdas.shared.times import from_text, utc_now
from lambdas.summarize_run.summary import read_catalog, summarize

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take what the workflow knows of the run, write ``runs/<run id>.json`` and answer it as ``summary``."""
    bucket, s3 = settings().final_bucket_name, clients.s3()
    lines = read_catalog(s3, bucket, from_text(event["run"]["started_at"]))
    summary = summarize(event, lines, utc_now())
    s3.put_object(
        Bucket=bucket,
        Key=f"runs/{summary['run_id']}.json",
        Body=json.dumps(summary, indent=2).encode(),
        ContentType="application/json",
    )
    metrics.add_metric("RunsFailed", MetricUnit.Count, int(summary["outcome"] == "failed"))
    if summary["model_on_seconds"] is not None:
        metrics.add_metric("ModelOnSeconds", MetricUnit.Seconds, summary["model_on_seconds"])
    logger.info("run", extra=summary)
    return {"summary": summary}
