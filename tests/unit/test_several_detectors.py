"""An image with several analyses: none that was paid for is asked for again, and it is finished when all answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from batch_vision.backends.contracts import Detection, Kind, Prediction
from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.models import Model, fingerprint_of
from batch_vision.core.settings import CallRate
from batch_vision.images.analysis import Outcome, analyze
from batch_vision.images.detectors import Calls, Detectors
from batch_vision.images.final import FinalBucket
from batch_vision.images.pace import Pace
from batch_vision.images.settings import DetectorSettings
from batch_vision.images.source import SourceBucket
from tests.unit.conftest import FakeBackend
from tests.unit.test_analysis import World

Upload = Callable[..., SourceImage]
LABELS = Detection([Prediction("car", 90.0, kind=Kind.LABEL, parents=("vehicle",), instances=())], raw={"Labels": [1]})
TEXTS = Detection([Prediction("4711", 95.0, kind=Kind.TEXT, attributes={"type": "line"})], raw={"TextDetections": []})
FACES = Detection([], raw={"FaceDetails": []})
NAMES = ("DetectLabels", "DetectText", "DetectFaces")


class Several(World):
    """Three detectors, each with a fake behind it."""

    def __init__(self, s3: Any, source: SourceBucket, final: FinalBucket) -> None:
        super().__init__(s3, source, final)
        self.fakes = dict(zip(NAMES, (FakeBackend(detections=[said]) for said in (LABELS, TEXTS, FACES)), strict=True))
        self.calls = Calls()
        self.fingerprint = "settings of now"

    def analyze(
        self, image: SourceImage, *, again: bool = False, last: bool = False, retry_seconds: float = 0.3
    ) -> Outcome:
        self.calls = Calls()
        paces = {name: Pace(1000, 8000) for name in self.fakes}
        return analyze(
            image,
            Detectors("rekognition", self.fakes, paces, self.fingerprint),
            self.source,
            self.final,
            self.calls,
            is_redelivery=again or last,
            deadline=time.monotonic() + retry_seconds,
            is_last_delivery=last,
        )

    def asked(self) -> list[int]:
        return [len(fake.calls) for fake in self.fakes.values()]

    def answer(self, name: str, *answers: Any) -> None:
        self.fakes[name].detections = [*answers]

    def kept(self) -> int:
        """Versions and delete markers of kept answers."""
        listed = self.s3.list_object_versions(Bucket="final", Prefix="work/")
        return len(listed.get("Versions", [])) + len(listed.get("DeleteMarkers", []))


@pytest.fixture
def world(s3: Any, source: SourceBucket, final: FinalBucket) -> Several:
    return Several(s3, source, final)


def test_all_answers_are_one_result(world: Several, upload: Upload) -> None:
    outcome = world.analyze(upload("a.jpg"))
    result = world.result("processed/a.jpg.json")
    assert result["model"] == {"backend": "rekognition", "id": "fake-model, fake-model, fake-model"}
    assert result["predictions"] == [
        {
            "name": "car",
            "kind": "label",
            "confidence": 90.0,
            "bounding_box": None,
            "parents": ["vehicle"],
            "instances": [],
        },
        {
            "name": "4711",
            "kind": "text",
            "confidence": 95.0,
            "bounding_box": None,
            "attributes": {"type": "line"},
        },
    ]
    assert result["raw"] == dict(zip(NAMES, (LABELS.raw, TEXTS.raw, FACES.raw), strict=True))
    assert (result["error"], result["errors"]) == (None, {})
    assert outcome.catalog_line()["predictions"] == [
        {"name": "4711", "kind": "text", "confidence": 95.0},
        {"name": "car", "kind": "label", "confidence": 90.0},
    ]
    assert (outcome.attempts, outcome.throttles) == (3, 0)


def test_an_image_costs_one_request_to_s3_more_than_with_one(world: Several, upload: Upload) -> None:
    image = upload("a.jpg")
    requests: list[str] = []
    world.s3.meta.events.register("before-call.s3", lambda model, **_: requests.append(model.name))
    world.analyze(image)
    # The first GET: another message of the same upload may have had answers that were kept.
    assert requests == ["HeadObject", "GetObject", "GetObject", "PutObject", "CopyObject", "DeleteObject"]


@pytest.mark.parametrize(
    "error",
    [
        errors.ThrottledError,
        errors.ServiceUnavailableError,
        errors.AccessDeniedError,
        errors.ModelNotFoundError,
        errors.UnexplainedRefusalError,
        RuntimeError,
    ],
)
def test_one_analysis_that_cannot_be_finished_now_repeats_no_other(world: Several, upload: Upload, error: Any) -> None:
    image = upload("a.jpg")
    world.answer("DetectText", error("not now"))
    for _ in range(3):
        with pytest.raises((error, errors.NoTimeLeftError)):
            world.analyze(image, again=world.kept() > 0)
    assert world.keys("source") == ["a.jpg"]
    assert world.asked()[::2] == [1, 1]
    assert world.kept() == 1, "written once"
    world.answer("DetectText", TEXTS)
    assert world.analyze(image, again=True).status == "processed"
    assert world.asked()[::2] == [1, 1]
    assert world.result("processed/a.jpg.json")["raw"]["DetectLabels"] == LABELS.raw
    assert (world.kept(), world.versions("source")) == (0, 0)


def test_each_answer_more_is_kept_with_those_before(world: Several, upload: Upload) -> None:
    image = upload("a.jpg")
    world.answer("DetectText", errors.AccessDeniedError("no"))
    world.answer("DetectFaces", errors.AccessDeniedError("no"))
    for again in (False, True):
        with pytest.raises(errors.AccessDeniedError):
            world.analyze(image, again=again)
        world.answer("DetectText", TEXTS)
    world.answer("DetectFaces", FACES)
    world.analyze(image, again=True)
    assert world.asked() == [1, 2, 3]
    assert world.kept() == 0


def test_an_image_that_was_given_up_is_retried_with_what_was_paid_for(world: Several, upload: Upload) -> None:
    image = upload("a.jpg")
    world.answer("DetectFaces", errors.ModelNotFoundError("no such adapter"))
    outcome = world.analyze(image, last=True)
    assert (outcome.status, outcome.error_type) == ("stuck", "ModelNotFoundError")
    (entry,) = (key for key in world.keys("final") if key.startswith("stuck/"))
    world.s3.delete_object(Bucket="final", Key=entry)  # as `batch-vision retry`, whose message is one of ours
    world.answer("DetectFaces", FACES)
    assert world.analyze(replace(image, is_resent=True)).status == "processed"
    assert world.asked() == [1, 1, 2]
    assert world.kept() == 0


def test_answers_of_other_settings_or_of_another_upload_are_not_taken(world: Several, upload: Upload) -> None:
    image = upload("a.jpg", b"1")
    world.answer("DetectText", errors.AccessDeniedError("no"))
    with pytest.raises(errors.AccessDeniedError):
        world.analyze(image)
    world.answer("DetectText", TEXTS)
    world.fingerprint = "settings since"
    world.analyze(image, again=True)
    assert world.asked() == [2, 2, 2]
    world.fingerprint = "settings of now"
    world.analyze(upload("a.jpg", b"2"), again=True)
    assert world.asked() == [3, 3, 3]


@pytest.mark.parametrize("body", ["", "[", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 3, "answers": {}}'])
def test_an_object_in_their_place_that_is_none_of_ours_is_no_answer(world: Several, upload: Upload, body: str) -> None:
    image = upload("a.jpg")
    world.answer("DetectText", errors.AccessDeniedError("no"))
    with pytest.raises(errors.AccessDeniedError):
        world.analyze(image)
    (place,) = (key for key in world.keys("final") if key.startswith("work/partial/"))
    world.s3.put_object(Bucket="final", Key=place, Body=body)
    world.answer("DetectText", TEXTS)
    assert world.analyze(image, again=True).status == "processed"
    assert world.asked() == [2, 2, 2]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_errors_the_one_that_no_other_try_mends_is_told(
    world: Several, upload: Upload, order: tuple[int, int]
) -> None:
    told = [errors.ThrottledError("too many"), errors.ModelNotFoundError("no such adapter")]
    for name, number in zip(NAMES[1:], order, strict=True):
        world.answer(name, told[number])
    assert world.analyze(upload("a.jpg"), last=True).error_type == "ModelNotFoundError"


def test_kept_answers_that_cannot_be_read_leave_the_image(
    world: Several, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask again for everything would be to pay again."""
    image = upload("a.jpg")
    world.answer("DetectText", errors.AccessDeniedError("no"))
    with pytest.raises(errors.AccessDeniedError):
        world.analyze(image)
    get = world.s3.get_object

    def refuse(**request: Any) -> Any:
        if request["Key"].startswith("work/"):
            raise errors.ServiceUnavailableError("down")
        return get(**request)

    monkeypatch.setattr(world.s3, "get_object", refuse)
    with pytest.raises(errors.ServiceUnavailableError):
        world.analyze(image, again=True)
    assert world.asked() == [1, 1, 1]


def test_answers_that_cannot_be_kept_hide_not_why_the_image_is_left(
    world: Several, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.answer("DetectText", errors.AccessDeniedError("may not detect text"))
    image = upload("a.jpg")
    monkeypatch.setattr(world.s3, "put_object", lambda **_: (_ for _ in ()).throw(OSError("no S3")))
    with pytest.raises(errors.AccessDeniedError, match="may not detect text"):
        world.analyze(image)


def test_an_analysis_that_blames_the_image_is_recorded_and_the_others_are_kept(world: Several, upload: Upload) -> None:
    world.answer("DetectText", errors.InvalidImageError("too many pixels"))
    outcome = world.analyze(upload("a.jpg"))
    result = world.result("processed/a.jpg.json")
    assert outcome.status == result["status"] == "processed"
    assert result["errors"] == {"DetectText": {"type": "InvalidImageError", "message": "too many pixels"}}
    assert set(result["raw"]) == {"DetectLabels", "DetectFaces"}


def test_a_refusal_is_an_answer_that_is_kept(world: Several, upload: Upload) -> None:
    image = upload("a.jpg")
    world.answer("DetectLabels", errors.InvalidImageError("too many pixels"))
    world.answer("DetectText", errors.AccessDeniedError("no"))
    with pytest.raises(errors.AccessDeniedError):
        world.analyze(image)
    world.answer("DetectText", TEXTS)
    assert world.analyze(image, again=True).status == "processed"
    assert world.asked() == [1, 2, 1]
    assert set(world.result("processed/a.jpg.json")["errors"]) == {"DetectLabels"}


def test_it_is_rejected_only_if_all_refuse_it(world: Several, upload: Upload) -> None:
    for name in NAMES:
        world.answer(name, errors.InvalidImageFormatError(f"no image, says {name}"))
    outcome = world.analyze(upload("a.txt"))
    result = world.result("rejected/a.txt.json")
    assert outcome.status == result["status"] == "rejected"
    assert result["error"]["type"] == outcome.error_type == "InvalidImageFormatError"
    assert all(f"{name}: no image, says {name}" in result["error"]["message"] for name in NAMES)
    assert (result["errors"], result["raw"]) == ({}, None)


def test_an_empty_object_costs_no_call(world: Several, upload: Upload) -> None:
    assert world.analyze(upload("a.jpg", b"")).status == "rejected"
    assert world.result("rejected/a.jpg.json")["error"] == {
        "type": "InvalidImageFormatError",
        "message": "The object is empty.",
    }
    assert world.asked() == [0, 0, 0]


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("number", range(10))
def test_a_function_that_dies_at_any_request_to_s3_has_no_call_more_than_once_again(
    world: Several, upload: Upload, monkeypatch: pytest.MonkeyPatch, number: int, after: bool
) -> None:
    """One delivery leaves the image with a kept answer, the next dies at its nth request; then it goes on."""
    image = upload("a.jpg")
    world.answer("DetectText", errors.AccessDeniedError("no"))
    with pytest.raises(errors.AccessDeniedError):
        world.analyze(image)
    world.answer("DetectText", TEXTS)
    requests: list[str] = []
    is_dead = False

    def die(**_: Any) -> None:
        nonlocal is_dead
        requests.append("")
        if len(requests) == number + 1 and not is_dead:
            is_dead = True
            raise KeyboardInterrupt

    event = "after-call.s3" if after else "before-call.s3"
    world.s3.meta.events.register(event, die)
    try:
        world.analyze(image, again=True, retry_seconds=5)
    except KeyboardInterrupt:
        assert is_dead
    world.s3.meta.events.unregister(event, die)
    for _ in range(2):
        world.analyze(image, again=True, retry_seconds=5)
    labels, texts, faces = world.asked()
    assert labels == faces == 1, "they were kept before"
    assert texts <= 3
    assert world.versions("source") == 0
    world.result("processed/a.jpg.json")
    assert world.keys("final") == ["processed/a.jpg", "processed/a.jpg.json"]
    assert world.kept() == 0
    assert is_dead or number >= 7, "a delivery makes that many requests"


def test_a_function_that_dies_before_it_keeps_anything_has_each_call_once_again(
    world: Several, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = upload("a.jpg")
    world.answer("DetectText", errors.AccessDeniedError("no"))
    with monkeypatch.context() as broken:
        broken.setattr(world.s3, "put_object", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.analyze(image)
    world.answer("DetectText", TEXTS)
    assert world.analyze(image, again=True).status == "processed"
    assert world.asked() == [2, 2, 2]


def test_an_image_is_taken_to_all_detectors_at_once(world: Several, upload: Upload) -> None:
    together = threading.Barrier(len(NAMES), timeout=10)

    def answer(_: Any) -> Detection:
        together.wait()
        return LABELS

    for name in NAMES:
        world.answer(name, answer)
    assert world.analyze(upload("a.jpg"), retry_seconds=10).status == "processed"


def test_each_detector_has_a_pace_of_its_own(world: Several, upload: Upload) -> None:
    paces = {name: Pace(100, 100) for name in NAMES}
    world.answer("DetectText", *[errors.ThrottledError("too many")] * 5, TEXTS)
    calls = Calls()
    analyze(
        upload("a.jpg"),
        Detectors("rekognition", world.fakes, paces),
        world.source,
        world.final,
        calls,
        is_redelivery=False,
        deadline=time.monotonic() + 5,
    )
    assert paces["DetectText"].calls_per_second < 80
    assert paces["DetectLabels"].calls_per_second == paces["DetectFaces"].calls_per_second == 100
    assert calls.made == {"DetectLabels": 1, "DetectText": 6, "DetectFaces": 1}
    assert calls.throttled == {"DetectText": 5}


def test_a_detector_without_a_pace_is_named() -> None:
    settings = DetectorSettings(
        backend="rekognition",
        backend_settings={"analyses": ["text", "faces"]},
        min_confidence_percent=None,
        paces={"DetectText": CallRate(1, 1)},
        convert_images=False,
    )
    with pytest.raises(errors.SettingsError, match=r"PACES has nothing for DetectFaces"):
        Detectors.of(settings)


def test_the_fingerprint_is_of_model_settings_and_confidence() -> None:
    model = Model.named("rekognition", {"analyses": ["text"], "text": {"min_confidence_percent": 3}})
    same = Model.named("rekognition", {"text": {"min_confidence_percent": 3}, "analyses": ["text"]})
    other = Model.named("rekognition", {"analyses": ["text"]})
    assert fingerprint_of(model, None) == fingerprint_of(same, None)
    assert len({fingerprint_of(model, None), fingerprint_of(model, 0.0), fingerprint_of(other, None)}) == 3


def test_a_result_of_the_first_schema_is_finished_as_it_is(world: Several, upload: Upload) -> None:
    """A function of the version before has written it and died."""
    image = upload("a.jpg")
    before = {
        "schema_version": 1,
        "status": "processed",
        "source": {
            "bucket": "source",
            "key": "a.jpg",
            "version_id": image.version_id,
            "etag": image.etag,
            "size_bytes": image.size_bytes,
            "uploaded_at": "2026-11-20T08:00:00.000Z",
        },
        "image_key": "processed/a.jpg",
        "mask_key": None,
        "model": {"backend": "fake", "id": "fake-model"},
        "analyzed_at": "2026-11-20T08:00:01.000Z",
        "predictions": [{"name": "crack", "confidence": 90.0, "bounding_box": None}],
        "anomaly": None,
        "error": None,
        "raw": {},
    }
    body = json.dumps(before).encode()
    world.s3.put_object(Bucket="final", Key="processed/a.jpg.json", Body=body, Metadata={"batch-vision": "result"})
    outcome = world.analyze(image, again=True)
    assert (outcome.status, outcome.result, world.asked()) == ("processed", before, [0, 0, 0])
    assert outcome.catalog_line()["predictions"] == [{"name": "crack", "kind": None, "confidence": 90.0}]
    assert world.versions("source") == 0
