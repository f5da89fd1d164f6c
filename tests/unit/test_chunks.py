"""Chunks: their names, what is sent, and how a run with them knows whether there is work and whether it moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from batch_vision.aws import chunks as stored
from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key, name_without_model, read_catalog
from batch_vision.aws.chunks import list_chunks, read_chunk, write_chunk, write_live_chunk
from batch_vision.backends.contracts import ModelState
from batch_vision.core import chunks, errors
from batch_vision.core.chunks import (
    Chunk,
    ChunkMessage,
    Then,
    WaitingChunk,
    chunk_key,
    images_in,
    is_to_send,
    live_chunk_key,
    then,
    to_send,
)
from batch_vision.core.settings import settings_of
from batch_vision.core.times import from_text, to_text
from batch_vision.images import sending, taking_apart
from batch_vision.images.keys import Keys
from batch_vision.runs import steps
from batch_vision.runs.backlog import count_chunks
from batch_vision.runs.reporting import summarize_chunks
from batch_vision.runs.settings import CheckChunksSettings
from batch_vision.runs.summary import count_left_in_chunks
from tests.unit.conftest import NOW, FakeBackend
from tests.unit.test_summary import EVENT as ENDED
from tests.unit.test_summary import VALIDATOR

HOSTILE = [
    "a b+c%20.jpg",
    "é/日本.png",
    "x\n\u2028\x85.jpg",
    '"quoted"\\.jpg',
    "work/live/chunks/a-5-0.json",
    "k" * 1024,
]


def chunk(*keys: str, fingerprint: str = "f") -> Chunk:
    return Chunk(fingerprint, keys or ("a.jpg",))


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_chunk_is_read_as_it_was_written_whatever_its_keys_are() -> None:
    written = chunk(*HOSTILE)
    assert Chunk.from_body(written.body()) == written
    assert Chunk.from_body(b'{"fingerprint": "f", "keys": ["a", "b", "a"]}') == chunk("a", "b")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"fingerprint": "f"}',
        b'{"fingerprint": 1, "keys": []}',
        b'{"fingerprint": "f", "keys": "abc"}',
        b'{"fingerprint": "f", "keys": [1]}',
    ],
)
def test_what_is_no_chunk_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match="no chunk"):
        Chunk.from_body(body)


def test_the_name_of_a_live_chunk_has_time_count_and_hash() -> None:
    key = live_chunk_key(NOW, chunk("a", "b"))
    assert key.startswith("work/live/chunks/20261120T080000.000Z-2-")
    assert images_in(key) == 2
    assert key == live_chunk_key(NOW, chunk("a", "b"))
    others = [live_chunk_key(NOW, chunk("a", "c")), live_chunk_key(NOW, chunk("a", "b", fingerprint="g"))]
    assert len({key, *others, live_chunk_key(after(0.001), chunk("a", "b"))}) == 4


@pytest.mark.parametrize(
    "key",
    [
        "work/partial/" + "0" * 64 + ".json",
        "work/live/chunks/",
        "work/live/chunks/a.json",
        "work/live/chunks/a-x-0123456789abcdef.json",
        "work/live/chunks/a-5-0123.json",
        "work/live/chunks/a-5-0123456789abcdef.txt",
        "work/live/chunks/deep/a-5-0123456789abcdef.json",
        "work/live/other/a-5-0123456789abcdef.json",
        "jobs/live/chunks/a-5-0123456789abcdef.json",
        "work/live/chunks/a-٣-0123456789abcdef.json",
    ],
)
def test_what_is_not_named_like_a_chunk_is_none(key: str) -> None:
    assert images_in(key) is None


def test_a_chunk_of_a_backfill_counts_too() -> None:
    assert images_in(chunk_key("b-2026-1", "007-12", chunk(*"abc"))) == 3


@pytest.mark.parametrize(
    "message",
    [
        ChunkMessage(live_chunk_key(NOW, chunk())),
        ChunkMessage(live_chunk_key(NOW, chunk()), "run-1", "v1", (0, 90)),
    ],
)
def test_a_message_is_read_as_it_was_written(message: ChunkMessage) -> None:
    assert ChunkMessage.from_body(message.body()) == message


def test_a_message_names_its_chunk_and_nothing_that_is_not_known() -> None:
    key = live_chunk_key(NOW, chunk())
    assert json.loads(ChunkMessage(key, "r").body()) == {"chunk": key, "run_id": "r"}


NAMED = live_chunk_key(NOW, chunk())


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        '{"chunk": "work/partial/x.json"}',
        '{"chunk": 3}',
        '{"Event": "s3:TestEvent"}',
        json.dumps({"chunk": NAMED, "run_id": 1}),
        json.dumps({"chunk": NAMED, "version_id": []}),
        json.dumps({"chunk": NAMED, "left": ["1"]}),
        json.dumps({"chunk": NAMED, "left": 1}),
    ],
)
def test_a_message_that_names_no_chunk_is_told(body: str) -> None:
    with pytest.raises(ValueError, match="names no chunk"):
        ChunkMessage.from_body(body)


def waiting(name: str, seconds: float = 0, images: int = 1) -> WaitingChunk:
    return WaitingChunk(after(seconds), f"work/live/chunks/{name}", images)


def test_chunks_are_sent_once_the_oldest_first_and_again_where_their_messages_are_lost() -> None:
    a, b, c, d = waiting("z", 0), waiting("a", 1), waiting("b", 1), waiting("a", 2)
    assert to_send([c, d, a, b], "", 3) == [a, b, c]
    assert to_send([c, d, a, b], c.place, 3) == [d]
    assert to_send([c, a, b], c.place, 2) == [a, b]
    assert to_send([], c.place, 2) == []


EMPTY, VISIBLE, IN_FLIGHT, DELAYED = (
    {"visible": 0, "in_flight": 0, "delayed": 0} | one for one in ({}, {"visible": 1}, {"in_flight": 1}, {"delayed": 1})
)
LAST = waiting("m")
SENT = {"is_done": True, "sent_until": LAST.place, "sent_at": to_text(NOW)}


@pytest.mark.parametrize(
    ("youngest", "messages", "sent", "idle_checks", "seconds", "expected"),
    [
        pytest.param(LAST, VISIBLE, None, 0, 0, True, id="outside of a drain"),
        pytest.param(
            LAST, VISIBLE, {"is_done": False, "requeued_images": 0}, 0, 0, True, id="nothing sent in this run"
        ),
        pytest.param(LAST, VISIBLE, SENT, 0, 3600, False, id="all have messages"),
        pytest.param(LAST, IN_FLIGHT, SENT, 0, 3600, False, id="the last is worked on"),
        pytest.param(waiting("a", 1), VISIBLE, SENT, 0, 1, True, id="a new one"),
        pytest.param(LAST, VISIBLE, SENT | {"is_done": False}, 0, 1, False, id="more wait, but enough is on the queue"),
        pytest.param(LAST, DELAYED, SENT | {"is_done": False}, 0, 1, False, id="more wait, what was sent anew first"),
        pytest.param(LAST, IN_FLIGHT, SENT | {"is_done": False}, 0, 1, True, id="more wait, the queue is empty"),
        pytest.param(LAST, EMPTY, SENT, 1, 3600, False, id="no message for a check"),
        pytest.param(LAST, EMPTY, SENT, 2, 59, False, id="no message, but the counts may lag"),
        pytest.param(LAST, EMPTY, SENT, 2, 60, True, id="the messages are lost"),
    ],
)
def test_when_chunks_are_to_be_sent(
    youngest: WaitingChunk, messages: Any, sent: Any, idle_checks: int, seconds: float, *, expected: bool
) -> None:
    assert is_to_send(youngest.place, messages, sent, idle_checks, after(seconds)) == expected


@pytest.mark.parametrize(
    ("settled", "left", "waits", "failed", "expected"),
    [
        (5, 0, False, 0, Then.DELETE),
        (0, 0, False, 0, Then.DELETE),
        (5, 1, False, 1, Then.SEND_ANEW),
        (0, 9, False, 0, Then.SEND_ANEW),
        (0, 9, False, 1, Then.LEAVE),
        (5, 1, True, 0, Then.SEND_LATER),
        (0, 9, True, 3, Then.SEND_LATER),
    ],
)
def test_what_becomes_of_a_chunk(settled: int, left: int, failed: int, expected: Then, *, waits: bool) -> None:
    assert then(settled=settled, left=left, waits=waits, failed=failed) == expected


# The edge.


@dataclass
class World:
    """The final bucket, queues and a model, with the steps that look at them."""

    s3: Any
    model: FakeBackend = field(default_factory=FakeBackend)

    def __post_init__(self) -> None:
        self.sqs = boto3.client("sqs")
        self.queue_url, self.dead_url = (self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("q", "dead"))
        self.run = {"id": "r1", **settings_of(CheckChunksSettings).model.to_json()}
        self.requeue: dict[str, Any] = {"is_done": False, "requeued_images": 0}

    def check(self, **event: Any) -> dict[str, Any]:
        return steps.check_chunks({"run": self.run, "queue_url": self.queue_url, **event})

    def drain(self, previous: dict[str, Any] | None = None) -> dict[str, Any]:
        model = {"requested_at": "2026-11-20T08:00:00Z", "running_at": "2026-11-20T08:10:00Z", "images_per_second": 5}
        bounds = {"stall_timeout_seconds": 900, "drain_timeout_seconds": 21600, "poll_seconds": 30}
        return self.check(model=model, previous=previous, requeue=self.requeue, **bounds)

    def send(self) -> dict[str, Any]:
        urls = {"queue_url": self.queue_url, "dead_letter_queue_url": self.dead_url}
        self.requeue = sending.send_chunks({"run": self.run, "requeue": self.requeue, **urls})
        return self.requeue

    def put(self, *keys: str, job: str = "", name: str = "1") -> str:
        made = chunk(*keys)
        if not job:
            return write_live_chunk(self.s3, "final", made)
        key = chunk_key(job, name, made)
        write_chunk(self.s3, "final", key, made)
        return key

    def messages(self, url: str = "") -> list[ChunkMessage]:
        found = []
        while messages := self.sqs.receive_message(QueueUrl=url or self.queue_url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                found.append(ChunkMessage.from_body(message["Body"]))
                self.sqs.delete_message(QueueUrl=url or self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def waiting(self) -> dict[str, Chunk]:
        found = {one.key: read_chunk(self.s3, "final", one.key) for one in list_chunks(self.s3, "final")}
        return {key: read[0] for key, read in found.items() if read}

    def bury(self, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.dead_url, MessageBody=body)


@pytest.fixture
def world(s3: Any, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> World:
    tell()
    s3.create_bucket(Bucket="images")
    s3.put_bucket_versioning(Bucket="images", VersioningConfiguration={"Status": "Enabled"})
    made = World(s3)
    monkeypatch.setattr(clients, "s3", lambda: s3)
    monkeypatch.setattr(clients, "sqs", lambda: made.sqs)
    monkeypatch.setattr(steps, "check_unchanged", lambda *_: None)
    monkeypatch.setattr(steps, "lifecycle_of", lambda _model: made.model)
    return made


def test_one_listing_of_each_job_is_the_backlog(world: World) -> None:
    world.put(*"abc")
    world.put(*"defg", job="backfill-1")
    for other in (
        "work/partial/" + "0" * 64 + ".json",
        "work/live/chunks/",
        "work/readme.txt",
        "jobs/backfill-1/plan.json",
    ):
        world.s3.put_object(Bucket="final", Key=other, Body=b"{}")
    requests: list[str] = []
    world.s3.meta.events.register("request-created", lambda operation_name, **_: requests.append(operation_name))
    answer = world.check()
    assert (answer["images"], answer["model_wanted_at"]) == (7, answer["checked_at"])
    assert requests == ["ListObjectsV2"] * 4  # the jobs, and the chunks of live, backfill-1 and partial
    assert count_left_in_chunks(world.s3, "final") == 7


def test_the_backlog_is_counted_up_to_a_thousand_chunks_of_a_job() -> None:
    found, youngest = count_chunks(WaitingChunk(after(n % 7), f"work/live/chunks/{n}", 1000) for n in range(1000))
    assert (found.images, found.with_content, found.oldest_at) == (1_000_000, 1_000_000, NOW)
    assert youngest.startswith(to_text(after(6)))
    assert count_chunks([])[0].images == 0


def test_a_job_of_many_chunks_hides_no_other(world: World) -> None:
    for number in range(3):
        world.put("a", job="a-backfill", name=str(number))
    live = world.put("b")
    assert [one.key for one in list_chunks(world.s3, "final", most_of_each=1)][1] == live


@pytest.mark.parametrize(
    ("execution_input", "images", "is_deferred"),
    [({"source": "aws.events", "detail": {}}, 0, True), ({}, 2, False)],
)
def test_few_young_keys_do_not_pay_for_a_scheduled_start(
    world: World, tell: Callable[..., None], execution_input: Any, images: int, *, is_deferred: bool
) -> None:
    tell(START_BACKLOG_IMAGES="50", START_MAX_AGE_SECONDS="3600")
    world.put(*"ab")
    answer = world.check(execution_input=execution_input)
    assert (answer["images"], answer["held"] is not None) == (images, is_deferred)
    assert (answer["model_wanted_at"] is None) == is_deferred


def test_without_a_chunk_nothing_is_started_and_all_is_drained_whatever_the_queue_holds(world: World) -> None:
    world.sqs.send_message(QueueUrl=world.queue_url, MessageBody="left over")
    answer = world.check()
    assert (answer["images"], answer["state"], answer["model_wanted_at"]) == (0, "drained", None)
    assert world.drain()["state"] == "drained"


def test_a_run_sends_each_chunk_once_and_those_that_come_while_it_runs(world: World) -> None:
    first = world.put(*"ab")
    drain = world.drain()
    assert drain["state"] == "lost_events"  # the workflow's word for what has no message
    answer = world.send()
    assert (answer["is_done"], answer["requeued_images"]) == (True, 0)
    assert world.messages() == [ChunkMessage(first, "r1")]
    drain = world.drain(drain)
    assert drain["state"] == "waiting"
    second = world.put("c")
    assert world.drain(drain)["state"] == "lost_events"
    world.send()
    assert world.messages() == [ChunkMessage(second, "r1")]


@pytest.mark.fault("Chunks: messages of chunks are lost")
def test_messages_that_are_lost_are_sent_again_and_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {world.put(*"ab"), world.put(*"cde")}
    world.send()
    assert {message.chunk for message in world.messages()} == keys
    drain: dict[str, Any] | None = None
    for _ in range(3):
        drain = world.drain(drain)
        assert drain["state"] == "waiting"
    world.requeue["sent_at"] = to_text(NOW)  # longer ago than the counts of a queue lag
    assert world.drain(drain)["state"] == "lost_events"
    assert world.send()["requeued_images"] == 5
    assert {message.chunk for message in world.messages()} == keys


def test_no_more_is_sent_at_once_than_fits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_MOST_SENT", 2)
    keys = [world.put("a", job="j", name=str(number)) for number in range(5)]
    sent = []
    for number, is_done in ((2, False), (2, False), (1, True)):
        answer = world.send()
        got = [message.chunk for message in world.messages()]
        assert (len(got), answer["is_done"], answer["requeued_images"]) == (number, is_done, 0)
        sent += got
    assert sent == keys


def test_a_run_that_is_stuck_with_deletions_going_on_is_seen(world: World) -> None:
    """What the function that looks writes is no progress of the model."""
    world.put("a")
    first = world.drain()
    world.s3.put_object(Bucket="final", Key=catalog_key(datetime.now(NOW.tzinfo), name_without_model("x")), Body=b"")
    second = world.drain(first)
    assert second["stalled_checks"] == 1
    world.s3.put_object(Bucket="final", Key=catalog_key(datetime.now(NOW.tzinfo), "x"), Body=b"")
    assert world.drain(second)["stalled_checks"] == 0


def test_a_model_that_failed_comes_before_what_is_to_be_sent(world: World) -> None:
    world.put("a")
    world.model.states = [ModelState.FAILED]
    first = world.drain()
    second = world.drain(first)
    assert (first["state"], second["state"]) == ("lost_events", "lost_events")
    assert (world.drain(second)["state"], world.drain(second)["restarts"]) == ("model_failed", 1)


@pytest.mark.fault("Chunks: a function dies of an image every time, until the dead-letter queue has its chunk")
def test_a_chunk_of_a_function_that_died_becomes_one_for_each_key(world: World) -> None:
    key = world.put(*"abc")
    world.bury(ChunkMessage(key, "r0").body())
    answer = world.send()
    assert answer["given_up_images"] == 0
    left = world.waiting()
    assert sorted(one.keys for one in left.values()) == [("a",), ("b",), ("c",)]
    assert {one.fingerprint for one in left.values()} == {"f"}
    assert {message.chunk for message in world.messages()} == set(left)
    assert world.messages(world.dead_url) == []
    assert count_left_in_chunks(world.s3, "final") == 3
    assert all(chunks.job_of(one) == "live" for one in left)


@pytest.mark.fault("Chunks: a function dies of an image every time, until the dead-letter queue has its chunk")
def test_the_image_that_a_function_dies_of_alone_is_given_up(world: World) -> None:
    version_id = world.s3.put_object(Bucket="images", Key="a.jpg", Body=b"x")["VersionId"]
    world.bury(ChunkMessage(world.put("a.jpg"), "r0").body())
    assert world.send()["given_up_images"] == 1
    assert (world.waiting(), world.messages(world.dead_url)) == ({}, [])
    result = json.loads(world.s3.get_object(Bucket="final", Key="results/a.jpg.json")["Body"].read())
    assert (result["status"], result["source"]["version_id"]) == ("failed", version_id)
    assert result["error"]["type"] == "FunctionDiedError"
    assert "memory" in result["error"]["remedy"]
    (line,) = read_catalog(world.s3, "final", NOW)
    assert (line["key"], line["status"]) == ("a.jpg", "failed")


def test_a_result_that_is_there_is_no_failure_of_a_function_that_died_after_it(world: World) -> None:
    world.bury(ChunkMessage(world.put("gone.jpg"), "r0").body())
    world.send()
    assert world.waiting() == {}
    assert [
        entry["Key"] for entry in world.s3.list_objects_v2(Bucket="final", Prefix="results").get("Contents", [])
    ] == []


def test_a_dead_letter_that_cannot_be_dealt_with_now_waits_and_hides_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.put("a.jpg"), world.put(*"bc")
    for key in (first, second):
        world.bury(ChunkMessage(key).body())

    def fail(*_: Any) -> None:
        raise errors.ServiceUnavailableError("S3")

    monkeypatch.setattr(Keys, "give_up", fail)
    assert world.send()["given_up_images"] == 0
    assert sorted(one.keys for one in world.waiting().values()) == [("a.jpg",), ("b",), ("c",)]
    hidden = world.sqs.get_queue_attributes(QueueUrl=world.dead_url, AttributeNames=["All"])["Attributes"]
    assert hidden["ApproximateNumberOfMessagesNotVisible"] == "1"


def test_a_chunk_is_taken_apart_once_though_the_function_dies_of_that_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = world.put(*"abc")
    world.bury(ChunkMessage(key).body())
    with monkeypatch.context() as dying:
        dying.setattr(taking_apart, "delete_chunk", _die)
        with pytest.raises(SystemExit):
            world.send()
    assert count_left_in_chunks(world.s3, "final") == 6
    world.sqs.purge_queue(QueueUrl=world.dead_url)
    world.bury(ChunkMessage(key).body())
    world.send()
    assert sorted(one.keys for one in world.waiting().values()) == [("a",), ("b",), ("c",)]


def _die(*_: Any) -> None:
    raise SystemExit


def test_a_dead_letter_of_a_chunk_that_is_gone_goes_and_one_of_no_chunk_stays(world: World) -> None:
    world.bury(ChunkMessage(NAMED).body())
    world.bury("rubbish")
    assert world.send()["given_up_images"] == 0
    visible = world.sqs.get_queue_attributes(QueueUrl=world.dead_url, AttributeNames=["All"])["Attributes"]
    assert visible["ApproximateNumberOfMessagesNotVisible"] == "1"
    assert world.waiting() == {}


def test_a_live_chunk_never_takes_the_place_of_another_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is there may have been read before what this one tells of."""
    moments = iter([NOW, NOW, NOW, after(0.001)])
    monkeypatch.setattr(stored, "utc_now", lambda: next(moments))
    first, second = world.put("a"), world.put("a")
    assert (first, second) == (live_chunk_key(NOW, chunk("a")), live_chunk_key(after(0.001), chunk("a")))


def test_a_live_chunk_that_finds_no_place_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "utc_now", lambda: NOW)
    monkeypatch.setattr(stored, "_PAUSE_SECONDS", 0)
    world.put("a")
    with pytest.raises(errors.ServiceUnavailableError, match="time and again"):
        world.put("a")


def test_a_refusal_of_s3_is_not_taken_for_a_chunk_that_is_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "PutObject")  # type: ignore[typeddict-item]

    monkeypatch.setattr(world.s3, "put_object", refuse)
    with pytest.raises(ClientError):
        world.put("a")


def line(key: str, status: str, **other: Any) -> dict[str, Any]:
    about = {"key": key, "status": status, "recorded_at": "2026-11-20T08:16:00.000Z", "version_id": None}
    cost = {"error_type": None, "attempts": 1, "throttles": 0, "duration_ms": 100}
    return about | cost | {"finished_at": "2026-11-20T08:16:00.000Z"} | other


def test_a_run_is_summed_up_from_its_lines_and_what_is_left_in_chunks(world: World) -> None:
    """A tombstone is no image, what has failed waits for somebody, and two uploads without versions are two."""
    lines = [
        line("a.jpg", "processed"),
        line("a.jpg", "processed", recorded_at="2026-11-20T08:16:30.000Z"),  # of a redelivery
        line("a.jpg", "processed", finished_at="2026-11-20T08:17:00.000Z"),
        line("b.jpg", "rejected", error_type="InvalidImageFormatError"),
        line("c.jpg", "failed", error_type="ImageArchivedError"),
        {"key": "d.jpg", "status": "deleted", "recorded_at": "2026-11-20T08:16:00.000Z"},
    ]
    body = "".join(json.dumps(one) + "\n" for one in lines)
    world.s3.put_object(Bucket="final", Key=catalog_key(from_text("2026-11-20T08:17:00Z"), "x"), Body=body)
    world.put(*"efg")
    summary = summarize_chunks(ENDED)
    assert (summary["images_processed"], summary["images_rejected"]) == (2, 1)
    assert (summary["images_left"], summary["images_stuck"]) == (3, 1)
    assert summary["rejected_by_reason"] == {"InvalidImageFormatError": 1}
    VALIDATOR.validate(summary)
    assert json.loads(world.s3.get_object(Bucket="final", Key="runs/r1.json")["Body"].read()) == summary
