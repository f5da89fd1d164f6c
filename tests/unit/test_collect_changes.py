"""What changes in an existing bucket is looked at whether the model runs or not, and only what needs it waits."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from batch_vision.aws.catalog import is_without_model
from batch_vision.aws.chunks import read_chunk
from batch_vision.core.chunks import Chunk, ChunkMessage, images_in
from batch_vision.core.settings import read_settings
from batch_vision.images import collecting
from batch_vision.images.collecting import Collecting
from batch_vision.images.settings import CollectChangesSettings
from tests.unit import test_analyze_chunk
from tests.unit.fake_s3 import refused
from tests.unit.tool_stack import ENVIRONMENT

SETTINGS = read_settings(CollectChangesSettings, ENVIRONMENT | {"CHUNK_IMAGES": "10"})


def event(key: str, bucket: str = "images", kind: str = "Deleted") -> str:
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "version-id": "?", "sequencer": "0"}}
    return json.dumps({"source": "aws.s3", "detail-type": f"Object {kind}", "detail": detail})


@dataclass
class World(test_analyze_chunk.World):
    """With the function that looks, beside the one that analyzes."""

    collected: int = field(default=0)

    def collect(self, *bodies: str, deliveries: int = 1) -> list[str]:
        """Let the function take messages; return those that are delivered again."""
        records = [
            {"messageId": f"m{number}", "body": body, "attributes": {"ApproximateReceiveCount": str(deliveries)}}
            for number, body in enumerate(bodies)
        ]
        self.collected += 1
        sqs: Any = self
        with ThreadPoolExecutor(4) as pool:
            batch = Collecting(SETTINGS, self.s3, sqs, time.monotonic() + self.seconds)
            failed = batch.update(records, pool, f"c{self.collected}")
        return [bodies[int(message_id[1:])] for message_id in failed]

    def chunks(self) -> list[Chunk]:
        found = [read_chunk(self.s3, "final", key) for key in self.waiting()]
        return [one[0] for one in found if one]

    def analyze(self) -> None:
        """Let a run work on all that waits."""
        for key in self.waiting():
            assert self.work(ChunkMessage(key).body()) == []


@pytest.fixture
def world() -> World:
    return World()


def test_what_needs_the_model_is_one_chunk_for_a_batch(world: World) -> None:
    world.upload("a.jpg", "b.JPG", "c.jpg")
    events = [event(key) for key in ("a.jpg", "b.JPG", "a.jpg", "c.jpg", "notes.txt")]
    assert world.collect(*events) == []
    (chunk,) = world.chunks()
    assert (sorted(chunk.keys), chunk.fingerprint) == (["a.jpg", "b.JPG", "c.jpg"], "f1")
    assert images_in(world.waiting()[0]) == 3
    assert (world.results(), world.lines()) == ({}, [])
    world.analyze()
    assert (world.waiting(), world.broken()) == ([], [])


def test_more_keys_than_a_chunk_holds_are_several(world: World) -> None:
    keys = world.upload(*(f"{number}.jpg" for number in range(25)))
    assert world.collect(*(event(key) for key in keys)) == []
    assert sorted(len(chunk.keys) for chunk in world.chunks()) == [5, 10, 10]
    assert {key for chunk in world.chunks() for key in chunk.keys} == set(keys)


def test_a_deletion_a_duplicate_and_what_is_finished_start_no_model(world: World) -> None:
    world.upload("kept.jpg", "deleted.jpg")
    world.collect(event("kept.jpg"), event("deleted.jpg"))
    world.analyze()
    world.s3.remove("images", "deleted.jpg")
    events = [event("kept.jpg"), event("kept.jpg"), event("deleted.jpg"), event("never.jpg")]
    assert world.collect(*events) == []
    assert (world.waiting(), world.results(), world.broken()) == ([], {"kept.jpg": "processed"}, [])
    assert [line["status"] for line in world.lines() if line["key"] == "deleted.jpg"] == ["processed", "deleted"]


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
def test_peer_failing_an_event_is_believed(world: World) -> None:
    """A deletion of what is there waits for the model, and an upload of what is gone starts none."""
    world.upload("there.jpg")
    assert world.collect(event("there.jpg", kind="Deleted"), event("gone.jpg", kind="Created")) == []
    assert [chunk.keys for chunk in world.chunks()] == [("there.jpg",)]


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
def test_peer_failing_a_deletion_that_comes_before_its_upload(world: World) -> None:
    world.upload("a.jpg")
    world.s3.remove("images", "a.jpg")
    for kind in ("Deleted", "Created"):
        assert world.collect(event("a.jpg", kind=kind)) == []
    assert (world.waiting(), world.results(), world.lines()) == ([], {}, [])


def test_the_catalog_tells_that_no_model_was_asked(world: World) -> None:
    """A run that goes by the catalog takes it for no progress."""
    world.upload("a.jpg")
    world.collect(event("a.jpg"))
    world.analyze()
    world.s3.remove("images", "a.jpg")
    time.sleep(0.002)  # the names of catalog objects tell milliseconds
    world.collect(event("a.jpg"))
    places = [place for place in world.s3.keys("final") if place.startswith("catalog/")]
    assert [is_without_model(place) for place in places] == [False, True]


def test_what_no_model_can_take_is_settled_without_one(world: World) -> None:
    world.upload("cold.jpg")
    world.s3.current("images", "cold.jpg").told = {"StorageClass": "DEEP_ARCHIVE"}
    world.s3.upload("images", "empty.jpg", b"")
    assert world.collect(event("cold.jpg"), event("empty.jpg")) == []
    assert (world.waiting(), world.broken()) == ([], [])
    assert world.results() == {"cold.jpg": "failed", "empty.jpg": "rejected"}
    result = json.loads(world.s3.current("final", "results/empty.jpg.json").body)
    assert (result["error"]["type"], result["model"]["backend"]) == ("InvalidImageFormatError", SETTINGS.backend)


def test_a_chunk_that_is_not_written_leaves_only_its_messages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.upload("done.jpg", "new.jpg")
    world.collect(event("done.jpg"))
    world.analyze()

    def refuse(*_: Any) -> None:
        raise refused("SlowDown", 503, "", "PutObject")

    with monkeypatch.context() as broken:
        broken.setattr(collecting, "write_live_chunk", refuse)
        assert world.collect(event("done.jpg"), event("new.jpg"), "rubbish") == [event("new.jpg")]
    assert world.waiting() == []
    assert world.collect(event("new.jpg"), deliveries=2) == []
    assert [chunk.keys for chunk in world.chunks()] == [("new.jpg",)]


def test_a_chunk_that_is_written_twice_asks_once(world: World) -> None:
    world.upload("a.jpg")
    for deliveries in (1, 2):
        assert world.collect(event("a.jpg"), deliveries=deliveries) == []
    assert len(world.waiting()) == 2
    world.analyze()
    assert (world.waiting(), len(world.backend.calls), world.broken()) == ([], 1, [])


def test_a_key_that_s3_does_not_tell_of_now_is_left_and_hides_no_other(world: World) -> None:
    world.upload("a.jpg", "b.jpg")
    world.s3.current("images", "a.jpg").refusal = lambda operation: refused("SlowDown", 503, "", operation)
    assert world.collect(event("a.jpg"), event("b.jpg")) == [event("a.jpg")]
    assert [chunk.keys for chunk in world.chunks()] == [("b.jpg",)]


@pytest.mark.fault("Existing bucket: access to an object is denied")
def test_an_access_that_is_denied_is_tried_again_until_the_last_delivery(world: World) -> None:
    def denied(operation: str) -> Exception:
        return refused("AccessDenied", 403, "Access Denied", operation)

    world.s3.upload("images", "a.jpg", b"content", refusal=denied)
    assert world.collect(event("a.jpg")) == [event("a.jpg")]
    assert world.collect(event("a.jpg"), deliveries=SETTINGS.max_receive_count) == []
    assert (world.waiting(), world.results()) == ([], {"a.jpg": "failed"})


def test_what_finds_no_time_is_left_but_for_the_last_delivery(world: World) -> None:
    world.upload("a.jpg")
    world.seconds = -1
    assert world.collect(event("a.jpg")) == [event("a.jpg")]
    assert world.waiting() == []
    assert world.collect(event("a.jpg"), deliveries=SETTINGS.max_receive_count) == []
    assert [chunk.keys for chunk in world.chunks()] == [("a.jpg",)]


def test_a_replaced_image_waits_again_and_keeps_its_result_until_then(world: World) -> None:
    world.upload("a.jpg")
    world.collect(event("a.jpg"))
    world.analyze()
    world.upload("a.jpg")
    world.collect(event("a.jpg"))
    assert ([chunk.keys for chunk in world.chunks()], world.results()) == ([("a.jpg",)], {"a.jpg": "processed"})
    assert len(world.broken()) == 1
    world.analyze()
    assert (world.broken(), len(world.backend.calls)) == ([], 2)


def test_events_of_others_and_rubbish_are_acknowledged(world: World) -> None:
    world.upload("a.jpg")
    assert world.collect("rubbish", event("a.jpg", bucket="other"), "{}") == []
    assert world.waiting() == []


def test_a_key_that_is_encoded_is_looked_at_as_it_stands_and_decoded(world: World) -> None:
    world.upload("a b+c.jpg")
    assert world.collect(event("a+b%2Bc.jpg")) == []
    assert [chunk.keys for chunk in world.chunks()] == [("a b+c.jpg",)]
