"""A backend with the emulator of its service, for the contract suites."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from batch_vision.backends.contracts import Detection, Detector, Lifecycle, ModelState
from batch_vision.backends.registry import make_detectors, make_lifecycle
from batch_vision.core.capacity import CapacitySettings
from batch_vision.core.events import SourceImage
from batch_vision.core.models import Model
from batch_vision.images.detectors import Detectors
from batch_vision.images.pace import Pace
from batch_vision.images.source import SourceBucket
from batch_vision.runs import closing
from batch_vision.runs.start import ensure_running
from local.config import REPOSITORY
from local.emulator.models import MODELS
from tests.contract.cases import CASES, Case

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from local.emulator.client import EmulatorClient

BUCKET = "images-to-analyse"
NOW = datetime(2026, 11, 20, 8, 0, 0, tzinfo=UTC)
CAPACITY = CapacitySettings(
    min_inference_units=1,
    max_inference_units=3,
    target_drain_seconds=20,
    images_per_second_per_unit=5,
    account_images_per_second=50,
    max_concurrency=20,
    batch_size=10,
    image_latency_seconds=1,
)


@dataclass(frozen=True)
class Converted:
    """What an image was converted to, which is not in S3."""

    content: bytes
    is_stored: bool = False
    bucket: str = BUCKET
    key: str = "converted.heic"
    version_id: str = "v1"

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read_bytes(self) -> bytes:
        return self.content

    def read_start(self, most_bytes: int) -> bytes:
        return self.content[:most_bytes]


class World:
    """A backend with its case, the emulator behind it and an S3 with a picture or more."""

    def __init__(self, name: str, emulator: EmulatorClient, s3: S3Client, operation: str = "") -> None:
        self.name, self.case, self.emulator, self.s3 = name, CASES[name], emulator, s3
        self.asked = next(one for one in self.case.detectors if operation in ("", one.detect))
        self.settings = self.case.settings or MODELS[name].argument
        self.source = SourceBucket(s3)
        self.detector = self.make_detector()
        detector_name = self.asked.detect if self.case.lifecycle is None else name
        self.detectors = Detectors(name, {detector_name: self.detector}, {detector_name: Pace(1000, 8000)})
        if self.case.lifecycle:
            self.hosting, self.lifecycle = self.case.lifecycle, self.make_lifecycle()

    def make_detector(
        self, settings: dict[str, Any] | None = None, min_confidence_percent: float | None = None
    ) -> Detector:
        """Make the detector that the world is about."""
        model = Model.named(self.name, self.settings if settings is None else settings)
        made = make_detectors(model, min_confidence_percent)
        return made.get(self.asked.detect) or made[self.name]

    def make_lifecycle(self, settings: dict[str, str] | None = None) -> Lifecycle:
        return make_lifecycle(Model.named(self.name, self.settings if settings is None else settings))

    def upload(self, content: bytes, key: str = "line 1/café+.jpg") -> SourceImage:
        answer = self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        return SourceImage(BUCKET, key, answer["VersionId"], answer["ETag"].strip('"'), len(content), NOW)

    def detect(self, content: bytes | None = None, detector: Detector | None = None) -> Detection:
        content = encoded() if content is None else content
        return (detector or self.detector).detect(self.source.stored(self.upload(content)))

    def detect_converted(self, content: bytes) -> Detection:
        return self.detector.detect(Converted(content))

    def bring(self, state: ModelState) -> None:
        """Bring the model to a state; one that is always there has no other than that it runs."""
        if self.case.lifecycle:
            self.emulator.force_status(self.case.lifecycle.status(state), MODELS[self.name].arn)

    def counted(self) -> dict[str, Any]:
        """The emulator's counters, by the names that it has for a hosted model."""
        if self.case.lifecycle:
            return self.emulator.model(MODELS[self.name].arn)
        counters = self.emulator.operation(self.asked.detect)
        return {"detect_calls": counters["images"], "throttled_calls": counters["throttled"]}

    def allow(self, calls_per_second: float) -> None:
        """Let the service take so many calls."""
        if self.case.lifecycle:
            self.emulator.set(transactions_per_second_per_unit=calls_per_second)
        else:
            self.emulator.set(calls_per_second={self.asked.detect: calls_per_second})

    def control(self, operation: str, lifecycle: Lifecycle | None = None) -> Any:
        asked = lifecycle or self.lifecycle
        calls: dict[str, Callable[[], Any]] = {
            self.hosting.describe: asked.describe,
            self.hosting.start: lambda: asked.start(1),
            self.hosting.stop: asked.stop,
        }
        return calls[operation]()

    def step(self, previous: dict[str, Any] | None = None, seconds: int = 0, images: int = 1) -> dict[str, Any]:
        """One look of the workflow at a model that is to start within ten minutes."""
        return ensure_running(self.lifecycle, CAPACITY, images, previous, 600, NOW + timedelta(seconds=seconds))

    def start(self) -> dict[str, Any]:
        """Do what the workflow does: look until the model runs."""
        answer = None
        for _ in range(10):
            answer = self.step(answer, images=250)
            if answer["is_running"]:
                return answer
        raise AssertionError(answer)

    def stop(self) -> closing.Part:
        for _ in range(10):
            if (part := closing.stop(self.lifecycle)).is_off:
                return part
        raise AssertionError(part)


def picture(name: str) -> bytes:
    """A picture of `local/samples`."""
    return (REPOSITORY / "local" / "samples" / name).read_bytes()


def encoded(width: int = 100, height: int = 100, image_format: str = "PNG", mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new("L", (width, height), 128).convert(mode).save(content, image_format)
    return content.getvalue()


def encoded_like_a_sample() -> bytes:
    return (REPOSITORY / "local" / "samples" / "pile" / "part-01.jpg").read_bytes()


def for_each(items: Callable[[Case], Iterable[tuple[str, ...]]]) -> Any:
    """Parametrize a test with a backend and something of its case."""
    found = [(name, item) for name, case in CASES.items() for item in items(case)]
    return pytest.mark.parametrize(
        ("world", "item"),
        [pytest.param(name, item, id=f"{name}-{'-'.join(item)}") for name, item in found],
        indirect=["world"],
    )
