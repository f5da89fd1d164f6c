"""The analyzing Lambda as the event source mapping calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_plus

import pytest

from batch_vision.aws import clients
from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.settings import Settings
from batch_vision.images.pace import Pace
from lambdas.analyze_images import handler as module
from tests.unit.conftest import DETECTION, FakeBackend


class Context:
    function_name = "analyze-images"
    memory_limit_in_mb = 256
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:analyze-images"
    aws_request_id = "request-1"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 3000


@pytest.fixture
def backend(s3: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    monkeypatch.setattr(module, "backend", lambda: fake)
    monkeypatch.setattr(module, "settings", lambda: settings)
    monkeypatch.setattr(module, "pace", lambda: Pace(1000))
    monkeypatch.setattr(module, "clients", SimpleNamespace(s3=lambda: s3, MAX_CONNECTIONS=clients.MAX_CONNECTIONS))
    return fake


def message(message_id: str, *images: SourceImage, body: str | None = None, received: int = 1) -> dict[str, Any]:
    records = [
        {
            "eventName": "ObjectCreated:Put",
            "eventTime": image.uploaded_at.isoformat(),
            "s3": {
                "bucket": {"name": image.bucket},
                "object": {"key": quote_plus(image.key), "versionId": image.version_id, "eTag": "e", "size": 5},
            },
        }
        for image in images
    ]
    return {
        "messageId": message_id,
        "body": json.dumps({"Records": records}) if body is None else body,
        "attributes": {"ApproximateReceiveCount": str(received)},
        "eventSource": "aws:sqs",
    }


def failures(answer: Any) -> list[str]:
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def catalog(s3: Any) -> list[dict[str, Any]]:
    listed = s3.list_objects_v2(Bucket="final", Prefix="catalog/").get("Contents", [])
    bodies = [s3.get_object(Bucket="final", Key=entry["Key"])["Body"].read().decode() for entry in listed]
    return [json.loads(line) for body in bodies for line in body.split("\n") if line]


def test_one_bad_message_fails_none_of_its_neighbours(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage]
) -> None:
    good, unlucky, corrupt = upload("good.jpg"), upload("unlucky.jpg"), upload("corrupt.jpg")

    def answer(image: Any) -> Any:
        if image.key == "unlucky.jpg":
            raise errors.ThrottledError("not now")
        if image.key == "corrupt.jpg":
            raise errors.InvalidImageFormatError("never")
        return DETECTION

    backend.detections = [answer]
    event = {
        "Records": [
            message("rubbish", body="rubbish"),
            message("test", body='{"Event": "s3:TestEvent"}'),
            message("good", good),
            message("unlucky", unlucky),
            message("corrupt", corrupt),
        ]
    }
    assert failures(module.handler(event, Context())) == ["unlucky"]  # type: ignore[arg-type]
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="source")["Contents"]] == ["unlucky.jpg"]
    lines = {line["key"]: line for line in catalog(s3)}
    assert set(lines) == {"good.jpg", "corrupt.jpg"}
    assert lines["corrupt.jpg"]["error_type"] == "InvalidImageFormatError"


def test_every_record_of_a_message_counts(backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage]) -> None:
    images = [upload(f"{i}.jpg") for i in range(10)]
    assert failures(module.handler({"Records": [message("ten", *images)]}, Context())) == []  # type: ignore[arg-type]
    assert len(catalog(s3)) == 10
    assert len(s3.list_objects_v2(Bucket="final", Prefix="catalog/")["Contents"]) == 1


def test_a_message_fails_when_one_of_its_images_does_and_the_rest_is_done(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage]
) -> None:
    images = [upload("a.jpg"), upload("b.jpg")]
    backend.detections = [
        lambda image: DETECTION if image.key == "a.jpg" else (_ for _ in ()).throw(errors.ModelNotReadyError("off"))
    ]
    assert failures(module.handler({"Records": [message("both", *images)]}, Context())) == ["both"]  # type: ignore[arg-type]
    backend.detections = [DETECTION]
    assert failures(module.handler({"Records": [message("both", *images, received=2)]}, Context())) == []  # type: ignore[arg-type]
    assert "Contents" not in s3.list_objects_v2(Bucket="source")


def test_a_batch_that_fails_whole_is_answered_item_by_item(
    backend: FakeBackend, upload: Callable[..., SourceImage]
) -> None:
    backend.detections = [errors.ModelNotReadyError("off")]
    event = {"Records": [message("1", upload("a.jpg")), message("2", upload("b.jpg"))]}
    assert sorted(failures(module.handler(event, Context()))) == ["1", "2"]  # type: ignore[arg-type]


def test_two_uploads_of_a_key_in_one_batch_do_not_get_in_each_others_way(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage]
) -> None:
    event = {"Records": [message(str(i), upload("same.jpg", str(i).encode())) for i in range(5)]}
    assert failures(module.handler(event, Context())) == []  # type: ignore[arg-type]
    assert len(catalog(s3)) == 5
    assert "Versions" not in s3.list_object_versions(Bucket="source")


def test_counts_and_outcomes_are_logged_and_never_the_content(
    backend: FakeBackend, upload: Callable[..., SourceImage], capsys: pytest.CaptureFixture[str]
) -> None:
    module.handler({"Records": [message("1", upload("a.jpg", b"secret pixels"))]}, Context())  # type: ignore[arg-type]
    printed = capsys.readouterr().out
    assert "secret pixels" not in printed
    emf = next(json.loads(line) for line in printed.splitlines() if "_aws" in line)
    assert emf["ImagesProcessed"] == [1.0]
    assert emf["MessagesLeftForRedelivery"] == [0.0]


def test_a_catalog_that_cannot_be_written_fails_no_image(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise errors.ServiceUnavailableError("no")

    monkeypatch.setattr(module.FinalBucket, "write_catalog", refuse)
    assert failures(module.handler({"Records": [message("1", upload("a.jpg"))]}, Context())) == []  # type: ignore[arg-type]
    assert "Contents" not in s3.list_objects_v2(Bucket="source")


def test_what_does_not_fit_into_the_invocation_is_left_for_another(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image has the time that is left of the invocation, not a time of its own."""
    monkeypatch.setattr(Context, "get_remaining_time_in_millis", lambda _: 0)
    event = {"Records": [message(str(i), upload(f"{i}.jpg")) for i in range(100)]}
    assert len(failures(module.handler(event, Context()))) == 100  # type: ignore[arg-type]
    assert backend.calls == []
    assert "Versions" not in s3.list_object_versions(Bucket="final")


def test_the_backend_is_made_once_and_not_by_each_thread(
    backend: FakeBackend, upload: Callable[..., SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(module, "backend", lambda: made.append(1) or backend)
    event = {"Records": [message(str(i), upload(f"{i}.jpg")) for i in range(10)]}
    assert failures(module.handler(event, Context())) == []  # type: ignore[arg-type]
    assert made == [1]
