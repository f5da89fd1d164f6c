"""End to end on an existing bucket with a hosted model: what needs the model waits as chunks until a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from batch_vision.core.chunks import LIVE, PREFIX, Chunk, ChunkMessage, chunk_key, images_in, job_of
from batch_vision.core.scope import Scope
from local.images_bucket import ImagesBucket
from tests.existing_bucket import broken_promises
from tests.local import backfills, shapes
from tests.local.stack import Stack
from tests.local.test_stack import picture
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.matrix, pytest.mark.timeout(1500)]

IMAGES = "warehouse"
SCOPE = Scope(("",), (".jpg", ".jpeg", ".png"))
# A message of a function that died is delivered again after the visibility timeout.
REDELIVERY_SECONDS = 120


class World(Stack):
    """The bucket as its owner uses it, and what became of its images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        prefix = self.queue_url.removesuffix("-chunks")
        self.changes_urls = [f"{prefix}-images", f"{prefix}-images-dead-letter"]

    def put(self, key: str, number: int = 0) -> None:
        self.s3.put_object(Bucket=IMAGES, Key=key, Body=picture(number, "JPEG"))

    def chunks(self) -> list[str]:
        return [key for key in self.keys(self.final, PREFIX) if images_in(key) is not None]

    def collect(self) -> None:
        """Wait until each change was looked at: what is in step already is, and the rest waits in chunks."""

        def is_collected() -> bool:
            if sum(self.messages(self.changes_urls[0]).values()):
                return False
            live = [chunk for chunk in self.chunks() if job_of(chunk) == LIVE]
            waiting = {key for chunk in live for key in self.read_json(chunk)["keys"]}
            out_of_step = [said for said in self.broken() if not any(repr(key) in said for key in waiting)]
            return not out_of_step

        wait_until(is_collected, REDELIVERY_SECONDS, "each change was looked at")
        assert sum(self.messages(self.changes_urls[1]).values()) == 0

    def broken(self) -> list[str]:
        return broken_promises(self.s3, IMAGES, self.final, SCOPE)

    def content(self) -> Any:
        listed = self.s3.list_object_versions(Bucket=IMAGES)
        kinds = ("Versions", "DeleteMarkers")
        return [
            (entry["Key"], entry["VersionId"], entry.get("ETag")) for kind in kinds for entry in listed.get(kind, [])
        ]

    def run_through(self) -> dict[str, Any]:
        """Let a run work off what waits, and check that it left nothing to do and nothing on."""
        self.collect()
        return self.run_and_check()

    def run_and_check(self, *, refused_calls_allowed: bool = False) -> dict[str, Any]:
        """The same, whoever wrote the chunks."""
        before = self.content()
        described = self.run()
        assert described["status"] == "SUCCEEDED", described
        assert (self.chunks(), self.broken()) == ([], [])
        assert self.content() == before, "the bucket of the images is not written"
        self.check_nothing_runs(refused_calls_allowed=refused_calls_allowed)
        summary: dict[str, Any] = json.loads(described.get("output") or "{}")
        return summary


@pytest.fixture(scope="module")
def applied(alone: None) -> Iterator[World]:
    with shapes.deployed("rekognition_custom_labels", ImagesBucket(IMAGES)) as stack:
        yield World(stack.environment, stack.arguments)


@pytest.fixture
def world(applied: World) -> World:
    """The deployment with whatever the tests before have left in its buckets."""
    applied.lambda_faults.clear()
    applied.emulator.reset()
    return applied


# In this order: a bucket without versions that gets them.
@pytest.mark.parametrize("versioning", ["", "Enabled"])
def test_results_follow_the_bucket_and_only_images_start_the_model(world: World, versioning: str) -> None:
    if versioning:
        world.s3.put_bucket_versioning(Bucket=IMAGES, VersioningConfiguration={"Status": versioning})
    names = ["a.jpg", "line 3/café & 90%.jpg", "plus+and%20.JPG", "x" * 1010 + ".png", "notes.txt", "folder/"]
    for number, name in enumerate(names):
        world.put(name, number)
    world.s3.put_object(Bucket=IMAGES, Key="no-image.jpg", Body=b"this is no image")
    for number in range(4):
        world.put("overwritten.jpg", number)
    world.put("gone.jpg")
    world.s3.delete_object(Bucket=IMAGES, Key="gone.jpg")
    world.collect()
    assert world.chunks()
    assert world.environment.model()["starts"] == 0
    summary = world.run_through()
    assert (summary["images_processed"], summary["images_rejected"], summary["images_left"]) == (5, 1, 0)
    model = world.environment.model()
    assert (model["starts"], model["stops"]) == (1, 1)
    # What needs no model starts none.
    world.s3.delete_object(Bucket=IMAGES, Key="a.jpg")
    world.s3.put_object(Bucket=IMAGES, Key="empty.png", Body=b"")
    world.s3.put_object(Bucket=IMAGES, Key="other.txt", Body=b"")
    event = {"source": "aws.s3", "detail": {"bucket": {"name": IMAGES}, "object": {"key": "overwritten.jpg"}}}
    world.sqs.send_message(QueueUrl=world.changes_urls[0], MessageBody=json.dumps(event))
    world.run_through()
    assert world.environment.model()["starts"] == 1
    # A copy, the same bytes again, and what is brought back.
    world.s3.copy_object(Bucket=IMAGES, Key="renamed.jpg", CopySource={"Bucket": IMAGES, "Key": "overwritten.jpg"})
    world.put("overwritten.jpg", 3)
    world.put("a.jpg", 9)
    world.run_through()
    assert world.environment.model()["starts"] == 2


def test_what_changes_while_a_run_works_is_part_of_it(world: World) -> None:
    for number in range(40):
        world.put(f"early/{number}.jpg", number)
    world.collect()
    execution = world.start()
    wait_until(lambda: world.keys(world.final, "results/early/"), 60, "no result")
    for number in range(5):
        world.put(f"late/{number}.jpg", number)
    world.s3.delete_object(Bucket=IMAGES, Key="early/0.jpg")
    world.put("early/1.jpg", 77)
    described = world.wait(execution)
    assert described["status"] == "SUCCEEDED", described
    world.run_through()
    assert world.environment.model()["starts"] <= 2


@pytest.mark.fault("Chunks: a function dies of an image every time, until the dead-letter queue has its chunk")
def test_dead_letters_are_taken_apart_and_what_is_no_chunk_is_put_aside(world: World) -> None:
    """Beside a chunk of a backfill with settings that are no longer deployed."""
    for number in range(4):
        world.put(f"dead/{number}.jpg", number)
    world.collect()
    together = world.chunks()
    world.put("dead/alone.jpg", 5)
    world.collect()
    (alone,) = set(world.chunks()) - set(together)
    for key in (*together, alone):
        world.sqs.send_message(QueueUrl=world.dead_letter_queue_url, MessageBody=ChunkMessage(key).body())
    former = Chunk("0" * 64, ("dead/0.jpg", "dead/gone.jpg"))
    rubbish = chunk_key("job-1", "2", Chunk("0" * 64, ("a.jpg",)))
    world.s3.put_object(Bucket=world.final, Key=chunk_key("job-1", "1", former), Body=former.body())
    world.s3.put_object(Bucket=world.final, Key=rubbish, Body=b"no chunk")
    summary = world.run_through()
    # A chunk of one image is given up; the four of before may have become several chunks.
    alone_too = sum(images_in(key) == 1 for key in (*together, alone))
    assert 1 <= summary["images_stuck"] <= alone_too
    assert summary["images_processed"] + summary["images_stuck"] == 5
    assert world.read_json("results/dead/alone.jpg.json")["error"]["type"] == "FunctionDiedError"
    statuses = {world.read_json(f"results/dead/{number}.jpg.json")["status"] for number in range(4)}
    assert "processed" in statuses


@pytest.mark.fault("Chunks: the function dies before any request of its work on a chunk")
@pytest.mark.fault("Chunks: the function that looks dies before any request")
def test_functions_that_die_lose_nothing(world: World) -> None:
    world.put("die/deleted.jpg")
    world.run_through()
    injected = [
        world.lambda_faults.inject("collect-changes", "die", "before PutObject", key="^work/"),
        world.lambda_faults.inject("collect-changes", "die", "after DeleteObject", key=r"^results/die/deleted\.jpg"),
        world.lambda_faults.inject("analyze-images", "die", "after PutObject", key=r"^results/die/1\.jpg"),
    ]
    world.s3.delete_object(Bucket=IMAGES, Key="die/deleted.jpg")
    for number in range(6):
        world.put(f"die/{number}.jpg", number)
    world.run_through()
    assert [world.lambda_faults.hits(fault) for fault in injected] == [1, 1, 1]


@pytest.mark.fault("Backfill: no event told of images, of replaced and of deleted ones")
def test_a_backfill_waits_for_runs_and_may_take_two(world: World) -> None:
    world.put("told/replaced.jpg")
    world.put("told/deleted.jpg")
    world.run_through()
    with backfills.untold(world, 152, "collect-changes"):
        for number in range(150):
            world.put(f"untold/{number:03}.jpg", number)
        world.put("told/replaced.jpg", 1)
        world.s3.delete_object(Bucket=IMAGES, Key="told/deleted.jpg")
    starts = world.environment.model()["starts"]
    found = backfills.backfill()
    assert (found["outcome"], found["counts"]["planned"], found["left_images"]) == ("planned", 151, 151)
    assert world.environment.model()["starts"] == starts
    world.emulator.set(latency_ms=400)
    # A run that ends before it is through leaves the rest to the next one.
    execution = world.start()
    wait_until(lambda: len(world.keys(world.final, "results/untold/")) > 20, 120, "some are done")
    world.workflow.stop_execution(executionArn=execution)
    wait_until(lambda: world.mapping_state() == "Disabled", 60, "the watchdog has closed the mapping")
    # A message of a function that was cut off comes back later, and may be in flight when the next run ends.
    wait_until(lambda: world.messages()["NotVisible"] == 0, REDELIVERY_SECONDS, "nothing is in flight")
    world.emulator.reset()
    assert 0 < len(world.keys(world.final, "results/untold/")) < 150
    assert world.chunks()
    # A sweep removes the result of what is deleted, without the model.
    backfills.sweep()
    world.run_and_check(refused_calls_allowed=True)  # of the run that was stopped
    calls = world.environment.model()["detect_calls"]
    backfills.backfill()
    assert world.chunks() == []
    assert world.environment.model()["detect_calls"] == calls


def test_each_role_may_do_what_it_does_and_nothing_else(world: World) -> None:
    """After all that the tests before have done; of other functions, test_permissions.py has the scenario.

    What follows the bucket, and backfills, are judged in test_existing_bucket.py.
    """
    functions = ("analyze-images", "collect-changes", "requeue-images", "check-backlog", "summarize-run")
    following = {"ReadImages", "TellMissingFromForbidden", "ListImageVersions", "WriteResults"}
    elsewhere = following | {"TakeMessagesAndSendThemAnew"}
    wrong = shapes.wrong_permissions(world, *functions, is_judged=lambda sid: sid not in elsewhere)
    assert not wrong, "\n".join(wrong)
