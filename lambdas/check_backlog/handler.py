"""Step of the workflow: how much work is there, and does it move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.backends.registry import check_unchanged
from batch_vision.core.observability import logger
from batch_vision.core.settings import settings
from batch_vision.core.times import from_text, utc_now
from batch_vision.runs.backlog import (
    Drain,
    assess,
    count_dead_letters,
    count_objects,
    finished_since,
    held_because,
    with_held,
)

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Take ``messages`` and ``dead_letter_queue_url``; in the drain also ``previous``, ``is_requeued``, a `Drain`.

    The first check of a run that the schedule started (its ``execution_input`` is EventBridge's event) also answers as
    ``held`` why the images do not pay for a start yet; ``images`` is then 0.
    """
    s3, chosen, now = clients.s3(), settings(), utc_now()
    previous = event.get("previous")
    drain = Drain.from_event(event)
    if drain:
        check_unchanged(event["backend"], event["backend_settings"])
    objects = count_objects(s3, chosen.source_bucket_name, chosen.source_prefix)
    is_idle = objects.total > 0 and not any(event["messages"].values())
    backlog = assess(
        objects,
        event["messages"],
        previous,
        now,
        is_moving=previous is not None
        and finished_since(s3, chosen.final_bucket_name, from_text(previous["checked_at"])),
        is_requeued=event.get("is_requeued", False),
        dead_letters=count_dead_letters(clients.sqs(), event["dead_letter_queue_url"]) if is_idle else 0,
        drain=drain,
    )
    if drain is None:
        backlog = with_held(backlog, held_because(objects, chosen, now) if _is_scheduled(event) else None)
    logger.info("backlog", extra={"run_id": event.get("run_id")} | backlog)
    return backlog


def _is_scheduled(event: dict[str, Any]) -> bool:
    given = event.get("execution_input")
    return isinstance(given, dict) and given.get("source") == "aws.events"
