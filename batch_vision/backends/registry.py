"""The backends there are, by the name that Terraform's variable `backend` takes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from batch_vision.backends.lookout_for_vision import LookoutForVision
from batch_vision.backends.rekognition_custom_labels import RekognitionCustomLabels
from batch_vision.core.errors import BackendChangedError, SettingsError
from batch_vision.core.settings import settings

if TYPE_CHECKING:
    from batch_vision.backends.base import Backend, BackendSettings

BACKENDS: dict[str, type[Backend]] = {cls.name: cls for cls in (RekognitionCustomLabels, LookoutForVision)}


def make_backend(chosen: BackendSettings) -> Backend:
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
def backend_of_run(name: str, backend_settings: str) -> Backend:
    """Give the backend that a run was begun with, which an apply may have changed for the deployment since.

    Parameters
    ----------
    backend_settings
        As in the environment variable ``BACKEND_SETTINGS``: a JSON object of texts.
    """
    return make_backend(replace(settings(), backend=name, backend_settings=json.loads(backend_settings)))


def check_unchanged(name: str, backend_settings: str) -> None:
    """Check that the deployment still has the backend that a run was begun with.

    Raises
    ------
    BackendChangedError
        It has another one: this run cannot go on, because images are sent to the new one.
    """
    now = settings()
    if (now.backend, dict(now.backend_settings)) != (name, json.loads(backend_settings)):
        raise BackendChangedError(
            f"The deployment was changed from {name} {backend_settings} to {now.backend}"
            f" {json.dumps(dict(now.backend_settings))} during the run. Its own model is stopped; the images that are"
            " left wait for the next run, which uses the new one."
        )
