"""The collector: a job's answers become files, whatever happens on the way."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from batch_vision.backends.video_contract import Page
from batch_vision.core import errors
from batch_vision.core.videos import JobLook, JobStatus, Record, State, VideoMetadata
from batch_vision.videos import collecting
from batch_vision.videos.collecting import Collected, collect
from tests.unit.fake_s3 import FakeS3

METADATA = VideoMetadata(60.0, 25.0, 320, 240, "h264", "QuickTime / MOV")
FOLDER = "videos/jobs/" + "r" * 40 + "/"
NEVER = float("inf")
NAMES = ["dog", "cat", "=evil()", "a\u2028b --> c", "部品"]


def record(analysis: str = "labels", **changes: Any) -> Record:
    told: dict[str, Any] = {
        "record_id": "r" * 40,
        "bucket": "films",
        "key": "a.mp4",
        "upload": "v1",
        "uploaded_at": datetime(2026, 11, 20, tzinfo=UTC),
        "analysis": analysis,
        "generation": 1,
        "request": {"Video": {"S3Object": {"Bucket": "films", "Name": "a.mp4"}}},
        "minutes": 1,
        "video": VideoMetadata(duration_seconds=59.0),
        "due_at": datetime(2026, 11, 20, tzinfo=UTC),
        "state": State.SUCCEEDED,
        "job_id": "job",
    }
    return Record(**told | changes)


def detections(number: int) -> list[dict[str, Any]]:
    chance = random.Random(number)
    return [
        {
            "Timestamp": 500 * (at // 5),
            "Label": {"Name": NAMES[at % 5], "Confidence": round(chance.uniform(50, 100), 4), "Parents": []},
        }
        for at in range(number)
    ]


@dataclass
class Service:
    """A job whose answers are there; `faults` are raised once, before the page of that number."""

    detections: list[dict[str, Any]] = field(default_factory=lambda: detections(100))
    page_size: int = 10
    faults: dict[int, list[Exception]] = field(default_factory=dict)
    status: JobStatus = JobStatus.SUCCEEDED
    asked: list[int] = field(default_factory=list)

    def start(self, *_: Any) -> str:
        raise AssertionError("the collector starts nothing")

    def look(self, *_: Any) -> JobLook:
        raise AssertionError("each page tells the state of the job")

    def page(self, analysis: str, job_id: str, token: str | None) -> Page:
        assert job_id == "job"
        number = int(token or 0)
        if waiting := self.faults.get(number):
            raise waiting.pop(0)
        self.asked.append(number)
        begin = number * self.page_size
        is_last = begin + self.page_size >= len(self.detections)
        return Page(
            JobLook(self.status, "so", METADATA),
            self.detections[begin : begin + self.page_size],
            None if is_last else str(number + 1),
            METADATA,
            "3.0",
        )


class Clock:
    """A time that passes by one with each look at it, and by the waits."""

    def __init__(self) -> None:
        self.now, self.waits = 0.0, []

    def __call__(self) -> float:
        self.now += 1
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def s3() -> FakeS3:
    service = FakeS3()
    service.smallest_part_bytes = 100
    return service


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part for each page, and none that S3 does not take."""
    monkeypatch.setattr(collecting, "PART_BYTES", 0)
    monkeypatch.setattr(collecting, "SMALLEST_PART_BYTES", 150)


def run(s3: Any, service: Service, deadline: float = NEVER, of: Record | None = None) -> Collected | None:
    clock = Clock()
    return collect(of or record(), service, s3, "final", deadline, clock=clock, sleep=clock.sleep)


def read(s3: FakeS3, name: str) -> bytes:
    return s3.get_object("final", FOLDER + name)["Body"].read()


def lines(s3: FakeS3, analysis: str = "labels") -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(read(s3, f"{analysis}.jsonl.gz")).splitlines()]


def names(s3: FakeS3) -> list[str]:
    return [key.removeprefix(FOLDER) for key in s3.keys("final")]


def parts(s3: FakeS3) -> int:
    return sum(operation == "UploadPart" for operation, _, _ in s3.requests)


FILES = ["labels.csv", "labels.json", "labels.jsonl.gz", "labels.vtt"]


def test_a_job_becomes_four_files(s3: FakeS3) -> None:
    service = Service()
    collected = run(s3, service)
    assert collected == Collected(
        {kind: f"{FOLDER}labels.{suffix}" for kind, suffix in
         {"detections": "jsonl.gz", "segments": "json", "vtt": "vtt", "csv": "csv"}.items()},
        detections=100, segments=5, is_truncated=False, metadata=METADATA, model_version="3.0",
    )  # fmt: skip
    assert names(s3) == FILES
    assert lines(s3) == service.detections
    document = json.loads(read(s3, "labels.json"))
    assert [one["detections"] for one in document.pop("segments")] == [20] * 5
    assert document == {
        "schema_version": 1,
        "analysis": "labels",
        "duration_seconds": 60.0,
        "frame_rate": 25.0,
        "model_version": "3.0",
        "job_id": "job",
        "attempt": 1,
        "detections": 100,
        "truncated": False,
    }
    assert read(s3, "labels.vtt").startswith(b"WEBVTT\n\n00:00:00.000 --> 00:00:09.500\n")
    assert read(s3, "labels.csv").count(b"\n") == 6
    assert parts(s3) == 0


@pytest.mark.usefixtures("small_parts")
def test_s3_takes_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 100)
    with mock_aws():
        s3 = boto3.client("s3", "us-east-1")
        s3.create_bucket(Bucket="final")
        service = Service(detections(30))
        assert run(s3, service, deadline=3) is None
        assert run(s3, service)
        keys = [entry["Key"].removeprefix(FOLDER) for entry in s3.list_objects_v2(Bucket="final")["Contents"]]
        stored = s3.get_object(Bucket="final", Key=f"{FOLDER}labels.jsonl.gz")
        assert gzip.decompress(stored["Body"].read()).count(b"\n") == 30
    assert keys == FILES
    assert (stored["ETag"][-3:], stored["ContentType"]) == ('-3"', "application/gzip")


def test_a_repeat_writes_the_same_bytes_under_the_same_names(s3: FakeS3) -> None:
    run(s3, Service())
    before = {name: read(s3, name) for name in FILES}
    run(s3, Service())
    assert {name: read(s3, name) for name in names(s3)} == before


def test_a_job_without_a_detection_has_its_files_too(s3: FakeS3) -> None:
    collected = run(s3, Service(detections=[]))
    assert collected
    assert (collected.detections, collected.segments) == (0, 0)
    assert lines(s3) == []
    assert names(s3) == FILES


def test_a_page_may_be_empty_and_not_the_last(s3: FakeS3) -> None:
    service = Service()
    pages = service.page

    def page(analysis: str, job_id: str, token: str | None) -> Page:
        if token is None:
            return Page(JobLook(JobStatus.SUCCEEDED), [], "0")
        return pages(analysis, job_id, token)

    service.page = page  # type: ignore[method-assign]
    assert run(s3, service)
    assert lines(s3) == service.detections


@pytest.mark.usefixtures("small_parts")
def test_peer_failing_the_last_page_is_stored_twice(s3: FakeS3) -> None:
    """Large answers go up in parts."""
    service = Service(detections=detections(95))
    assert run(s3, service)
    assert parts(s3) == 10
    assert lines(s3) == service.detections
    assert names(s3) == FILES
    assert not s3.uploads


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("seconds", [1, 2, 3, 4, 5, 9, 10])
def test_peer_failing_a_long_video_never_gets_to_its_last_page(s3: FakeS3, seconds: int) -> None:
    """It goes on where the time was over."""
    service = Service()
    for _ in range(20):
        if collected := run(s3, service, deadline=seconds + 1):
            break
    assert collected
    assert service.asked == list(range(10))
    assert lines(s3) == service.detections
    document = json.loads(read(s3, "labels.json"))
    assert run(s3, Service()) == collected
    assert json.loads(read(s3, "labels.json")) == document
    assert names(s3) == FILES
    assert not s3.uploads


def test_what_is_no_part_yet_is_noted_too(s3: FakeS3) -> None:
    """A page may take so long that none of the invocations has the pages for a part."""
    service = Service()
    assert run(s3, service, deadline=4) is None
    assert names(s3) == ["progress.json"]
    assert not s3.uploads
    assert run(s3, service)
    assert service.asked == list(range(10))
    assert lines(s3) == service.detections


def test_no_time_at_all_notes_nothing(s3: FakeS3) -> None:
    assert run(s3, Service(), deadline=0) is None
    assert names(s3) == []


@pytest.mark.fault("Videos: page tokens and results that expire")
@pytest.mark.usefixtures("small_parts")
def test_a_page_token_that_is_too_old_begins_at_the_first_page(s3: FakeS3) -> None:
    service = Service()
    assert run(s3, service, deadline=5) is None
    assert s3.uploads
    service.faults = {4: [errors.PageTokenError("so")]}
    assert run(s3, service)
    assert service.asked == [*range(4), *range(10)]
    assert lines(s3) == service.detections
    assert names(s3) == FILES
    assert not s3.uploads


def test_page_tokens_that_are_never_good_end_it(s3: FakeS3) -> None:
    service = Service(faults={4: [errors.PageTokenError("so")] * 2})
    with pytest.raises(errors.PageTokenError):
        run(s3, service)
    assert service.asked == [*range(4), *range(4)]


def test_a_page_that_names_itself_ends_it(s3: FakeS3) -> None:
    service = Service()
    service.page = lambda *_: Page(JobLook(JobStatus.SUCCEEDED), [], "1")  # type: ignore[method-assign]
    with pytest.raises(errors.PageTokenError, match="itself"):
        run(s3, service)


@pytest.mark.fault("Videos: page tokens and results that expire")
@pytest.mark.usefixtures("small_parts")
def test_answers_that_are_gone_after_seven_days_leave_nothing(s3: FakeS3) -> None:
    service = Service()
    assert run(s3, service, deadline=5) is None
    service.faults = {4: [errors.JobNotFoundError("gone")]}
    with pytest.raises(errors.JobNotFoundError):
        run(s3, service)
    assert names(s3) == []
    assert not s3.uploads


def test_a_rate_is_waited_for_as_long_as_there_is_time(s3: FakeS3) -> None:
    service = Service(faults={3: [errors.RateError("slow")] * 3, 5: [errors.ServiceUnavailableError("slow")]})
    clock = Clock()
    assert collect(record(), service, s3, "final", NEVER, clock=clock, sleep=clock.sleep)
    assert clock.waits == [0.5, 1.0, 2.0, 0.5]
    service = Service(faults={3: [errors.RateError("slow")] * 99})
    clock = Clock()
    assert collect(record(), service, s3, "final", 60, clock=clock, sleep=clock.sleep) is None
    assert clock.now < 62
    service.faults = {}
    assert run(s3, service)
    assert service.asked == list(range(10))


@pytest.mark.parametrize("status", [JobStatus.IN_PROGRESS, JobStatus.FAILED])
def test_a_job_that_has_not_succeeded_after_all_writes_no_result(s3: FakeS3, status: JobStatus) -> None:
    with pytest.raises(errors.JobFailedError, match=status):
        run(s3, Service(status=status))
    assert names(s3) == []


def test_the_progress_of_another_attempt_does_not_count(s3: FakeS3) -> None:
    s3.upload("final", f"{FOLDER}progress.json", b'{"job_id": "other"}')
    assert run(s3, Service())
    assert len(lines(s3)) == 100


@pytest.mark.parametrize("content", [b"", b"{}", b'{"job_id": "job"}', b"[]", b"\xff"])
def test_a_progress_that_cannot_be_read_does_not_count(s3: FakeS3, content: bytes) -> None:
    s3.upload("final", f"{FOLDER}progress.json", content)
    assert run(s3, Service())
    assert len(lines(s3)) == 100
    assert names(s3) == FILES


class Dying:
    """S3, for a function that dies before the call of a number, or right after it."""

    def __init__(self, s3: Any, calls_left: int, *, is_done: bool) -> None:
        self._s3, self.calls_left, self._is_done = s3, calls_left, is_done

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            self.calls_left -= 1
            if self.calls_left < 0 and not self._is_done:
                raise KeyboardInterrupt
            answer = getattr(self._s3, name)(**request)
            if self.calls_left < 0:
                raise KeyboardInterrupt
            return answer

        return call


@pytest.mark.fault("Videos: functions that die between any two steps")
@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("is_done", [False, True])
def test_it_may_die_between_any_two_steps(s3: FakeS3, is_done: bool) -> None:
    """No line is lost, none comes twice, and only an upload of parts may be left, for the bucket's rule."""
    answers = detections(40)
    calls_left = 0
    while True:
        dying = Dying(s3, calls_left, is_done=is_done)
        try:
            run(dying, Service(detections=answers), deadline=99)
        except KeyboardInterrupt:
            run(s3, Service(detections=answers), deadline=4)
            assert run(s3, Service(detections=answers))
            assert lines(s3) == answers
            assert json.loads(read(s3, "labels.json"))["detections"] == 40
            assert names(s3) == FILES
            s3.objects.clear()
            calls_left += 1
        else:
            break
    assert calls_left >= 14


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("code", ["NoSuchUpload", "InvalidPart"])
def test_an_upload_that_somebody_else_ended_begins_anew(s3: FakeS3, code: str) -> None:
    service = Service()
    assert run(s3, service, deadline=5) is None

    class Stale(Dying):
        def __getattr__(self, name: str) -> Any:
            call = getattr(self._s3, name)

            def refused(**request: Any) -> Any:
                if name in ("upload_part", "complete_multipart_upload") and self.calls_left > 0:
                    self.calls_left -= 1
                    raise ClientError({"Error": {"Code": code, "Message": "gone"}}, name)
                return call(**request)

            return refused

    assert run(Stale(s3, 1, is_done=False), service)
    assert lines(s3) == service.detections
    with pytest.raises(errors.StaleUploadError):
        run(Stale(s3, 2, is_done=False), Service())


def test_what_s3_refuses_is_told_as_everywhere(s3: FakeS3) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "PutObject")  # type: ignore[typeddict-item]

    s3.put_object = refuse  # type: ignore[method-assign,assignment]
    with pytest.raises(errors.ServiceUnavailableError, match="SlowDown"):
        run(s3, Service())


@pytest.mark.fault("Videos: two collectors of one job at once")
@pytest.mark.usefixtures("small_parts")
def test_two_collectors_at_once_leave_the_files_of_one(s3: FakeS3) -> None:
    first, second = Service(), Service()
    assert run(s3, first, deadline=5) is None
    pages = first.page

    def page(analysis: str, job_id: str, token: str | None) -> Page:
        if token == "7" and not second.asked:
            assert run(s3, second)
        return pages(analysis, job_id, token)

    first.page = page  # type: ignore[method-assign]
    assert run(s3, first)
    assert lines(s3) == first.detections
    assert names(s3) == FILES
    assert not s3.uploads


def test_lines_of_text_below_the_least_confidence_make_no_segment(s3: FakeS3) -> None:
    def text(kind: str, confidence: float) -> dict[str, Any]:
        return {"Timestamp": 0, "TextDetection": {"DetectedText": "EXIT", "Type": kind, "Confidence": confidence}}

    service = Service(detections=[text("LINE", 79.0), text("WORD", 99.0), text("LINE", 81.0)])
    asked = {"Filters": {"WordFilter": {"MinConfidence": 80.0}}}
    collected = run(s3, service, of=record("text", request=asked))
    assert collected
    assert (collected.detections, collected.segments) == (3, 1)
    assert len(lines(s3, "text")) == 3
    assert json.loads(read(s3, "text.json"))["segments"][0]["detections"] == 1
