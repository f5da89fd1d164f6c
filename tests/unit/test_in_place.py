"""The real code of existing buckets over an S3 in memory: every order of events, requests and deaths ends right."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_vision.backends.contracts import Detection, Kind, Prediction
from batch_vision.core import errors
from batch_vision.core.settings import read_settings
from batch_vision.images.detectors import Detectors
from batch_vision.images.pace import Pace
from batch_vision.images.settings import UpdateResultsSettings
from batch_vision.images.updating import Batch
from tests.existing_bucket import broken_promises
from tests.unit.conftest import FakeBackend
from tests.unit.fake_s3 import FakeS3
from tests.unit.tool_stack import ENVIRONMENT

KEYS = (*["a.JPG"] * 6, "b.jpg", "notes.txt")
SETTINGS = read_settings(
    UpdateResultsSettings,
    ENVIRONMENT
    | {
        "IMAGES_BUCKET_NAME": "images",
        "IMAGE_SUFFIXES": '[".jpg"]',
        "SETTINGS_FINGERPRINT": "f1",
        "MAX_RECEIVE_COUNT": "50",
    },
)
MOST_WORKERS = 3
OWN_WRITES = {"PutObject", "DeleteObject"}


def event(key: str) -> str:
    """As EventBridge sends it, with much that is not to be believed."""
    return json.dumps(
        {
            "version": "0",
            "detail-type": "Object Deleted",
            "source": "aws.s3",
            "detail": {"bucket": {"name": "images"}, "object": {"key": key, "size": 7, "etag": "?", "sequencer": "0"}},
        }
    )


class AtOnce(Executor):
    """Does what is submitted in the thread that submits it."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*args, **kwargs))
        return done


class DiedError(BaseException):
    """The function ended in the middle."""


class Turn:
    """Stops a worker before each of its requests, until it may go on."""

    def __init__(self, work: Callable[[Turn], Any]) -> None:
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.waits_for = ""
        self.is_over = self._dies = self.repeats = False
        self.answer: Any = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def _run(self, work: Callable[[Turn], Any]) -> None:
        try:
            self.answer = work(self)
        except DiedError:
            self.answer = None
        finally:
            self.is_over = True
            self._stopped.release()

    def wait(self, request: str) -> None:
        """Called by the worker."""
        if self._dies:
            raise DiedError
        self.waits_for = request
        self._stopped.release()
        self._go.acquire()
        if self._dies:
            raise DiedError

    def go_on(self, *, dies: bool = False, repeats: bool = False) -> None:
        """Let the worker do one request, or end it; with ``repeats`` as a client does whose answer was lost."""
        self._dies, self.repeats = dies, repeats
        self._go.release()
        self._stopped.acquire()


class Client:
    """The S3 of one worker."""

    def __init__(self, s3: FakeS3, turn: Turn) -> None:
        self._s3, self._turn = s3, turn

    def __getattr__(self, name: str) -> Any:
        request = getattr(self._s3, name)
        if name == "get_paginator":
            return request

        def asked(**arguments: Any) -> Any:
            self._turn.wait(name)
            if self._turn.repeats and name == "put_object":
                request(**arguments)
            return request(**arguments)

        return asked


class Reader(FakeBackend):
    """A model that says what it read, as a service that reads the object from S3 itself."""

    def __init__(self, s3: FakeS3, wait: Callable[[str], None] = lambda _: None) -> None:
        super().__init__()
        self._s3, self._wait = s3, wait

    def detect(self, image: Any) -> Detection:
        self._wait("detect")
        self.calls.append((image.key, image.version_id))
        version = {} if image.version_id == "null" else {"VersionId": image.version_id}
        try:
            body = self._s3._found("GetObject", image.bucket, image.key, **version).body or b""
        except Exception as error:
            raise errors.ImageUnreadableError(str(error)) from error
        if body.startswith(b"bad"):
            raise errors.InvalidImageFormatError("no image")
        return Detection([Prediction(body.decode(), 90.0, kind=Kind.LABEL)], raw={"read": body.decode()})


def detectors_of(backend: FakeBackend) -> Detectors:
    return Detectors("fake", {"fake": backend}, {"fake": Pace(1e9, 1e9)}, "")


class World:
    """An existing bucket, its queue, and workers that are stopped before each request."""

    def __init__(self, *, is_versioned: bool) -> None:
        self.s3 = FakeS3("final", *(["images"] if is_versioned else []))
        self.queue: list[tuple[str, int]] = []
        self.workers: list[tuple[Turn, list[tuple[str, int]]]] = []
        self.is_versioned = is_versioned
        self.calls: list[Any] = []
        self.contents: dict[tuple[str, str], bytes] = {}
        self.uploads = 0
        self.brought = 0  # how often an object became the current one

    def send_message(self, MessageBody: str, **_: Any) -> None:  # noqa: N803 - boto3's
        self.queue.append((MessageBody, 0))

    def upload(self, key: str) -> None:
        self.uploads += 1
        self.brought += 1
        self.s3.upload("images", key, f"{'bad' if self.uploads % 5 == 0 else 'content'} {self.uploads}".encode())
        self.queue.append((event(key), 0))

    def remove(self, key: str) -> None:
        if self.s3.current("images", key):
            self.s3.remove("images", key)
            self.queue.append((event(key), 0))

    def remove_newest(self, key: str) -> None:
        if not self.is_versioned:
            self.remove(key)
        elif self.s3.objects["images"].get(key):
            self.s3.remove_newest("images", key)
            self.brought += self.s3.current("images", key) is not None
            self.queue.append((event(key), 0))

    def begin(self, messages: list[tuple[str, int]]) -> None:
        records = [
            {"messageId": str(number), "body": body, "attributes": {"ApproximateReceiveCount": str(received + 1)}}
            for number, (body, received) in enumerate(messages)
        ]

        def work(turn: Turn) -> Any:
            turn.wait("begin")
            backend = Reader(self.s3, turn.wait)
            backend.calls = self.calls
            client: Any = Client(self.s3, turn)
            batch = Batch(SETTINGS, client, self, detectors_of(backend), float("inf"))  # type: ignore[arg-type]
            failed = batch.update(records, AtOnce(), f"{id(turn)}-{len(self.calls)}")
            turn.wait("answer")
            return failed

        self.workers.append((Turn(work), messages))

    def go_on(self, place: int, **how: bool) -> None:
        turn, messages = self.workers[place]
        turn.go_on(**how)
        if turn.is_over:
            del self.workers[place]
            failed = range(len(messages)) if turn.answer is None else map(int, turn.answer)
            self.queue += [(messages[number][0], messages[number][1] + 1) for number in failed]

    def play(
        self, chance: random.Random, *, operations: int, deaths: int, duplicates: int, workers: int = MOST_WORKERS
    ) -> None:
        """Let all happen in an order of chance until all is quiet.

        One worker goes on for a while, so that others may be left behind for long.
        """
        place = 0
        while operations or self.queue or self.workers:
            moves = ["operation"] * 6 * bool(operations)
            if self.queue:
                moves += ["begin"] * 12 * (len(self.workers) < workers) + ["duplicate"] * bool(duplicates)
            moves += ["go on"] * 12 * bool(self.workers)
            moves += ["die", "repeat"] * bool(deaths and self.workers)
            if place >= len(self.workers) or chance.random() < 0.15:
                place = int(chance.random() * len(self.workers))
            match chance.choice(moves):
                case "operation":
                    operations -= 1
                    chance.choice((self.upload, self.remove, self.remove_newest))(chance.choice(KEYS))
                case "begin":
                    self.begin([self._taken(chance) for _ in range(min(len(self.queue), chance.choice((1, 1, 2))))])
                    place = len(self.workers) - 1
                case "duplicate":
                    duplicates -= 1
                    self.queue.append(chance.choice(self.queue))
                case "go on":
                    self.go_on(place)
                case "die":
                    deaths -= 1
                    self.go_on(place, dies=True)
                case "repeat":
                    deaths -= self.workers[place][0].waits_for == "put_object"
                    self.go_on(place, repeats=True)

    def _taken(self, chance: random.Random) -> tuple[str, int]:
        return self.queue.pop(int(chance.random() * len(self.queue)))

    def broken(self) -> list[str]:
        """What is not as it must be, the content that was read included."""
        problems = broken_promises(self.s3, "images", "final", SETTINGS.scope)
        for place in self.s3.keys("final"):
            if place.startswith("results/"):
                result = json.loads(self.s3.get_object("final", place)["Body"].read())
                current = self.s3.current("images", result["source"]["key"])
                body = ((current and current.body) or b"").decode()
                read = result["raw"]["read"] if result["raw"] else "bad"
                if not body.startswith(read):
                    problems.append(f"{place} was made from {read!r}, and {body!r} is there")
        return problems


def play_bursts(seed: int, *, is_versioned: bool) -> World:
    """Let bursts of changes come, each until all is quiet, and look each time."""
    world, chance = World(is_versioned=is_versioned), random.Random(seed)
    for _ in range(12):
        world.play(chance, operations=3, deaths=1, duplicates=1)
        assert world.broken() == []
    return world


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
@pytest.mark.fault("Existing bucket: overwritten, deleted or brought back while it is analyzed")
@pytest.mark.fault("Existing bucket: a Lambda that dies between any two steps")
@pytest.mark.fault("Existing bucket: the answer of S3 to a write is lost")
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_every_order_ends_with_one_result_of_each_object(seed: int, is_versioned: bool) -> None:
    world = play_bursts(seed, is_versioned=is_versioned)
    written = {bucket for operation, bucket, _ in world.s3.requests if operation in OWN_WRITES}
    assert written <= {"final"}, "the bucket of the images is not written"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_nothing_is_paid_for_twice_where_nothing_overlaps_and_nobody_dies(seed: int, is_versioned: bool) -> None:
    """Each upload once, and once more when its deletion took its result and it was brought back."""
    world = World(is_versioned=is_versioned)
    world.play(random.Random(seed), operations=30, deaths=0, duplicates=30, workers=1)
    assert world.broken() == []
    assert len(world.calls) <= world.brought
