"""A chunk of a backfill is worked off by call after call, and no image holds up another."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from batch_vision.aws import clients
from batch_vision.core import errors
from batch_vision.core.backfills import ASKING, is_asking
from batch_vision.core.chunks import Chunk, split
from batch_vision.core.times import utc_now
from batch_vision.images import working_off
from batch_vision.images.detectors import Detectors
from batch_vision.images.working_off import work_off_chunk
from tests.unit.conftest import DETECTION
from tests.unit.fake_s3 import refused
from tests.unit.test_analyze_chunk import World, failing
from tests.unit.tool_stack import ENVIRONMENT

KEYS = tuple(f"{number:02}.jpg" for number in range(12))
BROKEN = errors.UnexplainedRefusalError("no")  # not repeated within a call


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(clients, "s3", lambda: world.s3)
    monkeypatch.setattr(
        working_off, "detectors", lambda: Detectors("fake", {"fake": world.backend}, {"fake": world.pace})
    )
    return world


def call(world: World, chunk: str, previous: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    context: Any = SimpleNamespace(
        get_remaining_time_in_millis=lambda: world.seconds * 1000, aws_request_id=f"i{len(world.s3.requests)}"
    )
    return work_off_chunk({"chunk": chunk, "previous": previous or {}} | more, context)


def work_off(world: World, chunk: str) -> list[dict[str, Any]]:
    """Call as the workflow does, and return all answers."""
    answers = [call(world, chunk)]
    while answers[-1]["left"] and not answers[-1]["is_stuck"]:
        assert len(answers) < 50
        answers.append(call(world, chunk, answers[-1]))
    return answers


def test_one_call_is_enough_where_there_is_time(world: World) -> None:
    chunk = world.put(*world.upload(*KEYS), "gone.jpg", job="b")
    (answer,) = work_off(world, chunk)
    assert (answer["left"], world.waiting(), world.broken()) == (0, [], [])
    assert len(world.backend.calls) == len(KEYS)


def test_live_events_are_told_until_when_a_call_asks(world: World) -> None:
    chunk = world.put(*world.upload(*KEYS), job="b")
    world.seconds = 600
    work_off(world, chunk)
    said = world.s3.current("final", ASKING).body
    assert is_asking(said, utc_now() + timedelta(seconds=300))
    assert not is_asking(said, utc_now() + timedelta(seconds=360))
    call(world, chunk)  # it is gone
    assert [key for operation, _, key in world.s3.requests if operation == "PutObject"].count(ASKING) == 1


def test_a_call_goes_on_where_the_last_one_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = world.put(*world.upload(*KEYS), job="b")
    clock = iter(range(10_000))
    monkeypatch.setattr("batch_vision.images.chunk.time.monotonic", lambda: next(clock))
    world.seconds = 40
    answers = work_off(world, chunk)
    assert len(answers) > 2
    assert [answer["left"] for answer in answers] == sorted((answer["left"] for answer in answers), reverse=True)
    assert (world.waiting(), world.broken(), len(world.backend.calls)) == ([], [], len(KEYS))


@pytest.mark.fault("Backfill: an image that fails every time")
def test_peer_failing_one_bad_key_stops_a_job(world: World) -> None:
    chunk = world.put(*world.upload(*KEYS), job="b")
    world.backend.detections = [failing("05.jpg", BROKEN)]
    answers = work_off(world, chunk)
    assert len(answers) == 4
    assert (world.waiting(), world.broken()) == ([], [])
    assert world.results() == dict.fromkeys(KEYS, "processed") | {"05.jpg": "failed"}
    assert len(world.backend.calls) == len(KEYS) + 3


def test_peer_failing_a_list_does_everything_again_and_pays_again(world: World) -> None:
    world.upload(*KEYS)
    for job in ("b", "c"):
        work_off(world, world.put(*KEYS, job=job))
        assert (len(world.backend.calls), world.waiting(), world.broken()) == (len(KEYS), [], [])


def test_peer_failing_work_older_than_14_days_is_forgotten(world: World) -> None:
    """A chunk is an object, not a message; terraform/tests/shapes.tftest.hcl: no rule deletes one."""
    chunk = world.put(*world.upload(*KEYS), job="b")
    world.s3.let_pass(60 * 86400)
    work_off(world, chunk)
    assert (world.waiting(), world.broken()) == ([], [])


@pytest.mark.fault("Backfill: an image that fails every time")
def test_where_every_image_fails_none_is_given_up_and_the_chunk_stays(world: World) -> None:
    chunk = world.put(*world.upload(*KEYS), job="b")
    world.backend.detections = [BROKEN]
    answers = work_off(world, chunk)
    assert [answer["is_stuck"] for answer in answers] == [False, False, True]
    assert (world.waiting(), world.results()) == ([chunk], {})
    world.backend.detections = [DETECTION]
    work_off(world, chunk)
    assert (world.waiting(), world.broken()) == ([], [])


def test_a_chunk_that_a_function_died_of_is_taken_apart_down_to_the_image(world: World) -> None:
    chunk = world.put(*world.upload("a.jpg", "b.jpg"), job="b")
    assert call(world, chunk, died=True)["left"] == 0
    singles = split(chunk, Chunk("f1", ("a.jpg", "b.jpg")))
    assert set(world.waiting()) == set(singles)
    first, second = singles
    assert call(world, first, died=True)["left"] == 0
    work_off(world, second)
    assert (world.waiting(), world.results()) == ([], {"a.jpg": "failed", "b.jpg": "processed"})


def test_a_chunk_that_is_gone_or_none_is_no_work(world: World) -> None:
    assert call(world, "work/b/chunks/1-1-0123456789abcdef.json")["left"] == 0
    world.s3.upload("final", "work/b/chunks/1-1-0123456789abcdef.json", b'{"keys": 7}')
    assert call(world, "work/b/chunks/1-1-0123456789abcdef.json")["left"] == 0
    assert world.waiting() == []


def test_without_the_catalog_nothing_is_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = world.put(*world.upload("a.jpg"), job="b")

    def fail(*_: Any) -> None:
        raise refused("SlowDown", 503, "", "PutObject")

    with monkeypatch.context() as broken:
        broken.setattr("batch_vision.images.chunk.write_lines", fail)
        answers = work_off(world, chunk)
    assert (len(answers), answers[-1]["is_stuck"], world.waiting()) == (3, True, [chunk])
    work_off(world, chunk)
    assert (world.waiting(), world.broken()) == ([], [])
    assert len(world.backend.calls) == 1


@pytest.mark.fault("Backfill: no event told of images, of replaced and of deleted ones")
def test_peer_failing_a_rerun_pays_again(world: World) -> None:
    """Another backfill of the same images, and the same chunk once more."""
    keys = world.upload(*KEYS)
    for job in ("b", "b", "c"):
        (answer,) = work_off(world, world.put(*keys, job=job))
        assert answer["left"] == 0
    assert (len(world.backend.calls), world.waiting(), world.broken()) == (len(KEYS), [], [])


def test_results_of_former_settings_are_made_again(world: World) -> None:
    world.upload("a.jpg")
    world.s3.upload("final", "settings/f0.json", b"{}")
    world.s3.upload("final", "settings/f1.json", b"{}")
    work_off(world, world.put("a.jpg", job="b"))
    assert len(world.backend.calls) == 1
    place = "results/a.jpg.json"
    world.s3.current("final", place).metadata["fingerprint"] = "f0"
    work_off(world, world.put("a.jpg", job="c"))
    assert len(world.backend.calls) == 2
    work_off(world, world.put("a.jpg", job="d"))
    assert len(world.backend.calls) == 2


def test_an_older_function_leaves_chunks_of_newer_settings(world: World) -> None:
    for fingerprint in ("f1", "f2"):
        world.s3.upload("final", f"settings/{fingerprint}.json", b"{}")
        world.s3.let_pass(2)
    chunk = world.put(*world.upload("a.jpg"), job="b", fingerprint="f2")
    assert work_off(world, chunk)[-1]["is_stuck"]
    assert (world.waiting(), world.backend.calls) == ([chunk], [])
