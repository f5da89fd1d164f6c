"""The steps of a run, as the workflow calls them: what they are given, from which services, and what they answer.

What each step decides is in a module of its own. ``run`` is the same in every event: ``id``, ``execution_arn``,
``started_at``, and ``backend`` and ``backend_settings`` of the model that the run was begun with.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.aws.chunks import list_chunks
from batch_vision.aws.current_run import close_current_run, write_current_run
from batch_vision.aws.mappings import EventSourceMapping
from batch_vision.aws.queues import count_messages
from batch_vision.aws.translation import control_calls
from batch_vision.backends.registry import lifecycle_of
from batch_vision.core.errors import TransientError
from batch_vision.core.models import Model, check_unchanged
from batch_vision.core.settings import settings_of
from batch_vision.core.times import from_text, utc_now
from batch_vision.runs.backlog import (
    MOST_CHUNKS_COUNTED,
    Drain,
    assess,
    count_chunks,
    count_waiting,
    deferred_because,
    finished_since,
    first_answer,
    is_to_look_at_model,
)
from batch_vision.runs.closing import Bounds, close
from batch_vision.runs.enabling import ensure_enabled
from batch_vision.runs.settings import CheckBacklogSettings, CheckChunksSettings, CloseRunSettings, StartModelSettings
from batch_vision.runs.start import ensure_running

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_vision.backends.contracts import ModelStatus
    from batch_vision.runs.backlog import Waiting


def check_backlog(event: Mapping[str, Any]) -> dict[str, Any]:
    """Say how much waits, and in a drain whether it moves; see `assess`.

    The first check of a run that the schedule started (its ``execution_input`` is EventBridge's event) also answers as
    ``held`` why the images do not pay for a start yet; ``images`` is then 0.
    """
    settings = settings_of(CheckBacklogSettings)
    waiting = count_waiting(clients.s3(), settings)
    return _check(event, settings, waiting, is_requeued=event.get("is_requeued", False))


def check_chunks(event: Mapping[str, Any]) -> dict[str, Any]:
    """Do what `check_backlog` does where what waits is in chunks; ``requeue`` is what `send_chunks` answered last."""
    settings = settings_of(CheckChunksSettings)
    waiting, youngest = count_chunks(list_chunks(clients.s3(), settings.final_bucket_name, MOST_CHUNKS_COUNTED))
    return _check(event, settings, waiting, youngest=youngest, sent=event.get("requeue"))


def _check(
    event: Mapping[str, Any],
    settings: CheckBacklogSettings | CheckChunksSettings,
    waiting: Waiting,
    *,
    is_requeued: bool = False,
    youngest: str = "",
    sent: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    s3, now = clients.s3(), utc_now()
    model = Model.from_json(event["run"])
    previous, drain = event.get("previous"), Drain.from_event(event)
    if drain:
        check_unchanged(settings.model, model)
    is_moving = previous is not None and finished_since(
        s3, settings.final_bucket_name, from_text(previous["checked_at"])
    )
    is_to_look = drain is not None and is_to_look_at_model(waiting, previous, is_moving=is_moving)
    backlog = assess(
        waiting,
        count_messages(clients.sqs(), event["queue_url"]),
        previous,
        now,
        is_moving=is_moving,
        is_requeued=is_requeued,
        youngest=youngest,
        sent=sent,
        model=_describe(model) if is_to_look else None,
        drain=drain,
    )
    if drain:
        return backlog
    return first_answer(backlog, deferred_because(waiting, settings, now) if _is_scheduled(event) else None)


def start_model(event: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the model nearer to running; see `ensure_running`.

    Which model that is, is written down before it is asked to start: see `current_run`.
    """
    run, previous, drain = event["run"], event["previous"], event["drain"]
    settings, model = settings_of(StartModelSettings), Model.from_json(run)
    check_unchanged(settings.model, model)
    if previous is None:
        write_current_run(clients.s3(), settings.final_bucket_name, run["id"], run["execution_arn"], model)
    return ensure_running(
        lifecycle_of(model),
        settings,
        drain["images"] if drain else event["backlog_images"],
        previous,
        event["timeout_seconds"],
        utc_now(),
        event["poll_seconds"],
        drain["restarts"] if drain else 0,
    )


def enable_mapping(event: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the mapping nearer to enabled; see `ensure_enabled`."""
    return ensure_enabled(
        EventSourceMapping(clients.functions(), event["event_source_mapping_uuid"]),
        event["max_concurrency"],
        event["previous"],
        event["timeout_seconds"],
        event["poll_seconds"],
        utc_now(),
    )


def close_run(event: Mapping[str, Any]) -> dict[str, Any]:
    """Bring everything nearer to off; see `close`."""

    def count_in_flight() -> int:
        with control_calls():
            return count_messages(clients.sqs(), event["queue_url"])["in_flight"]

    now = utc_now()
    answer = close(
        EventSourceMapping(clients.functions(), event["event_source_mapping_uuid"]),
        [lifecycle_of(Model.from_json(event["run"]))],
        count_in_flight,
        event["previous"] if event["previous"]["requested_at"] else None,
        Bounds.from_event(event),
        now,
    )
    if answer["is_closed"]:
        close_current_run(clients.s3(), settings_of(CloseRunSettings).final_bucket_name, event["run"]["id"], now)
    return answer


def _describe(model: Model) -> ModelStatus | None:
    with suppress(TransientError):  # asked again at the next check
        return lifecycle_of(model).describe()
    return None


def _is_scheduled(event: Mapping[str, Any]) -> bool:
    given = event.get("execution_input")
    return isinstance(given, dict) and given.get("source") == "aws.events"
