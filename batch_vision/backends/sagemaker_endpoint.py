"""A model of your own in a SageMaker endpoint, which is created when images wait and deleted after them.

Operations and statuses: botocore's service models `sagemaker` 2017-07-24 and `sagemaker-runtime` 2017-05-13, and the
API reference. That something is not there, or there already, has no error code of its own: all are a
ValidationException, and only the message tells which. The container answers with whatever JSON it likes; a JMESPath
expression says what of it is a prediction.

Each model and its settings have an endpoint name of their own, so that no other model of the deployment is taken for
this one: ``<deployment>-<hash of the settings>``. The endpoint configuration adds the number of instances to it, which
together are all that is in it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NoReturn, Self

import boto3
import jmespath
from botocore.config import Config
from botocore.exceptions import ClientError
from jmespath.functions import Functions

from batch_vision.aws.clients import NOT_RETRYING, RETRYING
from batch_vision.aws.translation import translated
from batch_vision.backends.contracts import (
    Anomaly,
    BoundingBox,
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
from batch_vision.core.image_header import sides_px
from batch_vision.core.image_limits import ImageLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batch_vision.backends.contracts import ReadableImage

NAME = "sagemaker_endpoint"
# What the service has no status for: there is no endpoint.
NOT_DEPLOYED = "NotDeployed"
_MIB_BYTES = 1024 * 1024
# "The payload limits are 25 MB for real-time endpoints" (SageMaker Model Hosting FAQs). What sides and colours its
# container takes, nobody documents: an image that it can decode it scales itself.
LIMITS = ImageLimits(max_sent_bytes=25 * _MIB_BYTES, max_channel_bits=16, takes_cmyk=True)

# The answers of the pipelines of these tasks, as the Hugging Face containers of AWS give them.
PRESETS = {
    "huggingface-image-classification": "[].{name: label, confidence: score}",
    "huggingface-object-detection": (
        "[].{name: label, confidence: score,"
        " box_px: {left: box.xmin, top: box.ymin, right: box.xmax, bottom: box.ymax}}"
    ),
}

_VARIANT = "AllTraffic"
_CONFIGURATION = re.compile(r"(?P<endpoint>.+-[0-9a-f]{16})-(?P<instances>[0-9]{4})")

_STATES = {
    "Creating": ModelState.STARTING,
    "InService": ModelState.RUNNING,
    # It goes on answering, with the configuration of before.
    "Updating": ModelState.RUNNING,
    "SystemUpdating": ModelState.RUNNING,
    "RollingBack": ModelState.RUNNING,
    "Deleting": ModelState.STOPPING,
    # It is there, is not to be relied on, and can only be deleted.
    "Failed": ModelState.FAILED,
    "OutOfService": ModelState.FAILED,
    "UpdateRollbackFailed": ModelState.FAILED,
}

_ERRORS: dict[str, type[errors.BatchVisionError]] = {
    "AccessDeniedException": errors.AccessDeniedError,
    "ConflictException": errors.ModelBusyError,
    "InternalFailure": errors.ServiceUnavailableError,
    "ResourceInUse": errors.ModelBusyError,
    "ResourceLimitExceeded": errors.ModelQuotaError,
    "ResourceNotFound": errors.ModelNotFoundError,
    "ServiceUnavailable": errors.ServiceUnavailableError,
    "ThrottlingException": errors.ThrottledError,
}


class _NotThereError(errors.ModelNotFoundError):
    """There is no such endpoint."""


class _ThereAlreadyError(errors.ModelBusyError):
    """There is such an endpoint configuration."""


# The first that the message of a ValidationException holds.
_REFUSALS: dict[str, type[errors.BatchVisionError]] = {
    # Made a moment ago and not seen yet, which AWS warns of (API reference, CreateEndpoint), or deleted by a run that
    # ends: the next step makes it again.
    "Could not find endpoint configuration": errors.ModelBusyError,
    "Could not find endpoint": _NotThereError,
    "Could not find model": errors.ModelNotFoundError,
    "Cannot create already existing endpoint configuration": _ThereAlreadyError,
    "Cannot create already existing endpoint": errors.ModelBusyError,
    "Cannot update in-progress endpoint": errors.ModelBusyError,
}

_DETECT_ERRORS = _ERRORS | {
    "InternalDependencyException": errors.ServiceUnavailableError,
    # "The model is not ready: wait and try again" (API reference, InvokeEndpoint).
    "ModelNotReadyException": errors.ModelNotReadyError,
    # Of the request, which is the same for every image.
    "ValidationError": errors.UnexplainedRefusalError,
    # "HTTP content length exceeded … bytes": an answer with a status and no error code.
    "413": errors.ImageTooLargeError,
}
# By HTTP status of the container. One that means "this content" is believed; 400 is what the containers of Hugging Face
# answer to whatever goes wrong, out of memory too.
_CONTAINER_ERRORS: dict[int, type[errors.BatchVisionError]] = {
    413: errors.ImageTooLargeError,
    415: errors.InvalidImageFormatError,
    422: errors.InvalidImageError,
    429: errors.ThrottledError,
}

# By the first bytes: the type, and what no whole image lacks.
_FORMATS = {b"\x89PNG\r\n\x1a\n": ("image/png", b"IEND"), b"\xff\xd8\xff": ("image/jpeg", b"\xff\xd9")}


@dataclass(frozen=True, slots=True)
class Settings:
    """What Terraform's variable says of the model: texts, as all settings of a hosted model.

    Attributes
    ----------
    deployment
        Begins the names of endpoint and configuration.
    model_name
        The SageMaker model: of one container, or of a pipeline of them.
    instance_type, instances_per_unit
        What an inference unit is.
    content_type
        That of every request; empty for that of the image, ``image/png`` or ``image/jpeg``.
    mapping, anomaly_mapping
        See `AnswerMapping.compiled`.
    max_payload_mb
        The largest image that is sent, in MiB.
    answer_timeout_seconds
        How long an answer may take.
    data_capture_s3_uri, data_capture_percent
        Where the service keeps requests and answers, and how many of them; an empty URI captures none.
    """

    deployment: str
    model_name: str
    instance_type: str
    instances_per_unit: str
    content_type: str
    mapping: str
    anomaly_mapping: str
    max_payload_mb: str
    answer_timeout_seconds: str
    data_capture_s3_uri: str
    data_capture_percent: str
    endpoint_name: str = ""

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Self:
        """Read them; raises `SettingsError` where one is missing."""
        names = [field.name for field in fields(cls) if field.name != "endpoint_name"]
        texts = dict(zip(names, required(NAME, settings, *names), strict=True))
        digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()
        return cls(**texts, endpoint_name=f"{texts['deployment']}-{digest[:16]}")

    @property
    def answer_mapping(self) -> AnswerMapping:
        """The compiled expressions; raises `SettingsError`."""
        return AnswerMapping.compiled(self.mapping, self.anomaly_mapping)


def make_detectors(settings: Mapping[str, Any], min_confidence_percent: float | None) -> dict[str, Detector]:
    """Make the one detector; see `Settings`."""
    return {NAME: EndpointDetector(Settings.read(settings), min_confidence_percent)}


# ---------------------------------------------------------------------------------------------------------------------
# What a container answers
# ---------------------------------------------------------------------------------------------------------------------


class AnswerMapping:
    """What of a container's answer is a prediction, and what its verdict; see `compiled`."""

    def __init__(self, predictions: Callable[[Any], Any], anomaly: Callable[[Any], Any] | None) -> None:
        self._predictions = predictions
        self._anomaly = anomaly

    @classmethod
    def compiled(cls, mapping: str, anomaly_mapping: str = "") -> Self:
        """Compile the expressions.

        Parameters
        ----------
        mapping
            The name of one of `PRESETS`, or a JMESPath expression that makes a list of the answer. Each of its
            elements has ``name``; ``confidence`` (0 to 1) or ``confidence_percent``; and at most one of ``box`` (ratios
            of the sides) and ``box_px``, with ``left`` and ``top``, and ``right`` and ``bottom`` or ``width`` and
            ``height``, or with ``center_x``, ``center_y``, ``width`` and ``height``. In the place of that list there
            may be one object that has a list for each of these, as many containers answer.
        anomaly_mapping
            One that makes an object with ``is_anomalous``, and ``confidence`` or ``confidence_percent``, or null for
            no verdict; empty for a model that has none.

        Raises
        ------
        SettingsError
            One does not compile; the message says where.
        """
        predictions = _compiled("mapping", PRESETS.get(mapping, mapping))
        return cls(predictions, _compiled("anomaly_mapping", anomaly_mapping) if anomaly_mapping else None)

    def read(
        self, answer: Any, sides: tuple[int, int] | None, min_confidence_percent: float
    ) -> tuple[list[Prediction], Anomaly | None]:
        """Return what an answer says.

        Parameters
        ----------
        sides
            Width and height of the image in pixels, as it is shown; without them boxes in pixels are left out.
        min_confidence_percent
            Predictions below it are left out.

        Raises
        ------
        UnreadableAnswerError
            The answer is another one than the expressions are for.
        """
        made = self._predictions(answer)
        found = _rows(made) if isinstance(made, dict) else made
        if not isinstance(found, list):
            _refuse(
                f"mapping makes {_shown(made)} of the answer; it must make a list of objects, or one object with"
                " lists of the same length"
            )
        predictions = [_prediction(one, sides) for one in found]
        verdict = self._anomaly(answer) if self._anomaly else None
        kept = [one for one in predictions if one.confidence_percent >= min_confidence_percent]
        return kept, None if verdict is None else _anomaly(verdict)


def _compiled(name: str, expression: str) -> Callable[[Any], Any]:
    try:
        parsed = jmespath.compile(expression)
        # A function that there is not is found in an answer only, and not in every one.
        unknown = sorted(set(_functions(parsed.parsed)) - set(Functions.FUNCTION_TABLE))
    except (ValueError, RecursionError) as error:  # the root of JMESPath's errors is a ValueError
        reason = " ".join(str(error).split()) or type(error).__name__
    else:
        if not unknown:
            return _searching(name, parsed)
        reason = f"there is no function {unknown[0]}()"
    raise errors.SettingsError(
        f"{NAME}.{name} is {expression!r}, which is no JMESPath expression: {reason}. Mend it, see what it makes of an"
        f" answer with `batch-vision check-mapping`, and apply again. Presets are {', '.join(PRESETS)}."
    )


def _functions(node: Mapping[str, Any]) -> Iterator[str]:
    if node["type"] == "function_expression":
        yield node["value"]
    for child in node["children"]:
        if isinstance(child, dict):
            yield from _functions(child)


def _searching(name: str, parsed: Any) -> Callable[[Any], Any]:
    def search(answer: Any) -> Any:
        try:
            return parsed.search(answer)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise errors.UnreadableAnswerError(f"{name} cannot be applied to the answer: {error}") from error

    return search


def _rows(made: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return a prediction for each place of the lists of an object; None where it has others than lists of one length.

    What the expression made nothing of is left out.
    """
    lists = {name: values for name, values in made.items() if values is not None}
    lengths = {len(values) if isinstance(values, list) else None for values in lists.values()}
    if len(lengths) != 1 or None in lengths:
        return None
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _prediction(found: Any, sides: tuple[int, int] | None) -> Prediction:
    given = _object(found, "A prediction", {"name", "confidence", "confidence_percent", "box", "box_px"})
    name = given.get("name")
    if not isinstance(name, str) or not name:
        _refuse(f"the name of a prediction is {_shown(name)}, and not a text (to_string() makes one of a number)")
    box = None
    if (in_ratios := given.get("box")) is not None:
        box = _bounding_box(in_ratios, 1, 1)
    elif (in_pixels := given.get("box_px")) is not None and sides:
        box = _bounding_box(in_pixels, *sides)
    return Prediction(name, _confidence_percent(given), box, kind=Kind.CUSTOM_LABEL)


def _anomaly(found: Any) -> Anomaly:
    given = _object(found, "The verdict", {"is_anomalous", "confidence", "confidence_percent"})
    if not isinstance(given.get("is_anomalous"), bool):
        _refuse(f"is_anomalous is {_shown(given.get('is_anomalous'))}, and neither true nor false")
    return Anomaly(given["is_anomalous"], _confidence_percent(given))


def _confidence_percent(given: Mapping[str, Any]) -> float:
    names = [name for name in ("confidence", "confidence_percent") if given.get(name) is not None]
    if len(names) != 1:
        _refuse(f"{_shown(given)} has {' and '.join(names) or 'no confidence'}; use confidence or confidence_percent")
    most = 1 if names == ["confidence"] else 100
    number = _number(given[names[0]], names[0])
    if not 0 <= number <= most * (1 + 1e-6):  # of a rounding of 32 bits
        other = "confidence_percent for 0 to 100" if most == 1 else "confidence for 0 to 1"
        _refuse(f"{names[0]} is {number}, and not from 0 to {most}; use {other}")
    return round(min(number / most, 1.0) * 100, 4)


def _bounding_box(found: Any, width: int, height: int) -> BoundingBox:
    box = _object(found, "A box", {"left", "top", "right", "bottom", "width", "height", "center_x", "center_y"})
    numbers = {name: _number(value, f"{name} of a box") for name, value in box.items()}
    match sorted(numbers):
        case ["bottom", "left", "right", "top"]:
            left, top, right, bottom = (numbers[name] for name in ("left", "top", "right", "bottom"))
        case ["height", "left", "top", "width"]:
            left, top = numbers["left"], numbers["top"]
            right, bottom = left + numbers["width"], top + numbers["height"]
        case ["center_x", "center_y", "height", "width"]:
            half_width, half_height = numbers["width"] / 2, numbers["height"] / 2
            left, right = numbers["center_x"] - half_width, numbers["center_x"] + half_width
            top, bottom = numbers["center_y"] - half_height, numbers["center_y"] + half_height
        case names:
            _refuse(
                f"a box has {', '.join(names)}; it is to have left and top, with right and bottom or width and height;"
                " or center_x and center_y, with width and height"
            )
    if right < left or bottom < top:
        _refuse(f"a box ends before it begins: {_shown(found)}; see whether its sides are exchanged")
    # A model may look beyond the edge of the image.
    left, right = (min(max(x / width, 0.0), 1.0) for x in (left, right))
    top, bottom = (min(max(y / height, 0.0), 1.0) for y in (top, bottom))
    return BoundingBox(*(round(ratio, 6) for ratio in (left, top, right - left, bottom - top)))


def _object(found: Any, what: str, names: set[str]) -> dict[str, Any]:
    if not isinstance(found, dict):
        _refuse(f"{what} is {_shown(found)}, and not an object")
    if unknown := sorted(set(found) - names):
        _refuse(f"{what} has {unknown[0]!r}; it may have {', '.join(sorted(names))}")
    return found


def _number(value: Any, name: str) -> float:
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number may have any number of digits
            number = float(value)
    if not math.isfinite(number):
        _refuse(f"{name} is {_shown(value)}, and not a number (to_number() makes one of a text)")
    return number


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _refuse(reason: str) -> NoReturn:
    raise errors.UnreadableAnswerError(f"The container's answer is not what the mapping is for: {reason}.")


def parse_answer(body: bytes) -> Any:
    """Return the JSON of an answer; raises `UnreadableAnswerError`."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        answer = json.loads(body, parse_constant=refuse)
        # JSON can say half of a surrogate pair and 1e999, which no result can hold.
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise errors.UnreadableAnswerError(
            f"The container's answer is no JSON ({error}): {_shown(body[:80].decode(errors='replace'))}"
        ) from error
    return answer


# ---------------------------------------------------------------------------------------------------------------------
# Asking the model
# ---------------------------------------------------------------------------------------------------------------------


class EndpointDetector(Detector):
    """The model of an endpoint, asked about images; it takes their bytes.

    Parameters
    ----------
    min_confidence_percent
        Predictions below it are left out.
    """

    def __init__(self, settings: Settings, min_confidence_percent: float | None) -> None:
        timeout = Config(read_timeout=_whole("answer_timeout_seconds", settings.answer_timeout_seconds))
        self._client: Any = boto3.client("sagemaker-runtime", config=NOT_RETRYING.merge(timeout))
        self._settings = settings
        self._mapping = settings.answer_mapping
        self._limits = replace(LIMITS, max_sent_bytes=_whole("max_payload_mb", settings.max_payload_mb) * _MIB_BYTES)
        self._min_confidence_percent = min_confidence_percent or 0.0

    @property
    def model_id(self) -> str:
        """The name of the SageMaker model."""
        return self._settings.model_name

    @property
    def limits(self) -> ImageLimits:
        """The payload that the deployment lets be sent."""
        return self._limits

    def detect(self, image: ReadableImage) -> Detection:
        """Send the image's bytes to the endpoint, and read what its container answers."""
        if image.size_bytes > self._limits.max_bytes:
            raise errors.ImageTooLargeError(
                f"The image has {image.size_bytes:,} bytes;"
                f" {NAME}.max_payload_mb lets {self._limits.max_bytes:,} be sent. Raise it (to 25 at most), or set"
                " convert_images = true."
            )
        content = image.read_bytes()
        content_type, end = _format(content)
        with translated(_DETECT_ERRORS):
            try:
                answered = self._client.invoke_endpoint(
                    EndpointName=self._settings.endpoint_name,
                    ContentType=self._settings.content_type or content_type,
                    Accept="application/json",
                    Body=content,
                )
            except ClientError as error:
                if _is_not_in_service(error):
                    raise errors.ModelNotReadyError(str(error)) from error
                if error.response["Error"].get("Code") == "ModelError":
                    raise _container_error(error, is_whole=end in content) from error
                raise
            body = answered["Body"].read()
        answer = parse_answer(body)
        predictions, anomaly = self._mapping.read(answer, sides_px(content), self._min_confidence_percent)
        return Detection(predictions, anomaly, raw={"Body": answer})


def _format(content: bytes) -> tuple[str, bytes]:
    for beginning, found in _FORMATS.items():
        if content.startswith(beginning):
            return found
    raise errors.InvalidImageFormatError("The image is neither a PNG nor a JPEG: its first bytes are of neither.")


def _is_not_in_service(error: ClientError) -> bool:
    """Return whether an invocation met no endpoint, or one that does not answer yet or any more."""
    details = error.response["Error"]
    return details.get("Code") == "ValidationError" and "not found" in details.get("Message", "")


def _container_error(error: ClientError, *, is_whole: bool) -> errors.BatchVisionError:
    """Return what a container's refusal means for the image (a ModelError, with the status that the container gave)."""
    response: Mapping[str, Any] = error.response
    status = int(response.get("OriginalStatusCode") or 0)
    if cls := _CONTAINER_ERRORS.get(status):
        return cls(str(error))
    if not 400 <= status < 500:  # 0: it did not answer, or not in time
        return errors.ServiceUnavailableError(str(error))
    if not is_whole:
        return errors.InvalidImageError(f"The end of the image is missing ({error})")
    return errors.UnexplainedRefusalError(str(error))


# ---------------------------------------------------------------------------------------------------------------------
# Its life
# ---------------------------------------------------------------------------------------------------------------------


class EndpointLifecycle(Lifecycle):
    """The endpoint of a model: there is one while it runs."""

    name = NAME

    def __init__(self, settings: Settings) -> None:
        self._client: Any = boto3.client("sagemaker", config=RETRYING)
        self._settings = settings
        self._instances_per_unit = _whole("instances_per_unit", settings.instances_per_unit)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Make the lifecycle; see `Settings`. A mapping that does not compile must not keep a model from its stop."""
        return cls(Settings.read(settings))

    @property
    def model_id(self) -> str:
        """The name of the SageMaker model."""
        return self._settings.model_name

    def describe(self) -> ModelStatus:
        """Ask for the endpoint; a model without one is stopped."""
        try:
            found = self._endpoint(self._settings.endpoint_name)
        except _NotThereError:
            left = self._configurations_left()
            return ModelStatus(ModelState.STOPPED, NOT_DEPLOYED, ", ".join(left), has_remains=bool(left))
        status = found["EndpointStatus"]
        named = _CONFIGURATION.fullmatch(found.get("EndpointConfigName", ""))
        return ModelStatus(
            _STATES.get(status, ModelState.UNKNOWN),
            status,
            found.get("FailureReason", ""),
            int(named["instances"]) // self._instances_per_unit if named else None,
            has_remains=True,
        )

    def start(self, inference_units: int) -> None:
        """Create endpoint configuration and endpoint, after deleting an endpoint that failed.

        Raises
        ------
        SettingsError
            The mapping of answers does not compile: nothing was started.
        """
        _ = self._settings.answer_mapping
        endpoint = self._settings.endpoint_name
        with suppress(_NotThereError):
            if _STATES.get(self._endpoint(endpoint)["EndpointStatus"]) is ModelState.FAILED:
                with _asked():
                    self._client.delete_endpoint(EndpointName=endpoint)
        instances = inference_units * self._instances_per_unit
        configuration = f"{endpoint}-{instances:04}"
        with suppress(_ThereAlreadyError), _asked():
            self._client.create_endpoint_config(
                EndpointConfigName=configuration,
                ProductionVariants=[
                    {
                        "VariantName": _VARIANT,
                        "ModelName": self._settings.model_name,
                        "InstanceType": self._settings.instance_type,
                        "InitialInstanceCount": instances,
                    }
                ],
                **self._data_capture(),
            )
        with _asked():
            self._client.create_endpoint(EndpointName=endpoint, EndpointConfigName=configuration)

    def stop(self) -> None:
        """Delete the endpoint; where it is gone, what is left of the deployment's endpoint configurations."""
        try:
            with _asked():
                self._client.delete_endpoint(EndpointName=self._settings.endpoint_name)
        except _NotThereError as error:
            left = self._configurations_left()
            if not left:
                raise errors.ModelBusyError(f"There is nothing to stop ({error})") from error
            for configuration in left:
                # Another execution may have been faster.
                with suppress(errors.ModelBusyError), _asked():
                    self._client.delete_endpoint_config(EndpointConfigName=configuration)

    def _endpoint(self, name: str) -> dict[str, Any]:
        with _asked():
            found: dict[str, Any] = self._client.describe_endpoint(EndpointName=name)
        return found

    def _configurations_left(self) -> list[str]:
        """Return the configurations of the deployment that no endpoint has: of other models and numbers too."""
        beginning = f"{self._settings.deployment}-"
        with _asked():
            pages = self._client.get_paginator("list_endpoint_configs").paginate(NameContains=beginning)
            names = [entry["EndpointConfigName"] for page in pages for entry in page["EndpointConfigs"]]
        # The name of another deployment may begin with the name of this one.
        length = len(self._settings.endpoint_name)
        own: dict[str, list[str]] = {}
        for name in names:
            named = _CONFIGURATION.fullmatch(name)
            if named and name.startswith(beginning) and len(named["endpoint"]) == length:
                own.setdefault(named["endpoint"], []).append(name)
        return sorted(name for endpoint, found in own.items() if not self._is_there(endpoint) for name in found)

    def _is_there(self, endpoint: str) -> bool:
        with suppress(_NotThereError):
            self._endpoint(endpoint)
            return True
        return False

    def _data_capture(self) -> dict[str, Any]:
        if not self._settings.data_capture_s3_uri:
            return {}
        return {
            "DataCaptureConfig": {
                "EnableCapture": True,
                "InitialSamplingPercentage": _whole("data_capture_percent", self._settings.data_capture_percent),
                "DestinationS3Uri": self._settings.data_capture_s3_uri,
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            }
        }


@contextmanager
def _asked() -> Iterator[None]:
    """Raise the project's error for what the service refuses; see `_REFUSALS`."""
    with translated(_ERRORS):
        try:
            yield
        except ClientError as error:
            details = error.response["Error"]
            message = details.get("Message", "") if details.get("Code") == "ValidationException" else ""
            for told, cls in _REFUSALS.items():
                if told in message:
                    raise cls(str(error)) from error
            raise


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise errors.SettingsError(
            f"{NAME}.{name} is {text!r}; it must be a whole number of at least 1. Terraform sets it: apply again."
        )
    return int(text)
