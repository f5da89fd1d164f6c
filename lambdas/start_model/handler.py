"""Step of the workflow: bring the model nearer to running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.aws.current_run import write_current_run
from batch_vision.backends.registry import backend_of_run, check_unchanged
from batch_vision.core.observability import logger
from batch_vision.core.settings import settings
from batch_vision.core.times import utc_now
from batch_vision.runs.start import ensure_running

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take the run's id and backend, ``backlog_images``, ``previous`` and two times; see `ensure_running`."""
    previous = event["previous"]
    run = (event["backend"], event["backend_settings"])
    check_unchanged(*run)
    run_id = event.get("run_id")  # an execution that was begun before an apply has none
    if run_id and previous is None:
        write_current_run(clients.s3(), settings().final_bucket_name, run_id)
    model = ensure_running(
        backend_of_run(*run),
        settings(),
        event["backlog_images"],
        previous,
        event["timeout_seconds"],
        utc_now(),
        event["poll_seconds"],
    )
    logger.info("model", extra={"run_id": run_id} | model)
    return model
