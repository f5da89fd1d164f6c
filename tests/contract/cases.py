"""What the contract suites have to know of each backend: a new backend is one entry of `CASES`.

The statuses and errors are those that the service itself declares, and what each means to the rest of the code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.model import ServiceModel

from batch_vision.backends.contracts import Kind, ModelState
from batch_vision.core import errors
from local.config import ADAPTER_ARN, LOOKOUT_PROJECT_NAME, PROJECT_ARN, PROJECT_VERSION_ARN, SAGEMAKER_MODEL_NAME
from local.emulator import lookout_for_vision, rekognition, sagemaker_endpoint

Errors = dict[str, type[errors.BatchVisionError]]


# The pictures of `local/samples` that a hosted model is asked about, and what each is.
PILE = {"pile/part-01.jpg": "normal", "pile/part-02.png": "crack", "pile/part-03.jpg": "stain"}


@dataclass(frozen=True)
class DetectorCase:
    """How a model is asked.

    Attributes
    ----------
    detect
        The service's operation.
    errors
        What errors mean for an image that mean something else, or nothing, elsewhere.
    retry_after_seconds
        How long the service wants to be left alone when it throttles; None for one that does not say.
    pictures
        Of `local/samples`: a name that is predicted for each, and for no other one. One has none: then nothing is.
    kind
        Of all predictions.
    """

    detect: str
    errors: Errors
    retry_after_seconds: float | None = None
    pictures: Mapping[str, str | None] = field(default_factory=lambda: PILE)
    kind: Kind = Kind.CUSTOM_LABEL


@dataclass(frozen=True)
class LifecycleCase:
    """How a model is started and stopped.

    Attributes
    ----------
    describe, start, stop
        The service's operations.
    states
        Every status of the service.
    start_errors
        What errors mean for a start that mean something else, or nothing, elsewhere.
    failed_start
        The fault that makes a start fail on its way, and the status that comes of it.
    stopped
        The status after a stop.
    status_shape
        The enum of the statuses in the service's model.
    has_absence
        Whether a model that there is not is a stopped one, which `stopped` is then the word of: the service has none.
    """

    describe: str
    start: str
    stop: str
    states: dict[str, ModelState]
    start_errors: Errors
    failed_start: str
    stopped: str
    status_shape: str
    has_absence: bool = False

    def status(self, state: ModelState) -> str:
        """A status that has this state; empty where the service has none."""
        return next((status for status, known in self.states.items() if known is state), "")


@dataclass(frozen=True)
class Case:
    """A backend.

    Attributes
    ----------
    unknown
        The settings of a model that there is not, for the first detector; those of the emulated one are in
        `local.emulator.models`, unless there are settings here.
    services
        The service's models, with the errors that each operation declares.
    common_errors
        Those that an operation of a service has beside what it declares, by the name of the service.
    errors
        What errors mean for every operation.
    detectors
        In the order in which an image is taken to them.
    lifecycle
        None for a managed model.
    """

    unknown: dict[str, Any]
    services: tuple[ServiceModel, ...]
    errors: Errors
    detectors: tuple[DetectorCase, ...]
    lifecycle: LifecycleCase | None = None
    settings: dict[str, Any] | None = None
    common_errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def detector(self) -> DetectorCase:
        """The one that a hosted model has."""
        return self.detectors[0]

    @property
    def control_operations(self) -> tuple[str, ...]:
        return (self.lifecycle.describe, self.lifecycle.start, self.lifecycle.stop) if self.lifecycle else ()

    def declared(self, operations: Iterable[str]) -> list[tuple[str, str]]:
        """Each error that these operations declare."""
        return [(name, error) for name in operations for error in self._errors_of(name)]

    def _errors_of(self, operation: str) -> list[str]:
        service = next(service for service in self.services if operation in service.operation_names)
        declared = [shape.name for shape in service.operation_model(operation).error_shapes]
        return [*declared, *self.common_errors.get(service.service_name, ())]

    def meaning(self, operation: str, error: str) -> type[errors.BatchVisionError]:
        special: Errors = {}
        if detector := next((one for one in self.detectors if one.detect == operation), None):
            special = detector.errors
        elif self.lifecycle and operation == self.lifecycle.start:
            special = self.lifecycle.start_errors
        return (self.errors | special).get(error, errors.ModelError)

    def code(self, operation: str, meaning: type[errors.BatchVisionError], like: str = "") -> str:
        """What the service calls an error of this meaning."""
        names = [error for _, error in self.declared([operation])]
        return next(name for name in names if self.meaning(operation, name) is meaning and like in name)


_OPERATION_ERRORS: Errors = {
    "ImageTooLargeException": errors.ImageTooLargeError,
    "InvalidImageFormatException": errors.InvalidImageFormatError,
    "InvalidParameterException": errors.UnexplainedRefusalError,
    "InvalidS3ObjectException": errors.ImageUnreadableError,
    "ResourceNotReadyException": errors.ModelUnavailableError,
}


def _operation(name: str, kind: Kind, pictures: dict[str, str | None]) -> DetectorCase:
    return DetectorCase(name, _OPERATION_ERRORS, pictures=pictures, kind=kind)


_PLAIN: dict[str, str | None] = {"pile/part-01.jpg": None}
_DEFECTS: dict[str, str | None] = {"pile/part-02.png": "crack", "pile/part-03.jpg": "stain"}

# As Terraform makes them of the variable: all that it says is a text.
SAGEMAKER_SETTINGS = {
    "deployment": "batch-vision",
    "model_name": SAGEMAKER_MODEL_NAME,
    "instance_type": "ml.m5.xlarge",
    "instances_per_unit": "1",
    "content_type": "",
    "mapping": "huggingface-object-detection",
    "anomaly_mapping": "[0].{is_anomalous: label != 'normal', confidence: score}",
    "max_payload_mb": "6",
    "answer_timeout_seconds": "10",
    "data_capture_s3_uri": "",
    "data_capture_percent": "100",
}

CASES = {
    "rekognition": Case(
        settings={"analyses": ["moderation", "labels", "text", "faces", "celebrities", "protective_equipment"]},
        unknown={
            "analyses": ["moderation"],
            "moderation": {"adapter_arn": ADAPTER_ARN.replace("moderation.1", "moderation.9")},
        },
        services=(rekognition.service_model(),),
        errors={
            "AccessDeniedException": errors.AccessDeniedError,
            "InternalServerError": errors.ServiceUnavailableError,
            "ProvisionedThroughputExceededException": errors.ThrottledError,
            "ResourceNotFoundException": errors.ModelNotFoundError,
            "ThrottlingException": errors.ThrottledError,
        },
        detectors=(
            _operation("DetectModerationLabels", Kind.MODERATION, _DEFECTS | _PLAIN),
            _operation("DetectLabels", Kind.LABEL, _DEFECTS | {"pile/part-01.jpg": "normal"}),
            _operation(
                "DetectText", Kind.TEXT, {"scenes/keep-clear.jpg": "CLEAR", "scenes/lot 4711.jpg": "4711"} | _PLAIN
            ),
            _operation("DetectFaces", Kind.FACE, {"scenes/portrait.jpg": "face"} | _PLAIN),
            _operation("RecognizeCelebrities", Kind.CELEBRITY, {"scenes/portrait.jpg": "Ada Example"} | _PLAIN),
            _operation(
                "DetectProtectiveEquipment", Kind.EQUIPMENT, {"scenes/worker-equipped.jpg": "HEAD_COVER"} | _PLAIN
            ),
        ),
    ),
    "rekognition_custom_labels": Case(
        unknown={
            "project_arn": PROJECT_ARN,
            "project_version_arn": PROJECT_VERSION_ARN.replace("batch-vision.1", "batch-vision.9"),
        },
        services=(rekognition.service_model(),),
        errors={
            "AccessDeniedException": errors.AccessDeniedError,
            "InternalServerError": errors.ServiceUnavailableError,
            "ProvisionedThroughputExceededException": errors.ThrottledError,
            "ResourceInUseException": errors.ModelBusyError,
            "ResourceNotFoundException": errors.ModelNotFoundError,
            "ThrottlingException": errors.ThrottledError,
        },
        detectors=(
            DetectorCase(
                detect="DetectCustomLabels",
                errors={
                    "ImageTooLargeException": errors.ImageTooLargeError,
                    "InvalidImageFormatException": errors.InvalidImageFormatError,
                    "InvalidParameterException": errors.UnexplainedRefusalError,
                    "InvalidS3ObjectException": errors.ImageUnreadableError,
                    "LimitExceededException": errors.ThrottledError,
                    "ResourceNotReadyException": errors.ModelNotReadyError,
                },
            ),
        ),
        lifecycle=LifecycleCase(
            describe="DescribeProjectVersions",
            start="StartProjectVersion",
            stop="StopProjectVersion",
            states={
                "TRAINING_IN_PROGRESS": ModelState.NOT_TRAINED,
                "TRAINING_COMPLETED": ModelState.STOPPED,
                "TRAINING_FAILED": ModelState.NOT_TRAINED,
                "STARTING": ModelState.STARTING,
                "RUNNING": ModelState.RUNNING,
                "FAILED": ModelState.FAILED,
                "STOPPING": ModelState.STOPPING,
                "STOPPED": ModelState.STOPPED,
                "DELETING": ModelState.UNAVAILABLE,
                "COPYING_IN_PROGRESS": ModelState.NOT_TRAINED,
                "COPYING_COMPLETED": ModelState.STOPPED,
                "COPYING_FAILED": ModelState.NOT_TRAINED,
                "DEPRECATED": ModelState.UNAVAILABLE,
                "EXPIRED": ModelState.UNAVAILABLE,
            },
            start_errors={"LimitExceededException": errors.ModelQuotaError},
            failed_start=rekognition.START_FAILURE,
            stopped="STOPPED",
            status_shape="ProjectVersionStatus",
        ),
    ),
    "lookout_for_vision": Case(
        unknown={"project_name": LOOKOUT_PROJECT_NAME, "model_version": "9"},
        services=(lookout_for_vision.service_model(),),
        errors={
            "AccessDeniedException": errors.AccessDeniedError,
            "ConflictException": errors.ModelBusyError,
            "InternalServerException": errors.ServiceUnavailableError,
            "ResourceNotFoundException": errors.ModelNotFoundError,
            "ThrottlingException": errors.ThrottledError,
        },
        detectors=(
            DetectorCase(
                detect="DetectAnomalies",
                errors={
                    "ConflictException": errors.ModelNotReadyError,
                    "ValidationException": errors.InvalidImageError,
                },
                retry_after_seconds=lookout_for_vision.RETRY_AFTER_SECONDS,
                kind=Kind.ANOMALY,
            ),
        ),
        lifecycle=LifecycleCase(
            describe="DescribeModel",
            start="StartModel",
            stop="StopModel",
            states={
                "TRAINING": ModelState.NOT_TRAINED,
                "TRAINED": ModelState.STOPPED,
                "TRAINING_FAILED": ModelState.NOT_TRAINED,
                "STARTING_HOSTING": ModelState.STARTING,
                "HOSTED": ModelState.RUNNING,
                "HOSTING_FAILED": ModelState.FAILED,
                "STOPPING_HOSTING": ModelState.STOPPING,
                "SYSTEM_UPDATING": ModelState.STARTING,
                "DELETING": ModelState.UNAVAILABLE,
            },
            start_errors={"ServiceQuotaExceededException": errors.ModelQuotaError},
            failed_start=lookout_for_vision.START_FAILURE,
            stopped="TRAINED",
            status_shape="ModelStatus",
        ),
    ),
    "sagemaker_endpoint": Case(
        settings=SAGEMAKER_SETTINGS,
        unknown=SAGEMAKER_SETTINGS | {"model_name": "another-object-detection"},
        services=(sagemaker_endpoint.service_model(), sagemaker_endpoint.runtime_model()),
        errors={
            "AccessDeniedException": errors.AccessDeniedError,
            "InternalFailure": errors.ServiceUnavailableError,
            "ResourceInUse": errors.ModelBusyError,
            "ResourceNotFound": errors.ModelNotFoundError,
            "ServiceUnavailable": errors.ServiceUnavailableError,
            "ThrottlingException": errors.ThrottledError,
        },
        detectors=(
            DetectorCase(
                detect="InvokeEndpoint",
                errors={
                    "InternalDependencyException": errors.ServiceUnavailableError,
                    "ModelError": errors.ServiceUnavailableError,
                    "ModelNotReadyException": errors.ModelNotReadyError,
                    "ValidationError": errors.UnexplainedRefusalError,
                },
            ),
        ),
        lifecycle=LifecycleCase(
            describe="DescribeEndpoint",
            start="CreateEndpoint",
            stop="DeleteEndpoint",
            states={
                "Creating": ModelState.STARTING,
                "InService": ModelState.RUNNING,
                "Updating": ModelState.RUNNING,
                "SystemUpdating": ModelState.RUNNING,
                "RollingBack": ModelState.RUNNING,
                "Deleting": ModelState.STOPPING,
                "Failed": ModelState.FAILED,
                "OutOfService": ModelState.FAILED,
                "UpdateRollbackFailed": ModelState.FAILED,
                sagemaker_endpoint.NOT_DEPLOYED: ModelState.STOPPED,
            },
            start_errors={"ResourceLimitExceeded": errors.ModelQuotaError},
            failed_start=sagemaker_endpoint.START_FAILURE,
            stopped=sagemaker_endpoint.NOT_DEPLOYED,
            status_shape="EndpointStatus",
            has_absence=True,
        ),
        common_errors={
            "sagemaker": (
                "AccessDeniedException",
                "InternalFailure",
                "ResourceInUse",
                "ResourceNotFound",
                "ServiceUnavailable",
                "ThrottlingException",
            ),
            "sagemaker-runtime": ("AccessDeniedException", "ThrottlingException"),
        },
    ),
}
