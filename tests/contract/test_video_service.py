"""The contract `VideoService`, held by its backend, against the emulator of its service."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from batch_vision.backends.rekognition_video import ANALYSES, make_service, request_of, sighting_of
from batch_vision.core import errors
from batch_vision.core.video_file import Fault, read_header
from batch_vision.core.videos import JobStatus, Record, State
from batch_vision.videos.collecting import collect
from local.emulator.rekognition import service_model
from local.emulator.video_files import read_details
from local.samples import draw_videos
from tests.contract.world import BUCKET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_s3 import S3Client

    from batch_vision.backends.video_contract import Page, VideoService
    from local.emulator.client import EmulatorClient
    from tests.contract.conftest import Published

KEY = "line 3/été+50%.mp4"
TOKEN = "0123456789abcdef-1"
CHANNEL = {
    "SNSTopicArn": "arn:aws:sns:us-east-1:000000000000:jobs",
    "RoleArn": "arn:aws:iam::000000000000:role/publish",
}
HOUR_SECONDS = 3600
# What each error of the service means; a Start and a Get have some in common.
MEANINGS = {
    "AccessDeniedException": errors.AccessDeniedError,
    "IdempotentParameterMismatchException": errors.RequestMismatchError,
    "InternalServerError": errors.ServiceUnavailableError,
    "InvalidPaginationTokenException": errors.PageTokenError,
    "InvalidParameterException": errors.BadRequestError,
    "InvalidS3ObjectException": errors.VideoObjectError,
    "LimitExceededException": errors.JobLimitError,
    "ProvisionedThroughputExceededException": errors.RateError,
    "ResourceNotFoundException": errors.JobNotFoundError,
    "ThrottlingException": errors.RateError,
    "VideoTooLargeException": errors.VideoTooLargeError,
}
# What is to be seen in the sample video, in seconds: its pictures are looked at twice a second.
SEGMENTS = {
    "labels": {
        ("stain", 0.0, 1.5),
        ("Defect", 0.0, 1.5),
        ("normal", 2.0, 3.5),
        ("crack", 4.0, 5.5),
        ("Defect", 4.0, 7.5),
        ("stain", 6.0, 7.5),
    },
    "moderation": {
        ("stain", 0.0, 1.5),
        ("Defect", 0.0, 1.5),
        ("crack", 4.0, 5.5),
        ("Defect", 4.0, 7.5),
        ("stain", 6.0, 7.5),
    },
    "faces": {("face", 0.0, 1.5)},
    "celebrities": {("Ada Example", 0.0, 1.5)},
    "text": {("Ada Example", 0.0, 1.5), ("LOT 4711", 4.0, 5.5)},
}


class Videos:
    """The service as the deployment makes it, and a bucket with the sample video."""

    def __init__(self, service: VideoService, emulator: EmulatorClient, s3: S3Client) -> None:
        self.service, self.emulator, self.s3 = service, emulator, s3
        self.version: str | None = None

    def put(self, content: bytes, key: str = KEY) -> None:
        self.version = self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)["VersionId"]

    def request(self, analysis: str, key: str = KEY, **settings: Any) -> dict[str, Any]:
        return request_of(analysis, settings, BUCKET, key, self.version, CHANNEL)

    def start(self, analysis: str = "labels", token: str = TOKEN, **settings: Any) -> str:
        """Start a job whose results are computed when this returns, however busy the machine is."""
        job = self.service.start(analysis, self.request(analysis, **settings), token)
        self.emulator.videos()
        return job

    def page(self, analysis: str = "labels", **settings: Any) -> Page:
        return self.service.page(analysis, self.start(analysis, **settings), None)


@pytest.fixture
def videos(emulator: EmulatorClient, s3: S3Client, video: bytes, monkeypatch: pytest.MonkeyPatch) -> Videos:
    monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", emulator.url)
    # botocore's pauses between attempts are not what is tested here.
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    made = Videos(make_service(), emulator, s3)
    made.put(video)
    return made


def declared(operation: str) -> set[str]:
    return {shape.name for shape in service_model().operation_model(operation).error_shapes}


@pytest.mark.parametrize("analysis", ANALYSES)
def test_each_declared_error_is_translated(videos: Videos, analysis: str) -> None:
    calls: Mapping[str, Callable[[], Any]] = {
        "Start": lambda: videos.service.start(analysis, videos.request(analysis), TOKEN),
        "Get": lambda: videos.service.page(analysis, "1", None),
    }
    for verb, call in calls.items():
        operation = f"{verb}{ANALYSES[analysis].operation}"
        for error in declared(operation):
            videos.emulator.inject(operation, error, probability=1)
            with pytest.raises(MEANINGS[error]) as caught:
                call()
            assert type(caught.value) is MEANINGS[error], (operation, error)
            videos.emulator.clear_faults()
    assert videos.emulator.videos()["jobs"] == []


def test_the_life_of_a_job(videos: Videos, published: Published) -> None:
    videos.emulator.set(video_base_seconds=HOUR_SECONDS)
    running = videos.start()
    look = videos.service.look("labels", running)
    assert (look.status, look.metadata) == (JobStatus.IN_PROGRESS, None)
    assert videos.service.page("labels", running, None).detections == []
    videos.emulator.set(video_base_seconds=0)
    job = videos.start(token="other-1")
    look = videos.service.look("labels", job)
    assert (look.status, look.message) == (JobStatus.SUCCEEDED, "")
    told = look.metadata
    assert told is not None
    assert (told.duration_seconds, told.frame_rate, told.width, told.height) == (8.0, 4.0, 240, 180)
    page = videos.service.page("labels", job, None)
    assert (page.look, page.metadata, page.model_version, page.next_token) == (look, told, "3.0", None)
    (message,) = [json.loads(text) for _, text in published.messages]
    assert (message["JobId"], message["JobTag"]) == (job, "other-1")
    (_, told_job) = videos.emulator.videos()["jobs"]
    assert (told_job["token"], told_job["tag"], told_job["version"]) == ("other-1", "other-1", videos.version)


def test_a_start_that_is_repeated_is_the_same_job(videos: Videos) -> None:
    videos.emulator.inject("StartLabelDetection", "drop_answer")
    with pytest.raises(errors.ServiceUnavailableError):
        videos.start()
    job = videos.start()
    assert videos.start() == job
    with pytest.raises(errors.RequestMismatchError):
        videos.start(min_confidence_percent=70)
    (told,) = videos.emulator.videos()["jobs"]
    assert (told["job_id"], told["starts"], told["runs"]) == (job, 3, 1)


@pytest.mark.parametrize("before_token", [True, False])
def test_a_full_account_is_asked_once(videos: Videos, before_token: bool) -> None:
    videos.emulator.set(video_base_seconds=HOUR_SECONDS, video_job_limit=1, video_limit_before_token=before_token)
    job = videos.start("text")
    with pytest.raises(errors.JobLimitError, match="open Jobs"):
        videos.start("faces", token="other-1")
    assert videos.emulator.videos()["refused_starts"] == 1
    if before_token:
        with pytest.raises(errors.JobLimitError):
            videos.start("text")
    else:
        assert videos.start("text") == job


def test_videos_that_cannot_be_taken(videos: Videos) -> None:
    with pytest.raises(errors.VideoObjectError):
        videos.start(key="nothing.mp4")
    videos.emulator.set(video_max_bytes=1000)
    with pytest.raises(errors.VideoTooLargeError):
        videos.start()
    videos.emulator.reset()
    videos.put(draw_videos.refused_video(1))
    look = videos.service.look("labels", videos.start())
    assert (look.status, look.message) == (JobStatus.REJECTED, "Unsupported codec/format.")


def test_settings_reach_the_service(videos: Videos) -> None:
    asked = {"min_confidence_percent": 0, "include": ["crack"]}
    names = {one["Label"]["Name"] for one in videos.page("labels", **asked).detections}
    assert names == {"crack"}
    assert len(videos.page("labels", token="2-1", **asked).detections) == 16
    asked = {"include_categories": ["Damage Detection"], "exclude": ["Defect"]}
    names = {one["Label"]["Name"] for one in videos.page("labels", token="3-1", **asked).detections}
    assert names == {"crack", "stain"}
    assert videos.page("moderation", token="4-1", min_confidence_percent=100).detections == []
    assert videos.page("text", token="5-1", min_confidence_percent=99.9).detections == []
    assert "Smile" in videos.page("faces", token="6-1", attributes="ALL").detections[0]["Face"]
    assert "Smile" not in videos.page("faces", token="7-1", attributes="DEFAULT").detections[0]["Face"]


def test_pages_until_the_last(videos: Videos) -> None:
    videos.emulator.set(video_samples_per_second=100)
    job = videos.start()
    first = videos.service.page("labels", job, None)
    second = videos.service.page("labels", job, first.next_token)
    assert (len(first.detections), len(second.detections), second.next_token) == (1000, 400, None)
    assert first.detections[-1]["Timestamp"] <= second.detections[0]["Timestamp"]
    with pytest.raises(errors.JobNotFoundError):
        videos.service.look("faces", job)
    videos.emulator.set(video_page_token_seconds=0)
    with pytest.raises(errors.PageTokenError):
        videos.service.page("labels", job, first.next_token)
    videos.emulator.set(video_results_seconds=0)
    for call in (lambda: videos.service.look("labels", job), lambda: videos.service.page("labels", job, None)):
        with pytest.raises(errors.JobNotFoundError):
            call()


@pytest.mark.parametrize("analysis", ANALYSES)
def test_a_job_is_collected(videos: Videos, analysis: str) -> None:
    job = videos.start(analysis)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    record = Record(
        record_id="r" * 40,
        bucket=BUCKET,
        key=KEY,
        upload="v1",
        uploaded_at=now,
        analysis=analysis,
        generation=1,
        request=videos.request(analysis),
        minutes=1,
        video=None,
        due_at=now,
        state=State.SUCCEEDED,
        job_id=job,
    )
    collected = collect(record, videos.service, videos.s3, BUCKET, float("inf"))
    assert collected is not None
    assert collected.detections == len(videos.service.page(analysis, job, None).detections) > 0
    document = json.load(videos.s3.get_object(Bucket=BUCKET, Key=collected.files["segments"])["Body"])
    spans = {(one["name"], one["start_seconds"], one["end_seconds"]) for one in document["segments"]}
    assert spans == SEGMENTS[analysis]
    detections = videos.service.page(analysis, job, None).detections
    kinds = {found.kind for one in detections if (found := sighting_of(analysis, one))}
    assert {one["kind"] for one in document["segments"]} == kinds == {ANALYSES[analysis].kind}


def test_what_a_header_tells_is_what_ffmpeg_reads(video: bytes) -> None:
    def told(content: bytes) -> Any:
        return read_header(lambda at, size: content[at : at + size], len(content))

    quicktime = draw_videos.draw_video([draw_videos.Shot(draw_videos.CRACK, 1.5)], container="mov")
    for content, container in ((video, "mp4"), (quicktime, "mov"), (draw_videos.refused_video(1), "mp4")):
        file, details = told(content), read_details(io.BytesIO(content))
        assert (file.container, file.duration_seconds) == (container, details.duration_seconds)
        assert (file.width, file.height) == (details.metadata["FrameWidth"], details.metadata["FrameHeight"])
        assert (file.codec in ("avc1", "avc3")) is details.is_supported
    assert told(draw_videos.draw_video([draw_videos.Shot(draw_videos.CRACK, 1)], container="avi")).container == "avi"
    assert told(draw_videos.truncated(video)).fault is Fault.CUT_OFF
    assert told(draw_videos.TEXT).fault is Fault.NO_VIDEO
    assert told(b"").fault is Fault.EMPTY
