"""Step of a backfill: write down which keys are to be looked at, as far as the time of one call goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import control_calls
from batch_vision.core.observability import logger
from batch_vision.images.planning import plan_backfill

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
@control_calls()
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take ``job``, and ``request`` where the job has none yet; see `planning.plan_backfill`."""
    answer = plan_backfill(event, lambda: context.get_remaining_time_in_millis() / 1000)
    logger.info("plan", extra={"job": event["job"]} | answer)
    return answer
