"""What the operations of Rekognition share: its errors in its own words, and the image that a request names."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from local.emulator.errors import (
    ImageDimensionsError,
    ImageFormatError,
    ImageTooLargeError,
    ObjectStoreError,
    ObjectUnreadableError,
    ThroughputExceededError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch_vision.core.image_limits import ImageLimits
    from local.emulator.objects import ObjectReader

MESSAGES = {
    "AccessDeniedException": "You are not authorized to perform this action.",
    "HumanLoopQuotaExceededException": "Too many human reviews are in progress.",
    "ImageTooLargeException": "The input image exceeds the allowed limit.",
    "IdempotentParameterMismatchException": "The ClientRequestToken you have supplied is already in use.",
    "InternalServerError": "An internal error occurred. Try the call again.",
    "InvalidImageFormatException": "The format of the input image is not supported.",
    "InvalidPaginationTokenException": "The pagination token is not valid.",
    "InvalidParameterException": "The request has invalid parameters.",
    # In the service's own words, as public bug reports quote it.
    "InvalidS3ObjectException": (
        "Unable to get object metadata from S3. Check object key, region and/or access permissions."
    ),
    "LimitExceededException": "A limit of the account was exceeded.",
    "ProvisionedThroughputExceededException": "The throughput limit was exceeded.",
    "ResourceInUseException": "The resource is in use.",
    "ResourceNotFoundException": "The resource was not found.",
    "ResourceNotReadyException": "The model is not ready for inference.",
    "ThrottlingException": "The rate of requests is too high.",
    "VideoTooLargeException": "The file size or duration of the supplied media is too large.",
}


class ServiceError(Exception):
    """An error in the service's own words."""

    def __init__(self, code: str, message: str | None = None) -> None:
        super().__init__(message or MESSAGES[code])
        self.code = code


def read_image(image: Mapping[str, Any], objects: ObjectReader, limits: ImageLimits) -> bytes:
    """Return the image of a request, still encoded.

    Parameters
    ----------
    image
        The member `Image`: bytes, or an object of S3.

    Raises
    ------
    ServiceError
        The object has no bucket or name.
    ImageTooLargeError
        The request has too many bytes, or the object.
    ObjectUnreadableError, ObjectStoreError
        See `ObjectReader.read`.
    """
    if "Bytes" in image:
        content: bytes = image["Bytes"]
        if len(content) > limits.max_sent_bytes:
            raise ImageTooLargeError(
                f"the request has {len(content)} bytes of an image, at most {limits.max_sent_bytes} are accepted"
            )
        return content
    named = image["S3Object"]
    if "Bucket" not in named or "Name" not in named:
        raise ServiceError("InvalidS3ObjectException", "The S3 object lacks its bucket or name.")
    return objects.read(named["Bucket"], named["Name"], named.get("Version"), limits.max_bytes)


def check_image(image: Mapping[str, Any]) -> None:
    """Check that an image is given in one way; raises `ServiceError`."""
    if ("Bytes" in image) == ("S3Object" in image):
        raise ServiceError("InvalidParameterException", "Give the image either as bytes or as an S3 object.")


@contextlib.contextmanager
def service_errors() -> Iterator[None]:
    """Turn the errors of the emulator's core into the service's."""
    try:
        yield
    except ThroughputExceededError as error:
        raise ServiceError("ProvisionedThroughputExceededException") from error
    except ImageFormatError as error:
        raise ServiceError("InvalidImageFormatException", f"The image is not supported: {error}.") from error
    except ImageTooLargeError as error:
        raise ServiceError("ImageTooLargeException", f"The image is too large: {error}.") from error
    except ImageDimensionsError as error:
        raise ServiceError("InvalidParameterException", f"The image cannot be used: {error}.") from error
    except ObjectUnreadableError as error:
        raise ServiceError("InvalidS3ObjectException") from error
    except ObjectStoreError as error:
        raise ServiceError("InternalServerError", f"S3 did not answer: {error}") from error
