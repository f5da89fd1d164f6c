"""What the emulated Rekognition promises to a client, asked through the real boto3."""

from __future__ import annotations

import io
import json
import struct
import urllib.error
import urllib.request
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from PIL import Image

from local.config import PROJECT_ARN, PROJECT_VERSION_ARN, REGION
from local.emulator.client import EmulatorRequestError
from local.emulator.errors import ObjectStoreError
from local.emulator.image_operations import IMAGE_OPERATIONS
from local.emulator.rekognition import OPERATIONS, injectable_errors, service_model
from local.emulator.video_analyses import VIDEO_OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_s3 import S3Client

    from local.emulator.client import EmulatorClient

MODEL = service_model()
BUCKET = "images-to-analyse"
SECOND_VERSION_ARN = PROJECT_VERSION_ARN.replace("batch-vision.1", "batch-vision.2")
OTHER_VERSION_ARN = PROJECT_VERSION_ARN.replace("batch-vision.1", "batch-vision.9")
OTHER_PROJECT_ARN = PROJECT_ARN.replace("batch-vision", "somebody-else")
DECLARED = [
    pytest.param(operation, error.name, id=f"{operation}-{error.name}")
    for operation in OPERATIONS
    for error in {shape.name: shape for shape in MODEL.operation_model(operation).error_shapes}.values()
]
# As the service's reference has it; everything else is the caller's fault.
SERVER_FAULTS = {"InternalServerError", "ThrottlingException"}
STATUSES = MODEL.shape_for("ProjectVersionStatus").enum
STARTABLE = {"TRAINING_COMPLETED", "COPYING_COMPLETED", "STOPPED", "FAILED"}


def caller(client: RekognitionClient, operation: str) -> Callable[[], dict[str, Any]]:
    """A correct call of an operation."""
    small = encoded(64, 64)
    if operation in IMAGE_OPERATIONS:
        return partial(getattr(client, xform_name(operation)), Image={"Bytes": encoded(80, 80)})
    if operation in VIDEO_OPERATIONS:
        video: Any = {"Video": {"S3Object": {"Bucket": BUCKET, "Name": "v.mp4"}}}
        return partial(
            getattr(client, xform_name(operation)), **(video if operation.startswith("Start") else {"JobId": "1"})
        )
    calls: dict[str, Callable[[], Any]] = {
        "StartProjectVersion": lambda: client.start_project_version(
            ProjectVersionArn=PROJECT_VERSION_ARN, MinInferenceUnits=1
        ),
        "StopProjectVersion": lambda: client.stop_project_version(ProjectVersionArn=PROJECT_VERSION_ARN),
        "DescribeProjectVersions": lambda: client.describe_project_versions(ProjectArn=PROJECT_ARN),
        "DetectCustomLabels": lambda: client.detect_custom_labels(
            ProjectVersionArn=PROJECT_VERSION_ARN, Image={"Bytes": small}
        ),
    }
    return calls[operation]


def encoded(width: int, height: int, image_format: str = "PNG", mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, (width, height), 128).save(content, image_format)
    return content.getvalue()


def padded(jpeg: bytes, size_bytes: int) -> bytes:
    """What follows the end marker of a JPEG is ignored."""
    return jpeg + bytes(size_bytes - len(jpeg))


def detect(client: RekognitionClient, content: bytes, **options: Any) -> list[Any]:
    answer = client.detect_custom_labels(ProjectVersionArn=PROJECT_VERSION_ARN, Image={"Bytes": content}, **options)
    return answer["CustomLabels"]


def detect_object(client: RekognitionClient, **s3_object: str) -> list[Any]:
    answer = client.detect_custom_labels(ProjectVersionArn=PROJECT_VERSION_ARN, Image={"S3Object": s3_object})
    return answer["CustomLabels"]


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"]


def raw(emulator: EmulatorClient, target: str, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Send what no AWS client would send."""
    request = urllib.request.Request(
        emulator.url, data=body, headers={"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)


def test_each_declared_error_can_be_injected_into_its_operation() -> None:
    allowed = injectable_errors(MODEL)
    for operation in OPERATIONS:
        declared = {error.name for error in MODEL.operation_model(operation).error_shapes}
        assert declared <= set(allowed[operation])


@pytest.mark.parametrize(("operation", "error"), DECLARED)
def test_declared_error_reaches_the_client(
    emulator: EmulatorClient, rekognition: RekognitionClient, operation: str, error: str
) -> None:
    emulator.inject(operation, error)
    with pytest.raises(getattr(rekognition.exceptions, error)) as caught:
        caller(rekognition, operation)()
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == (500 if error in SERVER_FAULTS else 400)
    assert response["ResponseMetadata"]["RequestId"]
    assert response["Error"]["Code"] == error
    assert response["Error"]["Message"]
    assert emulator.state()["faults"]["injected"] == {f"{operation}:{error}": 1}


def test_error_body_is_the_service_s_own(emulator: EmulatorClient) -> None:
    body = json.dumps({"ProjectArn": OTHER_PROJECT_ARN}).encode()
    status, content, headers = raw(emulator, "RekognitionService.DescribeProjectVersions", body)
    assert status == 400
    assert set(content) == {"__type", "Code", "Logref", "Message"}
    assert content["__type"] == content["Code"] == "ResourceNotFoundException"
    assert content["Logref"] == headers["x-amzn-RequestId"]
    assert headers["Content-Type"] == "application/x-amz-json-1.1"


def test_life_of_a_model(emulator: EmulatorClient, rekognition: RekognitionClient) -> None:
    def described() -> Any:
        versions = rekognition.describe_project_versions(ProjectArn=PROJECT_ARN, VersionNames=["batch-vision.1"])[
            "ProjectVersionDescriptions"
        ]
        assert [v["ProjectVersionArn"] for v in versions] == [PROJECT_VERSION_ARN]
        return versions[0]

    assert described()["Status"] == "TRAINING_COMPLETED"
    assert "MinInferenceUnits" not in described()
    emulator.set(start_seconds=600, stop_seconds=600)
    started = rekognition.start_project_version(
        ProjectVersionArn=PROJECT_VERSION_ARN, MinInferenceUnits=2, MaxInferenceUnits=5
    )
    assert started["Status"] == "STARTING"
    assert described()["Status"] == "STARTING"
    assert (described()["MinInferenceUnits"], described()["MaxInferenceUnits"]) == (2, 5)
    emulator.set(start_seconds=0)
    assert described()["Status"] == "RUNNING"
    stopped = rekognition.stop_project_version(ProjectVersionArn=PROJECT_VERSION_ARN)
    assert stopped["Status"] == "STOPPING"
    assert described()["Status"] == "STOPPING"
    emulator.set(stop_seconds=0)
    last = described()
    assert last["Status"] == "STOPPED"
    assert last["StatusMessage"]
    assert last["CreationTimestamp"].tzinfo is not None
    state = emulator.model()
    assert (state["starts"], state["stops"], state["inference_units"]) == (1, 1, 2)
    assert state["billed_unit_seconds"] > 0
    assert emulator.model(SECOND_VERSION_ARN)["starts"] == 0


def test_waiter_of_boto3_sees_the_model_run(rekognition: RekognitionClient) -> None:
    rekognition.start_project_version(ProjectVersionArn=PROJECT_VERSION_ARN, MinInferenceUnits=1)
    rekognition.get_waiter("project_version_running").wait(
        ProjectArn=PROJECT_ARN, VersionNames=["batch-vision.1"], WaiterConfig={"Delay": 1, "MaxAttempts": 1}
    )


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_allows_what_the_service_allows(
    emulator: EmulatorClient, rekognition: RekognitionClient, status: str
) -> None:
    emulator.set(start_seconds=600, stop_seconds=600)
    detecting = caller(rekognition, "DetectCustomLabels")
    starting, stopping = (caller(rekognition, name) for name in OPERATIONS[:2])

    emulator.force_status(status)
    (version, _) = rekognition.describe_project_versions(ProjectArn=PROJECT_ARN)["ProjectVersionDescriptions"]
    assert version["Status"] == status
    if status == "RUNNING":
        assert isinstance(detecting()["CustomLabels"], list)
    else:
        assert code_of(detecting) == "ResourceNotReadyException"
        assert emulator.model()["not_running_calls"] == 1
        assert code_of(stopping) == "ResourceInUseException"
    if status in STARTABLE:
        assert starting()["Status"] == "STARTING"
    else:
        assert code_of(starting) == "ResourceInUseException"
    if status == "RUNNING":
        assert stopping()["Status"] == "STOPPING"


@pytest.mark.parametrize("is_invalid", [False, True])
def test_a_stop_while_the_model_starts_is_refused_with_either_code(
    emulator: EmulatorClient, rekognition: RekognitionClient, is_invalid: bool
) -> None:
    emulator.set(start_seconds=600, stop_seconds=600, stop_while_starting_is_invalid=is_invalid)
    stopping = caller(rekognition, "StopProjectVersion")
    emulator.force_status("STARTING")
    assert code_of(stopping) == ("InvalidParameterException" if is_invalid else "ResourceInUseException")
    emulator.force_status("STOPPING")
    assert code_of(stopping) == "ResourceInUseException"
    emulator.force_status("RUNNING")
    assert stopping()["Status"] == "STOPPING"


def test_start_that_fails(emulator: EmulatorClient, rekognition: RekognitionClient) -> None:
    emulator.inject("StartProjectVersion", "FAILED")
    assert caller(rekognition, "StartProjectVersion")()["Status"] == "STARTING"
    assert emulator.model()["status"] == "FAILED"
    caller(rekognition, "StartProjectVersion")()
    assert emulator.model()["status"] == "RUNNING"


@pytest.mark.parametrize(
    ("units", "error"),
    [
        ({"MinInferenceUnits": 6}, "LimitExceededException"),
        ({"MinInferenceUnits": 1, "MaxInferenceUnits": 6}, "LimitExceededException"),
        ({"MinInferenceUnits": 3, "MaxInferenceUnits": 2}, "InvalidParameterException"),
        ({"MinInferenceUnits": 0}, "ValidationException"),
        ({}, "ValidationException"),
        ({"MinInferenceUnits": "two"}, "SerializationException"),
    ],
)
def test_inference_units_out_of_range(
    emulator: EmulatorClient, rekognition: RekognitionClient, units: dict[str, Any], error: str
) -> None:
    start = rekognition.start_project_version
    assert code_of(lambda: start(ProjectVersionArn=PROJECT_VERSION_ARN, **units)) == error
    assert emulator.model()["starts"] == 0


def test_most_inference_units(rekognition: RekognitionClient) -> None:
    answer = rekognition.start_project_version(
        ProjectVersionArn=PROJECT_VERSION_ARN, MinInferenceUnits=5, MaxInferenceUnits=5
    )
    assert answer["Status"] == "STARTING"


def test_what_does_not_exist(rekognition: RekognitionClient) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: rekognition.start_project_version(ProjectVersionArn=OTHER_VERSION_ARN, MinInferenceUnits=1),
        lambda: rekognition.stop_project_version(ProjectVersionArn=OTHER_VERSION_ARN),
        lambda: rekognition.describe_project_versions(ProjectArn=OTHER_PROJECT_ARN),
        lambda: rekognition.detect_custom_labels(ProjectVersionArn=OTHER_VERSION_ARN, Image={"Bytes": encoded(64, 64)}),
    ]
    assert [code_of(call) for call in calls] == ["ResourceNotFoundException"] * 4


def test_pages_of_versions(rekognition: RekognitionClient) -> None:
    first = rekognition.describe_project_versions(ProjectArn=PROJECT_ARN, MaxResults=1)
    second = rekognition.describe_project_versions(ProjectArn=PROJECT_ARN, MaxResults=1, NextToken=first["NextToken"])
    pages = [first, second]
    arns = [v["ProjectVersionArn"] for page in pages for v in page["ProjectVersionDescriptions"]]
    assert arns == [PROJECT_VERSION_ARN, SECOND_VERSION_ARN]
    assert "NextToken" not in second
    bad = {"ProjectArn": PROJECT_ARN, "NextToken": "rubbish"}
    assert code_of(lambda: rekognition.describe_project_versions(**bad)) == "InvalidPaginationTokenException"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, "Value at 'projectArn' failed to satisfy constraint: Member must not be null"),
        ({"ProjectArn": "arn:aws:s3:::a-bucket-of-images"}, "Member must satisfy regular expression pattern"),
        ({"ProjectArn": "short"}, "Member must have length greater than or equal to 20"),
        (
            {"ProjectArn": PROJECT_ARN, "VersionNames": []},
            "at 'versionNames' failed to satisfy constraint: Member must have length greater than",
        ),
        (
            {"ProjectArn": PROJECT_ARN, "VersionNames": ["v"] * 11},
            "Member must have length less than or equal to 10",
        ),
        (
            {"ProjectArn": PROJECT_ARN, "VersionNames": ["fine", "not fine"]},
            "Value 'not fine' at 'versionNames.2.member' failed to satisfy constraint",
        ),
        ({"ProjectArn": PROJECT_ARN, "MaxResults": 0}, "Member must have value greater than or equal to 1"),
        ({"ProjectArn": PROJECT_ARN, "MaxResults": 101}, "Member must have value less than or equal to 100"),
    ],
)
def test_constraints_of_the_service_model(
    rekognition: RekognitionClient, request_: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError, match=r"\d validation errors? detected: ") as caught:
        rekognition.describe_project_versions(**request_)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert expected in caught.value.response["Error"]["Message"]


def test_all_broken_constraints_are_named(rekognition: RekognitionClient) -> None:
    with pytest.raises(ClientError, match="2 validation errors detected"):
        rekognition.detect_custom_labels(
            ProjectVersionArn=PROJECT_VERSION_ARN,
            Image={"S3Object": {"Bucket": "no", "Name": "a.jpg"}},
            MinConfidence=101,
        )


def test_requests_that_are_not_of_the_protocol(emulator: EmulatorClient) -> None:
    describe = "RekognitionService.DescribeProjectVersions"
    assert raw(emulator, "RekognitionService.SearchFaces", b"{}")[1]["__type"] == "UnknownOperationException"
    assert raw(emulator, "", b"{}")[1]["__type"] == "UnknownOperationException"
    for body in (b"{", b"[]", b'{"ProjectArn": 5}', b"\xff"):
        status, content, _ = raw(emulator, describe, body)
        assert (status, content["__type"]) == (400, "SerializationException")
    with_more = json.dumps({"ProjectArn": PROJECT_ARN, "NotAMember": 1, "MaxResults": None}).encode()
    assert raw(emulator, describe, with_more)[0] == 200
    not_base64 = json.dumps({"ProjectVersionArn": PROJECT_VERSION_ARN, "Image": {"Bytes": "???"}}).encode()
    status, content, _ = raw(emulator, "RekognitionService.DetectCustomLabels", not_base64)
    assert (status, content["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize("label", ["normal", "crack", "stain"])
def test_labels_come_from_the_pixels(
    emulator: EmulatorClient, rekognition: RekognitionClient, sample: dict[str, bytes], label: str
) -> None:
    emulator.force_status("RUNNING")
    (found,) = detect(rekognition, sample[label])
    assert found["Name"] == label
    assert 50 < found["Confidence"] <= 100
    if label == "normal":
        assert "Geometry" not in found
    else:
        box = found["Geometry"]["BoundingBox"]
        assert set(box) == {"Width", "Height", "Left", "Top"}
        assert 0 <= box["Left"] < box["Left"] + box["Width"] <= 1
        assert 0 <= box["Top"] < box["Top"] + box["Height"] <= 1
    assert detect(rekognition, sample[label]) == [found]


def test_confidence_and_number_of_results(
    emulator: EmulatorClient, rekognition: RekognitionClient, sample: dict[str, bytes]
) -> None:
    emulator.force_status("RUNNING")
    everything = detect(rekognition, sample["crack"], MinConfidence=0)
    assert everything[0]["Name"] == "crack"
    assert len(everything) == 3
    confidences = [label["Confidence"] for label in everything]
    assert confidences == sorted(confidences, reverse=True)
    assert sum(confidences) == pytest.approx(100, abs=0.01)
    assert detect(rekognition, sample["crack"], MinConfidence=0, MaxResults=2) == everything[:2]
    assert detect(rekognition, sample["crack"], MinConfidence=confidences[1]) == everything[:2]
    assert detect(rekognition, sample["crack"], MinConfidence=100) == []


def test_named_version_is_the_one_that_is_read(
    emulator: EmulatorClient, rekognition: RekognitionClient, s3: S3Client, sample: dict[str, bytes]
) -> None:
    emulator.force_status("RUNNING")
    key = "été/a+b 50%.jpg"
    older = s3.put_object(Bucket=BUCKET, Key=key, Body=sample["crack"])["VersionId"]
    newer = s3.put_object(Bucket=BUCKET, Key=key, Body=sample["stain"])["VersionId"]
    named = {"Bucket": BUCKET, "Name": key}
    assert detect_object(rekognition, **named, Version=older)[0]["Name"] == "crack"
    assert detect_object(rekognition, **named, Version=newer)[0]["Name"] == "stain"
    assert detect_object(rekognition, **named)[0]["Name"] == "stain"
    s3.delete_object(Bucket=BUCKET, Key=key)
    assert code_of(lambda: detect_object(rekognition, **named)) == "InvalidS3ObjectException"
    assert detect_object(rekognition, **named, Version=older)[0]["Name"] == "crack"
    s3.delete_object(Bucket=BUCKET, Key=key, VersionId=older)
    gone = {**named, "Version": older}
    assert code_of(lambda: detect_object(rekognition, **gone)) == "InvalidS3ObjectException"


@pytest.mark.parametrize(
    "named",
    [
        {"Bucket": BUCKET, "Name": "nothing-here.jpg"},
        {"Bucket": "no-such-bucket", "Name": "a.jpg"},
        {"Bucket": BUCKET, "Name": "there.jpg", "Version": "not-a-version"},
    ],
)
def test_objects_that_cannot_be_read(
    emulator: EmulatorClient, rekognition: RekognitionClient, s3: S3Client, named: dict[str, str]
) -> None:
    emulator.force_status("RUNNING")
    s3.put_object(Bucket=BUCKET, Key="there.jpg", Body=b"x")
    with pytest.raises(ClientError, match=r"\(InvalidS3ObjectException\).*Unable to get object metadata from S3\."):
        detect_object(rekognition, **named)
    assert code_of(lambda: detect_object(rekognition, Bucket=BUCKET)) == "InvalidS3ObjectException"


class BrokenStore:
    def read(self, bucket: str, key: str, version: str | None, max_bytes: int) -> bytes:
        raise ObjectStoreError("connection refused")


def test_failure_of_the_store_is_not_the_fault_of_the_image(
    emulator: EmulatorClient,
    rekognition: RekognitionClient,
    borrowed_reader: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator.force_status("RUNNING")
    monkeypatch.setattr(borrowed_reader, "reader", BrokenStore())
    with pytest.raises(ClientError, match="S3 did not answer: connection refused") as caught:
        detect_object(rekognition, Bucket=BUCKET, Name="a.jpg")
    assert caught.value.response["Error"]["Code"] == "InternalServerError"


@pytest.mark.parametrize("image", [{}, {"Bytes": b"x", "S3Object": {"Bucket": BUCKET, "Name": "a"}}])
def test_image_is_given_in_one_way(
    emulator: EmulatorClient, rekognition: RekognitionClient, image: dict[str, Any]
) -> None:
    emulator.force_status("RUNNING")
    call = rekognition.detect_custom_labels
    assert code_of(lambda: call(ProjectVersionArn=PROJECT_VERSION_ARN, Image=image)) == ("InvalidParameterException")


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 30,000 × 30,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


REFUSED = {
    "not-an-image": (b"GIF is not what this is", "InvalidImageFormatException"),
    "gif": (encoded(100, 100, "GIF"), "InvalidImageFormatException"),
    "webp-like": (b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(100), "InvalidImageFormatException"),
    "header-only": (encoded(100, 100)[:33], "InvalidImageFormatException"),
    "truncated-png": (encoded(500, 500)[:-60], "InvalidImageFormatException"),
    "truncated-jpeg": (encoded(500, 500, "JPEG")[:-400], "InvalidImageFormatException"),
    "jpeg-magic-only": (b"\xff\xd8\xff\xe0" + bytes(200), "InvalidImageFormatException"),
    "too-narrow": (encoded(63, 100), "InvalidParameterException"),
    "too-low": (encoded(100, 63, "JPEG"), "InvalidParameterException"),
    "too-wide": (encoded(4097, 300), "ImageTooLargeException"),
    "too-high": (encoded(300, 4097, "JPEG"), "ImageTooLargeException"),
    "too-long-for-its-breadth": (encoded(1281, 64), "InvalidParameterException"),
    "bomb": (bomb(), "ImageTooLargeException"),
    "16-bit": (encoded(100, 100, "PNG", "I;16"), "InvalidImageFormatException"),
    "cmyk": (encoded(100, 100, "JPEG", "CMYK"), "InvalidImageFormatException"),
    "over-4-mib": (padded(encoded(100, 100, "JPEG"), 4 * 1024**2 + 1), "ImageTooLargeException"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_images_that_are_refused(emulator: EmulatorClient, rekognition: RekognitionClient, name: str) -> None:
    content, error = REFUSED[name]
    emulator.force_status("RUNNING")
    assert code_of(lambda: detect(rekognition, content)) == error


def animated() -> bytes:
    content = io.BytesIO()
    frames = [Image.new("RGB", (100, 100), colour) for colour in ("red", "green", "blue")]
    frames[0].save(content, "PNG", save_all=True, append_images=frames[1:])
    return content.getvalue()


ACCEPTED = {
    "smallest": encoded(64, 64),
    "widest": encoded(4096, 205, "JPEG"),
    "highest": encoded(205, 4096),
    "longest-for-its-breadth": encoded(1280, 64),
    "4-mib": padded(encoded(100, 100, "JPEG"), 4 * 1024**2),
    "grey": encoded(100, 100, "PNG", "L"),
    "bilevel": encoded(100, 100, "PNG", "1"),
    "palette": encoded(100, 100, "PNG", "P"),
    "alpha": encoded(100, 100, "PNG", "RGBA"),
    "grey-alpha": encoded(100, 100, "PNG", "LA"),
    "animated": animated(),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_images_that_are_accepted(emulator: EmulatorClient, rekognition: RekognitionClient, name: str) -> None:
    emulator.force_status("RUNNING")
    assert len(detect(rekognition, ACCEPTED[name], MinConfidence=0)) == 3


@pytest.mark.parametrize(("size_bytes", "fits"), [(15 * 1024**2, True), (15 * 1024**2 + 1, False)])
def test_size_limit_of_objects(
    emulator: EmulatorClient,
    rekognition: RekognitionClient,
    s3: S3Client,
    sample: dict[str, bytes],
    size_bytes: int,
    fits: bool,
) -> None:
    emulator.force_status("RUNNING")
    s3.put_object(Bucket=BUCKET, Key="large.jpg", Body=padded(sample["normal"], size_bytes))
    if fits:
        assert detect_object(rekognition, Bucket=BUCKET, Name="large.jpg")[0]["Name"] == "normal"
    else:
        call = lambda: detect_object(rekognition, Bucket=BUCKET, Name="large.jpg")  # noqa: E731
        assert code_of(call) == "ImageTooLargeException"


def test_empty_object(emulator: EmulatorClient, rekognition: RekognitionClient, s3: S3Client) -> None:
    emulator.force_status("RUNNING")
    s3.put_object(Bucket=BUCKET, Key="empty.jpg", Body=b"")
    call = lambda: detect_object(rekognition, Bucket=BUCKET, Name="empty.jpg")  # noqa: E731
    assert code_of(call) == "InvalidImageFormatException"


@pytest.mark.parametrize("units", [1, 2])
def test_throughput_grows_with_inference_units(
    emulator: EmulatorClient, rekognition: RekognitionClient, units: int
) -> None:
    rekognition.start_project_version(ProjectVersionArn=PROJECT_VERSION_ARN, MinInferenceUnits=units)
    emulator.set(transactions_per_second_per_unit=2)
    codes: list[str] = []
    calls = 60  # more than a busy machine makes in the time that it takes to allow them
    for _ in range(calls):
        try:
            detect(rekognition, b"x")
        except ClientError as error:
            codes.append(error.response["Error"]["Code"])
    throttled = codes.count("ProvisionedThroughputExceededException")
    state = emulator.model()
    assert codes[: 2 * units] == ["InvalidImageFormatException"] * 2 * units
    assert throttled > 0
    assert (state["detect_calls"], state["throttled_calls"]) == (calls - throttled, throttled)


def test_counters_do_not_overlap(emulator: EmulatorClient, rekognition: RekognitionClient) -> None:
    detecting = caller(rekognition, "DetectCustomLabels")
    assert code_of(detecting) == "ResourceNotReadyException"
    emulator.force_status("RUNNING")
    emulator.inject("DetectCustomLabels", "AccessDeniedException")
    assert code_of(detecting) == "AccessDeniedException"
    detecting()
    state = emulator.model()
    assert (state["detect_calls"], state["throttled_calls"], state["not_running_calls"]) == (1, 0, 1)


def test_faults_are_spent_in_order_and_can_be_forgotten(
    emulator: EmulatorClient, rekognition: RekognitionClient
) -> None:
    emulator.force_status("RUNNING")
    detecting = caller(rekognition, "DetectCustomLabels")
    emulator.inject("DetectCustomLabels", "ThrottlingException", count=2)
    emulator.inject("DetectCustomLabels", "InternalServerError")
    codes = [code_of(detecting) for _ in range(3)]
    assert codes == ["ThrottlingException", "ThrottlingException", "InternalServerError"]
    detecting()
    emulator.inject("DetectCustomLabels", "ThrottlingException", count=5)
    emulator.clear_faults()
    detecting()
    assert emulator.state()["faults"]["planned"] == []


def test_faults_by_chance_repeat_with_their_seed(emulator: EmulatorClient, rekognition: RekognitionClient) -> None:
    def round_of_calls(seed: int | None = None) -> list[bool]:
        emulator.reset()
        emulator.inject("DescribeProjectVersions", "ThrottlingException", probability=0.5, seed=seed)
        outcomes = []
        for _ in range(20):
            try:
                caller(rekognition, "DescribeProjectVersions")()
                outcomes.append(True)
            except ClientError:
                outcomes.append(False)
        return outcomes

    first = round_of_calls()
    assert len(set(first)) == 2
    assert round_of_calls() == first
    assert round_of_calls(seed=20) == first
    assert round_of_calls(seed=21) != first


def test_connection_lost_and_answer_late(emulator: EmulatorClient, rekognition: RekognitionClient) -> None:
    describing = caller(rekognition, "DescribeProjectVersions")
    emulator.inject("DescribeProjectVersions", "drop")
    with pytest.raises(HTTPClientError):
        describing()
    describing()
    impatient = boto3.client(
        "rekognition",
        endpoint_url=emulator.url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(read_timeout=0.1, retries={"total_max_attempts": 1}),
    )
    emulator.inject("DescribeProjectVersions", "slow:400")
    with pytest.raises(HTTPClientError):
        caller(impatient, "DescribeProjectVersions")()


def test_answer_lost_after_what_was_asked_is_done(emulator: EmulatorClient, rekognition: RekognitionClient) -> None:
    emulator.set(start_seconds=600)
    emulator.inject("StartProjectVersion", "drop_answer", count=2)
    for status in ("STARTING", "STARTING"):  # the second is refused, and that answer is lost too
        with pytest.raises(HTTPClientError):
            caller(rekognition, "StartProjectVersion")()
        assert emulator.model()["status"] == status
    assert emulator.model()["starts"] == 1
    assert emulator.state()["faults"]["injected"] == {"StartProjectVersion:drop_answer": 2}
    assert code_of(caller(rekognition, "StartProjectVersion")) == "ResourceInUseException"


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"operation": "SearchFaces", "error": "drop"}, "DetectCustomLabels"),
        ({"operation": "StopProjectVersion", "error": "lose_answer"}, "drop_answer"),
        ({"operation": "StopProjectVersion", "error": "ResourceNotReadyException"}, "ResourceInUseException"),
        ({"operation": "StopProjectVersion", "error": "FAILED"}, "drop"),
        ({"operation": "StopProjectVersion", "error": "slow:soon"}, "slow:<milliseconds>"),
        ({"operation": "GetLabelDetection", "error": "message_lost"}, "drop_answer|ThrottlingException"),
        ({"operation": "StartLabelDetection", "error": "FAILED:"}, "FAILED:<text>"),
        ({"operation": "StopProjectVersion", "error": "drop", "count": 0}, "1 or more"),
        ({"operation": "StopProjectVersion", "error": "drop", "probability": 1.5}, "up to 1"),
        ({"operation": "StopProjectVersion", "error": "drop", "count": 1, "probability": 0.5}, "leave one out"),
        ({"operation": "StopProjectVersion", "error": "drop", "probability": 0.5, "seed": "a"}, "seed is 'a'"),
        ({"operation": "StopProjectVersion", "error": "drop", "seed": 1}, "only together with a probability"),
    ],
)
def test_faults_that_cannot_be(emulator: EmulatorClient, fault: dict[str, Any], named: str) -> None:
    with pytest.raises(EmulatorRequestError, match=f"refused with 400.*{named}"):
        emulator.inject(**fault)


@pytest.mark.parametrize(
    "change",
    [
        {"latency": 1},
        {"latency_ms": -1},
        {"start_seconds": "soon"},
        {"stop_seconds": True},
        {"transactions_per_second_per_unit": 0},
        {"bill_starting": 1},
        {"stop_while_starting_is_invalid": "yes"},
        {"calls_per_second": 5},
        {"calls_per_second": {"DetectCustomLabels": 5}},
        {"calls_per_second": {"DetectText": 0}},
        {"calls_per_second": {"DetectText": True}},
        {"video_samples_per_second": 0},
        {"foreign_jobs": 1.5},
        {"video_job_limit": -1},
    ],
)
def test_settings_that_cannot_be(emulator: EmulatorClient, change: dict[str, Any]) -> None:
    before = emulator.state()["settings"]
    with pytest.raises(EmulatorRequestError, match=f"refused with 400.*{next(iter(change))}"):
        emulator.set(**change)
    assert emulator.state()["settings"] == before


def test_reset_goes_back_to_the_start(emulator: EmulatorClient, rekognition: RekognitionClient) -> None:
    fresh = emulator.state()
    emulator.set(latency_ms=1, bill_starting=True, calls_per_second={"DetectText": 1})
    caller(rekognition, "DetectText")()
    emulator.force_status("RUNNING")
    caller(rekognition, "DetectCustomLabels")()
    emulator.inject("StopProjectVersion", "drop")
    emulator.inject("DescribeProjectVersions", "AccessDeniedException")
    code_of(caller(rekognition, "DescribeProjectVersions"))
    assert emulator.state() != fresh
    assert emulator.reset() == fresh
    assert emulator.state() == fresh


def test_unknown_control_requests(emulator: EmulatorClient) -> None:
    with pytest.raises(EmulatorRequestError, match=r"refused with 400.*TRAINING_COMPLETED"):
        emulator.force_status("SLEEPING")
    with pytest.raises(EmulatorRequestError, match=r"refused with 400.*batch-vision"):
        emulator.force_status("RUNNING", OTHER_VERSION_ARN)
    with pytest.raises(EmulatorRequestError, match="refused with 404"):
        emulator._call("GET", "secrets")
