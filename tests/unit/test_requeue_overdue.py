"""The tick of a managed model on a drop-off bucket: what has waited for too long is put back on the queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest

from batch_vision.aws import clients
from batch_vision.core.errors import SettingsError
from batch_vision.core.events import SourceImage, message_for, parse_message
from batch_vision.core.observability import metrics
from batch_vision.core.stuck import stuck_entry, stuck_key
from batch_vision.core.times import utc_now
from batch_vision.images import requeue
from lambdas.requeue_overdue.handler import handler
from tests.unit.conftest import NOW
from tests.unit.test_analyze_handler import Context

Upload = Callable[..., SourceImage]
REQUEUE_AFTER_SECONDS = 720


class World:
    """The source bucket and the two queues, some time after the uploads."""

    def __init__(self, s3: Any, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
        self.s3, self.sqs, self.monkeypatch = s3, boto3.client("sqs"), monkeypatch
        self.queue_url, self.dead_url = (
            self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("images", "images-dead-letter")
        )
        tell(
            QUEUE_URL=self.queue_url,
            DEAD_LETTER_QUEUE_URL=self.dead_url,
            REQUEUE_AFTER_SECONDS=str(REQUEUE_AFTER_SECONDS),
            REQUEUE_LIMIT_IMAGES="3",
            SOURCE_PREFIXES='["in/"]',
        )
        monkeypatch.setattr(clients, "s3", lambda: s3)
        monkeypatch.setattr(clients, "sqs", lambda: self.sqs)
        self.wait(REQUEUE_AFTER_SECONDS + 2)

    def wait(self, seconds: float) -> None:
        """Let the function be called so long after now."""
        self.monkeypatch.setattr(requeue, "utc_now", lambda: utc_now() + timedelta(seconds=seconds))

    def tick(self, context: Any = Context) -> dict[str, Any]:
        answer: dict[str, Any] = handler({"source": "aws.events"}, context())
        return answer

    def bodies(self, url: str) -> list[str]:
        found = []
        while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            found += [message["Body"] for message in messages]
        return found

    def sent(self) -> set[tuple[str, str | None]]:
        images = [image for body in self.bodies(self.queue_url) for image in parse_message(body, "source")[0]]
        assert all(image.is_resent for image in images), "an earlier delivery may have written a result"
        return {(image.key, image.version_id) for image in images}


@pytest.fixture
def world(s3: Any, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(Context, "get_remaining_time_in_millis", staticmethod(lambda: 300_000))
    return World(s3, tell, monkeypatch)


def named(*images: SourceImage) -> set[tuple[str, str | None]]:
    return {(image.key, image.version_id) for image in images}


def test_what_no_event_told_of_is_put_back(world: World, upload: Upload) -> None:
    older, newer, other = upload("in/a.jpg", b"1"), upload("in/a.jpg", b"2"), upload("in/é +%.jpg")
    upload("elsewhere/b.jpg")
    upload("in/folder/", b"")
    assert world.tick() == {"requeued_images": 3, "given_up_images": 0}
    assert world.sent() == named(older, newer, other)


def test_what_is_younger_has_its_own_message(world: World, upload: Upload) -> None:
    upload("in/a.jpg")
    world.wait(REQUEUE_AFTER_SECONDS - 30)
    assert world.tick()["requeued_images"] == 0
    assert world.sent() == set()


def test_what_is_stuck_is_left_alone(world: World, upload: Upload) -> None:
    held, waiting = upload("in/held.jpg"), upload("in/waiting.jpg")
    entry = json.dumps(stuck_entry(held, ValueError("why"), "remedy", NOW))
    world.s3.put_object(Bucket="final", Key=stuck_key(held.key, str(held.version_id)), Body=entry)
    assert world.tick()["requeued_images"] == 1
    assert world.sent() == named(waiting)


def test_an_image_whose_function_died_is_given_up(world: World, upload: Upload) -> None:
    died = upload("in/died.jpg")
    world.sqs.send_message(QueueUrl=world.dead_url, MessageBody=message_for([died]))
    assert world.tick() == {"requeued_images": 0, "given_up_images": 1}
    body = world.s3.get_object(Bucket="final", Key=stuck_key(died.key, str(died.version_id)))["Body"].read()
    assert json.loads(body)["error"]["type"] == "FunctionDiedError"
    assert world.bodies(world.dead_url) == []
    assert world.tick() == {"requeued_images": 0, "given_up_images": 0}


def test_while_the_queue_has_messages_only_some_are_put_back(world: World, upload: Upload) -> None:
    """A backlog that takes hours does not double its messages each hour; a lost image is not kept out by it either."""
    images = [upload(f"in/{number}.jpg") for number in range(7)]
    world.sqs.send_message(QueueUrl=world.queue_url, MessageBody=message_for(images[:1]))
    assert world.tick()["requeued_images"] == 3
    assert len(world.bodies(world.queue_url)) == 1 + 3
    world.sqs.purge_queue(QueueUrl=world.queue_url)
    assert world.tick()["requeued_images"] == 7


def test_it_ends_in_its_time_whatever_it_lists(world: World, upload: Upload) -> None:
    for number in range(30):
        upload(f"in/{number}.jpg")
    left = iter([300_000] * 12)

    class Short(Context):
        @staticmethod
        def get_remaining_time_in_millis() -> int:
            return next(left, 19_000)

    assert 10 <= world.tick(Short)["requeued_images"] <= 12
    world.wait(0)  # nothing is old enough: the listing itself ends in time too
    looked = 0

    def remaining_seconds() -> float:
        nonlocal looked
        looked += 1
        return 300.0 if looked < 5 else 0.0

    assert requeue.requeue_overdue(remaining_seconds) == {"requeued_images": 0, "given_up_images": 0}
    metrics.clear_metrics()
    assert looked == 5


def test_what_it_did_is_a_metric(world: World, upload: Upload, capsys: pytest.CaptureFixture[str]) -> None:
    upload("in/a.jpg")
    world.tick()
    (emf,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert (emf["ImagesRequeued"], emf["ImagesStuck"]) == ([1.0], [0.0])


def test_it_needs_its_settings(world: World, tell: Callable[..., None]) -> None:
    tell(REQUEUE_AFTER_SECONDS="soon")
    with pytest.raises(SettingsError, match="REQUEUE_AFTER_SECONDS is 'soon'"):
        world.tick()
