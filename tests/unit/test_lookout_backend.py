"""The Lookout backend against the service model of our own."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import ANY, Stubber

from batch_vision.aws.clients import NOT_RETRYING
from batch_vision.backends.contracts import Anomaly, Kind, ModelState, Prediction
from batch_vision.backends.lookout_for_vision import (
    _STATES,
    LIMITS,
    LookoutDetector,
    LookoutLifecycle,
    make_client,
)
from batch_vision.backends.registry import make_detectors, make_lifecycle
from batch_vision.core import errors
from batch_vision.core.models import Model

NAMES = {"ProjectName": "weld-seams", "ModelVersion": "3"}
PNG = b"\x89PNG\r\n\x1a\n and the rest"
JPEG = b"\xff\xd8\xff\xe0 and the rest"
NORMAL = {"Source": {"Type": "direct"}, "IsAnomalous": False, "Confidence": 0.97}


class Image:
    bucket, key, version_id, is_stored = "source", "a b/é.jpg", "v1", True

    def __init__(self, content: bytes = PNG) -> None:
        self.content = content
        self.size_bytes = len(content)

    def read_bytes(self) -> bytes:
        return self.content


def detector(min_confidence_percent: float | None = None) -> tuple[LookoutDetector, Stubber]:
    client = make_client(NOT_RETRYING)
    return LookoutDetector(client, NAMES, min_confidence_percent), Stubber(client)


def lifecycle() -> tuple[LookoutLifecycle, Stubber]:
    client = make_client(NOT_RETRYING)
    return LookoutLifecycle(client, NAMES), Stubber(client)


def detect(result: dict[str, Any], min_confidence_percent: float | None = None) -> Any:
    the_detector, stub = detector(min_confidence_percent)
    stub.add_response("detect_anomalies", {"DetectAnomalyResult": result})
    with stub:
        return the_detector.detect(Image())


def anomalies(*names: str) -> list[dict[str, Any]]:
    return [{"Name": name, "PixelAnomaly": {"TotalPercentageArea": 0.1, "Color": "#FF0000"}} for name in names]


def test_every_status_of_the_service_is_known() -> None:
    assert set(_STATES) == set(make_client(NOT_RETRYING).meta.service_model.shape_for("ModelStatus").enum)


@pytest.mark.parametrize(("status", "state"), _STATES.items())
def test_describe(status: str, state: ModelState) -> None:
    the_lifecycle, stub = lifecycle()
    description = {"Status": status, "StatusMessage": "so", "MinInferenceUnits": 2}
    stub.add_response("describe_model", {"ModelDescription": description}, NAMES)
    with stub:
        described = the_lifecycle.describe()
    assert (described.state, described.service_status) == (state, status)
    assert (described.message, described.inference_units) == ("so", 2)


def test_what_costs_money_is_never_called_stopped() -> None:
    costly = {"STARTING_HOSTING", "HOSTED", "STOPPING_HOSTING", "SYSTEM_UPDATING"}
    on = {ModelState.STARTING, ModelState.RUNNING, ModelState.STOPPING}
    assert {status for status, state in _STATES.items() if state in on} == costly


def test_an_unknown_status_is_not_trusted() -> None:
    the_lifecycle, stub = lifecycle()
    stub.add_response("describe_model", {"ModelDescription": {"Status": "NEWFANGLED"}})
    with stub:
        assert the_lifecycle.describe().state not in (ModelState.STOPPED, ModelState.RUNNING)


def test_each_start_and_stop_has_a_token_of_its_own() -> None:
    the_lifecycle, stub = lifecycle()
    tokens = []

    def note(params: Any, **_: Any) -> None:
        tokens.append(params["ClientToken"])

    stub.client.meta.events.register("provide-client-params", note)
    for _ in range(2):
        start = NAMES | {"MinInferenceUnits": 3, "ClientToken": ANY}
        stub.add_response("start_model", {"Status": "STARTING_HOSTING"}, start)
        stub.add_response("stop_model", {"Status": "STOPPING_HOSTING"}, NAMES | {"ClientToken": ANY})
    with stub:
        for _ in range(2):
            the_lifecycle.start(3)
            the_lifecycle.stop()
    stub.assert_no_pending_responses()
    assert len({str(uuid.UUID(token)) for token in tokens}) == 4


@pytest.mark.parametrize(("content", "content_type"), [(PNG, "image/png"), (JPEG, "image/jpeg")])
def test_detect_sends_the_bytes_under_the_type_that_they_are_of(content: bytes, content_type: str) -> None:
    the_detector, stub = detector()
    expected = NAMES | {"ContentType": content_type, "Body": content}
    stub.add_response("detect_anomalies", {"DetectAnomalyResult": NORMAL}, expected)
    with stub:
        the_detector.detect(Image(content))
    stub.assert_no_pending_responses()


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"text", b"\x89PNG", b"\xff\xd8", b"RIFF\0\0\0\0WEBP"])
def test_other_formats_are_refused_without_a_call(content: bytes) -> None:
    the_detector, stub = detector()
    with stub, pytest.raises(errors.InvalidImageFormatError):
        the_detector.detect(Image(content))


def test_what_is_too_large_is_refused_without_reading_it_or_a_call() -> None:
    class Film(Image):
        size_bytes = LIMITS.max_bytes + 1

        def __init__(self) -> None: ...

        def read_bytes(self) -> bytes:
            raise AssertionError("it would not fit into the function's memory")

    the_detector, stub = detector()
    with stub, pytest.raises(errors.ImageTooLargeError, match="8,388,609 bytes"):
        the_detector.detect(Film())


def test_the_largest_is_sent() -> None:
    the_detector, stub = detector()
    stub.add_response("detect_anomalies", {"DetectAnomalyResult": NORMAL})
    with stub:
        the_detector.detect(Image(PNG.ljust(LIMITS.max_bytes, b"\0")))
    stub.assert_no_pending_responses()


def test_an_image_that_is_gone_is_not_sent() -> None:
    class Gone(Image):
        def read_bytes(self) -> bytes:
            raise errors.ImageGoneError("gone")

    the_detector, stub = detector()
    with stub, pytest.raises(errors.ImageGoneError):
        the_detector.detect(Gone())


def test_kinds_of_anomaly_are_the_predictions_and_the_mask_is_apart() -> None:
    found = anomalies("background", "crack", "stain")
    detection = detect({"IsAnomalous": True, "Confidence": 0.914567, "Anomalies": found, "AnomalyMask": b"mask"})
    assert detection.predictions == [
        Prediction("crack", 91.4567, kind=Kind.ANOMALY),
        Prediction("stain", 91.4567, kind=Kind.ANOMALY),
    ]
    assert detection.anomaly == Anomaly(True, 91.4567)
    assert detection.mask_png == b"mask"
    assert detection.raw == {
        "DetectAnomalyResult": {"IsAnomalous": True, "Confidence": 0.914567, "Anomalies": found},
    }
    assert json.loads(json.dumps(detection.raw)) == detection.raw
    assert "mask" not in repr(detection)


@pytest.mark.parametrize("found", [{}, {"Anomalies": []}, {"Anomalies": anomalies("background")}])
def test_a_model_that_names_no_kinds_says_anomaly(found: dict[str, Any]) -> None:
    detection = detect({"IsAnomalous": True, "Confidence": 0.5} | found)
    assert detection.predictions == [Prediction("anomaly", 50.0, kind=Kind.ANOMALY)]
    assert detection.mask_png is None


def test_a_normal_image_is_predicted_to_be_normal() -> None:
    detection = detect(NORMAL | {"Anomalies": anomalies("background")})
    assert detection.predictions == [Prediction("normal", 97.0, kind=Kind.ANOMALY)]
    assert detection.anomaly == Anomaly(False, 97.0)


@pytest.mark.parametrize(("least", "count"), [(None, 1), (97.0, 1), (97.1, 0)])
def test_predictions_below_the_least_confidence_are_left_out_and_the_verdict_is_not(least: Any, count: int) -> None:
    detection = detect(NORMAL, least)
    assert len(detection.predictions) == count
    assert detection.anomaly == Anomaly(False, 97.0)


DETECT_ERRORS = {
    "AccessDeniedException": errors.AccessDeniedError,
    "ConflictException": errors.ModelNotReadyError,
    "InternalServerException": errors.ServiceUnavailableError,
    "ResourceNotFoundException": errors.ModelNotFoundError,
    "ServiceQuotaExceededException": errors.ThrottledError,
    "ThrottlingException": errors.ThrottledError,
    "ValidationException": errors.InvalidImageError,
    "Newfangled": errors.ModelError,
}
CONTROL_ERRORS = DETECT_ERRORS | {
    "ConflictException": errors.ModelBusyError,
    "ValidationException": errors.ModelError,
}
START_ERRORS = CONTROL_ERRORS | {"ServiceQuotaExceededException": errors.ModelQuotaError}
CALLS = {
    "detect_anomalies": (lambda asked: asked.detect(Image()), DETECT_ERRORS),
    "describe_model": (lambda asked: asked.describe(), CONTROL_ERRORS),
    "stop_model": (lambda asked: asked.stop(), CONTROL_ERRORS),
    "start_model": (lambda asked: asked.start(1), START_ERRORS),
}


@pytest.mark.parametrize(
    ("method", "code", "error"),
    [(method, code, error) for method, (_, table) in CALLS.items() for code, error in table.items()],
)
def test_errors(method: str, code: str, error: type[Exception]) -> None:
    asked, stub = detector() if method == "detect_anomalies" else lifecycle()
    stub.add_client_error(method, code, "words", 500 if code == "InternalServerException" else 400)
    with stub, pytest.raises(error, match="words") as caught:
        CALLS[method][0](asked)
    assert type(caught.value) is error


def test_every_declared_error_has_a_translation() -> None:
    service = make_client(NOT_RETRYING).meta.service_model
    for name in service.operation_names:
        declared = {shape.name for shape in service.operation_model(name).error_shapes}
        assert declared <= set(START_ERRORS)


def test_an_unknown_error_of_the_service_itself_may_pass() -> None:
    the_lifecycle, stub = lifecycle()
    stub.add_client_error("describe_model", "Newfangled", "words", 503)
    with stub, pytest.raises(errors.ServiceUnavailableError):
        the_lifecycle.describe()


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerException"])
@pytest.mark.parametrize("seconds", [None, 4])
def test_how_long_the_service_asks_to_be_left_alone(code: str, seconds: int | None) -> None:
    the_detector, stub = detector()
    modeled = {"Message": "words"} | ({} if seconds is None else {"RetryAfterSeconds": seconds})
    stub.add_client_error("detect_anomalies", code, "words", 429, modeled_fields=modeled)
    with stub, pytest.raises(errors.TransientError) as caught:
        the_detector.detect(Image())
    assert caught.value.retry_after_seconds == seconds


def test_the_network_is_a_service_that_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    the_detector, _ = detector()

    def refuse(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="http://nowhere")

    monkeypatch.setattr(the_detector._client, "detect_anomalies", refuse)
    with pytest.raises(errors.ServiceUnavailableError):
        the_detector.detect(Image())


def test_it_is_made_from_the_settings() -> None:
    model = Model.named("lookout_for_vision", {"project_name": "p", "model_version": "7"})
    (detector,), made = make_detectors(model, None).values(), make_lifecycle(model)
    assert (detector.model_id, made.model_id, made.name) == ("p/7", "p/7", "lookout_for_vision")


@pytest.mark.parametrize("missing", ["project_name", "model_version"])
def test_a_missing_setting_is_named(missing: str) -> None:
    given = {"project_name": "p", "model_version": "7"}
    del given[missing]
    for make in (lambda model: make_detectors(model, None), make_lifecycle):
        with pytest.raises(errors.SettingsError, match=missing):
            make(Model.named("lookout_for_vision", given))
