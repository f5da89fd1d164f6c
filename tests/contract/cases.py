"""What the contract suites have to know of each backend: a new backend is one entry of `CASES`.

The statuses and errors are those that the service itself declares, and what each means to the rest of the code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from botocore.model import ServiceModel

from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from local.config import LOOKOUT_PROJECT_NAME, PROJECT_ARN, PROJECT_VERSION_ARN
from local.emulator import lookout_for_vision, rekognition

MIB_BYTES = 1024 * 1024
Errors = dict[str, type[errors.BatchVisionError]]


@dataclass(frozen=True)
class DetectorCase:
    """How a model is asked.

    Attributes
    ----------
    detect
        The service's operation.
    errors
        What errors mean for an image that mean something else, or nothing, elsewhere.
    max_image_bytes
        The largest image that is taken.
    retry_after_seconds
        How long the service wants to be left alone when it throttles; None for one that does not say.
    """

    detect: str
    errors: Errors
    max_image_bytes: int
    retry_after_seconds: float | None = None


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
    """

    describe: str
    start: str
    stop: str
    states: dict[str, ModelState]
    start_errors: Errors
    failed_start: str
    stopped: str
    status_shape: str

    def status(self, state: ModelState) -> str:
        """A status that has this state."""
        return next(status for status, known in self.states.items() if known is state)


@dataclass(frozen=True)
class Case:
    """A backend.

    Attributes
    ----------
    unknown
        The settings of a model that there is not; those of the emulated one are in `local.emulator.models`.
    service
        The service's model, with the errors that each operation declares.
    errors
        What errors mean for every operation.
    lifecycle
        None for a managed model.
    """

    unknown: dict[str, str]
    service: ServiceModel
    errors: Errors
    detector: DetectorCase
    lifecycle: LifecycleCase | None = None

    @property
    def control_operations(self) -> tuple[str, ...]:
        return (self.lifecycle.describe, self.lifecycle.start, self.lifecycle.stop) if self.lifecycle else ()

    def declared(self, operations: Iterable[str]) -> list[tuple[str, str]]:
        """Each error that these operations declare."""
        found = [(name, self.service.operation_model(name).error_shapes) for name in operations]
        return [(operation, shape.name) for operation, shapes in found for shape in shapes]

    def meaning(self, operation: str, error: str) -> type[errors.BatchVisionError]:
        special: Errors = {}
        if operation == self.detector.detect:
            special = self.detector.errors
        elif self.lifecycle and operation == self.lifecycle.start:
            special = self.lifecycle.start_errors
        return (self.errors | special).get(error, errors.ModelError)

    def code(self, operation: str, meaning: type[errors.BatchVisionError], like: str = "") -> str:
        """What the service calls an error of this meaning."""
        names = [error for _, error in self.declared([operation])]
        return next(name for name in names if self.meaning(operation, name) is meaning and like in name)


CASES = {
    "rekognition_custom_labels": Case(
        unknown={
            "project_arn": PROJECT_ARN,
            "project_version_arn": PROJECT_VERSION_ARN.replace("batch-vision.1", "batch-vision.9"),
        },
        service=rekognition.service_model(),
        errors={
            "AccessDeniedException": errors.AccessDeniedError,
            "InternalServerError": errors.ServiceUnavailableError,
            "ProvisionedThroughputExceededException": errors.ThrottledError,
            "ResourceInUseException": errors.ModelBusyError,
            "ResourceNotFoundException": errors.ModelNotFoundError,
            "ThrottlingException": errors.ThrottledError,
        },
        detector=DetectorCase(
            detect="DetectCustomLabels",
            errors={
                "ImageTooLargeException": errors.ImageTooLargeError,
                "InvalidImageFormatException": errors.InvalidImageFormatError,
                "InvalidParameterException": errors.UnexplainedRefusalError,
                "InvalidS3ObjectException": errors.ImageUnreadableError,
                "LimitExceededException": errors.ThrottledError,
                "ResourceNotReadyException": errors.ModelNotReadyError,
            },
            max_image_bytes=15 * MIB_BYTES,
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
        service=lookout_for_vision.service_model(),
        errors={
            "AccessDeniedException": errors.AccessDeniedError,
            "ConflictException": errors.ModelBusyError,
            "InternalServerException": errors.ServiceUnavailableError,
            "ResourceNotFoundException": errors.ModelNotFoundError,
            "ThrottlingException": errors.ThrottledError,
        },
        detector=DetectorCase(
            detect="DetectAnomalies",
            errors={
                "ConflictException": errors.ModelNotReadyError,
                "ValidationException": errors.InvalidImageError,
            },
            max_image_bytes=8 * MIB_BYTES,
            retry_after_seconds=lookout_for_vision.RETRY_AFTER_SECONDS,
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
}
