"""The function that looks at what changed in an existing bucket, whether a model runs or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.core.observability import logger, metrics
from batch_vision.images.collecting import collect_changes

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.typing import LambdaContext


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Take a batch of SQS messages and answer which of them are to be delivered again."""
    return collect_changes(event, context)
