"""The settings of each function that handles images: see `core.settings`."""

from dataclasses import dataclass

from batch_vision.core.settings import (
    AboveZero,
    BucketSettings,
    ExistingBucketSettings,
    ModelSettings,
    Percent,
    Positive,
    Rates,
    Text,
    YesOrNo,
)


@dataclass(frozen=True)
class DetectorSettings(ModelSettings):
    """What a function is told that asks the model.

    Attributes
    ----------
    min_confidence_percent
        Predictions below it are left out; None uses the thresholds that the model was trained with.
    paces
        How fast one invocation asks each detector of the backend.
    convert_images
        Whether an image that the model does not take as it is is converted for it.
    """

    min_confidence_percent: Percent | None
    paces: Rates
    convert_images: YesOrNo


@dataclass(frozen=True)
class AnalyzeImagesSettings(DetectorSettings):
    """The settings of `analyze_images`.

    Attributes
    ----------
    source_bucket_name
        Where images are uploaded; a message that names another bucket is not read.
    final_bucket_name
        Where images, results and catalog go.
    queue_url, max_receive_count
        The queue of the images' messages, and after how many deliveries a message is a dead letter.
    """

    source_bucket_name: Text
    final_bucket_name: Text
    queue_url: Text
    max_receive_count: Positive


@dataclass(frozen=True)
class LookingSettings(ExistingBucketSettings, ModelSettings):
    """What a function is told that looks at keys of an existing bucket.

    Attributes
    ----------
    queue_url, max_receive_count
        The queue of the events, and after how many deliveries a message is a dead letter.
    """

    queue_url: Text
    max_receive_count: Positive


@dataclass(frozen=True)
class CollectChangesSettings(LookingSettings):
    """What `collect_changes` is told.

    Attributes
    ----------
    chunk_images
        The most keys in a chunk: what one invocation of the analyzing function does in its time. In larger ones a few
        images would wait for one invocation, while the others have nothing to do.
    """

    chunk_images: Positive


@dataclass(frozen=True)
class AskingSettings(LookingSettings, DetectorSettings):
    """What a function is told that looks at keys and asks the model."""


@dataclass(frozen=True)
class AnalyzeChunkSettings(AskingSettings):
    """What `analyze_chunk` is told: its queue is that of the chunks' messages."""


@dataclass(frozen=True)
class UpdateResultsSettings(AskingSettings):
    """What `update_results` is told.

    Attributes
    ----------
    live_share_percent
        Of its paces, to which it keeps while a backfill asks the model too.
    """

    live_share_percent: AboveZero


@dataclass(frozen=True)
class SendChunksSettings(ExistingBucketSettings, ModelSettings):
    """What `send_chunks` is told."""


@dataclass(frozen=True)
class RequeueImagesSettings(BucketSettings):
    """The settings of `requeue_images`.

    Attributes
    ----------
    requeue_limit_images
        At most this many images are put back on the queue in one call.
    """

    requeue_limit_images: Positive


@dataclass(frozen=True)
class RequeueOverdueSettings(RequeueImagesSettings):
    """What `requeue_overdue` is told.

    Attributes
    ----------
    queue_url, dead_letter_queue_url
        The queue of the images' messages, and that of those which were delivered too often.
    requeue_after_seconds
        An image that is younger has its own message: one that was delivered comes again within that time.
    """

    queue_url: Text
    dead_letter_queue_url: Text
    requeue_after_seconds: Positive


@dataclass(frozen=True)
class PlanBackfillSettings(ExistingBucketSettings):
    """What `plan_backfill` is told.

    Attributes
    ----------
    chunk_images
        The most keys in a chunk: what one invocation that works one off does in its time.
    queue_url
        The queue of the events: a result whose object is gone needs no model.
    starts_model
        Whether a chunk starts a hosted model: then what most likely needs none is no part of one.
    """

    chunk_images: Positive
    queue_url: Text
    starts_model: YesOrNo


@dataclass(frozen=True)
class CountBackfillSettings:
    """What `count_backfill` is told.

    Attributes
    ----------
    final_bucket_name
        Where chunks, jobs and summaries are.
    """

    final_bucket_name: Text


@dataclass(frozen=True)
class WorkOffChunkSettings(ExistingBucketSettings, DetectorSettings):
    """What `work_off_chunk` is told."""
