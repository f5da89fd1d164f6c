from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from batch_vision.aws.catalog import catalog_key, read_catalog
from batch_vision.core import errors
from batch_vision.core.events import SourceImage, parse_message
from batch_vision.core.settings import Settings
from batch_vision.images.final import FinalBucket
from batch_vision.images.requeue import list_uploads, send
from batch_vision.runs.backlog import (
    Drain,
    Objects,
    count_dead_letters,
    count_objects,
    finished_since,
    held_because,
)
from batch_vision.runs.backlog import assess as assess_objects
from batch_vision.runs.summary import read_error
from lambdas.check_backlog import handler
from tests.unit.conftest import NOW

DRAIN = Drain(stall_timeout_seconds=60, drain_timeout_seconds=600, poll_seconds=30, images_per_second=5)


def counts(visible: int = 0, in_flight: int = 0, delayed: int = 0) -> dict[str, int]:
    return {"visible": visible, "in_flight": in_flight, "delayed": delayed}


def assess(objects: int, *arguments: Any, **options: Any) -> dict[str, Any]:
    return assess_objects(Objects(objects, objects), *arguments, **options)


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


def waiting(images: int, age_seconds: float, *, are_all: bool = True) -> Objects:
    return Objects(images, images, are_all, NOW - timedelta(seconds=age_seconds) if images else None)


@pytest.mark.parametrize(
    ("objects", "is_held"),
    [
        (waiting(0, 0), False),
        (waiting(49, 3599), True),
        (waiting(50, 0), False),
        (waiting(1, 3600), False),
        (waiting(3, 0, are_all=False), False),
    ],
)
def test_few_young_images_do_not_pay_for_a_start(settings: Settings, objects: Objects, *, is_held: bool) -> None:
    gate = replace(settings, start_backlog_images=50, start_max_age_seconds=3600)
    assert (held_because(objects, gate, NOW) is not None) == is_held
    assert held_because(objects, settings, NOW) is None


def test_it_is_said_why_images_are_held(settings: Settings) -> None:
    gate = replace(settings, start_backlog_images=50, start_max_age_seconds=3600)
    said = held_because(waiting(7, 60), gate, NOW)
    assert said
    for part in ("7 images", "start_backlog_images = 50", "for 60 seconds", "start_max_age_seconds = 3600", "by hand"):
        assert part in said


@pytest.mark.parametrize(
    ("execution_input", "images", "is_held"),
    [({"source": "aws.events", "detail": {}}, 0, True), ({}, 2, False), ([], 2, False)],
)
def test_a_run_that_is_started_by_hand_does_not_wait(
    s3: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, execution_input: Any, images: int, *, is_held: bool
) -> None:
    gate = replace(settings, start_backlog_images=50, start_max_age_seconds=3600)
    monkeypatch.setattr(handler, "settings", lambda: gate)
    monkeypatch.setattr(handler, "clients", SimpleNamespace(s3=lambda: s3))
    for key in "ab":
        s3.put_object(Bucket="source", Key=key, Body=b"x")
    event = {"messages": counts(visible=2), "dead_letter_queue_url": "dead", "execution_input": execution_input}
    answer = handler.handler.__wrapped__(event, None)  # type: ignore[attr-defined]
    assert (answer["images"], answer["held"] is not None) == (images, is_held)


def test_the_oldest_is_found_in_one_request(s3: Any) -> None:
    for number in range(1003):
        s3.put_object(Bucket="source", Key=f"{number:04d}.jpg", Body=b"x" if number else b"")
    requests: list[str] = []
    s3.meta.events.register("request-created", lambda operation_name, **_: requests.append(operation_name))
    found = count_objects(s3, "source", "")
    assert (found.total, found.with_content, found.are_all, len(requests)) == (1000, 999, False, 1)
    found = count_objects(s3, "source", "000")
    first = s3.head_object(Bucket="source", Key="0001.jpg")["LastModified"]
    assert (found.total, found.are_all, found.oldest_at) == (10, True, first)


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


def test_objects_are_counted_under_the_prefix(s3: Any) -> None:
    for key in ("in/a.jpg", "in/b/c.jpg", "other/d.jpg"):
        s3.put_object(Bucket="source", Key=key, Body=b"x")
    s3.put_object(Bucket="source", Key="in/folder/", Body=b"")
    found = count_objects(s3, "source", "in/")
    assert (found.total, found.with_content, found.are_all) == (3, 2, True)
    assert count_objects(s3, "source", "none/") == Objects(0, 0)


def test_empty_objects_alone_buy_no_start_but_are_cleared_away_with_others() -> None:
    assert assess_objects(Objects(2, 0), counts(visible=2), None, NOW)["images"] == 0
    assert assess_objects(Objects(3, 1), counts(visible=3), None, NOW)["images"] == 3
    assert assess_objects(Objects(2, 0), counts(), None, NOW)["state"] == "waiting"


def test_peer_failing_an_image_that_never_succeeds_restarts_the_model_every_hour() -> None:
    """Objects that are all dead letters buy no start, hold no model, and are told of by name."""
    with pytest.raises(errors.DeadLettersError, match=r"2 objects are left .* holds 2 messages.*redrive"):
        assess(2, counts(), None, NOW, dead_letters=2)
    assert assess(3, counts(), None, NOW, dead_letters=2)["images"] == 3
    assert assess(2, counts(visible=1), None, NOW, dead_letters=2)["images"] == 2
    first = assess(2, counts(visible=2), None, NOW, drain=DRAIN)
    second = assess(1, counts(), first, after(1), dead_letters=1, drain=DRAIN)
    with pytest.raises(errors.DeadLettersError):
        assess(1, counts(), second, after(2), dead_letters=1, drain=DRAIN)


def test_dead_letters_are_counted(s3: Any) -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="dead")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="one")
    assert count_dead_letters(sqs, url) == 1


def test_a_finished_batch_is_seen_without_listing_the_past(s3: Any) -> None:
    s3.put_object(Bucket="final", Key=catalog_key(after(-3600), "old"), Body=b"")
    assert not finished_since(s3, "final", NOW)
    s3.put_object(Bucket="final", Key=catalog_key(after(1), "new"), Body=b"")
    assert finished_since(s3, "final", NOW)
    assert not finished_since(s3, "final", after(10))


def test_all_versions_are_listed_older_first_and_deleted_keys_left_out(
    s3: Any, upload: Callable[..., SourceImage]
) -> None:
    one, two = upload("a.jpg", b"1"), upload("a.jpg", b"2")
    upload("gone.jpg")
    s3.delete_object(Bucket="source", Key="gone.jpg")
    listed = list(list_uploads(s3, "source", ""))
    assert [image.version_id for image in listed] == [one.version_id, two.version_id]


class PagedS3:
    """Two pages of versions, cut between the marker of a deleted key and its versions."""

    def get_paginator(self, name: str) -> PagedS3:
        assert name == "list_object_versions"
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        version = {"VersionId": "1", "LastModified": NOW, "ETag": '"e"', "Size": 1}
        return [
            {"Versions": [version | {"Key": "a"}], "DeleteMarkers": [{"Key": "gone", "IsLatest": True}]},
            {"Versions": [version | {"Key": "gone"}, version | {"Key": "z"}]},
        ]


def test_a_deleted_key_is_left_out_wherever_the_pages_are_cut() -> None:
    assert [image.key for image in list_uploads(PagedS3(), "source", "")] == ["a", "z"]  # type: ignore[arg-type]


class FakeQueue:
    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        self.batches.append([entry["MessageBody"] for entry in Entries])
        return {"Failed": [{"Id": "0"}]} if QueueUrl == "full" else {}


def test_each_image_becomes_a_message_in_batches_of_ten(upload: Callable[..., SourceImage]) -> None:
    images = [upload(f"{i}/é +.jpg") for i in range(23)]
    queue = FakeQueue()
    assert send(queue, "queue", images) == 23  # type: ignore[arg-type]
    assert [len(batch) for batch in queue.batches] == [10, 10, 3]
    read = [image for batch in queue.batches for text in batch for image in parse_message(text, "source")[0]]
    assert read == images


def test_a_message_that_the_queue_refuses_is_an_error(upload: Callable[..., SourceImage]) -> None:
    with pytest.raises(errors.ServiceUnavailableError, match="full did not take 1"):
        send(FakeQueue(), "full", [upload("a.jpg")])  # type: ignore[arg-type]


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
    assert list(read_catalog(s3, "final", NOW)) == lines


@pytest.mark.parametrize("cause", ["", "it broke", "[]", "{}", '"text"'])
def test_a_cause_that_is_no_functions_error_is_kept_as_it_is(cause: str) -> None:
    assert read_error({"Error": "States.Timeout", "Cause": cause}) == {"type": "States.Timeout", "message": cause}
