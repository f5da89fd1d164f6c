"""What a model can do, and what is asked of it: inference units, and the Lambdas and calls that keep them busy."""

from __future__ import annotations

import math
from typing import Protocol

# Lambda's own bounds of MaximumConcurrency; two invocations at once is the least that a mapping can be held to.
_LEAST_CONCURRENCY = 2
_MOST_CONCURRENCY = 1000


class _Settings(Protocol):
    """What units and concurrency go by; `batch_vision.core.settings.Settings` says what each is."""

    @property
    def min_inference_units(self) -> int: ...

    @property
    def max_inference_units(self) -> int: ...

    @property
    def target_drain_seconds(self) -> int: ...

    @property
    def images_per_second_per_unit(self) -> float: ...

    @property
    def account_images_per_second(self) -> float: ...

    @property
    def max_concurrency(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def image_latency_seconds(self) -> float: ...


def units_for(images: int, settings: _Settings) -> int:
    """Give the inference units that analyze so many images in the target time.

    They stay between the minimum and the maximum, and are no more than the account's quota of calls can keep busy.
    """
    wanted = math.ceil(images / (settings.images_per_second_per_unit * settings.target_drain_seconds))
    useful = math.floor(settings.account_images_per_second / settings.images_per_second_per_unit)
    return max(settings.min_inference_units, min(wanted, useful, settings.max_inference_units))


def images_per_second(inference_units: int, settings: _Settings) -> float:
    """Give what so many inference units can do, within the account's quota."""
    return min(inference_units * settings.images_per_second_per_unit, settings.account_images_per_second)


def calls_per_second_of_one(settings: _Settings) -> float:
    """Give the pace of one invocation: with the fewest that there can be, just what one inference unit can do."""
    return settings.images_per_second_per_unit / _LEAST_CONCURRENCY


def concurrency_for(inference_units: int, settings: _Settings) -> int:
    """Give how many invocations at once keep so many inference units busy, and no busier.

    Little's law: images at once = images a second x seconds for each. An invocation holds a batch for as long as its
    pace wants, or for the latency of an image where that is longer.
    """
    seconds_for_each = max(1 / calls_per_second_of_one(settings), settings.image_latency_seconds / settings.batch_size)
    # Rounded first, for 2.0000000000000004 invocations are two.
    wanted = math.ceil(round(images_per_second(inference_units, settings) * seconds_for_each, 6))
    return max(_LEAST_CONCURRENCY, min(wanted, settings.max_concurrency, _MOST_CONCURRENCY))
