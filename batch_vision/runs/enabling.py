"""Enable the event source mapping: one convergent step, called until Lambda says that it is enabled."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.aws.mappings import DISABLED, ENABLED
from batch_vision.core import errors
from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batch_vision.aws.mappings import EventSourceMapping


def ensure_enabled(
    mapping: EventSourceMapping,
    max_concurrency: int,
    previous: Mapping[str, Any] | None,
    timeout_seconds: int,
    poll_seconds: int,
    now: datetime,
) -> dict[str, Any]:
    """Do what brings the mapping nearer to enabled, and say how it stands.

    It is asked only while it is disabled: one that is in transition refuses any change. What it makes of the request
    is seen at the next step.

    Parameters
    ----------
    max_concurrency
        Invocations of the analyzing function at the same time: what keeps the model busy.
    previous
        What the step before returned; None for the first.
    timeout_seconds
        How long after the first step the mapping must be enabled.
    poll_seconds
        Until the next step.

    Returns
    -------
    dict
        ``state`` (Lambda's word), ``is_enabled``, ``requested_at`` and ``wait_seconds`` until the next step.

    Raises
    ------
    MappingNotFoundError
        Somebody deleted the mapping.
    MappingNotEnabledError
        It was not enabled in time.
    """
    # A mapping that was enabled before in this run, and is not now, has its time anew.
    is_waiting = previous is not None and not previous["is_enabled"]
    requested_at = from_text(previous["requested_at"]) if previous and is_waiting else now
    state = mapping.state()
    if state != ENABLED:
        if now - requested_at > timedelta(seconds=timeout_seconds):
            raise errors.MappingNotEnabledError(
                f"Event source mapping {mapping.uuid} is still {state}; it was asked to be enabled at"
                f" {to_text(requested_at)} and was not within timings.mapping_timeout_seconds = {timeout_seconds}. Look"
                " at its State and LastProcessingResult."
            )
        if state == DISABLED:
            with suppress(errors.MappingBusyError):
                mapping.enable(max_concurrency)
    return {
        "state": state,
        "is_enabled": state == ENABLED,
        "requested_at": to_text(requested_at),
        "wait_seconds": poll_seconds,
    }
