"""Convert images that a model does not take as they are, for the model only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_vision.backends.contracts import ReadableImage
    from batch_vision.core.errors import PermanentImageError
    from batch_vision.core.image_limits import ImageLimits
    from batch_vision.images.source import StoredImage


@dataclass(frozen=True, slots=True)
class Prepared:
    """What each detector is asked about, by its name.

    Attributes
    ----------
    images
        The image; or why the detector can never take it.
    converted
        What the result says of an image that was converted, for those detectors that are asked about that one.
    """

    images: Mapping[str, ReadableImage | PermanentImageError]
    converted: Mapping[str, dict[str, Any]] = field(default_factory=dict)


class Prepare(Protocol):
    """Makes of an image in S3 what detectors of these limits can be asked about."""

    def __call__(self, image: StoredImage, limits: Mapping[str, ImageLimits], deadline: float) -> Prepared:
        """Return it; raises what `StoredImage` raises, and `NoTimeLeftError`."""


def as_it_is(image: StoredImage, limits: Mapping[str, ImageLimits], deadline: float) -> Prepared:
    """Have every detector asked about the image itself."""
    return Prepared(dict.fromkeys(limits, image))
