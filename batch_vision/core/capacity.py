"""What a model can do, and what is asked of it: inference units, and the Lambdas and calls that keep them busy."""

import math
from dataclasses import dataclass

from batch_vision.core.settings import AboveZero, Positive

# Lambda's own bounds of MaximumConcurrency; two invocations at once is the least that a mapping can be held to.
_LEAST_CONCURRENCY = 2
_MOST_CONCURRENCY = 1000


@dataclass(frozen=True)
class CapacitySettings:
    """What units and concurrency go by.

    Attributes
    ----------
    min_inference_units, max_inference_units
        Bounds of the inference units to start.
    target_drain_seconds
        In how long the backlog is to be analyzed: what the inference units are chosen for.
    images_per_second_per_unit
        What one inference unit of the model can do.
    account_images_per_second
        What the service allows the account, with however many units.
    max_concurrency, batch_size
        Bounds of the invocations of the analyzing function at the same time, and of the messages for each.
    image_latency_seconds
        How long an image takes from the call of the model until it has its place.
    """

    min_inference_units: Positive
    max_inference_units: Positive
    target_drain_seconds: Positive
    images_per_second_per_unit: AboveZero
    account_images_per_second: AboveZero
    max_concurrency: Positive
    batch_size: Positive
    image_latency_seconds: AboveZero


def units_for(images: int, settings: CapacitySettings) -> int:
    """Return the inference units that analyze so many images in the target time.

    They stay between the minimum and the maximum, and are no more than the account's quota of calls can keep busy.
    """
    wanted = math.ceil(images / (settings.images_per_second_per_unit * settings.target_drain_seconds))
    useful = math.floor(settings.account_images_per_second / settings.images_per_second_per_unit)
    return max(settings.min_inference_units, min(wanted, useful, settings.max_inference_units))


def images_per_second(inference_units: int, settings: CapacitySettings) -> float:
    """Return what so many inference units can do, within the account's quota."""
    return min(inference_units * settings.images_per_second_per_unit, settings.account_images_per_second)


def calls_per_second_per_invocation(images_per_second_per_unit: float) -> float:
    """Return the pace of one invocation: half a unit's throughput, as a mapping never runs fewer than two of them.

    Terraform tells the analyzing function the same (``PACES``).
    """
    return images_per_second_per_unit / _LEAST_CONCURRENCY


def concurrency_for(inference_units: int, settings: CapacitySettings) -> int:
    """Return how many invocations at once keep so many inference units busy, and no busier.

    Little's law: images at once = images a second x seconds for each. An invocation holds a batch for as long as its
    pace wants, or for the latency of an image where that is longer.
    """
    seconds_for_each = max(
        1 / calls_per_second_per_invocation(settings.images_per_second_per_unit),
        settings.image_latency_seconds / settings.batch_size,
    )
    # Rounded first, for 2.0000000000000004 invocations are two.
    wanted = math.ceil(round(images_per_second(inference_units, settings) * seconds_for_each, 6))
    return max(_LEAST_CONCURRENCY, min(wanted, settings.max_concurrency, _MOST_CONCURRENCY))
