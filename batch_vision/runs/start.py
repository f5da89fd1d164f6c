"""Bring the model up: one convergent step, called until it says that the model runs."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from batch_vision.core.capacity import concurrency_for, images_per_second, units_for
from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batch_vision.backends.contracts import Lifecycle, ModelStatus
    from batch_vision.core.capacity import CapacitySettings

# AWS says that a start takes 10 to 30 minutes: before that, looks are rarer.
_LEAST_START_SECONDS = 600


def ensure_running(
    model: Lifecycle,
    settings: CapacitySettings,
    backlog_images: int,
    previous: Mapping[str, Any] | None,
    timeout_seconds: int,
    now: datetime,
    poll_seconds: int = 30,
    restarts: int = 0,
) -> dict[str, Any]:
    """Do what brings the model nearer to running, and say how it stands.

    Parameters
    ----------
    previous
        What the step before answered; None for the first.
    timeout_seconds
        How long after the first step the model must run.
    poll_seconds
        The longest wait between two steps.
    restarts
        How often the model failed in mid-run and was to be started again: a start of its own, with its own time.

    Returns
    -------
    dict
        ``status`` (the service's word), ``is_running``, ``inference_units``; ``requested_at`` (the first step of the
        run), ``asked_at`` (the first step of this start), ``running_at`` (of the first start; None until it runs) and
        ``restarts``; what these units can do: ``images_per_second``, and the ``max_concurrency`` of the analyzing
        function that keeps them busy; and ``wait_seconds`` until the next step.

    Raises
    ------
    ModelNotTrainedError, ModelUnavailableError, ModelNotFoundError, ModelQuotaError
        It can't be started, not even with the fewest units; trying again would not help.
    ModelFailedError
        It failed on its way up.
    ModelStartTimeoutError
        It did not run in time.
    """
    start = previous if previous and previous["restarts"] == restarts else None
    asked_at = from_text(start["asked_at"]) if start else now
    units = start["inference_units"] if start else 0
    times = {
        "requested_at": previous["requested_at"] if previous else to_text(now),
        "asked_at": to_text(asked_at),
        "running_at": previous["running_at"] if previous else None,
        "restarts": restarts,
    }
    status = model.describe()
    if status.state is ModelState.RUNNING:
        units = status.inference_units or units or settings.min_inference_units
        return (
            _answer(status, units, settings, is_running=True)
            | times
            | {
                "running_at": times["running_at"] or to_text(now),
                "wait_seconds": 0,
            }
        )
    if status.state is ModelState.NOT_TRAINED:
        raise errors.ModelNotTrainedError(
            f"{_named(model, status)} Train the model, or set the variable of a model that is trained."
        )
    if status.state in (ModelState.UNAVAILABLE, ModelState.UNKNOWN):
        raise errors.ModelUnavailableError(f"{_named(model, status)} Choose another model in your tfvars.")
    # A failure from before this run is no reason not to try; one since our own start is.
    if status.state is ModelState.FAILED and units:
        raise errors.ModelFailedError(f"{_named(model, status)} It failed while it was starting.")
    if now - asked_at > timedelta(seconds=timeout_seconds):
        raise errors.ModelStartTimeoutError(
            f"{_named(model, status)} It was asked to start at {to_text(asked_at)} and did not run within"
            f" timings.start_timeout_seconds = {timeout_seconds}. Raise it if the model needs longer."
        )
    if status.state in (ModelState.STOPPED, ModelState.FAILED):
        # Where it was started or is stopping since the description, the next step will see which.
        with suppress(errors.ModelBusyError):
            units = _start(model, units_for(backlog_images, settings), settings.min_inference_units)
    elif status.state is ModelState.STARTING:
        units = status.inference_units or units
    is_soon = now - asked_at >= timedelta(seconds=_LEAST_START_SECONDS)
    wait_seconds = math.ceil(poll_seconds / 3) if is_soon else poll_seconds
    return _answer(status, units, settings, is_running=False) | times | {"wait_seconds": wait_seconds}


def _start(model: Lifecycle, wanted: int, least: int) -> int:
    """Start with the units that are wanted, or with as many as the account's quota allows; return their number."""
    while True:
        try:
            model.start(wanted)
        except errors.ModelQuotaError:
            if wanted <= least:
                raise
            wanted = max(least, wanted // 2)
        else:
            return wanted


def _answer(status: ModelStatus, units: int, settings: CapacitySettings, *, is_running: bool) -> dict[str, Any]:
    return {
        "status": status.service_status,
        "is_running": is_running,
        "inference_units": units,
        "images_per_second": images_per_second(units, settings),
        "max_concurrency": concurrency_for(units, settings),
    }


def _named(model: Lifecycle, status: ModelStatus) -> str:
    said = f" ({status.message})" if status.message else ""
    return f"Model {model.model_id} is {status.service_status}{said}."
