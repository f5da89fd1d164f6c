"""Step of the workflow: how much work is there, and does it move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger
from batch_vision.runs.steps import check_backlog

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take the run and the queue; in the drain also what was done so far, and the bounds; see `backlog.assess`."""
    answer = check_backlog(event)
    logger.info("backlog", extra={"run_id": event["run"]["id"]} | answer)
    return answer
