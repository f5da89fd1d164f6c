"""What the emulated Lookout for Vision promises to a client, asked through botocore and by hand."""

from __future__ import annotations

import base64
import http.client
import io
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from botocore.exceptions import ClientError, HTTPClientError
from PIL import Image

from local.config import (
    LOOKOUT_MODEL_ARN,
    LOOKOUT_MODEL_VERSION,
    LOOKOUT_PROJECT_NAME,
    PROJECT_VERSION_ARN,
    REPOSITORY,
)
from local.emulator.client import EmulatorRequestError
from local.emulator.lookout_for_vision import OPERATIONS, injectable_errors, service_model
from local.emulator.pixel_model import PixelModel
from local.emulator.server import Emulator, EmulatorServer
from local.emulator.settings import Settings
from local.samples.draw_samples import HEIGHT_PX, PILE, WIDTH_PX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.emulator.client import EmulatorClient

SERVICE = service_model()
BASE = f"/2020-11-20/projects/{LOOKOUT_PROJECT_NAME}/models/{LOOKOUT_MODEL_VERSION}"
SECOND_ARN = LOOKOUT_MODEL_ARN.removesuffix("/1") + "/2"
MODEL = {"ProjectName": LOOKOUT_PROJECT_NAME, "ModelVersion": LOOKOUT_MODEL_VERSION}
SAMPLES = REPOSITORY / "local" / "samples"
DEFECTS = json.loads((SAMPLES / "defects.json").read_text(encoding="utf-8"))
IMAGES = [(name, label) for name, label in PILE if label is not None]
# As the service's reference has them.
STATUS_OF_ERROR = {
    "AccessDeniedException": 403,
    "ConflictException": 409,
    "InternalServerException": 500,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 402,
    "ThrottlingException": 429,
    "ValidationException": 400,
}
STATUSES = (
    "TRAINING",
    "TRAINED",
    "TRAINING_FAILED",
    "STARTING_HOSTING",
    "HOSTED",
    "HOSTING_FAILED",
    "STOPPING_HOSTING",
    "SYSTEM_UPDATING",
    "DELETING",
)
DECLARED = [
    pytest.param(operation, error.name, id=f"{operation}-{error.name}")
    for operation in OPERATIONS
    for error in SERVICE.operation_model(operation).error_shapes
]


def encoded(width: int, height: int, image_format: str = "PNG", mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new("L", (width, height), 90).convert(mode).save(content, image_format)
    return content.getvalue()


def content_type_of(content: bytes) -> str:
    return "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"


def detect(client: Any, content: bytes, content_type: str | None = None) -> dict[str, Any]:
    answer = client.detect_anomalies(**MODEL, Body=content, ContentType=content_type or content_type_of(content))
    result: dict[str, Any] = answer["DetectAnomalyResult"]
    return result


def caller(client: Any, operation: str) -> Callable[[], dict[str, Any]]:
    """A correct call of an operation."""
    picture = encoded(WIDTH_PX, HEIGHT_PX)
    calls: dict[str, Callable[[], Any]] = {
        "StartModel": lambda: client.start_model(**MODEL, MinInferenceUnits=1),
        "StopModel": lambda: client.stop_model(**MODEL),
        "DescribeModel": lambda: client.describe_model(**MODEL),
        "DetectAnomalies": lambda: client.detect_anomalies(**MODEL, Body=picture, ContentType="image/png"),
    }
    return calls[operation]


def error_of(call: Callable[[], Any]) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call()
    return dict(caught.value.response)


def code_of(call: Callable[[], Any]) -> str:
    code: str = error_of(call)["Error"]["Code"]
    return code


def raw(
    emulator: EmulatorClient, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Send a request as it is, without a client that knows the service."""
    connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), dict(answer.headers)
    finally:
        connection.close()


def test_operations_on_the_wire(emulator: EmulatorClient, sample: dict[str, bytes]) -> None:
    emulator.set(start_seconds=600, stop_seconds=600)
    status, content, headers = raw(emulator, "POST", f"{BASE}/start", b'{"MinInferenceUnits": 2}')
    assert (status, content) == (202, {"Status": "STARTING_HOSTING"})
    assert headers["Content-Type"] == "application/json"
    assert headers["x-amzn-RequestId"]

    emulator.set(start_seconds=0)
    status, content, _ = raw(emulator, "GET", BASE)
    description = content["ModelDescription"]
    assert status == 200
    assert isinstance(description.pop("CreationTimestamp"), float)
    assert description.pop("StatusMessage")
    assert description == {
        "ModelVersion": "1",
        "ModelArn": LOOKOUT_MODEL_ARN,
        "Status": "HOSTED",
        "MinInferenceUnits": 2,
    }

    status, content, _ = raw(emulator, "POST", f"{BASE}/detect", sample["crack"], Content_Type="image/png")
    result = content["DetectAnomalyResult"]
    assert status == 200
    assert set(result) == {"Source", "IsAnomalous", "Confidence", "Anomalies", "AnomalyMask"}
    assert (result["Source"], result["IsAnomalous"]) == ({"Type": "direct"}, True)
    assert base64.b64decode(result["AnomalyMask"]).startswith(b"\x89PNG")

    status, content, _ = raw(emulator, "POST", f"{BASE}/stop")
    assert (status, content) == (202, {"Status": "STOPPING_HOSTING"})


def test_each_declared_error_can_be_injected_into_its_operation() -> None:
    allowed = injectable_errors(SERVICE)
    for operation in OPERATIONS:
        declared = {error.name for error in SERVICE.operation_model(operation).error_shapes}
        assert declared | {"ServiceQuotaExceededException"} == set(STATUS_OF_ERROR)
        assert declared <= set(allowed[operation])


@pytest.mark.parametrize(("operation", "error"), DECLARED)
def test_declared_error_reaches_the_client(emulator: EmulatorClient, lookout: Any, operation: str, error: str) -> None:
    emulator.inject(operation, error)
    with pytest.raises(getattr(lookout.exceptions, error)) as caught:
        caller(lookout, operation)()
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == STATUS_OF_ERROR[error]
    assert response["ResponseMetadata"]["RequestId"]
    assert response["Error"]["Code"] == error
    assert response["Error"]["Message"]
    assert {"Message", *response} >= set(SERVICE.shape_for(error).required_members)
    assert emulator.state()["faults"]["injected"] == {f"{operation}:{error}": 1}


@pytest.mark.parametrize("error", ["ThrottlingException", "InternalServerException"])
def test_caller_is_told_when_to_come_back(emulator: EmulatorClient, lookout: Any, error: str) -> None:
    emulator.inject("DescribeModel", error, count=2)
    assert error_of(caller(lookout, "DescribeModel"))["RetryAfterSeconds"] >= 1
    status, content, headers = raw(emulator, "GET", BASE)
    assert status == STATUS_OF_ERROR[error]
    assert int(headers["Retry-After"]) >= 1
    assert headers["x-amzn-ErrorType"] == error
    assert set(content) == {"Message"}


def test_conflict_on_the_wire(emulator: EmulatorClient) -> None:
    status, content, headers = raw(emulator, "POST", f"{BASE}/stop")
    assert (status, headers["x-amzn-ErrorType"]) == (409, "ConflictException")
    assert "TRAINED" in content.pop("Message")
    assert content == {"ResourceId": "batch-vision/1", "ResourceType": "MODEL"}
    assert "Retry-After" not in headers


def test_life_of_a_model(emulator: EmulatorClient, lookout: Any) -> None:
    def described() -> dict[str, Any]:
        description: dict[str, Any] = lookout.describe_model(**MODEL)["ModelDescription"]
        return description

    assert described()["Status"] == "TRAINED"
    assert "MinInferenceUnits" not in described()
    emulator.set(start_seconds=600, stop_seconds=600)
    started = lookout.start_model(**MODEL, MinInferenceUnits=2, MaxInferenceUnits=5)
    assert started["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert started["Status"] == described()["Status"] == "STARTING_HOSTING"
    assert (described()["MinInferenceUnits"], described()["MaxInferenceUnits"]) == (2, 5)
    emulator.set(start_seconds=0)
    assert described()["Status"] == "HOSTED"
    stopped = lookout.stop_model(**MODEL)
    assert stopped["Status"] == described()["Status"] == "STOPPING_HOSTING"
    emulator.set(stop_seconds=0)
    assert described()["Status"] == "TRAINED"
    assert described()["CreationTimestamp"].tzinfo is not None
    state = emulator.model(LOOKOUT_MODEL_ARN)
    assert (state["starts"], state["stops"], state["inference_units"]) == (1, 1, 2)
    assert state["billed_unit_seconds"] > 0
    assert emulator.model(SECOND_ARN)["starts"] == emulator.model(PROJECT_VERSION_ARN)["starts"] == 0


def test_the_service_model_knows_every_status() -> None:
    assert tuple(SERVICE.shape_for("ModelStatus").enum) == STATUSES


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_allows_what_the_service_allows(emulator: EmulatorClient, lookout: Any, status: str) -> None:
    emulator.set(start_seconds=600, stop_seconds=600)
    starting, stopping, describing, detecting = (caller(lookout, name) for name in OPERATIONS)

    assert emulator.force_status(status, LOOKOUT_MODEL_ARN)["status"] == status
    assert describing()["ModelDescription"]["Status"] == status
    if status == "HOSTED":
        assert "IsAnomalous" in detecting()["DetectAnomalyResult"]
    else:
        assert code_of(detecting) == "ConflictException"
        assert emulator.model(LOOKOUT_MODEL_ARN)["not_running_calls"] == 1
        assert code_of(stopping) == "ConflictException"
    if status in ("TRAINED", "HOSTING_FAILED"):
        assert starting()["Status"] == "STARTING_HOSTING"
    else:
        assert code_of(starting) == "ConflictException"
    if status == "HOSTED":
        assert stopping()["Status"] == "STOPPING_HOSTING"


def test_start_that_fails(emulator: EmulatorClient, lookout: Any) -> None:
    emulator.inject("StartModel", "HOSTING_FAILED")
    assert caller(lookout, "StartModel")()["Status"] == "STARTING_HOSTING"
    assert emulator.model(LOOKOUT_MODEL_ARN)["status"] == "HOSTING_FAILED"
    caller(lookout, "StartModel")()
    assert emulator.model(LOOKOUT_MODEL_ARN)["status"] == "HOSTED"


def test_used_token_starts_nothing(emulator: EmulatorClient, lookout: Any) -> None:
    def start(token: str) -> str:
        answer = lookout.start_model(**MODEL, MinInferenceUnits=1, ClientToken=token)
        status: str = answer["Status"]
        return status

    assert start("first") == "STARTING_HOSTING"
    lookout.stop_model(**MODEL, ClientToken="first")
    assert emulator.model(LOOKOUT_MODEL_ARN)["status"] == "TRAINED"

    assert start("first") == "STARTING_HOSTING"
    state = emulator.model(LOOKOUT_MODEL_ARN)
    assert (state["status"], state["starts"]) == ("TRAINED", 1)

    assert start("second") == "STARTING_HOSTING"
    state = emulator.model(LOOKOUT_MODEL_ARN)
    assert (state["status"], state["starts"]) == ("HOSTED", 2)

    # Of the two tokens named first, one was a stop's.
    assert lookout.stop_model(**MODEL, ClientToken="first")["Status"] == "STOPPING_HOSTING"
    assert emulator.model(LOOKOUT_MODEL_ARN)["status"] == "HOSTED"
    lookout.stop_model(**MODEL, ClientToken="second")
    assert emulator.model(LOOKOUT_MODEL_ARN)["status"] == "TRAINED"


def test_token_counts_by_the_header_too(emulator: EmulatorClient) -> None:
    for _ in range(2):
        assert raw(emulator, "POST", f"{BASE}/start", b'{"MinInferenceUnits": 1}', X_Amzn_Client_Token="only-one")[
            :2
        ] == (202, {"Status": "STARTING_HOSTING"})
    assert emulator.model(LOOKOUT_MODEL_ARN)["starts"] == 1
    status, content, _ = raw(emulator, "POST", f"{BASE}/start", b'{"MinInferenceUnits": 1}')
    assert (status, content["ResourceType"]) == (409, "MODEL")


def test_token_of_another_request_is_refused(emulator: EmulatorClient, lookout: Any) -> None:
    lookout.start_model(**MODEL, MinInferenceUnits=1, ClientToken="mine")
    other_units = lambda: lookout.start_model(**MODEL, MinInferenceUnits=2, ClientToken="mine")  # noqa: E731
    other_model = lambda: lookout.start_model(  # noqa: E731
        **MODEL | {"ModelVersion": "2"}, MinInferenceUnits=1, ClientToken="mine"
    )
    assert [code_of(other_units), code_of(other_model)] == ["ConflictException"] * 2
    assert emulator.model(SECOND_ARN)["starts"] == 0


def test_token_of_a_failed_call_can_be_used_again(emulator: EmulatorClient, lookout: Any) -> None:
    stop = lambda: lookout.stop_model(**MODEL, ClientToken="again")  # noqa: E731
    assert code_of(stop) == "ConflictException"
    emulator.force_status("HOSTED", LOOKOUT_MODEL_ARN)
    assert stop()["Status"] == "STOPPING_HOSTING"
    assert emulator.model(LOOKOUT_MODEL_ARN)["stops"] == 1


def test_reset_forgets_tokens(emulator: EmulatorClient, lookout: Any) -> None:
    for _ in range(2):
        lookout.start_model(**MODEL, MinInferenceUnits=1, ClientToken="same")
        assert emulator.model(LOOKOUT_MODEL_ARN)["starts"] == 1
        emulator.reset()


@pytest.mark.parametrize(
    ("token", "fits"), [("t" * 64, True), ("t" * 65, False), ("", False), ("a_b", False), ("A-1", True)]
)
def test_form_of_tokens(emulator: EmulatorClient, token: str, fits: bool) -> None:
    status, content, _ = raw(emulator, "POST", f"{BASE}/start", b'{"MinInferenceUnits": 1}', X_Amzn_Client_Token=token)
    assert status == (202 if fits else 400), content
    if not fits:
        assert "'clientToken' failed to satisfy constraint" in content["Message"]


@pytest.mark.parametrize(
    ("units", "error"),
    [
        ({"MinInferenceUnits": 6}, "ServiceQuotaExceededException"),
        ({"MinInferenceUnits": 1, "MaxInferenceUnits": 6}, "ServiceQuotaExceededException"),
        ({"MinInferenceUnits": 3, "MaxInferenceUnits": 2}, "ValidationException"),
        ({"MinInferenceUnits": 0}, "ValidationException"),
        ({"MinInferenceUnits": 1, "MaxInferenceUnits": 0}, "ValidationException"),
        ({}, "ValidationException"),
        ({"MinInferenceUnits": "two"}, "SerializationException"),
    ],
)
def test_inference_units_out_of_range(
    emulator: EmulatorClient, lookout: Any, units: dict[str, Any], error: str
) -> None:
    assert code_of(lambda: lookout.start_model(**MODEL, **units)) == error
    assert emulator.model(LOOKOUT_MODEL_ARN)["starts"] == 0


def test_most_inference_units(lookout: Any) -> None:
    assert lookout.start_model(**MODEL, MinInferenceUnits=5, MaxInferenceUnits=5)["Status"] == "STARTING_HOSTING"


@pytest.mark.parametrize("body", [b"not json", b"[1]", b'"text"', b"\xff\xfe\x00"])
def test_body_that_cannot_be_read(emulator: EmulatorClient, body: bytes) -> None:
    status, content, headers = raw(emulator, "POST", f"{BASE}/start", body)
    assert (status, headers["x-amzn-ErrorType"]) == (400, "SerializationException")
    assert set(content) == {"Message"}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("named", "resource_id", "resource_type"),
    [
        ({"ModelVersion": "9"}, "batch-vision/9", "MODEL"),
        ({"ProjectName": "somebody-else"}, "somebody-else", "PROJECT"),
    ],
)
def test_what_does_not_exist(
    lookout: Any, operation: str, named: dict[str, str], resource_id: str, resource_type: str
) -> None:
    model = MODEL | named
    calls: dict[str, Callable[[], Any]] = {
        "StartModel": lambda: lookout.start_model(**model, MinInferenceUnits=1),
        "StopModel": lambda: lookout.stop_model(**model),
        "DescribeModel": lambda: lookout.describe_model(**model),
        "DetectAnomalies": lambda: lookout.detect_anomalies(**model, Body=b"x", ContentType="image/png"),
    }
    response = error_of(calls[operation])
    assert response["Error"]["Code"] == "ResourceNotFoundException"
    assert (response["ResourceId"], response["ResourceType"]) == (resource_id, resource_type)


@pytest.mark.parametrize(
    ("project", "version", "status"),
    [
        ("batch-vision", "1", 200),
        ("batch-vision", "latest", 200),
        ("batch%2Dvision", "1", 200),
        ("A_b-9" + "x" * 250, "1", 404),
        ("A_b-9" + "x" * 251, "1", 400),
        ("-batch", "1", 400),
        ("batch vision", "1", 400),
        ("batch/vision", "1", 400),
        ("bätch", "1", 400),
        ("batch-vision", "9999999999", 404),
        ("batch-vision", "10000000000", 400),
        ("batch-vision", "0", 400),
        ("batch-vision", "01", 400),
        ("batch-vision", "newest", 400),
        ("batch-vision", "", 400),
    ],
)
def test_names_in_the_path(emulator: EmulatorClient, project: str, version: str, status: int) -> None:
    name = project if "%" in project else quote(project, safe="")
    got, content, _ = raw(emulator, "GET", f"/2020-11-20/projects/{name}/models/{version}")
    assert got == status, content


def test_latest_version_is_the_highest_number(emulator: EmulatorClient, lookout: Any) -> None:
    emulator.force_status("HOSTED", SECOND_ARN)
    description = lookout.describe_model(**MODEL | {"ModelVersion": "latest"})["ModelDescription"]
    assert (description["ModelVersion"], description["ModelArn"]) == ("2", SECOND_ARN)
    assert description["Status"] == "HOSTED"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/2020-11-20/projects"),
        ("DELETE", BASE),
        ("GET", f"{BASE}/detect"),
        ("POST", f"{BASE}/train"),
        ("POST", f"{BASE}/start/now"),
    ],
)
def test_operations_that_do_not_exist(emulator: EmulatorClient, method: str, path: str) -> None:
    status, _, headers = raw(emulator, method, path)
    assert (status, headers["x-amzn-ErrorType"]) == (404, "UnknownOperationException")


def test_query_of_a_path_is_not_part_of_it(emulator: EmulatorClient) -> None:
    assert raw(emulator, "GET", f"{BASE}?verbose=1")[0] == 200


def mask_of(result: dict[str, Any]) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(result["AnomalyMask"])) as mask:
        assert mask.format == "PNG"
        return np.asarray(mask.convert("RGB"))


@pytest.mark.parametrize(("name", "label"), IMAGES)
def test_verdict_and_mask_come_from_the_pixels(emulator: EmulatorClient, lookout: Any, name: str, label: str) -> None:
    emulator.force_status("HOSTED", LOOKOUT_MODEL_ARN)
    content = (SAMPLES / "pile" / name).read_bytes()
    result = detect(lookout, content)
    assert result["Source"] == {"Type": "direct"}
    assert result["IsAnomalous"] == (label != "normal")
    assert 0.5 < result["Confidence"] <= 1

    mask = mask_of(result)
    assert mask.shape == (HEIGHT_PX, WIDTH_PX, 3)
    background, *found = result["Anomalies"]
    assert (background["Name"], background["PixelAnomaly"]["Color"]) == ("background", "#FFFFFF")
    coloured = (mask != 255).any(axis=2)
    if label == "normal":
        assert found == []
        assert background["PixelAnomaly"]["TotalPercentageArea"] == 1
        assert not coloured.any()
        return
    (anomaly,) = found
    assert anomaly["Name"] == label
    colour = np.frombuffer(bytes.fromhex(anomaly["PixelAnomaly"]["Color"].removeprefix("#")), np.uint8)
    assert (mask[coloured] == colour).all()
    assert anomaly["PixelAnomaly"]["TotalPercentageArea"] == pytest.approx(coloured.mean(), abs=1e-5)
    assert background["PixelAnomaly"]["TotalPercentageArea"] == pytest.approx(1 - coloured.mean(), abs=1e-5)
    left, top, right, bottom = DEFECTS[f"pile/{name}"]
    inside = np.zeros_like(coloured)
    inside[top - 8 : bottom + 8, left - 8 : right + 8] = True
    assert coloured[inside].any()
    assert (coloured & inside).sum() > 0.9 * coloured.sum(), "the mask lies on the defect"
    rows, columns = np.flatnonzero(coloured.any(axis=1)), np.flatnonzero(coloured.any(axis=0))
    assert rows[-1] - rows[0] > 0.4 * (bottom - top), "and covers most of it"
    assert columns[-1] - columns[0] > 0.4 * (right - left)
    assert detect(lookout, content) == result


def test_kinds_of_anomaly_have_colours_of_their_own(
    emulator: EmulatorClient, lookout: Any, sample: dict[str, bytes]
) -> None:
    emulator.force_status("HOSTED", LOOKOUT_MODEL_ARN)
    colours = {
        detect(lookout, sample[label])["Anomalies"][-1]["PixelAnomaly"]["Color"]
        for label in ("normal", "crack", "stain")
    }
    assert len(colours) == 3


PICTURE = encoded(WIDTH_PX, HEIGHT_PX)
JPEG_PICTURE = encoded(WIDTH_PX, HEIGHT_PX, "JPEG")
MAX_BYTES = 8 * 1024 * 1024


def padded(jpeg: bytes, size_bytes: int) -> bytes:
    """What follows the end marker of a JPEG is ignored."""
    return jpeg + bytes(size_bytes - len(jpeg))


REFUSED = {
    "empty": (b"", "image/jpeg", "neither"),
    "not-an-image": (b"GIF is not what this is", "image/png", "neither"),
    "gif": (encoded(WIDTH_PX, HEIGHT_PX, "GIF"), "image/gif", "neither"),
    "truncated-png": (PICTURE[:-60], "image/png", "decoded"),
    "truncated-jpeg": (JPEG_PICTURE[:-400], "image/jpeg", "decoded"),
    "header-only": (PICTURE[:33], "image/png", "decoded|read"),
    "png-as-jpeg": (PICTURE, "image/jpeg", "content type"),
    "jpeg-as-png": (JPEG_PICTURE, "image/png", "content type"),
    "no-type-of-image": (PICTURE, "application/octet-stream", "content type"),
    "wider": (encoded(WIDTH_PX + 1, HEIGHT_PX), "image/png", "320 × 240"),
    "lower": (encoded(WIDTH_PX, HEIGHT_PX - 1), "image/png", "320 × 240"),
    "on-its-side": (encoded(HEIGHT_PX, WIDTH_PX, "JPEG"), "image/jpeg", "320 × 240"),
    "too-narrow": (encoded(63, 64), "image/png", "at least 64"),
    "too-low": (encoded(64, 63, "JPEG"), "image/jpeg", "at least 64"),
    "too-wide": (encoded(4097, 64), "image/png", "at most 4096"),
    "too-high": (encoded(64, 4097, "JPEG"), "image/jpeg", "at most 4096"),
    "16-bit": (encoded(WIDTH_PX, HEIGHT_PX, "PNG", "I;16"), "image/png", "16 bits"),
    "cmyk": (encoded(WIDTH_PX, HEIGHT_PX, "JPEG", "CMYK"), "image/jpeg", "CMYK"),
    "over-8-mib": (padded(JPEG_PICTURE, MAX_BYTES + 1), "image/jpeg", "at most 8388608"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_images_that_are_refused(emulator: EmulatorClient, lookout: Any, name: str) -> None:
    content, content_type, reason = REFUSED[name]
    emulator.force_status("HOSTED", LOOKOUT_MODEL_ARN)
    with pytest.raises(lookout.exceptions.ValidationException, match=reason) as caught:
        detect(lookout, content, content_type)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert emulator.model(LOOKOUT_MODEL_ARN)["detect_calls"] == 1


@pytest.mark.parametrize("content", [PICTURE, JPEG_PICTURE, padded(JPEG_PICTURE, MAX_BYTES)])
def test_images_that_are_accepted(emulator: EmulatorClient, lookout: Any, content: bytes) -> None:
    emulator.force_status("HOSTED", LOOKOUT_MODEL_ARN)
    assert isinstance(detect(lookout, content)["IsAnomalous"], bool)


def test_content_type_is_needed(emulator: EmulatorClient) -> None:
    emulator.force_status("HOSTED", LOOKOUT_MODEL_ARN)
    status, content, headers = raw(emulator, "POST", f"{BASE}/detect", PICTURE)
    assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert "'contentType' failed to satisfy constraint: Member must not be null" in content["Message"]


def test_picture_that_lies_on_its_side(emulator: EmulatorClient, lookout: Any, sample: dict[str, bytes]) -> None:
    emulator.force_status("HOSTED", LOOKOUT_MODEL_ARN)
    with Image.open(io.BytesIO(sample["stain"])) as picture:
        lying = picture.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    content = io.BytesIO()
    lying.save(content, "JPEG", exif=exif, quality=95)
    result = detect(lookout, content.getvalue())
    assert result["Anomalies"][-1]["Name"] == "stain"
    assert mask_of(result).shape == (HEIGHT_PX, WIDTH_PX, 3)


class NoObjects:
    def read(self, bucket: str, key: str, version: str | None, max_bytes: int) -> bytes:
        raise AssertionError("this service reads nothing")


@pytest.fixture(scope="module")
def extremes() -> Iterator[EmulatorClient]:
    """An emulator whose model was learned from images of the smallest and the greatest sides."""
    good, bad = (
        [Image.new("RGB", (64, 64), (level, level, level)) for level in levels] for levels in ((9, 12), (150, 200))
    )
    model = PixelModel.learn({"good": good, "deep dent": bad}, {(64, 64), (4096, 4096), (64, 4096)})
    settings = Settings(start_seconds=0, stop_seconds=0, latency_ms=0)
    with EmulatorServer(Emulator(model, NoObjects(), settings=settings)) as client:
        client.force_status("HOSTED", LOOKOUT_MODEL_ARN)
        yield client


@pytest.mark.parametrize("size", [(64, 64), (4096, 4096), (64, 4096)])
def test_shortest_and_longest_sides(extremes: EmulatorClient, size: tuple[int, int]) -> None:
    status, content, _ = raw(extremes, "POST", f"{BASE}/detect", encoded(*size), Content_Type="image/png")
    assert status == 200, content
    mask = base64.b64decode(content["DetectAnomalyResult"]["AnomalyMask"])
    assert len(mask) <= 5 * 1024 * 1024
    with Image.open(io.BytesIO(mask)) as picture:
        assert picture.size == size


def test_names_of_anomalies_are_letters_and_digits(extremes: EmulatorClient) -> None:
    content = io.BytesIO()
    picture = Image.new("RGB", (64, 64), (10, 10, 10))
    picture.paste((220, 20, 20), (20, 20, 44, 44))
    picture.save(content, "PNG")
    _, answer, _ = raw(extremes, "POST", f"{BASE}/detect", content.getvalue(), Content_Type="image/png")
    assert [anomaly["Name"] for anomaly in answer["DetectAnomalyResult"]["Anomalies"]] == ["background", "deepdent"]


@pytest.mark.parametrize("units", [1, 2])
def test_throughput_grows_with_inference_units(emulator: EmulatorClient, lookout: Any, units: int) -> None:
    lookout.start_model(**MODEL, MinInferenceUnits=units)
    emulator.set(transactions_per_second_per_unit=2)
    codes = []
    for _ in range(12):
        response = error_of(lambda: detect(lookout, b"x", "image/png"))
        codes.append(response["Error"]["Code"])
        if codes[-1] == "ThrottlingException":
            assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
            assert response["RetryAfterSeconds"] >= 1
    throttled = codes.count("ThrottlingException")
    state = emulator.model(LOOKOUT_MODEL_ARN)
    assert codes[: 2 * units] == ["ValidationException"] * 2 * units
    assert throttled > 0
    assert (state["detect_calls"], state["throttled_calls"]) == (12 - throttled, throttled)
    assert emulator.model(PROJECT_VERSION_ARN)["detect_calls"] == 0


def test_services_do_not_meet(emulator: EmulatorClient, rekognition: Any, lookout: Any) -> None:
    assert set(emulator.state()["models"]) >= {PROJECT_VERSION_ARN, LOOKOUT_MODEL_ARN}
    lookout.start_model(**MODEL, MinInferenceUnits=1)
    assert emulator.model(PROJECT_VERSION_ARN)["status"] == "TRAINING_COMPLETED"
    emulator.inject("StartModel", "drop")
    rekognition.start_project_version(ProjectVersionArn=PROJECT_VERSION_ARN, MinInferenceUnits=1)
    assert emulator.model(PROJECT_VERSION_ARN)["status"] == "RUNNING"
    with pytest.raises(ClientError, match="ValidationException"):
        rekognition.stop_project_version(ProjectVersionArn=LOOKOUT_MODEL_ARN)
    assert emulator.model(LOOKOUT_MODEL_ARN)["status"] == "HOSTED"


def test_connection_lost_and_answer_late(emulator: EmulatorClient, lookout: Any) -> None:
    describing = caller(lookout, "DescribeModel")
    emulator.inject("DescribeModel", "drop")
    with pytest.raises(HTTPClientError):
        describing()
    emulator.inject("StartModel", "drop_answer")
    with pytest.raises(HTTPClientError):
        caller(lookout, "StartModel")()
    assert emulator.model(LOOKOUT_MODEL_ARN)["starts"] == 1
    emulator.force_status("TRAINED", LOOKOUT_MODEL_ARN)
    emulator.inject("DescribeModel", "slow:20")
    assert describing()["ModelDescription"]["Status"] == "TRAINED"
    assert emulator.state()["faults"]["planned"] == []


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"operation": "DeleteModel", "error": "drop"}, "DetectAnomalies"),
        ({"operation": "StopModel", "error": "ServiceQuotaExceededException"}, "ConflictException"),
        ({"operation": "StopModel", "error": "HOSTING_FAILED"}, "drop"),
        ({"operation": "StartModel", "error": "FAILED"}, "HOSTING_FAILED"),
    ],
)
def test_faults_that_cannot_be(emulator: EmulatorClient, fault: dict[str, Any], named: str) -> None:
    with pytest.raises(EmulatorRequestError, match=f"refused with 400.*{named}"):
        emulator.inject(**fault)


def test_statuses_are_those_of_the_model_s_own_service(emulator: EmulatorClient) -> None:
    with pytest.raises(EmulatorRequestError, match=r"refused with 400.*HOSTED"):
        emulator.force_status("RUNNING", LOOKOUT_MODEL_ARN)
    with pytest.raises(EmulatorRequestError, match=r"refused with 400.*RUNNING"):
        emulator.force_status("HOSTED")


def test_failure_of_the_emulator_is_the_service_s(
    emulator: EmulatorClient, lookout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.force_status("HOSTED", LOOKOUT_MODEL_ARN)
    monkeypatch.setattr(PixelModel, "analyse", lambda *_: 1 / 0)
    with pytest.raises(lookout.exceptions.InternalServerException, match="ZeroDivisionError"):
        caller(lookout, "DetectAnomalies")()
