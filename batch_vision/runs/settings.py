"""The settings of each function of a run: see `core.settings`. `enable_mapping` has none."""

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
    """The settings of `start_model`.

    Attributes
    ----------
    final_bucket_name
        Where the current run is written down.
    """

    final_bucket_name: Text


@dataclass(frozen=True)
class CloseRunSettings:
    """The settings of `close_run`.

    Attributes
    ----------
    final_bucket_name
        Where the current run is written down.
    """

    final_bucket_name: Text


@dataclass(frozen=True)
class GuardModelSettings:
    """The settings of `guard_model`.

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
        Topic to which a run that succeeded is published; None publishes it nowhere.
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


@dataclass(frozen=True)
class CompactCatalogSettings:
    """The settings of `compact_catalog`.

    Attributes
    ----------
    final_bucket_name
        Where catalog and index are.
    """

    final_bucket_name: Text
