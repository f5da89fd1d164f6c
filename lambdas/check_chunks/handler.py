"""Step of the workflow in an existing bucket: how much work is there, and does it move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger
from batch_vision.runs.steps import check_chunks

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take what `check_backlog` takes, and ``requeue``, the last answer of `send_chunks`; see `backlog.assess`."""
    answer = check_chunks(event)
    logger.info("backlog", extra={"run_id": event["run"]["id"]} | answer)
    return answer
