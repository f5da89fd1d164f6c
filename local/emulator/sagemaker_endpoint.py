"""Amazon SageMaker, as far as the endpoint of a model goes: `sagemaker` (JSON 1.1) and `sagemaker-runtime` (REST JSON).

What is emulated is a container of Hugging Face. The name of its model ends with the task of its pipeline,
`-image-classification` or `-object-detection`, and its answers have the form of that task. A model can have one
endpoint at a time. One that is put into a status while it has none has the endpoint of whoever asks for one first.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import botocore.session

from batch_vision.backends.sagemaker_endpoint import LIMITS
from local.emulator.answers import Answer, Call
from local.emulator.errors import ConfigurationError, ImageError, NotRunningError, ThroughputExceededError
from local.emulator.faults import DROP, DROP_ANSWER
from local.emulator.images import read_header
from local.emulator.lifecycle import StatusNames
from local.emulator.service_model import SerializationError, parse, render, violations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from botocore.model import ServiceModel, Shape

    from local.emulator.faults import FaultPlan
    from local.emulator.hosting import HostedModel, Timing

TARGET_PREFIX = "SageMaker."
PATH_PREFIX = "/endpoints/"
CONTENT_TYPE = "application/x-amz-json-1.1"
OPERATIONS = (
    "CreateEndpointConfig",
    "DescribeEndpointConfig",
    "ListEndpointConfigs",
    "DeleteEndpointConfig",
    "CreateEndpoint",
    "DescribeEndpoint",
    "DeleteEndpoint",
)
INVOKE = "InvokeEndpoint"
TASKS = ("image-classification", "object-detection")
MODEL_ARN = re.compile(
    rf"arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:\d{{12}}:model/(?P<name>[a-zA-Z0-9-]*-(?P<task>{'|'.join(TASKS)}))", re.ASCII
)
# No status of the service: there is no endpoint.
NOT_DEPLOYED = "NotDeployed"
IN_PROGRESS = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})
START_FAILURE = "Failed"
FAILURE_REASON = "The primary container for production variant AllTraffic did not pass the ping health check."
MAX_INSTANCES = 5
PAGE_SIZE = 10
# What the container does, beside the errors that the service declares.
CONTAINER_REFUSES, CONTAINER_FAILS, MALFORMED = "ContainerError4xx", "ContainerError5xx", "MalformedAnswer"

# The HTTP status of each error that every operation has, and what is said when nothing else is.
COMMON_ERRORS = {
    "AccessDeniedException": (400, "You are not authorized to perform this action."),
    "InternalFailure": (500, "The service failed. Try the call again."),
    "ServiceUnavailable": (503, "The service cannot answer now. Try the call again."),
    "ThrottlingException": (400, "Rate exceeded"),
}
CONTROL_ERRORS = COMMON_ERRORS | {
    "ResourceInUse": (400, "The resource is in use."),
    "ResourceLimitExceeded": (400, "A service limit of the account was exceeded."),
    "ResourceNotFound": (400, "The resource was not found."),
    "SerializationException": (400, "The request cannot be read."),
    "ValidationException": (400, "The request is not valid."),
}
RUNTIME_ERRORS = COMMON_ERRORS | {
    "InternalDependencyException": (530, "A service that this one needs failed."),
    "ModelError": (424, 'Received server error (500) from primary with message "".'),
    "ModelNotReadyException": (429, "The model is not ready for inference requests."),
    "ValidationError": (400, "The request is not valid."),
}
# The one error that the service answers with a status only.
TOO_LONG = "413"


def service_model() -> ServiceModel:
    """Return botocore's model of the service that controls endpoints."""
    return botocore.session.get_session().get_service_model("sagemaker")


def runtime_model() -> ServiceModel:
    """Return botocore's model of the service that asks them."""
    return botocore.session.get_session().get_service_model("sagemaker-runtime")


def status_names(model: ServiceModel) -> StatusNames:
    """Return SageMaker's names for the life of an endpoint, and one for there being none."""
    return StatusNames(
        idle=NOT_DEPLOYED,
        starting="Creating",
        running="InService",
        stopping="Deleting",
        stopped=NOT_DEPLOYED,
        failed=START_FAILURE,
        startable=frozenset({NOT_DEPLOYED}),
        known=(*model.shape_for("EndpointStatus").metadata["enum"], NOT_DEPLOYED),
        stoppable=frozenset({"Failed", "OutOfService", "UpdateRollbackFailed"}),
    )


def injectable_errors() -> dict[str, tuple[str, ...]]:
    """Return the errors that can be injected: the services' own, a creation that fails, and what a container does."""
    control = tuple(name for name in CONTROL_ERRORS if name not in ("SerializationException", "ValidationException"))
    injectable = dict.fromkeys(OPERATIONS, control)
    injectable["CreateEndpoint"] += (START_FAILURE,)
    injectable[INVOKE] = (*RUNTIME_ERRORS, CONTAINER_REFUSES, CONTAINER_FAILS, MALFORMED)
    return injectable


def check_arns(model_arns: Sequence[str]) -> None:
    """Check that the ARNs are ones that the service could have given, and name a task; raises `ConfigurationError`."""
    for arn in model_arns:
        if MODEL_ARN.fullmatch(arn) is None:
            raise ConfigurationError(
                f"the SageMaker model ARN {arn!r} is malformed: use"
                f" arn:aws:sagemaker:<region>:<account>:model/<name>-<task>, where the task is {' or '.join(TASKS)}"
            )


class ServiceError(Exception):
    """An error in the service's own words, with what its body holds beside the message."""

    def __init__(self, code: str, message: str | None = None, **members: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.members = members


@dataclasses.dataclass(frozen=True)
class _Configuration:
    request: Mapping[str, Any]
    model_arn: str
    created_at: datetime

    @property
    def instances(self) -> int:
        return int(self.request["ProductionVariants"][0]["InitialInstanceCount"])


class SageMakerEndpoint:
    """Both services: takes a request and returns the answer.

    Parameters
    ----------
    models
        The models that exist, by their ARN; the life of each is that of its endpoint.
    faults
        What goes wrong on request.
    timing
        The sleep of injected delays.
    """

    def __init__(self, models: Mapping[str, HostedModel], faults: FaultPlan, timing: Timing) -> None:
        check_arns(list(models))
        self._models = models
        self._faults = faults
        self._timing = timing
        self._control, self._runtime = service_model(), runtime_model()
        self._lock = threading.RLock()
        self._configurations: dict[str, _Configuration] = {}
        # By the ARN of a model, the names of its endpoint and that one's configuration.
        self._endpoints: dict[str, tuple[str, str]] = {}
        self._operations: dict[str, Callable[[dict[str, Any], str | None], dict[str, Any]]] = {
            "CreateEndpointConfig": self._create_configuration,
            "DescribeEndpointConfig": self._describe_configuration,
            "ListEndpointConfigs": self._list_configurations,
            "DeleteEndpointConfig": self._delete_configuration,
            "CreateEndpoint": self._create,
            "DescribeEndpoint": self._describe,
            "DeleteEndpoint": self._delete,
        }

    def reset(self) -> None:
        """Forget endpoints and configurations."""
        with self._lock:
            self._configurations.clear()
            self._endpoints.clear()

    def configurations(self) -> list[str]:
        """Return the names of the endpoint configurations that there are."""
        with self._lock:
            return sorted(self._configurations)

    def call(self, method: str, path: str, target: str, body: bytes) -> Call:
        """Return what a request asks for."""
        if path.startswith(PATH_PREFIX):
            found = _invoked(method, path)
            return Call("sagemaker", INVOKE if found else "", {"EndpointName": found} if found else {})
        return Call("sagemaker", target.rpartition(".")[2], json.loads(body or b"{}"))

    def answer(self, method: str, path: str, target: str, body: bytes) -> Answer:
        """Answer one request.

        Parameters
        ----------
        method, path
            Its first line; the path is still percent-encoded and has no query.
        target
            The value of its X-Amz-Target header, which an invocation has not.
        body
            Its JSON, or the bytes of an image.
        """
        invoked = _invoked(method, path) if path.startswith(PATH_PREFIX) else None
        operation = INVOKE if invoked else target.removeprefix(TARGET_PREFIX)
        if not invoked and operation not in self._operations:
            return Answer(404, b'{"__type":"UnknownOperationException"}', _headers(CONTENT_TYPE))
        fault = self._faults.strike(operation, self._timing.sleep)
        if fault == DROP:
            return Answer(dropped=True)
        try:
            if fault in CONTROL_ERRORS or fault in RUNTIME_ERRORS:
                raise ServiceError(str(fault))
            answer = self._invoke(invoked, body, fault) if invoked else self._controlled(operation, body, fault)
        except ServiceError as error:
            answer = _runtime_error(error) if invoked else _control_error(error)
        except Exception as error:  # whatever breaks, the caller gets the service's own words
            failure = ServiceError("InternalFailure", f"The emulator failed: {error!r}")
            answer = _runtime_error(failure) if invoked else _control_error(failure)
        return answer.lost() if fault == DROP_ANSWER else answer

    def _controlled(self, operation: str, body: bytes, fault: str | None) -> Answer:
        described = self._control.operation_model(operation)
        shape = cast("Shape", described.input_shape)
        try:
            request: dict[str, Any] = parse(json.loads(body or b"{}"), shape)
        except (SerializationError, ValueError) as error:
            raise ServiceError("SerializationException", str(error)) from error
        if broken := list(violations(request, shape)):
            plural = "" if len(broken) == 1 else "s"
            raise ServiceError(
                "ValidationException", f"{len(broken)} validation error{plural} detected: {'; '.join(broken)}"
            )
        with self._lock:
            result = self._operations[operation](request, fault)
        content = json.dumps(render(result, described.output_shape)).encode() if described.output_shape else b""
        return Answer(200, content, _headers(CONTENT_TYPE))

    def _create_configuration(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        name = request["EndpointConfigName"]
        if name in self._configurations:
            raise _refused("Cannot create already existing endpoint configuration", "endpoint-config", name)
        model = request["ProductionVariants"][0]["ModelName"]
        arn = next((arn for arn in self._models if arn.endswith(f":model/{model}")), None)
        if arn is None:
            raise _refused("Could not find model", "model", model)
        self._configurations[name] = _Configuration(request, arn, datetime.now(UTC))
        return {"EndpointConfigArn": _arn("endpoint-config", name)}

    def _describe_configuration(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        name = request["EndpointConfigName"]
        found = self._configuration(name)
        return {
            **found.request,
            "EndpointConfigArn": _arn("endpoint-config", name),
            "CreationTime": found.created_at,
        }

    def _list_configurations(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        names = [name for name in sorted(self._configurations) if request.get("NameContains", "") in name]
        first = int(request.get("NextToken") or 0)
        last = first + request.get("MaxResults", PAGE_SIZE)
        listed = [
            {
                "EndpointConfigName": name,
                "EndpointConfigArn": _arn("endpoint-config", name),
                "CreationTime": self._configurations[name].created_at,
            }
            for name in names[first:last]
        ]
        return {"EndpointConfigs": listed} | ({"NextToken": str(last)} if last < len(names) else {})

    def _delete_configuration(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        self._configuration(request["EndpointConfigName"])
        del self._configurations[request["EndpointConfigName"]]
        return {}

    def _configuration(self, name: str) -> _Configuration:
        if name not in self._configurations:
            raise _refused("Could not find endpoint configuration", "endpoint-config", name)
        return self._configurations[name]

    def _create(self, request: dict[str, Any], fault: str | None) -> dict[str, Any]:
        name, configuration_name = request["EndpointName"], request["EndpointConfigName"]
        if self._found(name) is not None:
            raise _refused("Cannot create already existing endpoint", "endpoint", name)
        configuration = self._configuration(configuration_name)
        model = self._models[configuration.model_arn]
        with model.lifecycle() as life:
            in_use = (life.inference_units or 0) if life.status != NOT_DEPLOYED else 0
            if in_use or configuration.instances > MAX_INSTANCES:
                instance_type = configuration.request["ProductionVariants"][0].get("InstanceType")
                raise ServiceError(
                    "ResourceLimitExceeded",
                    f"The account-level service limit '{instance_type} for endpoint usage' is {MAX_INSTANCES}"
                    f" Instances, with current utilization of {in_use} Instances and a request delta of"
                    f" {configuration.instances} Instances.",
                )
            model.start(configuration.instances, None, fails=fault == START_FAILURE)
        self._endpoints[configuration.model_arn] = name, configuration_name
        return {"EndpointArn": _arn("endpoint", name)}

    def _describe(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        name = request["EndpointName"]
        if (arn := self._found(name)) is None:
            raise _refused("Could not find endpoint", "endpoint", name)
        with self._models[arn].lifecycle() as life:
            status = life.status
        now = datetime.now(UTC)
        return {
            "EndpointName": name,
            "EndpointArn": _arn("endpoint", name),
            "EndpointConfigName": self._endpoints[arn][1],
            "EndpointStatus": status,
            "FailureReason": FAILURE_REASON if status == START_FAILURE else None,
            "CreationTime": now,
            "LastModifiedTime": now,
        }

    def _delete(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        name = request["EndpointName"]
        if (arn := self._found(name)) is None:
            raise _refused("Could not find endpoint", "endpoint", name)
        with self._models[arn].lifecycle() as life:
            if life.status in IN_PROGRESS:
                raise _refused("Cannot update in-progress endpoint", "endpoint", name)
            life.stop()
        return {}

    def _found(self, name: str) -> str | None:
        """Return the ARN of the model that has this endpoint now."""
        for arn, model in self._models.items():
            with model.lifecycle() as life:
                if life.status == NOT_DEPLOYED:
                    self._endpoints.pop(arn, None)
                    continue
            if self._endpoints.setdefault(arn, (name, "made-by-hand"))[0] == name:
                return arn
        return None

    def _invoke(self, name: str, body: bytes, fault: str | None) -> Answer:
        with self._lock:
            arn = self._found(name)
        unknown = ServiceError("ValidationError", f"Endpoint {name} of account 000000000000 not found.")
        if arn is None:
            raise unknown
        model = self._models[arn]
        try:
            admitted_at_seconds = model.admit()
        except NotRunningError as error:
            raise unknown from error
        except ThroughputExceededError as error:
            raise ServiceError("ThrottlingException") from error
        try:
            if len(body) > LIMITS.max_bytes:
                raise ServiceError(TOO_LONG, f"HTTP content length exceeded {LIMITS.max_bytes} bytes.")
            if fault in (CONTAINER_REFUSES, CONTAINER_FAILS):
                raise _model_error(400 if fault == CONTAINER_REFUSES else 500, "The container was told to fail.")
            answered = json.dumps(_answered(model, cast("re.Match[str]", MODEL_ARN.fullmatch(arn))["task"], body))
        except ImageError as error:
            raise _model_error(400, f"cannot identify image file: {error}") from error
        finally:
            model.wait_out(admitted_at_seconds)
        headers = _headers("application/json") | {"x-Amzn-Invoked-Production-Variant": "AllTraffic"}
        return Answer(200, answered[:-1].encode() if fault == MALFORMED else answered.encode(), headers)


def _answered(model: HostedModel, task: str, content: bytes) -> list[dict[str, Any]]:
    """Say what the pipeline of a task says about an image; raises `ImageError`."""
    header = read_header(content, LIMITS)
    scores = model.analyse(content, LIMITS).scores
    if task == "image-classification":
        return [{"label": score.name, "score": round(score.confidence_percent / 100, 6)} for score in scores]
    found = []
    for score in scores:
        if score.confidence_percent < model.pixel_model.thresholds_percent[score.name]:
            continue
        box = score.bounding_box
        left, top, right, bottom = (
            (box.left, box.top, box.left + box.width, box.top + box.height) if box else (0, 0, 1, 1)
        )
        sides = {"xmin": left * header.width_px, "ymin": top * header.height_px}
        sides |= {"xmax": right * header.width_px, "ymax": bottom * header.height_px}
        found.append(
            {
                "score": round(score.confidence_percent / 100, 6),
                "label": score.name,
                "box": {name: round(at) for name, at in sides.items()},
            }
        )
    return found


def _invoked(method: str, path: str) -> str | None:
    match = re.fullmatch(rf"{PATH_PREFIX}([^/]+)/invocations", path)
    return unquote(match[1]) if match and method == "POST" else None


def _arn(kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:us-east-1:000000000000:{kind}/{name}"


def _refused(words: str, kind: str, name: str) -> ServiceError:
    return ServiceError("ValidationException", f'{words} "{_arn(kind, name)}".')


def _model_error(status: int, message: str) -> ServiceError:
    side = "client" if status < 500 else "server"
    body = json.dumps({"code": status, "type": "InternalServerException", "message": message})
    return ServiceError(
        "ModelError",
        f'Received {side} error ({status}) from primary with message "{body}".',
        OriginalStatusCode=status,
        OriginalMessage=body,
        LogStreamArn=_arn("log-stream", "primary"),
    )


def _headers(content_type: str) -> dict[str, str]:
    return {"x-amzn-RequestId": str(uuid.uuid4()), "Content-Type": content_type}


def _control_error(error: ServiceError) -> Answer:
    status, message = CONTROL_ERRORS[error.code]
    body = {"__type": error.code, "message": error.message or message}
    return Answer(status, json.dumps(body).encode(), _headers(CONTENT_TYPE))


def _runtime_error(error: ServiceError) -> Answer:
    if error.code == TOO_LONG:
        return Answer(413, json.dumps({"message": error.message}).encode(), _headers("application/json"))
    status, message = RUNTIME_ERRORS[error.code]
    members = error.members or ({"OriginalStatusCode": 500} if error.code == "ModelError" else {})
    # The service says nothing of a throttled invocation.
    said = None if error.code == "ThrottlingException" else error.message or message
    headers = _headers("application/json") | {"x-amzn-ErrorType": error.code}
    return Answer(status, json.dumps({"Message": said} | members).encode(), headers)
