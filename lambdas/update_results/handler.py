"""The function that the queue of an existing bucket calls: bring results in step with the objects that events name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.core.observability import logger, metrics
from batch_vision.images.updating import update_results

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.typing import LambdaContext


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Take a batch of SQS messages and answer which of them are to be delivered again."""
    return update_results(event, context)
