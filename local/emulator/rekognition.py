"""Amazon Rekognition in its wire protocol JSON 1.1: hosting and asking a model of Custom Labels, and the other APIs.

Those of images are in `image_operations`, those of stored videos in `video_operations`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import botocore.session

from batch_vision.backends.rekognition_custom_labels import LIMITS
from local.emulator.answers import Answer, Call
from local.emulator.errors import (
    ConfigurationError,
    NotRunningError,
    StatusConflictError,
)
from local.emulator.faults import DROP, DROP_ANSWER, VIDEO_FAULTS
from local.emulator.image_operations import IMAGE_OPERATIONS
from local.emulator.lifecycle import StatusNames
from local.emulator.rekognition_requests import ServiceError, check_image, read_image, service_errors
from local.emulator.service_model import SerializationError, parse, render, violations
from local.emulator.video_analyses import ANALYSES, VIDEO_OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from botocore.model import ServiceModel, Shape

    from local.emulator.faults import FaultPlan
    from local.emulator.hosting import HostedModel, Timing
    from local.emulator.image_operations import ImageOperations
    from local.emulator.objects import ObjectReader
    from local.emulator.video_operations import VideoOperations

CONTENT_TYPE = "application/x-amz-json-1.1"
START_FAILURE = "FAILED"
OPERATIONS = (
    "StartProjectVersion",
    "StopProjectVersion",
    "DescribeProjectVersions",
    "DetectCustomLabels",
    *IMAGE_OPERATIONS,
    *VIDEO_OPERATIONS,
)
MAX_INFERENCE_UNITS = 5
PAGE_SIZE = 100
TRAINED_AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
TRAINING_SECONDS = 3600


def service_model() -> ServiceModel:
    """Return botocore's model of the service."""
    return botocore.session.get_session().get_service_model("rekognition")


def status_names(model: ServiceModel) -> StatusNames:
    """Return Rekognition's names for the life of a model."""
    known = tuple(model.shape_for("ProjectVersionStatus").metadata["enum"])
    return StatusNames(
        idle="TRAINING_COMPLETED",
        starting="STARTING",
        running="RUNNING",
        stopping="STOPPING",
        stopped="STOPPED",
        failed="FAILED",
        startable=frozenset({"TRAINING_COMPLETED", "COPYING_COMPLETED", "STOPPED", "FAILED"}),
        known=known,
    )


def server_faults(model: ServiceModel) -> frozenset[str]:
    """Return the errors that the service calls its own fault and answers with HTTP 500."""
    # botocore keeps whose fault an error is in the unparsed shape only.
    declared = {shape.name: shape for shape in model.error_shapes}
    return frozenset(name for name, shape in declared.items() if vars(shape)["_shape_model"].get("fault"))


def injectable_errors(model: ServiceModel) -> dict[str, tuple[str, ...]]:
    """Return what can be injected into each operation: declared errors, and what befalls its job or model."""
    # The model names an error of RecognizeCelebrities twice.
    declared = {
        name: tuple(dict.fromkeys(shape.name for shape in model.operation_model(name).error_shapes))
        for name in OPERATIONS
    }
    declared["StartProjectVersion"] += (START_FAILURE,)
    for analysis in ANALYSES:
        declared[analysis.start] += VIDEO_FAULTS
    return declared


class Rekognition:
    """The service: takes the target and body of a request and returns the answer.

    Parameters
    ----------
    project_arn
        The one project that exists.
    models
        Its models, by the ARN of their version.
    image_operations
        The image APIs.
    video_operations
        The APIs of stored videos.
    objects
        Where images in S3 are read from.
    faults
        What goes wrong on request.
    timing
        The sleep of injected delays.
    """

    TARGET_PREFIX = "RekognitionService."

    def __init__(
        self,
        project_arn: str,
        models: Mapping[str, HostedModel],
        image_operations: ImageOperations,
        video_operations: VideoOperations,
        objects: ObjectReader,
        faults: FaultPlan,
        timing: Timing,
    ) -> None:
        self._model = service_model()
        check_arns(self._model, project_arn, list(models))
        self._project_arn = project_arn
        self._models = models
        self._image_operations = image_operations
        self._errors = {shape.name for shape in self._model.error_shapes}
        self._objects = objects
        self._faults = faults
        self._timing = timing
        self._server_faults = server_faults(self._model)
        self._operations: dict[str, Callable[[dict[str, Any], str | None], dict[str, Any]]] = {
            "StartProjectVersion": self._start,
            "StopProjectVersion": self._stop,
            "DescribeProjectVersions": self._describe,
            "DetectCustomLabels": self._detect,
            **{name: partial(self._answer_image, name) for name in IMAGE_OPERATIONS},
            **{name: partial(video_operations.answer, name) for name in VIDEO_OPERATIONS},
        }

    def call(self, target: str, body: bytes) -> Call:
        """Return what a request asks for; see `answer`."""
        return Call("rekognition", target.rpartition(".")[2], json.loads(body or b"{}"))

    def answer(self, target: str, body: bytes) -> Answer:
        """Answer one request.

        Parameters
        ----------
        target
            The value of its X-Amz-Target header.
        body
            Its JSON.
        """
        request_id = str(uuid.uuid4())
        headers = {"x-amzn-RequestId": request_id, "Content-Type": CONTENT_TYPE}
        operation = target.removeprefix(self.TARGET_PREFIX)
        if not target.startswith(self.TARGET_PREFIX) or operation not in self._operations:
            return Answer(400, b'{"__type":"UnknownOperationException"}', headers)
        fault = self._faults.strike(operation, self._timing.sleep)
        if fault == DROP:
            return Answer(dropped=True)
        try:
            if fault in self._errors:
                raise ServiceError(fault)
            described = self._model.operation_model(operation)
            result = self._operations[operation](self._parsed(body, described.input_shape), fault)
            content = json.dumps(render(result, cast("Shape", described.output_shape))).encode()
            answer = Answer(200, content, headers)
        except ServiceError as error:
            answer = self._error_answer(error, request_id, headers)
        except Exception as error:  # whatever breaks, the caller gets the service's own words
            failure = ServiceError("InternalServerError", f"The emulator failed: {error!r}")
            answer = self._error_answer(failure, request_id, headers)
        return answer.lost() if fault == DROP_ANSWER else answer

    def _parsed(self, body: bytes, shape: Any) -> dict[str, Any]:
        try:
            request: dict[str, Any] = parse(json.loads(body or b"{}"), shape)
        except (SerializationError, ValueError) as error:
            raise ServiceError("SerializationException", str(error)) from error
        broken = list(violations(request, shape))
        if broken:
            plural = "" if len(broken) == 1 else "s"
            raise ServiceError(
                "ValidationException", f"{len(broken)} validation error{plural} detected: {'; '.join(broken)}"
            )
        return request

    def _error_answer(self, error: ServiceError, request_id: str, headers: Mapping[str, str]) -> Answer:
        if error.code in ("ValidationException", "SerializationException"):
            # The front of the service refuses these, in its own spelling.
            return Answer(400, json.dumps({"__type": error.code, "message": str(error)}).encode(), headers)
        body = {"__type": error.code, "Code": error.code, "Logref": request_id, "Message": str(error)}
        return Answer(500 if error.code in self._server_faults else 400, json.dumps(body).encode(), headers)

    def _version(self, request: Mapping[str, Any]) -> HostedModel:
        arn = request["ProjectVersionArn"]
        if arn not in self._models:
            raise ServiceError("ResourceNotFoundException", f"The version {arn} was not found.")
        return self._models[arn]

    def _start(self, request: dict[str, Any], fault: str | None) -> dict[str, Any]:
        model = self._version(request)
        units, max_units = request["MinInferenceUnits"], request.get("MaxInferenceUnits")
        if max(units, max_units or 0) > MAX_INFERENCE_UNITS:
            raise ServiceError(
                "LimitExceededException", f"A model can have at most {MAX_INFERENCE_UNITS} inference units."
            )
        if max_units is not None and max_units < units:
            raise ServiceError("InvalidParameterException", "MaxInferenceUnits is below MinInferenceUnits.")
        try:
            return {"Status": model.start(units, max_units, fails=fault == START_FAILURE)}
        except StatusConflictError as error:
            raise ServiceError(
                "ResourceInUseException", f"A model that is {error.status} cannot be started."
            ) from error

    def _stop(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        model = self._version(request)
        try:
            return {"Status": model.stop()}
        except StatusConflictError as error:
            is_invalid = error.status == "STARTING" and model.settings.stop_while_starting_is_invalid
            code = "InvalidParameterException" if is_invalid else "ResourceInUseException"
            raise ServiceError(code, f"A model that is {error.status} cannot be stopped.") from error

    def _describe(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        if request["ProjectArn"] != self._project_arn:
            raise ServiceError("ResourceNotFoundException", f"The project {request['ProjectArn']} was not found.")
        names = request.get("VersionNames")
        arns = [arn for arn in self._models if names is None or version_name(arn) in names]
        first = _offset_of(request.get("NextToken"), len(arns))
        last = first + request.get("MaxResults", PAGE_SIZE)
        answer: dict[str, Any] = {"ProjectVersionDescriptions": [self._description(arn) for arn in arns[first:last]]}
        if last < len(arns):
            answer["NextToken"] = base64.b64encode(f"from {last}".encode()).decode()
        return answer

    def _description(self, arn: str) -> dict[str, Any]:
        with self._models[arn].lifecycle() as life:
            return {
                "ProjectVersionArn": arn,
                "CreationTimestamp": TRAINED_AT,
                "TrainingEndTimestamp": TRAINED_AT,
                "BillableTrainingTimeInSeconds": TRAINING_SECONDS,
                "Status": life.status,
                "StatusMessage": f"The model is {life.status}.",
                "MinInferenceUnits": life.inference_units,
                "MaxInferenceUnits": life.max_inference_units,
                "Feature": "CUSTOM_LABELS",
            }

    def _detect(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        model = self._version(request)
        check_image(request["Image"])
        with service_errors():
            try:
                admitted_at_seconds = model.admit()
            except NotRunningError as error:
                raise ServiceError(
                    "ResourceNotReadyException", f"The model is {error.status}; it answers only while it runs."
                ) from error
            try:
                return {"CustomLabels": self._labels(model, request)}
            finally:
                model.wait_out(admitted_at_seconds)

    def _answer_image(self, operation: str, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        return self._image_operations.answer(operation, request)

    def _labels(self, model: HostedModel, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        analysis = model.analyse(read_image(request["Image"], self._objects, LIMITS), LIMITS)
        labels = []
        for score in analysis.scores:
            least = request.get("MinConfidence", model.pixel_model.thresholds_percent[score.name])
            if score.confidence_percent < least:
                continue
            label: dict[str, Any] = {"Name": score.name, "Confidence": round(score.confidence_percent, 4)}
            if (box := score.bounding_box) is not None:
                sides = {"Width": box.width, "Height": box.height, "Left": box.left, "Top": box.top}
                label["Geometry"] = {"BoundingBox": sides}
            labels.append(label)
        return labels[: request.get("MaxResults", len(labels))]


def check_arns(model: ServiceModel, project_arn: str, version_arns: list[str]) -> None:
    """Check that the ARNs are ones that the service could have given.

    Raises
    ------
    ConfigurationError
        If one does not match the service's pattern, or a version is of another project.
    """
    if re.fullmatch(model.shape_for("ProjectArn").metadata["pattern"], project_arn) is None:
        raise ConfigurationError(
            f"the project ARN {project_arn!r} is malformed: "
            "use arn:aws:rekognition:<region>:<account>:project/<name>/<digits>"
        )
    for arn in version_arns:
        if re.fullmatch(model.shape_for("ProjectVersionArn").metadata["pattern"], arn) is None:
            raise ConfigurationError(
                f"the project version ARN {arn!r} is malformed: "
                "use arn:aws:rekognition:<region>:<account>:project/<name>/version/<name>/<digits>"
            )
        if arn.partition("/version/")[0] != project_arn.rpartition("/")[0]:
            raise ConfigurationError(
                f"the project version ARN {arn!r} is not of the project {project_arn!r}: name the same project"
            )


def check_adapters(model: ServiceModel, arns: Iterable[str]) -> None:
    """Check that the ARNs of adapters are ones that the service could have given; raises `ConfigurationError`."""
    for arn in arns:
        if re.fullmatch(model.shape_for("ProjectVersionId").metadata["pattern"], arn) is None:
            raise ConfigurationError(
                f"the adapter ARN {arn!r} is malformed: "
                "use arn:aws:rekognition:<region>:<account>:project/<name>/version/<name>/<digits>"
            )


def version_name(project_version_arn: str) -> str:
    """Return the name of a version, the last but one part of its ARN."""
    return project_version_arn.split("/")[-2]


def _offset_of(token: str | None, count: int) -> int:
    if token is None:
        return 0
    try:
        text = base64.b64decode(token, validate=True).decode()
        offset = int(text.removeprefix("from ")) if text.startswith("from ") else -1
    except (binascii.Error, ValueError):
        offset = -1
    if not 0 < offset < count:
        raise ServiceError("InvalidPaginationTokenException")
    return offset
