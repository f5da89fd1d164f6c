"""Videos in the bucket of somebody, which holds images too: results keep in step with it, and nothing in it changes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_vision.core.events import message_about
from local.images_bucket import ImagesBucket
from local.samples.draw_videos import CRACK, NORMAL, STAIN, Shot, draw_video
from tests import videos
from tests.existing_bucket import listed
from tests.local import backfills, shapes
from tests.local.test_existing_bucket import content as content_of
from tests.local.test_stack import picture
from tests.local.test_videos import SEED, Videos, deployed, found, numbered
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.matrix, pytest.mark.timeout(1200)]

BUCKET = ImagesBucket("pile-of-somebody")


@pytest.fixture(scope="module")
def applied(alone: None) -> Iterator[Videos]:
    with deployed(
        "rekognition",
        BUCKET,
        rekognition=shapes.rekognition("labels"),
        videos={"analyses": ["labels"], "bucket_name": BUCKET.name, "max_minutes_per_day": 600},
    ) as found:
        yield found


@pytest.fixture
def stack(applied: Videos) -> Videos:
    applied.reset()
    return applied


def check(stack: Videos, seconds: float = 60) -> dict[str, dict[str, Any]]:
    before = content_of(stack)
    results = stack.check(seconds)
    assert content_of(stack) == before, "the bucket of the owner is not written"
    return results


# In this order, on one bucket: one without versions that gets them.
@pytest.mark.fault("Videos: a video replaced or deleted meanwhile")
@pytest.mark.parametrize("versioning", ["", "Enabled"])
def test_results_follow_whatever_the_owner_does(
    stack: Videos, versioning: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if versioning:
        stack.s3.put_bucket_versioning(Bucket=BUCKET.name, VersioningConfiguration={"Status": versioning})
    folder = f"{versioning or 'never'}/"

    def delete(key: str, **version: str) -> None:
        stack.s3.delete_object(Bucket=BUCKET.name, Key=folder + key, **version)

    names = ["a b/c+d (1).MP4", "café/R&D 50%.mov", "replaced.mp4", "deleted.mp4", "x" * 980 + ".mp4", "again.mp4"]
    versions = {name: stack.put(folder + name, numbered(number)) for number, name in enumerate(names)}
    stack.put(folder + "image.jpg", picture(0, "JPEG"))
    results = {key: result for key, result in check(stack).items() if key.startswith(folder)}
    assert set(results) == {folder + name for name in names}
    assert {result["status"] for result in results.values()} == {"processed"}
    images = {entry["Key"] for entry in listed(stack.s3, stack.final, "results/")}
    assert f"results/{folder}image.jpg.json" in images
    assert found("--prefix", folder) == set(results)
    before = len(stack.jobs())

    # Replaced while the job of the one before runs, deleted, and the same bytes once more.
    stack.emulator.set(video_base_seconds=8.0)
    stack.put(folder + "replaced.mp4", numbered(50))
    stack.put(folder + "deleted in time.mp4", numbered(51))
    wait_until(lambda: len(stack.jobs()) >= before + 2 or stack.tick(), 60, "both jobs run")
    stack.emulator.set(video_base_seconds=1.0)
    newest = stack.put(folder + "replaced.mp4", numbered(52))
    delete("deleted in time.mp4")
    delete("deleted.mp4")
    stack.put(folder + "again.mp4", numbered(5))
    results = check(stack)
    assert folder + "deleted.mp4" not in results
    assert folder + "deleted in time.mp4" not in results
    told = results[folder + "replaced.mp4"]["source"]
    assert (told["version_id"] or "null") == newest
    # What was found in a video that is no more is not kept.
    kept = {(record["key"], record["upload"]) for record in videos.records(stack.s3, stack.final)}
    assert {key for key, _ in kept if key.startswith(folder)} == {key for key in results if key.startswith(folder)}

    if versioning:  # brought back, and an older version restored
        versioned = stack.s3.list_object_versions(Bucket=BUCKET.name, Prefix=folder + "deleted.mp4")
        (marker,) = versioned["DeleteMarkers"]
        delete("deleted.mp4", VersionId=marker["VersionId"])
        delete("replaced.mp4", VersionId=newest)
        results = check(stack)
        assert results[folder + "deleted.mp4"]["source"]["version_id"] == versions["deleted.mp4"]
        assert folder + "replaced.mp4" in results


@pytest.mark.fault("Videos: a message of an upload doubled, late or in any order")
def test_messages_in_any_order_pay_for_nothing_twice(stack: Videos) -> None:
    paid = len(stack.jobs())
    keys = [f"shuffled/{number}.mp4" for number in range(6)]
    for number, key in enumerate(keys):
        stack.put(key, numbered(60 + number))
    stack.s3.delete_object(Bucket=BUCKET.name, Key=keys[5])
    told = [*keys, *keys, *keys]
    random.Random(SEED).shuffle(told)
    for key in told:
        stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=message_about(BUCKET.name, key))
    results = check(stack, 90)
    assert {key for key in results if key.startswith("shuffled/")} == set(keys[:5])
    assert 5 <= len(stack.jobs()) - paid <= 6  # the deleted one may have been started before


@pytest.mark.fault("Videos: a message of an upload that never came")
def test_a_backfill_finds_what_no_event_told_of_and_pays_once(stack: Videos) -> None:
    stack.s3.put_bucket_notification_configuration(Bucket=BUCKET.name, NotificationConfiguration={})
    for number in range(4):
        stack.put(f"untold/{number}.mp4", draw_video([Shot((NORMAL, CRACK, STAIN)[number % 3], 1 + number)]))
    stack.s3.put_bucket_notification_configuration(
        Bucket=BUCKET.name, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    paid = len(stack.jobs())
    printed = backfills.call("backfill", "--videos", "--yes")
    assert "4 videos" in printed, printed
    check(stack)
    assert len(stack.jobs()) == paid + 4
    backfills.call("backfill", "--videos", "--yes")
    check(stack)
    assert len(stack.jobs()) == paid + 4
