"""Videos from the upload to the result, on an S3 in memory: registering, dispatching, finishing, moving.

Where a test is named after what other systems lose videos by, it is one of those that were read for this one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

import batch_vision.videos
from batch_vision.aws import clients
from batch_vision.aws.results import Results
from batch_vision.backends.video_contract import Page
from batch_vision.core import errors
from batch_vision.core.events import SourceImage, message_about, message_for
from batch_vision.core.settings import read_settings
from batch_vision.core.video_jobs import COLLECTING_LEASE, STARTING_LEASE, next_step
from batch_vision.core.video_reservations import Limits, Refusal, Reservations, release, reserve
from batch_vision.core.videos import (
    ACTIVE,
    JOBS,
    WAITING,
    JobLook,
    JobStatus,
    Plan,
    Record,
    State,
    VideoMetadata,
    active_marker,
    digest,
    ended_marker,
    plan_key,
    record_key,
    video_result_key,
)
from batch_vision.videos import dispatching, finishing
from batch_vision.videos.collecting import collect
from batch_vision.videos.dispatching import Dispatcher, hinted_records
from batch_vision.videos.finishing import Finisher
from batch_vision.videos.moving import Mover
from batch_vision.videos.registering import Batch, Registering
from batch_vision.videos.settings import RegisterVideosSettings
from batch_vision.videos.source import VideosBucket
from batch_vision.videos.store import VideoStore
from lambdas.collect_and_move_video.handler import handler as move_handler
from lambdas.collect_video.handler import handler as stay_handler
from lambdas.dispatch_videos.handler import handler as dispatch_handler
from lambdas.register_videos.handler import handler as register_handler
from tests.unit.fake_s3 import BEGIN, FakeS3, refused
from tests.video_files import movie, mp4, track

SCHEMA = json.loads((Path(batch_vision.videos.__file__).parent / "result.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
SUCCEEDED = JobLook(JobStatus.SUCCEEDED, "", VideoMetadata(4.0, 10.0, 320, 240, "h264", "QuickTime / MOV"))
ENVIRONMENT = {
    "VIDEOS_BUCKET_NAME": "videos",
    "VIDEO_PREFIX": "",
    "VIDEO_SUFFIXES": '[".mp4", ".mov"]',
    "FINAL_BUCKET_NAME": "final",
    "VIDEO_ANALYSES": '{"labels": {"min_confidence_percent": 60}}',
    "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:eu-west-1:123456789012:jobs",
    "NOTIFICATION_ROLE_ARN": "arn:aws:iam::123456789012:role/jobs",
    "MAX_MINUTES_PER_DAY": "600",
    "HINT_QUEUE_URL": "hints",
    "QUEUE_URL": "queue",
    "MAX_RECEIVE_COUNT": "5",
}


class Account:
    """The service: jobs that end when they are told to."""

    def __init__(self, limit: int = 20) -> None:
        self.limit = limit
        self.jobs: dict[str, tuple[str, Mapping[str, Any], str]] = {}
        self.looks: dict[str, JobLook] = {}
        self.errors: list[Exception] = []
        self.starts: list[str] = []

    def start(self, analysis: str, request: Mapping[str, Any], token: str) -> str:
        self.starts.append(token)
        if self.errors:
            raise self.errors.pop(0)
        for job_id, (_, known, of) in self.jobs.items():
            if of == token:
                assert known == request
                return job_id
        if len(self.jobs) - len(self.looks) >= self.limit:
            raise errors.JobLimitError("open jobs")
        job_id = f"job-{len(self.jobs)}"
        self.jobs[job_id] = (analysis, request, token)
        return job_id

    def look(self, _: str, job_id: str) -> JobLook:
        return self.looks.get(job_id, JobLook(JobStatus.IN_PROGRESS))

    def page(self, analysis: str, job_id: str, _: str | None) -> Page:
        seen = [
            {"Timestamp": at, "Label": {"Name": "scratch", "Confidence": 90.0 + at / 1000, "Instances": []}}
            for at in (0, 500, 1000)
        ]
        return Page(self.looks[job_id], seen if analysis == "labels" else [], None, SUCCEEDED.metadata, "3.0")

    def end(self, look: JobLook = SUCCEEDED) -> None:
        """End all jobs that run."""
        self.looks |= dict.fromkeys(self.jobs.keys() - self.looks.keys(), look)


class World:
    """A bucket of videos with all that works on it."""

    def __init__(self, *, leaves: bool = False, **settings: str) -> None:
        self.s3: Any = FakeS3("final", "videos", seconds_each=0)
        self.account = Account()
        self.leaves = leaves
        self.limits = Limits(20, 600)
        self.settings = read_settings(RegisterVideosSettings, ENVIRONMENT | settings)
        self.store = VideoStore(self.s3, "final")
        self.results = Results(self.s3, "final", video_result_key)
        self.videos = VideosBucket(self.s3, "videos", self.settings.scope)
        self.now = BEGIN
        self.lines: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.invoked: list[str] = []
        self.looked_again: list[str] = []

    def send_message(self, **message: Any) -> None:
        self.sent.append(message)

    def clock(self) -> datetime:
        return self.now

    def upload(self, key: str = "a.mp4", content: bytes | None = None) -> None:
        self.s3.upload("videos", key, mp4() if content is None else content)

    def register(self, *bodies: str, received: int = 1) -> list[str]:
        looking = Registering(
            self.store,
            self.results,
            self.videos,
            self.settings.video_analyses,
            self.settings.channel,
            self.limits.max_minutes_per_day,
            self.lines.extend,
            self.clock,
        )
        records = [
            {"messageId": str(number), "body": body, "attributes": {"ApproximateReceiveCount": str(received)}}
            for number, body in enumerate(bodies or [message_about("videos", "a.mp4")])
        ]
        queues: Any = self
        with ThreadPoolExecutor(1) as pool:
            return Batch(self.settings, looking, queues, float("inf")).take(records, pool)

    def dispatch(self, *hinted: str, later: timedelta = MINUTE) -> Counter[str]:
        self.now += later
        self.s3.let_pass(later.total_seconds())
        dispatcher = Dispatcher(
            self.store,
            lambda name: VideosBucket(self.s3, name),
            self.account,
            self.invoked.append,
            self.limits,
            self.clock,
        )
        return dispatcher.dispatch(frozenset(hinted))

    def collect(self) -> list[str]:
        finisher = Finisher(
            self.store,
            self.results,
            lambda name: VideosBucket(self.s3, name),
            lambda record: collect(record, self.account, self.s3, "final", float("inf")),
            self.lines.extend,
            lambda _, key: self.looked_again.append(key),
            Mover(self.s3, "final") if self.leaves else None,
            self.clock,
        )
        invoked, self.invoked[:] = list(self.invoked), []
        states = []
        for record_id in invoked:
            try:
                states.append(finisher.take(record_id))
            except errors.BatchVisionError as error:
                states.append(type(error).__name__)
        return states

    def finish(self) -> None:
        """End all jobs, until nothing is open."""
        for _ in range(6):
            self.dispatch(later=30 * MINUTE)
            self.account.end()
            self.collect()
        assert self.open() == []

    def open(self) -> list[str]:
        return [key for key in self.s3.keys("final") if key.startswith("videos/open/")]

    def records(self) -> list[Record]:
        keys = [key for key in self.s3.keys("final") if key.startswith(JOBS) and key.endswith("/record.json")]
        return [Record.from_json(json.loads(self.s3.get_object("final", key)["Body"].read())) for key in keys]

    def record(self) -> Record:
        (record,) = self.records()
        return record

    def plan(self, key: str = "a.mp4") -> Plan:
        return self.store.plan("videos", key).content

    def result(self, key: str = "a.mp4") -> dict[str, Any]:
        result, _ = self.results.read(key)
        assert result is not None
        VALIDATOR.validate(result)
        return result


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def waiting(world: World) -> World:
    world.upload()
    assert world.register() == []
    return world


@pytest.fixture
def running(waiting: World) -> World:
    waiting.dispatch()
    assert waiting.record().state is State.RUNNING
    return waiting


# From the upload to the result.


def test_a_video_in_an_existing_bucket_gets_its_result_and_stays(running: World) -> None:
    running.finish()
    result = running.result()
    assert (result["status"], result["video_key"], result["model"]["id"]) == ("processed", None, "labels 3.0")
    assert result["predictions"] == [
        {"name": "scratch", "kind": "label", "confidence": 91.0, "seconds": 1.0, "first_start_seconds": 0.0}
    ]
    assert running.s3.keys("videos") == ["a.mp4"]
    assert all(key in running.s3.keys("final") for key in result["analyses"]["labels"]["files"].values())
    line = running.lines[-1]
    assert (line["media"], line["key"], line["status"]) == ("video", "a.mp4", "processed")
    assert line["result_key"] == "videos/results/a.mp4.json"
    assert running.store.reservations().content.jobs == {}
    assert running.store.reservations().content.minutes == 1


@pytest.mark.parametrize(("content", "place"), [(mp4(), "processed"), (b"no video at all", "rejected")])
def test_a_video_of_the_drop_off_bucket_leaves_it_with_its_result(content: bytes, place: str) -> None:
    world = World(leaves=True)
    world.upload(content=content)
    world.register()
    world.finish()
    assert world.result()["status"] == place
    assert world.result()["video_key"] == f"videos/{place}/a.mp4"
    assert world.s3.keys("videos") == []
    assert world.s3.get_object("final", f"videos/{place}/a.mp4")["Body"].read() == content
    # A late duplicate of its event finds it gone, and deletes nothing.
    world.register(received=2)
    assert world.result()["status"] == place
    assert world.open() == []


@pytest.mark.fault("Videos: a job that fails")
def test_a_failed_video_stays_in_the_drop_off_bucket_and_may_be_retried() -> None:
    world = World(leaves=True)
    world.upload()
    world.register()
    for _ in range(2):
        world.dispatch(later=30 * MINUTE)
        world.account.end(JobLook(JobStatus.FAILED, "Internal error"))
        world.dispatch(later=30 * MINUTE)
    world.collect()
    assert (world.result()["status"], world.s3.keys("videos")) == ("failed", ["a.mp4"])
    held = world.store.plan("videos", "a.mp4")
    assert world.store.write_plan(replace(held.content, retry_requested=world.now), held.etag)
    world.register()
    world.register()  # and a duplicate of it changes nothing
    assert world.plan().generation == 2
    world.finish()
    assert (world.result()["status"], world.s3.keys("videos")) == ("processed", [])


@pytest.mark.fault("Videos: no video, a codec that is refused")
def test_a_wrong_file_is_rejected_with_its_reason_before_anything_is_paid(world: World) -> None:
    world.upload(content=mp4(movie(4, track(b"mp4v"))))
    world.register()
    world.dispatch()
    world.collect()
    assert world.result()["error"]["type"] == "VideoCodecError"
    assert (world.account.starts, world.open()) == ([], [])


@pytest.mark.fault("Videos: no video, a codec that is refused")
def test_a_codec_that_only_the_service_refuses_is_rejected_at_once(running: World) -> None:
    running.account.end(JobLook(JobStatus.REJECTED, "Unsupported codec/format."))
    running.dispatch()
    running.collect()
    assert (running.result()["status"], len(running.account.starts)) == ("rejected", 1)
    assert "Unsupported codec/format." in running.result()["error"]["message"]


@pytest.mark.fault("Videos: a video replaced or deleted meanwhile")
def test_a_deleted_video_loses_result_and_files_and_gets_a_tombstone(running: World) -> None:
    running.finish()
    running.s3.remove("videos", "a.mp4")
    running.register()
    assert (running.lines[-1]["status"], running.lines[-1]["media"]) == ("deleted", "video")
    running.finish()
    left = [key for key in running.s3.keys("final") if not key.startswith("catalog/")]
    assert left == [plan_key("videos", "a.mp4"), "videos/reservations.json"]


@pytest.mark.fault("Videos: a video replaced or deleted meanwhile")
def test_a_video_that_is_replaced_while_its_job_runs_has_the_result_of_the_newer_one(running: World) -> None:
    running.upload()
    running.register()
    running.finish()
    assert running.result()["source"]["version_id"] == running.s3.current("videos", "a.mp4").version_id
    assert [record.state for record in running.records()] == [State.DONE]
    assert len(running.account.jobs) == 2


@pytest.mark.fault("Videos: a job that fails")
def test_one_analysis_that_fails_does_not_take_the_others_with_it() -> None:
    world = World(VIDEO_ANALYSES='{"labels": {}, "text": {}}')
    world.upload()
    world.register()
    world.dispatch()
    for job_id, (analysis, _, _) in world.account.jobs.items():
        failed = JobLook(JobStatus.REJECTED, "Unsupported codec/format.")
        world.account.looks[job_id] = SUCCEEDED if analysis == "labels" else failed
    world.finish()
    analyses = world.result()["analyses"]
    assert world.result()["status"] == "processed"
    assert {name: told["status"] for name, told in analyses.items()} == {"labels": "done", "text": "rejected"}


# What is paid for.


@pytest.mark.fault("Videos: a request that is made anew from the settings of now")
def test_the_request_is_frozen_and_names_the_version(waiting: World) -> None:
    version = waiting.s3.current("videos", "a.mp4").version_id
    assert waiting.record().request == {
        "Video": {"S3Object": {"Bucket": "videos", "Name": "a.mp4", "Version": version}},
        "NotificationChannel": {"SNSTopicArn": waiting.settings.notification_topic_arn,
                                "RoleArn": waiting.settings.notification_role_arn},
        "MinConfidence": 60.0,
    }  # fmt: skip
    waiting.settings = read_settings(RegisterVideosSettings, ENVIRONMENT | {"VIDEO_ANALYSES": '{"text": {}}'})
    waiting.register(received=2)
    assert (waiting.record().analysis, waiting.plan().generation) == ("labels", 1)


@pytest.mark.fault("Videos: functions that die between any two steps")
def test_a_repeated_start_has_the_same_token_and_is_the_same_job(waiting: World) -> None:
    """Others send a random token: a step that is repeated starts a second job."""
    waiting.account.errors = [errors.ServiceUnavailableError("the answer is lost")]
    waiting.dispatch()
    assert waiting.record().state is State.STARTING
    waiting.dispatch(later=STARTING_LEASE)
    first, second = waiting.account.starts
    assert first == second == waiting.record().token
    assert waiting.record().state is State.RUNNING


@pytest.mark.fault("Videos: a full account")
def test_a_full_account_tells_nothing_of_a_start_that_may_have_been_made(waiting: World) -> None:
    """Whether the service looks at its limit or at the token first is not documented."""
    waiting.account.errors = [errors.ServiceUnavailableError("the answer is lost"), errors.JobLimitError("full")]
    waiting.dispatch()
    waiting.dispatch(later=STARTING_LEASE)
    assert waiting.record().state is State.STARTING
    assert len(waiting.store.reservations().content.jobs) == 1


@pytest.mark.fault("Videos: the minutes of a day, with two dispatchers at once")
def test_the_minutes_of_a_day_are_never_exceeded(world: World) -> None:
    world.limits = Limits(20, 90)
    for key in ("a.mp4", "b.mp4"):
        world.upload(key, mp4(movie(3000)))
    world.register(message_about("videos", "a.mp4"), message_about("videos", "b.mp4"))
    world.dispatch()
    assert len(world.account.jobs) == 1
    world.account.end(JobLook(JobStatus.SUCCEEDED))
    world.dispatch(later=MINUTE * 30)
    assert len(world.account.jobs) == 1
    world.dispatch(later=DAY)
    assert len(world.account.jobs) == 2


def test_a_budget_that_is_lowered_under_a_waiting_video_rejects_it(world: World) -> None:
    world.upload(content=mp4(movie(3000)))
    world.register()
    world.limits = Limits(20, 49)
    world.dispatch()
    world.finish()
    error = world.result()["error"]
    assert (world.result()["status"], error["type"]) == ("rejected", "VideoOverBudgetError")
    assert "Its 50 minutes count against max_minutes_per_day, which is 49" in error["message"]


def test_minutes_beyond_the_header_count_against_the_day(running: World) -> None:
    running.account.end(JobLook(JobStatus.SUCCEEDED, "", VideoMetadata(9000.0)))
    running.dispatch()
    assert running.store.reservations().content.minutes == 150


@pytest.mark.fault("Videos: the minutes of a day, with two dispatchers at once")
def test_reservations_are_idempotent_and_a_day_that_has_begun_does_not_come_back(waiting: World) -> None:
    record = replace(waiting.record(), minutes=50)
    limits = Limits(1, 60)
    one = reserve(Reservations(), record, limits, BEGIN)
    assert isinstance(one, Reservations)
    again = reserve(one, record, limits, BEGIN)
    assert isinstance(again, Reservations)
    assert (again.minutes, again.jobs.keys(), again.number) == (50, one.jobs.keys(), 2)
    assert release(again, record.token, 0, number=one.number) == again  # it is somebody else's by now
    other = replace(record, record_id="other")
    assert reserve(one, other, limits, BEGIN) is Refusal.JOBS
    free = release(one, record.token)
    assert reserve(free, other, limits, BEGIN) is Refusal.MINUTES
    assert reserve(release(one, record.token, 1), other, limits, BEGIN).minutes == 51  # type: ignore[union-attr]
    assert reserve(free, replace(other, minutes=61), limits, BEGIN) is Refusal.NEVER
    tomorrow = reserve(free, other, limits, BEGIN + DAY)
    assert isinstance(tomorrow, Reservations)
    assert reserve(release(tomorrow, other.token), record, limits, BEGIN) is Refusal.MINUTES  # a clock that is behind


@pytest.mark.fault("Videos: a token that the service may have forgotten")
def test_a_token_that_the_service_may_have_forgotten_is_not_used_again(waiting: World) -> None:
    waiting.account.errors = [errors.ServiceUnavailableError("the answer is lost")]
    waiting.dispatch()
    waiting.dispatch(later=6 * DAY)
    assert (waiting.record().state, waiting.record().attempt) == (State.WAITING, 2)


# What other systems lose videos by.


@pytest.mark.fault("Videos: a message of the end of a job lost, doubled or early")
def test_a_job_whose_message_is_lost_is_found_by_asking(running: World) -> None:
    """The sample keeps no record of its jobs: without the message, the result is lost, and paid for."""
    running.account.end()
    running.dispatch()
    assert running.record().state is State.SUCCEEDED


@pytest.mark.fault("Videos: a message of the end of a job lost, doubled or early")
def test_a_message_before_the_answer_to_the_start_does_no_harm(waiting: World) -> None:
    """media2cloud starts before it writes the row: a message that comes first finds none, and is dropped."""
    waiting.account.errors = [errors.ServiceUnavailableError("the answer is lost")]
    waiting.dispatch()
    waiting.dispatch(waiting.record().record_id)
    waiting.finish()
    assert waiting.result()["status"] == "processed"


@pytest.mark.fault("Videos: a limit that other applications share, and that changes")
def test_what_waits_is_started_when_others_leave_the_account(waiting: World) -> None:
    """media2cloud starts the next one when one of its own ends: where none of its own runs, all wait for ever."""
    waiting.account.limit = 0
    for _ in range(3):
        waiting.dispatch()
    assert (waiting.record().state, waiting.record().attempt) == (State.WAITING, 1)
    assert waiting.store.reservations().content.minutes == 0
    waiting.account.limit = 1
    waiting.dispatch()
    assert waiting.record().state is State.RUNNING


@pytest.mark.fault("Videos: a full account")
def test_what_waits_for_weeks_still_waits(waiting: World) -> None:
    """media2cloud forgets what waits for longer than a day."""
    waiting.account.limit = 0
    waiting.dispatch(later=30 * DAY)
    waiting.account.limit = 1
    waiting.dispatch()
    assert (waiting.record().state, waiting.record().attempt) == (State.RUNNING, 1)


@pytest.mark.fault("Videos: starts that are refused for good")
def test_ten_refusals_at_the_head_block_nothing(world: World) -> None:
    """media2cloud leaves what is refused for good at the head: ten of them block all others."""
    keys = [f"{number:02}.mp4" for number in range(11)]
    for key in keys:
        world.upload(key)
        world.register(message_about("videos", key))
        world.now += MINUTE
    world.account.errors = [errors.AccessDeniedError("iam:PassRole")] * 10
    count = world.dispatch()
    assert (count["StartErrors"], len(world.account.jobs)) == (10, 1)
    assert world.store.reservations().content.minutes == 1
    world.dispatch()  # mended
    assert len(world.account.jobs) == 11


def test_a_start_that_never_has_an_answer_lets_others_go_on(world: World) -> None:
    for key in ("a.mp4", "b.mp4"):
        world.upload(key)
        world.register(message_about("videos", key))
        world.now += MINUTE
    start, tokens = world.account.start, list[str]()

    def fail(analysis: str, request: Mapping[str, Any], token: str) -> str:
        if request["Video"]["S3Object"]["Name"] == "a.mp4":
            tokens.append(token)
            raise errors.ServiceUnavailableError("internal error")
        return start(analysis, request, token)

    world.account.start = fail  # type: ignore[method-assign]
    world.dispatch()
    assert len(world.account.jobs) == 1
    for _ in range(60):
        world.dispatch()
    assert (len(tokens), len(set(tokens))) == (6, 1)  # later each time, and never as another job


def test_a_rate_stops_the_starts_of_a_look_and_keeps_no_slot(world: World) -> None:
    for key in ("a.mp4", "b.mp4"):
        world.upload(key)
    world.register(*(message_about("videos", key) for key in ("a.mp4", "b.mp4")))
    world.account.errors = [errors.RateError("too many")]
    world.dispatch()
    assert (len(world.account.starts), world.store.reservations().content.jobs) == (1, {})
    world.dispatch()
    assert len(world.account.jobs) == 2


def test_a_job_that_cannot_be_asked_for_does_not_keep_others_from_it(world: World) -> None:
    for key in ("a.mp4", "b.mp4", "c.mp4"):
        world.upload(key)
        world.register(message_about("videos", key))
    world.dispatch()
    world.account.end()
    for faulty in list(world.account.jobs)[:2]:
        world.account.looks[faulty] = None  # type: ignore[assignment]

    def look(_: str, job_id: str) -> JobLook:
        if told := world.account.looks[job_id]:
            return told
        raise errors.ServiceUnavailableError("internal error")

    world.account.look = look  # type: ignore[method-assign]
    for _ in range(3):
        world.dispatch()
    assert [record.state for record in world.records()].count(State.SUCCEEDED) == 1


@pytest.mark.fault("Videos: starts that are refused for good")
def test_an_object_that_the_service_may_not_read_uses_up_no_attempt(waiting: World) -> None:
    """The service says the same of a permission that is missing as of an object that is."""
    waiting.account.errors = [errors.VideoObjectError("access permissions")] * 3
    counts = [waiting.dispatch(later=30 * MINUTE)["StartErrors"] for _ in range(3)]
    record = waiting.record()
    assert (counts, record.state, record.attempt, record.refusals) == ([1, 1, 1], State.WAITING, 1, 3)
    assert waiting.store.reservations().content.minutes == 0
    waiting.dispatch(later=30 * MINUTE)
    assert waiting.record().state is State.RUNNING


@pytest.mark.fault("Videos: a message of the end of a job lost, doubled or early")
@pytest.mark.parametrize("status", ["SUCCEEDED", "ERROR", "FAILED", "whatever"])
@pytest.mark.parametrize("is_enveloped", [False, True])
def test_a_message_of_any_status_makes_the_dispatcher_ask(running: World, status: str, *, is_enveloped: bool) -> None:
    """media2cloud does not handle the status ERROR, which the service may send."""
    record = running.record()
    told = json.dumps({"JobId": "x", "Status": status, "API": "StartLabelDetection", "JobTag": record.token})
    body = json.dumps({"Type": "Notification", "Message": told}) if is_enveloped else told
    hinted = hinted_records({"Records": [{"body": body}, {"body": "{}"}, {"body": "rubbish"}, {"body": "[1]"}]})
    assert hinted == {record.record_id}
    running.account.end()
    running.dispatch(*hinted, later=timedelta(seconds=1))  # long before it is due
    assert running.record().state is State.SUCCEEDED


def test_the_schedule_hints_at_nothing() -> None:
    assert hinted_records({"source": "aws.scheduler"}) == frozenset()


@pytest.mark.fault("Videos: a full account")
def test_a_full_account_uses_up_no_delivery_and_of_ten_uploads_all_end(world: World) -> None:
    """Of ten uploads to media-insights four failed at the limit; elsewhere each look at it is a receive of a few."""
    world.account.limit = 3
    keys = [f"{number}.mp4" for number in range(10)]
    for key in keys:
        world.upload(key)
    assert world.register(*(message_about("videos", key) for key in keys)) == []
    world.finish()
    assert [world.result(key)["status"] for key in keys] == ["processed"] * 10
    assert Counter(token for _, _, token in world.account.jobs.values()).most_common(1)[0][1] == 1


@pytest.mark.fault("Videos: a message of an upload doubled, late or in any order")
def test_a_message_is_acknowledged_when_its_records_are_written_and_not_before(world: World) -> None:
    """media-insights deletes the message first: what dies then is never looked at again."""
    world.upload()
    write = world.store.write_record
    world.store.write_record = lambda *_: (_ for _ in ()).throw(errors.ServiceUnavailableError("S3"))  # type: ignore
    assert world.register() == ["0"]
    assert [key.partition("-")[0][: len(WAITING)] for key in world.open()] == [WAITING]
    world.store.write_record = write  # type: ignore[method-assign]
    assert world.register(received=2) == []
    world.finish()
    assert (world.result()["status"], world.plan().generation) == ("processed", 1)


@pytest.mark.fault("Videos: a job that hangs")
def test_a_job_that_never_ends_is_given_up_at_its_deadline(running: World) -> None:
    """Elsewhere a job whose message never comes is waited for for ever, or for a day."""
    assert running.record().deadline_at == running.record().started_at + timedelta(hours=1)  # type: ignore[operator]
    count = running.dispatch(later=timedelta(hours=1))
    assert count["JobsPastDeadline"] == 1
    running.collect()
    assert running.result()["error"]["type"] == "StalledJobError"
    assert (len(running.account.starts), running.store.reservations().content.jobs) == (1, {})


@pytest.mark.fault("Videos: a message of an upload doubled, late or in any order")
def test_a_message_with_several_records_names_them_all(world: World) -> None:
    """A lambda of another system takes the last record of each message only."""
    images = [SourceImage("videos", key, "v", "e", 1, BEGIN) for key in ("a b+c.mp4", "ö%.MOV", "no-video.txt")]
    for image in images:
        world.upload(image.key)
    world.register(message_for(images))
    assert {record.key for record in world.records()} == {"a b+c.mp4", "ö%.MOV"}


@pytest.mark.fault("Videos: page tokens and results that expire")
def test_results_that_the_service_has_forgotten_are_made_anew_once(running: World) -> None:
    running.account.end()
    running.account.look = lambda *_: (_ for _ in ()).throw(errors.JobNotFoundError("gone"))  # type: ignore
    running.dispatch()
    assert (running.record().state, running.record().attempt) == (State.WAITING, 2)


# What is left over.


def test_markers_without_a_record_are_deleted_after_an_hour_and_not_before(world: World) -> None:
    for marker in (active_marker("gone"), f"{WAITING}20261120T080000Z-gone"):
        world.store.put_marker(marker)
    world.dispatch()
    assert len(world.open()) == 2
    world.dispatch(later=timedelta(hours=2))
    assert world.open() == []


def test_a_running_job_whose_marker_is_lost_is_found_again(running: World) -> None:
    running.store.delete([active_marker(running.record().record_id)])
    running.dispatch()
    assert active_marker(running.record().record_id) in running.open()


@pytest.mark.fault("Videos: functions that die between any two steps")
def test_a_slot_that_a_dead_dispatcher_has_left_is_given_back(running: World) -> None:
    record = running.record()
    held = running.store.record(record.record_id)
    assert held
    assert running.store.write_record(replace(record, state=State.SUCCEEDED), held.etag)
    running.dispatch()
    assert running.store.reservations().content.jobs == {}


def test_nothing_open_costs_one_listing_and_no_metric(world: World) -> None:
    world.s3.requests.clear()
    assert dict(world.dispatch()) == {}
    assert [operation for operation, _, _ in world.s3.requests] == ["ListObjectsV2"]


def test_no_more_than_five_collectors_work_at_once(world: World) -> None:
    keys = [f"{number}.mp4" for number in range(7)]
    for key in keys:
        world.upload(key)
    world.register(*(message_about("videos", key) for key in keys))
    world.dispatch()
    world.account.end()
    world.dispatch()
    assert len(world.invoked) == 5
    world.dispatch()
    assert len(world.invoked) == 5
    world.collect()
    world.dispatch()
    assert len(world.invoked) == 2


# Piles.


def test_thousands_of_wrong_files_keep_nobody_waiting(world: World) -> None:
    world.upload("wrong.mp4", b"no video at all")
    world.register(message_about("videos", "wrong.mp4"))
    wrong = world.record()
    assert world.open() == [ended_marker(wrong)]
    for number in range(2000):
        record = replace(wrong, record_id=digest(str(number)), key=f"{number}.mp4")
        world.store.put_marker(ended_marker(record))
        world.store.write_record(record, "")
    world.upload()
    world.register()
    for looks in range(1, 4):
        world.s3.requests.clear()
        world.dispatch()
        assert len(world.invoked) == 4  # and one is left to answers that are paid for
        assert len(world.s3.requests) < 60 * looks
    world.account.end()
    world.dispatch()
    assert len(world.invoked) == 5
    assert world.collect()[-1] == "done"
    assert world.result()["status"] == "processed"


def test_videos_that_are_deleted_just_after_their_end_keep_no_wrong_file_waiting(world: World) -> None:
    world.limits, world.account.limit = Limits(100, 600), 100
    keys = [f"{number}.mp4" for number in range(60)]
    for key in keys:
        world.upload(key)
    world.register(*(message_about("videos", key) for key in keys))
    for _ in range(3):
        world.dispatch()
    world.account.end()
    second = timedelta(seconds=1)
    world.dispatch(later=MINUTE)
    while world.collect():
        world.dispatch(later=second)
    assert world.open() == []
    for key in keys:
        world.s3.remove("videos", key)
    world.register(*(message_about("videos", key) for key in keys))
    assert len(world.open()) == 60
    world.dispatch(later=second)
    world.upload("wrong.mp4", b"no video at all")
    world.register(message_about("videos", "wrong.mp4"))
    world.dispatch(later=second)
    assert [world.store.record(one).content.key for one in world.invoked] == ["wrong.mp4"]  # type: ignore[union-attr]
    world.collect()
    # Whoever had one of the others may yet write its result: so they come when that time is over.
    world.dispatch(later=COLLECTING_LEASE)
    assert len(world.invoked) == 4
    for _ in range(20):
        world.collect()
        world.dispatch()
    assert (world.open(), [record.key for record in world.records()]) == ([], ["wrong.mp4"])


def test_a_video_that_is_deleted_before_its_start_is_no_active_job(waiting: World) -> None:
    waiting.s3.remove("videos", "a.mp4")
    waiting.dispatch()
    assert waiting.open() == [ended_marker(waiting.record())]
    waiting.finish()


def test_videos_whose_result_cannot_be_written_keep_no_collector(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"{number}.mp4" for number in range(7)]
    for key in keys:
        world.upload(key)
    world.register(*(message_about("videos", key) for key in keys))
    world.dispatch()
    world.account.end()
    world.dispatch()
    bad = {record.key for record in world.records() if record.record_id in world.invoked}
    write = world.results.write

    def refuse(key: str, *args: Any) -> Any:
        if key in bad:
            raise errors.ServiceUnavailableError("not now")
        return write(key, *args)

    monkeypatch.setattr(world.results, "write", refuse)
    assert world.collect() == ["ServiceUnavailableError"] * 5
    world.dispatch(later=timedelta(seconds=1))
    assert world.collect() == ["done"] * 2
    tries = 0
    for _ in range(180):
        world.dispatch()
        tries += len(world.collect())
    assert tries == 5 * 7  # later each time
    monkeypatch.setattr(world.results, "write", write)
    world.finish()
    assert all(world.result(key)["status"] == "processed" for key in keys)


def test_a_marker_of_a_registration_that_died_goes_after_an_hour(world: World) -> None:
    world.upload("a.mp4", b"no video")
    world.register(message_about("videos", "a.mp4"))
    (record,) = world.records()
    earlier = ended_marker(replace(record, due_at=record.due_at - timedelta(minutes=2)))
    world.store.put_marker(earlier)
    world.dispatch()
    assert earlier in world.open(), "its record may be about to be written"
    world.finish()
    assert world.result("a.mp4")["status"] == "rejected"


def test_a_video_that_cannot_be_moved_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(leaves=True)
    world.upload()
    world.register()
    world.dispatch()
    world.account.end()
    with monkeypatch.context() as patch:
        patch.setattr(Mover, "move", lambda *_: (_ for _ in ()).throw(errors.AccessDeniedError("move")))
        for _ in range(9):
            world.dispatch(later=30 * MINUTE)
            world.collect()
    world.dispatch(later=60 * MINUTE)
    world.collect()
    assert (world.s3.keys("videos"), world.open()) == ([], [])
    assert [line["status"] for line in world.lines].count("processed") == 1


def test_a_source_that_may_not_be_looked_at_keeps_no_collector(running: World) -> None:
    """As when the bucket or the prefix of the deployment was changed meanwhile."""
    stored = running.s3.current("videos", "a.mp4")
    stored.refusal = lambda operation: refused("403", 403, "Forbidden", operation)
    running.account.end()
    running.dispatch()
    assert running.collect() == ["AccessDeniedError"]
    record = running.record()
    assert (record.state, record.leased_until) == (State.SUCCEEDED, None)
    running.dispatch()
    assert (running.collect(), running.record().checks) == (["AccessDeniedError"], 2)
    stored.refusal = None
    running.finish()
    assert running.result()["status"] == "processed"


def test_starts_that_are_refused_keep_nothing_from_being_collected(running: World) -> None:
    running.account.end()
    keys = [f"{number}.mp4" for number in range(60)]
    for key in keys:
        running.upload(key)
    running.register(*(message_about("videos", key) for key in keys))
    begun: list[int] = []

    def refuse(analysis: str, request: Mapping[str, Any], token: str) -> str:
        begun.append(len(running.invoked))
        raise errors.AccessDeniedError("iam:PassRole")

    running.account.start = refuse  # type: ignore[method-assign]
    assert running.dispatch()["StartErrors"] == 50
    assert set(begun) == {1}
    assert running.dispatch(later=timedelta(seconds=1))["StartErrors"] == 10  # behind those that failed


def test_no_function_outlives_its_lease_of_a_record() -> None:
    terraform = (Path(__file__).parents[2] / "terraform/videos.tf").read_text()

    def told(name: str) -> timedelta:
        (seconds,) = re.findall(rf"\b{name} += (\d+)\n", terraform)
        return timedelta(seconds=int(seconds))

    assert told("dispatch_videos_timeout_seconds") < STARTING_LEASE
    waits = told("maximum_event_age_in_seconds")
    assert waits + told("collect_videos_timeout_seconds") <= COLLECTING_LEASE


def test_a_retry_replaces_a_request_whose_role_is_gone(waiting: World) -> None:
    waiting.account.errors = [errors.AccessDeniedError("iam:PassRole")]
    waiting.dispatch()
    held = waiting.store.plan("videos", "a.mp4")
    assert waiting.store.write_plan(replace(held.content, retry_requested=waiting.now), held.etag)
    role = ENVIRONMENT["NOTIFICATION_ROLE_ARN"].replace("role/", "role/other/")
    waiting.settings = read_settings(RegisterVideosSettings, ENVIRONMENT | {"NOTIFICATION_ROLE_ARN": role})
    waiting.register()
    waiting.register(received=2)
    waiting.finish()
    assert (waiting.result()["status"], waiting.plan().generation) == ("processed", 2)
    ((_, request, _),) = waiting.account.jobs.values()
    assert request["NotificationChannel"]["RoleArn"] == role


def test_a_retry_that_comes_too_late_starts_nothing(running: World) -> None:
    held = running.store.plan("videos", "a.mp4")
    assert running.store.write_plan(replace(held.content, retry_requested=running.now), held.etag)
    running.register()
    running.finish()
    running.register(received=2)
    running.finish()
    assert (running.plan().generation, len(running.account.jobs)) == (1, 1)


def test_what_is_written_down_is_read_as_it_was(running: World) -> None:
    running.finish()
    record, plan, reservations = running.record(), running.plan(), running.store.reservations().content
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert Reservations.from_json(json.loads(json.dumps(reservations.to_json()))) == reservations
    later = record.to_json() | {"written_by_a_later_version": 1}
    assert Record.from_json(later) == record
    assert record_key(record.record_id) == f"{JOBS}{record.record_id}/record.json"
    assert ACTIVE < WAITING  # one listing has the active ones first


def test_settings_without_an_analysis_are_refused() -> None:
    with pytest.raises(errors.SettingsError, match="VIDEO_ANALYSES"):
        read_settings(RegisterVideosSettings, ENVIRONMENT | {"VIDEO_ANALYSES": "{}"})
    with pytest.raises(errors.SettingsError, match="VIDEO_ANALYSES"):
        read_settings(RegisterVideosSettings, ENVIRONMENT | {"VIDEO_ANALYSES": '{"labels": 1}'})


def test_the_functions_do_it_by_themselves(tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each handler with its own settings, on the drop-off bucket."""
    world = World(leaves=True)
    world.upload()
    queues: Any = world
    collectors: list[dict[str, str]] = []
    invoke = SimpleNamespace(invoke=lambda **call: collectors.append(json.loads(call["Payload"])))
    config: Any = clients.s3_for_copies().meta.config
    assert config.read_timeout == 300  # a video may have gigabytes
    monkeypatch.setattr(clients, "s3", lambda: world.s3)
    monkeypatch.setattr(clients, "s3_for_copies", lambda: world.s3)
    monkeypatch.setattr(clients, "sqs", lambda: queues)
    monkeypatch.setattr(clients, "functions", lambda: invoke)
    for module in (dispatching, finishing):
        monkeypatch.setattr(module, "_service", lambda: world.account)
    monkeypatch.setattr(dispatching, "next_step", lambda record, now, **_: next_step(record, now, is_hinted=True))
    dispatcher = {"COLLECT_FUNCTION_NAME": "collect", "MAX_CONCURRENT_JOBS": "3", "MAX_MINUTES_PER_DAY": "600"}
    tell(**ENVIRONMENT | dispatcher)
    context: Any = SimpleNamespace(
        aws_request_id="id", get_remaining_time_in_millis=lambda: 60_000, function_name="f", memory_limit_in_mb=512,
        invoked_function_arn="arn:aws:lambda:eu-west-1:123456789012:function:f",
    )  # fmt: skip
    message = {"messageId": "m", "body": message_about("videos", "a.mp4"), "attributes": {"ApproximateReceiveCount": 1}}
    assert register_handler({"Records": [message]}, context) == {"batchItemFailures": []}
    assert [sent["QueueUrl"] for sent in world.sent] == ["hints"]
    dispatch_handler({"Records": [{"body": "{}"}]}, context)
    world.account.end()
    dispatch_handler({}, context)
    (record,) = collectors
    move_handler(record, context)
    assert (world.result()["status"], world.s3.keys("videos"), world.open()) == ("processed", [], [])
    *_, catalog = (key for key in world.s3.keys("final") if key.startswith("catalog/"))
    assert json.loads(world.s3.get_object("final", catalog)["Body"].read())["status"] == "processed"
    stay_handler(record, context)  # called twice, it does nothing
