"""The mask of an image's anomalies: beside the result, once, and never in another object's place."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from batch_vision.backends.contracts import Anomaly, Detection, Kind, Prediction
from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.names import names_for
from batch_vision.images import analysis
from batch_vision.images.analysis import analyze
from batch_vision.images.final import FinalBucket
from batch_vision.images.source import SourceBucket
from tests.unit.conftest import DETECTION, NOW, detectors_of
from tests.unit.test_analysis import World

Upload = Callable[..., SourceImage]

MASK = b"\x89PNG\r\n\x1a\n mask"
MASKED = Detection(
    [Prediction("crack", 90.0, kind=Kind.ANOMALY)], Anomaly(True, 90.0), {"DetectAnomalyResult": {}}, MASK
)


@pytest.fixture
def world(s3: Any, source: SourceBucket, final: FinalBucket) -> World:
    made = World(s3, source, final)
    made.backend.detections = [MASKED]
    return made


def masked(mask: bytes) -> Detection:
    return replace(MASKED, mask_png=mask)


def die_in(world: World, monkeypatch: pytest.MonkeyPatch, step: str, image: SourceImage, *, key: str = "") -> None:
    """Analyze, and die when a call of S3 is made (for a key that ends so)."""
    real = getattr(world.s3, step)

    def call(**arguments: Any) -> Any:
        if arguments["Key"].endswith(key):
            raise KeyboardInterrupt
        return real(**arguments)

    with monkeypatch.context() as broken:
        broken.setattr(world.s3, step, call)
        with pytest.raises(KeyboardInterrupt):
            world.analyze(image)


def test_the_mask_is_beside_the_result_and_not_in_it(world: World, upload: Upload) -> None:
    world.analyze(upload("a b/é.jpg"))
    assert world.keys("final") == [
        "processed/a b/é.jpg",
        "processed/a b/é.jpg.json",
        "processed/a b/é.jpg.mask.png",
    ]
    assert world.read("processed/a b/é.jpg.mask.png") == MASK
    assert world.s3.head_object(Bucket="final", Key="processed/a b/é.jpg.mask.png")["ContentType"] == "image/png"
    result = world.result("processed/a b/é.jpg.json")
    assert result["mask_key"] == "processed/a b/é.jpg.mask.png"
    assert b"mask\n" not in world.read("processed/a b/é.jpg.json")
    assert result["raw"] == {"DetectAnomalyResult": {}}


def test_a_result_without_a_mask_names_none(world: World, upload: Upload) -> None:
    world.backend.detections = [DETECTION]
    world.analyze(upload("a.jpg"))
    assert world.result("processed/a.jpg.json")["mask_key"] is None
    assert world.keys("final") == ["processed/a.jpg", "processed/a.jpg.json"]


def test_the_image_is_moved_only_when_the_mask_is_written(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = upload("a.jpg")
    die_in(world, monkeypatch, "copy_object", image)
    assert world.keys("final") == ["processed/a.jpg.json", "processed/a.jpg.mask.png"]


@pytest.mark.parametrize("again", [True, False], ids=["redelivered", "duplicate event"])
def test_a_mask_that_was_not_written_is_asked_for_again(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    image = upload("a.jpg")
    die_in(world, monkeypatch, "put_object", image, key=".mask.png")
    assert world.keys("final") == ["processed/a.jpg.json"]
    written = world.result("processed/a.jpg.json")
    assert world.analyze(image, again=again).status == "processed"
    assert world.result("processed/a.jpg.json") == written
    assert world.read("processed/a.jpg.mask.png") == MASK
    assert world.versions("source") == 0


def test_a_mask_that_was_written_is_not_asked_for_again(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = upload("a.jpg")
    die_in(world, monkeypatch, "copy_object", image)
    asked = len(world.backend.calls)
    world.analyze(image, again=True)
    assert len(world.backend.calls) == asked
    assert len(world.s3.list_object_versions(Bucket="final", Prefix="processed/a.jpg.mask.png")["Versions"]) == 1


@pytest.mark.parametrize("answer", [DETECTION, errors.ImageTooLargeError("for this model")])
def test_a_mask_that_nobody_can_give_again_is_named_no_more(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """The backend was changed between two deliveries: the earlier answer counts, and it stays one answer."""
    image = upload("a.jpg")
    die_in(world, monkeypatch, "put_object", image, key=".mask.png")
    written = world.result("processed/a.jpg.json")
    world.backend.detections = [answer]
    outcome = world.analyze(image, again=True)
    assert (outcome.status, outcome.result) == ("processed", written | {"mask_key": None})
    assert world.result("processed/a.jpg.json") == written | {"mask_key": None}
    assert world.keys("final") == ["processed/a.jpg", "processed/a.jpg.json"]
    assert world.versions("source") == 0


def test_a_newer_upload_replaces_the_mask_of_the_older(world: World, upload: Upload) -> None:
    first, second = upload("a.jpg", b"1"), upload("a.jpg", b"2", NOW + timedelta(seconds=1))
    world.backend.detections = [masked(b"first"), masked(b"second")]
    world.analyze(first)
    world.analyze(second)
    assert world.read("processed/a.jpg.mask.png") == b"second"
    assert len(world.keys("final")) == 3


def test_a_newer_upload_without_a_mask_leaves_none_of_the_older(world: World, upload: Upload) -> None:
    first, second = upload("a.jpg", b"1"), upload("a.jpg", b"2", NOW + timedelta(seconds=1))
    world.analyze(first)
    world.backend.detections = [DETECTION]
    world.analyze(second)
    assert world.keys("final") == ["processed/a.jpg", "processed/a.jpg.json"]


def test_an_older_upload_that_comes_late_has_a_mask_of_its_own(world: World, upload: Upload) -> None:
    first, second = upload("a.jpg", b"1"), upload("a.jpg", b"2", NOW + timedelta(seconds=1))
    world.backend.detections = [masked(b"second"), masked(b"first")]
    world.analyze(second)
    late = world.analyze(first).result
    assert late is not None
    assert world.read("processed/a.jpg.mask.png") == b"second"
    assert world.read(late["mask_key"]) == b"first"
    assert late["mask_key"] == f"{late['image_key']}.mask.png"


@pytest.mark.parametrize("order", [("x", "x.mask.png"), ("x.mask.png", "x")])
def test_an_upload_named_like_a_mask_overwrites_none(world: World, upload: Upload, order: tuple[str, str]) -> None:
    world.backend.detections = [lambda image: masked(f"mask of {image.key}".encode())]
    images = [upload(key, key.encode()) for key in order]
    for image in images:
        world.analyze(image)
    for image in images:
        found = world.final.find_result(image)
        assert found is not None
        assert world.read(found["image_key"]) == image.key.encode()
        assert world.read(found["mask_key"]) == f"mask of {image.key}".encode()
    assert len(world.keys("final")) == 6
    before = world.keys("final")
    assert all(world.analyze(image, again=True).status == "processed" for image in images)
    assert world.keys("final") == before


@pytest.mark.parametrize("half_done", ["x", "x.mask.png"])
def test_a_claimed_place_is_left_alone_before_anything_is_there(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch, half_done: str
) -> None:
    world.backend.detections = [lambda image: masked(f"mask of {image.key}".encode())]
    images = {key: upload(key, key.encode()) for key in ("x", "x.mask.png")}
    other = next(key for key in images if key != half_done)
    if half_done == "x":
        die_in(world, monkeypatch, "put_object", images["x"], key="x.mask.png")
    else:
        die_in(world, monkeypatch, "copy_object", images["x.mask.png"])
    world.analyze(images[other])
    world.analyze(images[half_done], again=True)
    for key, image in images.items():
        found = world.final.find_result(image)
        assert found is not None
        assert world.read(found["image_key"]) == key.encode()
        assert world.read(found["mask_key"]) == f"mask of {key}".encode()
    assert len(world.keys("final")) == 6


class TakingTurns:
    """Lets each call of S3 wait until it is the turn of its thread, in an order drawn from a seed."""

    CALLS = ("copy_object", "delete_object", "get_object", "head_object", "put_object")

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._at_work: list[str] = []
        self._turn: str | None = None
        for name in self.CALLS:
            monkeypatch.setattr(world.s3, name, self._in_turn(getattr(world.s3, name)))

    def _in_turn(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wait_then_call(**arguments: Any) -> Any:
            me = threading.current_thread().name
            with self._changed:
                if me in self._at_work:
                    assert self._changed.wait_for(lambda: self._turn == me, timeout=20)
                try:
                    return call(**arguments)
                finally:
                    self._next()

        return wait_then_call

    def _next(self) -> None:
        self._turn = self._random.choice(self._at_work) if self._at_work else None
        self._changed.notify_all()

    def run(self, tasks: dict[str, Callable[[], Any]]) -> None:
        def work(task: Callable[[], Any]) -> None:
            try:
                task()
            finally:
                with self._changed:
                    self._at_work.remove(threading.current_thread().name)
                    self._next()

        threads = [threading.Thread(target=work, args=[task], name=name) for name, task in tasks.items()]
        self._at_work = list(tasks)
        with self._changed:
            self._next()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("keys", "seed"),
    [(("x", "x.mask.png"), seed) for seed in range(24)]
    + [(("x", "x.json"), seed) for seed in range(6)]
    # Of these, the result of the first and the second image would be one object, and both names are reserved.
    + [(("x.json", "x.json.json"), seed) for seed in range(6)]
    + [(("x.mask.png", "x.mask.png.json"), seed) for seed in range(4)],
)
@pytest.mark.fault("Images: an image and an upload named like its mask, at the same moment")
def test_an_image_and_an_upload_named_like_its_mask_at_the_same_moment(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, str], seed: int
) -> None:
    """Two Lambdas, whose calls come in any order: both images, results and masks are there, and no more."""
    world.backend.detections = [lambda image: masked(f"mask of {image.key}".encode())]
    images = {key: upload(key, key.encode()) for key in keys}
    outcomes: dict[str, Any] = {}

    def take(key: str, image: SourceImage) -> None:
        outcomes[key] = world.analyze(image)

    TakingTurns(world, monkeypatch, seed).run({key: partial(take, key, image) for key, image in images.items()})
    for key, image in images.items():
        found = world.final.find_result(image)
        assert found == outcomes[key].result
        assert world.read(found["image_key"]) == key.encode()
        assert world.read(found["mask_key"]) == f"mask of {key}".encode()
    assert len(world.keys("final")) == 6
    assert world.versions("source") == 0


@pytest.mark.parametrize("keys", [("x.json", "x.json.json"), ("x.mask.png", "x.mask.png.json")])
@pytest.mark.parametrize("dies", [False, True], ids=["at once", "after a death"])
def test_a_name_that_was_reserved_in_vain_is_given_back(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, str], dies: bool
) -> None:
    """An image is where the result of another one would be, so that one has another name altogether."""
    world.backend.detections = [DETECTION]
    late, first = upload(keys[0], b"late"), upload(keys[1], b"first")
    if dies:
        die_in(world, monkeypatch, "put_object", late, key=keys[1])
        assert world.read(f"processed/{keys[0]}") == b""
    world.analyze(first)
    filed = world.analyze(late, again=dies).result
    assert filed is not None
    assert (world.read(filed["image_key"]), world.read(f"processed/{keys[1]}")) == (b"late", b"first")
    assert sorted(world.keys("final")) == sorted(
        [f"processed/{keys[1]}", f"processed/{keys[1]}.json", filed["image_key"], f"{filed['image_key']}.json"]
    )


def test_an_image_that_brings_the_mark_of_a_mask_along_stays(world: World, upload: Upload) -> None:
    """As one does that was copied from a final bucket."""
    image = upload("x.mask.png", b"picture")
    copied = {"Bucket": "source", "Key": "x.mask.png"}
    answer = world.s3.copy_object(
        **copied, CopySource=copied, Metadata={"batch-vision": "mask", "version-id": "1"}, MetadataDirective="REPLACE"
    )
    image = replace(image, version_id=answer["VersionId"])
    world.analyze(image)
    filed = world.analyze(upload("x")).result
    assert filed is not None
    assert world.read("processed/x.mask.png") == b"picture"
    assert (world.read(filed["mask_key"]), filed["mask_key"] == "processed/x.mask.png") == (MASK, False)
    again = world.analyze(upload("x.mask.png", b"newer", NOW + timedelta(seconds=1))).result
    assert again is not None
    assert (world.read("processed/x.mask.png"), again["image_key"]) == (b"newer", "processed/x.mask.png")


def test_an_upload_named_like_a_mask_keeps_its_name_where_that_is_free(world: World, upload: Upload) -> None:
    world.backend.detections = [DETECTION]
    world.analyze(upload("x.jpg"))
    world.analyze(upload("x.jpg.mask.png"))
    assert "processed/x.jpg.mask.png" in world.keys("final")


def test_the_mask_of_a_key_of_1024_bytes_fits(world: World, upload: Upload) -> None:
    image = upload("d/" * 300 + "x" * 420 + ".jpg")
    filed = world.analyze(image).result
    assert filed is not None
    assert filed["mask_key"] == f"processed/{names_for(image)[0]}.mask.png"
    assert world.read(filed["mask_key"]) == MASK


def test_an_image_deleted_before_its_copy_leaves_no_mask_behind(world: World, upload: Upload) -> None:
    image = upload("a.jpg")

    def delete_then_answer(_: Any) -> Detection:
        world.s3.delete_object(Bucket="source", Key="a.jpg", VersionId=image.version_id)
        return MASKED

    world.backend.detections = [delete_then_answer]
    assert world.analyze(image).status == "gone"
    assert world.keys("final") == []


class Clock:
    """Notes how long the retries wait, and waits not at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[float] = []
        monkeypatch.setattr(analysis.Retrying, "__init__", self._without_sleep(analysis.Retrying.__init__))

    def _without_sleep(self, real: Any) -> Any:
        def init(retrying: Any, **options: Any) -> None:
            real(retrying, **(options | {"sleep": self.waits.append}))

        return init


def throttled(seconds: float | None) -> errors.ThrottledError:
    error = errors.ThrottledError("slow down")
    error.retry_after_seconds = seconds
    return error


def test_a_service_that_asks_to_be_left_alone_is(world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    world.backend.detections = [throttled(3), throttled(None), throttled(20), MASKED]
    outcome = world.analyze(upload("a.jpg"), retry_seconds=60)
    assert outcome.attempts == 4
    asked, free, long = clock.waits
    assert 3 <= asked < 3.3
    assert free < 1
    assert long == 20


def test_a_wait_beyond_the_time_that_is_left_is_for_the_redelivery(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    world.backend.detections = [throttled(31), MASKED]
    image = upload("a.jpg")
    with pytest.raises(errors.ThrottledError):
        analyze(
            image,
            detectors_of(world.backend),
            world.source,
            world.final,
            is_redelivery=False,
            deadline=time.monotonic() + 30,
        )
    assert clock.waits == []
    assert world.keys("source") == ["a.jpg"]
