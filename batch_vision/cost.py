"""What a day costs, by a simple formula, beside a model that is always on.

The model is on, in each run that finds images, for its start, for its share of the day's images at the throughput of
its inference units, and for its stop:

    unit-hours a day = images / (throughput of one unit) + runs x (start + overhead) x units

AWS does not say whether the start is billed, so there are two figures: without and with it. A model that is always on
costs its units around the clock.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from batch_vision.errors import WrongInputError
from batch_vision.prices import INFERENCE_UNIT_HOUR_DOLLARS, S3_WRITE_DOLLARS, STATE_TRANSITION_DOLLARS

_DAY_SECONDS = 86400
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_UNIT_SECONDS = {"minute": 60, "hour": 3600, "day": _DAY_SECONDS}
# Counted from state_machine.asl.json: a run that finds images, with a look every 30 s while the model starts and the
# images are analyzed, and a tick that finds none.
_TRANSITIONS_BEFORE_AND_AFTER = 40
_TRANSITIONS_PER_LOOK = 4
_LOOK_SECONDS = 30
# A PUT of the result, a COPY of the image, and a little for the catalog and the queue.
_WRITES_PER_IMAGE = 2.2


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a day, in dollars; times 30 for a month.

    Attributes
    ----------
    model_dollars, model_with_starts_dollars
        If a start is not billed, and if it is.
    other_dollars
        S3 and Step Functions; Lambda and SQS are less than that.
    always_on_dollars
        The model around the clock, with as many units as the images need at the least.
    """

    images_per_day: int
    runs_per_day: float
    inference_units: int
    analyzing_hours: float
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
    inference_units: int,
    start_minutes: float,
    overhead_minutes: float,
) -> Estimate:
    """Estimate the cost of a day.

    Parameters
    ----------
    runs
        Runs a day that find images; no more than there are images.
    start_minutes
        How long the model takes to start.
    overhead_minutes
        From the last image to the stop that the service confirms.
    """
    runs = min(runs, images_per_day)
    unit_hours_analyzing = images_per_day / images_per_second_per_unit / 3600
    analyzing_hours = unit_hours_analyzing / inference_units
    unit_hours = unit_hours_analyzing + runs * overhead_minutes / 60 * inference_units
    start_unit_hours = runs * start_minutes / 60 * inference_units
    looks = (analyzing_hours * 3600 + runs * start_minutes * 60) / _LOOK_SECONDS
    transitions = runs * _TRANSITIONS_BEFORE_AND_AFTER + looks * _TRANSITIONS_PER_LOOK
    needed_units = max(1, math.ceil(unit_hours_analyzing / 24))
    return Estimate(
        images_per_day=images_per_day,
        runs_per_day=runs,
        inference_units=inference_units,
        analyzing_hours=analyzing_hours,
        model_dollars=unit_hours * INFERENCE_UNIT_HOUR_DOLLARS,
        model_with_starts_dollars=(unit_hours + start_unit_hours) * INFERENCE_UNIT_HOUR_DOLLARS,
        other_dollars=images_per_day * _WRITES_PER_IMAGE * S3_WRITE_DOLLARS + transitions * STATE_TRANSITION_DOLLARS,
        always_on_dollars=needed_units * 24 * INFERENCE_UNIT_HOUR_DOLLARS,
    )
