"""The backends there are, by the name that Terraform's variable `backend` takes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from lambdas.backends.lookout_for_vision import LookoutForVision
from lambdas.backends.rekognition_custom_labels import RekognitionCustomLabels
from lambdas.shared.errors import SettingsError
from lambdas.shared.settings import settings

if TYPE_CHECKING:
    from lambdas.backends.base import Backend
    from lambdas.shared.settings import Settings

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
    """Give the backend of this process, made on first use."""
    return make_backend(settings())
