"""The function that the dispatcher calls about a job of a video that stays in its bucket: its answers, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.core.observability import logger
from batch_vision.videos.finishing import collect_video

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Take the id of a record, and take its job as far as it can go."""
    collect_video(event, context)
