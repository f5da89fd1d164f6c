"""End to end on an existing bucket with a managed model: results keep in step with the bucket, whatever happens."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.existing_bucket import broken_promises
from tests.local import backfills, permissions, shapes, soak_existing
from tests.local.permissions import Recording
from tests.local.soak_existing import BUCKET, SCOPE, Soak
from tests.local.stack import VALIDATOR, Stack, sqs_record
from tests.local.test_stack import picture
from tests.local.waits import wait_until

pytestmark = [pytest.mark.matrix, pytest.mark.local, pytest.mark.timeout(1200)]

SEED = 20261126
# botocore asks for the bucket's Region where S3 answers a HEAD with 400.
READS = {"s3:HeadBucket", "s3:HeadObject", "s3:GetObject", "s3:ListObjectsV2", "s3:ListObjectVersions"}


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


def content(stack: Stack) -> list[Any]:
    """Every version and delete marker in the bucket of the owner."""
    pages = stack.s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET.name)
    return [
        (kind, entry["Key"], entry["VersionId"], entry.get("ETag"), entry["IsLatest"], str(entry["LastModified"]))
        for page in pages
        for kind in ("Versions", "DeleteMarkers")
        for entry in page.get(kind, [])
    ]


def broken(stack: Stack) -> list[str]:
    return broken_promises(stack.s3, BUCKET.name, stack.final, SCOPE)


def check(stack: Stack, seconds: float = 60) -> dict[str, Any]:
    """Wait until all is quiet, and return the results by the key of their image."""
    before = content(stack)
    wait_until(
        lambda: not any(stack.messages().values()) and not broken(stack),
        seconds,
        lambda: f"all is in step; {stack.messages()} wait, and {broken(stack)[:5]}",
    )
    assert broken(stack) == []
    assert sum(stack.messages(stack.dead_letter_queue_url).values()) == 0
    assert content(stack) == before, "the bucket of the owner is not written"
    places = [*stack.keys(stack.final, "results/"), *stack.keys(stack.final, "results-long/")]
    found = [stack.read_json(place) for place in places]
    for result in found:
        VALIDATOR.validate(result)
    return {result["source"]["key"]: result for result in found}


def put(stack: Stack, key: str, number: int = 0) -> None:
    stack.s3.put_object(Bucket=BUCKET.name, Key=key, Body=picture(number, "JPEG"))


@pytest.mark.fault("Backfill: no event told of images, of replaced and of deleted ones")
def test_a_backfill_finds_what_no_event_told_of(stack: Stack) -> None:
    """First of all, in a bucket that never had versions."""
    assert "Status" not in stack.s3.get_bucket_versioning(Bucket=BUCKET.name)
    put(stack, "pile/told/replaced.jpg")
    put(stack, "pile/told/deleted.jpg")
    check(stack)
    paid = shapes.paid(stack)["DetectLabels"]
    with backfills.untold(stack, 44):
        for number in range(40):
            put(stack, f"pile/untold/{number}.jpg", number)
        put(stack, "pile/untold/" + "l" * 1000 + ".jpg")
        put(stack, "pile/untold/notes.txt")
        put(stack, "pile/told/replaced.jpg", 1)
        stack.s3.delete_object(Bucket=BUCKET.name, Key="pile/told/deleted.jpg")
    assert len(broken(stack)) == 43
    found = backfills.backfill()
    assert (found["outcome"], found["left_images"]) == ("succeeded", 0)
    assert shapes.paid(stack)["DetectLabels"] == paid + 42
    # What is left is the result of the deleted one: only a sweep removes results.
    assert all("deleted.jpg" in problem for problem in broken(stack))
    assert backfills.read("sweep", status=1)["orphaned"] == 1
    assert backfills.sweep()["outcome"] == "succeeded"
    check(stack)
    backfills.call("sweep")
    # Once more, and with a look at each: nothing is paid for.
    backfills.backfill()
    backfills.backfill("--deep")
    assert shapes.paid(stack)["DetectLabels"] == paid + 42
    check(stack)


# In this order, on one bucket: a bucket without versions that gets them, and no more of them later.
@pytest.mark.parametrize("versioning", ["", "Enabled", "Suspended"])
def test_results_follow_whatever_the_owner_does(
    stack: Stack, versioning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if versioning:
        stack.s3.put_bucket_versioning(Bucket=BUCKET.name, VersioningConfiguration={"Status": versioning})
    folder = f"pile/{versioning or 'never'}/"

    def put(key: str, body: bytes) -> None:
        stack.s3.put_object(Bucket=BUCKET.name, Key=key, Body=body)

    def delete(key: str, **version: str) -> Any:
        return stack.s3.delete_object(Bucket=BUCKET.name, Key=key, **version)

    longest_plain = folder + "x" * (1011 - len(folder) - 4) + ".jpg"
    longest = folder + "y" * 500 + "/" + "z" * (1024 - len(folder) - 501 - 4) + ".jpg"
    names = ["a b/c+d (1).JPG", "café/R&D 50%.jpeg", "100%25=1;2,3@4:5!$'*.png", "plus+and%2B.PNG", "twice.jpg"]
    assert (len(longest_plain), len(longest)) == (1011, 1024)
    keys = [*(folder + name for name in names), longest_plain, longest]
    for number, key in enumerate(keys):
        put(key, picture(number, "JPEG"))
    put(folder + "no picture.jpg", b"no picture at all")
    for outside in (f"other{folder}/a.jpg", f"{folder}notes.txt", f"{folder}folder/"):
        put(outside, picture())
    results = {key: result for key, result in check(stack).items() if key.startswith(folder)}
    assert {key for key, result in results.items() if result["status"] == "processed"} == set(keys)
    assert {key for key, result in results.items() if result["status"] == "rejected"} == {folder + "no picture.jpg"}
    assert f"results/{longest_plain}.json" in stack.keys(stack.final, f"results/{folder}")
    assert all(bool(result["source"]["version_id"]) == (versioning == "Enabled") for result in results.values())

    key = folder + "twice.jpg"
    first = stack.s3.head_object(Bucket=BUCKET.name, Key=key).get("VersionId")
    put(key, picture(77, "JPEG"))
    put(keys[0], picture(0, "JPEG"))  # the same bytes again
    source = {"Bucket": BUCKET.name, "Key": keys[1]}
    stack.s3.copy_object(Bucket=BUCKET.name, Key=folder + "renamed.jpeg", CopySource=source)
    marker = delete(keys[1])
    delete(keys[2])
    put(keys[2], picture(78))
    delete(longest)
    results = check(stack)
    assert folder + "renamed.jpeg" in results
    assert not {keys[1], longest} & results.keys()

    if versioning == "Enabled":
        delete(keys[1], VersionId=marker["VersionId"])
        restored = {"Bucket": BUCKET.name, "Key": key, "VersionId": first}
        # LocalStack takes the version for the object itself, which may be copied with a change only.
        stack.s3.copy_object(Bucket=BUCKET.name, Key=key, CopySource=restored, MetadataDirective="REPLACE")
        newest = stack.s3.head_object(Bucket=BUCKET.name, Key=keys[2])["VersionId"]
        delete(keys[2], VersionId=newest)
        results = check(stack)
        assert keys[1] in results
        assert keys[2] not in results
        assert results[key]["source"]["version_id"] not in (first, None)

    # A search finds what is there now: of each image the newest line of the catalog, and none of a deleted one.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = backfills.read("search", "--prefix", folder, "--limit", "0")["lines"]
    assert sorted((line["key"], line["status"], line["etag"]) for line in found) == sorted(
        (key, result["status"], result["source"]["etag"]) for key, result in results.items() if key.startswith(folder)
    )


def event_of(key: str) -> str:
    """The message that EventBridge puts on the queue for a key."""
    return json.dumps({"source": "aws.s3", "detail": {"bucket": {"name": BUCKET.name}, "object": {"key": key}}})


def hand(stack: Stack, *keys: str, receive_count: int = 1) -> dict[str, Any]:
    """Hand the messages of keys to the analyzing function, as SQS would; give the function's answer or error."""
    return stack.deliver(*(sqs_record(key, event_of(key), receive_count) for key in keys))


@pytest.mark.fault("Existing bucket: a Lambda that dies between any two steps")
def test_a_function_that_dies_between_any_two_steps_loses_nothing(stack: Stack) -> None:
    deleted = "pile/die/deleted.jpg"
    stack.s3.put_object(Bucket=BUCKET.name, Key=deleted, Body=picture(0, "JPEG"))
    check(stack)
    points = {
        "before HeadObject": "",
        "before PutObject": "^results/",
        "after PutObject": "^results/",
        "before PutObject ": "^catalog/",
        "after PutObject ": "^catalog/",
        "after DeleteObject": "^results/",
    }
    with shapes.paused(stack):
        for number, (point, pattern) in enumerate(points.items()):
            key = deleted if "Delete" in point else f"pile/die/{number}.jpg"
            if key == deleted:
                stack.s3.delete_object(Bucket=BUCKET.name, Key=key)
            else:
                stack.s3.put_object(Bucket=BUCKET.name, Key=key, Body=picture(number, "JPEG"))
            fault = stack.lambda_faults.inject("analyze-images", "die", point.strip(), key=pattern)
            assert hand(stack, key)["errorType"] == "Runtime.ExitError", point
            assert stack.lambda_faults.hits(fault) == 1, point
            assert hand(stack, key, receive_count=2) == {"batchItemFailures": []}
        assert broken(stack) == []
    results = check(stack)
    assert {key for key in results if key.startswith("pile/die/")} == {f"pile/die/{number}.jpg" for number in range(5)}


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
def test_thousands_of_events_shuffled_and_doubled_pay_for_nothing(stack: Stack) -> None:
    """Also deletions of what is there, and uploads of what is not: only bucket and key are believed."""
    keys = [f"pile/many/{number:02}.jpg" for number in range(40)]
    for number, key in enumerate(keys):
        stack.s3.put_object(Bucket=BUCKET.name, Key=key, Body=picture(number, "JPEG"))
        if number % 4 == 0:
            stack.s3.delete_object(Bucket=BUCKET.name, Key=key)
    check(stack)
    paid = shapes.paid(stack)
    bodies = [event_of(key) for key in keys for _ in range(50)]
    random.Random(SEED).shuffle(bodies)
    for at in range(0, len(bodies), 10):
        entries = [{"Id": str(place), "MessageBody": body} for place, body in enumerate(bodies[at : at + 10])]
        stack.sqs.send_message_batch(QueueUrl=stack.queue_url, Entries=entries)
    check(stack, seconds=300)  # LocalStack has one poller
    assert shapes.paid(stack) == paid


@pytest.mark.fault("Existing bucket: events late, doubled and in any order")
def test_some_changes_under_several_pollers(stack: Stack) -> None:
    soak_and_check(stack, changes=120, keys=25)


@pytest.mark.fault("Existing bucket: a Lambda that dies between any two steps")
@pytest.mark.fault("Soak: changes of an existing bucket, drawn from a seed")
def test_hundreds_of_changes_with_every_fault(stack: Stack) -> None:
    """In a versioned bucket; the shorter one is in a bucket that keeps no versions."""
    stack.s3.put_bucket_versioning(Bucket=BUCKET.name, VersioningConfiguration={"Status": "Enabled"})
    report = soak_and_check(stack, changes=600, keys=120)
    assert sum(count for name, count in report.faults.items() if name.startswith("die ")) > 0
    assert report.faults["DetectLabels:ProvisionedThroughputExceededException"] > 20
    assert report.overlaps > 0


def soak_and_check(stack: Stack, changes: int, keys: int) -> soak_existing.Report:
    status = stack.s3.get_bucket_versioning(Bucket=BUCKET.name).get("Status")
    with shapes.paused(stack):
        report = Soak(stack, SEED, changes, keys, is_versioned=status == "Enabled").run(600)
    assert report.is_good, report
    assert report.wrong_ends == 0
    assert report.objects > 0
    assert sum(report.paid.values()) > 0
    check(stack)
    return report


def test_a_soak_tells_a_wrong_end_and_a_call_for_nothing(stack: Stack) -> None:
    """The accounts of what is right, and then with each of the promises broken by hand."""
    key = "pile/wrong.jpg"
    stack.s3.put_object(Bucket=BUCKET.name, Key=key, Body=picture(1, "JPEG"))
    check(stack)

    def account() -> soak_existing.Report:
        soak = Soak(stack, SEED, 1, 1, is_versioned=False)
        soak._owner.appearances = 1
        soak._account()
        return soak.report

    assert account().is_good
    place = f"results/{key}.json"
    result = stack.read_json(place)
    stack.s3.put_object(
        Bucket=stack.final, Key=place, Body=json.dumps(result | {"analyzed_at": "2026-01-01T00:00:00Z"})
    )
    assert "the catalog says" in account().problems[0]
    stack.s3.delete_object(Bucket=stack.final, Key=place)
    report = account()
    assert (report.wrong_ends, report.is_good) == (2, False), report.problems
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=event_of(key))
    check(stack)
    report = account()
    assert (report.wrong_ends, report.paid["DetectLabels"], report.is_good) == (0, 2, False)


@pytest.mark.fault("Existing bucket: one of several analyses cannot answer now")
def test_an_answer_that_was_paid_for_is_kept(stack: Stack) -> None:
    key = "pile/kept.jpg"
    with shapes.paused(stack):
        stack.s3.put_object(Bucket=BUCKET.name, Key=key, Body=picture(5, "JPEG"))
        stack.emulator.inject("DetectModerationLabels", "ProvisionedThroughputExceededException", probability=1.0)
        assert len(hand(stack, key)["batchItemFailures"]) == 1
        assert stack.keys(stack.final, "work/partial/")
        stack.emulator.clear_faults()
        assert hand(stack, key, receive_count=2) == {"batchItemFailures": []}
        assert shapes.paid(stack) == {"DetectLabels": 1, "DetectModerationLabels": 1}
    check(stack)


def test_an_object_with_a_key_of_its_uploader_fails_without_a_call(stack: Stack) -> None:
    place = {"Bucket": BUCKET.name, "Key": "pile/sealed.jpg"}
    encryption = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    stack.s3.put_object(**place, Body=picture(3, "JPEG"), **encryption)
    wait_until(lambda: stack.keys(stack.final, "results/pile/sealed"), 30, "the result")
    result = stack.read_json("results/pile/sealed.jpg.json")
    VALIDATOR.validate(result)
    assert (result["status"], result["predictions"]) == ("failed", [])
    assert result["error"]["remedy"]
    stack.s3.delete_object(**place)
    check(stack)
    assert shapes.paid(stack) == {}


# Backfills.


def test_no_function_asks_for_more_of_the_bucket_than_to_read(stack: Stack) -> None:
    stack.s3.put_object(Bucket=BUCKET.name, Key="pile/read.jpg", Body=picture(2, "JPEG"))
    check(stack)
    recording = Recording.read(permissions.RECORDED_CALLS)
    asked = {call.operation for call in recording.calls if call.parameters.get("Bucket") == BUCKET.name}
    assert {"s3:HeadObject"} <= asked <= READS
    for policies in recording.latest_policies().values():
        for grant in permissions.grants(policies):
            is_of_bucket = f":::{BUCKET.name}" in grant.resource or grant.resource == "*"
            writes = grant.action.startswith(("s3:Put", "s3:Delete", "s3:Restore", "s3:Replicate", "s3:Abort"))
            assert not (is_of_bucket and writes), grant


def test_each_role_may_do_what_it_does_and_nothing_else(stack: Stack) -> None:
    """After all that the tests before have done."""
    # For an object that changes at every look, which takes luck here: tests/unit/test_update_results.py.
    seldom = "may sqs:SendMessage on"
    # What work-off-chunk may do is what analyze-images may (terraform/tests/shapes.tftest.hcl), but for the chunks.
    functions = ("analyze-images", "plan-backfill", "count-backfill", "backfill")
    # LocalStack's Map starts no executions and writes no answers in parts, and its log is not delivered.
    only_aws = {"StartChildren", "StopChildren", "WriteAnswersOfChildren", "DeliverLog"}
    found = shapes.wrong_permissions(stack, *functions, is_judged=lambda sid: sid not in only_aws)
    wrong = [said for said in found if seldom not in said]
    assert not wrong, "\n".join(wrong)
