"""Amazon Lookout for Vision, as far as hosting and asking a model goes, in its wire protocol REST JSON.

AWS ended the service on 2025-10-31, and botocore dropped its model of it. What is emulated is a segmentation
model: its answers name the kind of anomaly and hold a mask of it.
"""

from __future__ import annotations

import colorsys
import dataclasses
import io
import json
import re
import threading
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from PIL import Image

from batch_vision.backends.lookout_for_vision import LIMITS
from local.config import REPOSITORY
from local.emulator.answers import Answer, Call
from local.emulator.errors import (
    ConfigurationError,
    ImageDimensionsError,
    ImageError,
    ImageFormatError,
    NotRunningError,
    StatusConflictError,
    ThroughputExceededError,
)
from local.emulator.faults import DROP, DROP_ANSWER
from local.emulator.images import read_header
from local.emulator.lifecycle import StatusNames
from local.emulator.service_model import SerializationError, parse, render, violations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from botocore.model import Shape

    from local.emulator.faults import FaultPlan
    from local.emulator.hosting import HostedModel, Timing
    from local.emulator.images import ImageHeader
    from local.emulator.pixel_model import Analysis

PATH_PREFIX = "/2020-11-20/"
SERVICE_MODELS = REPOSITORY / "batch_vision" / "backends" / "service_models"
OPERATIONS = ("StartModel", "StopModel", "DescribeModel", "DetectAnomalies")
START_FAILURE = "HOSTING_FAILED"
# The default quota of an account.
MAX_INFERENCE_UNITS = 5
CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png"}
TOKEN_SECONDS = 8 * 3600
# The service does not publish how long it asks callers to wait.
RETRY_AFTER_SECONDS = 1
TRAINED_AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
# The service puts it first in every list of anomalies, and it is none.
BACKGROUND = "background"
BACKGROUND_COLOUR = (255, 255, 255)
ARN_PATTERN = re.compile(
    r"arn:aws[a-z-]*:lookoutvision:[a-z0-9-]+:\d{12}:model/"
    r"(?P<project>[a-zA-Z0-9][a-zA-Z0-9_-]{0,254})/(?P<version>[1-9][0-9]{0,9})",
    re.ASCII,
)

# The HTTP status of each error, and what is said when nothing else is.
ERRORS = {
    "AccessDeniedException": (403, "You are not authorized to perform this action."),
    "ConflictException": (409, "The state of the resource does not allow this action."),
    "InternalServerException": (500, "The service failed. Try the call again."),
    "ResourceNotFoundException": (404, "The resource was not found."),
    "SerializationException": (400, "The request cannot be read."),
    "ServiceQuotaExceededException": (402, "A quota of the account was exceeded."),
    "ThrottlingException": (429, "The rate of requests is too high."),
    "UnknownOperationException": (404, "There is no such operation."),
    "ValidationException": (400, "The request is not valid."),
}


def service_model() -> ServiceModel:
    """Return the model of the service that the Lambdas use too."""
    loader = Loader(extra_search_paths=[str(SERVICE_MODELS)])
    return ServiceModel(loader.load_service_model("lookoutvision", "service-2"), "lookoutvision")


def status_names(model: ServiceModel) -> StatusNames:
    """Return Lookout's names for the life of a model; a stopped one is as if it had never been started."""
    return StatusNames(
        idle="TRAINED",
        starting="STARTING_HOSTING",
        running="HOSTED",
        stopping="STOPPING_HOSTING",
        stopped="TRAINED",
        failed="HOSTING_FAILED",
        startable=frozenset({"TRAINED", "HOSTING_FAILED"}),
        known=tuple(model.shape_for("ModelStatus").metadata["enum"]),
    )


def injectable_errors(model: ServiceModel) -> dict[str, tuple[str, ...]]:
    """Return the errors that can be injected into each operation: what it declares, and a start that fails."""
    declared = {name: tuple(shape.name for shape in model.operation_model(name).error_shapes) for name in OPERATIONS}
    declared["StartModel"] += (START_FAILURE,)
    return declared


def check_arns(model_arns: Sequence[str]) -> None:
    """Check that the ARNs are ones that the service could have given.

    Raises
    ------
    ConfigurationError
        If one is malformed.
    """
    for arn in model_arns:
        if ARN_PATTERN.fullmatch(arn) is None:
            raise ConfigurationError(
                f"the Lookout model ARN {arn!r} is malformed: "
                "use arn:aws:lookoutvision:<region>:<account>:model/<project name>/<version number>"
            )


class ServiceError(Exception):
    """An error in the service's own words.

    Parameters
    ----------
    code
        Its name.
    message
        What is said; by default what `ERRORS` has.
    members
        What its body holds beside the message.
    """

    def __init__(self, code: str, message: str | None = None, **members: str) -> None:
        super().__init__(message or ERRORS[code][1])
        self.code = code
        self.members = members


class LookoutForVision:
    """The service: takes a request and returns the answer.

    Parameters
    ----------
    models
        The models that exist, by their ARN.
    faults
        What goes wrong on request.
    timing
        The clock of client tokens and the sleep of injected delays.
    """

    def __init__(self, models: Mapping[str, HostedModel], faults: FaultPlan, timing: Timing) -> None:
        check_arns(list(models))
        self._models = models
        self._faults = faults
        self._timing = timing
        self._tokens = _ClientTokens(timing.clock)
        service = service_model()
        self._operations: dict[OperationModel, Callable[[dict[str, Any], str | None], dict[str, Any]]] = {
            service.operation_model("StartModel"): self._start,
            service.operation_model("StopModel"): self._stop,
            service.operation_model("DescribeModel"): self._describe,
            service.operation_model("DetectAnomalies"): self._detect,
        }

    def reset(self) -> None:
        """Forget the client tokens."""
        self._tokens.forget()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request.

        Parameters
        ----------
        method, path
            Its first line; the path is still percent-encoded and has no query.
        headers
            Its headers, under their names in lower case.
        body
            Its JSON, or the bytes of an image.
        """
        found = self._route(method, path)
        if found is None:
            return _error_answer(ServiceError("UnknownOperationException"), {})
        operation, names = found
        fault = self._faults.strike(operation.name, self._timing.sleep)
        if fault == DROP:
            return Answer(dropped=True)
        try:
            if fault not in (None, START_FAILURE, DROP_ANSWER):
                raise ServiceError(fault)
            request = _parsed(operation, names, headers, body)
            result = self._operations[operation](request, fault)
            content = json.dumps(render(result, cast("Shape", operation.output_shape))).encode()
            answer = Answer(operation.http["responseCode"], content, _headers())
        except ServiceError as error:
            answer = _error_answer(error, names)
        except Exception as error:  # whatever breaks, the caller gets the service's own words
            answer = _error_answer(ServiceError("InternalServerException", f"The emulator failed: {error!r}"), names)
        return answer.lost() if fault == DROP_ANSWER else answer

    def call(self, method: str, path: str) -> Call:
        """Return what a request asks for; see `answer`."""
        operation, names = self._route(method, path) or (None, {})
        # The labels of the path are the parameters' names in lower camel case.
        parameters = {name[0].upper() + name[1:]: value for name, value in names.items()}
        return Call("lookoutvision", operation.name if operation else "", parameters)

    def _route(self, method: str, path: str) -> tuple[OperationModel, dict[str, str]] | None:
        for operation in self._operations:
            template = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]*)", operation.http["requestUri"])
            match = re.fullmatch(template, path)
            if match is not None and method == operation.http["method"]:
                return operation, {name: unquote(part) for name, part in match.groupdict().items()}
        return None

    def _found(self, request: Mapping[str, Any]) -> tuple[str, HostedModel]:
        project, version = request["ProjectName"], request["ModelVersion"]
        versions = {
            int(match["version"]): arn
            for arn in self._models
            if (match := ARN_PATTERN.fullmatch(arn)) is not None and match["project"] == project
        }
        if not versions:
            raise ServiceError(
                "ResourceNotFoundException",
                f"The project {project} was not found.",
                ResourceId=project,
                ResourceType="PROJECT",
            )
        arn = versions.get(max(versions) if version == "latest" else int(version))
        if arn is None:
            raise ServiceError(
                "ResourceNotFoundException", f"The project {project} has no model of the version {version}."
            )
        return arn, self._models[arn]

    def _start(self, request: dict[str, Any], fault: str | None) -> dict[str, Any]:
        _, model = self._found(request)
        units, max_units = request["MinInferenceUnits"], request.get("MaxInferenceUnits")
        if max_units is not None and max_units < units:
            raise ServiceError("ValidationException", "MaxInferenceUnits is below MinInferenceUnits.")
        if max(units, max_units or 0) > MAX_INFERENCE_UNITS:
            raise ServiceError(
                "ServiceQuotaExceededException", f"A model can have at most {MAX_INFERENCE_UNITS} inference units."
            )

        def act() -> str:
            try:
                return model.start(units, max_units, fails=fault == START_FAILURE)
            except StatusConflictError as error:
                raise ServiceError("ConflictException", f"A model that is {error.status} cannot be started.") from error

        return {"Status": self._tokens.once("StartModel", request, act)}

    def _stop(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        _, model = self._found(request)

        def act() -> str:
            try:
                return model.stop()
            except StatusConflictError as error:
                raise ServiceError("ConflictException", f"A model that is {error.status} cannot be stopped.") from error

        return {"Status": self._tokens.once("StopModel", request, act)}

    def _describe(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        arn, model = self._found(request)
        with model.lifecycle() as life:
            description = {
                "ModelVersion": arn.rpartition("/")[2],
                "ModelArn": arn,
                "CreationTimestamp": TRAINED_AT,
                "Status": life.status,
                "StatusMessage": f"The model is {life.status}.",
                "MinInferenceUnits": life.inference_units,
                "MaxInferenceUnits": life.max_inference_units,
            }
        return {"ModelDescription": description}

    def _detect(self, request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
        _, model = self._found(request)
        try:
            admitted_at_seconds = model.admit()
        except NotRunningError as error:
            raise ServiceError(
                "ConflictException", f"The model is {error.status}; it answers only while it is hosted."
            ) from error
        except ThroughputExceededError as error:
            raise ServiceError("ThrottlingException") from error
        try:
            return {"DetectAnomalyResult": _verdict(model, request["Body"], request["ContentType"])}
        except ImageError as error:
            raise ServiceError("ValidationException", f"The image cannot be used: {error}.") from error
        finally:
            model.wait_out(admitted_at_seconds)


@dataclasses.dataclass(frozen=True)
class _Done:
    request: Mapping[str, Any]
    status: str
    at_seconds: float


class _ClientTokens:
    """Remembers what was done for a client token, so that it is done once, whatever happened to the model since.

    A call that failed did nothing, and is not remembered.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._done: dict[tuple[str, str], _Done] = {}

    def once(self, operation: str, request: Mapping[str, Any], act: Callable[[], str]) -> str:
        """Do what is asked, or return the answer of the time when it was done for the same token.

        Raises
        ------
        ServiceError
            If the token was used for a request that differs in anything else.
        """
        token = request.get("ClientToken")
        if token is None:
            return act()
        with self._lock:
            now = self._clock()
            self._done = {key: done for key, done in self._done.items() if now - done.at_seconds < TOKEN_SECONDS}
            done = self._done.get((operation, token))
            if done is None:
                done = self._done[operation, token] = _Done(request, act(), now)
            elif done.request != request:
                raise ServiceError(
                    "ConflictException", "The client token was used before, with other parameters than these."
                )
            return done.status

    def forget(self) -> None:
        with self._lock:
            self._done.clear()


def _parsed(
    operation: OperationModel, names: Mapping[str, str], headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """Put a request together from its path, headers and body, and hold it to the model."""
    shape = cast("Any", operation.input_shape)
    payload = shape.serialization.get("payload")
    request: dict[str, Any] = {}
    in_body: dict[str, Any] = {}
    for name, member in shape.members.items():
        location, wire_name = member.serialization.get("location"), member.serialization.get("name", name)
        if location == "uri":
            request[name] = names[wire_name]
        elif location == "header":
            if (value := headers.get(wire_name.lower())) is not None:
                request[name] = value
        elif name == payload:
            request[name] = body
        else:
            in_body[name] = member
    try:
        content = json.loads(body or b"{}") if in_body else {}
        if not isinstance(content, dict):
            raise SerializationError("the request is not an object")
        for name, member in in_body.items():
            if content.get(name) is not None:
                request[name] = parse(content[name], member, name)
    except ValueError as error:
        raise ServiceError("SerializationException", str(error)) from error
    broken = list(violations(request, shape))
    if broken:
        plural = "" if len(broken) == 1 else "s"
        raise ServiceError(
            "ValidationException", f"{len(broken)} validation error{plural} detected: {'; '.join(broken)}"
        )
    return request


def _headers() -> dict[str, str]:
    return {"x-amzn-RequestId": str(uuid.uuid4()), "Content-Type": "application/json"}


def _error_answer(error: ServiceError, names: Mapping[str, str]) -> Answer:
    status = ERRORS[error.code][0]
    headers = _headers() | {"x-amzn-ErrorType": error.code}
    body = {"Message": str(error)}
    if error.code in ("ConflictException", "ResourceNotFoundException"):
        body |= {"ResourceId": f"{names['projectName']}/{names['modelVersion']}", "ResourceType": "MODEL"}
    elif error.code == "ServiceQuotaExceededException":
        body |= {"QuotaCode": "L-00000000", "ServiceCode": "lookoutvision"}
    elif error.code in ("InternalServerException", "ThrottlingException"):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Answer(status, json.dumps(body | error.members).encode(), headers)


def _verdict(model: HostedModel, content: bytes, content_type: str) -> dict[str, Any]:
    """Say whether an image is anomalous, by which kind of anomaly, and where.

    Raises
    ------
    ImageError
        If the service refuses the image.
    """
    header = read_header(content, LIMITS)
    if content_type != CONTENT_TYPES[header.image_format]:
        raise ImageFormatError(f"the content type is {content_type}, and the content is {header.image_format}")
    sizes_px = model.pixel_model.sizes_px
    if (header.width_px, header.height_px) not in sizes_px:
        learned = ", ".join(f"{width} × {height}" for width, height in sorted(sizes_px))
        raise ImageDimensionsError(
            f"it is {header.width_px} × {header.height_px} pixels, and the images of the training are {learned}"
        )
    analysis = model.analyse(content, LIMITS)
    normal, *kinds = model.pixel_model.labels
    is_anomalous = analysis.scores[0].name != normal
    anomalous_ratio = analysis.anomaly_percent / 100.0
    kind = analysis.scores[0].name if is_anomalous else None
    anomalies, mask_png = _segmented(analysis, header, kind, kinds)
    return {
        "Source": {"Type": "direct"},
        "IsAnomalous": is_anomalous,
        "Confidence": round(anomalous_ratio if is_anomalous else 1.0 - anomalous_ratio, 6),
        "Anomalies": anomalies,
        "AnomalyMask": mask_png,
    }


def _segmented(
    analysis: Analysis, header: ImageHeader, kind: str | None, kinds: Sequence[str]
) -> tuple[list[dict[str, Any]], bytes]:
    """Return the list of anomalies and the mask, a PNG of the image's size; without a kind both hold no anomaly."""
    size = (header.width_px, header.height_px)
    colour = BACKGROUND_COLOUR if kind is None else _colour(kinds.index(kind), len(kinds))
    if kind is None:
        mask = Image.new("L", size)
    else:
        area = Image.fromarray(analysis.defect_area.astype("uint8") * 255)
        mask = area.resize(size, Image.Resampling.BILINEAR).point([level // 128 for level in range(256)])
    share = mask.histogram()[1] / (header.width_px * header.height_px)
    found = [(BACKGROUND, 1.0 - share, BACKGROUND_COLOUR)]
    if kind is not None and share > 0:
        found.append((re.sub("[^a-zA-Z0-9]", "", kind) or "anomaly", share, colour))
    mask.putpalette([*BACKGROUND_COLOUR, *colour])
    encoded = io.BytesIO()
    mask.save(encoded, "PNG", bits=1)
    anomalies = [
        {
            "Name": name,
            "PixelAnomaly": {"TotalPercentageArea": round(ratio, 6), "Color": "#" + bytes(rgb).hex().upper()},
        }
        for name, ratio, rgb in found
    ]
    return anomalies, encoded.getvalue()


def _colour(number: int, count: int) -> tuple[int, int, int]:
    """Return a colour that is far from those of the other kinds, and from white."""
    red, green, blue = colorsys.hsv_to_rgb(number / count, 0.75, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)
