"""The watchdog: called by EventBridge and by Terraform, never by the workflow that it looks after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.core.observability import logger, metrics
from batch_vision.runs.watchdog import look_after

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take ``task``, what it is about, ``poll_seconds`` and ``alert_topic_arn``; see `Guard.run`.

    Terraform calls it when a resource is made, changed and destroyed, and only the last is of interest.
    """
    if event.get("tf", {}).get("action", "delete") != "delete":
        return {}
    answer: dict[str, Any] = metrics.log_metrics(look_after)(event, context)
    return answer
