"""Every error of batch-vision, under one root.

The class names are an API: Step Functions sees them as the error of a failed task, and
`state_machine.asl.json` retries some of them by name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_error(error: Mapping[str, str]) -> dict[str, str]:
    """Read the error that Step Functions caught; the cause of a function's error is a JSON text with its message."""
    cause = error.get("Cause", "")
    try:
        message = json.loads(cause)["errorMessage"]
    except (KeyError, TypeError, ValueError):
        message = cause
    return {"type": error.get("Error", ""), "message": message}


class BatchVisionError(Exception):
    """Root of all errors that batch-vision raises itself.

    Attributes
    ----------
    remedy
        What to do about an image that was given up for it, before ``batch-vision retry``.
    """

    remedy: ClassVar[str] = "Find the cause in the log of the analyzing function and mend it."


class SettingsError(BatchVisionError):
    """An environment variable of the function is missing or has a wrong value."""


class ImageGoneError(BatchVisionError):
    """The named object version is no longer in the source bucket: it was moved or deleted."""


class PermanentImageError(BatchVisionError):
    """The model can never take this image: it is rejected."""


class InvalidImageFormatError(PermanentImageError):
    """Not a PNG or JPEG, or not one that can be decoded."""


class ImageTooLargeError(PermanentImageError):
    """More bytes or pixels than the service accepts."""


class InvalidImageError(PermanentImageError):
    """The service refuses the image for another reason, such as its dimensions or aspect ratio."""


class TransientError(BatchVisionError):
    """May succeed later: retried while time allows, then left on the queue for redelivery.

    Attributes
    ----------
    retry_after_seconds
        How long the service asks to be left alone; None when it says nothing.
    """

    retry_after_seconds: float | None = None


class ThrottledError(TransientError):
    """The service accepts no more calls now."""

    remedy = (
        "Look for what else in the account calls the service; lower images_per_second_per_unit, or with the image APIs"
        " rekognition.quota_share_percent."
    )


class ServiceUnavailableError(TransientError):
    """An internal error of a service, or the network to it."""

    remedy = (
        "Wait until the service answers again. Where it is a container in SageMaker, see its log,"
        " /aws/sagemaker/Endpoints/<endpoint name>."
    )


class ModelNotReadyError(TransientError):
    """The model is not running, so it cannot analyze."""


class ImageUnreadableError(TransientError):
    """The service cannot read an image that exists: wrong Region or missing permission, not the image's fault."""

    remedy = "Let the role of the analyzing function read the object; bucket and model must be in one Region."


class UnexplainedRefusalError(TransientError):
    """The service calls an image invalid that breaks none of its documented limits: the fault may be another one."""

    remedy = (
        "Look at the image. If it is a sound PNG or JPEG, ask AWS Support what the service finds invalid; of a"
        " container in SageMaker, its log says it: /aws/sagemaker/Endpoints/<endpoint name>."
    )


class UnreadableAnswerError(TransientError):
    """What the model answered is not what the deployment's settings say that it answers: not the image's fault."""

    remedy = (
        "See what batch-vision check-mapping makes of an answer of the container; mend sagemaker_endpoint.mapping or"
        " the container, and apply again."
    )


class NoTimeLeftError(TransientError):
    """The invocation is nearly over, so the image is not begun, or not asked about again."""

    remedy = "Raise timings.analyze_timeout_seconds, or lower batch_size."


class ConversionWaitsError(NoTimeLeftError):
    """Other images were converted until the invocation was nearly over: the image was not begun."""


class ConversionTimeoutError(TransientError):
    """The invocation was over before the image was converted."""

    remedy = "Raise timings.analyze_timeout_seconds; or analyze_memory_mb, with which Lambda gives more of a processor."


class NoMemoryLeftError(TransientError):
    """The images beside it leave too little memory to convert an image."""

    remedy = "Raise analyze_memory_mb, or lower batch_size."


class OlderUploadInProgressError(TransientError):
    """An older upload of the same key has its result but is not moved yet: this one waits for it."""


class ConversionFailedError(BatchVisionError):
    """The process that converts images does not work, whatever the image is."""

    remedy = "Make the package anew with convert_images (make package), and apply the module again."


class StorageRefusedError(BatchVisionError):
    """S3 refuses a request for a reason that repeating it does not change: the image is given up at once."""

    remedy = "Upload the image under another key, or mend what S3 names in the message."


class ImageEncryptedError(StorageRefusedError):
    """The object is encrypted with a key that only its uploader has (SSE-C)."""

    remedy = "Upload the image again without a key of your own (SSE-C), then delete this version."


class ImageKeyDeniedError(StorageRefusedError):
    """The object is encrypted with a KMS key that the analyzing function may not use, or that is disabled."""

    remedy = (
        "Let the role of the analyzing function use the KMS key (kms:Decrypt, in the key's policy too), or upload the"
        " image again without that key."
    )


class ImageLockedError(StorageRefusedError):
    """The object version may not be deleted: a legal hold, a retention period, or a policy."""

    remedy = "Take the legal hold off the version, wait for its retention to end, or change the policy that denies it."


class ImageArchivedError(StorageRefusedError):
    """The object is in an archive storage class and cannot be read before it is restored."""

    remedy = "Restore the object from its archive (aws s3api restore-object) and wait until it is there."


class AccessDeniedError(BatchVisionError):
    """A role lacks a permission. Nothing is lost: messages and images stay where they are."""

    remedy = "Grant the role what the message names; apply the module again if somebody changed it."


class RequestRefusedError(BatchVisionError):
    """AWS refuses a request of a control function for a reason that batch-vision knows no remedy for."""


class ModelError(BatchVisionError):
    """The model cannot be brought to the wanted state."""


class ModelNotFoundError(ModelError):
    """The service does not know the model."""

    remedy = "Name a model or adapter that there is in this Region and account, and apply the module again."


class ModelNotTrainedError(ModelError):
    """The model is still training, or its training failed."""


class ModelUnavailableError(ModelError):
    """The model is being deleted, has expired or is otherwise out of use."""

    remedy = "Look at the state of the model or adapter at the service; name one that is ready, and apply again."


class BackendChangedError(BatchVisionError):
    """The deployment was changed to another model while this run was under way: it ends, and stops its own."""


class ModelFailedError(ModelError):
    """The model failed on its way up, or failed in mid-run and cannot be started again within the run's bounds."""


class ModelStoppedError(ModelError):
    """Somebody stopped the model in mid-run: it stays stopped."""


class ModelBusyError(ModelError):
    """The service refuses the change because another one is under way: look again later."""


class ModelQuotaError(ModelError):
    """An account quota (running models, inference units) does not allow the start."""


class ModelStartTimeoutError(ModelError):
    """The model was not running within start_timeout_seconds."""


class ModelStopTimeoutError(ModelError):
    """The model was not confirmed stopped within stop_timeout_seconds."""


class MappingError(BatchVisionError):
    """The event source mapping cannot be brought to the wanted state."""


class MappingNotFoundError(MappingError):
    """There is no such event source mapping: somebody deleted it."""


class MappingNotEnabledError(MappingError):
    """The event source mapping was not enabled within mapping_timeout_seconds."""


class MappingNotDisabledError(MappingError):
    """The event source mapping was not disabled within mapping_timeout_seconds; the model is stopped."""


class MappingBusyError(TransientError):
    """The event source mapping is in transition and takes no other change: ask again later."""


class FunctionDiedError(BatchVisionError):
    """The analyzing function ended at every delivery of an image without an answer, by a crash or by its timeout."""

    remedy = "Look into the log of analyze-images for what ended it, such as its memory or its timeout, and mend that."


class NoProgressError(BatchVisionError):
    """Images wait, but none was finished for stall_timeout_seconds."""


class DrainTimeoutError(BatchVisionError):
    """The drain took longer than drain_timeout_seconds."""


class BackfillError(BatchVisionError):
    """A backfill cannot go on."""


class BackfillNotFoundError(BackfillError):
    """The job of a backfill is not written down, or what is written there is no job."""


class BackfillListError(BackfillError):
    """The list of a backfill cannot be read; the message names the file, the line and the remedy."""


class GuardError(BatchVisionError):
    """The watchdog could not stop what no execution owns, or not in its time: it may be costing money."""


class CatalogDamagedError(BatchVisionError):
    """A catalog object has a line that no function writes."""


class IndexDamagedError(BatchVisionError):
    """An object of the catalog's index is not what compaction writes."""


class VideoError(BatchVisionError):
    """A video is not analyzed."""


class PermanentVideoError(VideoError):
    """The service can never take this video: it is rejected."""


class InvalidVideoFormatError(PermanentVideoError):
    """Not an MP4, MOV or AVI, or one without its header or without pictures."""


class VideoCodecError(PermanentVideoError):
    """The pictures are not coded as H.264, or the service does not know the codec or the format."""


class VideoTooLargeError(PermanentVideoError):
    """More bytes than the service accepts."""


class VideoTooLongError(PermanentVideoError):
    """Longer than the service accepts."""


class VideoOverBudgetError(PermanentVideoError):
    """Longer than what this deployment may analyze in a day."""

    remedy = "Raise videos.max_minutes_per_day and apply the module again; then retry the video."


class VideoObjectError(VideoError):
    """The service finds no such object, or cannot read it."""

    remedy = "Let the role of dispatch-videos read the object; bucket and service must be in one Region."


class JobLimitError(BatchVisionError):
    """As many jobs are running as the account may have at once."""


class RateError(TransientError):
    """The service takes no more requests now, and did not do what was asked."""


class RequestMismatchError(VideoError):
    """The token of a job was used with another request."""

    remedy = "Retry the video, which is paid for again."


class BadRequestError(VideoError):
    """The service does not take such a request for a job."""

    remedy = "Mend the settings of videos that the message names, and apply the module again."


class JobNotFoundError(VideoError):
    """The service does not know the job any more: it forgets each one seven days after its end."""

    remedy = "Retry the video, which is paid for again."


class PageTokenError(BatchVisionError):
    """The token of a page is too old: it is good for a day."""


class StaleUploadError(TransientError):
    """An upload of parts is gone, or has the parts of somebody else: begin anew."""


class JobFailedError(VideoError):
    """The service says that the job failed, and not that the file is at fault."""

    remedy = "Retry the video. If it fails again, ask AWS Support with the id of the job."


class StalledJobError(VideoError):
    """A job has not ended by its deadline. It cannot be stopped, so it is not started again by itself."""

    remedy = "Look whether other jobs of the account end; then retry the video, which is paid for again."
