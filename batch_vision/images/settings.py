"""The settings of each function that handles images: see `core.settings`."""

from dataclasses import dataclass

from batch_vision.core.settings import AboveZero, BucketSettings, ModelSettings, Percent, Positive, Text


@dataclass(frozen=True)
class AnalyzeImagesSettings(ModelSettings):
    """The settings of `analyze_images`.

    Attributes
    ----------
    source_bucket_name
        Where images are uploaded; a message that names another bucket is not read.
    final_bucket_name
        Where images, results and catalog go.
    min_confidence_percent
        Predictions below it are left out; None uses the thresholds that the model was trained with.
    images_per_second_per_unit
        What one inference unit of the model can do.
    queue_url, max_receive_count
        The queue of the images' messages, and after how many deliveries a message is a dead letter.
    """

    source_bucket_name: Text
    final_bucket_name: Text
    min_confidence_percent: Percent | None
    images_per_second_per_unit: AboveZero
    queue_url: Text
    max_receive_count: Positive


@dataclass(frozen=True)
class RequeueImagesSettings(BucketSettings):
    """The settings of `requeue_images`.

    Attributes
    ----------
    requeue_limit_images
        At most this many images are put back on the queue in one call.
    """

    requeue_limit_images: Positive
