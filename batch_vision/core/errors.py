"""Every error of batch-vision, under one root.

The class names are an API: Step Functions sees them as the error of a failed task, and
`state_machine.asl.json` retries some of them by name.
"""

from __future__ import annotations


class BatchVisionError(Exception):
    """Root of all errors that batch-vision raises itself."""


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


class ServiceUnavailableError(TransientError):
    """An internal error of a service, or the network to it."""


class ModelNotReadyError(TransientError):
    """The model is not running, so it cannot analyze."""


class ImageUnreadableError(TransientError):
    """The service cannot read an image that exists: wrong Region or missing permission, not the image's fault."""


class NoTimeLeftError(TransientError):
    """The invocation is nearly over, so the image is not begun."""


class OlderUploadInProgressError(TransientError):
    """An older upload of the same key has its result but is not moved yet: this one waits for it."""


class StorageRefusedError(BatchVisionError):
    """S3 refuses a request for a reason that repeating it does not change, such as a key that may not be used."""


class AccessDeniedError(BatchVisionError):
    """A role lacks a permission. Nothing is lost: messages and images stay where they are."""


class RequestRefusedError(BatchVisionError):
    """AWS refuses a request of a control function for a reason that batch-vision knows no remedy for."""


class ModelError(BatchVisionError):
    """The model cannot be brought to the wanted state."""


class ModelNotFoundError(ModelError):
    """The service does not know the model."""


class ModelNotTrainedError(ModelError):
    """The model is still training, or its training failed."""


class ModelUnavailableError(ModelError):
    """The model is being deleted, has expired or is otherwise out of use."""


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


class NoProgressError(BatchVisionError):
    """Images wait, but none was finished for stall_timeout_seconds."""


class DrainTimeoutError(BatchVisionError):
    """The drain took longer than drain_timeout_seconds."""


class GuardError(BatchVisionError):
    """The watchdog could not stop what no execution owns, or not in its time: it may be costing money."""
