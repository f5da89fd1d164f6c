"""What the backends on Amazon Rekognition have in common: how a request names an image, and what errors mean.

Errors: botocore's service model `rekognition` 2016-06-27 and the developer guide. The service reads an image from S3
itself, by reference, with the caller's permissions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import translated
from batch_vision.backends.contracts import BoundingBox
from batch_vision.core import errors
from batch_vision.core.image_header import HEADER_BYTES
from batch_vision.core.image_limits import broken_limit
from batch_vision.core.versions import NULL_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batch_vision.backends.contracts import ReadableImage
    from batch_vision.core.image_limits import ImageLimits

ERRORS: dict[str, type[errors.BatchVisionError]] = {
    "ThrottlingException": errors.ThrottledError,
    # So many calls, or so many bytes that the service reads from S3 ("S3 download limit exceeded").
    "ProvisionedThroughputExceededException": errors.ThrottledError,
    "InternalServerError": errors.ServiceUnavailableError,
    "ServiceUnavailableException": errors.ServiceUnavailableError,
    "AccessDeniedException": errors.AccessDeniedError,
    "ResourceNotFoundException": errors.ModelNotFoundError,
}

# An error name can mean one thing for a model and another for an image.
DETECT_ERRORS = ERRORS | {
    "InvalidImageFormatException": errors.InvalidImageFormatError,
    "ImageTooLargeException": errors.ImageTooLargeError,
    # "Input parameter violated a constraint" (API reference): the sides of the image, or whatever else is in a request.
    "InvalidParameterException": errors.UnexplainedRefusalError,
    "InvalidS3ObjectException": errors.ImageUnreadableError,
}

MOST_STORED_BYTES = 15 * 1024**2  # of a PNG or JPEG in S3 (developer guide, "Guidelines and quotas")


def ask(
    call: Callable[..., Any],
    image: ReadableImage,
    limits: ImageLimits,
    known: Mapping[str, type[errors.BatchVisionError]],
    request: Mapping[str, Any],
) -> dict[str, Any]:
    """Have the service analyze an image, which it reads from S3 unless it was converted, and return the answer.

    What the service calls an invalid parameter is the image's fault only where its header breaks a documented
    limit. Else the request may be at fault, and a fault in every request must not reject every image.

    Parameters
    ----------
    call
        The method of a client without retries.
    limits
        Those that the service documents for the operation.
    known
        What each error code means.
    request
        What the operation takes besides the image.
    """
    named = _stored(image) if image.is_stored else {"Bytes": image.read_bytes()}
    try:
        with translated(known):
            answer = dict(call(Image=named, **request))
    except errors.UnexplainedRefusalError as refusal:
        if broken := broken_limit(image.read_start(HEADER_BYTES), image.size_bytes, limits):
            raise errors.InvalidImageError(f"{broken.reason} ({refusal})") from refusal
        raise
    answer.pop("ResponseMetadata", None)
    return answer


def _stored(image: ReadableImage) -> dict[str, dict[str, str]]:
    stored = {"Bucket": image.bucket, "Name": image.key}
    if image.version_id != NULL_VERSION:  # it is not documented that the service knows this one
        stored["Version"] = image.version_id
    return {"S3Object": stored}


def bounding_box(box: Mapping[str, Any] | None) -> BoundingBox | None:
    """Return a box of the service in the common form."""
    return BoundingBox(box["Left"], box["Top"], box["Width"], box["Height"]) if box else None
