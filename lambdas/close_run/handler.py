"""Step of the workflow, the way out of every run: disable the mapping and stop the model, both at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger
from batch_vision.runs.steps import close_run

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take the run, the mapping, the queue, ``previous`` and the bounds; see `closing.close`."""
    answer = close_run(event)
    logger.info("close", extra={"run_id": event["run"]["id"]} | answer)
    return answer
