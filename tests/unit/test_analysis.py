"""One image, from the source bucket to its one place in the final bucket."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from botocore.exceptions import ClientError
from PIL import Image
from tenacity import stop_after_attempt

import batch_vision.images
from batch_vision.aws import copying
from batch_vision.aws.conditional import put_on_condition
from batch_vision.backends.contracts import Anomaly, Detection
from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.names import names_for
from batch_vision.images import results
from batch_vision.images.analysis import Outcome, analyze
from batch_vision.images.final import FinalBucket
from batch_vision.images.source import SourceBucket
from tests.unit.conftest import DETECTION, NOW, FakeBackend, detectors_of

SCHEMA = json.loads((Path(batch_vision.images.__file__).parent / "result.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())

Upload = Callable[..., SourceImage]


class World:
    """The two buckets and a backend, with short names for what the tests ask."""

    def __init__(self, s3: Any, source: SourceBucket, final: FinalBucket) -> None:
        self.s3, self.source, self.final, self.backend = s3, source, final, FakeBackend()

    def analyze(
        self, image: SourceImage, *, again: bool = False, last: bool = False, retry_seconds: float = 0.5
    ) -> Outcome:
        return analyze(
            image,
            detectors_of(self.backend),
            self.source,
            self.final,
            is_redelivery=again or last,
            deadline=time.monotonic() + retry_seconds,
            is_last_delivery=last,
        )

    def stuck(self) -> list[dict[str, Any]]:
        return [json.loads(self.read(key)) for key in self.keys("final") if key.startswith("stuck/")]

    def keys(self, bucket: str) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def read(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket="final", Key=key)["Body"].read())

    def result(self, key: str) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.read(key))
        VALIDATOR.validate(result)
        return result

    def versions(self, bucket: str) -> int:
        return len(self.s3.list_object_versions(Bucket=bucket).get("Versions", []))


@pytest.fixture
def world(s3: Any, source: SourceBucket, final: FinalBucket) -> World:
    return World(s3, source, final)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_an_image_costs_five_requests_to_s3(world: World, upload: Upload) -> None:
    """One PUT, one COPY, a HEAD and a GET, a twelfth of the price, which are billed, and one DELETE, which is not."""
    requests: list[str] = []
    world.s3.meta.events.register("before-call.s3", lambda model, **_: requests.append(model.name))
    image = upload("line 3/flange.png")
    requests.clear()
    world.analyze(image)
    assert requests == ["HeadObject", "GetObject", "PutObject", "CopyObject", "DeleteObject"]


def test_a_processed_image_leaves_the_source_and_has_one_place(world: World, upload: Upload) -> None:
    image = upload("café/R&D 50%.jpeg", b"pixels")
    outcome = world.analyze(image)
    assert outcome.status == "processed"
    assert world.versions("source") == 0
    assert world.keys("final") == ["processed/café/R&D 50%.jpeg", "processed/café/R&D 50%.jpeg.json"]
    assert world.read("processed/café/R&D 50%.jpeg") == b"pixels"
    result = world.result("processed/café/R&D 50%.jpeg.json")
    assert result["source"] == {
        "bucket": "source",
        "key": "café/R&D 50%.jpeg",
        "version_id": image.version_id,
        "etag": image.etag,
        "size_bytes": 6,
        "uploaded_at": "2026-11-20T08:00:00.000Z",
    }
    assert result["model"] == {"backend": "fake", "id": "fake-model"}
    assert result["predictions"] == [
        {
            "name": "crack",
            "kind": "custom_label",
            "confidence": 90.0,
            "bounding_box": {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4},
        },
        {"name": "stain", "kind": "custom_label", "confidence": 20.0, "bounding_box": None},
    ]
    assert result["raw"] == DETECTION.raw
    line = outcome.catalog_line()
    assert line["predictions"] == [
        {"name": "crack", "kind": "custom_label", "confidence": 90.0},
        {"name": "stain", "kind": "custom_label", "confidence": 20.0},
    ]
    time.sleep(0.002)
    assert outcome.catalog_line() == line, "the time is that of the image, not of the end of its batch"


def test_the_sides_of_an_image_are_in_its_result_and_its_line(world: World, upload: Upload) -> None:
    """Of its header alone, which is read once more only where no backend has read it."""
    content = io.BytesIO()
    Image.new("L", (640, 480)).save(content, "PNG")
    asked: list[dict[str, Any]] = []
    world.s3.meta.events.register("before-parameter-build.s3.GetObject", lambda params, **_: asked.append(dict(params)))
    outcome = world.analyze(upload("a.png", content.getvalue()))
    assert (outcome.catalog_line()["width"], outcome.catalog_line()["height"]) == (640, 480)
    assert world.result("processed/a.png.json").items() >= {"width": 640, "height": 480}.items()
    assert [request.get("Range") for request in asked[:1]] == ["bytes=0-131071"]
    odd = world.analyze(upload("b.png", b"no picture"))
    assert (odd.status, odd.catalog_line()["width"], odd.catalog_line()["height"]) == ("processed", None, None)


def test_an_image_whose_header_cannot_be_read_has_a_result_all_the_same(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise errors.ServiceUnavailableError("not now")

    monkeypatch.setattr("batch_vision.images.source.StoredImage.read_start", refuse)
    outcome = world.analyze(upload("a.jpg"))
    assert (outcome.status, outcome.catalog_line()["width"]) == ("processed", None)


def test_peer_failing_the_json_names_neither_image_model_nor_time(world: World, upload: Upload) -> None:
    world.analyze(upload("a.jpg"))
    result = world.result("processed/a.jpg.json")
    assert (result["source"]["key"], result["model"]["id"]) == ("a.jpg", "fake-model")
    assert result["analyzed_at"].endswith("Z")


def test_an_anomaly_verdict_holds_to_the_schema(upload: Upload) -> None:
    detection = Detection(anomaly=Anomaly(True, 71.5), raw={})
    answers = {"fake": results.answer_of(detection)}
    result = results.make_result(results.source_of(upload("a.jpg")), "fake", "fake-model", answers, NOW)
    VALIDATOR.validate(result | {"image_key": "processed/a.jpg"})
    assert result["anomaly"] == {"is_anomalous": True, "confidence": 71.5}


@pytest.mark.parametrize("error", [errors.InvalidImageFormatError, errors.ImageTooLargeError, errors.InvalidImageError])
def test_peer_failing_a_corrupt_image_keeps_the_model_on(world: World, upload: Upload, error: Any) -> None:
    """What can never be analyzed is rejected at once, with its image and the reason."""
    world.backend.detections = [error("not an image")]
    outcome = world.analyze(upload("notes.txt", b"text"))
    assert outcome.status == "rejected"
    assert world.versions("source") == 0
    assert world.keys("final") == ["rejected/notes.txt", "rejected/notes.txt.json"]
    assert world.result("rejected/notes.txt.json")["error"] == {
        "type": error.__name__,
        "message": "not an image",
    }
    assert outcome.catalog_line()["error_type"] == error.__name__
    assert len(world.backend.calls) == 1


@pytest.mark.parametrize(
    "error",
    [
        errors.ThrottledError,
        errors.ServiceUnavailableError,
        errors.ModelNotReadyError,
        errors.AccessDeniedError,
        errors.ModelNotFoundError,
    ],
)
def test_what_is_not_the_images_fault_changes_nothing(world: World, upload: Upload, error: Any) -> None:
    world.backend.detections = [error("not now")]
    with pytest.raises((error, errors.NoTimeLeftError)):
        world.analyze(upload("a.jpg"))
    assert world.keys("source") == ["a.jpg"]
    assert world.keys("final") == []


def test_the_model_is_asked_again_while_time_allows(world: World, upload: Upload) -> None:
    world.backend.detections = [errors.ThrottledError("wait"), errors.ServiceUnavailableError("wait"), DETECTION]
    outcome = world.analyze(upload("a.jpg"), retry_seconds=30)
    assert (outcome.status, outcome.attempts) == ("processed", 3)


def test_a_missing_permission_is_not_asked_again(world: World, upload: Upload) -> None:
    world.backend.detections = [errors.AccessDeniedError("no")]
    with pytest.raises(errors.AccessDeniedError):
        world.analyze(upload("a.jpg"), retry_seconds=30)
    assert len(world.backend.calls) == 1


def test_an_unreadable_image_that_exists_is_kept_and_one_that_does_not_is_gone(world: World, upload: Upload) -> None:
    world.backend.detections = [errors.ImageUnreadableError("cannot read")]
    image = upload("a.jpg")
    with pytest.raises(errors.ImageUnreadableError):
        world.analyze(image, retry_seconds=30)
    assert len(world.backend.calls) == 1
    world.s3.delete_object(Bucket="source", Key="a.jpg", VersionId=image.version_id)
    assert world.analyze(image).status == "gone"
    assert world.keys("final") == []


def test_the_same_event_again_changes_nothing(world: World, upload: Upload) -> None:
    image = upload("a.jpg")
    first = world.analyze(image)
    before = world.s3.list_object_versions(Bucket="final")["Versions"]
    world.backend.detections = [errors.ImageUnreadableError("no such object")]
    assert world.analyze(image).status == "gone"
    redelivered = world.analyze(image, again=True)
    assert redelivered.result == first.result
    assert world.s3.list_object_versions(Bucket="final")["Versions"] == before


@pytest.mark.parametrize("step", ["copy_object", "delete_object"])
@pytest.mark.parametrize("again", [True, False], ids=["redelivered", "duplicate event"])
def test_what_died_half_way_is_finished_without_a_second_result(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch, step: str, again: bool
) -> None:
    image = upload("a.jpg", b"pixels")
    with monkeypatch.context() as broken:
        broken.setattr(world.s3, step, lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.analyze(image)
    assert world.keys("source") == ["a.jpg"]
    written = world.result("processed/a.jpg.json")
    world.backend.detections = [errors.InvalidImageFormatError("another answer")] if again else [DETECTION]
    assert world.analyze(image, again=again).status == "processed"
    assert world.keys("source") == []
    assert world.keys("final") == ["processed/a.jpg", "processed/a.jpg.json"]
    assert world.result("processed/a.jpg.json") == written
    assert world.read("processed/a.jpg") == b"pixels"


def test_peer_failing_an_upload_of_the_same_name_deletes_an_unseen_image(world: World, upload: Upload) -> None:
    """Each version is analyzed and moved as itself; the newer one stands last, with its own result."""
    first, second = upload("a.jpg", b"1"), upload("a.jpg", b"2", NOW + timedelta(seconds=1))
    assert world.analyze(first).status == "processed"
    assert world.read("processed/a.jpg") == b"1"
    assert world.keys("source") == ["a.jpg"]
    assert world.analyze(second).status == "processed"
    assert world.read("processed/a.jpg") == b"2"
    assert world.result("processed/a.jpg.json")["source"]["version_id"] == second.version_id
    assert world.versions("source") == 0
    assert [call[2] for call in world.backend.calls] == [first.version_id, second.version_id]


def test_an_older_upload_that_comes_late_does_not_replace_the_newer(world: World, upload: Upload) -> None:
    first, second = upload("a.jpg", b"1"), upload("a.jpg", b"2", NOW + timedelta(seconds=1))
    world.analyze(second)
    late = world.analyze(first)
    other = names_for(first)[1]
    assert late.result is not None
    assert late.result["image_key"] == f"processed/{other}"
    assert world.read("processed/a.jpg") == b"2"
    assert world.read(f"processed/{other}") == b"1"
    assert world.result(f"processed/{other}.json")["source"]["version_id"] == first.version_id
    assert world.versions("source") == 0
    assert world.analyze(first, again=True).result == late.result


def test_a_newer_upload_waits_for_the_older_to_be_moved(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = upload("a.jpg", b"1"), upload("a.jpg", b"2", NOW + timedelta(seconds=1))
    with monkeypatch.context() as broken:
        broken.setattr(world.s3, "copy_object", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.analyze(first)
    with pytest.raises(errors.OlderUploadInProgressError):
        world.analyze(second)
    assert world.keys("source") == ["a.jpg"]
    world.analyze(first, again=True)
    world.analyze(second, again=True)
    assert world.read("processed/a.jpg") == b"2"
    assert world.versions("source") == 0


@pytest.mark.parametrize("order", [("x", "x.json"), ("x.json", "x")])
def test_an_upload_named_like_a_result_overwrites_none(world: World, upload: Upload, order: tuple[str, str]) -> None:
    world.backend.detections = [errors.InvalidImageFormatError("no image")]
    images = [upload(key, key.encode()) for key in order]
    for image in images:
        filed = world.analyze(image).result
        assert filed is not None
    for image in images:
        found = world.final.find_result(image)
        assert found is not None
        VALIDATOR.validate(found)
        assert world.read(found["image_key"]) == image.key.encode()
    assert len(world.keys("final")) == 4
    assert all(world.analyze(image, again=True).status == "rejected" for image in images)
    assert len(world.keys("final")) == 4


def test_an_upload_named_like_a_result_keeps_its_name_where_that_is_free(world: World, upload: Upload) -> None:
    world.backend.detections = [errors.InvalidImageFormatError("no image")]
    world.analyze(upload("notes.json"))
    assert world.keys("final") == ["rejected/notes.json", "rejected/notes.json.json"]


def test_a_key_of_1024_bytes_gets_a_place(world: World, upload: Upload) -> None:
    image = upload("d/" * 300 + "x" * 420 + ".jpg")
    assert len(image.key) == 1024
    filed = world.analyze(image).result
    assert filed is not None
    assert filed["source"]["key"] == image.key
    assert sorted(world.keys("final")) == sorted([filed["image_key"], filed["image_key"] + ".json"])
    assert world.versions("source") == 0


def test_an_image_deleted_between_result_and_copy_leaves_nothing_behind(world: World, upload: Upload) -> None:
    image = upload("a.jpg")

    def delete_then_answer(_: Any) -> Detection:
        world.s3.delete_object(Bucket="source", Key="a.jpg", VersionId=image.version_id)
        return DETECTION

    world.backend.detections = [delete_then_answer]
    assert world.analyze(image).status == "gone"
    assert world.keys("final") == []


def test_a_message_without_a_version_is_about_the_current_one(world: World, upload: Upload) -> None:
    image = upload("a.jpg", b"12345")
    nameless = SourceImage("source", "a.jpg", None, "", 0, NOW)
    world.analyze(nameless)
    source = world.result("processed/a.jpg.json")["source"]
    assert (source["version_id"], source["size_bytes"]) == (image.version_id, 5)
    assert world.analyze(nameless).status == "gone"


def test_tags_and_metadata_go_with_the_image(world: World, s3: Any) -> None:
    answer = s3.put_object(Bucket="source", Key="a.jpg", Body=b"1", Metadata={"line": "7"}, Tagging="site=north")
    world.analyze(SourceImage("source", "a.jpg", answer["VersionId"], "", 1, NOW))
    assert s3.head_object(Bucket="final", Key="processed/a.jpg")["Metadata"] == {"line": "7"}
    tags = s3.get_object_tagging(Bucket="final", Key="processed/a.jpg")["TagSet"]
    assert tags == [{"Key": "site", "Value": "north"}]


def test_what_one_copy_cannot_take_is_copied_in_parts(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_COPY_LIMIT_BYTES", 3)
    world.backend.detections = [errors.ImageTooLargeError("much")]
    world.analyze(upload("film.mp4", b"12345"))
    assert world.read("rejected/film.mp4") == b"12345"
    assert world.versions("source") == 0


def test_a_backend_that_takes_bytes_reads_the_named_version(world: World, upload: Upload) -> None:
    first = upload("a.jpg", b"1")
    upload("a.jpg", b"2")
    seen = []

    def read(image: Any) -> Detection:
        seen.append(image.read_bytes())
        return DETECTION

    world.backend.detections = [read]
    world.analyze(first)
    assert seen == [b"1"]


def test_an_empty_object_is_rejected_without_asking_the_model(world: World, upload: Upload) -> None:
    assert world.analyze(upload("empty.jpg", b"")).error_type == "InvalidImageFormatError"
    assert world.backend.calls == []
    assert world.keys("final") == ["rejected/empty.jpg", "rejected/empty.jpg.json"]


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_marker_is_no_image_and_stays(world: World, upload: Upload, again: bool) -> None:
    outcome = world.analyze(upload("folder made in the console/", b""), again=again)
    assert (outcome.status, outcome.result) == ("folder_marker", None)
    assert world.keys("source") == ["folder made in the console/"]
    assert (world.keys("final"), world.backend.calls) == ([], [])


def test_an_image_whose_key_ends_like_a_folder_is_one(world: World, upload: Upload) -> None:
    assert world.analyze(upload("photo.jpg/", b"pixels")).status == "processed"
    assert world.read("processed/photo.jpg/") == b"pixels"


def test_an_image_is_not_begun_when_the_time_is_up(world: World, upload: Upload) -> None:
    with pytest.raises(errors.NoTimeLeftError):
        world.analyze(upload("a.jpg"), retry_seconds=-1)
    assert world.backend.calls == []
    assert world.keys("source") == ["a.jpg"]


def test_a_sidecar_filed_at_the_same_time_overwrites_no_result(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another invocation files `x` between the claim of `x.json` and its copy."""
    world.backend.detections = [errors.InvalidImageFormatError("no image")]
    image, sidecar = upload("x", b"broken"), upload("x.json", b"sidecar")
    copy = world.s3.copy_object
    filed: list[Outcome] = []

    def interleaved(**request: Any) -> Any:
        if request["CopySource"]["Key"] == "x.json" and not filed:
            filed.append(world.analyze(image))
        return copy(**request)

    monkeypatch.setattr(world.s3, "copy_object", interleaved)
    world.analyze(sidecar)
    assert [outcome.status for outcome in filed] == ["rejected"]
    for upload_, content in ((image, b"broken"), (sidecar, b"sidecar")):
        found = world.final.find_result(upload_)
        assert found is not None
        assert world.read(found["image_key"]) == content
        assert world.result(f"{found['image_key']}.json") == found
    assert len(world.keys("final")) == 4


def test_a_redelivery_takes_back_no_result_whose_image_was_fetched(world: World, upload: Upload) -> None:
    image = upload("a.jpg")
    world.analyze(image)
    world.s3.delete_object(Bucket="final", Key="processed/a.jpg")
    world.analyze(image, again=True)
    assert world.keys("final") == ["processed/a.jpg.json"]


def test_only_its_own_result_is_taken_back(world: World, upload: Upload) -> None:
    """The owner deletes the older upload, and the newer claims the result before the older notices."""
    first = upload("a.jpg", b"1")
    second = upload("a.jpg", b"2", NOW + timedelta(seconds=1))
    copy = world.s3.copy_object

    def interleaved(**request: Any) -> Any:
        world.s3.copy_object = copy
        world.s3.delete_object(Bucket="source", Key="a.jpg", VersionId=first.version_id)
        newer = results.make_result(
            results.source_of(second), "fake", "fake-model", {"fake": results.answer_of(DETECTION)}, NOW
        )
        assert world.final._claim(second, newer, "processed/a.jpg", (), has_mask=False) is not None
        return copy(**request)

    world.s3.copy_object = interleaved
    assert world.analyze(first).status == "gone"
    assert world.result("processed/a.jpg.json")["source"]["version_id"] == second.version_id


def client_error(code: str, http_status: int) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": http_status}}
    return ClientError(response, "PutObject")


def failing(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, times: int) -> list[int]:
    put, left = world.s3.put_object, [times]

    def fail(**request: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return put(**request)

    monkeypatch.setattr(world.s3, "put_object", fail)
    return left


def test_a_conflict_of_conditional_writes_is_repeated_at_once(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = upload("a.jpg")
    failing(world, monkeypatch, client_error("ConditionalRequestConflict", 409), 2)
    assert world.analyze(image).status == "processed"


def test_a_conflict_without_end_leaves_the_image(world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    image = upload("a.jpg")
    monkeypatch.setattr(put_on_condition.retry, "stop", stop_after_attempt(2))  # type: ignore[attr-defined]
    failing(world, monkeypatch, client_error("ConditionalRequestConflict", 409), 99)
    with pytest.raises(errors.ServiceUnavailableError, match="conditional write"):
        world.analyze(image)
    assert world.keys("source") == ["a.jpg"]


@pytest.mark.parametrize(
    ("http_status", "error"),
    [
        (403, errors.AccessDeniedError),
        (429, errors.ServiceUnavailableError),
        (503, errors.ServiceUnavailableError),
    ],
)
def test_what_s3_refuses_leaves_the_image(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch, http_status: int, error: type[Exception]
) -> None:
    image = upload("a.jpg")
    failing(world, monkeypatch, client_error("Newfangled", http_status), 1)
    with pytest.raises(error):
        world.analyze(image)
    assert world.keys("source") == ["a.jpg"]
    assert world.keys("final") == []


def test_a_result_that_vanishes_while_it_is_replaced_leaves_the_image(
    world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.analyze(upload("a.jpg", b"1"))
    newer = upload("a.jpg", b"2", NOW + timedelta(seconds=1))
    put = world.s3.put_object

    def vanish(**request: Any) -> Any:
        if "IfMatch" in request:
            raise client_error("NoSuchKey", 404)
        return put(**request)

    monkeypatch.setattr(world.s3, "put_object", vanish)
    with pytest.raises(errors.OlderUploadInProgressError):
        world.analyze(newer)
    assert world.keys("source") == ["a.jpg"]
