"""The contracts between batch-vision and a model service, one for each capability.

A backend is one file with a class for each capability that the service has: a `Detector` asks the model about an
image, and a `Lifecycle` starts and stops a model that is paid for while it runs. The file translates: each status
string and each exception of its service is known inside it only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from batch_vision.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_vision.core.image_limits import ImageLimits


class ModelState(StrEnum):
    """The states of a model, whatever the service calls them."""

    NOT_TRAINED = "not_trained"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"  # a status that the service has and the backend does not know: never good news


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What the service says about the model now.

    Attributes
    ----------
    service_status, message
        The service's own words, for logs and errors.
    inference_units
        Units it runs (or is to run) with; None when the service does not tell.
    has_remains
        Whether something of it is there that a stop removes, even where it costs nothing.
    """

    state: ModelState
    service_status: str
    message: str = ""
    inference_units: int | None = None
    has_remains: bool = False


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """Where in the image; all four are ratios of the image's sides, from its top left corner."""

    left: float
    top: float
    width: float
    height: float


class Kind(StrEnum):
    """What a prediction is."""

    CUSTOM_LABEL = "custom_label"  # of a model that was trained for its user
    ANOMALY = "anomaly"
    LABEL = "label"
    COLOR = "color"  # its confidence is the share of the image's pixels
    TEXT = "text"
    FACE = "face"
    MODERATION = "moderation"
    CELEBRITY = "celebrity"
    EQUIPMENT = "equipment"


@dataclass(frozen=True, slots=True)
class Instance:
    """One of the things in the image that a prediction counts."""

    confidence_percent: float
    bounding_box: BoundingBox


@dataclass(frozen=True, slots=True)
class Prediction:
    """One label that the model gives the image, or a part of it.

    Attributes
    ----------
    parents
        Names of the labels that this one is a kind of; None where the service has no such thing.
    instances
        Where in the image the things of this name are; None where the service has no such thing.
    attributes
        What else the service says about it, ready for JSON; None where it says nothing.
    """

    name: str
    confidence_percent: float
    bounding_box: BoundingBox | None = None
    _: KW_ONLY
    kind: Kind
    parents: tuple[str, ...] | None = None
    instances: tuple[Instance, ...] | None = None
    attributes: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """The verdict of a service that looks for anomalies."""

    is_anomalous: bool
    confidence_percent: float


@dataclass(frozen=True, slots=True)
class Detection:
    """What a model says about one image, in the form common to all backends.

    Attributes
    ----------
    raw
        The service's own response, ready for JSON, without the mask.
    mask_png
        Where in the image the anomalies are, as a PNG; None when the service does not tell.
    """

    predictions: list[Prediction] = field(default_factory=list)
    anomaly: Anomaly | None = None
    raw: dict[str, Any] = field(default_factory=dict)
    mask_png: bytes | None = field(default=None, repr=False)


class ReadableImage(Protocol):
    """An image version in S3: a service reads it by reference, or takes its bytes."""

    @property
    def is_stored(self) -> bool:
        """Whether its content is that of the object: a service is sent the bytes of an image that was converted."""

    @property
    def bucket(self) -> str:
        """Name of the bucket."""

    @property
    def key(self) -> str:
        """Key of the object."""

    @property
    def version_id(self) -> str:
        """Version of the object."""

    @property
    def size_bytes(self) -> int:
        """Size of the content."""

    def read_bytes(self) -> bytes:
        """Fetch the content.

        Raises
        ------
        ImageGoneError
            That version is no longer there.
        """

    def read_start(self, most_bytes: int) -> bytes:
        """Fetch the first bytes of the content, or all of it where it has fewer; raises as `read_bytes` does."""


class Detector(ABC):
    """A model that is asked about images.

    The module of a backend makes its detectors: ``make_detectors(settings, min_confidence_percent)`` returns them by
    name, in the order of their answers in a result. One that has a single model names it as itself. A service
    with several analyses has a detector for each of its operations, by the operation's name. An image is finished
    when all of them have answered.

    Every method raises, besides what it names, `ThrottledError` and `ServiceUnavailableError` for what may
    succeed later, and `AccessDeniedError` for a missing permission.
    """

    @property
    @abstractmethod
    def model_id(self) -> str:
        """What identifies the model in results."""

    @property
    @abstractmethod
    def limits(self) -> ImageLimits:
        """What the service documents about the images that it takes."""

    @abstractmethod
    def detect(self, image: ReadableImage) -> Detection:
        """Analyze one image, once: whether to try again is the caller's to say.

        Raises
        ------
        PermanentImageError
            The model can never take this image.
        ImageGoneError
            The image version no longer exists (only from a backend that reads it itself).
        ImageUnreadableError
            The service could not read the image from S3.
        UnexplainedRefusalError
            The service calls the image invalid, and nothing that it documents says why.
        ModelNotReadyError
            The hosted model is not running.
        """


class Lifecycle(ABC):
    """A hosted model: it must be started before it is asked, and is paid for until it is stopped.

    Every method raises, besides what it names, as those of `Detector`.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make the lifecycle of the model that the settings name; `required` reads them.

        Raises
        ------
        SettingsError
            A setting of this backend is missing.
        """

    @property
    @abstractmethod
    def model_id(self) -> str:
        """What identifies the model in messages: the same as in results."""

    @abstractmethod
    def describe(self) -> ModelStatus:
        """Return the state of the model.

        Raises
        ------
        ModelNotFoundError
            The service does not know the model.
        """

    @abstractmethod
    def start(self, inference_units: int) -> None:
        """Ask for the model to be started; returns before it runs.

        Raises
        ------
        ModelBusyError
            It is starting, running or stopping already.
        ModelQuotaError
            A quota of the account forbids it.
        ModelNotFoundError
            The service does not know the model.
        """

    @abstractmethod
    def stop(self) -> None:
        """Ask for the model to be stopped, or for what remains of it to be removed; returns before it is.

        Raises
        ------
        ModelBusyError
            It cannot be stopped in its present state.
        ModelNotFoundError
            The service does not know the model.
        """


def required(backend: str, settings: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """Return the settings of these names.

    Raises
    ------
    SettingsError
        One is missing, or is no text.
    """
    if missing := [name for name in names if not isinstance(settings.get(name), str)]:
        raise SettingsError(
            f"Environment variable BACKEND_SETTINGS lacks {', '.join(map(repr, missing))} as texts, which the backend"
            f" {backend} needs. Terraform sets it: apply the module again."
        )
    return tuple(settings[name] for name in names)
