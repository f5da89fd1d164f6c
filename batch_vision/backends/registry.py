"""The backends there are, by the name that Terraform's variable `backend` takes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from batch_vision.backends.lookout_for_vision import LookoutForVision
from batch_vision.backends.rekognition_custom_labels import RekognitionCustomLabels
from batch_vision.core.errors import BackendChangedError, SettingsError
from batch_vision.core.models import Model
from batch_vision.core.settings import settings

if TYPE_CHECKING:
    from batch_vision.backends.base import Backend
    from batch_vision.core.settings import Settings

BACKENDS: dict[str, type[Backend]] = {cls.name: cls for cls in (RekognitionCustomLabels, LookoutForVision)}


def make_backend(chosen: Settings) -> Backend:
    """Make the backend that the settings name.

    Raises
    ------
    SettingsError
        No backend has that name, or one of its settings is missing.
    """
    try:
        cls = BACKENDS[chosen.backend]
    except KeyError:
        raise SettingsError(
            f"Environment variable BACKEND is {chosen.backend!r}; it must be one of {', '.join(sorted(BACKENDS))}."
        ) from None
    return cls.from_settings(chosen)


@cache
def backend() -> Backend:
    """Give the backend of this deployment, made on first use."""
    return make_backend(settings())


@cache
def backend_of(model: Model) -> Backend:
    """Return the backend of a run's model, which need not be that of the deployment any more."""
    return make_backend(replace(settings(), backend=model.backend, backend_settings=json.loads(model.settings)))


def check_unchanged(model: Model) -> None:
    """Check that the deployment still has the model that a run was begun with.

    Raises
    ------
    BackendChangedError
        It has another one: this run cannot go on, because images are sent to the new one.
    """
    now = Model.named(settings().backend, settings().backend_settings)
    if now != model:
        raise BackendChangedError(
            f"The deployment was changed from {model.backend} {model.settings} to {now.backend} {now.settings} during"
            " the run. Its own model is stopped; the images that are left wait for the next run, which uses the new"
            " one."
        )
