"""Uploads of one key: their order, those that were taken back, and those that were deleted half-way."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batch_vision.core import errors
from batch_vision.core.events import UNKNOWN_SIZE_BYTES, SourceImage
from batch_vision.core.names import names_for
from batch_vision.core.versions import Entry, Standing, Upload, is_newer, standing_of
from batch_vision.images import analysis
from batch_vision.images.final import FinalBucket
from batch_vision.images.source import SourceBucket
from tests.unit.conftest import DETECTION, NOW
from tests.unit.test_analysis import World

Put = Callable[..., SourceImage]


@pytest.fixture
def world(s3: Any, source: SourceBucket, final: FinalBucket, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(analysis, "_OLDER_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(analysis, "_OLDER_POLL_SECONDS", 0.05)
    return World(s3, source, final)


def die_in(world: World, monkeypatch: pytest.MonkeyPatch, step: str, image: SourceImage) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(world.s3, step, lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.analyze(image)


def take_back(world: World, key: str = "a.jpg") -> str:
    return str(world.s3.delete_object(Bucket="source", Key=key)["VersionId"])


def left(world: World) -> list[str]:
    return [entry["VersionId"] for entry in world.s3.list_object_versions(Bucket="source").get("Versions", [])]


# Pure decisions


def entry(version_id: str, *, is_marker: bool = False, is_latest: bool = False) -> Entry:
    return Entry(version_id, is_marker, is_latest, NOW)


def test_what_is_newer_is_what_s3_does_not_list_after_it() -> None:
    entries = [entry("v3", is_latest=True), entry("v2"), entry("v1"), entry("m", is_marker=True)]
    assert standing_of("v3", entries, {"v2", "m", "v1"}) == Standing(False, ())
    assert standing_of("v2", entries, {"m", "v1"}) == Standing(False, ("v3",))
    assert standing_of("v1", entries, set()) == Standing(True, ("v3", "v2"))


FIRST = datetime(2026, 1, 1, 8, 0, 0, 100_000, UTC)
LATER = FIRST.replace(microsecond=900_000)
LISTED = FIRST.replace(microsecond=0)


@pytest.mark.parametrize(
    ("filed", "late", "newer"),
    [
        (Upload("1", FIRST), Upload("2", LATER), False),
        (Upload("2", LATER), Upload("1", FIRST), True),
        (Upload("1", FIRST), Upload("2", LISTED + timedelta(seconds=1)), False),
        # A listing names the whole second: S3's order decides, whichever of the two comes first.
        (Upload("1", FIRST, newer=["2"]), Upload("2", LISTED), False),
        (Upload("2", LISTED), Upload("1", FIRST, newer=["2"]), True),
        (Upload("2", LISTED), Upload("1", FIRST), True),
        (Upload("2", LISTED), Upload("1", LISTED), True),
        # Also against the times: a multipart upload is listed with the time at which it was begun.
        (Upload("1", LATER, newer=["2"]), Upload("2", FIRST - timedelta(minutes=1)), False),
        (Upload("2", FIRST - timedelta(minutes=1)), Upload("1", LATER, newer=["2"]), True),
    ],
)
def test_which_of_two_uploads_is_newer(filed: Upload, late: Upload, newer: bool) -> None:
    assert is_newer(filed, late) is newer


# Two uploads within one second


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["older first", "newer first"])
def test_two_uploads_within_a_second_are_ordered_as_s3_orders_them(
    world: World, upload: Put, order: tuple[int, int]
) -> None:
    """The older one is known from its event, to the millisecond, and the newer one from a listing."""
    older = upload("a.jpg", b"older", NOW + timedelta(milliseconds=100))
    time.sleep(0.002)  # moto orders versions by milliseconds
    newer = upload("a.jpg", b"newer", NOW)
    for number in order:
        world.analyze((older, newer)[number])
    assert world.read("processed/a.jpg") == b"newer"
    assert world.result("processed/a.jpg.json")["source"]["version_id"] == newer.version_id
    assert world.final.find_result(older) is not None or order == (0, 1)
    assert left(world) == []


# Deleted half-way


def delete_while_it_is_asked_about(world: World, image: SourceImage) -> None:
    def answer(_: Any) -> Any:
        world.s3.delete_object(Bucket="source", Key=image.key, VersionId=image.version_id)
        return DETECTION

    world.backend.detections = [answer]


def test_a_newer_upload_deleted_before_its_copy_leaves_the_older_picture_with_its_result(
    world: World, upload: Put
) -> None:
    older = upload("a.jpg", b"older")
    before = world.analyze(older).result
    newer = upload("a.jpg", b"newer", NOW + timedelta(seconds=1))
    delete_while_it_is_asked_about(world, newer)
    assert world.analyze(newer).status == "gone"
    assert world.read("processed/a.jpg") == b"older"
    assert world.result("processed/a.jpg.json") == before
    assert len(world.s3.list_object_versions(Bucket="final", Prefix="processed/a.jpg.json")["Versions"]) == 1


def test_an_image_named_like_a_result_that_is_deleted_half_way_leaves_nothing_behind(world: World, upload: Put) -> None:
    """Its place was reserved by an empty object, which is no image."""
    image = upload("notes.json", b"{}")
    delete_while_it_is_asked_about(world, image)
    assert world.analyze(image).status == "gone"
    assert world.keys("final") == []


def test_the_same_after_a_death_between_claim_and_copy(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.analyze(upload("a.jpg", b"older")).result
    newer = upload("a.jpg", b"newer", NOW + timedelta(seconds=1))
    die_in(world, monkeypatch, "copy_object", newer)
    world.s3.delete_object(Bucket="source", Key="a.jpg", VersionId=newer.version_id)
    assert world.analyze(newer, again=True).status == "gone"
    assert world.read("processed/a.jpg") == b"older"
    assert world.result("processed/a.jpg.json") == before


def test_a_newer_upload_that_another_delivery_moved_keeps_its_result(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.analyze(upload("a.jpg", b"older"))
    newer = upload("a.jpg", b"newer", NOW + timedelta(seconds=1))
    copy = world.s3.copy_object

    def moved_meanwhile(**request: Any) -> Any:
        monkeypatch.setattr(world.s3, "copy_object", copy)
        assert world.analyze(newer, again=True).status == "processed"
        return copy(**request)

    monkeypatch.setattr(world.s3, "copy_object", moved_meanwhile)
    assert world.analyze(newer).status == "processed"
    assert world.read("processed/a.jpg") == b"newer"
    assert world.result("processed/a.jpg.json")["source"]["version_id"] == newer.version_id


# An older upload that is in the way


def test_a_newer_upload_waits_some_seconds_for_the_older_and_asks_the_model_once(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = upload("a.jpg", b"older"), upload("a.jpg", b"newer", NOW + timedelta(seconds=1))
    die_in(world, monkeypatch, "copy_object", older)
    put, refused = world.s3.put_object, []

    def put_object(**request: Any) -> Any:
        try:
            return put(**request)
        except ClientError:
            refused.append(1)
            if len(refused) == 2:  # another invocation finishes the older one
                world.final.move(older, world.result("processed/a.jpg.json"))
            raise

    monkeypatch.setattr(world.s3, "put_object", put_object)
    monkeypatch.setattr(analysis, "_OLDER_WAIT_SECONDS", 60)
    asked = len(world.backend.calls)
    assert world.analyze(newer, retry_seconds=60).status == "processed"
    assert len(world.backend.calls) == asked + 1
    assert world.read("processed/a.jpg") == b"newer"


def test_at_its_last_delivery_a_newer_upload_gives_way(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = upload("a.jpg", b"older"), upload("a.jpg", b"newer", NOW + timedelta(seconds=1))
    die_in(world, monkeypatch, "copy_object", older)
    with pytest.raises(errors.OlderUploadInProgressError):
        world.analyze(newer)
    filed = world.analyze(newer, last=True).result
    assert filed is not None
    assert (filed["image_key"], world.read(filed["image_key"])) == (f"processed/{names_for(newer)[1]}", b"newer")
    world.analyze(older, again=True)
    assert world.read("processed/a.jpg") == b"older"
    assert left(world) == []


def test_an_older_upload_that_was_given_up_blocks_no_newer_one(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = upload("a.jpg", b"older"), upload("a.jpg", b"newer", NOW + timedelta(seconds=1))
    with monkeypatch.context() as broken:
        broken.setattr(world.s3, "copy_object", lambda **_: (_ for _ in ()).throw(errors.AccessDeniedError("no")))
        assert world.analyze(older, last=True).status == "stuck"
    began = time.monotonic()
    filed = world.analyze(newer).result
    assert filed is not None
    assert filed["image_key"] == f"processed/{names_for(newer)[1]}"
    assert time.monotonic() - began < 5
    assert left(world) == [older.version_id]


# Taken back by its user


def test_an_upload_that_was_taken_back_is_not_analyzed_and_not_published(world: World, upload: Put) -> None:
    image = upload("a.jpg")
    take_back(world)
    assert world.analyze(image).status == "taken_back"
    assert (world.backend.calls, world.keys("final"), left(world)) == ([], [], [image.version_id])
    assert world.analyze(image, again=True).status == "taken_back"
    assert (world.backend.calls, world.keys("final"), left(world)) == ([], [], [image.version_id])


def test_it_is_analyzed_when_the_marker_is_removed(world: World, upload: Put) -> None:
    image = upload("a.jpg")
    marker = take_back(world)
    world.s3.delete_object(Bucket="source", Key="a.jpg", VersionId=marker)
    assert world.analyze(image).status == "processed"


def test_a_marker_over_the_first_of_three_uploads_takes_back_that_one_only(world: World, upload: Put) -> None:
    first = upload("a.jpg", b"1")
    time.sleep(0.002)
    take_back(world)
    time.sleep(0.002)
    others = [upload("a.jpg", b"2", NOW + timedelta(seconds=2))]
    time.sleep(0.002)
    others.append(upload("a.jpg", b"3", NOW + timedelta(seconds=3)))
    assert world.analyze(first).status == "taken_back"
    assert [world.analyze(image).status for image in others] == ["processed", "processed"]
    assert world.analyze(first, again=True).status == "taken_back"
    assert world.read("processed/a.jpg") == b"3"
    assert left(world) == [first.version_id]
    assert [call[2] for call in world.backend.calls] == [image.version_id for image in others]


def test_a_claimed_upload_is_finished_and_stands_in_no_newer_ones_way(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Death between claim and copy, then the user deletes the image and uploads another one."""
    claimed = upload("a.jpg", b"claimed")
    die_in(world, monkeypatch, "copy_object", claimed)
    take_back(world)
    newer = upload("a.jpg", b"newer", NOW + timedelta(seconds=1))
    with pytest.raises(errors.OlderUploadInProgressError):
        world.analyze(newer)
    asked = len(world.backend.calls)
    assert world.analyze(claimed).status == "processed", "a duplicate event finishes it as well as a redelivery"
    assert len(world.backend.calls) == asked, "its answer was paid for"
    assert world.read("processed/a.jpg") == b"claimed"
    assert world.analyze(newer, again=True).status == "processed"
    assert world.read("processed/a.jpg") == b"newer"
    assert left(world) == []


def test_renaming_by_copy_and_delete_gives_one_result(world: World, upload: Put) -> None:
    old = upload("old.jpg", b"pixels")
    answer = world.s3.copy_object(Bucket="source", Key="new.jpg", CopySource={"Bucket": "source", "Key": "old.jpg"})
    take_back(world, "old.jpg")
    new = replace(old, key="new.jpg", version_id=answer["VersionId"])
    assert [world.analyze(image).status for image in (old, new)] == ["taken_back", "processed"]
    assert world.keys("final") == ["processed/new.jpg", "processed/new.jpg.json"]


# "Not found" has to be sure


def not_found(**_: Any) -> Any:
    response: Any = {"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    raise ClientError(response, "GetObject")


@pytest.mark.parametrize("calls", [("copy_object",), ("head_object", "get_object")])
def test_what_s3_does_not_find_and_lists_is_left_for_redelivery(
    world: World, upload: Put, monkeypatch: pytest.MonkeyPatch, calls: tuple[str, ...]
) -> None:
    """As S3 may for 15 minutes after versioning was enabled."""
    image = upload("a.jpg")
    with monkeypatch.context() as broken:
        for call in calls:
            broken.setattr(world.s3, call, not_found)
        with pytest.raises(errors.ImageUnreadableError):
            world.analyze(image)
    assert left(world) == [image.version_id]
    assert world.analyze(image, again=True).status == "processed"
    assert len(world.backend.calls) == 1, "a result that was written is kept"


def test_a_backend_that_does_not_find_its_bytes_has_the_listing_asked(world: World, upload: Put) -> None:
    world.backend.detections = [lambda _: (_ for _ in ()).throw(errors.ImageGoneError("404"))]
    with pytest.raises(errors.ImageUnreadableError):
        world.analyze(upload("a.jpg"))


def test_a_record_without_a_size_is_no_empty_image(world: World, upload: Put) -> None:
    image = upload("a.jpg", b"12345")
    assert world.analyze(replace(image, size_bytes=UNKNOWN_SIZE_BYTES)).status == "processed"
    assert world.result("processed/a.jpg.json")["source"]["size_bytes"] == 5


def test_a_record_with_a_wrong_size_is_no_empty_image(world: World, upload: Put) -> None:
    assert world.analyze(replace(upload("a.jpg", b"12345"), size_bytes=0)).status == "processed"


def test_an_object_from_before_versioning_waits_for_the_newer_uploads_of_its_key(world: World, s3: Any) -> None:
    """By reference a service reads the current version only, for it is not documented to know the version `null`."""
    s3.create_bucket(Bucket="fresh")
    s3.put_object(Bucket="fresh", Key="a.jpg", Body=b"old")
    s3.put_bucket_versioning(Bucket="fresh", VersioningConfiguration={"Status": "Enabled"})
    newer = s3.put_object(Bucket="fresh", Key="a.jpg", Body=b"new")["VersionId"]
    null = SourceImage("fresh", "a.jpg", "null", "", 3, NOW)
    with pytest.raises(errors.ImageUnreadableError):
        world.analyze(null)
    assert world.backend.calls == []
    s3.delete_object(Bucket="fresh", Key="a.jpg", VersionId=newer)
    assert world.analyze(null, again=True).status == "processed"
    assert world.read("processed/a.jpg") == b"old"
