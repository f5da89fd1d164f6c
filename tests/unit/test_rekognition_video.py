"""The video jobs of Rekognition against botocore's own service model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from botocore.validate import ParamValidator

from batch_vision.backends import rekognition_video
from batch_vision.backends.rekognition_video import ANALYSES, RekognitionVideos, request_of, sighting_of
from batch_vision.backends.video_contract import Page
from batch_vision.core import errors
from batch_vision.core.videos import JobLook, JobStatus, VideoMetadata
from tests.unit.test_rekognition_backend import make_client

CHANNEL = {
    "SNSTopicArn": "arn:aws:sns:us-east-1:123456789012:batch-vision-video-jobs",
    "RoleArn": "arn:aws:iam::123456789012:role/batch-vision-video-publisher",
}
TOKEN = "a" * 40 + "-1"
SETTINGS: dict[str, dict[str, Any]] = {
    "labels": {"min_confidence_percent": 0, "include": ["Dog"], "exclude": [], "exclude_categories": ["Colors"]},
    "moderation": {"min_confidence_percent": 60},
    "text": {"min_confidence_percent": 80.5},
    "faces": {"attributes": "ALL"},
    "celebrities": {},
}
METADATA = {
    "Codec": "h264",
    "DurationMillis": 4004,
    "Format": "QuickTime / MOV",
    "FrameRate": 29.97,
    "FrameHeight": 240,
    "FrameWidth": 320,
    "ColorRange": "LIMITED",
}


def videos() -> tuple[RekognitionVideos, Stubber]:
    client = make_client()
    return RekognitionVideos(client, client), Stubber(client)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_a_request_is_what_the_service_takes(analysis: str) -> None:
    request = request_of(analysis, SETTINGS[analysis], "films", "a b/é.mp4", "v1", CHANNEL)
    operation = make_client().meta.service_model.operation_model(f"Start{ANALYSES[analysis].operation}")
    told = {**request, "ClientRequestToken": TOKEN, "JobTag": TOKEN}
    assert not ParamValidator().validate(told, operation.input_shape).has_errors()
    assert json.loads(json.dumps(request)) == request


def test_the_settings_of_a_request() -> None:
    asked = {name: request_of(name, settings, "films", "k", None, None) for name, settings in SETTINGS.items()}
    video = {"Video": {"S3Object": {"Bucket": "films", "Name": "k"}}}
    assert asked == {
        "labels": video
        | {
            "MinConfidence": 0,
            "Settings": {
                "GeneralLabels": {"LabelInclusionFilters": ["Dog"], "LabelCategoryExclusionFilters": ["Colors"]}
            },
        },
        "moderation": video | {"MinConfidence": 60},
        "text": video | {"Filters": {"WordFilter": {"MinConfidence": 80.5}}},
        "faces": video | {"FaceAttributes": "ALL"},
        "celebrities": video,
    }
    assert all(request_of(name, {}, "films", "k", "null", None) == video for name in ANALYSES)


@pytest.mark.parametrize(
    ("analysis", "settings", "told"),
    [("shots", {}, "'shots'"), ("faces", {"min_confidence_percent": 5}, "'min_confidence_percent' = 5")],
)
def test_a_wrong_setting_is_named(analysis: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.SettingsError, match=told):
        request_of(analysis, settings, "films", "k", None, CHANNEL)


@pytest.mark.parametrize("analysis", ANALYSES)
def test_a_job_is_started_looked_at_and_read(analysis: str) -> None:
    service, stub = videos()
    known = ANALYSES[analysis]
    request = request_of(analysis, SETTINGS[analysis], "films", "k", "v", CHANNEL)
    start, get = (f"{verb}_{rekognition_video.xform_name(known.operation)}" for verb in ("start", "get"))
    stub.add_response(start, {"JobId": "job"}, {**request, "ClientRequestToken": TOKEN, "JobTag": TOKEN})
    stub.add_response(get, {"JobStatus": "IN_PROGRESS"}, {"JobId": "job", "MaxResults": 1})
    page = {"JobStatus": "SUCCEEDED", "VideoMetadata": METADATA, known.detections: [{"Timestamp": 500}]}
    version = {known.model_version: "3.0"} if known.model_version else {}
    asked = {"JobId": "job", "MaxResults": 1000, **known.view}
    stub.add_response(get, page | version | {"NextToken": "next"}, asked)
    stub.add_response(get, {"JobStatus": "SUCCEEDED"}, asked | {"NextToken": "next"})
    with stub:
        assert service.start(analysis, request, TOKEN) == "job"
        assert service.look(analysis, "job") == JobLook(JobStatus.IN_PROGRESS)
        metadata = VideoMetadata(4.004, 29.97, 320, 240, "h264", "QuickTime / MOV")
        assert service.page(analysis, "job", None) == Page(
            JobLook(JobStatus.SUCCEEDED, "", metadata), [{"Timestamp": 500}], "next", metadata, "3.0" if version else ""
        )
        assert service.page(analysis, "job", "next") == Page(JobLook(JobStatus.SUCCEEDED))
    stub.assert_no_pending_responses()


def test_every_status_of_the_service_is_known_and_another_one_is_no_end() -> None:
    known = make_client().meta.service_model.shape_for("VideoJobStatus").enum
    assert set(rekognition_video._STATUSES) == set(known)
    assert rekognition_video._look({"JobStatus": "PAUSED"}) == JobLook(JobStatus.IN_PROGRESS)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Unsupported codec/format.", JobStatus.REJECTED),
        ("The Format is not supported", JobStatus.REJECTED),
        ("Internal error: no more information", JobStatus.FAILED),
        ("", JobStatus.FAILED),
    ],
)
def test_a_failure_that_names_the_codec_or_the_format_is_the_file_s_fault(message: str, status: JobStatus) -> None:
    """Each other failure is tried once more, and paid for once more."""
    assert rekognition_video._look({"JobStatus": "FAILED", "StatusMessage": message}) == JobLook(status, message)


def test_every_error_of_the_service_is_known() -> None:
    model = make_client().meta.service_model
    for analysis in ANALYSES.values():
        for verb, known in (("Start", rekognition_video._START_ERRORS), ("Get", rekognition_video._GET_ERRORS)):
            named = {shape.name for shape in model.operation_model(f"{verb}{analysis.operation}").error_shapes}
            assert named == set(known), analysis.operation


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [(code, 400, error) for code, error in rekognition_video._START_ERRORS.items()]
    + [("ThrottlingException", 500, errors.RateError), ("New", 503, errors.ServiceUnavailableError)]
    + [("NewException", 400, errors.BadRequestError)],
)
def test_an_error_of_a_start(code: str, status: int, error: type[Exception]) -> None:
    service, stub = videos()
    stub.add_client_error("start_label_detection", code, "so", http_status_code=status)
    with stub, pytest.raises(error, match="so"):
        service.start("labels", request_of("labels", {}, "films", "k", None, None), TOKEN)


@pytest.mark.parametrize(("code", "error"), rekognition_video._GET_ERRORS.items())
def test_an_error_of_a_get(code: str, error: type[Exception]) -> None:
    service, stub = videos()
    for _ in range(2):
        stub.add_client_error("get_face_detection", code, "so", http_status_code=400)
    with stub:
        with pytest.raises(error, match="so"):
            service.look("faces", "job")
        with pytest.raises(error, match="so"):
            service.page("faces", "job", "token")


def test_a_request_that_botocore_refuses_is_no_matter_of_time() -> None:
    """Taken for a lost answer it would have its slot for days."""
    service, _ = videos()
    with pytest.raises(errors.BadRequestError, match="Video"):
        service.start("labels", {}, TOKEN)


def test_a_lost_answer_is_a_matter_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    service, _ = videos()

    def fail(*_: Any, **__: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://x")

    monkeypatch.setattr(service._starting, "start_text_detection", fail)
    with pytest.raises(errors.ServiceUnavailableError):
        service.start("text", request_of("text", {}, "films", "k", None, None), TOKEN)


class Body:
    """What the network gives back."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self, **_: Any) -> list[bytes]:
        return [self.content]


@pytest.mark.fault("Videos: a full account")
def test_peer_failing_a_full_account_is_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore's standard mode takes LimitExceededException for a rate and repeats the start, here five times."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    service = rekognition_video.make_service()
    asked = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        asked.append(json.loads(request.body))
        body = {"__type": "LimitExceededException", "Message": "22 open Jobs for User 1 Maximum limit: 20"}
        return AWSResponse(request.url, 400, {}, Body(json.dumps(body).encode()))

    service._starting.meta.events.register("before-send.rekognition", answer)
    with pytest.raises(errors.JobLimitError, match="Maximum limit: 20"):
        service.start("labels", request_of("labels", {}, "films", "k", None, None), TOKEN)
    assert len(asked) == 1
    assert service._getting.meta.config.retries["total_max_attempts"] > 1


BOX = {"Left": 0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4}
FAR = {"Left": 0.9, "Top": 0.9, "Width": 0.1, "Height": 0.1}
OURS = {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4}


@pytest.mark.parametrize(
    ("analysis", "content", "seen"),
    [
        (
            "labels",
            {
                "Name": "Dog",
                "Parents": [{"Name": "Pet"}, {"Name": "Animal"}],
                "Instances": [{"Confidence": 50.0, "BoundingBox": FAR}, {"Confidence": 70.0, "BoundingBox": BOX}],
            },
            ("Dog", "label", ("Pet", "Animal"), OURS),
        ),
        ("labels", {"Name": "Dog", "Parents": [], "Instances": []}, ("Dog", "label", (), None)),
        ("moderation", {"Name": "Smoking", "ParentName": "Tobacco"}, ("Smoking", "moderation", ("Tobacco",), None)),
        ("moderation", {"Name": "Tobacco", "ParentName": ""}, ("Tobacco", "moderation", (), None)),
        ("faces", {"BoundingBox": BOX}, ("face", "face", (), OURS)),
        ("faces", {"BoundingBox": {"Left": 0.1}}, ("face", "face", (), None)),
        ("celebrities", {"Name": "A", "Face": {"BoundingBox": BOX}}, ("A", "celebrity", (), OURS)),
        ("celebrities", {"Name": "A", "BoundingBox": BOX, "Face": {"BoundingBox": FAR}}, ("A", "celebrity", (), OURS)),
        ("celebrities", {"Id": "x"}, None),
        (
            "text",
            {"DetectedText": "EXIT A", "Type": "LINE", "Geometry": {"BoundingBox": BOX}},
            ("EXIT A", "text", (), OURS),
        ),
        ("text", {"DetectedText": "EXIT", "Type": "WORD", "Geometry": {"BoundingBox": BOX}}, None),
    ],
)
def test_a_detection_in_the_common_form(analysis: str, content: dict[str, Any], seen: tuple[Any, ...] | None) -> None:
    known = ANALYSES[analysis]
    detection = {"Timestamp": 1500, known.detection: content | {"Confidence": 90.0}}
    shape = make_client().meta.service_model.operation_model(f"Get{known.operation}").output_shape
    assert not ParamValidator().validate({known.detections: [detection]}, shape).has_errors()
    found = sighting_of(analysis, detection)
    assert (found and (found.name, found.kind, found.parents, found.box)) == seen
    assert found is None or (found.at_ms, found.confidence) == (1500, 90.0)
    assert sighting_of(analysis, detection, least_percent=90.1) is None


def test_the_least_confidence_of_a_frozen_request() -> None:
    found = {
        name: rekognition_video.least_percent_of(request_of(name, settings, "films", "k", None, None))
        for name, settings in SETTINGS.items()
    }
    assert found == {"labels": 0, "moderation": 60, "text": 80.5, "faces": 0, "celebrities": 0}
