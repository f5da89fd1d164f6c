"""The function that a backfill of a managed model calls for each chunk, until nothing is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.core.observability import logger, metrics
from batch_vision.images.working_off import work_off_chunk

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take ``chunk`` and ``previous``, the answer of the call before; see `working_off.work_off_chunk`."""
    return work_off_chunk(event, context)
