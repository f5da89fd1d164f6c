"""Bring the model down: one convergent step, called until the service itself says that the model is stopped."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.backends.base import ModelState
from batch_vision.core import errors
from batch_vision.core.times import to_text

if TYPE_CHECKING:
    from datetime import datetime

    from batch_vision.backends.base import Backend

# What is not known to be off may be costing money.
ON = (ModelState.STARTING, ModelState.RUNNING, ModelState.STOPPING, ModelState.UNKNOWN)


def ensure_stopped(backend: Backend, requested_at: datetime, timeout_seconds: int, now: datetime) -> dict[str, Any]:
    """Do what brings the model nearer to stopped, and say how it stands.

    A model that is starting may refuse to stop until it runs; it is asked again each time.

    Parameters
    ----------
    requested_at
        When the stop was wanted first.
    timeout_seconds
        How long after that the stop must be confirmed.

    Returns
    -------
    dict
        ``status`` (the service's word), ``is_stopped`` and ``stopped_at`` (None until then).

    Raises
    ------
    ModelStopTimeoutError
        The service did not confirm in time: somebody must look, because the model may be costing money.
    """
    status = backend.describe()
    is_stopped = status.state not in ON
    if not is_stopped:
        if now - requested_at > timedelta(seconds=timeout_seconds):
            raise errors.ModelStopTimeoutError(
                f"Model {backend.model_id} is still {status.service_status}; it was asked to stop at"
                f" {to_text(requested_at)} and did not within stop_timeout_seconds = {timeout_seconds}."
                " It may be costing money: stop it by hand, and look at the service's own status page."
            )
        if status.state is not ModelState.STOPPING:
            with suppress(errors.ModelBusyError):
                backend.stop()
    return {
        "status": status.service_status,
        "is_stopped": is_stopped,
        "stopped_at": to_text(now) if is_stopped else None,
    }
