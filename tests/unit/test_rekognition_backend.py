"""The Rekognition backend against botocore's own service model."""

from __future__ import annotations

import struct
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from batch_vision.backends.contracts import BoundingBox, Kind, ModelState, Prediction
from batch_vision.backends.rekognition_custom_labels import _STATES, CustomLabelsDetector, CustomLabelsLifecycle
from batch_vision.core import errors

PROJECT = "arn:aws:rekognition:us-east-1:123456789012:project/p/1"
VERSION = "arn:aws:rekognition:us-east-1:123456789012:project/p/version/v.1/2"


def png_header(width_px: int, height_px: int) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0) + b"...."
    )


class Image:
    is_stored, bucket, key, size_bytes = True, "source", "a b/é.jpg", 5

    def __init__(self, version_id: str = "v1", start: bytes = b"") -> None:
        self.version_id, self.start = version_id, start

    def read_start(self, most_bytes: int) -> bytes:
        return self.start[:most_bytes]

    def read_bytes(self) -> bytes:
        raise AssertionError("Rekognition reads the image itself")


class Converted(Image):
    is_stored = False

    def read_bytes(self) -> bytes:
        return b"converted"


def make_client() -> Any:
    return boto3.client("rekognition", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")


def detector(min_confidence_percent: float | None = None) -> tuple[CustomLabelsDetector, Stubber]:
    client = make_client()
    return CustomLabelsDetector(client, VERSION, min_confidence_percent), Stubber(client)


def lifecycle() -> tuple[CustomLabelsLifecycle, Stubber]:
    client = make_client()
    return CustomLabelsLifecycle(client, PROJECT, VERSION), Stubber(client)


def test_every_status_of_the_service_is_known() -> None:
    client = boto3.client("rekognition", "us-east-1")
    assert set(_STATES) == set(client.meta.service_model.shape_for("ProjectVersionStatus").enum)


@pytest.mark.parametrize(("status", "state"), _STATES.items())
def test_describe(status: str, state: ModelState) -> None:
    the_lifecycle, stub = lifecycle()
    versions = [
        {"ProjectVersionArn": VERSION.replace("/2", "/3"), "Status": "FAILED"},
        {"ProjectVersionArn": VERSION, "Status": status, "StatusMessage": "so", "MinInferenceUnits": 2},
    ]
    stub.add_response(
        "describe_project_versions",
        {"ProjectVersionDescriptions": versions},
        {"ProjectArn": PROJECT, "VersionNames": ["v.1"]},
    )
    with stub:
        described = the_lifecycle.describe()
    assert (described.state, described.service_status, described.inference_units) == (state, status, 2)


def test_an_unknown_status_is_told_as_such() -> None:
    the_lifecycle, stub = lifecycle()
    answer = {"ProjectVersionDescriptions": [{"ProjectVersionArn": VERSION, "Status": "NEWFANGLED"}]}
    stub.add_response("describe_project_versions", answer)
    with stub:
        assert the_lifecycle.describe().state is ModelState.UNKNOWN


def test_a_version_the_project_does_not_have_is_named() -> None:
    the_lifecycle, stub = lifecycle()
    stub.add_response("describe_project_versions", {"ProjectVersionDescriptions": []})
    with stub, pytest.raises(errors.ModelNotFoundError, match=r"project/p/version/v\.1/2"):
        the_lifecycle.describe()


def test_start_and_stop_name_the_version() -> None:
    the_lifecycle, stub = lifecycle()
    start = {"ProjectVersionArn": VERSION, "MinInferenceUnits": 3}
    stub.add_response("start_project_version", {"Status": "STARTING"}, start)
    stub.add_response("stop_project_version", {"Status": "STOPPING"}, {"ProjectVersionArn": VERSION})
    with stub:
        the_lifecycle.start(3)
        the_lifecycle.stop()
    stub.assert_no_pending_responses()


def test_detect_sends_an_image_that_was_converted() -> None:
    the_detector, stub = detector()
    expected = {"ProjectVersionArn": VERSION, "Image": {"Bytes": b"converted"}}
    stub.add_response("detect_custom_labels", {}, expected)
    with stub:
        the_detector.detect(Converted())
    stub.assert_no_pending_responses()


@pytest.mark.parametrize("min_confidence_percent", [None, 55.0])
def test_detect_refers_to_the_version_in_s3(min_confidence_percent: float | None) -> None:
    the_detector, stub = detector(min_confidence_percent)
    box = {"Left": 0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4}
    labels = [
        {"Name": "crack", "Confidence": 90.0, "Geometry": {"BoundingBox": box}},
        {"Name": "bad", "Confidence": 60.0},
    ]
    expected: dict[str, Any] = {
        "ProjectVersionArn": VERSION,
        "Image": {"S3Object": {"Bucket": "source", "Name": "a b/é.jpg", "Version": "v1"}},
    }
    if min_confidence_percent is not None:
        expected["MinConfidence"] = min_confidence_percent
    stub.add_response("detect_custom_labels", {"CustomLabels": labels}, expected)
    with stub:
        detection = the_detector.detect(Image())
    assert detection.predictions == [
        Prediction("crack", 90.0, BoundingBox(0.1, 0.2, 0.3, 0.4), kind=Kind.CUSTOM_LABEL),
        Prediction("bad", 60.0, None, kind=Kind.CUSTOM_LABEL),
    ]
    assert detection.raw == {"CustomLabels": labels}


def test_the_bytes_of_an_image_that_was_converted_are_sent() -> None:
    class Converted(Image):
        is_stored = False

        def read_bytes(self) -> bytes:
            return b"jpeg"

    the_detector, stub = detector()
    expected = {"ProjectVersionArn": VERSION, "Image": {"Bytes": b"jpeg"}}
    stub.add_response("detect_custom_labels", {"CustomLabels": []}, expected)
    with stub:
        assert the_detector.detect(Converted()).predictions == []


DETECT_ERRORS = {
    "ResourceNotReadyException": errors.ModelNotReadyError,
    "ResourceNotFoundException": errors.ModelNotFoundError,
    "InvalidS3ObjectException": errors.ImageUnreadableError,
    "InvalidParameterException": errors.UnexplainedRefusalError,
    "InvalidImageFormatException": errors.InvalidImageFormatError,
    "ImageTooLargeException": errors.ImageTooLargeError,
    "LimitExceededException": errors.ThrottledError,
    "AccessDeniedException": errors.AccessDeniedError,
    "InternalServerError": errors.ServiceUnavailableError,
    "ThrottlingException": errors.ThrottledError,
    "ProvisionedThroughputExceededException": errors.ThrottledError,
}


def test_every_declared_error_of_detection_has_a_translation() -> None:
    model = boto3.client("rekognition", "us-east-1").meta.service_model.operation_model("DetectCustomLabels")
    assert set(DETECT_ERRORS) >= {shape.name for shape in model.error_shapes}


@pytest.mark.parametrize(("code", "error"), DETECT_ERRORS.items())
def test_detection_errors(code: str, error: type[Exception]) -> None:
    the_detector, stub = detector()
    stub.add_client_error("detect_custom_labels", code, "words", 500 if code == "InternalServerError" else 400)
    # The client of the test retries as botocore does by default: give it as many answers as it may ask for.
    for _ in range(10):
        stub.add_client_error("detect_custom_labels", code, "words", 400)
    with stub, pytest.raises(error, match="words"):
        the_detector.detect(Image(start=png_header(640, 480)))


@pytest.mark.parametrize(
    ("start", "error"),
    [
        (png_header(63, 64), errors.InvalidImageError),
        (png_header(64, 1281), errors.InvalidImageError),
        (b"GIF89a and so on, and so on", errors.InvalidImageError),
        (png_header(64, 64), errors.UnexplainedRefusalError),
        (png_header(640, 480), errors.UnexplainedRefusalError),
    ],
)
def test_an_invalid_parameter_is_the_images_fault_only_where_its_header_shows_it(
    start: bytes, error: type[Exception]
) -> None:
    """A service that calls every image invalid has no image rejected."""
    the_detector, stub = detector()
    stub.add_client_error("detect_custom_labels", "InvalidParameterException", "words", 400)
    with stub, pytest.raises(error, match="words"):
        the_detector.detect(Image(start=start))


def test_an_object_from_before_versioning_is_named_without_a_version() -> None:
    the_detector, stub = detector()
    image = {"S3Object": {"Bucket": "source", "Name": "a b/é.jpg"}}
    stub.add_response("detect_custom_labels", {}, {"ProjectVersionArn": VERSION, "Image": image})
    with stub:
        the_detector.detect(Image(version_id="null"))


@pytest.mark.parametrize(
    ("code", "http_status", "error"),
    [
        ("ResourceInUseException", 400, errors.ModelBusyError),
        ("LimitExceededException", 400, errors.ModelQuotaError),
        ("ResourceNotFoundException", 400, errors.ModelNotFoundError),
        ("AccessDeniedException", 400, errors.AccessDeniedError),
        ("Newfangled", 400, errors.ModelError),
        ("Newfangled", 503, errors.ServiceUnavailableError),
    ],
)
def test_start_errors(code: str, http_status: int, error: type[Exception]) -> None:
    the_lifecycle, stub = lifecycle()
    stub.add_client_error("start_project_version", code, "words", http_status)
    with stub, pytest.raises(error, match="words"):
        the_lifecycle.start(1)


def test_the_network_is_a_service_that_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    the_detector, _ = detector()

    def refuse(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="http://nowhere")

    monkeypatch.setattr(the_detector._client, "detect_custom_labels", refuse)
    with pytest.raises(errors.ServiceUnavailableError):
        the_detector.detect(Image())
