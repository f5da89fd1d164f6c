"""How local running sees every image to its end where no workflow runs, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from batch_vision.core.names import result_key
from batch_vision.operator.display import Display
from local import config, run
from local.emulator.models import HOSTED_MODELS, MODELS
from local.environment import Environment, choose
from local.images import Results
from local.images_bucket import ImagesBucket

COUNTED = {"calls": 0, "throttled": 0, "images": 0}


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_seconds = 0.0

    def monotonic(self) -> float:
        return self.now_seconds

    def sleep(self, seconds: float) -> None:
        self.now_seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(run, "time", clock)
    return clock


def operations(**changes: dict[str, Any]) -> dict[str, Any]:
    names = ("DetectLabels", "DetectText", "DetectFaces", "DetectModerationLabels", "RecognizeCelebrities")
    counted: dict[str, dict[str, Any]] = {name: {**COUNTED} for name in (*names, "DetectProtectiveEquipment")}
    counted["DetectLabels"]["images_by_feature"] = {"GENERAL_LABELS": 0, "IMAGE_PROPERTIES": 0}
    return {name: counts | changes.get(name, {}) for name, counts in counted.items()}


class Stack(Environment):
    """A stack on moto, on which something happens at each look at the emulator."""

    clients: Any
    happens: Any

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=config.REGION)  # type: ignore[call-overload]

    @property
    def emulator(self) -> Any:  # type: ignore[override]
        def state() -> dict[str, Any]:
            self.happens()
            return {"operations": operations()}

        return SimpleNamespace(state=state)


@pytest.fixture
def make_stack() -> Iterator[Callable[..., Stack]]:
    with mock_aws():

        def make(happens: Callable[[Any], None], images_bucket: ImagesBucket | None = None) -> Stack:
            s3 = boto3.client("s3", region_name=config.REGION)
            for name in ("source", "final"):
                s3.create_bucket(Bucket=name)
            queue = boto3.client("sqs", region_name=config.REGION).create_queue(
                QueueName="images", Attributes={"VisibilityTimeout": "100"}
            )
            outputs = {"source_bucket_name": "source", "final_bucket_name": "final", "queue_url": queue["QueueUrl"]}
            stack = Stack({name: {"value": value} for name, value in outputs.items()}, "rekognition", "", images_bucket)
            object.__setattr__(stack, "happens", lambda: happens(s3))
            return stack

        yield make


class Steps:
    """What a step was told."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def progress(self, done: int, total: int, now: str = "") -> None:
        self.done.append(done)


def test_a_drop_off_bucket_is_waited_for_until_it_is_empty(make_stack: Callable[..., Stack], clock: Clock) -> None:
    keys = ["a.jpg", "b.jpg", "c.jpg"]
    stack = make_stack(lambda s3: s3.delete_object(Bucket="source", Key=keys[len(steps.done)]))
    steps: Any = Steps()
    for key in keys:
        stack.client("s3").put_object(Bucket="source", Key=key, Body=b"x")
    run.wait(stack, keys, steps)
    assert steps.done == [0, 1, 2]


def test_an_existing_bucket_is_waited_for_until_each_key_has_a_result(
    make_stack: Callable[..., Stack], clock: Clock
) -> None:
    keys = ["a.jpg", "é+ %.jpg", f"{'long/' * 203}a.jpg"]

    def analyze(s3: Any) -> None:
        s3.put_object(Bucket="final", Key=result_key(keys[len(steps.done)]), Body=b"{}")

    stack = make_stack(analyze, ImagesBucket("pile"))
    steps: Any = Steps()
    run.wait(stack, keys, steps)
    assert steps.done == [0, 1, 2]


def test_images_that_were_given_up_are_not_waited_for(make_stack: Callable[..., Stack], clock: Clock) -> None:
    stack = make_stack(lambda s3: s3.put_object(Bucket="final", Key="stuck/1.json", Body=b"{}"))
    stack.client("s3").put_object(Bucket="source", Key="a.jpg", Body=b"x")
    run.wait(stack, ["a.jpg"], Steps())  # type: ignore[arg-type]
    assert clock.now_seconds < 5


def test_when_nothing_moves_it_is_over_after_a_message_would_have_come_back(
    make_stack: Callable[..., Stack], clock: Clock
) -> None:
    stack = make_stack(lambda _: None)
    stack.client("s3").put_object(Bucket="source", Key="a.jpg", Body=b"x")
    run.wait(stack, ["a.jpg"], Steps())  # type: ignore[arg-type]
    assert 100 < clock.now_seconds < 200


def test_each_analysis_has_its_price() -> None:
    counted = operations(
        DetectLabels={"images": 1000, "images_by_feature": {"GENERAL_LABELS": 400, "IMAGE_PROPERTIES": 1000}},
        DetectText={"images": 200},
    )
    dollars = run.dollars_by_analysis(counted)
    assert dollars == {
        "labels": pytest.approx(0.4),
        "image_properties": pytest.approx(0.75),
        "text": pytest.approx(0.2),
    }


def result(status: str, *kinds: str, error: dict[str, str] | None = None, **errors: Any) -> dict[str, Any]:
    return {
        "status": status,
        "source": {"key": f"{status}.jpg"},
        "predictions": [{"name": kind, "kind": kind, "confidence": 90.0} for kind in kinds],
        "error": error,
        "errors": errors,
        "anomaly": None,
    }


def reported(
    stack: Stack, capsys: pytest.CaptureFixture[str], images: int, *results: dict[str, Any]
) -> tuple[bool, str]:
    is_good = run.report(Display(), stack, None, Results([*results]), images, Path("out"))
    return is_good, capsys.readouterr().out


def test_the_report_of_a_managed_model(make_stack: Callable[..., Stack], capsys: pytest.CaptureFixture[str]) -> None:
    stack = make_stack(lambda _: None)
    good = [
        result("processed", "label", "label", "text", DetectProtectiveEquipment={"type": "ImageTooLargeError"}),
        result("rejected", error={"type": "InvalidImageFormatError", "message": "no image"}),
    ]
    is_good, said = reported(stack, capsys, 2, *good)
    assert is_good, said
    for text in ("processed            1 of 2", "label 2, text 1", "DetectProtectiveEquipment 1", "every image has"):
        assert text in said
    assert "model" not in said
    is_good, said = reported(stack, capsys, 3, *good)
    assert not is_good
    assert "1 images have no result; they are still in source" in said


def test_a_failed_image_is_named_with_its_remedy(
    make_stack: Callable[..., Stack], capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"type": "ImageArchivedError", "message": "It is archived.", "remedy": "Restore it, then retry."}
    stack = make_stack(lambda _: None, ImagesBucket("pile"))
    is_good, said = reported(stack, capsys, 1, result("failed", error=error))
    assert not is_good
    assert "failed.jpg failed, ImageArchivedError: It is archived. Restore it, then retry." in said


def test_a_users_analyses_count_and_the_adapter_is_the_emulators() -> None:
    own = {"analyses": ["moderation"], "moderation": {"adapter_arn": "arn:mine", "min_confidence_percent": 70}}
    assert choose("rekognition", {"rekognition": own}) == {
        "backend": "rekognition",
        "rekognition": {
            "analyses": ["moderation"],
            "moderation": {"adapter_arn": config.ADAPTER_ARN, "min_confidence_percent": 70},
        },
    }
    assert choose("rekognition", {"rekognition": {"analyses": ["text"]}})["rekognition"] == {"analyses": ["text"]}
    assert choose("rekognition") == {"backend": "rekognition", "rekognition": MODELS["rekognition"].argument}
    hosted = next(iter(HOSTED_MODELS))
    assert choose(hosted, {hosted: {"project_arn": "arn:mine"}})[hosted] == MODELS[hosted].argument


@pytest.mark.parametrize(
    ("backend", "takes"), [("rekognition_custom_labels", "10 to 30 minutes"), ("sagemaker_endpoint", "some minutes")]
)
def test_what_a_run_would_cost_and_how_long_a_start_takes_there(backend: str, takes: str) -> None:
    environment: Any = SimpleNamespace(
        backend=backend,
        model=lambda: {"labels": [], "billed_unit_seconds": 24, "starts": 1, "stops": 1},
        emulator=SimpleNamespace(state=lambda: {"settings": {"start_seconds": 5}}),
        unit_hour_dollars=lambda: 1.0,
    )
    said = run._hosted_lines(environment, {}, Results(), 0)["would cost on AWS"]
    assert said == f"$0.0067, at $1.00 an hour for each inference unit (a start takes 5 s here, {takes} there)"
