"""Amazon Lookout for Vision, which AWS ended on 2025-10-31: this backend runs against the emulator only.

Statuses, errors and limits: the last service model that botocore had (`lookoutvision` 2020-11-20, botocore 1.40.60)
and the developer guide. Current releases of boto3 do not know the service, so the four operations are described in
`service_models/`, on the search path of a session of our own. The service takes the bytes of an image.
"""

from __future__ import annotations

import uuid
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import boto3
import botocore.session

from batch_vision.aws.clients import NOT_RETRYING, RETRYING
from batch_vision.aws.translation import translated
from batch_vision.backends.contracts import (
    Anomaly,
    Detection,
    Detector,
    Kind,
    Lifecycle,
    ModelState,
    ModelStatus,
    Prediction,
    required,
)
from batch_vision.core import errors
from batch_vision.core.image_limits import ImageLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.config import Config

    from batch_vision.backends.contracts import ReadableImage

NAME = "lookout_for_vision"
SERVICE_MODELS = Path(__file__).parent / "service_models"
# Developer guide, "Quotas in Amazon Lookout for Vision".
LIMITS = ImageLimits(max_sent_bytes=8 * 1024**2, min_side_px=64, max_side_px=4096)

# What the service calls the two classes that every model tells apart.
NORMAL = "normal"
ANOMALY = "anomaly"
# The kind of "anomaly" that stands for the rest of the image.
_BACKGROUND = "background"

_CONTENT_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}

_STATES = {
    "TRAINING": ModelState.NOT_TRAINED,
    "TRAINING_FAILED": ModelState.NOT_TRAINED,
    "TRAINED": ModelState.STOPPED,  # never started, or stopped again
    "STARTING_HOSTING": ModelState.STARTING,
    "HOSTED": ModelState.RUNNING,
    "STOPPING_HOSTING": ModelState.STOPPING,
    "HOSTING_FAILED": ModelState.FAILED,
    # It is hosted and does not answer. Of all states, "starting" is right about both: wait for it, and stop it.
    "SYSTEM_UPDATING": ModelState.STARTING,
    "DELETING": ModelState.UNAVAILABLE,
}

_ERRORS: dict[str, type[errors.BatchVisionError]] = {
    "AccessDeniedException": errors.AccessDeniedError,
    "ConflictException": errors.ModelBusyError,
    "InternalServerException": errors.ServiceUnavailableError,
    "ResourceNotFoundException": errors.ModelNotFoundError,
    "ServiceQuotaExceededException": errors.ThrottledError,
    "ThrottlingException": errors.ThrottledError,
}

# An error name can mean one thing for a model and another for an image.
_START_ERRORS = _ERRORS | {"ServiceQuotaExceededException": errors.ModelQuotaError}
_DETECT_ERRORS = _ERRORS | {
    "ConflictException": errors.ModelNotReadyError,
    # Project and version were right when the model was started, so what is left to be invalid is the image: one that
    # cannot be decoded, or whose dimensions are not those of the training images.
    "ValidationException": errors.InvalidImageError,
}


@cache
def session() -> boto3.Session:
    """Return the session that knows the service; region, credentials and endpoint come from the environment as ever."""
    core = botocore.session.get_session()
    core.get_component("data_loader").search_paths.append(str(SERVICE_MODELS))
    return boto3.Session(botocore_session=core)


def make_client(config: Config) -> Any:
    """Make a client of the service; nobody has types for it."""
    return session().client("lookoutvision", config=config)  # type: ignore[call-overload]


def make_detectors(settings: Mapping[str, Any], min_confidence_percent: float | None) -> dict[str, Detector]:
    """Make the one detector; needs the settings ``project_name`` and ``model_version``."""
    return {NAME: LookoutDetector(make_client(NOT_RETRYING), _model(settings), min_confidence_percent)}


class LookoutDetector(Detector):
    """A model version of Lookout for Vision, asked about images.

    Parameters
    ----------
    client
        Without retries: the caller knows how much time there is.
    model
        Project and number of the model, as the service's requests have them.
    min_confidence_percent
        Predictions below it are left out; the verdict itself is always returned.
    """

    def __init__(self, client: Any, model: dict[str, str], min_confidence_percent: float | None) -> None:
        self._client = client
        self._model = model
        self._min_confidence_percent = min_confidence_percent or 0.0

    @property
    def model_id(self) -> str:
        """Project and version, as the service's ARNs write them: ``<project>/<version>``."""
        return _model_id(self._model)

    @property
    def limits(self) -> ImageLimits:
        """Those of the service's guide."""
        return LIMITS

    def detect(self, image: ReadableImage) -> Detection:
        """Send the image's bytes to the service.

        The predictions are the kinds of anomaly found, or ``normal`` or ``anomaly`` where the model names none. The
        service is sure of its verdict as a whole, so each of them has that confidence, and none has a box: where an
        anomaly is, the mask shows.
        """
        if image.size_bytes > LIMITS.max_bytes:
            raise errors.ImageTooLargeError(
                f"The image has {image.size_bytes:,} bytes; Lookout for Vision takes {LIMITS.max_bytes:,} at most."
            )
        content = image.read_bytes()
        content_type = _content_type(content)
        with translated(_DETECT_ERRORS):
            answer = self._client.detect_anomalies(**self._model, ContentType=content_type, Body=content)
        result = dict(answer["DetectAnomalyResult"])
        mask_png = result.pop("AnomalyMask", None)
        anomaly = Anomaly(result["IsAnomalous"], round(result["Confidence"] * 100, 4))
        names = _kinds(result) if anomaly.is_anomalous else [NORMAL]
        return Detection(
            predictions=[
                Prediction(name, anomaly.confidence_percent, kind=Kind.ANOMALY)
                for name in names
                if anomaly.confidence_percent >= self._min_confidence_percent
            ],
            anomaly=anomaly,
            raw={"DetectAnomalyResult": result},
            mask_png=mask_png or None,
        )


class LookoutLifecycle(Lifecycle):
    """A model version of Lookout for Vision, started and stopped.

    Parameters
    ----------
    client
        With botocore's retries.
    model
        Project and number of the model, as the service's requests have them.
    """

    name = NAME

    def __init__(self, client: Any, model: dict[str, str]) -> None:
        self._client = client
        self._model = model

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make the lifecycle; needs the settings ``project_name`` and ``model_version``."""
        return cls(make_client(RETRYING), _model(settings))

    @property
    def model_id(self) -> str:
        """Project and version, as the service's ARNs write them: ``<project>/<version>``."""
        return _model_id(self._model)

    def describe(self) -> ModelStatus:
        """Ask for the model version."""
        with translated(_ERRORS):
            model = self._client.describe_model(**self._model).get("ModelDescription", {})
        status = model.get("Status", "")
        return ModelStatus(
            # A status that is new to us says nothing good: neither start nor trust it.
            state=_STATES.get(status, ModelState.UNKNOWN),
            service_status=status,
            message=model.get("StatusMessage", ""),
            inference_units=model.get("MinInferenceUnits"),
        )

    def start(self, inference_units: int) -> None:
        """Ask for the model to be hosted, with a fixed number of inference units."""
        with translated(_START_ERRORS):
            self._client.start_model(**self._model, MinInferenceUnits=inference_units, ClientToken=_fresh_token())

    def stop(self) -> None:
        """Ask for the hosting of the model to be ended."""
        with translated(_ERRORS):
            self._client.stop_model(**self._model, ClientToken=_fresh_token())


def _model(settings: Mapping[str, Any]) -> dict[str, str]:
    project_name, model_version = required(NAME, settings, "project_name", "model_version")
    return {"ProjectName": project_name, "ModelVersion": model_version}


def _model_id(model: Mapping[str, str]) -> str:
    return f"{model['ProjectName']}/{model['ModelVersion']}"


def _fresh_token() -> str:
    """Return a token for one intent; botocore repeats it when it retries, and the service then answers as before.

    A token that lived longer would make the next start or stop within eight hours a repetition of this one.
    """
    return str(uuid.uuid4())


def _content_type(content: bytes) -> str:
    """Tell PNG from JPEG by the first bytes: the type that S3 has on record is whatever the uploader said."""
    for beginning, content_type in _CONTENT_TYPES.items():
        if content.startswith(beginning):
            return content_type
    raise errors.InvalidImageFormatError("The image is neither a PNG nor a JPEG: its first bytes are of neither.")


def _kinds(result: dict[str, Any]) -> list[str]:
    found = [anomaly["Name"] for anomaly in result.get("Anomalies", [])]
    return [name for name in found if name != _BACKGROUND] or [ANOMALY]
