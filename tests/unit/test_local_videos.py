"""How local running sees every video to its end, and what it says."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from batch_vision.core.videos import ACTIVE, WAITING, video_result_key
from batch_vision.operator.display import Display
from local import environment, videos
from local.environment import Environment, existing_buckets
from local.images_bucket import ImagesBucket
from tests.unit.test_local_run import Clock
from tests.unit.test_tool_videos import alone, beside  # noqa: F401 - fixtures
from tests.unit.tool_stack import FINAL
from tests.unit.tool_videos import CLIPS, VIDEOS, DeployedVideos

REJECTED = {"type": "InvalidVideoFormatError", "message": "It has 0 bytes."}


def running(deployed: DeployedVideos) -> Environment:
    outputs = {"final_bucket_name": {"value": FINAL}, "videos_bucket_name": {"value": deployed.bucket}}

    class Running(Environment):
        def client(self, service: str) -> Any:
            return getattr(deployed, service)

    return Running(outputs, None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(videos, "time", clock)
    return clock


def test_a_deployment_of_videos_only_has_a_bucket_and_no_model(beside: DeployedVideos) -> None:  # noqa: F811
    stack = running(beside)
    assert (stack.is_hosted, stack.bucket_name) == (False, VIDEOS)
    assert environment.choose(None) == {"backend": None}


@pytest.mark.parametrize(
    ("images_bucket", "argument", "made"),
    [
        (None, None, []),
        (None, {"analyses": []}, []),
        (None, {"bucket_name": CLIPS}, [ImagesBucket(CLIPS)]),
        (ImagesBucket(CLIPS, is_versioned=True), {"bucket_name": CLIPS}, [ImagesBucket(CLIPS, is_versioned=True)]),
        (ImagesBucket("photos"), {"bucket_name": CLIPS}, [ImagesBucket("photos"), ImagesBucket(CLIPS)]),
    ],
)
def test_the_existing_buckets_are_made(images_bucket: ImagesBucket | None, argument: Any, made: Any) -> None:
    assert existing_buckets(images_bucket, argument) == made


def test_it_waits_until_every_video_has_its_end(
    beside: DeployedVideos,  # noqa: F811
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = ["a.mp4", "x" * 1020 + ".mp4"]
    left = [*keys]
    said: list[str] = []
    beside.deployed.put(f"{WAITING}20261120T080000Z-r1", b"", FINAL)
    beside.deployed.put(f"{ACTIVE}r1", b"", FINAL)
    beside.deployed.put(f"{WAITING}20261120T080000Z-r2", b"", FINAL)

    def progress(_done: int, _total: int, now: str) -> None:
        said.append(now)
        beside.deployed.put(video_result_key(left.pop()), b"{}", FINAL)

    videos.wait(running(beside), keys, SimpleNamespace(progress=progress))  # type: ignore[arg-type]
    assert (left, said) == ([], ["1 jobs under way, 1 waiting"] * 2)


@pytest.mark.parametrize(("is_active", "longest"), [(False, 300), (True, 1000)])
def test_it_does_not_wait_for_ever(
    beside: DeployedVideos,  # noqa: F811
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    is_active: bool,
    longest: float,
) -> None:
    monkeypatch.setattr(videos, "_POLL_SECONDS", 60)
    if is_active:
        beside.deployed.put(f"{ACTIVE}r1", b"", FINAL)
    videos.wait(running(beside), ["a.mp4"], SimpleNamespace(progress=lambda *_: None))  # type: ignore[arg-type]
    assert longest - 120 < clock.now_seconds <= longest


def test_results_are_fetched_as_the_tool_does_and_told_of(
    alone: DeployedVideos,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(videos, "OUTPUTS_FILE", alone.deployed.outputs_file)
    monkeypatch.setattr(videos, "CLIENT_ENVIRONMENT", {})
    alone.finish("in/a.mp4")
    alone.finish("bad.mp4", status="rejected", error=REJECTED)
    stack = running(alone)

    def report(*keys: str) -> tuple[bool, str]:
        text = io.StringIO()
        found = videos.fetch(stack, keys, tmp_path / "videos", lambda *_: None)
        display = Display(Console(file=text, width=200))
        return videos.report(display, stack, found, len(keys), tmp_path / "videos"), text.getvalue()

    is_good, text = report("in/a.mp4", "bad.mp4")
    assert is_good, text
    for line in ("processed            1 of 2", "rejected             1 (InvalidVideoFormatError 1)", "$0.40"):
        assert line in text
    assert json.loads((tmp_path / "videos/in/a.mp4.labels.json").read_text())["segments"]
    alone.finish("late.mp4", status="failed", error={"type": "StalledJobError", "message": "for a day"})
    is_good, text = report("in/a.mp4", "late.mp4", "lost.mp4")
    assert not is_good
    assert "late.mp4 failed, StalledJobError: for a day" in text
    assert f"1 videos have no result; they are still in {CLIPS}" in text
