"""Step of the workflow: images whose event was lost, late or never sent go back on the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger
from batch_vision.images.requeue import requeue_images

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take the run, the two queues and ``requeued_before``; see `requeue.requeue_images`."""
    answer = requeue_images(event)
    logger.info("requeue", extra={"run_id": event["run"]["id"]} | answer)
    return answer
