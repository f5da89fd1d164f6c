"""The operator's tool and videos: where they go, how they are, what came of them, and another try."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from click.testing import CliRunner

from batch_vision.core.catalog import subject_of
from batch_vision.core.errors import StalledJobError
from batch_vision.core.times import utc_now
from batch_vision.core.videos import Fault, State
from batch_vision.operator import folders
from batch_vision.operator.cli import main
from batch_vision.operator.stack import find_by_name
from tests.unit.conftest import Deploy
from tests.unit.tool_stack import FINAL, IMAGES, NAME, SOURCE, Deployed
from tests.unit.tool_videos import ANALYSES, CLIPS, SEGMENTS, VIDEOS, DeployedVideos
from tests.video_files import mp4

HOSTILE = "a\n<b>\u2028 %+é/../c.mp4"
REJECTED = {"type": "InvalidVideoFormatError", "message": "Unsupported codec/format."}
FAILED = {"type": "StalledJobError", "message": "it ran for a day"}


@pytest.fixture
def beside(deployed: Deployed) -> DeployedVideos:
    """A stack with images and videos, each with a drop-off bucket."""
    return DeployedVideos(deployed)


@pytest.fixture
def alone(deploy: Deploy) -> DeployedVideos:
    """A stack with videos only, in an existing bucket."""
    return DeployedVideos(deploy(is_hosted=False), CLIPS, has_images=False)


def bodies(videos: DeployedVideos) -> list[str]:
    """Take the messages of the queue of keys to look at, and return the keys."""
    messages = videos.deployed.sqs.receive_message(QueueUrl=videos.queue_url, MaxNumberOfMessages=10)
    return sorted(json.loads(one["Body"])["detail"]["object"]["key"] for one in messages.get("Messages", []))


# The stack.


def test_a_stack_of_videos_only_is_found_by_its_outputs_and_by_its_name(alone: DeployedVideos) -> None:
    stack = find_by_name(NAME)
    assert (stack.name, stack.has_images, stack.identity) == (NAME, False, alone.mapping_uuid)
    assert stack.videos
    assert (stack.videos.bucket_name, stack.videos.is_drop_off) == (CLIPS, False)
    assert (stack.videos.analyses, stack.videos.max_concurrent_jobs) == (ANALYSES, 3)
    told = alone.deployed.json("status")
    assert told["videos"]["bucket"] == CLIPS
    # Its bucket does not send its events.
    assert [one["problem"].partition(" does")[0] for one in told["problems"]] == [f"bucket {CLIPS}"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run",), "videos only"),
        (("stop",), "--function-name pile-dispatch-videos"),
        (("sweep",), "backfill --videos"),
        (("backfill",), "backfill --videos"),
        (("upload", "."), "aws s3 cp"),
    ],
)
def test_what_is_for_images_says_so(alone: DeployedVideos, words: tuple[str, ...], told: str) -> None:
    result = alone.deployed.call(*words)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_stack_without_videos_says_so(deployed: Deployed) -> None:
    assert deployed.stack().videos is None
    assert deployed.json("status")["videos"] is None
    result = deployed.call("backfill", "--videos")
    assert (result.exit_code, "has no videos" in result.stderr) == (2, True)


# Upload.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pile"
    for name in ("a.png", "in/b.MP4", "c.mov", ".hidden.mp4", "notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_videos_go_to_their_bucket_once(beside: DeployedVideos, folder: Path) -> None:
    told = beside.deployed.json("upload", str(folder))
    assert (told["uploaded"], told["videos"], sorted(told["left_out"])) == (
        3,
        {VIDEOS: 2},
        [".hidden.mp4", "notes.txt"],
    )
    assert (beside.deployed.keys(SOURCE), beside.deployed.keys(VIDEOS)) == (["a.png"], ["c.mov", "in/b.MP4"])
    again = beside.deployed.json("upload", str(folder))
    assert (again["uploaded"], again["skipped"]) == (0, 3)


def test_only_videos_are_taken_where_nothing_takes_images(deploy: Deploy, folder: Path) -> None:
    videos = DeployedVideos(deploy(is_hosted=False), has_images=False)
    result = videos.deployed.call("upload", str(folder))
    assert result.exit_code == 0, result.output
    assert videos.deployed.keys(VIDEOS) == ["c.mov", "in/b.MP4"]
    assert "3 left out: this command takes videos only" in result.stdout
    assert "set backend of the module" in result.stdout
    assert videos.deployed.json("upload", str(folder), "--all")["uploaded"] == 1  # the hidden one


def test_a_video_that_was_interrupted_is_known_by_its_parts(
    beside: DeployedVideos, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ETag of an upload in parts is no MD5 of the file; another upload would be paid for again."""
    part = 5 * 1024**2
    monkeypatch.setattr(folders, "_ONE_REQUEST_BYTES", part)
    monkeypatch.setattr(folders, "_PART_BYTES", part)
    monkeypatch.setattr(
        folders,
        "_UPLOADING",
        TransferConfig(multipart_threshold=part, multipart_chunksize=part, use_threads=False),
    )
    path = folder / "c.mov"
    path.write_bytes(b"x" * (part + 1))
    beside.s3.upload_file(str(path), VIDEOS, "c.mov", Config=folders._UPLOADING)
    assert beside.s3.head_object(Bucket=VIDEOS, Key="c.mov")["ETag"] == f'"{folders.etag_of(path)}"'
    assert folders.etag_of(path).endswith("-2")


# Status.


def test_status_counts_jobs_and_says_when_the_next_starts(beside: DeployedVideos) -> None:
    now = utc_now()
    for key in ("a.mp4", "b.mp4"):
        beside.put(key)
    a, b = beside.plan("a.mp4"), beside.plan("b.mp4")
    beside.record(a, "labels", State.RUNNING, deadline_at=now + timedelta(hours=1))
    beside.record(a, "text", State.SUCCEEDED, succeeded_at=now)
    beside.record(b, "labels", State.WAITING, due_at=datetime(2026, 11, 19, tzinfo=UTC))
    beside.record(b, "text", State.WAITING)
    beside.reserve(f"{now:%Y-%m-%d}", 599, jobs=1)
    told = beside.deployed.json("status")["videos"]
    tomorrow = f"{now + timedelta(days=1):%Y-%m-%d}T00:00:00.000Z"
    assert told["waiting"] == {
        "jobs": 2,
        "is_at_least": False,
        "oldest_at": "2026-11-19T00:00:00.000Z",
        "next_start_at": tomorrow,  # 599 of 600 minutes, and the oldest has 2
    }
    assert told["jobs"] == {
        "starting": 0,
        "running": 1,
        "succeeded": 1,
        "ended": 0,
        "past_deadline": 0,
        "slots_used": 1,
    }
    assert (told["minutes_today"], told["max_minutes_per_day"]) == (599, 600)
    shown = beside.deployed.call("status").stdout
    assert "2 to start, the oldest since 2026-11-19 00:00:00Z; the next can start at" in shown
    beside.reserve("2026-01-01", 59, jobs=3)
    told = beside.deployed.json("status")["videos"]
    assert (told["minutes_today"], told["waiting"]["next_start_at"]) == (0, None)
    assert "the next starts when a job ends" in beside.deployed.call("status").stdout


def test_status_says_that_a_video_of_unknown_length_counts_as_the_longest(beside: DeployedVideos) -> None:
    now = utc_now()
    for key in ("a.avi", "b.avi"):
        beside.put(key)
    a, b = (beside.plan(key, seconds=None) for key in ("a.avi", "b.avi"))
    beside.record(b, "labels", State.WAITING, due_at=now - timedelta(days=2))
    beside.reserve(f"{now:%Y-%m-%d}", 360, jobs=1)
    told = "The header of b.avi does not tell its length, so 360 minutes are kept for its labels."
    shown = beside.deployed.call("status").stdout
    assert shown.count(told) == 2  # where it says when the next starts, and as the reason of a long wait
    assert "unknown length ends" not in shown
    beside.record(a, "labels", State.RUNNING)
    assert ":00Z, or when a job of unknown length ends. The header" in beside.deployed.call("status").stdout
    beside.reserve(f"{now:%Y-%m-%d}", 240, jobs=1)
    assert told not in beside.deployed.call("status").stdout


def test_what_is_wrong_with_videos(beside: DeployedVideos) -> None:
    now = utc_now()
    beside.put("late.mp4")
    late = beside.plan("late.mp4", ended_at=None)
    beside.record(late, "labels", State.RUNNING, deadline_at=now - timedelta(minutes=1))
    beside.record(late, "text", State.FAILED, error=Fault(StalledJobError.__name__, "it ran for a day"))
    beside.put("old.mp4")
    beside.record(beside.plan("old.mp4"), "labels", State.SUCCEEDED, succeeded_at=now - timedelta(days=1))
    beside.put("waits.mp4")
    beside.record(beside.plan("waits.mp4"), "labels", State.WAITING, due_at=now - timedelta(days=2))
    beside.finish("broken.mp4", status="failed", error=FAILED)
    beside.deployed.sqs.send_message(QueueUrl=beside.dead_letter_queue_url, MessageBody="x")
    problems = "\n".join(f"{one['problem']} {one['remedy']}" for one in beside.deployed.json("status")["problems"])
    for text in (
        "2 jobs past the deadline (",
        "of late.mp4",
        f"/aws/lambda/{NAME}-collect-videos",
        "labels of waits.mp4 has waited since",
        f"/aws/lambda/{NAME}-dispatch-videos",
        "failed: 1 video in the last 24 hours (StalledJobError 1)",
        StalledJobError.remedy,
        "(labels of old.mp4)",
        f"/aws/lambda/{NAME}-register-videos",
    ):
        assert text in problems


def test_a_start_that_is_refused_is_told_with_its_reason(alone: DeployedVideos) -> None:
    alone.put("clip.mp4")
    error = Fault("VideoObjectError", "Unable to get object metadata from S3.")
    due_at = utc_now() + timedelta(minutes=16)
    alone.record(alone.plan("clip.mp4"), "labels", State.WAITING, due_at=due_at, refusals=4, error=error)
    problem = alone.deployed.json("status")["problems"][-1]
    assert problem["problem"].startswith("videos: labels of clip.mp4 is not started (VideoObjectError: Unable to get")
    assert "Let the role of dispatch-videos read the object" in problem["remedy"]
    assert "the oldest due at" in alone.deployed.call("status").stdout


# Results.


def test_results_have_friendly_names(beside: DeployedVideos, tmp_path: Path) -> None:
    out = tmp_path / "out"
    beside.finish("in/a.mp4", b"the video")
    told = beside.deployed.json("results", "--download", str(out))
    assert (told["videos"], told["images"], told["failed"]) == (1, 0, {})
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    endings = (".csv", ".json", ".jsonl.gz", ".vtt")
    assert names == sorted(
        ["in/a.mp4.json", *(f"in/a.mp4.{analysis}{end}" for analysis in ANALYSES for end in endings)]
    )
    assert json.loads((out / "in/a.mp4.labels.json").read_text())["segments"] == SEGMENTS
    assert (out / "in/a.mp4.text.jsonl.gz").read_text() == "text"
    beside.deployed.json("results", "--download", str(out), "--with-videos")
    assert (out / "in/a.mp4").read_bytes() == b"the video"


def test_hostile_and_colliding_keys_have_paths_of_their_own(deploy: Deploy, tmp_path: Path) -> None:
    """A video, an image of the same key, a video named like a file of another, and one that would leave the folder."""
    videos = DeployedVideos(deploy(is_hosted=False, is_drop_off=False), IMAGES)
    out = tmp_path / "out"
    for key in ("a.mp4", "a.mp4.labels.vtt", HOSTILE, "x" * 250 + ".mp4"):
        videos.finish(key)
    videos.deployed.in_place("a.mp4")
    told = videos.deployed.json("results", "--download", str(out))
    assert (told["videos"], told["images"], told["failed"], told["replaced"]) == (4, 1, {}, [])
    assert {one["key"] for one in told["renamed"]} >= {"x" * 250 + ".mp4"}
    read = [json.loads(path.read_bytes()) for path in out.rglob("*.json") if not path.name.endswith(".labels.json")]
    found = [(one.get("media"), one["source"]["key"]) for one in read if "source" in one]
    assert len(found) == len(set(found)) == 5
    assert all(path.resolve().is_relative_to(out.resolve()) for path in out.rglob("*"))


def test_of_an_image_and_a_video_of_one_key_each_has_its_current_line(deploy: Deploy) -> None:
    videos = DeployedVideos(deploy(is_hosted=False, is_drop_off=False), IMAGES)
    videos.finish("a.mp4")
    videos.deployed.in_place("a.mp4")
    subjects = [("image", "a.mp4"), ("video", "a.mp4")]
    assert sorted(map(subject_of, videos.deployed.json("results"))) == subjects
    assert sorted(map(subject_of, videos.deployed.json("search")["lines"])) == subjects
    for media in ("image", "video"):
        (line,) = videos.deployed.json("search", "--media", media)["lines"]
        (same,) = videos.deployed.json("results", "--media", media)
        assert line == same
        assert subject_of(line) == (media, "a.mp4")
    assert videos.deployed.json("search", "--facets")["facets"]["media"] == {"video": 1}
    columns, *rows = videos.deployed.call("search", "--csv", "--media", "video").stdout.splitlines()
    assert columns.endswith("media,duration_seconds")
    assert [row.endswith("video,4") for row in rows] == [True]
    status = videos.deployed.json("status")
    assert (status["recent"]["images_processed"], status["videos"]["recent"]["videos_processed"]) == (1, 1)


# Another try.


def test_a_failed_video_gets_another_plan(alone: DeployedVideos) -> None:
    result = alone.finish("a.mp4", status="failed", error=FAILED)
    alone.finish("again.mp4", status="failed", error=FAILED)
    alone.plan("again.mp4", generation=2, ended_at=None)  # somebody else was faster
    alone.finish("good.mp4")
    told = alone.deployed.json("retry")
    assert told["videos"] == {"retried": 1, "changed": ["again.mp4"]}
    assert bodies(alone) == ["a.mp4"]
    plan = alone.read_plan("a.mp4")
    assert plan.retry_requested
    assert plan.fingerprint == result["fingerprint"]  # the function that looks at the key makes the new one
    # Interrupted before the message, or lost: once more sends it.
    assert alone.deployed.json("retry")["videos"]["retried"] == 1
    assert alone.read_plan("a.mp4") == plan


def test_a_video_whose_starts_are_refused_begins_anew(alone: DeployedVideos) -> None:
    refused = Fault("AccessDeniedError", "iam:PassRole")
    for key, more in {"a.mp4": {"refusals": 3, "error": refused}, "waits.mp4": {}}.items():
        alone.put(key)
        plan = alone.plan(key, ended_at=None)
        for analysis in plan.analyses:
            alone.record(plan, analysis, State.WAITING, **more)
    assert alone.deployed.json("retry", "--rejected")["videos"]["retried"] == 0
    assert alone.deployed.json("retry")["videos"] == {"retried": 1, "changed": []}
    assert bodies(alone) == ["a.mp4"]
    assert alone.read_plan("a.mp4").retry_requested
    assert not alone.read_plan("waits.mp4").retry_requested


def test_a_rejected_video_of_a_drop_off_bucket_goes_back(beside: DeployedVideos) -> None:
    result = beside.finish("a.mp4", b"with a codec", status="rejected", error=REJECTED)
    assert beside.deployed.json("retry", "--rejected", "--reason", "OtherError")["videos"]["retried"] == 0
    told = beside.deployed.json("retry", "--rejected", "--reason", REJECTED["type"])
    assert told["videos"] == {"retried": 1, "changed": []}
    assert beside.deployed.read(VIDEOS, "a.mp4") == b"with a codec"
    assert result["video_key"] not in beside.deployed.keys(FINAL)
    # It is on its way: no second upload, which would be paid for.
    assert beside.deployed.json("retry", "--rejected")["videos"] == {"retried": 0, "changed": ["a.mp4"]}
    assert len(beside.deployed.versions(VIDEOS)) == 1


# Backfill.


def movie(seconds: float) -> bytes:
    from tests.video_files import movie as header

    return mp4(header(seconds))


def test_a_backfill_of_videos_asks_first_and_sends_what_has_no_plan(alone: DeployedVideos) -> None:
    alone.put("new.mp4", movie(61))
    alone.put("in/new.mov", movie(30))
    alone.put("text.mp4", b"no video at all, whatever its name says")
    alone.put("notes.txt")
    alone.put("done.mp4")
    alone.plan("done.mp4")
    alone.put("running.mp4")
    alone.plan("running.mp4", ended_at=None)
    alone.put("other.mp4")
    alone.plan("other.mp4", analyses={"labels": {}}, seconds=10)
    alone.put("replaced.avi")
    alone.plan("replaced.avi")
    alone.put("replaced.avi", b"RIFF1234AVI another")
    result = alone.deployed.call("backfill", "--videos", "--json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert told["survey"]["counts"] == {"done": 1, "new": 4, "outdated": 1, "under_way": 1, "rejected": 1}
    assert (told["survey"]["left_out"], told["survey"]["videos_of_unknown_length"]) == ({"suffix": 1}, 1)
    assert told["survey"]["known_minutes"] == 3
    assert told["estimate"]["minutes"] == 4  # that of unknown length has some bytes
    assert told["estimate"]["analyses_dollars"] == {"labels": 0.4, "text": 0.4}
    assert told["estimate"]["days"] == 1
    assert bodies(alone) == []
    shown = alone.deployed.call("backfill", "--videos", "--yes")
    assert shown.exit_code == 0, shown.output
    assert "about $0.80" in shown.stdout
    assert bodies(alone) == ["in/new.mov", "new.mp4", "replaced.avi", "text.mp4"]
    told = alone.deployed.json("backfill", "--videos", "--again", "--yes", "--prefix", "other")
    assert told["sent"] == 1
    assert bodies(alone) == ["other.mp4"]
    assert alone.read_plan("other.mp4").retry_requested


def test_a_backfill_of_images_names_that_of_videos(deploy: Deploy) -> None:
    videos = DeployedVideos(deploy(is_hosted=False, is_drop_off=False), IMAGES)
    videos.put("a.mp4")
    assert "batch-vision backfill --videos" in videos.deployed.call("backfill").stdout
    for words in (("--again",), ("--videos", "--deep"), ("--videos", "--prefix", "x", "--status")):
        assert videos.deployed.call("backfill", *words).exit_code == 2


# Cost.


def test_cost_of_videos() -> None:
    def cost(*words: str) -> Any:
        return CliRunner().invoke(main, ["cost", *words])

    told = json.loads(
        cost("--video-minutes-per-day", "10", "--video-analysis", "labels", "--video-analysis", "text", "--json").stdout
    )
    assert told["analyses_dollars"] == {"labels": 30.0, "text": 30.0}
    assert told["dollars"] == 60
    for words in ((), ("--video-minutes-per-day", "1"), ("--images-per-day", "1", "--video-analysis", "text")):
        assert cost(*words).exit_code == 2
    both = ("--images-per-day", "1", "--video-minutes-per-day", "1", "--video-analysis", "text")
    assert cost(*both).exit_code == 2
