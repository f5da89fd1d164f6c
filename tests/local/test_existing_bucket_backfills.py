"""Backfills of an existing bucket with a managed model, end to end, in the rest of the fault matrix.

Apart from the other tests of such a bucket, so that both run side by side.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from batch_vision.aws.clients import MAX_CONNECTIONS
from batch_vision.core.chunks import PREFIX, images_in
from tests.local import backfills, shapes, soak_existing, test_tool
from tests.local.soak_existing import BUCKET
from tests.local.stack import Stack
from tests.local.test_existing_bucket import broken, check, put
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.timeout(1200)]

# Images of a listing, an inventory and a CSV list; with FULL_SIZES=1 it takes a quarter of an hour more. (1010, since
# LocalStack cannot begin a page with a key that is not ASCII.)
LISTED, IN_INVENTORY, IN_CSV = (3000, 1010, 200) if os.environ.get("FULL_SIZES") == "1" else (400, 150, 40)


@pytest.fixture(scope="module")
def applied(alone: None) -> Iterator[Stack]:
    with shapes.deployed("rekognition", BUCKET, **soak_existing.ARGUMENTS) as stack:
        yield stack


@pytest.fixture
def stack(applied: Stack) -> Stack:
    """The deployment with whatever the tests before have left in its buckets."""
    applied.lambda_faults.clear()
    applied.emulator.reset()
    return applied


@pytest.fixture
def most_again(stack: Stack) -> Callable[[], int]:
    """How many images of a test may be paid for twice: what is in flight when a function's time is over, lost answers.

    The emulator counts anew for each test, and so does this.
    """
    before = shapes.lost_answers("work-off-chunk")
    return lambda: MAX_CONNECTIONS + shapes.lost_answers("work-off-chunk") - before


def is_still(stack: Stack) -> bool:
    """Whether no image is analyzed in the time that a function has."""
    paid = shapes.paid(stack)
    time.sleep(stack.arguments["backfill_timeout_seconds"])
    return shapes.paid(stack) == paid


@pytest.mark.matrix
@pytest.mark.fault("Backfill: paused, cancelled and resumed in the middle")
def test_a_backfill_is_paused_resumed_and_cancelled(stack: Stack, most_again: Callable[[], int]) -> None:
    paid = shapes.paid(stack).get("DetectLabels", 0)
    with backfills.untold(stack, 700):
        for number in range(700):
            put(stack, f"pile/paused/{number}.jpg", number % 100)
    # One chunk after the other: the first one is of 576 images.
    start = ("backfill", "--yes", "--concurrency", "1")
    job = backfills.job_of(backfills.call(*start, "--prefix", "pile/paused/"))
    backfills.wait_for_results(stack, "pile/paused/")
    assert "--pause" in backfills.call("backfill", "--yes", status=1), "there is one already"
    backfills.call("backfill", "--pause")
    wait_until(lambda: backfills.executions(stack)[0]["status"] == "ABORTED", 30, "the execution ends")
    # LocalStack does not end what is under way, and begins such a chunk again when its time is over.
    wait_until(lambda: is_still(stack), 60, "nothing is worked on any more")
    left = backfills.waiting(stack, job)
    assert left > 0
    assert backfills.read("backfill", "--status")["left_images"] == left
    backfills.call("backfill", "--resume", "--watch")
    check(stack)
    assert backfills.waiting(stack, job) == 0
    assert paid + 700 <= shapes.paid(stack)["DetectLabels"] <= paid + 700 + most_again()

    with backfills.untold(stack, 200):
        for number in range(200):
            put(stack, f"pile/cancelled/{number}.jpg", number % 100)
    job = backfills.job_of(backfills.call(*start))
    backfills.wait_for_results(stack, "pile/cancelled/")
    backfills.call("backfill", "--cancel")
    assert backfills.waiting(stack, job) == 0
    cancelled = ("backfill", "--status", "--job", job)
    wait_until(lambda: backfills.read(*cancelled)["state"] == "cancelled", 30, "it is cancelled")
    backfills.backfill()
    check(stack)


@pytest.mark.matrix
@pytest.mark.fault("Backfill: functions die while a backfill works")
def test_hundreds_of_images_while_the_owner_goes_on(stack: Stack, most_again: Callable[[], int]) -> None:
    """In a bucket with versions; half are done, others come, are replaced and deleted meanwhile, functions die."""
    stack.s3.put_bucket_versioning(Bucket=BUCKET.name, VersioningConfiguration={"Status": "Enabled"})
    folder = "pile/hundreds/"
    half = LISTED // 2
    with backfills.untold(stack, half):
        for number in range(half):
            put(stack, f"{folder}{number:04}.jpg", number % 100)
    backfills.backfill("--concurrency", "2")  # LocalStack is busy with that
    check(stack)
    paid = shapes.paid(stack)["DetectLabels"]
    assert half <= paid <= half + most_again()
    with backfills.untold(stack, half):
        for number in range(half, LISTED):
            put(stack, f"{folder}{number:04}.jpg", number % 100)
    # Once: a chunk that a function dies of again is taken apart, into hundreds of calls here.
    death = stack.lambda_faults.inject("work-off-chunk", "die", "after PutObject", key="^results/")
    process = test_tool.start("backfill", "--yes", "--watch", "--concurrency", "2")
    wait_until(lambda: shapes.paid(stack)["DetectLabels"] > paid + 100, 120, "the backfill is at work")
    for number in range(0, LISTED, LISTED // 20):
        put(stack, f"{folder}{number:04}.jpg", number % 100 + 1)
        stack.s3.delete_object(Bucket=BUCKET.name, Key=f"{folder}{number + 1:04}.jpg")
        put(stack, f"{folder}new-{number}.jpg", 5)
    printed, said = process.communicate(timeout=1200)
    assert process.returncode == 0, printed + said
    check(stack, seconds=120)
    assert stack.lambda_faults.hits(death) == 1
    # 40 changes more, and what was under way when the function died or an image was replaced.
    assert paid + half <= shapes.paid(stack)["DetectLabels"] <= paid + half + 40 + 100 + most_again()
    assert backfills.read("backfill", "--status")["state"] == "succeeded"


@pytest.mark.matrix
@pytest.mark.fault("Backfill: a list that is damaged, incomplete or of something else")
def test_lists_that_others_wrote(stack: Stack, tmp_path: Path, most_again: Callable[[], int]) -> None:
    folder = "pile/listed/"
    odd = ['a b/ü,"1".jpg', "plus+and%20.JPG", "日本.jpg", *(f"odd & {n}.jpg" for n in range(IN_CSV - 3))]
    with backfills.untold(stack, IN_INVENTORY + len(odd)):
        for number in range(IN_INVENTORY):
            put(stack, f"{folder}{number:04}.jpg", number % 100)
        for number, name in enumerate(odd):
            put(stack, folder + name, number)
    listed: dict[str, dict[str, str]] = {f"{folder}{number:04}.jpg": {} for number in range(IN_INVENTORY)}
    listed |= {f"{folder}gone.jpg": {}, f"{folder}frozen.jpg": {"StorageClass": "GLACIER"}, f"{folder}a.txt": {}}
    manifest = backfills.put_inventory(stack, BUCKET.name, "inventories/all", listed)
    # What is wrong is said before anything is done.
    keys = tmp_path / "keys.csv"
    for text, said in ((f"{BUCKET.name},a.jpg\n\n", "line 2"), ("other,a.jpg\n", "other"), ("a.jpg\n", "columns")):
        keys.write_text(text)
        assert said in backfills.call("backfill", "--yes", "--list", str(keys), status=2)
    missing = backfills.put_inventory(stack, BUCKET.name, "inventories/missing", {"pile/a.jpg": {}, "pile/b.jpg": {}})
    stack.s3.delete_object(Bucket=stack.final, Key="inventories/missing/data/1.csv.gz")
    assert "data/1.csv.gz" in backfills.call("backfill", "--yes", "--inventory", missing, status=2)
    assert not any(map(images_in, stack.keys(stack.final, PREFIX)))

    found = backfills.backfill("--inventory", manifest, "--concurrency", "2")
    counts = found["counts"]
    assert (found["outcome"], counts["left_out"]) == ("succeeded", {"archived": 1, "suffix": 1})
    assert (counts["listed"], counts["planned"]) == (IN_INVENTORY + 3, IN_INVENTORY + 1), "one of them is gone"
    # The odd ones are left, but for one of which LocalStack may tell once more, later than the others.
    wait_until(lambda: not any(stack.messages().values()), 60, "no message is left")
    assert len(odd) - 1 <= len(broken(stack)) <= len(odd)
    keys.write_text("".join(f"{BUCKET.name},{quote_plus(folder + name)}\n" for name in odd))
    backfills.backfill("--list", str(keys), "--concurrency", "2")
    check(
        stack, seconds=240
    )  # an event that was told late is delivered again where a busy machine cuts its function off
    wanted = IN_INVENTORY + len(odd)
    assert wanted <= shapes.paid(stack)["DetectLabels"] <= wanted + most_again()
