"""The function that the schedule and the queue of hints call: jobs are looked at, started and handed to a collector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.core.observability import logger, metrics
from batch_vision.videos.dispatching import dispatch_videos

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take an event of the schedule, or a batch of SQS messages: all of them are acknowledged."""
    dispatch_videos(event, context)
