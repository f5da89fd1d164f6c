"""Step of the workflow: objects whose event was lost, late or never sent go back on the queue."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.core.observability import logger
from batch_vision.core.settings import settings
from batch_vision.images.requeue import list_uploads, send

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take ``queue_url`` and ``requeued_before``; answer ``requeued_images``, of the run, and ``is_done``.

    Not done means that the bound was reached and more may wait.
    """
    chosen = settings()
    uploads = list_uploads(clients.s3(), chosen.source_bucket_name, chosen.source_prefix)
    sent = send(clients.sqs(), event["queue_url"], islice(uploads, chosen.requeue_limit_images))
    answer = {"requeued_images": event["requeued_before"] + sent, "is_done": sent < chosen.requeue_limit_images}
    logger.info("requeue", extra={"run_id": event.get("run_id")} | answer)
    return answer
