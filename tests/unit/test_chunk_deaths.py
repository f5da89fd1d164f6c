"""Functions that end or are overtaken before any request: nothing is lost, and hardly anything asked about twice."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from batch_vision.aws import chunks as stored
from batch_vision.core.backfills import cancelled_key
from batch_vision.core.chunks import Chunk, ChunkMessage, split
from batch_vision.images import taking_apart
from batch_vision.images.chunk import ChunkBatch
from batch_vision.images.collecting import Collecting
from batch_vision.images.detectors import Detectors
from batch_vision.images.keys import Keys, unasked_detectors
from tests.unit.test_analyze_chunk import SETTINGS
from tests.unit.test_collect_changes import SETTINGS as COLLECT_SETTINGS
from tests.unit.test_collect_changes import World, event
from tests.unit.test_in_place import AtOnce, DiedError

KEYS = ("a.jpg", "b.jpg")


class Stopping:
    """S3 and SQS of one function, which is stopped before its n-th request.

    Parameters
    ----------
    stop
        Called then.
    """

    def __init__(self, world: World, request: int, stop: Callable[[], None]) -> None:
        self._world, self._left, self._stop = world, request, stop
        self.is_stopped = False

    def __getattr__(self, name: str) -> Any:
        target = getattr(self._world if name == "send_message" else self._world.s3, name)
        if name in ("exceptions", "get_paginator"):
            return target

        def asked(**arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self.is_stopped = True
                self._stop()
            return target(**arguments)

        return asked


def die() -> None:
    raise DiedError


def record(body: str, deliveries: int = 1) -> dict[str, Any]:
    return {"messageId": "m", "body": body, "attributes": {"ApproximateReceiveCount": str(deliveries)}}


def analyze(world: World, client: Any, body: str) -> list[str]:
    detectors = Detectors("fake", {"fake": world.backend}, {"fake": world.pace})
    return ChunkBatch(SETTINGS, client, client, detectors, float("inf")).work([record(body)], AtOnce(), str(id(client)))


def collect(world: World, client: Any, key: str) -> list[str]:
    return Collecting(COLLECT_SETTINGS, client, client, float("inf")).update(
        [record(event(key))], AtOnce(), str(id(client))
    )


def begun() -> World:
    """One image to ask about, one whose result is there, one that was deleted since."""
    world = World()
    world.upload("done.jpg", "deleted.jpg")
    world.collect(event("done.jpg"), event("deleted.jpg"))
    world.analyze()
    world.s3.remove("images", "deleted.jpg")
    world.upload(*KEYS)
    world.backend.calls.clear()
    return world


def every_request(of: Callable[[World, Stopping], Any]) -> Iterator[World]:
    """The world after a function died before each of its requests."""
    for request in itertools.count(1):
        world = begun()
        client = Stopping(world, request, die)
        try:
            of(world, client)
        except DiedError:
            yield world
        if not client.is_stopped:
            assert request > 5
            return


@pytest.mark.fault("Chunks: the function dies before any request of its work on a chunk")
def test_a_function_that_dies_in_the_middle_of_a_chunk_leaves_it_to_the_redelivery() -> None:
    chunks = {}

    def work(world: World, client: Stopping) -> None:
        chunks[id(world)] = world.put(*KEYS, "done.jpg", "deleted.jpg")
        analyze(world, client, ChunkMessage(chunks[id(world)]).body())

    for world in every_request(work):
        chunk = chunks[id(world)]
        is_left = chunk in world.waiting()
        assert is_left or world.broken() == [], "it goes when all is done"
        assert world.deliver(chunk, deliveries=2) == []
        assert (world.waiting(), world.broken(), world.sent) == ([], [], [])
        assert len(world.backend.calls) <= len(KEYS) + 1, "one call of the one that died is lost"


@pytest.mark.fault("Chunks: the function that looks dies before any request")
@pytest.mark.parametrize("key", ["a.jpg", "done.jpg", "deleted.jpg"])
def test_a_function_that_dies_while_it_looks_leaves_the_message_to_the_redelivery(key: str) -> None:
    requests = 0
    for request in itertools.count(1):
        world = begun()
        client = Stopping(world, request, die)
        try:
            collect(world, client, key)
        except DiedError:
            requests += 1
        if not client.is_stopped:
            break
        assert world.collect(event(key), deliveries=2) == []
        assert len(world.waiting()) <= 2
        world.analyze()
        for other in (*KEYS, "deleted.jpg"):
            world.collect(event(other))
        world.analyze()
        assert (world.waiting(), world.broken(), len(world.backend.calls)) == ([], [], 2)
    assert requests >= 2


@pytest.mark.fault("Chunks: two functions work on one chunk")
def test_two_functions_on_one_chunk_end_with_one_result_of_each_image() -> None:
    for request in itertools.count(1):
        world = begun()
        chunk = world.put(*KEYS, "done.jpg", "deleted.jpg")
        body = ChunkMessage(chunk).body()

        def other(world: World = world, body: str = body) -> None:
            worker = threading.Thread(target=analyze, args=(world, Stopping(world, 0, die), body))
            worker.start()
            worker.join()

        client = Stopping(world, request, other)
        assert analyze(world, client, body) == []
        if not client.is_stopped:
            break
        assert (world.waiting(), world.broken()) == ([], [])
        assert len(world.backend.calls) <= len(KEYS) + 1, "one image at most is asked about by both"
    assert request > 10


CHANGES: dict[str, Callable[[World], Any]] = {
    "replaced": lambda world: world.upload("a.jpg"),
    "deleted": lambda world: world.s3.remove("images", "a.jpg"),
    "the same bytes again": lambda world: world.s3.upload("images", "a.jpg", world.s3.current("images", "a.jpg").body),
    "an older version": lambda world: world.s3.remove_newest("images", "a.jpg"),
}


@pytest.mark.fault("Chunks: an image of a chunk changes while it is worked on")
@pytest.mark.parametrize("is_versioned", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_while_a_chunk_is_worked_on_ends_right_whoever_is_first(change: str, *, is_versioned: bool) -> None:
    """Before any request of the one that analyzes; its event is collected at once."""
    for request in itertools.count(1):
        world = begun()
        if not is_versioned:
            if change == "an older version":
                return
            world.s3.versioned.discard("images")
            world.s3.objects["images"].clear()
            world.upload("done.jpg", *KEYS)
        elif change == "an older version":
            world.upload("a.jpg")
        chunk = world.put(*KEYS, "done.jpg", "deleted.jpg")

        def happen(world: World = world) -> None:
            CHANGES[change](world)
            assert world.collect(event("a.jpg")) == []

        client = Stopping(world, request, happen)
        assert analyze(world, client, ChunkMessage(chunk).body()) == []
        if not client.is_stopped:
            break
        world.analyze()
        assert (world.waiting(), world.broken()) == ([], [])
    assert request > 10


@pytest.mark.fault("Chunks: the step that takes a dead letter apart dies before any request")
@pytest.mark.parametrize("keys", [KEYS, ("a.jpg",)])
def test_a_step_that_dies_while_it_takes_a_dead_letter_apart_loses_no_key(
    keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_apart, "ThreadPoolExecutor", lambda _: AtOnce())
    requests = 0
    for request in itertools.count(1):
        world = begun()
        chunk = world.put(*keys)
        client: Any = Stopping(world, request, die)
        try:
            _take_apart(client, chunk)
        except DiedError:
            requests += 1
        if not client.is_stopped:
            break
        s3: Any = world.s3
        _take_apart(s3, chunk)
        if len(keys) > 1:
            assert set(world.waiting()) == set(split(chunk, Chunk("f1", keys)))
            world.analyze()
            assert world.results() == dict.fromkeys((*keys, "done.jpg", "deleted.jpg"), "processed")
        else:
            assert (world.waiting(), world.results()["a.jpg"]) == ([], "failed")
            assert (
                json.loads(world.s3.current("final", "results/a.jpg.json").body)["error"]["type"] == "FunctionDiedError"
            )
            assert [line["status"] for line in world.lines() if line["key"] == "a.jpg"][-1:] == ["failed"]
    assert requests > 3


@pytest.mark.fault("Backfill: cancelled while a chunk of it is taken apart")
def test_a_backfill_that_is_cancelled_while_a_chunk_is_taken_apart_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any request of the step, and whether the chunk was still there or a call before had died."""
    monkeypatch.setattr(taking_apart, "ThreadPoolExecutor", lambda _: AtOnce())
    for request in itertools.count(1):
        world = begun()
        chunk = world.put(*KEYS, job="b")
        single = next(iter(split(chunk, Chunk("f1", KEYS)).items()))
        stored.write_chunk(world.s3, "final", *single)

        def cancel(world: World = world) -> None:
            """As `operator.backfill.cancel` does."""
            world.s3.put_object("final", cancelled_key("b"), b"{}")
            for key in world.waiting():
                world.s3.delete_object("final", key)

        client: Any = Stopping(world, request, cancel)
        _take_apart(client, chunk)
        if not client.is_stopped:
            break
        assert world.waiting() == []
    assert request > 5


def test_a_chunk_is_read_in_the_version_that_is_deleted() -> None:
    world = World()
    chunk = world.put("a.jpg")
    found = stored.read_chunk(world.s3, "final", chunk)
    assert found
    world.s3.put_object("final", chunk, found[0].body())
    stored.delete_chunk(world.s3, "final", chunk, found[1])
    assert world.waiting() == [chunk]


def _take_apart(s3: Any, chunk: str) -> None:
    keys = Keys(COLLECT_SETTINGS, s3, unasked_detectors(COLLECT_SETTINGS.model))
    taking_apart.take_apart(s3, COLLECT_SETTINGS.final_bucket_name, keys, chunk)
