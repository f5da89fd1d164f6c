"""Called at the end of each run, and by EventBridge for a managed model: the catalog gets an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger, metrics
from batch_vision.runs.compacting import compact_catalog

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@metrics.log_metrics
@logger.inject_lambda_context
@control_calls()
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take nothing of the event; see `compacting.compact`."""
    answer = compact_catalog(lambda: context.get_remaining_time_in_millis() / 1000)
    logger.info("compaction", extra=answer)
    return answer
