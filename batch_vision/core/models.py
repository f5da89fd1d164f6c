"""Which model: as a deployment and each of its runs name it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from batch_vision.core.errors import BackendChangedError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a backend.

    Attributes
    ----------
    settings
        What the backend needs to know of it, as JSON with sorted keys: equal settings are equal texts.
    """

    backend: str
    settings: str

    @classmethod
    def named(cls, backend: str, settings: Mapping[str, Any]) -> Self:
        """Return the model of a backend with these settings."""
        return cls(backend, json.dumps(dict(settings), sort_keys=True))

    @classmethod
    def from_json(cls, named: Mapping[str, Any]) -> Self:
        """Read it from what holds ``backend`` and ``backend_settings``: an event, a run, `current-run.json`."""
        return cls.named(named["backend"], named["backend_settings"])

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"backend": self.backend, "backend_settings": json.loads(self.settings)}


def fingerprint_of(model: Model, min_confidence_percent: float | None) -> str:
    """Return what tells answers of one model, with its settings, from those of another."""
    return hashlib.sha256(json.dumps([model.backend, model.settings, min_confidence_percent]).encode()).hexdigest()


def check_unchanged(deployed: Model, model: Model) -> None:
    """Check that the deployment still has the model that a run was begun with.

    Raises
    ------
    BackendChangedError
        It has another one: this run cannot go on, because images are sent to the new one.
    """
    if deployed != model:
        raise BackendChangedError(
            f"The deployment was changed from {model.backend} {model.settings} to {deployed.backend}"
            f" {deployed.settings} during the run. Its own model is stopped; the images that are left wait for the next"
            " run, which uses the new one."
        )
