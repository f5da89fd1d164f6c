"""Another try for dead letters and rejected images: nothing is ever in no place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batch_vision.core.errors import AccessDeniedError, StorageRefusedError
from batch_vision.core.events import SourceImage, message_for, parse_message
from batch_vision.core.stuck import stuck_entry, stuck_key
from batch_vision.core.times import to_text, utc_now
from batch_vision.operator import dead_letters, rejected
from batch_vision.operator.dead_letters import redrive
from batch_vision.operator.rejected import retry_rejected
from batch_vision.operator.stack import Stack
from tests.unit.tool_stack import FINAL, SOURCE, Deployed


@pytest.fixture
def stack(deployed: Deployed) -> Stack:
    return deployed.stack()


def bury(deployed: Deployed, key: str, version_id: str | None) -> str:
    """Leave a dead letter about an image."""
    body = message_for([SourceImage(SOURCE, key, version_id, "e", 5, utc_now())])
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue_url, MessageBody=body)
    return body


def bodies(deployed: Deployed, url: str) -> list[str]:
    def receive() -> Iterator[str]:
        while messages := deployed.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            yield from (message["Body"] for message in messages)

    return sorted(receive())


def nothing(_done: int, _total: int) -> None:
    pass


# Dead letters.


def test_dead_letters_go_back_as_they_are(deployed: Deployed) -> None:
    sent = sorted(
        bury(deployed, f"line {number}/é+{number}.png", deployed.put(f"line {number}/é+{number}.png"))
        for number in range(25)
    )
    result = deployed.call("retry")
    assert result.exit_code == 0, result.output
    assert "25 messages back on the queue" in result.stdout
    assert "batch-vision run --watch" in result.stdout
    assert deployed.counts(deployed.dead_letter_queue_url) == 0
    assert bodies(deployed, deployed.queue_url) == sent


def test_nothing_to_move(deployed: Deployed) -> None:
    result = deployed.call("retry")
    assert (result.exit_code, "The dead-letter queue is empty" in result.stdout) == (0, True)


def test_a_message_whose_image_is_gone_is_dropped_and_told(deployed: Deployed) -> None:
    bury(deployed, "gone.png", None)
    kept = bury(deployed, "there.png", None)
    version = deployed.put("there.png")
    bury(deployed, "replaced.png", version)
    result = deployed.call("retry")
    assert result.exit_code == 0, result.output
    assert "1 message back on the queue" in result.stdout
    assert "2 messages dropped: the images are no longer in" in result.stdout
    assert bodies(deployed, deployed.queue_url) == [kept]


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        '{"Event": "s3:TestEvent"}',
        '{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "other"}}}]}',
    ],
)
def test_what_the_tool_cannot_judge_goes_back(deployed: Deployed, body: str) -> None:
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue_url, MessageBody=body)
    answer = deployed.json("retry")
    assert [answer[name] for name in ("moved", "dropped", "failed_again", "left")] == [1, 0, 0, 0]


def test_a_message_of_several_images_goes_back_while_one_is_there(deployed: Deployed) -> None:
    images = [SourceImage(SOURCE, key, None, "e", 5, utc_now()) for key in ("gone.png", "there.png")]
    deployed.put("there.png")
    deployed.sqs.send_message(QueueUrl=deployed.dead_letter_queue_url, MessageBody=message_for(images))
    assert deployed.json("retry")["moved"] == 1


class Refusing:
    """A client that fails at a call, as a process that is killed there."""

    def __init__(self, client: Any, method: str, after: int, error: Exception) -> None:
        self._client, self._method, self._left, self._error = client, method, after, error

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name != self._method:
            return real

        def call(*words: Any, **request: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise self._error
            return real(*words, **request)

        return call


@pytest.mark.parametrize("method", ["send_message", "delete_message"])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_interrupted_anywhere_no_message_is_lost(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, stack: Stack, method: str, after: int
) -> None:
    monkeypatch.setattr(dead_letters, "_PARALLEL", 1)
    sent = {bury(deployed, f"{number}.png", deployed.put(f"{number}.png")) for number in range(5)}
    real = stack.sqs
    stack.__dict__["sqs"] = Refusing(real, method, after, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        redrive(stack, nothing)
    stack.__dict__["sqs"] = real
    queued = set(bodies(deployed, deployed.queue_url))
    left = deployed.counts(deployed.dead_letter_queue_url)
    assert len(queued) + left >= 5
    assert len(queued) == after + (method == "delete_message")
    assert left == 5 - after
    assert queued <= sent


def test_a_missing_permission_drops_nothing(deployed: Deployed, stack: Stack) -> None:
    bury(deployed, "a.png", deployed.put("a.png"))
    answer: Any = {"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    stack.__dict__["s3"] = Refusing(stack.s3, "get_paginator", 0, ClientError(answer, "ListObjectVersions"))
    with pytest.raises(ClientError):
        redrive(stack, nothing)
    assert deployed.counts(deployed.dead_letter_queue_url) == 1


def test_messages_that_fail_again_meanwhile_do_not_go_round_for_ever(deployed: Deployed, stack: Stack) -> None:
    """A run is under way, and every message comes back at once, with the id that it has."""
    bury(deployed, "a.png", deployed.put("a.png"))
    real = stack.sqs

    class Returning(Refusing):
        def __getattr__(self, name: str) -> Any:
            if name != "send_message":
                return getattr(real, name)
            return lambda **request: real.send_message(
                QueueUrl=deployed.dead_letter_queue_url, MessageBody=request["MessageBody"]
            )

    stack.__dict__["sqs"] = Returning(real, "", 0, KeyboardInterrupt())
    answer = redrive(stack, nothing)
    # Each of those who move may have it once before its new id is known.
    assert 1 <= answer.moved <= dead_letters._PARALLEL
    assert not answer.is_good
    assert answer.failed_again >= 1
    assert answer.left == 1


def test_messages_that_somebody_else_holds_are_left_and_told(deployed: Deployed) -> None:
    bury(deployed, "a.png", deployed.put("a.png"))
    deployed.sqs.receive_message(QueueUrl=deployed.dead_letter_queue_url)
    result = deployed.call("retry")
    assert (result.exit_code, "1 message left" in result.stdout) == (1, True)


# Stuck images.


def give_up(deployed: Deployed, key: str, version_id: str, error: Exception | None = None, **changes: Any) -> str:
    """Leave the entry of an image that was given up."""
    image = SourceImage(SOURCE, key, version_id, "e", 5, utc_now())
    entry = stuck_entry(image, error or StorageRefusedError("held"), "Release the lock.", utc_now()) | changes
    place = stuck_key(key, version_id)
    deployed.put(place, json.dumps(entry).encode(), FINAL)
    return place


def test_a_stuck_image_is_sent_and_its_entry_deleted(deployed: Deployed) -> None:
    version = deployed.put("line 1/é+a.png")
    give_up(deployed, "line 1/é+a.png", version)
    give_up(deployed, "gone.png", "v")
    assert (deployed.json("status")["waiting"]["images"], deployed.json("status")["stuck"]["images"]) == (0, 2)
    answer = deployed.json("retry")
    assert answer["stuck"] == {"retried": 1, "dropped": 1, "foreign": []}
    assert deployed.keys(FINAL) == []
    (body,) = bodies(deployed, deployed.queue_url)
    (image,), _ = parse_message(body, SOURCE)
    assert (image.key, image.version_id, image.etag, image.size_bytes) == ("line 1/é+a.png", version, "e", 5)
    assert deployed.json("status")["waiting"]["images"] == 1


def test_only_entries_of_this_stack_are_taken(deployed: Deployed) -> None:
    """By their mark and their place: what somebody put there, or copied there, stays."""
    version = deployed.put("a.png")
    ours = give_up(deployed, "a.png", version)
    content = deployed.read(FINAL, ours)
    foreign = ["stuck/notes.txt", "stuck/copy.json", "stuck/odd.json"]
    for key, body in zip(foreign, (b"mine", content, b"[" * 20000), strict=True):
        deployed.put(key, body, FINAL)
    foreign.append(give_up(deployed, "b.png", "v", source={"bucket": "other", "key": "b.png", "version_id": "v"}))
    result = deployed.call("retry")
    assert (result.exit_code, "4 objects under stuck/" in result.stdout) == (1, True), result.output
    assert sorted(deployed.keys(FINAL)) == sorted(foreign)
    assert deployed.counts(deployed.queue_url) == 1


def test_status_says_why_images_are_stuck(deployed: Deployed) -> None:
    for number in range(3):
        give_up(deployed, f"{number}.png", deployed.put(f"{number}.png"))
    give_up(deployed, "k.png", deployed.put("k.png"), AccessDeniedError("no"), remedy="Grant kms:Decrypt.")
    deployed.put("waits.png")
    deployed.put("folder/", b"")
    found = deployed.json("status")
    assert found["waiting"] == {"images": 1, "is_at_least": False}
    assert [(cause["type"], cause["images"]) for cause in found["stuck"]["causes"]] == [
        ("StorageRefusedError", 3),
        ("AccessDeniedError", 1),
    ]
    result = deployed.call("status")
    assert result.exit_code == 1
    for text in ("4 images", "StorageRefusedError 3", "Release the lock.", "Grant kms:Decrypt.", "batch-vision retry"):
        assert text in result.stdout, result.output


# Rejected images.


def test_a_copy_of_a_result_moves_no_image_of_another(deployed: Deployed) -> None:
    """Its mark came along, and what it names is where the image is that it was copied from."""
    result = deployed.reject("a.png")
    deployed.put("rejected/copy.json", json.dumps(result).encode(), FINAL, Metadata={"batch-vision": "result"})
    answer = deployed.json("retry", "--rejected")
    assert (answer["retried"], answer["skipped"]) == (1, {"misplaced": ["rejected/copy.json"]})
    assert deployed.keys(SOURCE) == ["a.png"]
    assert deployed.keys(FINAL) == ["rejected/copy.json"]


def test_a_rejected_image_is_a_new_upload(deployed: Deployed) -> None:
    deployed.reject("line 1/é+a.png")
    result = deployed.call("retry", "--rejected")
    assert result.exit_code == 0, result.output
    assert "1 image back in" in result.stdout
    assert deployed.keys(SOURCE) == ["line 1/é+a.png"]
    assert deployed.read(SOURCE, "line 1/é+a.png") == b"broken"
    head = deployed.s3.head_object(Bucket=SOURCE, Key="line 1/é+a.png")
    assert (head["ContentType"], head["Metadata"]["camera"]) == ("image/png", "7")
    assert deployed.versions(FINAL) == []
    assert "No rejected image" in deployed.call("retry", "--rejected").stdout


def test_only_those_with_a_reason(deployed: Deployed) -> None:
    deployed.reject("a.png")
    assert deployed.json("retry", "--rejected", "--reason", "ImageTooLargeError")["retried"] == 0
    assert deployed.json("retry", "--rejected", "--reason", "InvalidImageFormatError")["retried"] == 1
    result = deployed.call("retry", "--reason", "ImageTooLargeError")
    assert (result.exit_code, "Add --rejected" in result.stderr) == (2, True)


def places(deployed: Deployed, key: str) -> int:
    """In how many places the bytes of a key are."""
    names = {SOURCE: key, FINAL: f"rejected/{key}"}
    return sum(name in deployed.keys(bucket) for bucket, name in names.items())


@pytest.mark.parametrize("method", ["copy", "delete_object"])
@pytest.mark.parametrize("after", [0, 1])
def test_interrupted_anywhere_it_is_never_in_no_place_and_can_be_repeated(
    deployed: Deployed, stack: Stack, method: str, after: int
) -> None:
    deployed.reject("a.png")
    real = stack.s3

    class Killed(Refusing):
        def __getattr__(self, name: str) -> Any:
            call = getattr(real, name)
            if name != self._method:
                return call

            def counted(*words: Any, **request: Any) -> Any:
                self._left -= 1
                if self._left < 0:
                    raise KeyboardInterrupt
                return call(*words, **request)

            return counted

    stack.__dict__["s3"] = Killed(real, method, after, KeyboardInterrupt())
    try:
        retry_rejected(stack, None, nothing)
    except KeyboardInterrupt:
        assert (method, after) != ("copy", 1)
    assert places(deployed, "a.png") >= 1

    stack.__dict__["s3"] = real
    uploads = len(deployed.versions(SOURCE))
    answer = retry_rejected(stack, None, nothing)
    assert answer.is_good
    assert deployed.versions(FINAL) == []
    assert deployed.read(SOURCE, "a.png") == b"broken"
    assert len(deployed.versions(SOURCE)) == max(1, uploads), "the image was uploaded twice"


def test_interrupted_before_the_result_went_and_analyzed_meanwhile(deployed: Deployed, stack: Stack) -> None:
    result = deployed.reject("a.png")
    image = deployed.s3.head_object(Bucket=FINAL, Key="rejected/a.png")["VersionId"]
    deployed.s3.delete_object(Bucket=FINAL, Key="rejected/a.png", VersionId=image)
    later = {"source": result["source"] | {"version_id": "w", "uploaded_at": to_text(utc_now() + timedelta(seconds=9))}}
    deployed.put_result(result | later | {"image_key": "processed/a.png", "status": "processed"})
    assert retry_rejected(stack, None, nothing).is_good
    assert deployed.keys(FINAL) == ["processed/a.png.json"]
    assert deployed.keys(SOURCE) == []


@pytest.mark.parametrize("place", ["waits", "processed"])
def test_one_that_was_uploaded_again_is_left(deployed: Deployed, stack: Stack, place: str) -> None:
    """An old picture must not become the newest of its name."""
    result = deployed.reject("a.png", uploaded_at="2026-11-19T08:00:00.000Z")
    if place == "waits":
        deployed.put("a.png", b"newer")
    else:
        newer = {"source": result["source"] | {"version_id": "w", "uploaded_at": "2026-11-20T08:00:00.000Z"}}
        deployed.put_result(result | newer | {"image_key": "processed/a.png", "status": "processed"})
    before = deployed.versions(FINAL), deployed.versions(SOURCE)
    answer = retry_rejected(stack, None, nothing)
    assert (answer.retried, answer.skipped, answer.is_good) == (0, {"superseded": ["a.png"]}, True)
    assert (deployed.versions(FINAL), deployed.versions(SOURCE)) == before
    shown = deployed.call("retry", "--rejected").stdout
    assert "1 left: a newer upload of the same key is there" in shown
    assert "a.png" in shown


def test_of_two_rejected_uploads_of_a_key_the_newer_goes(deployed: Deployed, stack: Stack) -> None:
    deployed.reject("a.png", b"newer", version_id="w", uploaded_at="2026-11-20T08:00:00.000Z")
    older = deployed.reject("a~1.png", b"older", version_id="v", uploaded_at="2026-11-19T08:00:00.000Z")
    older["source"]["key"] = "a.png"
    deployed.put_result(older)
    answer = retry_rejected(stack, None, nothing)
    assert (answer.retried, answer.skipped) == (1, {"superseded": ["a.png"]})
    assert deployed.read(SOURCE, "a.png") == b"newer"
    assert retry_rejected(stack, None, nothing).skipped == {"superseded": ["a.png"]}


def test_one_that_a_run_has_not_finished_is_left(deployed: Deployed, stack: Stack) -> None:
    """The result is written, the image still in the source bucket: the next run moves it."""
    version = deployed.put("a.png")
    deployed.reject("a.png", version_id=version)
    answer = retry_rejected(stack, None, nothing)
    assert (answer.skipped, answer.is_good) == ({"unfinished": ["a.png"]}, True)
    assert len(deployed.versions(FINAL)) == 2


def test_one_that_a_run_rejects_again_meanwhile_keeps_its_new_result(deployed: Deployed, stack: Stack) -> None:
    """The copy is analyzed, and rejected again, before the old image and result are deleted."""
    result = deployed.reject("a.png")
    real = stack.s3

    class Raced(Refusing):
        def __getattr__(self, name: str) -> Any:
            if name != "copy":
                return getattr(real, name)

            def copy_and_analyze(*words: Any, **request: Any) -> None:
                real.copy(*words, **request)
                version = real.head_object(Bucket=SOURCE, Key="a.png")["VersionId"]
                deployed.put_result(result | {"source": result["source"] | {"version_id": version}})
                deployed.put("rejected/a.png", b"broken", FINAL)
                real.delete_object(Bucket=SOURCE, Key="a.png", VersionId=version)

            return copy_and_analyze

    stack.__dict__["s3"] = Raced(real, "", 0, KeyboardInterrupt())
    assert retry_rejected(stack, None, nothing).retried == 1
    assert sorted(deployed.keys(FINAL)) == ["rejected/a.png", "rejected/a.png.json"]
    assert len(deployed.versions(FINAL)) == 2
    assert json.loads(deployed.read(FINAL, "rejected/a.png.json"))["source"]["version_id"] != "gone-version"


def test_one_of_another_prefix_or_without_its_image_is_left_and_told(deployed: Deployed) -> None:
    deployed.configure(SOURCE_PREFIXES='["in/"]')
    deployed.reject("out.png")
    deployed.reject("in/a.png")
    version = deployed.s3.head_object(Bucket=FINAL, Key="rejected/in/a.png")["VersionId"]
    deployed.s3.delete_object(Bucket=FINAL, Key="rejected/in/a.png", VersionId=version)
    result = deployed.call("retry", "--rejected")
    assert result.exit_code == 1
    assert "it comes from another bucket or prefix" in result.stdout
    assert "its image is not in the final bucket" in result.stdout


def test_an_image_named_like_a_result_is_no_result(deployed: Deployed, stack: Stack) -> None:
    deployed.put("rejected/notes.json", b"{}", FINAL)
    assert retry_rejected(stack, None, nothing).is_good
    assert deployed.keys(FINAL) == ["rejected/notes.json"]


def test_a_rejected_file_named_like_a_result_is_retried(deployed: Deployed, stack: Stack) -> None:
    deployed.reject("notes.json")
    assert retry_rejected(stack, None, nothing).retried == 1
    assert (deployed.keys(SOURCE), deployed.keys(FINAL)) == (["notes.json"], [])


def test_twice_at_the_same_time_loses_nothing(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        deployed.reject(f"{number}.png")
    monkeypatch.setattr(rejected, "_PARALLEL", 2)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: retry_rejected(deployed.stack(), None, nothing), range(2)))
    assert sum(answer.retried for answer in answers) >= 8
    assert sorted(deployed.keys(SOURCE)) == [f"{number}.png" for number in range(8)]
    assert deployed.keys(FINAL) == []
