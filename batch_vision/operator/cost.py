"""What a day costs, from a simulated run, beside a model that is always on.

The model is on, in each run that finds images, for its start, for its share of the day's images at the throughput of
its inference units, and for an overhead: the workflow's own looks and waits, and the stop. Whoever does not know the
overhead takes that of a simulated run (`batch_vision.operator.simulation`):

    unit-hours a day = images / (throughput of one unit) + runs x (start + overhead) x units

State transitions, Lambda time and requests are those of the simulated run too. AWS does not say whether the start is
billed, so there are two figures: without and with it. A model that is always on costs its units around the clock.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.prices import INFERENCE_UNIT_HOUR_DOLLARS
from batch_vision.operator.simulation import Arrival, Simulation, World, bill

_DAY_SECONDS = 86400
_HOUR_SECONDS = 3600
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_UNIT_SECONDS = {"minute": 60, "hour": 3600, "day": _DAY_SECONDS}


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a day, in dollars; times 30 for a month.

    Attributes
    ----------
    model_dollars, model_with_starts_dollars
        If a start is not billed, and if it is.
    overhead_minutes
        Of a run: how long the model runs besides analyzing, and its stop.
    other_dollars
        S3, Step Functions, Lambda and SQS.
    always_on_dollars
        The model around the clock, with as many units as the images need at the least.
    """

    images_per_day: int
    runs_per_day: float
    inference_units: int
    analyzing_hours: float
    overhead_minutes: float
    model_dollars: float
    model_with_starts_dollars: float
    other_dollars: float
    always_on_dollars: float

    @property
    def is_too_much(self) -> bool:
        """Whether the images of a day take more than a day."""
        return self.analyzing_hours > 24

    def to_json(self) -> dict[str, Any]:
        """Give it as ``--json`` shows it."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def runs_per_day(schedule: str) -> float:
    """Give how often a schedule ticks in a day.

    Raises
    ------
    WrongInputError
        It is no ``rate(…)``.
    """
    match = _RATE.fullmatch(schedule)
    if not match or int(match[1]) == 0:
        raise WrongInputError(
            f"--schedule is {schedule!r}. Give a rate, such as 'rate(1 hour)'; for cron(…) give --runs-per-day instead."
        )
    return _DAY_SECONDS / (int(match[1]) * _UNIT_SECONDS[match[2]])


def estimate(
    images_per_day: int,
    runs: float,
    *,
    images_per_second_per_unit: float,
    inference_units: int | None,
    start_minutes: float,
    overhead_minutes: float | None,
) -> Estimate:
    """Estimate the cost of a day.

    Parameters
    ----------
    runs
        Runs a day that find images; no more than there are images.
    inference_units
        Of a run; None takes what a run chooses for its images.
    start_minutes
        How long the model takes to start.
    overhead_minutes
        How long the model runs besides analyzing, and stops, in each run; None takes that of a simulated run.
    """
    runs = min(runs, images_per_day)
    unit_hours_analyzing = images_per_day / images_per_second_per_unit / 3600
    # A day's share of one run; what outlasts drain_timeout_seconds goes on in a second run, as it would.
    variables: dict[str, Any] = {"images_per_second_per_unit": images_per_second_per_unit}
    if inference_units:
        variables |= {"min_inference_units": inference_units, "max_inference_units": inference_units}
    world = World(start_seconds=start_minutes * 60, images_per_second_per_unit=images_per_second_per_unit)
    batch = Simulation([Arrival(0, math.ceil(images_per_day / runs))], world, **variables)
    simulated = batch.run_until_empty(_HOUR_SECONDS)
    inference_units = max(run.inference_units for run in simulated)
    analyzing_hours = unit_hours_analyzing / inference_units
    if overhead_minutes is None:
        on_seconds = sum(run.running_seconds + run.stopping_seconds for run in simulated)
        overhead_minutes = max(0.0, on_seconds / 60 - analyzing_hours / runs * 60)
    unit_hours = unit_hours_analyzing + runs * overhead_minutes / 60 * inference_units
    start_unit_hours = runs * start_minutes / 60 * inference_units
    needed_units = max(1, math.ceil(unit_hours_analyzing / 24))
    return Estimate(
        images_per_day=images_per_day,
        runs_per_day=runs,
        inference_units=inference_units,
        analyzing_hours=analyzing_hours,
        overhead_minutes=overhead_minutes,
        model_dollars=unit_hours * INFERENCE_UNIT_HOUR_DOLLARS,
        model_with_starts_dollars=(unit_hours + start_unit_hours) * INFERENCE_UNIT_HOUR_DOLLARS,
        other_dollars=runs * bill(simulated).others,
        always_on_dollars=needed_units * 24 * INFERENCE_UNIT_HOUR_DOLLARS,
    )
