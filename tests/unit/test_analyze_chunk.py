"""Chunks are worked on side by side, as far as there is time, and deleted only when each of their keys is settled."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from batch_vision.aws import chunks as stored
from batch_vision.core import errors
from batch_vision.core.chunks import Chunk, ChunkMessage, chunk_key, images_in, live_chunk_key
from batch_vision.core.settings import read_settings
from batch_vision.core.times import from_text
from batch_vision.images import chunk as module
from batch_vision.images.chunk import ChunkBatch
from batch_vision.images.detectors import Detectors
from batch_vision.images.pace import Pace
from batch_vision.images.settings import AnalyzeChunkSettings
from tests.existing_bucket import broken_promises
from tests.unit.conftest import DETECTION, NOW, FakeBackend
from tests.unit.fake_s3 import FakeS3, refused
from tests.unit.tool_stack import ENVIRONMENT

SETTINGS = read_settings(AnalyzeChunkSettings, ENVIRONMENT)
QUEUE = SETTINGS.queue_url


@dataclass
class World:
    """An existing bucket, the final one, the queue, and a model that answers as told."""

    s3: Any = field(default_factory=lambda: FakeS3("images", "final"))
    backend: FakeBackend = field(default_factory=FakeBackend)
    sent: list[dict[str, Any]] = field(default_factory=list)
    pace: Pace = field(default_factory=lambda: Pace(1e9, 1e9))
    seconds: float = 60
    settings: AnalyzeChunkSettings = SETTINGS

    def send_message(self, **request: Any) -> None:
        self.sent.append(request)

    def upload(self, *keys: str) -> tuple[str, ...]:
        for key in keys:
            self.s3.upload("images", key, f"content of {key}".encode())
        return keys

    def put(self, *keys: str, job: str = "live", fingerprint: str = "f1") -> str:
        chunk = Chunk(fingerprint, keys)
        key = live_chunk_key(NOW, chunk) if job == "live" else chunk_key(job, "1", chunk)
        assert stored.write_chunk(self.s3, "final", key, chunk)
        return key

    def work(self, *bodies: str, deliveries: int = 1) -> list[str]:
        """Let the function take messages; return those that are delivered again."""
        records = [
            {"messageId": body, "body": body, "attributes": {"ApproximateReceiveCount": str(deliveries)}}
            for body in bodies
        ]
        detectors = Detectors("fake", {"fake": self.backend}, {"fake": self.pace})
        with ThreadPoolExecutor(4) as pool:
            sqs: Any = self
            batch = ChunkBatch(self.settings, self.s3, sqs, detectors, time.monotonic() + self.seconds)
            return batch.work(records, pool, f"i{len(self.s3.requests)}")

    def deliver(self, *keys: str, **how: Any) -> list[str]:
        return self.work(*(ChunkMessage(key).body() for key in keys), **how)

    def sent_anew(self) -> list[tuple[ChunkMessage, int]]:
        sent = [(ChunkMessage.from_body(one["MessageBody"]), one["DelaySeconds"]) for one in self.sent]
        self.sent.clear()
        return sent

    def waiting(self) -> list[str]:
        return [key for key in self.s3.keys("final") if images_in(key) is not None]

    def results(self) -> dict[str, str]:
        found = {}
        for place in self.s3.keys("final"):
            if place.startswith("results/"):
                result = json.loads(self.s3.current("final", place).body)
                found[result["source"]["key"]] = result["status"]
        return found

    def lines(self) -> list[dict[str, Any]]:
        places = [place for place in self.s3.keys("final") if place.startswith("catalog/")]
        bodies = [self.s3.current("final", place).body.decode() for place in places]
        return [json.loads(line) for body in bodies for line in body.split("\n") if line]

    def broken(self) -> list[str]:
        return broken_promises(self.s3, "images", "final", self.settings.scope)


@pytest.fixture
def world() -> World:
    return World()


def failing(key: str, error: Exception) -> Callable[[Any], Any]:
    def answer(image: Any) -> Any:
        if image.key == key:
            raise error
        return DETECTION

    return answer


THROTTLED = errors.UnexplainedRefusalError("no")  # not repeated within an invocation


def test_a_chunk_goes_when_each_of_its_keys_has_a_result_or_no_object(world: World) -> None:
    keys = world.upload(*(f"{number}.jpg" for number in range(20)))
    chunk = world.put(*keys, "gone.jpg", "notes.txt")
    assert world.deliver(chunk) == []
    assert (world.waiting(), world.sent) == ([], [])
    assert world.results() == dict.fromkeys(keys, "processed")
    assert world.broken() == []
    assert len(world.backend.calls) == 20
    asked = [
        request for request in world.s3.requests if request[:2] in (("PutObject", "final"), ("DeleteObject", "final"))
    ]
    assert asked[-1] == ("DeleteObject", "final", chunk), "after the results"
    assert asked[-2][2].startswith("catalog/"), "and after the catalog"
    # Nothing is left under it, so nothing comes back.
    assert world.s3.objects["final"][chunk] == []


@pytest.mark.fault("Chunks: a chunk is written again while it is worked on")
def test_a_chunk_that_was_written_again_meanwhile_stays(world: World) -> None:
    chunk = world.put(*world.upload("a.jpg"))

    def write_again(_: Any) -> Any:
        world.s3.put_object("final", chunk, Chunk("f1", ("a.jpg",)).body())
        return DETECTION

    world.backend.detections = [write_again]
    assert world.deliver(chunk) == []
    assert world.waiting() == [chunk]
    assert world.deliver(chunk) == []
    assert world.waiting() == []
    assert len(world.backend.calls) == 1


def test_what_has_no_time_is_sent_anew_from_where_it_came_to_and_is_no_attempt(world: World) -> None:
    keys = world.upload(*(f"{number:02d}.jpg" for number in range(12)))
    chunk = world.put(*keys)
    version_id = world.s3.current("final", chunk).version_id
    world.pace, world.seconds = Pace(10, 10, credit_seconds=0), 0.45
    assert world.deliver(chunk, deliveries=99) == [], "not even at the last delivery"
    ((rest, delay_seconds),) = world.sent_anew()
    done = world.results()
    assert 1 <= len(done) <= 7
    assert set(done.values()) == {"processed"}
    assert (rest.chunk, rest.version_id, delay_seconds) == (chunk, version_id, 0)
    assert [keys[place] for place in rest.left] == [key for key in keys if key not in done]
    assert world.waiting() == [chunk]
    world.pace, world.seconds = Pace(1e9, 1e9), 60
    world.s3.requests.clear()
    assert world.work(rest.body()) == []
    looked = {key for operation, bucket, key in world.s3.requests if (operation, bucket) == ("HeadObject", "images")}
    assert looked == {keys[place] for place in rest.left}
    assert (world.waiting(), world.results()) == ([], dict.fromkeys(keys, "processed"))
    assert len(world.backend.calls) == 12


def test_a_message_of_another_version_of_the_chunk_begins_anew(world: World) -> None:
    keys = world.upload("a.jpg", "b.jpg")
    chunk = world.put(*keys)
    assert world.work(ChunkMessage(chunk, version_id="v0", left=(1,)).body()) == []
    assert world.results() == dict.fromkeys(keys, "processed")


@pytest.mark.fault("Chunks: the model stops in the middle of a chunk")
def test_a_model_that_is_not_running_is_asked_once_and_costs_no_attempt(world: World) -> None:
    chunk = world.put(*world.upload(*(f"{number}.jpg" for number in range(50))))
    world.backend.detections = [errors.ModelNotReadyError("STOPPED")]
    assert world.deliver(chunk, deliveries=99) == []
    ((rest, delay_seconds),) = world.sent_anew()
    assert (rest.left, delay_seconds) == (tuple(range(50)), 60)
    assert 1 <= len(world.backend.calls) <= 4, "one for each thread"
    assert (world.waiting(), world.results()) == ([chunk], {})


@pytest.mark.fault("Chunks: one image of a chunk fails every time")
def test_a_key_that_fails_beside_others_uses_up_no_attempt(world: World) -> None:
    keys = world.upload("a.jpg", "bad.jpg", "c.jpg")
    chunk = world.put(*keys)
    world.backend.detections = [failing("bad.jpg", THROTTLED)]
    assert world.deliver(chunk) == []
    ((rest, delay_seconds),) = world.sent_anew()
    assert (rest.left, delay_seconds) == ((1,), 0)
    assert world.waiting() == [chunk]
    # From then on it is alone.
    assert world.work(rest.body(), deliveries=4) == [rest.body()]
    assert world.work(rest.body(), deliveries=5) == []
    assert world.results() == dict.fromkeys(keys, "processed") | {"bad.jpg": "failed"}
    assert (world.sent, world.waiting()) == ([], [])


@pytest.mark.fault("Chunks: one image of a chunk fails every time")
def test_a_key_that_fails_alone_is_left_to_the_queue_and_at_last_given_up(world: World) -> None:
    chunk = world.put(*world.upload("bad.jpg"))
    world.backend.detections = [failing("bad.jpg", THROTTLED)]
    assert len(world.deliver(chunk, deliveries=4)) == 1
    assert (world.sent, world.waiting(), world.results()) == ([], [chunk], {})
    assert world.deliver(chunk, deliveries=5) == []
    assert (world.waiting(), world.results()) == ([], {"bad.jpg": "failed"})
    result = json.loads(world.s3.current("final", "results/bad.jpg.json").body)
    assert result["error"]["type"] == "UnexplainedRefusalError"
    assert result["error"]["remedy"] == THROTTLED.remedy
    assert [line["status"] for line in world.lines()] == ["failed"]
    assert world.broken() == []
    # It is not tried again until somebody says so.
    assert world.deliver(world.put("bad.jpg")) == []
    assert len(world.backend.calls) == 2


def test_what_s3_refuses_for_good_has_failed_at_once(world: World) -> None:
    world.upload("cold.jpg")
    world.s3.current("images", "cold.jpg").told = {"StorageClass": "GLACIER"}
    assert world.deliver(world.put("cold.jpg")) == []
    assert (world.results(), world.waiting(), world.backend.calls) == ({"cold.jpg": "failed"}, [], [])


def test_no_image_is_rejected(world: World) -> None:
    world.backend.detections = [failing("bad.jpg", errors.InvalidImageFormatError("no image"))]
    assert world.deliver(world.put(*world.upload("bad.jpg", "a.jpg"))) == []
    assert world.results() == {"a.jpg": "processed", "bad.jpg": "rejected"}


def test_an_object_that_is_replaced_all_the_time_neither_loops_nor_dies(world: World) -> None:
    chunk = world.put(*world.upload("a.jpg"))

    def replace_it(_: Any) -> Any:
        world.upload("a.jpg")
        return DETECTION

    world.backend.detections = [replace_it]
    assert world.deliver(chunk, deliveries=99) == []
    ((rest, delay_seconds),) = world.sent_anew()
    assert (len(world.backend.calls), rest.left, delay_seconds) == (3, (0,), 60)
    assert world.waiting() == [chunk]


def current_run(world: World, run_id: str) -> None:
    world.s3.put_object("final", "current-run.json", json.dumps({"run_id": run_id}).encode())


@pytest.mark.fault("Chunks: messages of chunks that an earlier run has left")
def test_messages_that_an_earlier_run_has_left_are_out_of_date(world: World) -> None:
    """The run that is under way has sent one of its own: two would ask about each image twice."""
    current_run(world, "r2")
    chunk = world.put(*world.upload("a.jpg"))
    assert world.work(ChunkMessage(chunk, "r1").body()) == []
    assert (world.waiting(), world.backend.calls, world.sent) == ([chunk], [], [])
    assert world.work(ChunkMessage(chunk, "r2").body()) == []
    assert world.waiting() == []


def test_a_message_that_is_sent_anew_is_still_of_its_run(world: World) -> None:
    current_run(world, "r2")
    world.backend.detections = [errors.ModelNotReadyError("STOPPED")]
    world.work(ChunkMessage(world.put(*world.upload("a.jpg")), "r2").body())
    assert [rest.run_id for rest, _ in world.sent_anew()] == ["r2"]


def test_what_names_no_chunk_that_waits_is_acknowledged(world: World) -> None:
    gone = ChunkMessage(live_chunk_key(NOW, Chunk("f1", ("a",)))).body()
    assert world.work(gone, "rubbish", '{"Event": "s3:TestEvent"}') == []
    assert world.sent == []


def test_what_is_named_like_a_chunk_and_is_none_is_set_aside_and_buys_no_start(world: World) -> None:
    chunk = world.put("a.jpg")
    world.s3.put_object("final", chunk, b"rubbish")
    assert world.deliver(chunk) == []
    assert world.waiting() == []
    assert [one.body for one in world.s3.objects["final"][chunk]][1:] == [b"rubbish", None]


def test_a_chunk_that_cannot_be_read_now_is_left_and_hides_no_other(world: World) -> None:
    bad, good = world.put(*world.upload("bad.jpg")), world.put(*world.upload("a.jpg"))
    world.s3.current("final", bad).refusal = lambda operation: refused("SlowDown", 503, "", operation)
    assert world.deliver(bad, good) == [ChunkMessage(bad).body()]
    assert world.results() == {"a.jpg": "processed"}


def test_a_catalog_that_is_not_written_leaves_all_and_is_written_by_the_redelivery(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = world.put(*world.upload("a.jpg", "b.jpg"))
    with monkeypatch.context() as broken:

        def refuse(*_: Any) -> None:
            raise refused("SlowDown", 503, "", "PutObject")

        broken.setattr(module, "write_lines", refuse)
        assert len(world.deliver(chunk)) == 1
    assert (world.waiting(), world.lines(), world.sent) == ([chunk], [], [])
    assert world.deliver(chunk, deliveries=2) == []
    assert {line["key"] for line in world.lines()} == {"a.jpg", "b.jpg"}
    assert (world.waiting(), len(world.backend.calls), world.broken()) == ([], 2, [])


def test_a_message_that_cannot_be_sent_anew_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = world.put(*world.upload("a.jpg"))
    world.backend.detections = [errors.ModelNotReadyError("STOPPED")]

    def refuse(**_: Any) -> None:
        raise refused("AccessDenied", 403, "", "SendMessage")

    monkeypatch.setattr(world, "send_message", refuse)
    assert len(world.deliver(chunk)) == 1


def test_a_chunk_that_two_messages_of_a_batch_name_is_worked_on_once(world: World) -> None:
    chunk = world.put(*world.upload("a.jpg"))
    assert world.work(ChunkMessage(chunk).body(), ChunkMessage(chunk, version_id="x").body()) == []
    assert (world.waiting(), len(world.backend.calls)) == ([], 1)


def test_small_chunks_of_a_batch_are_worked_on_side_by_side(world: World) -> None:
    chunks = [world.put(key) for key in world.upload("a.jpg", "b.jpg", "c.jpg", "d.jpg")]
    waited: list[str] = []

    def wait(image: Any) -> Any:
        waited.append(image.key)
        end = time.monotonic() + 5
        while len(waited) < 4 and time.monotonic() < end:
            time.sleep(0.01)
        assert len(waited) == 4
        return DETECTION

    world.backend.detections = [wait]
    assert world.deliver(*chunks) == []
    assert world.waiting() == []


# Settings.


def make_result(world: World, key: str, fingerprint: str) -> None:
    world.settings = replace(SETTINGS, settings_fingerprint=fingerprint)
    world.deliver(world.put(key))
    world.settings = SETTINGS
    world.backend.calls.clear()


def fingerprint_of(world: World, key: str) -> str:
    return str(json.loads(world.s3.current("final", f"results/{key}.json").body)["fingerprint"])


def test_a_live_chunk_compares_the_upload_only(world: World) -> None:
    world.upload("a.jpg")
    make_result(world, "a.jpg", "f0")
    for fingerprint in ("f0", "f1", "f2"):
        assert world.deliver(world.put("a.jpg", fingerprint=fingerprint)) == []
    assert (world.backend.calls, fingerprint_of(world, "a.jpg"), world.waiting()) == ([], "f0", [])


def test_a_backfill_redoes_what_other_settings_made(world: World) -> None:
    world.upload("a.jpg")
    make_result(world, "a.jpg", "f0")
    assert world.deliver(world.put("a.jpg", job="b1")) == []
    assert (len(world.backend.calls), fingerprint_of(world, "a.jpg"), world.waiting()) == (1, "f1", [])
    assert world.deliver(world.put("a.jpg", job="b1")) == []
    assert len(world.backend.calls) == 1


def test_the_function_of_before_an_apply_leaves_the_backfill_of_after_it(world: World) -> None:
    world.upload("a.jpg")
    for fingerprint in ("f1", "f2"):
        world.s3.put_object("final", f"settings/{fingerprint}.json", b"{}")
    chunk = world.put("a.jpg", job="b1", fingerprint="f2")
    assert world.deliver(chunk, deliveries=99) == []
    assert [delay_seconds for _, delay_seconds in world.sent_anew()] == [60]
    assert (world.waiting(), world.backend.calls) == ([chunk], [])


@pytest.mark.parametrize("left_over", [False, True])
def test_a_backfill_of_settings_that_are_gone_holds_up_no_run(world: World, *, left_over: bool) -> None:
    """Nobody can make what it wants any more: its images get a result, and those that have one keep it."""
    world.upload("a.jpg", "b.jpg")
    make_result(world, "a.jpg", "f0")
    world.s3._seconds_each = 1
    for fingerprint in ("f9", "f1")[not left_over :]:
        world.s3.put_object("final", f"settings/{fingerprint}.json", b"{}")
    assert world.deliver(world.put("a.jpg", "b.jpg", job="b1", fingerprint="f9")) == []
    assert (fingerprint_of(world, "a.jpg"), fingerprint_of(world, "b.jpg"), world.waiting()) == ("f0", "f1", [])


def test_the_catalog_has_a_line_for_each_result_with_its_cost(world: World) -> None:
    world.deliver(world.put(*world.upload("a.jpg")))
    (line,) = world.lines()
    assert (line["key"], line["status"], line["attempts"]) == ("a.jpg", "processed", 1)
    assert from_text(line["recorded_at"])
