"""What the detectors of a function are asked about: an image as it is, or what it is converted to."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_vision.backends.contracts import ReadableImage
    from batch_vision.core.errors import PermanentImageError
    from batch_vision.core.image_limits import ImageLimits
    from batch_vision.images.source import StoredImage

_MIB_BYTES = 1024**2


@dataclass(frozen=True, slots=True)
class Prepared:
    """What each detector is asked about, by its name.

    Attributes
    ----------
    images
        The image; or why the detector can never take it.
    converted
        What is added to the answers about an image that was converted, of those detectors that are asked about it.
    """

    images: Mapping[str, ReadableImage | PermanentImageError]
    converted: Mapping[str, dict[str, Any]] = field(default_factory=dict)


class Prepare(Protocol):
    """Makes of an image in S3 what detectors of these limits can be asked about."""

    def __call__(self, image: StoredImage, limits: Mapping[str, ImageLimits], deadline: float) -> Prepared:
        """Return it; raises what `StoredImage` raises, and what `Converter` does."""


def as_it_is(image: StoredImage, limits: Mapping[str, ImageLimits], deadline: float) -> Prepared:
    """Have every detector asked about the image itself."""
    return Prepared(dict.fromkeys(limits, image))


def preparing(*, convert_images: bool) -> Prepare:
    """Return what makes images ready in this function."""
    if not convert_images:
        return as_it_is
    from batch_vision.images.converting import Converter  # here, for nobody else's cold start is to pay for it

    return Converter(int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) * _MIB_BYTES).prepare
