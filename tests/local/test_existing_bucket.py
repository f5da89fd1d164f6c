"""End to end on an existing bucket with a managed model: results keep in step with the bucket, whatever happens."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from batch_vision.core.scope import Scope
from batch_vision.operator.display import Display
from local import environment
from local.environment import Environment
from local.images_bucket import ImagesBucket
from tests.existing_bucket import broken_promises
from tests.local.faults import LambdaFaults
from tests.local.test_stack import LABELLED, picture
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.timeout(1500)]

IMAGES = "warehouse"
ARGUMENTS = {
    "name_prefix": "inplace",
    "analyze_timeout_seconds": 10,
    "rekognition": {"analyses": ["labels", "moderation"]},
}
# A message of a function that died is delivered again after the visibility timeout.
REDELIVERY_SECONDS = 120


class World:
    """The bucket as its owner uses it, and what became of its images."""

    def __init__(self, running: Environment, faults: LambdaFaults, *, is_versioned: bool) -> None:
        self.emulator = running.emulator
        self.faults = faults
        self.is_versioned = is_versioned
        self.s3, self.sqs = running.client("s3"), running.client("sqs")
        self.final = running.output("final_bucket_name")
        self.queue_url = running.output("queue_url")
        self.dead_letter_queue_url = running.output("dead_letter_queue_url")

    def upload(self, key: str, number: int = 0) -> None:
        self.s3.put_object(Bucket=IMAGES, Key=key, Body=picture(number, "JPEG"))

    def delete(self, key: str) -> str:
        return str(self.s3.delete_object(Bucket=IMAGES, Key=key).get("VersionId", ""))

    def results(self) -> dict[str, dict[str, Any]]:
        """The results by the key of the image."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.final, Prefix="results")
        places = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        bodies = [self.s3.get_object(Bucket=self.final, Key=place)["Body"].read() for place in places]
        return {result["source"]["key"]: result for result in map(json.loads, bodies)}

    def content(self) -> Any:
        """Every version and delete marker in the bucket of the images."""
        listed = self.s3.list_object_versions(Bucket=IMAGES)
        return [
            (entry["Key"], entry["VersionId"], entry.get("ETag"), str(entry["LastModified"]))
            for kind in ("Versions", "DeleteMarkers")
            for entry in listed.get(kind, [])
        ]

    def messages(self, queue_url: str) -> int:
        counts = self.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
        return sum(int(text) for name, text in counts.items() if name.startswith("ApproximateNumberOfMessages"))

    def broken(self) -> list[str]:
        return broken_promises(self.s3, IMAGES, self.final, Scope(("",), (".jpg", ".jpeg", ".png")))

    def check(self, seconds: float = REDELIVERY_SECONDS) -> None:
        """Wait until all is quiet, and check that the promise is kept and the bucket is as its owner left it."""
        before = self.content()
        wait_until(lambda: not self.messages(self.queue_url) and not self.broken(), REDELIVERY_SECONDS, "no quiet end")
        assert self.broken() == []
        assert self.messages(self.dead_letter_queue_url) == 0
        assert self.content() == before, "the bucket of the images is not written"


@pytest.fixture(scope="module", params=[True, False], ids=["versioned", "unversioned"])
def world(request: pytest.FixtureRequest, alone: None) -> Iterator[World]:
    faults = LambdaFaults()
    running = environment.up(
        Display(),
        LABELLED[0].parent.parent,
        backend="rekognition",
        dies_with_parent=True,
        arguments=ARGUMENTS,
        emulator_settings={"latency_ms": 20},
        localstack_settings={"BATCH_VISION_LAMBDA_FAULTS": str(LambdaFaults.prepare())},
        images_bucket=ImagesBucket(IMAGES, is_versioned=request.param),
    )
    try:
        yield World(running, faults, is_versioned=request.param)
    finally:
        environment.down()


@pytest.fixture(autouse=True)
def nothing_left(world: World) -> None:
    world.faults.clear()
    world.emulator.clear_faults()


def test_results_follow_uploads_overwrites_deletes_copies_and_what_is_brought_back(world: World) -> None:
    names = ["a.jpg", "line 3/café & 90%.jpg", "plus+and%20.JPG", "notes.txt", "x" * 1010 + ".png", "folder/"]
    for number, name in enumerate(names):
        world.upload(name, number)
    world.s3.put_object(Bucket=IMAGES, Key="no-image.jpg", Body=b"this is no image")
    world.s3.put_object(Bucket=IMAGES, Key="empty.png", Body=b"")
    for number in range(6):
        world.upload("overwritten.jpg", number)
    world.upload("gone.jpg")
    world.delete("gone.jpg")
    world.s3.copy_object(Bucket=IMAGES, Key="renamed.jpg", CopySource={"Bucket": IMAGES, "Key": "a.jpg"})
    world.delete("a.jpg")
    world.check()
    status = {key: result["status"] for key, result in world.results().items()}
    assert status == {
        "line 3/café & 90%.jpg": "processed",
        "plus+and%20.JPG": "processed",
        "x" * 1010 + ".png": "processed",
        "no-image.jpg": "rejected",
        "empty.png": "rejected",
        "overwritten.jpg": "processed",
        "renamed.jpg": "processed",
    }
    if world.is_versioned:
        marker = world.delete("renamed.jpg")
        world.check()
        assert "renamed.jpg" not in world.results()
        world.s3.delete_object(Bucket=IMAGES, Key="renamed.jpg", VersionId=marker)
        newest = world.s3.head_object(Bucket=IMAGES, Key="overwritten.jpg")["VersionId"]
        world.s3.delete_object(Bucket=IMAGES, Key="overwritten.jpg", VersionId=newest)
    else:
        world.delete("renamed.jpg")
        world.upload("renamed.jpg")
    world.check()
    assert {"renamed.jpg", "overwritten.jpg"} <= world.results().keys()


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
def test_thousands_of_events_shuffled_and_doubled_change_nothing(world: World) -> None:
    keys = [f"many/{number:02}.jpg" for number in range(20)]
    for number, key in enumerate(keys):
        world.upload(key, number)
        if number % 4 == 0:
            world.delete(key)
    world.check()
    calls = world.emulator.operation("DetectLabels")
    bodies = [
        json.dumps({"source": "aws.s3", "detail": {"bucket": {"name": IMAGES}, "object": {"key": key}}})
        for key in keys
        for _ in range(100)
    ]
    random.Random(14).shuffle(bodies)
    for at in range(0, len(bodies), 10):
        entries = [{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies[at : at + 10])]
        world.sqs.send_message_batch(QueueUrl=world.queue_url, Entries=entries)
    world.check(seconds=600)  # LocalStack has one poller
    assert world.emulator.operation("DetectLabels") == calls, "nothing is paid for twice"


@pytest.mark.fault("Existing bucket: a Lambda that dies between any two steps")
def test_functions_that_die_between_any_two_steps_lose_nothing(world: World) -> None:
    world.upload("die/deleted.jpg")
    world.check()
    points = {
        "die/found.jpg": "before HeadObject",
        "die/asked.jpg": "before PutObject",
        "die/written.jpg": "after PutObject",
        "die/deleted.jpg": "after DeleteObject",
    }
    injected = {
        key: world.faults.inject("analyze-images", "die", point, key=rf"^results/{key}\.json$")
        for key, point in points.items()
    }
    injected["catalog"] = world.faults.inject("analyze-images", "die", "before PutObject", key="^catalog/")
    for number, key in enumerate(points):
        if key == "die/deleted.jpg":
            world.delete(key)
        else:
            world.upload(key, number)
    world.check()
    assert {key: world.faults.hits(fault) for key, fault in injected.items()} == dict.fromkeys(injected, 1)


def test_a_service_that_throttles_and_fails_loses_nothing(world: World) -> None:
    world.emulator.inject("DetectLabels", "ThrottlingException", probability=0.3, seed=1)
    world.emulator.inject("DetectModerationLabels", "InternalServerError", probability=0.2, seed=2)
    for number in range(20):
        world.upload(f"busy/{number}.jpg", number)
    world.check()
    statuses = {result["status"] for key, result in world.results().items() if key.startswith("busy/")}
    assert statuses == {"processed"}
