"""Amazon Rekognition Custom Labels.

Statuses, errors and limits: botocore's service model `rekognition` 2016-06-27 and the Custom Labels developer
guide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import boto3

from batch_vision.aws.clients import NOT_RETRYING, RETRYING
from batch_vision.aws.translation import translated
from batch_vision.backends.contracts import (
    Detection,
    Detector,
    Kind,
    Lifecycle,
    ModelState,
    ModelStatus,
    Prediction,
    required,
)
from batch_vision.backends.rekognition_requests import DETECT_ERRORS, ERRORS, MOST_STORED_BYTES, ask, bounding_box
from batch_vision.core import errors
from batch_vision.core.image_limits import ImageLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_rekognition import RekognitionClient

    from batch_vision.backends.contracts import ReadableImage

NAME = "rekognition_custom_labels"

_STATES = {
    "TRAINING_IN_PROGRESS": ModelState.NOT_TRAINED,
    "TRAINING_FAILED": ModelState.NOT_TRAINED,
    "COPYING_IN_PROGRESS": ModelState.NOT_TRAINED,
    "COPYING_FAILED": ModelState.NOT_TRAINED,
    "TRAINING_COMPLETED": ModelState.STOPPED,
    "COPYING_COMPLETED": ModelState.STOPPED,
    "STOPPED": ModelState.STOPPED,
    "STARTING": ModelState.STARTING,
    "RUNNING": ModelState.RUNNING,
    "STOPPING": ModelState.STOPPING,
    "FAILED": ModelState.FAILED,
    "DELETING": ModelState.UNAVAILABLE,
    "DEPRECATED": ModelState.UNAVAILABLE,
    "EXPIRED": ModelState.UNAVAILABLE,
}

_ERRORS = ERRORS | {
    "ResourceInUseException": errors.ModelBusyError,
    "ResourceNotReadyException": errors.ModelNotReadyError,
}

# An error name can mean one thing for a model and another for an image.
_START_ERRORS = _ERRORS | {"LimitExceededException": errors.ModelQuotaError}
_DETECT_ERRORS = _ERRORS | DETECT_ERRORS | {"LimitExceededException": errors.ThrottledError}

# Developer guide, "Guidelines and quotas in Amazon Rekognition Custom Labels": PNG and JPEG, of 4 MB as bytes.
LIMITS = ImageLimits(
    max_sent_bytes=4 * 1024**2,
    max_stored_bytes=MOST_STORED_BYTES,
    min_side_px=64,
    max_side_px=4096,
    max_aspect_ratio=20,
)


def make_detectors(settings: Mapping[str, Any], min_confidence_percent: float | None) -> dict[str, Detector]:
    """Make the one detector; needs the setting ``project_version_arn``."""
    (project_version_arn,) = required(NAME, settings, "project_version_arn")
    client = boto3.client("rekognition", config=NOT_RETRYING)
    return {NAME: CustomLabelsDetector(client, project_version_arn, min_confidence_percent)}


class CustomLabelsDetector(Detector):
    """A model version of Rekognition Custom Labels, asked about images.

    Parameters
    ----------
    client
        Without retries: the caller knows how much time there is.
    min_confidence_percent
        None uses the thresholds that the model was trained with.
    """

    def __init__(
        self, client: RekognitionClient, project_version_arn: str, min_confidence_percent: float | None
    ) -> None:
        self._client = client
        self._project_version_arn = project_version_arn
        self._request: dict[str, Any] = {"ProjectVersionArn": project_version_arn}
        if min_confidence_percent is not None:
            self._request["MinConfidence"] = min_confidence_percent

    @property
    def model_id(self) -> str:
        """The ARN of the model version."""
        return self._project_version_arn

    @property
    def limits(self) -> ImageLimits:
        """Those of the service's guide."""
        return LIMITS

    def detect(self, image: ReadableImage) -> Detection:
        """Have the service label the image; see `rekognition_requests.ask`."""
        answer = ask(self._client.detect_custom_labels, image, LIMITS, _DETECT_ERRORS, self._request)
        labels = answer.get("CustomLabels", [])
        return Detection(
            predictions=[
                Prediction(
                    label["Name"],
                    label["Confidence"],
                    bounding_box(label.get("Geometry", {}).get("BoundingBox")),
                    kind=Kind.CUSTOM_LABEL,
                )
                for label in labels
            ],
            raw={"CustomLabels": labels},
        )


class CustomLabelsLifecycle(Lifecycle):
    """A model version of Rekognition Custom Labels, started and stopped.

    Parameters
    ----------
    client
        With botocore's retries.
    project_arn, project_version_arn
        The model version and the project it belongs to.
    """

    name = NAME

    def __init__(self, client: RekognitionClient, project_arn: str, project_version_arn: str) -> None:
        self._client = client
        self._project_arn = project_arn
        self._project_version_arn = project_version_arn

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make the lifecycle; needs the settings ``project_arn`` and ``project_version_arn``."""
        return cls(
            boto3.client("rekognition", config=RETRYING),
            *required(NAME, settings, "project_arn", "project_version_arn"),
        )

    @property
    def model_id(self) -> str:
        """The ARN of the model version."""
        return self._project_version_arn

    def describe(self) -> ModelStatus:
        """Find the model version among those of its project that have its name."""
        version_name = self._project_version_arn.split("/")[3]
        with translated(_ERRORS):
            answer = self._client.describe_project_versions(ProjectArn=self._project_arn, VersionNames=[version_name])
        for version in answer["ProjectVersionDescriptions"]:
            if version.get("ProjectVersionArn") == self._project_version_arn:
                status = version.get("Status", "")
                return ModelStatus(
                    state=_STATES.get(status, ModelState.UNKNOWN),
                    service_status=status,
                    message=version.get("StatusMessage", ""),
                    inference_units=version.get("MinInferenceUnits"),
                )
        raise errors.ModelNotFoundError(
            f"Project {self._project_arn} has no model version {self._project_version_arn}."
        )

    def start(self, inference_units: int) -> None:
        """Ask for the model to be started, with a fixed number of inference units."""
        with translated(_START_ERRORS):
            self._client.start_project_version(
                ProjectVersionArn=self._project_version_arn, MinInferenceUnits=inference_units
            )

    def stop(self) -> None:
        """Ask for the model to be stopped."""
        with translated(_ERRORS):
            self._client.stop_project_version(ProjectVersionArn=self._project_version_arn)
