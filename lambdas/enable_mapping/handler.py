"""Step of the workflow: bring the event source mapping nearer to enabled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger
from batch_vision.runs.steps import enable_mapping

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take the mapping, ``max_concurrency``, ``previous`` and the bounds; see `enabling.ensure_enabled`."""
    answer = enable_mapping(event)
    logger.info("mapping", extra={"run_id": event["run"]["id"]} | answer)
    return answer
