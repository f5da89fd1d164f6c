"""The backends there are, by the name that Terraform's variable `backend` takes, and what each is capable of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from batch_vision.backends import lookout_for_vision, rekognition, rekognition_custom_labels, sagemaker_endpoint
from batch_vision.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batch_vision.backends.contracts import Detector, Lifecycle
    from batch_vision.core.models import Model


@dataclass(frozen=True, slots=True)
class Backend:
    """What a backend is capable of.

    Attributes
    ----------
    make_detectors
        Takes settings and least confidence in percent, and returns the detectors by name; see `Detector`.
    lifecycle
        None for a managed model, which is always there.
    """

    make_detectors: Callable[[Mapping[str, Any], float | None], dict[str, Detector]]
    lifecycle: type[Lifecycle] | None = None


BACKENDS = {
    "rekognition_custom_labels": Backend(
        rekognition_custom_labels.make_detectors, rekognition_custom_labels.CustomLabelsLifecycle
    ),
    "rekognition": Backend(rekognition.make_detectors),
    "lookout_for_vision": Backend(lookout_for_vision.make_detectors, lookout_for_vision.LookoutLifecycle),
    "sagemaker_endpoint": Backend(sagemaker_endpoint.make_detectors, sagemaker_endpoint.EndpointLifecycle),
}


def make_detectors(model: Model, min_confidence_percent: float | None) -> dict[str, Detector]:
    """Make the detectors of a model, by name and in order.

    Parameters
    ----------
    min_confidence_percent
        Predictions below it are left out; None uses what the model was trained with, or the service's default.

    Raises
    ------
    SettingsError
        No backend has that name, or one of its settings is missing or wrong.
    """
    return _backend(model).make_detectors(json.loads(model.settings), min_confidence_percent)


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
