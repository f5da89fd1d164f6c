from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import boto3
import pytest

from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key, read_catalog
from batch_vision.aws.queues import send_images
from batch_vision.aws.uploads import is_there, list_uploads
from batch_vision.backends.contracts import ModelState, ModelStatus
from batch_vision.core import errors
from batch_vision.core.errors import read_error
from batch_vision.core.events import SourceImage, message_for, parse_message
from batch_vision.core.settings import read_settings, settings_of
from batch_vision.core.stuck import stuck_entry, stuck_key
from batch_vision.images import requeue
from batch_vision.images.final import FinalBucket
from batch_vision.runs import steps
from batch_vision.runs.backlog import Drain, Waiting, count_waiting, deferred_because, finished_since
from batch_vision.runs.backlog import assess as assess_waiting
from batch_vision.runs.settings import CheckBacklogSettings
from tests.unit.conftest import NOW, FakeBackend
from tests.unit.tool_stack import ENVIRONMENT

S = ModelState
DRAIN = Drain(stall_timeout_seconds=60, drain_timeout_seconds=600, poll_seconds=30, images_per_second=5)


@pytest.fixture
def settings() -> CheckBacklogSettings:
    return read_settings(CheckBacklogSettings, ENVIRONMENT)


def counts(visible: int = 0, in_flight: int = 0, delayed: int = 0) -> dict[str, int]:
    return {"visible": visible, "in_flight": in_flight, "delayed": delayed}


def assess(images: int, *arguments: Any, **options: Any) -> dict[str, Any]:
    return assess_waiting(Waiting(images, images), *arguments, **options)


def after(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("objects", "messages", "images", "state"),
    [
        (0, counts(), 0, "drained"),
        (3, counts(visible=3), 3, "waiting"),
        (1000, counts(visible=40_000, in_flight=10, delayed=5), 40_015, "waiting"),
        (5, counts(), 5, "waiting"),
        (0, counts(in_flight=1), 0, "drained"),
        (0, counts(visible=1, delayed=1), 0, "drained"),
    ],
)
def test_images_and_state(objects: int, messages: dict[str, int], images: int, state: str) -> None:
    backlog = assess(objects, messages, None, NOW)
    assert (backlog["images"], backlog["state"]) == (images, state)


def waiting(images: int, age_seconds: float) -> Waiting:
    return Waiting(images, images, NOW - timedelta(seconds=age_seconds) if images else None)


@pytest.mark.parametrize(
    ("found", "is_deferred"),
    [
        (waiting(0, 0), False),
        (waiting(49, 3599), True),
        (waiting(50, 0), False),
        (waiting(1, 3600), False),
        (waiting(1000, 0), False),
    ],
)
def test_few_young_images_do_not_pay_for_a_start(
    settings: CheckBacklogSettings, found: Waiting, *, is_deferred: bool
) -> None:
    gate = replace(settings, start_backlog_images=50, start_max_age_seconds=3600)
    assert (deferred_because(found, gate, NOW) is not None) == is_deferred
    assert deferred_because(found, settings, NOW) is None


def test_it_is_said_why_a_start_is_deferred(settings: CheckBacklogSettings) -> None:
    gate = replace(settings, start_backlog_images=50, start_max_age_seconds=3600)
    said = deferred_because(waiting(7, 60), gate, NOW)
    assert said
    for part in ("7 images", "start_backlog_images = 50", "for 60 seconds", "start_max_age_seconds = 3600", "by hand"):
        assert part in said


@dataclass
class World:
    """Buckets, queues and a model, with the steps that look at them."""

    s3: Any
    model: FakeBackend = field(default_factory=FakeBackend)

    def __post_init__(self) -> None:
        self.sqs = boto3.client("sqs")
        self.queue_url, self.dead_url = (self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("q", "dead"))
        self.run = {"id": "r1", **settings_of(CheckBacklogSettings).model.to_json()}

    def check(self, **event: Any) -> dict[str, Any]:
        return steps.check_backlog({"run": self.run, "queue_url": self.queue_url, **event})

    def drain(self, previous: dict[str, Any] | None = None, **event: Any) -> dict[str, Any]:
        model = {"requested_at": "2026-11-20T08:00:00Z", "running_at": "2026-11-20T08:10:00Z", "images_per_second": 5}
        bounds = {"stall_timeout_seconds": 900, "drain_timeout_seconds": 21600, "poll_seconds": 30}
        return self.check(model=model, previous=previous, **bounds, **event)

    def requeue(self) -> dict[str, Any]:
        urls = {"queue_url": self.queue_url, "dead_letter_queue_url": self.dead_url}
        return requeue.requeue_images({"run": self.run, "requeued_before": 0, **urls})

    def stick(self, image: SourceImage) -> None:
        entry = stuck_entry(image, errors.StorageRefusedError("no"), "Mend it.", NOW)
        key = stuck_key(image.key, image.version_id or "")
        self.s3.put_object(Bucket="final", Key=key, Body=json.dumps(entry).encode())

    def bodies(self, url: str) -> list[str]:
        found = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            found += [message["Body"] for message in messages]
        return found


@pytest.fixture
def world(s3: Any, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> World:
    tell(SOURCE_PREFIXES='["in/", "old/"]')
    made = World(s3)
    monkeypatch.setattr(clients, "s3", lambda: s3)
    monkeypatch.setattr(clients, "sqs", lambda: made.sqs)
    monkeypatch.setattr(steps, "check_unchanged", lambda *_: None)
    monkeypatch.setattr(steps, "lifecycle_of", lambda _model: made.model)
    return made


@pytest.mark.parametrize(
    ("execution_input", "images", "is_deferred"),
    [({"source": "aws.events", "detail": {}}, 0, True), ({}, 2, False), ([], 2, False)],
)
def test_a_run_that_is_started_by_hand_does_not_wait(
    world: World, tell: Callable[..., None], execution_input: Any, images: int, *, is_deferred: bool
) -> None:
    tell(SOURCE_PREFIXES='["in/"]', START_BACKLOG_IMAGES="50", START_MAX_AGE_SECONDS="3600")
    for key in "ab":
        world.s3.put_object(Bucket="source", Key=f"in/{key}", Body=b"x")
    answer = world.check(execution_input=execution_input)
    assert (answer["images"], answer["held"] is not None) == (images, is_deferred)
    assert (answer["model_wanted_at"] is None) == is_deferred


def count_requests(s3: Any) -> list[str]:
    requests: list[str] = []
    s3.meta.events.register("request-created", lambda operation_name, **_: requests.append(operation_name))
    return requests


def test_the_oldest_is_found_in_one_request_of_each_bucket(s3: Any, settings: CheckBacklogSettings) -> None:
    for number in range(1003):
        s3.put_object(Bucket="source", Key=f"{number:04d}.jpg", Body=b"x" if number else b"")
    requests = count_requests(s3)
    found = count_waiting(s3, settings)
    assert (found.images, found.with_content, requests) == (1000, 999, ["ListObjectsV2"] * 2)
    found = count_waiting(s3, replace(settings, source_prefixes=("000",)))
    first = s3.head_object(Bucket="source", Key="0001.jpg")["LastModified"]
    assert (found.images, found.oldest_at) == (10, first)


def test_what_waits_is_under_any_prefix_and_no_folder_marker_and_not_taken_back(world: World) -> None:
    for key in ("in/a.jpg", "old/b/c.jpg", "other/d.jpg", "in/withdrawn.jpg"):
        world.s3.put_object(Bucket="source", Key=key, Body=b"x")
    for key in ("in/", "in/folder/", "old/b/"):
        world.s3.put_object(Bucket="source", Key=key, Body=b"")
    world.s3.delete_object(Bucket="source", Key="in/withdrawn.jpg")
    found = count_waiting(world.s3, settings_of(CheckBacklogSettings))
    assert (found.images, found.with_content) == (2, 2)


def test_folder_markers_alone_are_drained(world: World) -> None:
    world.s3.put_object(Bucket="source", Key="in/folder/", Body=b"")
    assert world.check()["state"] == "drained"
    # Empty, but named like an image: it is rejected when it is looked at.
    world.s3.put_object(Bucket="source", Key="in/empty.png", Body=b"")
    assert (world.check()["images"], world.check()["state"]) == (0, "waiting")


def test_an_image_that_is_stuck_waits_no_more_and_another_version_of_it_does(
    world: World, upload: Callable[..., SourceImage]
) -> None:
    older = upload("in/a.jpg")
    world.stick(older)
    assert world.check()["state"] == "drained"
    newer = upload("in/a.jpg")
    assert (world.check()["images"], world.check()["state"]) == (1, "waiting")
    world.stick(newer)
    assert world.check()["state"] == "drained"
    upload("in/b.jpg")
    world.s3.delete_object(Bucket="source", Key="in/b.jpg")
    assert world.check()["state"] == "drained"


def test_dead_letters_of_other_images_block_nothing(world: World, upload: Callable[..., SourceImage]) -> None:
    """Five dead letters of images that are long gone, and three uploads whose events were lost."""
    for number in range(5):
        gone = upload(f"in/gone {number}.jpg")
        world.s3.delete_object(Bucket="source", Key=gone.key, VersionId=gone.version_id)
        world.sqs.send_message(QueueUrl=world.dead_url, MessageBody=message_for([gone]))
    images = [upload(f"in/{number}.jpg") for number in range(3)]
    assert world.check()["images"] == 3
    first = world.drain()
    assert world.drain(first)["state"] == "lost_events"
    assert world.requeue() == {"requeued_images": 3, "given_up_images": 0, "is_done": True}
    sent = [image for body in world.bodies(world.queue_url) for image in parse_message(body, "source")[0]]
    assert {image.key for image in sent} == {image.key for image in images}
    assert world.bodies(world.dead_url) == []


def test_an_image_whose_function_died_is_given_up_and_lets_the_run_end(
    world: World, upload: Callable[..., SourceImage]
) -> None:
    died, lost = upload("in/died é.jpg"), upload("in/lost.jpg")
    world.sqs.send_message(QueueUrl=world.dead_url, MessageBody=message_for([died]))
    world.sqs.send_message(QueueUrl=world.dead_url, MessageBody="no JSON")
    assert world.requeue() == {"requeued_images": 1, "given_up_images": 1, "is_done": True}
    entry = json.loads(
        world.s3.get_object(Bucket="final", Key=stuck_key(died.key, died.version_id or ""))["Body"].read()
    )
    assert (entry["source"]["key"], entry["source"]["version_id"]) == (died.key, died.version_id)
    assert entry["error"]["type"] == "FunctionDiedError"
    assert "batch-vision retry" in entry["remedy"]
    (body,) = world.bodies(world.queue_url)
    assert parse_message(body, "source")[0] == [
        replace(lost, uploaded_at=parse_message(body, "source")[0][0].uploaded_at)
    ]
    world.s3.delete_object(Bucket="source", Key=lost.key, VersionId=lost.version_id)
    assert world.check()["state"] == "drained"
    # A tick with nothing but stuck images starts nothing.
    assert (world.check()["images"], world.check()["model_wanted_at"]) == (0, None)


def test_peer_failing_the_test_event_buys_a_batch() -> None:
    """A message without an object is no work."""
    assert assess(0, counts(visible=1), None, NOW)["images"] == 0


def test_peer_failing_done_reads_only_the_visible_count() -> None:
    """The bucket says what is done: an image that is in flight has not left it."""
    for messages in (counts(), counts(in_flight=1), counts(delayed=1)):
        assert assess(1, messages, None, NOW)["state"] == "waiting"


@pytest.mark.parametrize(("images", "seconds"), [(1, 5), (50, 5), (100, 10), (290, 29), (1000, 30), (1_000_000, 30)])
def test_the_next_check_comes_after_half_of_what_is_left(images: int, seconds: int) -> None:
    """5 images a second; no longer than drain_poll_seconds, and no shorter than 5."""
    assert assess(min(images, 1000), counts(visible=images), None, NOW, drain=DRAIN)["wait_seconds"] == seconds


def test_the_next_check_goes_by_what_the_model_really_does() -> None:
    first = assess(1000, counts(visible=1200), None, NOW, drain=DRAIN)
    second = assess(1000, counts(visible=1000), first, after(10), drain=DRAIN)
    assert second["wait_seconds"] == 25  # 1,000 images at 20 a second


def test_a_run_has_a_bound_of_short_waits() -> None:
    """Each is a round of the workflow, whose history has an end."""
    waits, before = [], None
    for _ in range(100):
        before = assess(1, counts(visible=1), before, NOW, is_moving=True, drain=DRAIN)
        waits.append(before["wait_seconds"])
    assert waits == [5] * 60 + [30] * 40
    assert assess(1, counts(), None, NOW, drain=replace(DRAIN, poll_seconds=1))["wait_seconds"] == 1


def test_peer_failing_images_from_before_the_deployment_never_enter() -> None:
    """Objects with no message, seen twice in a row, are put back on the queue; once."""
    first = assess(2, counts(), None, NOW, drain=DRAIN)
    assert first["state"] == "waiting"
    assert assess(2, counts(), first, after(1), drain=DRAIN)["state"] == "lost_events"
    assert assess(2, counts(), first, after(1), is_requeued=True, drain=DRAIN)["state"] == "waiting"
    between = assess(2, counts(visible=1), first, after(1), drain=DRAIN)
    assert assess(2, counts(), between, after(2), drain=DRAIN)["state"] == "waiting"


def test_no_progress_for_the_bound_ends_the_drain() -> None:
    first = assess(2, counts(visible=2), None, NOW, drain=DRAIN)
    second = assess(2, counts(visible=2), first, after(60), drain=DRAIN)
    with pytest.raises(errors.NoProgressError, match="stall_timeout_seconds = 60"):
        assess(2, counts(visible=2), second, after(61), drain=DRAIN)
    moving = assess(2, counts(visible=2), second, after(61), is_moving=True, drain=DRAIN)
    assert moving["progressed_at"] == "2026-11-20T08:01:01.000Z"


def test_the_drain_has_a_deadline_even_while_it_moves() -> None:
    first = assess(2, counts(visible=2), None, NOW, drain=DRAIN)
    with pytest.raises(errors.DrainTimeoutError, match="drain_timeout_seconds = 600"):
        assess(2, counts(visible=2), first, after(601), is_moving=True, drain=DRAIN)
    assert assess(0, counts(), first, after(601), is_moving=True, drain=DRAIN)["state"] == "drained"


def test_empty_files_alone_buy_no_start_but_are_cleared_away_with_others() -> None:
    assert assess_waiting(Waiting(2, 0), counts(visible=2), None, NOW)["images"] == 0
    assert assess_waiting(Waiting(3, 1), counts(visible=3), None, NOW)["images"] == 3
    assert assess_waiting(Waiting(2, 0), counts(), None, NOW)["state"] == "waiting"


def test_the_second_check_without_progress_asks_how_the_model_is(
    world: World, upload: Callable[..., SourceImage]
) -> None:
    upload("in/a.jpg")
    world.model.states = [S.FAILED]
    first = world.drain()
    second = world.drain(first)
    assert (first["stalled_checks"], second["stalled_checks"]) == (0, 1)
    third = world.drain(second)
    assert (third["state"], third["restarts"]) == ("model_failed", 1)
    world.model.states = [S.STOPPED]
    with pytest.raises(errors.ModelStoppedError):
        world.drain(second)
    world.model.states = [S.RUNNING]
    assert world.drain(second)["state"] == "lost_events"


def status(state: ModelState) -> ModelStatus:
    return ModelStatus(state, state.upper())


@pytest.mark.parametrize("state", [S.STOPPED, S.STOPPING, S.NOT_TRAINED, S.UNAVAILABLE])
def test_a_model_that_somebody_stopped_stays_stopped(state: ModelState) -> None:
    with pytest.raises(errors.ModelStoppedError, match=f"{state.upper()} in mid-run"):
        assess(2, counts(visible=2), None, NOW, model=status(state), drain=DRAIN)
    assert assess(0, counts(), None, NOW, model=status(state), drain=DRAIN)["state"] == "drained"


def test_a_model_that_failed_is_started_again_once_and_has_its_time_for_the_first_image() -> None:
    first = assess(2, counts(visible=2), None, NOW, drain=DRAIN)
    failed = assess(2, counts(visible=2), first, after(50), model=status(S.FAILED), drain=DRAIN)
    assert (failed["state"], failed["restarts"]) == ("model_failed", 1)
    later = assess(2, counts(visible=2), failed, after(500), drain=DRAIN)
    assert (later["state"], later["progressed_at"], later["stalled_checks"]) == (
        "waiting",
        "2026-11-20T08:08:20.000Z",
        0,
    )
    with pytest.raises(errors.ModelFailedError, match="after it was started again"):
        assess(2, counts(visible=2), later, after(530), model=status(S.FAILED), drain=DRAIN)


def test_a_model_is_not_started_again_when_the_drain_has_no_time_for_that() -> None:
    slow = replace(DRAIN, start_seconds=300)
    first = assess(2, counts(visible=2), None, NOW, drain=slow)
    assert assess(2, counts(visible=2), first, after(299), model=status(S.FAILED), drain=slow)["restarts"] == 1
    with pytest.raises(errors.ModelFailedError, match=r"drain_timeout_seconds too little is left.* 300 seconds"):
        assess(2, counts(visible=2), first, after(300), model=status(S.FAILED), drain=slow)


def test_a_finished_batch_is_seen_without_listing_the_past(s3: Any) -> None:
    s3.put_object(Bucket="final", Key=catalog_key(after(-3600), "old"), Body=b"")
    assert not finished_since(s3, "final", NOW)
    s3.put_object(Bucket="final", Key=catalog_key(after(1), "new"), Body=b"")
    assert finished_since(s3, "final", NOW)
    assert not finished_since(s3, "final", after(10))


def test_versions_are_listed_older_first_without_what_was_taken_back(
    s3: Any, upload: Callable[..., SourceImage]
) -> None:
    one, two = upload("a.jpg", b"1"), upload("a.jpg", b"2")
    upload("gone.jpg")
    s3.delete_object(Bucket="source", Key="gone.jpg")
    upload("folder/", b"")
    listed = list(list_uploads(s3, "source", ""))
    assert [image.version_id for image in listed] == [one.version_id, two.version_id]


def test_a_version_is_there_even_under_a_marker(s3: Any, upload: Callable[..., SourceImage]) -> None:
    one, longer = upload("a"), upload("a.jpg")
    s3.delete_object(Bucket="source", Key="a")
    assert is_there(s3, one)
    s3.delete_object(Bucket="source", Key="a", VersionId=one.version_id)
    assert not is_there(s3, one)
    assert is_there(s3, longer)


class PagedS3:
    """Pages of versions, cut between a delete marker and the versions that are older than it."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages = pages

    def get_paginator(self, name: str) -> PagedS3:
        assert name == "list_object_versions"
        return self

    def paginate(self, **_: Any) -> Any:
        return self.pages


def version(key: str, version_id: str, seconds: int, *, is_latest: bool = False) -> dict[str, Any]:
    at = after(seconds)
    return {"Key": key, "VersionId": version_id, "LastModified": at, "IsLatest": is_latest, "ETag": '"e"', "Size": 1}


def test_a_version_under_a_marker_is_left_out_wherever_the_pages_are_cut() -> None:
    marker = {"Key": "k", "IsLatest": False, "LastModified": after(2)}
    pages = PagedS3(
        {
            "Versions": [version("a", "1", 0, is_latest=True), version("k", "3", 3, is_latest=True)],
            "DeleteMarkers": [marker],
            "NextKeyMarker": "k",
        },
        {"Versions": [version("k", "2", 1), version("k", "1", 0), version("z", "1", 0, is_latest=True)]},
    )
    listed = list_uploads(pages, "source", "")  # type: ignore[arg-type]
    assert [(image.key, image.version_id) for image in listed] == [("a", "1"), ("k", "3"), ("z", "1")]


def test_a_marker_over_the_first_of_three_uploads_takes_back_only_that() -> None:
    marker = {"Key": "k", "IsLatest": False, "LastModified": after(1)}
    versions = [version("k", "3", 3, is_latest=True), version("k", "2", 2), version("k", "1", 0)]
    listed = list_uploads(PagedS3({"Versions": versions, "DeleteMarkers": [marker]}), "source", "")  # type: ignore[arg-type]
    assert [image.version_id for image in listed] == ["2", "3"]


class FakeQueue:
    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        self.batches.append([entry["MessageBody"] for entry in Entries])
        return {"Failed": [{"Id": "0"}]} if QueueUrl == "full" else {}


def test_each_image_becomes_a_message_in_batches_of_ten(upload: Callable[..., SourceImage]) -> None:
    images = [upload(f"{i}/é +.jpg") for i in range(23)]
    queue = FakeQueue()
    assert send_images(queue, "queue", images) == 23  # type: ignore[arg-type]
    assert [len(batch) for batch in queue.batches] == [10, 10, 3]
    read = [image for batch in queue.batches for text in batch for image in parse_message(text, "source")[0]]
    assert read == images


def test_a_message_that_the_queue_refuses_is_an_error(upload: Callable[..., SourceImage]) -> None:
    with pytest.raises(errors.ServiceUnavailableError, match="full did not take 1"):
        send_images(FakeQueue(), "full", [upload("a.jpg")])  # type: ignore[arg-type]


def line(key: str) -> str:
    return json.dumps({"key": key, "version_id": "v"}) + "\n"


def test_the_catalog_is_read_from_the_runs_own_time_on(s3: Any) -> None:
    s3.put_object(Bucket="final", Key=catalog_key(after(-10), "past"), Body=line("past").encode())
    s3.put_object(Bucket="final", Key=catalog_key(after(5), "one"), Body=(line("a") + line("b")).encode())
    s3.put_object(Bucket="final", Key=catalog_key(after(7200), "two"), Body=line("c").encode())
    assert [entry["key"] for entry in read_catalog(s3, "final", NOW)] == ["a", "b", "c"]


def test_a_key_with_what_python_takes_for_the_end_of_a_line_is_summed_up(s3: Any, final: FinalBucket) -> None:
    keys = [f"{chr(code)}.png" for code in (0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029)]
    lines = [json.loads(line(key)) for key in keys]
    final.write_catalog(catalog_key(after(1), "one"), lines)
    assert [entry["key"] for entry in read_catalog(s3, "final", NOW)] == keys


@pytest.mark.parametrize("cause", ["", "it broke", "[]", "{}", '"text"'])
def test_a_cause_that_is_no_functions_error_is_kept_as_it_is(cause: str) -> None:
    assert read_error({"Error": "States.Timeout", "Cause": cause}) == {"type": "States.Timeout", "message": cause}
