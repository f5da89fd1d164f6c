"""The function behind the queue of an existing bucket: what it does with messages, refusals and failures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import batch_vision.images
from batch_vision.aws.results import Results
from batch_vision.core import errors
from batch_vision.core.events import Change, message_about, parse_change
from batch_vision.core.in_place import upload_of
from batch_vision.core.names import result_key
from batch_vision.core.scope import OutOfScope, Scope, Storage, why_out_of_scope, why_unreadable
from batch_vision.images.analyzer import _source_of
from batch_vision.images.detectors import Calls, Detectors
from batch_vision.images.in_place import ImagesBucket, update_result
from batch_vision.images.pace import Pace
from batch_vision.images.results import make_result
from batch_vision.images.updating import Batch
from tests.existing_bucket import broken_promises
from tests.unit.fake_s3 import FakeS3, refused
from tests.unit.test_in_place import SETTINGS, Reader, event

SCHEMA = json.loads((Path(batch_vision.images.__file__).parent / "result.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
SCOPE = Scope(prefixes=("in/", "more/"), suffixes=(".jpg", ".png"))
NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)


class World:
    """An existing bucket, a model, and a function that takes one batch."""

    def __init__(self, *versioned: str) -> None:
        self.s3 = FakeS3("final", *versioned)
        self.backend = Reader(self.s3)
        self.backends = {"fake": self.backend}
        self.settings = SETTINGS
        self.calls_per_second = 1e9
        self.sent: list[dict[str, Any]] = []

    def send_message(self, **message: Any) -> None:
        self.sent.append(message)

    def update(self, *bodies: str, received: int = 1, deadline: float = float("inf")) -> list[str]:
        """Take a batch of messages, and return which are to be delivered again."""
        records = [
            {"messageId": str(number), "body": body, "attributes": {"ApproximateReceiveCount": str(received)}}
            for number, body in enumerate(bodies)
        ]
        paces = {name: Pace(self.calls_per_second, self.calls_per_second) for name in self.backends}
        detectors = Detectors("fake", self.backends, paces, "")
        service: Any = self
        s3: Any = self.s3
        with ThreadPoolExecutor(1) as pool:
            return Batch(self.settings, s3, service, detectors, deadline).update(records, pool, f"{len(s3.requests)}")

    def result(self, key: str) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.s3.get_object("final", result_key(key))["Body"].read())
        VALIDATOR.validate(result)
        return result

    def lines(self) -> list[dict[str, Any]]:
        keys = [key for key in self.s3.keys("final") if key.startswith("catalog/")]
        bodies = [self.s3.get_object("final", key)["Body"].read().decode() for key in keys]
        return [json.loads(line) for body in bodies for line in body.split("\n") if line]

    def requests(self) -> list[str]:
        made = [operation for operation, _, _ in self.s3.requests]
        self.s3.requests.clear()
        return made

    def broken(self) -> list[str]:
        return broken_promises(self.s3, "images", "final", self.settings.scope)


@pytest.fixture(params=[(), ("images",)], ids=["unversioned", "versioned"])
def world(request: pytest.FixtureRequest) -> World:
    return World(*request.param)


# What is done, and what it costs.


def test_an_image_gets_its_result_beside_it_and_a_line_of_the_catalog(world: World) -> None:
    world.s3.upload("images", "a.jpg", b"content")
    assert world.update(event("a.jpg")) == []
    result = world.result("a.jpg")
    assert result["status"] == "processed"
    assert result["fingerprint"] == "f1"
    assert result["source"]["version_id"] == ("v1" if world.s3.versioned >= {"images"} else None)
    (line,) = world.lines()
    assert (line["key"], line["status"], line["result_key"]) == ("a.jpg", "processed", "results/a.jpg.json")
    assert line["finished_at"] == result["analyzed_at"]
    metadata = world.s3.head_object("final", "results/a.jpg.json")["Metadata"]
    assert metadata.keys() == {"batch-vision", "upload", "fingerprint", "status"}
    assert world.broken() == []


def test_an_image_costs_three_heads_a_get_and_two_writes_and_what_is_finished_two_heads(world: World) -> None:
    """The GET is of the beginning of the image, for its sides; the second write the catalog's, one for each batch."""
    world.s3.upload("images", "a.jpg", b"content")
    world.update(event("a.jpg"))
    assert world.requests() == ["HeadObject", "HeadObject", "GetObject", "PutObject", "HeadObject", "PutObject"]
    world.update(event("a.jpg"))
    assert world.requests() == ["HeadObject", "HeadObject"]
    world.update(event("a.jpg"), received=2)
    assert world.requests() == ["HeadObject", "HeadObject", "GetObject", "PutObject"]
    world.s3.remove("images", "a.jpg")
    world.update(event("a.jpg"))
    assert world.requests() == ["HeadObject", "HeadObject", "DeleteObject", "HeadObject", "PutObject"]
    world.update(event("a.jpg"))
    assert world.requests() == ["HeadObject", "HeadObject"]
    assert len(world.backend.calls) == 1


def test_a_deleted_image_loses_its_result_and_the_catalog_says_so(world: World) -> None:
    world.s3.upload("images", "a.jpg", b"content")
    world.update(event("a.jpg"))
    world.s3.remove("images", "a.jpg")
    world.update(event("a.jpg"))
    assert [key for key in world.s3.keys("final") if key.startswith("results")] == []
    assert world.lines()[-1].keys() == {"schema_version", "key", "status", "recorded_at"}
    assert world.lines()[-1]["status"] == "deleted"
    assert world.broken() == []


@pytest.mark.fault("Existing bucket: the same bytes uploaded again")
def test_what_is_uploaded_again_is_analyzed_again_even_if_its_bytes_are_the_same(world: World) -> None:
    for content in (b"one", b"two", b"one"):
        world.s3.let_pass(seconds=2)
        world.s3.upload("images", "a.jpg", content)
        world.update(event("a.jpg"))
    assert len(world.backend.calls) == 3
    assert world.broken() == []


def test_messages_about_one_key_are_one_look_and_each_is_acknowledged(world: World) -> None:
    world.s3.upload("images", "a.jpg", b"content")
    assert world.update(*[event("a.jpg")] * 5, event("b.jpg")) == []
    assert len(world.backend.calls) == 1


def test_a_long_key_has_a_place_of_its_own(world: World) -> None:
    for key in ("x" * 1007 + ".jpg", "x" * 1008 + ".jpg"):
        world.s3.upload("images", key, b"content")
        world.update(event(key))
    places = [key for key in world.s3.keys("final") if key.startswith("results")]
    assert [place.partition("/")[0] for place in places] == ["results-long", "results"]
    assert world.broken() == []


def test_a_worker_without_a_model_hands_back_what_needs_it_and_deletes_by_itself(world: World) -> None:
    s3: Any = world.s3
    images, results = ImagesBucket(s3, "images", world.settings.scope), Results(s3, "final")
    world.s3.upload("images", "new.jpg", b"content")
    world.s3.upload("images", "old.jpg", b"content")
    world.update(event("old.jpg"))
    world.s3.remove("images", "old.jpg")
    updates = {
        key: update_result(key, images, results, None, may_owe_line=False) for key in ("new.jpg", "old.jpg", "no.jpg")
    }
    assert {key: (update.status, str(update.ending)) for key, update in updates.items()} == {
        "new.jpg": ("unchanged", "hand_back"),
        "old.jpg": ("deleted", "acknowledge"),
        "no.jpg": ("unchanged", "acknowledge"),
    }
    assert [line["status"] for line in updates["old.jpg"].lines] == ["deleted"]


def test_a_wanted_fingerprint_makes_a_result_anew(world: World) -> None:
    world.s3.upload("images", "a.jpg", b"content")
    world.update(event("a.jpg"))
    world.settings = replace(world.settings, settings_fingerprint="f2")
    world.update(event("a.jpg"))
    assert world.result("a.jpg")["fingerprint"] == "f1", "a live event compares the upload only"
    s3: Any = world.s3
    images, results = ImagesBucket(s3, "images", world.settings.scope), Results(s3, "final")
    analyzer: Any = Analyzer("f2")
    update_result("a.jpg", images, results, analyzer, may_owe_line=True, wanted="f2")
    assert world.result("a.jpg")["fingerprint"] == "f2"
    update_result("a.jpg", images, results, analyzer, may_owe_line=True, wanted="f2")
    assert analyzer.asked == 1


class Analyzer:
    """Says the same of everything."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint, self.calls, self.asked = fingerprint, Calls(), 0

    def analyze(self, found: Any, **_: Any) -> dict[str, Any]:
        self.asked += 1
        said = {"predictions": [], "anomaly": None, "raw": {"read": "content"}}
        return make_result(_source_of(found), "fake", "m", {"fake": said}, NOW)

    def written(self) -> None:
        pass


# What peers get wrong: they do what an event says, and in the order in which events come.


def event_of(kind: str, key: str, **told: Any) -> str:
    """As EventBridge sends it."""
    detail = {"bucket": {"name": "images"}, "object": {"key": key} | told}
    return json.dumps({"source": "aws.s3", "detail-type": f"Object {kind}", "detail": detail})


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
def test_peer_failing_an_event_is_believed(world: World) -> None:
    """Neither its type, nor its size, nor its ETag: a deletion of what is there, and an upload of what is gone."""
    world.s3.upload("images", "a.jpg", b"content")
    deleted = event_of(
        "Deleted", "a.jpg", sequencer="ff", **{"version-id": "v9", "deletion-type": "Permanently Deleted"}
    )
    created = event_of("Created", "gone.jpg", size=7, etag="0" * 32, sequencer="ff")
    replaced = event_of("Created", "a.jpg", size=10**12, etag="0" * 32, sequencer="00", **{"version-id": "v9"})
    assert world.update(deleted, created) == []
    assert world.result("a.jpg")["source"]["size_bytes"] == 7
    assert world.update(replaced, deleted) == []
    assert (world.result("a.jpg")["status"], len(world.backend.calls)) == ("processed", 1)
    assert [line["key"] for line in world.lines()] == ["a.jpg"]
    assert world.broken() == []


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
def test_peer_failing_a_deletion_that_comes_before_its_upload(world: World) -> None:
    for key, is_there in (("deleted.jpg", False), ("uploaded.jpg", True)):
        world.s3.upload("images", key, b"content")
        world.s3.remove("images", key)
        if is_there:
            world.s3.let_pass(seconds=2)
            world.s3.upload("images", key, b"anew")
    for key in ("deleted.jpg", "uploaded.jpg"):  # what happened last comes first
        for kind in ("Deleted", "Created"):
            assert world.update(event_of(kind, key)) == []
    assert (world.result("uploaded.jpg")["status"], len(world.backend.calls)) == ("processed", 1)
    assert world.broken() == []


@pytest.mark.fault("Existing bucket: an event of another bucket, of another prefix or suffix, or no event")
def test_peer_failing_an_unknown_suffix(world: World) -> None:
    """It holds up no other image, and an image whose suffix is in capitals is one."""
    for key in ("notes.xyz", "none", "a.JPG", "archive.jpg.zip"):
        world.s3.upload("images", key, b"content")
    messages = [event_of("Created", key) for key in ("notes.xyz", "none", "a.JPG", "archive.jpg.zip")]
    assert world.update(*messages) == []
    assert world.result("a.JPG")["status"] == "processed"
    assert {key for _, bucket, key in world.s3.requests if bucket == "images"} == {"a.JPG"}
    assert world.broken() == []


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
def test_peer_failing_a_rerun_pays_again(world: World) -> None:
    """All events again, as an operator sends them, and as S3 delivers them twice."""
    world.s3.upload("images", "a.jpg", b"content")
    world.s3.upload("images", "no-image.jpg", b"bad")
    for received in (1, 1, 3):
        for key in ("a.jpg", "no-image.jpg"):
            assert world.update(event_of("Created", key), message_about("images", key), received=received) == []
    assert len(world.backend.calls) == 2
    assert [world.result(key)["status"] for key in ("a.jpg", "no-image.jpg")] == ["processed", "rejected"]


# What cannot be read.


def sse_c(operation: str) -> Exception:
    """As S3 refuses an object with a key of its own: a HEAD has no message."""
    if operation == "HeadObject":
        return refused("400", 400, "Bad Request", operation)
    return refused("InvalidRequest", 400, "The object was stored using a form of Server Side Encryption.", operation)


def kms(operation: str) -> Exception | None:
    return refused("AccessDenied", 403, "not authorized to perform: kms:Decrypt", operation)


@pytest.mark.fault("Existing bucket: an object that nobody can read: SSE-C, a KMS key, an archive")
@pytest.mark.parametrize(
    ("about", "error"),
    [
        ({"refusal": sse_c}, "ImageEncryptedError"),
        ({"refusal": kms}, "ImageKeyDeniedError"),
        ({"told": {"StorageClass": "GLACIER"}}, "ImageArchivedError"),
        (
            {"told": {"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "DEEP_ARCHIVE_ACCESS"}},
            "ImageArchivedError",
        ),
    ],
)
def test_what_is_refused_for_good_has_a_failed_result_and_is_not_tried_again(
    world: World, about: dict[str, Any], error: str
) -> None:
    world.s3.upload("images", "a.jpg", b"content", **about)
    assert world.update(event("a.jpg")) == []
    result = world.result("a.jpg")
    assert (result["status"], result["error"]["type"]) == ("failed", error)
    assert result["error"]["remedy"]
    assert world.lines()[-1]["error_type"] == error
    world.requests()
    assert world.update(event("a.jpg")) == []
    assert "PutObject" not in world.requests()
    assert world.backend.calls == []
    world.s3.let_pass(seconds=2)
    world.s3.upload("images", "a.jpg", b"readable")
    world.update(event("a.jpg"))
    assert world.result("a.jpg")["status"] == "processed"


def test_what_was_restored_from_its_archive_is_analyzed(world: World) -> None:
    restored = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2040 00:00:00 GMT"'
    world.s3.upload("images", "a.jpg", b"content", told={"StorageClass": "GLACIER", "Restore": restored})
    world.update(event("a.jpg"))
    assert world.result("a.jpg")["status"] == "processed"


@pytest.mark.fault("Existing bucket: archived after it was analyzed")
def test_an_image_that_is_archived_later_keeps_its_result(world: World) -> None:
    stored = world.s3.upload("images", "a.jpg", b"content")
    world.update(event("a.jpg"))
    stored.told["StorageClass"] = "GLACIER"
    world.update(event("a.jpg"))
    assert world.result("a.jpg")["status"] == "processed"


@pytest.mark.fault("Existing bucket: access to an object is denied")
def test_an_access_that_is_denied_is_tried_again_until_the_last_delivery(world: World) -> None:
    def denied(operation: str) -> Exception:
        return refused("AccessDenied", 403, "Access Denied", operation)

    world.s3.upload("images", "a.jpg", b"content", refusal=denied)
    assert world.update(event("a.jpg")) == ["0"]
    assert world.update(event("a.jpg"), received=50) == []
    assert world.result("a.jpg")["error"]["type"] == "AccessDeniedError"


def test_at_the_last_delivery_the_image_is_given_up_for_what_the_service_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_: Any) -> Any:
        raise errors.ServiceUnavailableError("not now")

    world.s3.upload("images", "a.jpg", b"content")
    monkeypatch.setattr(world.backend, "detect", busy)
    monkeypatch.setattr("batch_vision.images.detectors.is_worth_retrying", lambda _: False)
    assert world.update(event("a.jpg"), received=49) == ["0"]
    assert world.update(event("a.jpg"), received=50) == []
    result = world.result("a.jpg")
    assert (result["status"], result["error"]["type"]) == ("failed", "ServiceUnavailableError")
    monkeypatch.undo()
    world.update(event("a.jpg"))
    assert world.result("a.jpg")["status"] == "failed", "until it is retried"


def test_what_is_no_image_is_rejected(world: World) -> None:
    world.s3.upload("images", "a.jpg", b"bad")
    world.s3.upload("images", "empty.jpg", b"")
    assert world.update(event("a.jpg"), event("empty.jpg")) == []
    assert [world.result(key)["status"] for key in ("a.jpg", "empty.jpg")] == ["rejected", "rejected"]


# Failures in the middle.


def failing(s3: FakeS3, operation: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3 refuse an operation on what begins with a prefix."""
    real: Callable[..., Any] = getattr(s3, operation)

    def request(**arguments: Any) -> Any:
        if arguments["Key"].startswith(prefix):
            raise refused("InternalError", 500, "", operation)
        return real(**arguments)

    monkeypatch.setattr(s3, operation, request)


@pytest.mark.fault("Existing bucket: the catalog cannot be written")
def test_a_catalog_that_cannot_be_written_leaves_the_messages_with_lines(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.s3.upload("images", "a.jpg", b"content")
    with monkeypatch.context() as broken:
        failing(world.s3, "put_object", "catalog/", broken)
        assert world.update(event("a.jpg"), event("gone.jpg"), "rubbish") == ["0"]
    assert world.lines() == []
    assert world.update(event("a.jpg"), received=2) == []
    assert [line["status"] for line in world.lines()] == ["processed"]
    assert len(world.backend.calls) == 1
    assert world.broken() == []


def test_a_failure_of_one_key_leaves_only_its_messages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("a.jpg", "b.jpg"):
        world.s3.upload("images", key, b"content")
    failing(world.s3, "head_object", "a.jpg", monkeypatch)
    assert world.update(event("a.jpg"), event("b.jpg")) == ["0"]
    assert world.result("b.jpg")["status"] == "processed"


@pytest.mark.fault("Existing bucket: an object that is overwritten each second")
def test_an_object_that_changes_at_every_look_is_looked_at_three_times_and_then_again_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither loops nor becomes a dead letter."""
    world.s3.upload("images", "a.jpg", b"content")
    read = world.backend.detect

    def replaced(image: Any) -> Any:
        detection = read(image)
        world.s3.let_pass(seconds=2)
        world.s3.upload("images", "a.jpg", b"content")
        return detection

    monkeypatch.setattr(world.backend, "detect", replaced)
    assert world.update(event("a.jpg"), received=50) == []
    assert len(world.backend.calls) == 3
    (sent,) = world.sent
    assert sent["DelaySeconds"] == 60
    assert [line["status"] for line in world.lines()] == ["processed"] * 3
    monkeypatch.undo()
    assert world.update(sent["MessageBody"]) == []
    assert world.broken() == []


def test_a_message_that_cannot_be_sent_anew_is_delivered_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise errors.ServiceUnavailableError("no queue")

    results = Results.write
    monkeypatch.setattr(Results, "write", lambda *_: None)
    monkeypatch.setattr(world, "send_message", refuse)
    world.s3.upload("images", "a.jpg", b"content")
    assert world.update(event("a.jpg")) == ["0"]
    monkeypatch.setattr(Results, "write", results)
    assert world.update(event("a.jpg"), received=2) == []
    assert world.broken() == []


def test_an_answer_that_was_paid_for_is_written_in_the_next_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else wrote the result of an older upload meanwhile."""
    world.s3.upload("images", "a.jpg", b"content")
    write, tries = Results.write, []

    def taken_once(self: Results, *arguments: Any) -> Any:
        tries.append(1)
        return write(self, *arguments) if len(tries) > 1 else None

    monkeypatch.setattr(Results, "write", taken_once)
    assert world.update(event("a.jpg")) == []
    assert len(world.backend.calls) == 1
    assert world.broken() == []


def test_a_key_that_is_not_begun_in_time_is_sent_anew(world: World) -> None:
    world.s3.upload("images", "a.jpg", b"content")
    assert world.update(event("a.jpg"), deadline=0) == []
    assert world.s3.requests == []
    (sent,) = world.sent
    assert (parse_change(sent["MessageBody"], "images")[0], sent["DelaySeconds"]) == ([Change("a.jpg", True)], 60)


@pytest.mark.parametrize("received", [1, 50])
def test_an_image_whose_turn_does_not_come_is_no_attempt(world: World, received: int) -> None:
    """Not at the last delivery either: a backfill may leave less than a batch takes."""
    keys = [f"{number}.jpg" for number in range(4)]
    for key in keys:
        world.s3.upload("images", key, b"content")
    world.calls_per_second = 0.001
    assert world.update(*map(event, keys), received=received, deadline=time.monotonic() + 30) == []
    assert len(world.backend.calls) == 1
    assert len(world.sent) == 3
    world.calls_per_second = 1e9
    assert world.update(*(sent["MessageBody"] for sent in world.sent)) == []
    assert (len(world.backend.calls), world.broken()) == (4, [])


def test_an_image_that_was_asked_about_in_vain_is_an_attempt(world: World) -> None:
    world.s3.upload("images", "a.jpg", b"content")
    world.calls_per_second = 0.001
    busy = errors.ThrottledError("too many")
    world.backend.detect = lambda _: (_ for _ in ()).throw(busy)  # type: ignore[method-assign]
    assert world.update(event("a.jpg"), deadline=time.monotonic() + 30) == ["0"]
    assert world.update(event("a.jpg"), received=50, deadline=time.monotonic() + 30) == []
    assert (world.result("a.jpg")["status"], world.sent) == ("failed", [])


def test_at_the_last_delivery_a_key_is_begun_all_the_same(world: World) -> None:
    world.s3.upload("images", "a.jpg", b"content")
    assert world.update(event("a.jpg"), received=50, deadline=0) == []
    assert world.result("a.jpg")["status"] == "processed"


@pytest.mark.fault("Existing bucket: one of several analyses cannot answer now")
def test_answers_that_were_paid_for_are_kept_until_the_result_is_there(world: World) -> None:
    other = Reader(world.s3)
    world.backends["other"] = other
    world.s3.upload("images", "a.jpg", b"content")
    busy: Any = errors.AccessDeniedError("not yet")
    other.detect = lambda _: (_ for _ in ()).throw(busy)  # type: ignore[method-assign]
    assert world.update(event("a.jpg")) == ["0"]
    assert [key.rpartition("/")[0] for key in world.s3.keys("final")] == ["work/partial"]
    del other.detect  # type: ignore[method-assign]
    assert world.update(event("a.jpg"), received=2) == []
    assert (len(world.backend.calls), len(other.calls)) == (1, 1)
    assert [key for key in world.s3.keys("final") if key.startswith("work/")] == []
    assert len(world.result("a.jpg")["predictions"]) == 2


# Messages.


@pytest.mark.fault("Existing bucket: a key with `+` or `%`")
@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("a.jpg", ["a.jpg"]),
        ("a%20b.jpg", ["a%20b.jpg", "a b.jpg"]),
        ("a+b.jpg", ["a+b.jpg", "a b.jpg"]),
        ("90% done.jpg", ["90% done.jpg"]),
        ("%ff", ["%ff"]),
        ("caf%C3%A9.jpg", ["caf%C3%A9.jpg", "café.jpg"]),
    ],
)
def test_a_key_is_looked_at_as_it_stands_and_decoded(key: str, keys: list[str]) -> None:
    changes, problem = parse_change(event(key), "images")
    assert problem is None
    assert [change.key for change in changes] == keys


def test_a_message_of_ours_is_read_as_it_stands() -> None:
    assert parse_change(message_about("images", "a%20+b.jpg"), "images") == ([Change("a%20+b.jpg", True)], None)


def test_an_encoded_key_finds_its_object_and_gives_none_to_the_other(world: World) -> None:
    world.s3.upload("images", "90% done & dry.jpg", b"content")
    assert world.update(event("90%25%20done%20%26%20dry.jpg")) == []
    assert world.broken() == []


@pytest.mark.fault("Existing bucket: an event of another bucket, of another prefix or suffix, or no event")
@pytest.mark.parametrize(
    "body",
    [
        "rubbish",
        "[]",
        "{}",
        event("a.jpg").replace("images", "another"),
        event("out/of/prefix.gif"),
        event("x" * 1025),
        '{"detail": {"bucket": {"name": "images"}, "object": {"key": "\\ud800"}}}',
    ],
)
def test_what_is_not_about_an_image_is_acknowledged_without_a_look(world: World, body: str) -> None:
    assert world.update(body) == []
    assert world.requests() == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.text(max_size=20) | st.sampled_from(["good.jpg", "folder/", "%ff.jpg", "+", "a" * 1025, "../x", "\ud800"])
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "source": VALUES | st.just("batch-vision:requeue"),
        "detail": VALUES
        | st.fixed_dictionaries(
            {},
            optional={
                "bucket": VALUES | st.fixed_dictionaries({"name": VALUES | st.just("images")}),
                "object": VALUES | st.fixed_dictionaries({"key": VALUES | KEYS}),
            },
        ),
    },
)
BODIES = st.text() | VALUES.map(json.dumps) | EVENTS.map(json.dumps)


@pytest.mark.fault("Existing bucket: a message that is not JSON")
@settings(max_examples=400, deadline=None)
@given(BODIES)
def test_no_body_touches_a_neighbour_or_leaves_as_an_exception(body: str) -> None:
    changes, problem = parse_change(body, "images")
    assert all(1 <= len(change.key.encode()) <= 1024 for change in changes)
    assert bool(changes) != bool(problem)
    assert len(problem or "") < 2000
    world = World()
    world.s3.upload("images", "good.jpg", b"content")
    assert world.update(body, event("good.jpg")) == []
    assert world.broken() == []


# Scope, and what names an upload.


@pytest.mark.parametrize(
    ("key", "size_bytes", "reason"),
    [
        ("in/a.jpg", 1, None),
        ("in/a.JPG", 1, None),
        ("more/a.PnG", 0, None),
        ("in/huge.jpg", 10**12, None),
        ("out/a.jpg", 1, OutOfScope.PREFIX),
        ("a.jpg", 1, OutOfScope.PREFIX),
        ("in/a.gif", 1, OutOfScope.SUFFIX),
        ("in/jpg", 1, OutOfScope.SUFFIX),
        ("in/folder.jpg/", 0, OutOfScope.FOLDER_MARKER),
    ],
)
def test_the_scope_is_prefix_and_suffix_without_case(key: str, size_bytes: int, reason: OutOfScope | None) -> None:
    assert why_out_of_scope(key, size_bytes, SCOPE) is reason


def test_without_suffixes_every_object_is_an_image() -> None:
    assert why_out_of_scope("a", 1, Scope(("",), ())) is None
    assert why_out_of_scope("folder/", 0, Scope(("",), ())) is OutOfScope.FOLDER_MARKER


@pytest.mark.parametrize(
    ("storage", "error"),
    [
        (Storage(), None),
        (Storage("STANDARD_IA"), None),
        (Storage("GLACIER_IR"), None),
        (Storage("GLACIER"), errors.ImageArchivedError),
        (Storage("DEEP_ARCHIVE"), errors.ImageArchivedError),
        (Storage("GLACIER", restored_until=NOW + timedelta(days=1)), None),
        (Storage("GLACIER", restored_until=NOW - timedelta(days=1)), errors.ImageArchivedError),
        (Storage("INTELLIGENT_TIERING"), None),
        (Storage("INTELLIGENT_TIERING", archive_tier="ARCHIVE_ACCESS"), errors.ImageArchivedError),
        (Storage(has_customer_key=True), errors.ImageEncryptedError),
    ],
)
def test_what_nobody_can_read_costs_no_call(storage: Storage, error: type[Exception] | None) -> None:
    assert why_unreadable(storage, NOW) is error


def test_an_upload_is_named_by_its_version_or_by_all_that_tells_it_from_others() -> None:
    assert upload_of("v1", "e", NOW, 1) == "v1"
    named = upload_of("null", "e", NOW, 1)
    assert upload_of("null", "e", NOW + timedelta(microseconds=5), 1) == named, "not every answer has more than seconds"
    others = [("f", NOW, 1), ("e", NOW + timedelta(seconds=1), 1), ("e", NOW, 2)]
    assert len({named, *(upload_of("null", *other) for other in others)}) == 4


def test_a_listing_names_an_upload_as_a_head_does(world: World) -> None:
    """What cannot be headed is found in the listing, and is the same upload when it can be."""
    stored = world.s3.upload("images", "a.jpg", b"content")
    s3: Any = world.s3
    images = ImagesBucket(s3, "images", world.settings.scope)
    headed = images.find("a.jpg")
    stored.refusal = sse_c  # type: ignore[assignment]
    listed = images.find("a.jpg")
    assert headed
    assert listed
    assert listed.upload == headed.upload
    assert isinstance(listed.refusal, errors.ImageEncryptedError)
