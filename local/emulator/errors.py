"""The errors of the emulator's core; each protocol module turns them into its service's own."""

from __future__ import annotations


class EmulatorError(Exception):
    """Root of what the emulator raises on purpose."""


class ConfigurationError(EmulatorError):
    """An argument, setting or fault that cannot be used; the message names it, its value and the remedy."""


class ImageError(EmulatorError):
    """Root of the reasons why an image is refused."""


class ImageFormatError(ImageError):
    """The bytes are not a JPEG or PNG that can be decoded to its end, or its colours are not accepted."""


class ImageTooLargeError(ImageError):
    """The image has too many bytes or too long a side."""


class ImageSidesTooLongError(ImageTooLargeError):
    """The image has too long a side."""


class ImageDimensionsError(ImageError):
    """The image has too short a side, or its sides are too unequal."""


class ObjectUnreadableError(EmulatorError):
    """The named object, version or bucket does not exist or may not be read."""


class ObjectStoreError(EmulatorError):
    """The object store itself did not answer properly."""


class StatusConflictError(EmulatorError):
    """The model's status does not allow what was asked."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the model is {status}")
        self.status = status


class NotRunningError(StatusConflictError):
    """The model was asked about an image while it was not running."""


class ThroughputExceededError(EmulatorError):
    """More calls came in than the inference units of the model can serve."""


class VideoError(EmulatorError):
    """Root of the reasons why a video is refused."""


class VideoFormatError(VideoError):
    """The content is not a video that can be decoded."""


class VideoTooLargeError(VideoError):
    """The video has too many bytes, or is too long."""


class MissingPackageError(EmulatorError):
    """A package that the emulator needs for this is not installed."""


class TopicError(EmulatorError):
    """A message could not be published."""
