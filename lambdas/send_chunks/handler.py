"""Step of the workflow in an existing bucket: each chunk that waits gets a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger, metrics
from batch_vision.images.sending import send_chunks

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@metrics.log_metrics
@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take the run, the two queues and ``requeue``, the last answer; see `sending.send_chunks`."""
    answer = send_chunks(event)
    logger.info("requeue", extra={"run_id": event["run"]["id"]} | answer)
    return answer
