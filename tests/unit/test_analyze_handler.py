"""The analyzing Lambda as the event source mapping calls it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_plus

import pytest

from batch_vision.aws import clients
from batch_vision.core import errors
from batch_vision.core.events import SourceImage, message_for, parse_message
from batch_vision.core.stuck import stuck_key
from batch_vision.images import batch as module
from batch_vision.images.detectors import Detectors
from batch_vision.images.pace import Pace
from lambdas.analyze_images.handler import handler
from tests.unit.conftest import DETECTION, FakeBackend, detectors_of
from tests.unit.tool_stack import ENVIRONMENT


class Context:
    function_name = "analyze-images"
    memory_limit_in_mb = 256
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:analyze-images"
    aws_request_id = "request-1"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 10_000


class Queue:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_message(self, **message: Any) -> None:
        self.sent.append(message)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def backend(s3: Any, queue: Queue, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    tell()
    monkeypatch.setattr(module, "detectors", lambda: detectors_of(fake))
    services = {"s3": lambda: s3, "sqs": lambda: queue, "MAX_CONNECTIONS": clients.MAX_CONNECTIONS}
    monkeypatch.setattr(module, "clients", SimpleNamespace(**services))
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
    assert failures(handler(event, Context())) == ["unlucky"]  # type: ignore[arg-type]
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="source")["Contents"]] == ["unlucky.jpg"]
    lines = {line["key"]: line for line in catalog(s3)}
    assert set(lines) == {"good.jpg", "corrupt.jpg"}
    assert lines["corrupt.jpg"]["error_type"] == "InvalidImageFormatError"


def test_every_record_of_a_message_counts(backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage]) -> None:
    images = [upload(f"{i}.jpg") for i in range(10)]
    assert failures(handler({"Records": [message("ten", *images)]}, Context())) == []  # type: ignore[arg-type]
    assert len(catalog(s3)) == 10
    assert len(s3.list_objects_v2(Bucket="final", Prefix="catalog/")["Contents"]) == 1


def test_a_message_fails_when_one_of_its_images_does_and_the_rest_is_done(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage]
) -> None:
    images = [upload("a.jpg"), upload("b.jpg")]
    backend.detections = [
        lambda image: DETECTION if image.key == "a.jpg" else (_ for _ in ()).throw(errors.AccessDeniedError("no"))
    ]
    assert failures(handler({"Records": [message("both", *images)]}, Context())) == ["both"]  # type: ignore[arg-type]
    backend.detections = [DETECTION]
    assert failures(handler({"Records": [message("both", *images, received=2)]}, Context())) == []  # type: ignore[arg-type]
    assert "Contents" not in s3.list_objects_v2(Bucket="source")


def test_a_batch_that_fails_whole_is_answered_item_by_item(
    backend: FakeBackend, upload: Callable[..., SourceImage]
) -> None:
    backend.detections = [errors.AccessDeniedError("no")]
    event = {"Records": [message("1", upload("a.jpg")), message("2", upload("b.jpg"))]}
    assert sorted(failures(handler(event, Context()))) == ["1", "2"]  # type: ignore[arg-type]


def test_two_uploads_of_a_key_in_one_batch_do_not_get_in_each_others_way(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage]
) -> None:
    event = {"Records": [message(str(i), upload("same.jpg", str(i).encode())) for i in range(5)]}
    assert failures(handler(event, Context())) == []  # type: ignore[arg-type]
    assert len(catalog(s3)) == 5
    assert "Versions" not in s3.list_object_versions(Bucket="source")


def test_counts_and_outcomes_are_logged_and_never_the_content(
    backend: FakeBackend, upload: Callable[..., SourceImage], capsys: pytest.CaptureFixture[str]
) -> None:
    handler({"Records": [message("1", upload("a.jpg", b"secret pixels"))]}, Context())  # type: ignore[arg-type]
    printed = capsys.readouterr().out
    assert "secret pixels" not in printed
    emf = next(json.loads(line) for line in printed.splitlines() if "_aws" in line)
    assert emf["ImagesProcessed"] == [1.0]
    assert emf["MessagesLeftForRedelivery"] == [0.0]


def test_calls_are_counted_by_operation_those_of_images_that_are_left_too(
    backend: FakeBackend,
    upload: Callable[..., SourceImage],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is refused and what is paid for differs by operation."""

    def detect_text(image: Any) -> Any:
        if image.key == "small.jpg":
            raise errors.InvalidImageError("too small")
        raise errors.AccessDeniedError("no")

    throttled = iter([errors.ThrottledError("too many")])

    def detect_labels(_: Any) -> Any:
        for error in throttled:
            raise error
        return DETECTION

    fakes = {
        "DetectLabels": FakeBackend(detections=[detect_labels]),
        "DetectText": FakeBackend(detections=[detect_text]),
    }
    paces = {name: Pace(1000, 1000) for name in fakes}
    monkeypatch.setattr(module, "detectors", lambda: Detectors("rekognition", fakes, paces))
    event = {"Records": [message("1", upload("a.jpg")), message("2", upload("small.jpg"))]}
    assert failures(handler(event, Context())) == ["1"]  # type: ignore[arg-type]
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    (whole,) = (line for line in printed if "ImagesProcessed" in line)
    assert (whole["ImagesProcessed"], whole["DetectThrottles"], whole["DetectRetries"]) == ([1.0], [1.0], [1.0])
    apart = {line["operation"]: line for line in printed if "operation" in line}
    assert set(apart) == set(fakes)
    for line in apart.values():
        ((dimensions,),) = (about["Dimensions"] for about in line["_aws"]["CloudWatchMetrics"])
        assert set(dimensions) >= {"operation"}
    counts = {
        name: [line[metric] for metric in ("CallsMade", "CallsThrottled", "ImagesRefused")]
        for name, line in apart.items()
    }
    assert counts == {"DetectLabels": [[3.0], [1.0], [0.0]], "DetectText": [[2.0], [0.0], [1.0]]}


def test_a_single_model_has_no_metrics_of_operations(
    backend: FakeBackend, upload: Callable[..., SourceImage], capsys: pytest.CaptureFixture[str]
) -> None:
    handler({"Records": [message("1", upload("a.jpg"))]}, Context())  # type: ignore[arg-type]
    assert "CallsMade" not in capsys.readouterr().out


def test_a_catalog_that_cannot_be_written_fails_no_image(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise errors.ServiceUnavailableError("no")

    monkeypatch.setattr(module.FinalBucket, "write_catalog", refuse)
    assert failures(handler({"Records": [message("1", upload("a.jpg"))]}, Context())) == []  # type: ignore[arg-type]
    assert "Contents" not in s3.list_objects_v2(Bucket="source")


def test_what_does_not_fit_into_the_invocation_is_left_for_another(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image has the time that is left of the invocation, not a time of its own."""
    monkeypatch.setattr(Context, "get_remaining_time_in_millis", lambda _: 0)
    event = {"Records": [message(str(i), upload(f"{i}.jpg")) for i in range(100)]}
    assert len(failures(handler(event, Context()))) == 100  # type: ignore[arg-type]
    assert backend.calls == []
    assert "Versions" not in s3.list_object_versions(Bucket="final")


def test_the_detectors_are_made_once_and_not_by_each_thread(
    backend: FakeBackend, upload: Callable[..., SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(module, "detectors", lambda: made.append(1) or detectors_of(backend))
    event = {"Records": [message(str(i), upload(f"{i}.jpg")) for i in range(10)]}
    assert failures(handler(event, Context())) == []  # type: ignore[arg-type]
    assert made == [1]


@pytest.mark.parametrize("error", [errors.ModelNotReadyError("off"), errors.ConversionWaitsError("others")])
def test_a_model_that_is_not_running_costs_no_message_a_delivery(
    backend: FakeBackend, queue: Queue, s3: Any, upload: Callable[..., SourceImage], error: Exception
) -> None:
    """Each message is sent anew with a delay and acknowledged, so none has been received more than once."""
    backend.detections = [error]
    images = [upload(f"{number}.jpg") for number in range(50)]
    for start in range(0, 50, 10):
        event = {"Records": [message(image.key, image) for image in images[start : start + 10]]}
        assert failures(handler(event, Context())) == []  # type: ignore[arg-type]
    assert {sent["DelaySeconds"] for sent in queue.sent} == {60}
    assert {sent["QueueUrl"] for sent in queue.sent} == {ENVIRONMENT["QUEUE_URL"]}
    sent = [image for sent in queue.sent for image in parse_message(sent["MessageBody"], "source")[0]]
    assert {(image.key, image.version_id) for image in sent} == {(image.key, image.version_id) for image in images}
    assert len(sent) == 50
    assert len(backend.calls) == 50, "asked once each, and not again while the invocation has time"
    assert len(s3.list_object_versions(Bucket="source")["Versions"]) == 50
    assert "Contents" not in s3.list_objects_v2(Bucket="final")


def test_what_is_sent_anew_is_paid_for_once(
    backend: FakeBackend, queue: Queue, s3: Any, upload: Callable[..., SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that has its result is moved, and the model is not asked about it again: SQS counts a first delivery."""
    image = upload("a.jpg")
    with monkeypatch.context() as broken:
        broken.setattr(s3, "copy_object", lambda **_: (_ for _ in ()).throw(errors.ServiceUnavailableError("down")))
        assert failures(handler({"Records": [message("1", image)]}, Context())) == ["1"]  # type: ignore[arg-type]
    sent_anew = message("2", body=message_for([image]), received=1)
    assert failures(handler({"Records": [sent_anew]}, Context())) == []  # type: ignore[arg-type]
    assert len(backend.calls) == 1
    assert "Versions" not in s3.list_object_versions(Bucket="source")


def test_a_message_that_cannot_be_sent_anew_is_left_for_redelivery(
    backend: FakeBackend, queue: Queue, upload: Callable[..., SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.detections = [errors.ModelNotReadyError("off")]
    monkeypatch.setattr(queue, "send_message", lambda **_: (_ for _ in ()).throw(OSError("no queue")))
    event = {"Records": [message("1", upload("a.jpg")), message("2", body="rubbish")]}
    assert failures(handler(event, Context())) == ["1"]  # type: ignore[arg-type]


def test_where_another_image_failed_as_well_the_message_comes_back_whole(
    backend: FakeBackend, queue: Queue, upload: Callable[..., SourceImage]
) -> None:
    def answer(image: Any) -> Any:
        raise errors.ModelNotReadyError("off") if image.key == "a.jpg" else errors.AccessDeniedError("no")

    backend.detections = [answer]
    event = {"Records": [message("both", upload("a.jpg"), upload("b.jpg"))]}
    assert failures(handler(event, Context())) == ["both"]  # type: ignore[arg-type]
    assert queue.sent == []


def test_at_its_last_delivery_an_image_is_given_up_and_its_message_acknowledged(
    backend: FakeBackend, s3: Any, upload: Callable[..., SourceImage]
) -> None:
    backend.detections = [errors.AccessDeniedError("not allowed to detect")]
    image = upload("a.jpg")
    assert failures(handler({"Records": [message("1", image, received=4)]}, Context())) == ["1"]  # type: ignore[arg-type]
    assert failures(handler({"Records": [message("1", image, received=5)]}, Context())) == []  # type: ignore[arg-type]
    entry = json.loads(s3.get_object(Bucket="final", Key=stuck_key("a.jpg", str(image.version_id)))["Body"].read())
    assert entry["error"] == {"type": "AccessDeniedError", "message": "not allowed to detect"}


def test_nothing_runs_on_after_the_handler_has_returned(
    backend: FakeBackend, upload: Callable[..., SourceImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when the time runs out, nor when the answer itself fails."""
    at_work: list[str] = []

    def slow(image: Any) -> Any:
        at_work.append(image.key)
        time.sleep(0.5)
        at_work.remove(image.key)
        return DETECTION

    backend.detections = [slow]
    event = {"Records": [message(str(number), upload(f"{number}.jpg")) for number in range(5)]}
    monkeypatch.setattr(Context, "get_remaining_time_in_millis", lambda _: 500)
    handler(event, Context())  # type: ignore[arg-type]
    assert at_work == []
    event = {"Records": [message(str(number), upload(f"{number}.png")) for number in range(5)]}
    monkeypatch.setattr(module, "process_partial_response", lambda *_: (_ for _ in ()).throw(ValueError("broken")))
    with pytest.raises(ValueError, match="broken"):
        handler(event, Context())  # type: ignore[arg-type]
    assert at_work == []
