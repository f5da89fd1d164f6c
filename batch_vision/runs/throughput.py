"""What one inference unit of the model really does, as the last runs show it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch_vision.core.settings import Settings

KEPT_RUNS = 5

# A smaller run says more of its begin and its end than of the model.
_ENOUGH_IMAGES = 500
# The median of some runs is no more than so many times, and no less than such a part of, what was configured.
_RANGE = 4.0
# So near to the account's quota, it was this that held the run up.
_QUOTA_SHARE = 0.9


def measurement(summary: Mapping[str, Any], settings: Settings) -> dict[str, Any] | None:
    """Give what a run shows of a unit's throughput; None when it shows nothing.

    A run that was never throttled may have had too little to do: it only shows that a unit can do no less.
    """
    each, units = summary["images_per_second_per_unit"], summary["inference_units"]
    if each is None or summary["images_processed"] < _ENOUGH_IMAGES:
        return None
    if each * units >= _QUOTA_SHARE * settings.account_images_per_second:
        return None
    if not summary["throttles"] and each <= settings.images_per_second_per_unit:
        return None
    return {"run_id": summary["run_id"], "model": _model(settings), "images_per_second_per_unit": each}


def learned(runs: Sequence[Mapping[str, Any]], settings: Settings) -> float:
    """Give the images a second that one inference unit is expected to do: as configured, or as the last runs show."""
    configured = settings.images_per_second_per_unit
    of_this_model = [float(run["images_per_second_per_unit"]) for run in runs if run.get("model") == _model(settings)]
    if not of_this_model:
        return configured
    return min(configured * _RANGE, max(configured / _RANGE, median(of_this_model)))


def _model(settings: Settings) -> dict[str, Any]:
    return {"backend": settings.backend, **settings.backend_settings}
