"""Videos end to end: each upload ends once, and no job is paid for twice, whatever is lost, doubled, full or dying."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import batch_vision.videos
from batch_vision.core.scope import Scope
from batch_vision.core.times import utc_now
from batch_vision.core.video_jobs import COLLECTING_LEASE, STARTING_LEASE
from batch_vision.core.videos import ENDED, Record, State, ended_marker
from batch_vision.videos.store import Held, VideoStore
from local.emulator.video_operations import UNSUPPORTED
from local.environment import Environment
from local.images_bucket import ImagesBucket
from local.samples import draw_videos
from local.samples.draw_videos import CRACK, NORMAL, SHOTS, STAIN, Shot, draw_video
from tests import videos
from tests.local import backfills, permissions
from tests.local.deployment import ARGUMENTS, TIMES, recorded
from tests.local.faults import LambdaFaults
from tests.local.stack import messages_of
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.matrix, pytest.mark.timeout(1500)]

SEED = 20261127
SCOPE = Scope(("",), (".mp4", ".mov", ".m4v", ".avi"))
SCHEMA = json.loads((Path(batch_vision.videos.__file__).parent / "result.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
# A job takes a second, so that thirty of them have to wait for each other at a limit of three.
VIDEO_TIMES = {"video_base_seconds": 1.0, "video_seconds_per_minute": 0.0}
# What tests change besides.
SERVICE = {
    "foreign_jobs": 0,
    "video_job_limit": 20,
    "video_limit_before_token": False,
    "video_page_token_seconds": 86_400.0,
    "video_samples_per_second": 2.0,
}
LONGEST_WORK = timedelta(seconds=20)  # of a function with one job, here
FUNCTIONS = ("register-videos", "dispatch-videos", "collect-videos")
STARTS = ("StartLabelDetection", "StartTextDetection")
LONG_MINUTES = 240


class Videos:
    """A deployment with videos, and what tests do with it."""

    def __init__(self, environment: Environment, arguments: dict[str, Any], *, moves: bool) -> None:
        self.environment = environment
        self.arguments = arguments
        self.moves = moves
        self.s3 = environment.client("s3")
        self.sqs = environment.client("sqs")
        self.functions = environment.client("lambda")
        self.emulator = environment.emulator
        self.faults = LambdaFaults()
        self.midnights: list[datetime] = []
        self.bucket = environment.output("videos_bucket_name")
        self.final = environment.output("final_bucket_name")
        self.store = VideoStore(self.s3, self.final)
        self.queue_url = environment.output("videos_queue_url")
        self.dead_letter_queue_url = environment.output("videos_dead_letter_queue_url")

    @property
    def max_minutes_per_day(self) -> int:
        return int(self.arguments["videos"]["max_minutes_per_day"])

    def put(self, key: str, content: bytes) -> str:
        return str(self.s3.put_object(Bucket=self.bucket, Key=key, Body=content).get("VersionId", "null"))

    def tick(self) -> None:
        """Have the dispatcher look, as its schedule does each minute."""
        answer = self.functions.invoke(
            FunctionName=self.environment.output("dispatch_videos_function_name"), Payload=b"{}"
        )
        said = answer["Payload"].read()
        assert answer.get("FunctionError") in (None, "Unhandled"), said  # a death that was asked for

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs of this deployment that the service knows."""
        found: list[dict[str, Any]] = self.emulator.videos()["jobs"]
        return found

    def broken(self) -> list[str]:
        return videos.broken_promises(
            self.s3,
            self.bucket,
            self.final,
            self.jobs(),
            SCOPE,
            moves=self.moves,
            max_minutes_per_day=self.max_minutes_per_day,
            midnights=self.midnights,
        )

    def check(self, seconds: float = 60, longest_work: timedelta = LONGEST_WORK) -> dict[str, dict[str, Any]]:
        """Wait until all is quiet, and return the results by key; the schedule is helped along."""

        def is_quiet() -> bool:
            # Twice: the event of a change may come, and be worked on, while all is looked at.
            if all(self.is_queue_empty() and not self.broken() for _ in range(2)):
                return True
            self.help_along(longest_work)
            return False

        try:
            wait_until(is_quiet, seconds, "all is in step")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.broken()[:8]}, {self.messages()}") from error
        assert sum(self.messages(self.dead_letter_queue_url).values()) == 0
        found = videos.results(self.s3, self.final)
        for result in found.values():
            VALIDATOR.validate(result)
        return found

    def is_queue_empty(self) -> bool:
        return not any(self.messages().values())

    def messages(self, url: str | None = None) -> dict[str, int]:
        return messages_of(self.sqs, url or self.queue_url)

    def record(self, key: str, analysis: str = "labels") -> dict[str, Any]:
        """The record of a video that was uploaded once."""
        (record,) = [
            record
            for record in videos.records(self.s3, self.final)
            if (record["key"], record["analysis"]) == (key, analysis)
        ]
        return record

    def help_along(self, longest_work: timedelta = LONGEST_WORK) -> None:
        """Have what comes with the time come now."""
        self.end_leases(longest_work)
        self.tick()

    def end_leases(self, longest_work: timedelta) -> None:
        """Let the time pass for which somebody who died, whom nobody can tell from the living, has a job."""
        for held in filter(None, self.store.records(videos.record_ids(self.s3, self.final))):
            lease = STARTING_LEASE if held.content.state is State.STARTING else COLLECTING_LEASE
            if held.content.leased_until and utc_now() - (held.content.leased_until - lease) > longest_work:
                self._end_lease(held)
        self._end_orphans()

    def _end_lease(self, held: Held[Record]) -> None:
        """End the lease of a record, unless somebody who lives has written it since."""
        record, now = held.content, utc_now()
        changed = replace(record, leased_until=now, next_check_at=now)
        # One that was to be looked at once more is due when its lease is over.
        before = ended_marker(record)
        is_moved = record.due_at > now and before in videos.open_work(self.s3, self.final)
        if is_moved:
            changed = replace(changed, due_at=now)
            self.store.put_marker(ended_marker(changed))
        if self.store.write_record(changed, held.etag) and is_moved:
            self.store.delete([before])

    def _end_orphans(self) -> None:
        """Let the hour pass after which a marker goes that a registration left which died before its record."""
        for marker in self.store.markers(ENDED):
            held = self.store.record(marker.record_id)
            is_of_record = held and marker.key == ended_marker(held.content)
            if not is_of_record and utc_now() - marker.written_at > 3 * LONGEST_WORK:
                self.store.delete([marker.key])

    def end_day(self) -> None:
        """Let the day end, while no job is started."""

        def is_over() -> bool:
            content, etag = self.store.reservations()
            return self.store.write_reservations(replace(content, day="2026-01-01"), etag)

        wait_until(is_over, 10, "nobody else writes what is reserved")
        self.midnights.append(utc_now())

    def reset(self) -> None:
        """Forget the faults and the settings of the test before."""
        self.faults.clear()
        self.emulator.clear_faults()
        self.emulator.set(**(TIMES | VIDEO_TIMES | SERVICE))


@contextmanager
def deployed(backend: str | None, bucket: ImagesBucket | None = None, **arguments: Any) -> Iterator[Videos]:
    """Apply a deployment with videos, and end it; AWS must have refused nothing that its roles did."""
    wanted = ARGUMENTS | arguments
    with recorded(backend, wanted, TIMES | VIDEO_TIMES, bucket) as running:
        yield Videos(running, wanted, moves=bucket is None)
        refused = permissions.refused_calls()
        assert not refused, "AWS would have refused what LocalStack did:\n" + "\n".join(refused)


@pytest.fixture(scope="module")
def applied(alone: None) -> Iterator[Videos]:
    # An AVI counts as six hours for each analysis.
    with deployed(None, videos={"analyses": ["labels", "text"], "max_minutes_per_day": 3000}) as found:
        yield found


@pytest.fixture
def drop_off(applied: Videos) -> Videos:
    applied.reset()
    return applied


def found(*words: str) -> set[str]:
    """Search videos with the tool, and return their keys."""
    return {line["key"] for line in backfills.read("search", "--media", "video", *words)["lines"]}


def numbered(number: int) -> bytes:
    """A video of a second that no other number gives the same bytes."""
    image = (NORMAL, CRACK, STAIN)[number % 3]
    return draw_video([Shot(image, 1 + number / 100)], frames_per_second=25)


def test_a_deployment_of_videos_only_makes_nothing_for_images(drop_off: Videos) -> None:
    has = drop_off.environment.has
    for name in ("queue_url", "source_bucket_name", "state_machine_arn", "event_source_mapping_uuid"):
        assert not has(name), name
    names = {function["FunctionName"] for function in drop_off.functions.list_functions()["Functions"]}
    assert names == {"e2e-compact-catalog", *(f"e2e-{name}" for name in FUNCTIONS)}


def test_what_a_video_shows_is_told_with_its_times(drop_off: Videos) -> None:
    drop_off.put("line 3/belt.mp4", draw_video(SHOTS))
    drop_off.put("line 3/Größe & <b>.MP4", draw_video([Shot(CRACK, 2), Shot(NORMAL, 2)]))
    results = drop_off.check()
    result = results["line 3/belt.mp4"]
    assert (result["status"], result["video"]["duration_seconds"]) == ("processed", 8.0)
    labels = json.loads(
        drop_off.s3.get_object(Bucket=drop_off.final, Key=result["analyses"]["labels"]["files"]["segments"])[
            "Body"
        ].read()
    )
    spans = {(one["name"], one["start_seconds"], one["end_seconds"]) for one in labels["segments"]}
    assert {name for name, _, _ in spans} >= {"normal", "crack", "stain"}
    (crack,) = [(start, end) for name, start, end in spans if name == "crack"]
    assert 3.5 <= crack[0] <= 4.5
    assert 5.0 <= crack[1] <= 6.5
    track = drop_off.s3.get_object(Bucket=drop_off.final, Key=result["analyses"]["labels"]["files"]["vtt"])
    assert track["Body"].read().startswith(b"WEBVTT\n")
    assert result["analyses"]["text"]["detections"] > 0


@pytest.mark.fault("Videos: a rejected video that is put back")
def test_a_rejected_video_that_is_put_back_is_analyzed_and_found(
    drop_off: Videos, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for operation in STARTS:
        drop_off.emulator.inject(operation, f"FAILED:{UNSUPPORTED}", count=1)
    drop_off.put("put back.mp4", draw_video([Shot(CRACK, 1), Shot(STAIN, 1)]))
    result = drop_off.check()["put back.mp4"]
    assert (result["status"], result["error"]["type"]) == ("rejected", "VideoCodecError")
    assert found("--status", "rejected") == {"put back.mp4"}
    told = backfills.read("retry", "--rejected", "--reason", "VideoCodecError")
    assert told["videos"] == {"retried": 1, "changed": []}
    assert drop_off.check()["put back.mp4"]["status"] == "processed"
    assert "put back.mp4" in found("--label", "crack")
    assert found("--status", "rejected") == set()


@pytest.mark.fault("Videos: a message of the end of a job lost, doubled or early")
@pytest.mark.fault("Videos: functions that die between any two steps")
@pytest.mark.fault("Videos: a full account")
@pytest.mark.fault("Videos: a limit that other applications share, and that changes")
@pytest.mark.fault("Videos: a job that fails")
@pytest.mark.fault("Videos: no video, a codec that is refused")
def test_thirty_videos_at_a_shared_limit_that_changes_with_messages_lost_and_functions_that_die(
    drop_off: Videos,
) -> None:
    random.seed(SEED)
    drop_off.emulator.set(video_job_limit=3, foreign_jobs=1)
    for operation in STARTS:
        for error, probability in (("message_lost", 0.2), ("message_doubled", 0.2), ("message_early", 0.1)):
            drop_off.emulator.inject(operation, error, probability=probability)
        drop_off.emulator.inject(operation, "FAILED:Something went wrong on our side.", count=1)
    deaths = [
        drop_off.faults.inject(function, "die", f"{when} {operation}", probability=0.01, seed=SEED)
        for function, operations in (
            ("register-videos", ("PutObject",)),
            ("dispatch-videos", ("PutObject", "StartLabelDetection", "StartTextDetection", "Invoke")),
            ("collect-videos", ("PutObject", "CopyObject", "DeleteObject")),
        )
        for operation in operations
        for when in ("before", "after")
    ]
    for number in range(30):
        drop_off.put(f"pile/{number}.mp4", numbered(number))
    drop_off.put("pile/no video.mp4", draw_videos.TEXT)
    drop_off.put("pile/cut off.mp4", draw_videos.truncated(numbered(1)))
    drop_off.put("pile/other codec.mp4", draw_videos.refused_video())
    drop_off.put("pile/empty.mp4", b"")
    # Of an AVI, whose header is not read, the service alone says what is wrong.
    drop_off.put("pile/refused.avi", draw_video([Shot(NORMAL, 2)], codec="mpeg4", container="avi"))
    drop_off.put("pile/" + "l" * 1015 + ".mp4", numbered(33))
    # Whether the limit or the token is looked at first, nobody knows.
    for limit, foreign, limit_first in ((6, 2, True), (2, 1, False), (8, 0, True)):
        ended = _ended(drop_off)
        wait_until(lambda more=ended + 10: _ended(drop_off) >= more or drop_off.help_along(), 90, "ten more jobs")
        drop_off.emulator.set(video_job_limit=limit, foreign_jobs=foreign, video_limit_before_token=limit_first)
    results = {key: result for key, result in drop_off.check(180).items() if key.startswith("pile/")}
    assert {key: result["error"]["type"] for key, result in results.items() if result["status"] != "processed"} == {
        "pile/no video.mp4": "InvalidVideoFormatError",
        "pile/cut off.mp4": "InvalidVideoFormatError",
        "pile/other codec.mp4": "VideoCodecError",
        "pile/empty.mp4": "InvalidVideoFormatError",
        "pile/refused.avi": "VideoCodecError",
    }
    assert all(result["status"] in ("processed", "rejected") for result in results.values())
    ids = _ids(drop_off, "pile/")
    mine = [job for job in drop_off.jobs() if _record_of(job) in ids]
    attempts = Counter(job["tag"].rpartition("-")[2] for job in mine)
    assert attempts["1"] == 2 * 32
    # A job that failed for a reason of the service was run once more; nothing else was paid for twice.
    again = {_record_of(job) for job in mine if job["tag"].endswith("-2")}
    failed = {_record_of(job) for job in mine if job["tag"].endswith("-1") and job["status"] == "FAILED"}
    of_refused = {_record_of(job) for job in mine if job["key"] == "pile/refused.avi"}
    assert again - of_refused == failed - of_refused
    assert len(again) == attempts["2"] <= 2
    assert sum(job["minutes"] for job in mine) == attempts.total()
    assert drop_off.emulator.videos()["refused_starts"] > 0
    assert sum(drop_off.faults.hits(fault) for fault in deaths) > 0


@pytest.mark.fault("Videos: a job that hangs")
def test_a_job_that_hangs_is_given_up_at_its_deadline_and_the_others_count(drop_off: Videos) -> None:
    drop_off.emulator.inject("StartLabelDetection", "hang", count=1)
    drop_off.put("hangs.mp4", numbered(31))
    wait_until(lambda: _state(drop_off, "hangs.mp4", "labels") == "running" or drop_off.tick(), 30, "it runs")
    record_id = drop_off.record("hangs.mp4")["record_id"]

    def is_an_hour_later() -> object:
        held = drop_off.store.record(record_id)
        assert held
        past = held.content.started_at
        return drop_off.store.write_record(replace(held.content, deadline_at=past, next_check_at=past), held.etag)

    wait_until(is_an_hour_later, 10, "nobody else writes the record")
    results = drop_off.check()
    analyses = results["hangs.mp4"]["analyses"]
    # What the other analysis found counts.
    assert results["hangs.mp4"]["status"] == "processed"
    assert (analyses["labels"]["error"]["type"], analyses["text"]["status"]) == ("StalledJobError", "done")


@pytest.mark.fault("Videos: page tokens and results that expire")
def test_forty_thousand_detections_are_collected_as_they_are_though_a_page_token_expires(drop_off: Videos) -> None:
    refused = drop_off.emulator.videos()["refused_page_tokens"]
    # With this seed the eleventh call is late, and none after it.
    drop_off.emulator.set(video_samples_per_second=5000.0, video_page_token_seconds=3.0)
    drop_off.emulator.inject("GetLabelDetection", "slow:4000", probability=0.01, seed=20261199)
    drop_off.put("many.mp4", draw_video([Shot(CRACK, 8)], frames_per_second=4))
    results = drop_off.check(120, longest_work=COLLECTING_LEASE)
    told = results["many.mp4"]["analyses"]["labels"]
    assert told["detections"] >= 40_000
    content = drop_off.s3.get_object(Bucket=drop_off.final, Key=told["files"]["detections"])["Body"].read()
    lines = gzip.decompress(content).decode().splitlines()
    assert len(lines) == told["detections"]
    times = [json.loads(line)["Timestamp"] for line in lines]
    assert times == sorted(times)
    assert drop_off.emulator.videos()["refused_page_tokens"] > refused


@pytest.mark.fault("Videos: the minutes of a day, with two dispatchers at once")
def test_what_is_over_the_minutes_of_a_day_waits_for_the_next(drop_off: Videos) -> None:
    drop_off.emulator.set(video_samples_per_second=0.01, video_job_limit=0)
    left = drop_off.max_minutes_per_day - drop_off.store.reservations().content.minutes
    most = left // LONG_MINUTES  # jobs of this day
    long = draw_video([Shot(NORMAL, LONG_MINUTES * 60)], frames_per_second=Fraction(1, 600))
    for number in range(most // 2 + 2):
        drop_off.put(f"long/{number}.mp4", long)

    def states() -> list[str]:
        return [one["state"] for one in videos.records(drop_off.s3, drop_off.final) if one["key"].startswith("long/")]

    wait_until(lambda: len(states()) == 2 * (most // 2 + 2), 60, "all wait")
    drop_off.emulator.set(video_job_limit=20)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: drop_off.tick(), range(4)))
    wait_until(lambda: states().count("done") >= most or drop_off.tick(), 60, "the day is over")
    drop_off.tick()
    assert states().count("waiting") == len(states()) - most
    drop_off.end_day()
    results = drop_off.check(90)
    assert {results[key]["status"] for key in results if key.startswith("long/")} == {"processed"}


def _record_of(job: dict[str, Any]) -> str:
    return str(job["tag"]).rpartition("-")[0]


def _ended(stack: Videos) -> int:
    return sum(record["state"] in videos.ENDS for record in videos.records(stack.s3, stack.final))


def _ids(stack: Videos, prefix: str) -> set[str]:
    return {record["record_id"] for record in videos.records(stack.s3, stack.final) if record["key"].startswith(prefix)}


def _state(stack: Videos, key: str, analysis: str) -> str:
    states = [
        record["state"]
        for record in videos.records(stack.s3, stack.final)
        if (record["key"], record["analysis"]) == (key, analysis)
    ]
    return states[-1] if states else ""
