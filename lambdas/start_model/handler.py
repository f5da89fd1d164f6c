"""Step of the workflow: bring the model nearer to running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger
from batch_vision.runs.steps import start_model

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take the run, ``backlog_images``, ``drain``, ``previous`` and the bounds; see `start.ensure_running`."""
    answer = start_model(event)
    logger.info("model", extra={"run_id": event["run"]["id"]} | answer)
    return answer
