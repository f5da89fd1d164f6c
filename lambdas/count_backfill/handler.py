"""Step of a backfill: count what is left of it, and write its summary when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger
from batch_vision.images.planning import count_backfill

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take ``job``, ``left`` and ``error``; see `planning.count_backfill`."""
    answer = count_backfill(event)
    logger.info("backfill", extra={"job": event["job"]} | answer)
    return answer
