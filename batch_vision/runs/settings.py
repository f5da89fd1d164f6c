"""What each function of a run is told: see `core.settings`. `enable_mapping` is told nothing."""

from dataclasses import dataclass

from batch_vision.core.capacity import CapacitySettings
from batch_vision.core.settings import BucketSettings, Dollars, ModelSettings, Positive, Text


@dataclass(frozen=True)
class StartGateSettings:
    """For what a scheduled run starts the model.

    Attributes
    ----------
    start_backlog_images, start_max_age_seconds
        A scheduled run starts the model for so many images, or when the oldest has waited so long; None where a single
        image is enough.
    """

    start_backlog_images: Positive
    start_max_age_seconds: Positive | None


@dataclass(frozen=True)
class CheckBacklogSettings(StartGateSettings, BucketSettings, ModelSettings):
    """What `check_backlog` is told."""


@dataclass(frozen=True)
class CheckChunksSettings(StartGateSettings, ModelSettings):
    """What `check_chunks` is told.

    Attributes
    ----------
    final_bucket_name
        Where the chunks and the catalog are.
    """

    final_bucket_name: Text


@dataclass(frozen=True)
class StartModelSettings(CapacitySettings, ModelSettings):
    """What `start_model` is told.

    Attributes
    ----------
    final_bucket_name
        Where the current run is written down.
    """

    final_bucket_name: Text


@dataclass(frozen=True)
class CloseRunSettings:
    """What `close_run` is told.

    Attributes
    ----------
    final_bucket_name
        Where the current run is written down.
    """

    final_bucket_name: Text


@dataclass(frozen=True)
class GuardModelSettings:
    """What `guard_model` is told.

    Attributes
    ----------
    final_bucket_name
        Where the current run and the summaries are.
    """

    final_bucket_name: Text


@dataclass(frozen=True)
class SummarySettings:
    """What a summary goes by.

    Attributes
    ----------
    final_bucket_name
        Where the catalog is, and the summary goes.
    max_inference_units
        What a run is taken to have used where an error hides it.
    inference_unit_hour_dollars
        What an inference unit costs for an hour.
    schedule_period_seconds
        The longest time between two ticks of the schedule; None when it is not known.
    success_topic_arn
        Topic that is told of a run that succeeded; None tells nobody.
    """

    final_bucket_name: Text
    max_inference_units: Positive
    inference_unit_hour_dollars: Dollars
    schedule_period_seconds: Positive | None
    success_topic_arn: Text | None


@dataclass(frozen=True)
class SummarizeRunSettings(SummarySettings, BucketSettings):
    """What `summarize_run` is told."""


@dataclass(frozen=True)
class SummarizeChunksSettings(SummarySettings):
    """What `summarize_chunks` is told."""
