"""What the unit tests share: settings, two moto buckets, and a backend that answers as told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import RLock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from moto.s3.responses import S3Response

from batch_vision.backends.contracts import (
    BoundingBox,
    Detection,
    Detector,
    Kind,
    Lifecycle,
    ModelState,
    ModelStatus,
    Prediction,
)
from batch_vision.backends.registry import BACKENDS
from batch_vision.core import settings
from batch_vision.core.events import SourceImage
from batch_vision.core.image_limits import ImageLimits
from batch_vision.images.detectors import Detectors
from batch_vision.images.final import FinalBucket
from batch_vision.images.pace import Pace
from batch_vision.images.source import SourceBucket
from batch_vision.operator import dead_letters, stop
from local import config
from local.config import PROJECT_VERSION_ARN, REPOSITORY
from local.emulator.client import EmulatorClient
from local.emulator.labelled import learn_folder
from local.emulator.server import Emulator, EmulatorServer
from local.emulator.settings import Settings as EmulatorSettings
from local.terraform import MODULE, RUN_BY_UNIT_TESTS, Terraform
from tests.unit.tool_stack import ENVIRONMENT, Deployed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

SAMPLES = REPOSITORY / "local" / "samples" / "labelled"
NOW = datetime(2026, 11, 20, 8, 0, 0, tzinfo=UTC)

DETECTION = Detection(
    predictions=[
        Prediction("crack", 90.0, BoundingBox(0.1, 0.2, 0.3, 0.4), kind=Kind.CUSTOM_LABEL),
        Prediction("stain", 20.0, kind=Kind.CUSTOM_LABEL),
    ],
    raw={"CustomLabels": [{"Name": "crack", "Confidence": 90.0}]},
)


@dataclass
class FakeBackend(Detector, Lifecycle):
    """Answers from lists: an exception is raised, a callable is called, the last answer stays."""

    states: list[ModelState] = field(default_factory=lambda: [ModelState.RUNNING])
    detections: list[Any] = field(default_factory=lambda: [DETECTION])
    start_error: Exception | None = None
    stop_error: Exception | None = None
    calls: list[Any] = field(default_factory=list)
    inference_units: int | None = None

    name = "fake"
    limits = ImageLimits(max_sent_bytes=5 * 1024**2, max_stored_bytes=15 * 1024**2)

    @classmethod
    def from_settings(cls, *_: Any) -> FakeBackend:
        return cls()

    @property
    def model_id(self) -> str:
        return "fake-model"

    def describe(self) -> ModelStatus:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return ModelStatus(state, state.upper(), inference_units=self.inference_units)

    def start(self, inference_units: int) -> None:
        self.calls.append(("start", inference_units))
        if self.start_error:
            raise self.start_error

    def stop(self) -> None:
        self.calls.append(("stop",))
        if self.stop_error:
            raise self.stop_error

    def detect(self, image: Any) -> Detection:
        self.calls.append(("detect", image.key, image.version_id))
        answer = self.detections.pop(0) if len(self.detections) > 1 else self.detections[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(image) if callable(answer) else answer


def detectors_of(backend: Detector, pace: Pace | None = None) -> Detectors:
    """A fake backend as a deployment has it, with a pace that is in nobody's way."""
    return Detectors("fake", {"fake": backend}, {"fake": pace or Pace(1000, 8000)})


@pytest.fixture(autouse=True)
def one_request_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moto answers the requests of other threads in the middle of one another, and its state does not bear that."""
    answer, lock = BotocoreStubber.process_request, RLock()

    def answer_alone(self: BotocoreStubber, request: Any) -> Any:
        with lock:
            return answer(self, request)

    monkeypatch.setattr(BotocoreStubber, "process_request", answer_alone)


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Tell the functions of this process `ENVIRONMENT`, with changes."""

    def told(**changes: str) -> None:
        for name, value in (ENVIRONMENT | changes).items():
            monkeypatch.setenv(name, value)
        settings._of_this_process.cache_clear()

    yield told
    settings._of_this_process.cache_clear()


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3")
        for bucket in ("source", "final"):
            client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield client


@pytest.fixture
def source(s3: Any) -> SourceBucket:
    return SourceBucket(s3)


@pytest.fixture
def final(s3: Any, source: SourceBucket) -> FinalBucket:
    return FinalBucket(s3, "final", source)


@pytest.fixture
def upload(s3: Any) -> Callable[..., SourceImage]:
    def put(key: str, content: bytes = b"image", at: datetime = NOW) -> SourceImage:
        answer = s3.put_object(Bucket="source", Key=key, Body=content)
        return SourceImage("source", key, answer["VersionId"], answer["ETag"].strip('"'), len(content), at)

    return put


@pytest.fixture(scope="session")
def terraform_events() -> list[dict[str, Any]]:
    """What Terraform says of each run of `RUN_BY_UNIT_TESTS`. The provider is mocked."""
    module = Terraform(MODULE, data_directory=config.LOCAL_BUILD / "terraform-limits")
    module.init()
    files = [f"-filter=tests/{name}.tftest.hcl" for name in RUN_BY_UNIT_TESTS]
    finished = module.run("test", *files, "-verbose", "-json")
    events = [json.loads(line) for line in finished.stdout.splitlines()]
    assert finished.returncode == 0, [event["diagnostic"] for event in events if "diagnostic" in event]
    return events


@pytest.fixture(scope="session")
def applied_modules(terraform_events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The root module of each run that applies, as Terraform makes it."""
    return {
        event["@testrun"]: event["test_state"]["root_module"]
        for event in terraform_events
        if event["type"] == "test_state"
    }


@pytest.fixture(scope="session")
def planned(applied_modules: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Every resource of a hosted model on a drop-off bucket, with the defaults of all variables."""
    root_module = applied_modules["defaults"]
    modules = [root_module, *root_module["child_modules"]]
    return [resource for module in modules for resource in module.get("resources", [])]


@pytest.fixture(scope="session")
def planned_resources(terraform_events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Every resource that a run would make, of each run that plans."""
    return {
        event["@testrun"]: [
            change | {"values": change["change"]["after"]} for change in event["test_plan"]["resource_changes"]
        ]
        for event in terraform_events
        if event["type"] == "test_plan"
    }


@pytest.fixture(scope="session")
def planned_shapes(planned_resources: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Every resource of each shape but that of `planned`."""
    return {name: planned_resources[name] for name in ("managed_drop_off", "managed_existing", "hosted_existing")}


@pytest.fixture(scope="session")
def planned_videos(planned_resources: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Every resource of the shapes that have videos: alone and dropped off, and in the bucket of the images."""
    return {name: planned_resources[name] for name in ("videos_only", "videos_in_the_images_bucket")}


class NoReader:
    def read(self, bucket: str, key: str, version: str | None, max_bytes: int) -> bytes:
        raise AssertionError("nothing is detected in unit tests")


@pytest.fixture(scope="session")
def running_emulator() -> Iterator[EmulatorClient]:
    """An emulator whose models start and stop at once."""
    settings = EmulatorSettings(start_seconds=0, stop_seconds=0)
    emulator = Emulator(
        learn_folder(SAMPLES), NoReader(), settings=settings, project_version_arns=[PROJECT_VERSION_ARN]
    )
    with EmulatorServer(emulator) as client:
        yield client


type Deploy = Callable[..., Deployed]

_SENDS_EVENTS = "<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>"


def _tells_of_event_bridge(get: Callable[[S3Response], Any]) -> Callable[[S3Response], Any]:
    """Moto keeps whether a bucket sends to EventBridge, and does not tell."""

    def answer(self: S3Response) -> Any:
        kept = self.backend.get_bucket_notification_configuration(self.bucket_name)
        return (200, {}, _SENDS_EVENTS) if kept and kept.event_bridge is not None else get(self)

    return answer


@pytest.fixture
def deploy(running_emulator: EmulatorClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deploy]:
    """Deploy a stack of a shape, for the operator's tool."""
    running_emulator.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL_REKOGNITION", running_emulator.url)
    # Nothing settles late here.
    monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)
    monkeypatch.setattr(dead_letters, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(dead_letters, "_SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(stop, "_SETTLE_SECONDS", 0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        S3Response, "get_bucket_notification", _tells_of_event_bridge(S3Response.get_bucket_notification)
    )
    # A backend whose model is always there, whatever the backends of this version are.
    monkeypatch.setitem(BACKENDS, "rekognition", SimpleNamespace(lifecycle=None))
    with mock_aws(config={"lambda": {"use_docker": False}}):
        yield partial(Deployed, running_emulator, tmp_path / "outputs.json")


@pytest.fixture
def deployed(deploy: Deploy) -> Deployed:
    """A deployed stack with a hosted model and a drop-off bucket."""
    return deploy()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE_MS = 120_000  # a busy machine takes a while for a page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)} is on the PATH")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root; the page is our own. The other two keep it from calling its maker.
        options = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        launched = playwright.chromium.launch(executable_path=path, args=options)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1200, "height": 900})
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    opened.close()
