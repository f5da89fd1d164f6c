"""The backends there are, by the name that Terraform's variable `backend` takes, and what each is capable of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from batch_vision.backends.lookout_for_vision import LookoutDetector, LookoutLifecycle
from batch_vision.backends.rekognition_custom_labels import CustomLabelsDetector, CustomLabelsLifecycle
from batch_vision.core.errors import SettingsError

if TYPE_CHECKING:
    from batch_vision.backends.contracts import Detector, Lifecycle
    from batch_vision.core.models import Model


@dataclass(frozen=True, slots=True)
class Backend:
    """The classes of a backend, one for each capability.

    Attributes
    ----------
    lifecycle
        None for a managed model, which is always there.
    """

    detector: type[Detector]
    lifecycle: type[Lifecycle] | None = None


BACKENDS = {
    "rekognition_custom_labels": Backend(CustomLabelsDetector, CustomLabelsLifecycle),
    "lookout_for_vision": Backend(LookoutDetector, LookoutLifecycle),
}


def make_detector(model: Model, min_confidence_percent: float | None) -> Detector:
    """Make the detector of a model.

    Raises
    ------
    SettingsError
        No backend has that name, or one of its settings is missing.
    """
    return _backend(model).detector.from_settings(json.loads(model.settings), min_confidence_percent)


def make_lifecycle(model: Model) -> Lifecycle:
    """Make the lifecycle of a model, which need not be that of the deployment any more.

    Raises
    ------
    SettingsError
        No backend has that name, one of its settings is missing, or its models are never started.
    """
    if not (cls := _backend(model).lifecycle):
        raise SettingsError(
            f"BACKEND is {model.backend!r}, whose models are always there: nothing starts or stops one."
        )
    return cls.from_settings(json.loads(model.settings))


# One for each model, for a function that is called again and again.
lifecycle_of = cache(make_lifecycle)


def _backend(model: Model) -> Backend:
    try:
        return BACKENDS[model.backend]
    except KeyError:
        raise SettingsError(
            f"Environment variable BACKEND is {model.backend!r}; it must be one of {', '.join(sorted(BACKENDS))}."
        ) from None
