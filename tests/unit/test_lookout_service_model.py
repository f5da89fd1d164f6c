"""The service model of Lookout for Vision: what a current boto3 sends and understands with it.

The expectations are the interface of the service as botocore 1.40.60, the last release with it, described it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, ParamValidationError, UnknownServiceError
from botocore.session import get_session
from botocore.validate import ParamValidator

from batch_vision.aws.clients import NOT_RETRYING
from batch_vision.backends import lookout_for_vision

NAMES = {"ProjectName": "weld-seams", "ModelVersion": "3"}
MODEL = "/2020-11-20/projects/weld-seams/models/3"
COMMON = {
    "AccessDeniedException": 403,
    "ConflictException": 409,
    "InternalServerException": 500,
    "ResourceNotFoundException": 404,
    "ThrottlingException": 429,
    "ValidationException": 400,
}
ERRORS = {
    "DescribeModel": COMMON,
    "DetectAnomalies": COMMON,
    "StartModel": COMMON | {"ServiceQuotaExceededException": 402},
    "StopModel": COMMON,
}
STATUSES = {
    "TRAINING",
    "TRAINED",
    "TRAINING_FAILED",
    "STARTING_HOSTING",
    "HOSTED",
    "HOSTING_FAILED",
    "STOPPING_HOSTING",
    "SYSTEM_UPDATING",
    "DELETING",
}


class Wire:
    """Catches what a client sends, and answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LOOKOUTVISION", "http://lookout.test:1")
        self.client = lookout_for_vision.make_client(NOT_RETRYING)
        self.client.meta.events.register("before-send", self._answer)
        self.sent: list[Any] = []
        self.status, self.headers, self.body = 200, {}, b"{}"

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        self.sent.append(request)
        return AWSResponse(request.url, self.status, self.headers, Raw(self.body))


class Raw:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Any:
        yield self._content


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


def test_boto3_itself_no_longer_knows_the_service() -> None:
    """When this fails, botocore has it again, and the model of our own can go."""
    with pytest.raises(UnknownServiceError):
        get_session().get_service_model("lookoutvision")


def test_it_has_the_four_operations_and_their_errors(wire: Wire) -> None:
    service = wire.client.meta.service_model
    assert set(service.operation_names) == set(ERRORS)
    for name, expected in ERRORS.items():
        declared = service.operation_model(name).error_shapes
        assert {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in declared} == expected


def test_its_metadata_are_those_of_the_service(wire: Wire) -> None:
    service = wire.client.meta.service_model
    assert (service.api_version, service.protocol, service.signature_version) == ("2020-11-20", "rest-json", "v4")
    assert (service.signing_name, service.endpoint_prefix, service.service_id) == (
        "lookoutvision",
        "lookoutvision",
        "LookoutVision",
    )
    assert set(service.shape_for("ModelStatus").enum) == STATUSES
    assert set(service.shape_for("ModelHostingStatus").enum) < STATUSES


def test_without_an_endpoint_of_the_environment_it_is_the_one_of_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_LOOKOUTVISION", raising=False)
    client = lookout_for_vision.make_client(NOT_RETRYING)
    assert client.meta.endpoint_url == "https://lookoutvision.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("method", "arguments", "verb", "path", "status", "body"),
    [
        ("describe_model", {}, "GET", "", 200, b""),
        ("start_model", {"MinInferenceUnits": 2}, "POST", "/start", 202, {"MinInferenceUnits": 2}),
        (
            "start_model",
            {"MinInferenceUnits": 2, "MaxInferenceUnits": 4},
            "POST",
            "/start",
            202,
            {"MinInferenceUnits": 2, "MaxInferenceUnits": 4},
        ),
        ("stop_model", {}, "POST", "/stop", 202, b""),
        ("detect_anomalies", {"ContentType": "image/png", "Body": b"\x89PNG"}, "POST", "/detect", 200, b"\x89PNG"),
    ],
)
def test_requests(
    wire: Wire, method: str, arguments: dict[str, Any], verb: str, path: str, status: int, body: Any
) -> None:
    wire.status = status
    getattr(wire.client, method)(**NAMES, **arguments)
    (request,) = wire.sent
    assert (request.method, request.url) == (verb, f"http://lookout.test:1{MODEL}{path}")
    assert "/lookoutvision/aws4_request" in request.headers["Authorization"].decode()
    sent = request.body or b""
    assert (json.loads(sent) if isinstance(body, dict) else sent) == body
    operation = wire.client.meta.service_model.operation_model(wire.client.meta.method_to_api_mapping[method])
    assert operation.http["responseCode"] == status


def test_the_image_is_the_body_and_its_type_a_header(wire: Wire) -> None:
    wire.client.detect_anomalies(**NAMES, ContentType="image/jpeg", Body=b"\xff\xd8\xff")
    assert wire.sent[0].headers["Content-Type"] == b"image/jpeg"
    assert wire.sent[0].headers["Content-Length"] == "3"


@pytest.mark.parametrize("method", ["start_model", "stop_model"])
def test_the_client_token_is_a_header(wire: Wire, method: str) -> None:
    units = {"MinInferenceUnits": 1} if method == "start_model" else {}
    getattr(wire.client, method)(**NAMES, **units, ClientToken="token-1")
    assert wire.sent[0].headers["X-Amzn-Client-Token"] == b"token-1"
    assert b"token" not in (wire.sent[0].body or b"")


def test_names_are_encoded_into_the_path(wire: Wire) -> None:
    wire.client.describe_model(ProjectName="a/b c", ModelVersion="latest")
    assert wire.sent[0].url.endswith("/projects/a%2Fb%20c/models/latest")


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("start_model", NAMES),
        ("start_model", {"ProjectName": "p", "MinInferenceUnits": 1}),
        ("stop_model", {"ModelVersion": "1"}),
        ("describe_model", {"ProjectName": "p"}),
        ("detect_anomalies", NAMES | {"ContentType": "image/png"}),
        ("detect_anomalies", NAMES | {"Body": b"x"}),
    ],
)
def test_what_is_required_is_missed(wire: Wire, method: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ParamValidationError):
        getattr(wire.client, method)(**arguments)
    assert wire.sent == []


def test_a_description_is_understood(wire: Wire) -> None:
    described = {
        "ModelVersion": "3",
        "ModelArn": "arn:aws:lookoutvision:us-east-1:111122223333:model/weld-seams/3",
        "CreationTimestamp": 1700000000.0,
        "Status": "HOSTED",
        "StatusMessage": "up",
        "MinInferenceUnits": 2,
    }
    wire.body = json.dumps({"ModelDescription": described}).encode()
    answer = wire.client.describe_model(**NAMES)["ModelDescription"]
    assert answer["CreationTimestamp"].timestamp() == 1700000000
    assert answer | {"CreationTimestamp": 1700000000.0} == described


def test_a_verdict_is_understood_and_its_mask_decoded(wire: Wire) -> None:
    wire.body = json.dumps(
        {
            "DetectAnomalyResult": {
                "Source": {"Type": "direct"},
                "IsAnomalous": True,
                "Confidence": 0.91,
                "Anomalies": [{"Name": "crack", "PixelAnomaly": {"TotalPercentageArea": 0.25, "Color": "#FF0000"}}],
                "AnomalyMask": "iVBORw==",
            }
        }
    ).encode()
    answer = wire.client.detect_anomalies(**NAMES, ContentType="image/png", Body=b"x")["DetectAnomalyResult"]
    assert answer == {
        "Source": {"Type": "direct"},
        "IsAnomalous": True,
        "Confidence": 0.91,
        "Anomalies": [{"Name": "crack", "PixelAnomaly": {"TotalPercentageArea": 0.25, "Color": "#FF0000"}}],
        "AnomalyMask": b"\x89PNG",
    }


@pytest.mark.parametrize("status", ["STARTING_HOSTING", "STOPPING_HOSTING"])
def test_start_and_stop_answer_a_status(wire: Wire, status: str) -> None:
    wire.status, wire.body = 202, json.dumps({"Status": status}).encode()
    assert wire.client.stop_model(**NAMES)["Status"] == status


@pytest.mark.parametrize(("code", "status"), (COMMON | {"ServiceQuotaExceededException": 402}).items())
def test_errors_are_understood(wire: Wire, code: str, status: int) -> None:
    wire.status, wire.body = status, b'{"Message": "words"}'
    wire.headers = {"x-amzn-ErrorType": f"{code}:http://internal.amazon.com/", "Retry-After": "7"}
    with pytest.raises(getattr(wire.client.exceptions, code)) as caught:
        wire.client.start_model(**NAMES, MinInferenceUnits=1)
    response = caught.value.response
    assert (response["Error"]["Code"], response["Error"]["Message"]) == (code, "words")
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    has_time = code in ("ThrottlingException", "InternalServerException")
    assert response.get("RetryAfterSeconds") == (7 if has_time else None)


def test_details_of_a_conflict_are_understood(wire: Wire) -> None:
    wire.status, wire.headers = 409, {"x-amzn-ErrorType": "ConflictException"}
    wire.body = b'{"Message": "not hosted", "ResourceId": "weld-seams/3", "ResourceType": "MODEL"}'
    with pytest.raises(ClientError) as caught:
        wire.client.stop_model(**NAMES)
    assert (caught.value.response["ResourceId"], caught.value.response["ResourceType"]) == ("weld-seams/3", "MODEL")


def test_every_shape_is_used_and_every_reference_has_one(wire: Wire) -> None:
    text = (lookout_for_vision.SERVICE_MODELS / "lookoutvision" / "2020-11-20" / "service-2.json").read_text()
    content = json.loads(text)

    def references(part: Any) -> Any:
        if isinstance(part, dict):
            if isinstance(part.get("shape"), str):
                yield part["shape"]
            for inner in part.values():
                yield from references(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from references(inner)

    assert set(references(content)) == set(content["shapes"])
    shape = wire.client.meta.service_model.operation_model("StartModel").input_shape
    assert not ParamValidator().validate(NAMES | {"MinInferenceUnits": 1}, shape).has_errors()
