"""The contract `Detector`, held by every backend, against the emulator of its service."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

import batch_vision.images
from batch_vision.backends.contracts import Detection, ModelState
from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.image_limits import broken_limit
from batch_vision.images.analysis import analyze
from batch_vision.images.final import FinalBucket
from local.emulator.models import MODELS
from tests.contract.cases import CASES
from tests.contract.world import BUCKET, NOW, World, encoded, encoded_like_a_sample, picture

FINAL_BUCKET = "results"
SCHEMA = json.loads((Path(batch_vision.images.__file__).parent / "result.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


DETECTORS = [(name, one.detect) for name, case in CASES.items() for one in case.detectors]


@pytest.fixture(params=DETECTORS, ids="-".join)
def world(request: pytest.FixtureRequest, make_world: Callable[..., World]) -> World:
    return make_world(*request.param)


@pytest.mark.parametrize(
    ("world", "error"),
    [
        pytest.param((name, operation), error, id=f"{name}-{operation}-{error}")
        for name, operation in DETECTORS
        for _, error in CASES[name].declared([operation])
    ],
    indirect=["world"],
)
def test_each_declared_error_is_translated(world: World, error: str) -> None:
    operation = world.asked.detect
    expected = world.case.meaning(operation, error)
    world.bring(ModelState.RUNNING)
    world.emulator.inject(operation, error, probability=1)
    with pytest.raises(expected) as caught:
        world.detect()
    assert type(caught.value) is expected
    assert str(caught.value)


def test_a_lost_connection_is_a_service_that_is_unavailable(world: World) -> None:
    world.emulator.inject(world.asked.detect, "drop", probability=1)
    with pytest.raises(errors.ServiceUnavailableError):
        world.detect()


@pytest.mark.parametrize("name", CASES)
def test_a_model_that_there_is_not(make_world: Callable[..., World], name: str) -> None:
    """Where one that is stopped is not there either, nobody can tell the two apart."""
    world = make_world(name)
    is_stopped = world.case.lifecycle is not None and world.case.lifecycle.has_absence
    with pytest.raises(errors.ModelNotReadyError if is_stopped else errors.ModelNotFoundError):
        world.detect(detector=world.make_detector(world.case.unknown))


def test_a_call_is_not_repeated(world: World) -> None:
    """Only the caller knows how much time is left."""
    world.bring(ModelState.RUNNING)
    operation = world.asked.detect
    world.emulator.inject(operation, world.case.code(operation, errors.ServiceUnavailableError), count=2)
    for _ in range(2):
        with pytest.raises(errors.ServiceUnavailableError):
            world.detect()
    assert world.detect(encoded_like_a_sample()).raw


def test_detection_that_is_late_or_whose_answer_is_lost(world: World) -> None:
    world.bring(ModelState.RUNNING)
    world.emulator.inject(world.asked.detect, "drop_answer")
    with pytest.raises(errors.ServiceUnavailableError):
        world.detect(encoded_like_a_sample())
    assert world.counted()["detect_calls"] == 1
    world.emulator.inject(world.asked.detect, "slow:300")
    began = time.monotonic()
    world.detect(encoded_like_a_sample())
    assert time.monotonic() - began >= 0.3


def test_only_a_running_model_is_asked(world: World) -> None:
    world.emulator.set(start_seconds=600, stop_seconds=600)
    states = world.case.lifecycle.states if world.case.lifecycle else {}
    for status, state in states.items():
        world.emulator.force_status(status, MODELS[world.name].arn)
        if state is not ModelState.RUNNING:
            with pytest.raises(errors.ModelNotReadyError):
                world.detect(encoded_like_a_sample())


def test_too_many_calls_are_throttled(world: World) -> None:
    world.bring(ModelState.RUNNING)
    world.allow(0.01)
    world.detect(encoded_like_a_sample())
    with pytest.raises(errors.ThrottledError) as caught:
        world.detect(encoded_like_a_sample())
    assert caught.value.retry_after_seconds == world.asked.retry_after_seconds
    assert world.counted()["throttled_calls"] == 1


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", errors.PermanentImageError),
        (b"no picture", errors.InvalidImageFormatError),
        (encoded(image_format="GIF"), errors.InvalidImageFormatError),
        (encoded(image_format="WEBP"), errors.InvalidImageFormatError),
        (encoded(image_format="TIFF"), errors.InvalidImageFormatError),
        (encoded()[:40], errors.PermanentImageError),
    ],
    ids=["empty", "text", "gif", "webp", "tiff", "cut off"],
)
def test_what_can_never_be_taken_is_permanent(world: World, content: bytes, error: type[Exception]) -> None:
    world.bring(ModelState.RUNNING)
    with pytest.raises(error):
        world.detect(content)


def test_an_image_that_breaks_a_limit_of_sides_is_permanent(world: World) -> None:
    world.bring(ModelState.RUNNING)
    limits = world.detector.limits
    least, most, ratio = limits.min_side_px, limits.max_side_px, limits.max_aspect_ratio
    broken = [(least - 1, least), (least, least - 1)] if least > 1 else []
    if math.isfinite(most):
        broken += [(int(most) + 1, 600), (600, int(most) + 1)]
    if math.isfinite(ratio):
        broken += [(least, int(ratio * least) + 1), (int(ratio * least) + 1, least)]
    for sides in broken:
        for image_format in ("PNG", "JPEG"):
            content = encoded(*sides, image_format)
            assert broken_limit(content, len(content), limits), sides
            with pytest.raises(errors.PermanentImageError):
                world.detect(content)


@pytest.mark.parametrize(("image_format", "mode"), [("JPEG", "CMYK"), ("PNG", "I;16")])
def test_colours_are_taken_where_the_limits_say_so_and_else_permanent(
    world: World, image_format: str, mode: str
) -> None:
    world.bring(ModelState.RUNNING)
    like_a_sample = Image.open(io.BytesIO(encoded_like_a_sample())).size
    content = encoded(*like_a_sample, image_format, mode)
    if broken_limit(content, len(content), world.detector.limits) is None:
        assert world.detect(content).raw
    else:
        with pytest.raises(errors.PermanentImageError):
            world.detect(content)


def test_the_largest_image_in_s3_is_taken_and_one_byte_more_is_not(world: World) -> None:
    world.bring(ModelState.RUNNING)
    most_bytes = world.detector.limits.max_bytes
    assert world.detect(padded(most_bytes)).raw
    with pytest.raises(errors.ImageTooLargeError):
        world.detect(padded(most_bytes + 1))


def test_the_largest_image_that_was_converted_is_taken_and_one_byte_more_is_not(world: World) -> None:
    """Rekognition has another error for what is longer than any image in a request may be."""
    world.bring(ModelState.RUNNING)
    most_bytes = world.detector.limits.max_sent_bytes
    assert world.detect_converted(padded(most_bytes)).raw
    with pytest.raises((errors.ImageTooLargeError, errors.ModelError)):
        world.detect_converted(padded(most_bytes + 1))


def test_an_image_that_was_converted_is_sent_and_nothing_reads_s3(world: World, borrowed_reader: Any) -> None:
    world.bring(ModelState.RUNNING)
    stored = [world.detect(picture(path)) for path in world.asked.pictures]
    borrowed_reader.reader = None
    assert [world.detect_converted(picture(path)) for path in world.asked.pictures] == stored


@pytest.mark.parametrize("content", [b"no picture", encoded(image_format="GIF"), encoded()[:40]])
def test_a_converted_image_that_can_never_be_taken_is_permanent(world: World, content: bytes) -> None:
    world.bring(ModelState.RUNNING)
    with pytest.raises(errors.PermanentImageError):
        world.detect_converted(content)


def test_the_content_decides_and_not_what_the_uploader_called_it(world: World) -> None:
    world.bring(ModelState.RUNNING)
    content = picture(named(world)[0])
    answer = world.s3.put_object(Bucket=BUCKET, Key="a.txt", Body=content, ContentType="text/plain")
    image = SourceImage(BUCKET, "a.txt", answer["VersionId"], "", len(content), NOW)
    assert world.detector.detect(world.source.stored(image)).predictions


def test_the_named_version_is_looked_at(world: World) -> None:
    world.bring(ModelState.RUNNING)
    older, *others = sorted(world.asked.pictures, key=lambda name: world.asked.pictures[name] is None)
    image = world.upload(picture(older))
    world.upload(picture(others[-1]))
    assert world.asked.pictures[older] in names(world.detector.detect(world.source.stored(image)))


def test_an_image_that_is_gone(world: World) -> None:
    """A service that reads by reference cannot tell it from one that is forbidden; `analyze` looks then."""
    world.bring(ModelState.RUNNING)
    image = world.upload(encoded_like_a_sample())
    world.s3.delete_object(Bucket=BUCKET, Key=image.key, VersionId=str(image.version_id))
    with pytest.raises((errors.ImageGoneError, errors.ImageUnreadableError)):
        world.detector.detect(world.source.stored(image))


def test_predictions_are_in_the_common_form(world: World) -> None:
    world.bring(ModelState.RUNNING)
    for path, name in world.asked.pictures.items():
        detection = world.detect(picture(path))
        said = names(detection)
        assert (name in said) if name else not said
        assert not said & ({*world.asked.pictures.values()} - {name})
        for prediction in detection.predictions:
            assert prediction.kind is world.asked.kind
            assert 0 <= prediction.confidence_percent <= 100
        if detection.anomaly is not None:
            assert detection.anomaly.is_anomalous == (name != "normal")
            assert 50 <= detection.anomaly.confidence_percent <= 100
        assert json.loads(json.dumps(detection.raw)) == detection.raw


@pytest.mark.parametrize("number", [0, 1, 2])
def test_results_hold_to_the_schema(world: World, number: int) -> None:
    path, name = [*world.asked.pictures.items()][number % len(world.asked.pictures)]
    world.bring(ModelState.RUNNING)
    world.s3.create_bucket(Bucket=FINAL_BUCKET)
    final = FinalBucket(world.s3, FINAL_BUCKET, world.source)
    content = picture(path)
    image = world.upload(content)
    outcome = analyze(image, world.detectors, world.source, final, is_redelivery=False, deadline=time.monotonic() + 60)
    written = {
        entry["Key"]: world.s3.get_object(Bucket=FINAL_BUCKET, Key=entry["Key"])["Body"].read()
        for entry in world.s3.list_objects_v2(Bucket=FINAL_BUCKET)["Contents"]
    }
    result = json.loads(written[f"processed/{image.key}.json"])
    VALIDATOR.validate(result)
    assert result == outcome.result
    assert result["model"] == {"backend": world.name, "id": world.detector.model_id}
    assert {name} <= {prediction["name"] for prediction in result["predictions"]} | {None}
    raw = world.detect(content).raw
    assert result["raw"] == (raw if world.case.lifecycle else {world.asked.detect: raw})
    assert written[f"processed/{image.key}"] == content
    places = {f"processed/{image.key}", f"processed/{image.key}.json"}
    if result["mask_key"] is not None:
        assert result["mask_key"] == f"processed/{image.key}.mask.png"
        places.add(result["mask_key"])
        mask = Image.open(io.BytesIO(written[result["mask_key"]]))
        assert (mask.format, mask.size) == ("PNG", Image.open(io.BytesIO(content)).size)
        assert "AnomalyMask" not in written[f"processed/{image.key}.json"].decode()
    assert set(written) == places


def test_rejections_hold_to_the_schema(world: World) -> None:
    world.bring(ModelState.RUNNING)
    world.s3.create_bucket(Bucket=FINAL_BUCKET)
    final = FinalBucket(world.s3, FINAL_BUCKET, world.source)
    image = world.upload(b"no picture")
    outcome = analyze(image, world.detectors, world.source, final, is_redelivery=False, deadline=time.monotonic() + 60)
    VALIDATOR.validate(outcome.result)
    assert (outcome.status, outcome.error_type) == ("rejected", "InvalidImageFormatError")


def test_predictions_below_the_least_confidence_are_left_out(world: World) -> None:
    world.bring(ModelState.RUNNING)
    content = picture(named(world)[0])
    strict, lax = world.make_detector(min_confidence_percent=100.0), world.make_detector(min_confidence_percent=0.0)
    assert all(label.confidence_percent >= 100 for label in world.detect(content, strict).predictions)
    assert world.detect(content, lax).predictions


def padded(size_bytes: int) -> bytes:
    """A JPEG; what follows its end marker is ignored."""
    return encoded_like_a_sample().ljust(size_bytes, b"\0")


def named(world: World) -> list[str]:
    """The pictures for which something is predicted."""
    return [path for path, name in world.asked.pictures.items() if name]


def names(detection: Detection) -> set[str]:
    return {prediction.name for prediction in detection.predictions}
