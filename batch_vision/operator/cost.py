"""What a day costs with a hosted model, beside one that is always on; and what a month costs with a managed one.

The model is on, in each run that finds images, for its start, for its share of the day's images at the throughput of
its inference units, and for an overhead: the looks and waits of the workflow, and the stop.

    unit-hours a day = images / (throughput of one unit) + runs x (start + overhead) x units

The constants of a run are what `make bench ONLY=model_on` finds by simulating the deployed workflow; a test holds them
to that. AWS does not say whether the start is billed, so there are two figures: without and with it. A model that is
always on costs its units around the clock.

A managed model is paid for by the image and analysis, in tiers of a month.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from batch_vision.core.capacity import CapacitySettings, concurrency_for, images_per_second, units_for
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.prices import (
    EVENT_DOLLARS,
    GROUP_2_TIERS,
    IMAGE_PROPERTIES_TIERS,
    INFERENCE_UNIT_HOUR_DOLLARS,
    LAMBDA_GB_SECOND_DOLLARS,
    LAMBDA_REQUEST_DOLLARS,
    S3_READ_DOLLARS,
    S3_WRITE_DOLLARS,
    SQS_REQUEST_DOLLARS,
    STATE_TRANSITION_DOLLARS,
    VIDEO_MINUTE_DOLLARS,
    split_by_tier,
    tiered_dollars,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# How long the model runs besides analyzing, and stops (60 s of it), in a run whose event source mapping takes
# OVERHEAD_MAPPING_SECONDS to be enabled, and as long to be disabled. AWS publishes no time for that; tens of seconds
# have been seen. Where it takes 5 s, the overhead is FAST_OVERHEAD_SECONDS.
OVERHEAD_MAPPING_SECONDS = 60
OVERHEAD_SECONDS = 135
FAST_OVERHEAD_SECONDS = 85
# State transitions of a run of an hour; shorter runs have fewer.
TRANSITIONS_PER_RUN = 650

# Requests for an image and for a batch of them, as `make bench ONLY=cost` counts them at the wire: the result is put
# and the image copied; S3 sends a message for it; a batch is received, its messages are deleted, its catalog is put.
S3_WRITES_PER_IMAGE = 2
S3_WRITES_PER_BATCH = 1
SQS_REQUESTS_PER_IMAGE = 1
SQS_REQUESTS_PER_BATCH = 2

# Of an image in an existing bucket: HEADs of its result and of the image, and of the image once more after the result
# was put, and a GET of the image's beginning for its sides; the image is not copied.
S3_READS_PER_IMAGE_IN_PLACE = 4
S3_WRITES_PER_IMAGE_IN_PLACE = 1
# Of a key of a backfill that turns out to be up to date: HEADs of its result and of the image.
S3_READS_PER_LOOK = 2
_KEYS_PER_LISTING = 1000
# What an event source mapping that is always enabled asks of an empty queue: five pollers, each for 20 s at a time
# (AWS Lambda developer guide, "Using Lambda with Amazon SQS").
SQS_POLLS_PER_DAY = 5 * 86400 / 20

# The analyses of the backend `rekognition`; the first two are one call, and all but the second have one price.
IMAGE_PROPERTIES = "image_properties"
ANALYSES = ("labels", IMAGE_PROPERTIES, "text", "faces", "moderation", "celebrities", "protective_equipment")

# The analyses of videos; each is a job of its own, and paid for by the minute of video.
VIDEO_ANALYSES = ("labels", "moderation", "faces", "celebrities", "text")

START_MINUTES = 15.0  # AWS says 10 to 30
MOST_UNITS = 1000  # that an estimate is made for; the service's own quota for a model is 5

_DAY_SECONDS = 86400
# As the module takes it: EventBridge wants the singular for 1 and the plural for more.
_RATE = re.compile(r"rate\((?:(1) (minute|hour|day)|([2-9]|[1-9][0-9]{1,8}) (minute|hour|day)s)\)")
_UNIT_SECONDS = {"minute": 60, "hour": 3600, "day": _DAY_SECONDS}


@dataclass(frozen=True)
class Deployment(CapacitySettings):
    """The variables of the module that decide what a run costs, at their defaults."""

    min_inference_units: int = 1
    max_inference_units: int = 5
    target_drain_seconds: int = 3600
    drain_timeout_seconds: int = 21600
    images_per_second_per_unit: float = 5
    account_images_per_second: float = 50
    max_concurrency: int = 20
    batch_size: int = 10
    image_latency_seconds: float = 1
    analyze_memory_mb: int = 512


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a day, in dollars; times 30 for a month.

    Attributes
    ----------
    runs_per_day
        Runs that start the model.
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
        """Return it as ``--json`` shows it."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def runs_per_day(schedule: str) -> float:
    """Return how often a schedule starts a run in a day.

    Raises
    ------
    WrongInputError
        It is no ``rate(…)``, or one that the module refuses.
    """
    if not (match := _RATE.fullmatch(schedule)):
        raise WrongInputError(
            f"--schedule is {schedule!r}. Give a rate as schedule_expression takes it, such as 'rate(1 hour)' or"
            " 'rate(2 hours)'; for cron(…) give --runs-per-day instead."
        )
    number, unit = match[1] or match[3], match[2] or match[4]
    return _DAY_SECONDS / (int(number) * _UNIT_SECONDS[unit])


def estimate(
    images_per_day: int,
    runs: float,
    *,
    images_per_second_per_unit: float,
    inference_units: int | None,
    start_minutes: float,
    overhead_minutes: float,
    unit_hour_dollars: float = INFERENCE_UNIT_HOUR_DOLLARS,
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
        How long the model runs besides analyzing, and stops, in each run.
    unit_hour_dollars
        What an inference unit costs for an hour.
    """
    deployment = replace(Deployment(), images_per_second_per_unit=images_per_second_per_unit)
    runs = min(runs, images_per_day)
    images_per_run = math.ceil(images_per_day / runs)
    if inference_units is None:
        inference_units = units_for(images_per_run, deployment)
    else:  # whoever asks for so many has the quota of calls that keeps them busy
        quota = max(deployment.account_images_per_second, inference_units * images_per_second_per_unit)
        deployment = replace(deployment, account_images_per_second=quota)
    rate = images_per_second(inference_units, deployment)
    # What outlasts drain_timeout_seconds goes on in a further run.
    runs *= math.ceil(images_per_run / rate / deployment.drain_timeout_seconds)
    analyzing_hours = images_per_day / rate / 3600
    on_hours = analyzing_hours + runs * overhead_minutes / 60
    start_hours = runs * start_minutes / 60
    needed_units = math.ceil(images_per_day / images_per_second_per_unit / _DAY_SECONDS)
    return Estimate(
        images_per_day=images_per_day,
        runs_per_day=runs,
        inference_units=inference_units,
        analyzing_hours=analyzing_hours,
        overhead_minutes=overhead_minutes,
        model_dollars=inference_units * on_hours * unit_hour_dollars,
        model_with_starts_dollars=inference_units * (on_hours + start_hours) * unit_hour_dollars,
        other_dollars=_other_dollars(images_per_day, runs, inference_units, deployment),
        always_on_dollars=needed_units * 24 * unit_hour_dollars,
    )


def _other_dollars(images: int, runs: float, inference_units: int, deployment: Deployment) -> float:
    """Return what all but the model costs; the functions of the workflow are too little to count."""
    batches = math.ceil(images / deployment.batch_size)
    seconds = images / images_per_second(inference_units, deployment) * concurrency_for(inference_units, deployment)
    return (
        runs * TRANSITIONS_PER_RUN * STATE_TRANSITION_DOLLARS
        + batches * LAMBDA_REQUEST_DOLLARS
        + seconds * deployment.analyze_memory_mb / 1024 * LAMBDA_GB_SECOND_DOLLARS
        + (images * S3_WRITES_PER_IMAGE + batches * S3_WRITES_PER_BATCH) * S3_WRITE_DOLLARS
        + batches * S3_READ_DOLLARS
        + (images * SQS_REQUESTS_PER_IMAGE + batches * SQS_REQUESTS_PER_BATCH) * SQS_REQUEST_DOLLARS
    )


@dataclass(frozen=True, slots=True)
class ManagedEstimate:
    """The cost of a month of 30 days with the backend `rekognition`, in dollars.

    Attributes
    ----------
    analyses_dollars
        By analysis. The tiers are those of all analyses of an account together, so each has its share of them.
    requests_dollars
        At most: S3, SQS, Lambda and EventBridge, as if each image came alone.
    calls_per_image, s3_reads_per_image, s3_writes_per_image
        Of the model, and of S3.
    """

    images_per_month: int
    analyses_dollars: dict[str, float]
    requests_dollars: float
    calls_per_image: int
    s3_reads_per_image: int
    s3_writes_per_image: int

    @property
    def dollars(self) -> float:
        """All of it."""
        return sum(self.analyses_dollars.values()) + self.requests_dollars

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        return {
            **asdict(self),
            "analyses_dollars": {name: round(dollars, 4) for name, dollars in self.analyses_dollars.items()},
            "requests_dollars": round(self.requests_dollars, 4),
            "dollars": round(self.dollars, 4),
        }


def dollars_by_analysis(images: Mapping[str, int]) -> dict[str, float]:
    """Return the price of each analysis of one month, in the order of `ANALYSES`.

    Parameters
    ----------
    images
        How many each analysis was asked about, by its name.
    """
    of_group_2 = sum(number for analysis, number in images.items() if analysis != IMAGE_PROPERTIES)
    # The tiers are those of all analyses of the group together.
    each_dollars = tiered_dollars(of_group_2, GROUP_2_TIERS) / max(1, of_group_2)
    return {
        analysis: tiered_dollars(images[analysis], IMAGE_PROPERTIES_TIERS)
        if analysis == IMAGE_PROPERTIES
        else each_dollars * images[analysis]
        for analysis in ANALYSES
        if analysis in images
    }


def video_dollars(minutes: Mapping[str, float]) -> dict[str, float]:
    """Return the price of each analysis of videos, by the minutes that it was asked about."""
    return {analysis: number * VIDEO_MINUTE_DOLLARS for analysis, number in minutes.items()}


def paid_minutes(result: Mapping[str, Any]) -> dict[str, int]:
    """Return the minutes of each analysis of a video's result, each attempt counted: at most these were paid for."""
    return {
        analysis: int(one.get("minutes") or 0) * int(one.get("attempt") or 1)
        for analysis, one in (result.get("analyses") or {}).items()
        if one.get("job_id")
    }


def calls_per_image(analyses: Iterable[str]) -> int:
    """Return how many calls of the model an image takes: labels and image properties are one."""
    return len(set(analyses)) - ({"labels", IMAGE_PROPERTIES} <= set(analyses))


def estimate_managed(images_per_day: int, analyses: Sequence[str], *, is_in_place: bool) -> ManagedEstimate:
    """Estimate the cost of a month of 30 days.

    Parameters
    ----------
    analyses
        Names out of `ANALYSES`.
    is_in_place
        Whether the images stay in an existing bucket.
    """
    images = 30 * images_per_day
    dollars = dollars_by_analysis(dict.fromkeys(analyses, images))
    calls = calls_per_image(analyses)
    reads = S3_READS_PER_IMAGE_IN_PLACE if is_in_place else 0
    writes = S3_WRITES_PER_BATCH + (S3_WRITES_PER_IMAGE_IN_PLACE if is_in_place else S3_WRITES_PER_IMAGE)
    deployment = Deployment()
    seconds = images * calls * deployment.image_latency_seconds
    requests_dollars = (
        images * LAMBDA_REQUEST_DOLLARS
        + seconds * deployment.analyze_memory_mb / 1024 * LAMBDA_GB_SECOND_DOLLARS
        + images * (writes * S3_WRITE_DOLLARS + reads * S3_READ_DOLLARS)
        + images * (EVENT_DOLLARS if is_in_place else 0)
        + (images * (SQS_REQUESTS_PER_IMAGE + SQS_REQUESTS_PER_BATCH) + 30 * SQS_POLLS_PER_DAY) * SQS_REQUEST_DOLLARS
    )
    return ManagedEstimate(
        images_per_month=images,
        analyses_dollars=dollars,
        requests_dollars=requests_dollars,
        calls_per_image=calls,
        s3_reads_per_image=reads,
        s3_writes_per_image=writes,
    )


@dataclass(frozen=True, slots=True)
class Tier:
    """Images of an analysis that have one price."""

    images: int
    price_dollars: float
    dollars: float


@dataclass(frozen=True, slots=True)
class BackfillEstimate:
    """What a backfill costs and how long it takes, at most.

    Attributes
    ----------
    images
        Those to analyze.
    calls
        Of the model.
    analyses_dollars, tiers
        Of a managed model: the price by analysis, and of all of the group by tier, as if nothing else of the account's
        month had used the tiers up.
    model_dollars, model_with_starts_dollars
        Of a hosted model, if a start is not billed, and if it is.
    model_hours
        How long a hosted model runs; None for a managed one.
    requests_dollars
        S3, Lambda and Step Functions.
    hours
        At what the quota, or the hosted model, can do; None where the stack does not say.
    """

    images: int
    calls: int
    requests_dollars: float
    hours: float | None
    analyses_dollars: dict[str, float] = field(default_factory=dict)
    tiers: tuple[Tier, ...] = ()
    image_properties_tiers: tuple[Tier, ...] = ()
    model_hours: float | None = None
    model_dollars: float = 0.0
    model_with_starts_dollars: float = 0.0

    @property
    def dollars(self) -> float:
        """All of it, with starts that are billed."""
        return sum(self.analyses_dollars.values()) + self.model_with_starts_dollars + self.requests_dollars

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        return {**asdict(self), "dollars": self.dollars}


def estimate_backfill_managed(
    images: int, looks: int, listed: int, analyses: Sequence[str], images_per_second: float | None
) -> BackfillEstimate:
    """Estimate a backfill with a managed model.

    Parameters
    ----------
    images, looks
        Keys to analyze, and keys that are only looked at.
    listed
        Objects that are listed by the planner.
    analyses
        Names out of `ANALYSES`.
    images_per_second
        What the quota leaves to the backfill; None where that is not known.
    """
    calls = images * calls_per_image(analyses)
    of_group_2 = images * sum(analysis != IMAGE_PROPERTIES for analysis in analyses)
    of_properties = images if IMAGE_PROPERTIES in analyses else 0
    return BackfillEstimate(
        images=images,
        calls=calls,
        requests_dollars=_backfill_requests_dollars(images, looks, listed, calls),
        hours=images / images_per_second / 3600 if images_per_second else None,
        analyses_dollars=dollars_by_analysis(dict.fromkeys(analyses, images)),
        tiers=_tiers(of_group_2, GROUP_2_TIERS),
        image_properties_tiers=_tiers(of_properties, IMAGE_PROPERTIES_TIERS),
    )


def estimate_backfill_hosted(
    images: int,
    looks: int,
    listed: int,
    capacity: CapacitySettings,
    unit_hour_dollars: float = INFERENCE_UNIT_HOUR_DOLLARS,
) -> BackfillEstimate:
    """Estimate a backfill with a hosted model, whose runs work it off; see `estimate_backfill_managed`."""
    requests_dollars = _backfill_requests_dollars(images, looks, listed, images)
    if not images:
        return BackfillEstimate(images, 0, requests_dollars, 0.0, model_hours=0.0)
    found = estimate(
        images,
        1,
        images_per_second_per_unit=capacity.images_per_second_per_unit,
        inference_units=units_for(images, capacity),
        start_minutes=START_MINUTES,
        overhead_minutes=OVERHEAD_SECONDS / 60,
        unit_hour_dollars=unit_hour_dollars,
    )
    return BackfillEstimate(
        images=images,
        calls=images,
        requests_dollars=requests_dollars,
        hours=found.analyzing_hours,
        model_hours=found.analyzing_hours + found.runs_per_day * found.overhead_minutes / 60,
        model_dollars=found.model_dollars,
        model_with_starts_dollars=found.model_with_starts_dollars,
    )


def _tiers(images: int, tiers: tuple[tuple[float, float], ...]) -> tuple[Tier, ...]:
    return tuple(Tier(round(number), price, number * price) for number, price in split_by_tier(images, tiers))


def _backfill_requests_dollars(images: int, looks: int, listed: int, calls: int) -> float:
    """Return what all but the model costs, both listings included; chunks are too few to count."""
    deployment = Deployment()
    return (
        2 * math.ceil(listed / _KEYS_PER_LISTING) * S3_WRITE_DOLLARS
        + images * (S3_WRITES_PER_IMAGE_IN_PLACE * S3_WRITE_DOLLARS + S3_READS_PER_IMAGE_IN_PLACE * S3_READ_DOLLARS)
        + looks * S3_READS_PER_LOOK * S3_READ_DOLLARS
        + calls * deployment.image_latency_seconds * deployment.analyze_memory_mb / 1024 * LAMBDA_GB_SECOND_DOLLARS
    )
