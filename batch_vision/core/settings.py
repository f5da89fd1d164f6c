"""The environment of a function, read once into one frozen object."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from batch_vision.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Settings:
    """What Terraform tells every function.

    Attributes
    ----------
    source_bucket_name, source_prefixes
        Where images are uploaded. Each prefix is empty or a leading part of the keys; none contains another. The first
        is where images are uploaded now, the others are where some may still wait.
    final_bucket_name
        Where images, results, catalog and run summaries go.
    backend, backend_settings
        The model service and what its backend needs to know, as strings.
    min_confidence_percent
        Predictions below it are left out; None uses the thresholds the model was trained with.
    start_backlog_images, start_max_age_seconds
        A scheduled run starts the model for so many images, or when the oldest has waited so long; None where a single
        image is enough.
    min_inference_units, max_inference_units
        Bounds of the inference units to start.
    target_drain_seconds
        In how long the images that wait are to be analyzed: what the inference units are chosen for.
    images_per_second_per_unit
        What one inference unit of the model can do.
    account_images_per_second
        What the service allows the account, with however many units.
    max_concurrency, batch_size
        Bounds of the invocations of the analyzing function at the same time, and of the messages for each.
    queue_url, max_receive_count
        The queue of the images' messages, and after how many deliveries a message is a dead letter.
    image_latency_seconds
        How long an image takes from the call of the model until it has its place.
    requeue_limit_images
        At most this many objects are put back on the queue in one call.
    inference_unit_hour_dollars
        What an inference unit costs for an hour.
    schedule_period_seconds
        The longest time between two ticks of the schedule; None when it is not known.
    success_topic_arn
        Topic that is told of a run that succeeded; None tells nobody.
    """

    source_bucket_name: str
    source_prefixes: tuple[str, ...]
    final_bucket_name: str
    backend: str
    backend_settings: Mapping[str, str]
    min_confidence_percent: float | None
    start_backlog_images: int
    start_max_age_seconds: int | None
    min_inference_units: int
    max_inference_units: int
    target_drain_seconds: int
    images_per_second_per_unit: float
    account_images_per_second: float
    max_concurrency: int
    batch_size: int
    queue_url: str
    max_receive_count: int
    image_latency_seconds: float
    requeue_limit_images: int
    inference_unit_hour_dollars: float
    schedule_period_seconds: int | None
    success_topic_arn: str | None

    @property
    def source_prefix(self) -> str:
        """What the keys of new uploads begin with."""
        return self.source_prefixes[0]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check the environment.

        Raises
        ------
        SettingsError
            A variable is missing or wrong; the message names it, its value and the remedy.
        """
        return cls(
            source_bucket_name=_text(environment, "SOURCE_BUCKET_NAME"),
            source_prefixes=_texts(environment, "SOURCE_PREFIXES"),
            final_bucket_name=_text(environment, "FINAL_BUCKET_NAME"),
            backend=_text(environment, "BACKEND"),
            backend_settings=_string_map(environment, "BACKEND_SETTINGS"),
            min_confidence_percent=_optional_percent(environment, "MIN_CONFIDENCE_PERCENT"),
            start_backlog_images=_positive(environment, "START_BACKLOG_IMAGES"),
            start_max_age_seconds=_optional_positive(environment, "START_MAX_AGE_SECONDS"),
            min_inference_units=_positive(environment, "MIN_INFERENCE_UNITS"),
            max_inference_units=_positive(environment, "MAX_INFERENCE_UNITS"),
            target_drain_seconds=_positive(environment, "TARGET_DRAIN_SECONDS"),
            images_per_second_per_unit=_above_zero(environment, "IMAGES_PER_SECOND_PER_UNIT"),
            account_images_per_second=_above_zero(environment, "ACCOUNT_IMAGES_PER_SECOND"),
            max_concurrency=_positive(environment, "MAX_CONCURRENCY"),
            batch_size=_positive(environment, "BATCH_SIZE"),
            queue_url=_text(environment, "QUEUE_URL"),
            max_receive_count=_positive(environment, "MAX_RECEIVE_COUNT"),
            image_latency_seconds=_above_zero(environment, "IMAGE_LATENCY_SECONDS"),
            requeue_limit_images=_positive(environment, "REQUEUE_LIMIT_IMAGES"),
            inference_unit_hour_dollars=_dollars(environment, "INFERENCE_UNIT_HOUR_DOLLARS"),
            schedule_period_seconds=_optional_positive(environment, "SCHEDULE_PERIOD_SECONDS"),
            success_topic_arn=environment.get("SUCCESS_TOPIC_ARN") or None,
        )


@cache
def settings() -> Settings:
    """Give the settings of this process, read on first use."""
    return Settings.from_environment(os.environ)


def _wrong(name: str, value: str | None, wanted: str) -> SettingsError:
    found = "is not set" if value is None else f"is {value!r}"
    return SettingsError(
        f"Environment variable {name} {found}; it must be {wanted}. Terraform sets it: apply the module again."
    )


def _text(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise _wrong(name, value, "a non-empty text")
    return value


def _positive(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name)
    if value is None or not value.isascii() or not value.isdigit() or int(value) < 1:
        raise _wrong(name, value, "a whole number of at least 1")
    return int(value)


def _optional_positive(environment: Mapping[str, str], name: str) -> int | None:
    return _positive(environment, name) if environment.get(name) else None


def _number(environment: Mapping[str, str], name: str, wanted: str, is_good: Callable[[float], bool]) -> float:
    value = environment.get(name)
    try:
        number = float(value or "")
    except ValueError:
        number = math.nan
    if not is_good(number):  # no comparison holds for NaN
        raise _wrong(name, value, wanted)
    return number


def _above_zero(environment: Mapping[str, str], name: str) -> float:
    return _number(environment, name, "a number above 0", lambda number: 0 < number < math.inf)


def _dollars(environment: Mapping[str, str], name: str) -> float:
    return _number(environment, name, "a number of dollars", lambda number: 0 <= number < math.inf)


def _optional_percent(environment: Mapping[str, str], name: str) -> float | None:
    if environment.get(name, "") == "":
        return None
    return _number(environment, name, "empty or a number from 0 to 100", lambda number: 0 <= number <= 100)


def _texts(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    value = environment.get(name)
    try:
        parsed = json.loads(value or "")
    except ValueError:
        parsed = None
    if not isinstance(parsed, list) or not parsed or not all(isinstance(text, str) for text in parsed):
        raise _wrong(name, value, "a JSON list of at least one text")
    return tuple(parsed)


def _string_map(environment: Mapping[str, str], name: str) -> dict[str, str]:
    value = environment.get(name)
    try:
        parsed = json.loads(value or "")
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict) or not all(isinstance(text, str) for text in parsed.values()):
        raise _wrong(name, value, "a JSON object whose values are texts")
    return parsed
