"""Bring the model up: one convergent step, called until it says that the model runs."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lambdas.backends.base import ModelState
from lambdas.shared import errors
from lambdas.shared.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lambdas.backends.base import Backend, ModelStatus
    from lambdas.shared.settings import Settings


def units_for(backlog_images: int, settings: Settings) -> int:
    """Give the inference units for a backlog, between the minimum and the maximum."""
    wanted = math.ceil(backlog_images / settings.images_per_inference_unit)
    return max(settings.min_inference_units, min(wanted, settings.max_inference_units))


def ensure_running(
    backend: Backend,
    settings: Settings,
    backlog_images: int,
    previous: Mapping[str, Any] | None,
    timeout_seconds: int,
    now: datetime,
) -> dict[str, Any]:
    """Do what brings the model nearer to running, and say how it stands.

    Parameters
    ----------
    previous
        What the step before answered; None for the first.
    timeout_seconds
        How long after the first step the model must run.

    Returns
    -------
    dict
        ``status`` (the service's word), ``is_running``, ``inference_units``, ``requested_at`` and
        ``running_at`` (None until it runs).

    Raises
    ------
    ModelNotTrainedError, ModelUnavailableError, ModelNotFoundError, ModelQuotaError
        It can't be started; trying again would not help.
    ModelFailedError
        It failed on its way up.
    ModelStartTimeoutError
        It did not run in time.
    """
    requested_at = from_text(previous["requested_at"]) if previous else now
    units = previous["inference_units"] if previous else 0
    status = backend.describe()
    if status.state is ModelState.RUNNING:
        units = status.inference_units or units or settings.min_inference_units
        return _answer(status, requested_at, units, running_at=now)
    if status.state is ModelState.NOT_TRAINED:
        raise errors.ModelNotTrainedError(
            f"{_named(backend, status)} Train the model, or set the variable of a model that is trained."
        )
    if status.state in (ModelState.UNAVAILABLE, ModelState.UNKNOWN):
        raise errors.ModelUnavailableError(f"{_named(backend, status)} Choose another model in your tfvars.")
    # A failure from before this run is no reason not to try; one since our own start is.
    if status.state is ModelState.FAILED and units:
        raise errors.ModelFailedError(f"{_named(backend, status)} It failed while it was starting.")
    if now - requested_at > timedelta(seconds=timeout_seconds):
        raise errors.ModelStartTimeoutError(
            f"{_named(backend, status)} It was asked to start at {to_text(requested_at)} and did not run within"
            f" start_timeout_seconds = {timeout_seconds}. Raise that variable if the model needs longer."
        )
    if status.state in (ModelState.STOPPED, ModelState.FAILED):
        wanted = units_for(backlog_images, settings)
        try:
            backend.start(wanted)
            units = wanted
        except errors.ModelBusyError:
            # Started or stopping since the description: the next step will see which.
            pass
    elif status.state is ModelState.STARTING:
        units = status.inference_units or units
    return _answer(status, requested_at, units, running_at=None)


def _answer(status: ModelStatus, requested_at: datetime, units: int, *, running_at: datetime | None) -> dict[str, Any]:
    return {
        "status": status.service_status,
        "is_running": running_at is not None,
        "inference_units": units,
        "requested_at": to_text(requested_at),
        "running_at": to_text(running_at) if running_at else None,
    }


def _named(backend: Backend, status: ModelStatus) -> str:
    said = f" ({status.message})" if status.message else ""
    return f"Model {backend.model_id} is {status.service_status}{said}."
