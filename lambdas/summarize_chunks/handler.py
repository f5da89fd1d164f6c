"""Last step of the workflow in an existing bucket: write what the run did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger, metrics
from batch_vision.runs.reporting import summarize_chunks

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@metrics.log_metrics
@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take what the workflow knows of the run, and return its ``summary``; see `reporting.summarize_chunks`."""
    summary = summarize_chunks(event)
    logger.info("run", extra=summary)
    return {"summary": summary}
