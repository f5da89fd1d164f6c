"""Step of the workflow: bring the model nearer to stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.backends.registry import backend_of_run
from batch_vision.core.observability import logger
from batch_vision.core.times import from_text, utc_now
from batch_vision.runs.stop import ensure_stopped

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take the run's backend, ``requested_at`` and ``timeout_seconds``; see `ensure_stopped`."""
    stop = ensure_stopped(
        backend_of_run(event["backend"], event["backend_settings"]),
        from_text(event["requested_at"]),
        event["timeout_seconds"],
        utc_now(),
    )
    logger.info("model", extra={"run_id": event.get("run_id")} | stop)
    return stop
