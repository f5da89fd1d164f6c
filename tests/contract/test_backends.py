"""The contract of `batch_vision.backends.base`, held by every backend against the emulator of its service.

A new backend is one entry of `CASES`.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from PIL import Image

import batch_vision.images
from batch_vision.backends.base import Backend, ModelState
from batch_vision.backends.registry import BACKENDS, make_backend
from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.settings import Settings
from batch_vision.images.analysis import analyze
from batch_vision.images.final import FinalBucket
from batch_vision.images.pace import Pace
from batch_vision.images.source import SourceBucket
from batch_vision.runs import closing
from batch_vision.runs.start import ensure_running
from local.config import (
    LOOKOUT_MODEL_ARN,
    LOOKOUT_MODEL_VERSION,
    LOOKOUT_PROJECT_NAME,
    PROJECT_ARN,
    PROJECT_VERSION_ARN,
    REPOSITORY,
)
from local.emulator import lookout_for_vision, rekognition
from local.environment import EMULATED_ENDPOINTS, MODELS, OFF_STATUSES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from local.emulator.client import EmulatorClient

BUCKET = "images-to-analyse"  # what the fixture `s3` makes
FINAL_BUCKET = "results"
NOW = datetime(2026, 11, 20, 8, 0, 0, tzinfo=UTC)
MIB_BYTES = 1024 * 1024
SCHEMA = json.loads((Path(batch_vision.images.__file__).parent / "result.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


@dataclass(frozen=True)
class Case:
    """What the suite has to know of a backend, and what its service calls things.

    Attributes
    ----------
    settings, unknown
        `backend_settings` of the emulated model, and of one that there is not.
    endpoint
        Environment variable that leads the service's client to the emulator.
    model
        Name of the model in the emulator's control interface.
    describe, start, stop, detect
        The service's operations.
    failed_start
        The fault that makes a start fail on its way.
    states
        Every status of the service.
    errors, start_errors, detect_errors
        Every error that the service declares: for all operations, and what they mean elsewhere for a start or an image.
    max_image_bytes
        The largest image that is taken.
    retry_after_seconds
        How long the service wants to be left alone when it throttles; None for one that does not say.
    """

    settings: dict[str, str]
    unknown: dict[str, str]
    endpoint: str
    model: str
    describe: str
    start: str
    stop: str
    detect: str
    failed_start: str
    states: dict[str, ModelState]
    errors: dict[str, type[errors.BatchVisionError]]
    start_errors: dict[str, type[errors.BatchVisionError]]
    detect_errors: dict[str, type[errors.BatchVisionError]]
    max_image_bytes: int
    retry_after_seconds: float | None

    def expected(self, operation: str, error: str) -> type[errors.BatchVisionError]:
        special = {self.start: self.start_errors, self.detect: self.detect_errors}.get(operation, {})
        return (self.errors | special).get(error, errors.ModelError)


CASES = {
    "rekognition_custom_labels": Case(
        settings={"project_arn": PROJECT_ARN, "project_version_arn": PROJECT_VERSION_ARN},
        unknown={
            "project_arn": PROJECT_ARN,
            "project_version_arn": PROJECT_VERSION_ARN.replace("batch-vision.1", "batch-vision.9"),
        },
        endpoint="AWS_ENDPOINT_URL_REKOGNITION",
        model=PROJECT_VERSION_ARN,
        describe="DescribeProjectVersions",
        start="StartProjectVersion",
        stop="StopProjectVersion",
        detect="DetectCustomLabels",
        failed_start=rekognition.START_FAILURE,
        states={
            "TRAINING_IN_PROGRESS": ModelState.NOT_TRAINED,
            "TRAINING_COMPLETED": ModelState.STOPPED,
            "TRAINING_FAILED": ModelState.NOT_TRAINED,
            "STARTING": ModelState.STARTING,
            "RUNNING": ModelState.RUNNING,
            "FAILED": ModelState.FAILED,
            "STOPPING": ModelState.STOPPING,
            "STOPPED": ModelState.STOPPED,
            "DELETING": ModelState.UNAVAILABLE,
            "COPYING_IN_PROGRESS": ModelState.NOT_TRAINED,
            "COPYING_COMPLETED": ModelState.STOPPED,
            "COPYING_FAILED": ModelState.NOT_TRAINED,
            "DEPRECATED": ModelState.UNAVAILABLE,
            "EXPIRED": ModelState.UNAVAILABLE,
        },
        errors={
            "AccessDeniedException": errors.AccessDeniedError,
            "InternalServerError": errors.ServiceUnavailableError,
            "ProvisionedThroughputExceededException": errors.ThrottledError,
            "ResourceInUseException": errors.ModelBusyError,
            "ResourceNotFoundException": errors.ModelNotFoundError,
            "ThrottlingException": errors.ThrottledError,
        },
        start_errors={"LimitExceededException": errors.ModelQuotaError},
        detect_errors={
            "ImageTooLargeException": errors.ImageTooLargeError,
            "InvalidImageFormatException": errors.InvalidImageFormatError,
            "InvalidParameterException": errors.UnexplainedRefusalError,
            "InvalidS3ObjectException": errors.ImageUnreadableError,
            "LimitExceededException": errors.ThrottledError,
            "ResourceNotReadyException": errors.ModelNotReadyError,
        },
        max_image_bytes=15 * MIB_BYTES,
        retry_after_seconds=None,
    ),
    "lookout_for_vision": Case(
        settings={"project_name": LOOKOUT_PROJECT_NAME, "model_version": LOOKOUT_MODEL_VERSION},
        unknown={"project_name": LOOKOUT_PROJECT_NAME, "model_version": "9"},
        endpoint="AWS_ENDPOINT_URL_LOOKOUTVISION",
        model=LOOKOUT_MODEL_ARN,
        describe="DescribeModel",
        start="StartModel",
        stop="StopModel",
        detect="DetectAnomalies",
        failed_start=lookout_for_vision.START_FAILURE,
        states={
            "TRAINING": ModelState.NOT_TRAINED,
            "TRAINED": ModelState.STOPPED,
            "TRAINING_FAILED": ModelState.NOT_TRAINED,
            "STARTING_HOSTING": ModelState.STARTING,
            "HOSTED": ModelState.RUNNING,
            "HOSTING_FAILED": ModelState.FAILED,
            "STOPPING_HOSTING": ModelState.STOPPING,
            "SYSTEM_UPDATING": ModelState.STARTING,
            "DELETING": ModelState.UNAVAILABLE,
        },
        errors={
            "AccessDeniedException": errors.AccessDeniedError,
            "ConflictException": errors.ModelBusyError,
            "InternalServerException": errors.ServiceUnavailableError,
            "ResourceNotFoundException": errors.ModelNotFoundError,
            "ThrottlingException": errors.ThrottledError,
        },
        start_errors={"ServiceQuotaExceededException": errors.ModelQuotaError},
        detect_errors={
            "ConflictException": errors.ModelNotReadyError,
            "ValidationException": errors.InvalidImageError,
        },
        max_image_bytes=8 * MIB_BYTES,
        retry_after_seconds=lookout_for_vision.RETRY_AFTER_SECONDS,
    ),
}

DECLARED = {
    operation: tuple(shape.name for shape in service.operation_model(operation).error_shapes)
    for service, operations in (
        (rekognition.service_model(), rekognition.OPERATIONS),
        (lookout_for_vision.service_model(), lookout_for_vision.OPERATIONS),
    )
    for operation in operations
}


class World:
    """A backend with its case, the emulator behind it and an S3 with a picture or more."""

    def __init__(self, name: str, emulator: EmulatorClient, s3: S3Client) -> None:
        self.name, self.case, self.emulator, self.s3 = name, CASES[name], emulator, s3
        self.settings = Settings(
            source_bucket_name=BUCKET,
            source_prefixes=("",),
            final_bucket_name=FINAL_BUCKET,
            backend=name,
            backend_settings=self.case.settings,
            min_confidence_percent=None,
            start_backlog_images=1,
            start_max_age_seconds=None,
            min_inference_units=1,
            max_inference_units=3,
            target_drain_seconds=20,
            images_per_second_per_unit=5,
            account_images_per_second=50,
            max_concurrency=20,
            batch_size=10,
            queue_url="https://queue",
            max_receive_count=5,
            image_latency_seconds=1,
            requeue_limit_images=1000,
            inference_unit_hour_dollars=4.0,
            schedule_period_seconds=None,
            success_topic_arn=None,
        )
        self.source = SourceBucket(s3)
        self.backend = self.make()

    def make(self, **changes: Any) -> Backend:
        return make_backend(replace(self.settings, **changes))

    def upload(self, content: bytes, key: str = "line 1/café+.jpg") -> SourceImage:
        answer = self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        return SourceImage(BUCKET, key, answer["VersionId"], answer["ETag"].strip('"'), len(content), NOW)

    def detect(self, content: bytes, backend: Backend | None = None) -> Any:
        return (backend or self.backend).detect(self.source.stored(self.upload(content)))

    def bring(self, state: ModelState) -> None:
        statuses = [status for status, known in self.case.states.items() if known is state]
        self.emulator.force_status(statuses[0], self.case.model)

    def counted(self) -> dict[str, Any]:
        return self.emulator.model(self.case.model)

    def call(self, operation: str, backend: Backend | None = None) -> Any:
        asked = backend or self.backend
        calls: dict[str, Callable[[], Any]] = {
            self.case.describe: asked.describe,
            self.case.start: lambda: asked.start(1),
            self.case.stop: asked.stop,
            self.case.detect: lambda: self.detect(encoded(), asked),
        }
        return calls[operation]()

    def run_to(self, step: Callable[[dict[str, Any] | None], dict[str, Any]], done: str) -> dict[str, Any]:
        """Do what the workflow does: call a step until it says that it is done."""
        answer = None
        for _ in range(10):
            answer = step(answer)
            if answer[done]:
                return answer
        raise AssertionError(answer)

    def start(self) -> dict[str, Any]:
        return self.run_to(
            lambda previous: ensure_running(self.backend, self.settings, 250, previous, 600, NOW), "is_running"
        )

    def stop(self) -> closing.Part:
        for _ in range(10):
            if (part := closing.stop(self.backend)).is_off:
                return part
        raise AssertionError(part)


def encoded(width: int = 64, height: int = 64, image_format: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), (128, 128, 128)).save(content, image_format)
    return content.getvalue()


@pytest.fixture(params=CASES)
def world(
    request: pytest.FixtureRequest, emulator: EmulatorClient, s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> World:
    monkeypatch.setenv(CASES[request.param].endpoint, emulator.url)
    # botocore's pauses between attempts are not what is tested here.
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    return World(request.param, emulator, s3)


def for_each(items: Callable[[Case], Iterator[tuple[Any, ...]]]) -> Any:
    """Parametrize a test with a backend and something of its case."""
    found = [(name, *item) for name, case in CASES.items() for item in items(case)]
    return pytest.mark.parametrize(
        ("world", "item"),
        [pytest.param(name, item, id=f"{name}-{'-'.join(map(str, item))}") for name, *item in found],
        indirect=["world"],
    )


def operations(case: Case) -> tuple[str, ...]:
    return case.describe, case.start, case.stop, case.detect


def test_everything_names_the_same_backends() -> None:
    """The registry, Terraform's map, its allowed values, variables and examples, local running, and this suite."""
    terraform = REPOSITORY / "terraform"
    backends = (terraform / "backends.tf").read_text()
    (entries,) = re.findall(r"^  backends = \{\n(.*?)^  \}", backends, re.DOTALL | re.MULTILINE)
    in_map = set(re.findall(r"^    (\w+) = \{\n      settings = var\.(\w+) == null \? null : ", entries, re.MULTILINE))
    assert {name for name, _ in in_map} == set(re.findall(r"^    (\w+) =", entries, re.MULTILINE))
    assert all(name == variable for name, variable in in_map)

    variables = (terraform / "variables.tf").read_text()
    (chosen,) = re.findall(r'^variable "backend" \{\n(.*?)^\}', variables, re.DOTALL | re.MULTILINE)
    assert "contains(keys(local.backends), var.backend)" in chosen
    declared = set(re.findall(r'^variable "(\w+)" \{', variables, re.MULTILINE))
    examples = {
        name
        for path in terraform.glob("*.tfvars.example")
        for name in re.findall(r'^backend = "(\w+)"$', path.read_text(), re.MULTILINE)
    }

    names = {name for name, _ in in_map}
    assert names == set(BACKENDS) == set(CASES) == set(MODELS) == examples
    assert names <= declared
    assert all(name in chosen for name in names), "the description of `backend` leaves one out"
    assert {case.endpoint for case in CASES.values()} == set(EMULATED_ENDPOINTS)
    composed = (REPOSITORY / "docker-compose.localstack.yml").read_text()
    in_containers = re.findall(r"-e (AWS_ENDPOINT_URL_\w+)=", composed)
    assert set(in_containers) == set(EMULATED_ENDPOINTS)
    assert all(cls.name == name for name, cls in BACKENDS.items())


def test_terraform_gives_each_backend_the_settings_that_it_reads(world: World) -> None:
    for missing in world.case.settings:
        less = {key: value for key, value in world.case.settings.items() if key != missing}
        with pytest.raises(errors.SettingsError, match=missing):
            world.make(backend_settings=less)
    backends = (REPOSITORY / "terraform" / "backends.tf").read_text()
    (entry,) = re.findall(rf"^    {world.name} = .*?tomap\(\{{\n(.*?)\}}\)", backends, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"^ +(\w+) +=", entry, re.MULTILINE)) == set(world.case.settings)


def test_life_of_a_model(world: World) -> None:
    def state() -> ModelState:
        return world.backend.describe().state

    assert state() is ModelState.STOPPED
    world.emulator.set(start_seconds=600, stop_seconds=600)
    world.backend.start(2)
    assert state() is ModelState.STARTING
    assert world.backend.describe().inference_units == 2
    world.emulator.set(start_seconds=0)
    assert state() is ModelState.RUNNING
    assert world.backend.describe().inference_units == 2
    world.backend.stop()
    assert state() is ModelState.STOPPING
    world.emulator.set(stop_seconds=0)
    assert state() is ModelState.STOPPED
    assert (world.counted()["starts"], world.counted()["stops"]) == (1, 1)


def test_local_running_knows_in_which_statuses_a_model_costs_nothing(world: World) -> None:
    world.emulator.set(start_seconds=600, stop_seconds=600)
    reached = {world.counted()["status"]}
    world.backend.start(1)
    assert world.counted()["status"] not in OFF_STATUSES
    world.emulator.set(start_seconds=0)
    assert world.counted()["status"] not in OFF_STATUSES
    world.backend.stop()
    assert world.counted()["status"] not in OFF_STATUSES
    world.emulator.set(stop_seconds=0)
    reached.add(world.counted()["status"])
    world.emulator.inject(world.case.start, world.case.failed_start)
    world.backend.start(1)
    reached.add(world.counted()["status"])
    assert reached <= set(OFF_STATUSES)


def test_every_status_of_the_service_has_a_state(world: World) -> None:
    for status, state in world.case.states.items():
        world.emulator.set(start_seconds=600, stop_seconds=600)
        world.emulator.force_status(status, world.case.model)
        described = world.backend.describe()
        assert (described.service_status, described.state) == (status, state)


def test_no_status_is_left_out() -> None:
    assert set(CASES["rekognition_custom_labels"].states) == set(
        rekognition.service_model().shape_for("ProjectVersionStatus").enum
    )
    assert set(CASES["lookout_for_vision"].states) == set(
        lookout_for_vision.service_model().shape_for("ModelStatus").enum
    )


def test_a_second_start_is_refused_and_changes_nothing(world: World) -> None:
    world.emulator.set(start_seconds=600)
    world.backend.start(2)
    for _ in range(2):
        with pytest.raises(errors.ModelBusyError):
            world.backend.start(1)
    world.emulator.set(start_seconds=0)
    with pytest.raises(errors.ModelBusyError):
        world.backend.start(1)
    assert world.counted()["starts"] == 1
    assert world.backend.describe().inference_units == 2


def test_a_second_stop_is_refused_and_changes_nothing(world: World) -> None:
    world.start()
    world.emulator.set(stop_seconds=600)
    world.backend.stop()
    with pytest.raises(errors.ModelBusyError):
        world.backend.stop()
    world.emulator.set(stop_seconds=0)
    with pytest.raises(errors.ModelBusyError):
        world.backend.stop()
    assert world.counted()["stops"] == 1


def test_a_model_that_is_starting_is_stopped_in_the_end(world: World) -> None:
    world.emulator.set(start_seconds=600)
    world.backend.start(1)
    first = closing.stop(world.backend)
    assert (first.is_off, first.is_asked, type(first.error)) == (False, False, errors.ModelBusyError)
    world.emulator.set(start_seconds=0)
    assert world.stop().is_off
    assert world.backend.describe().state is ModelState.STOPPED


def test_steps_of_the_workflow_may_be_repeated(world: World) -> None:
    assert world.start()["inference_units"] == 3
    assert world.start()["is_running"]
    assert world.stop().is_off
    assert world.stop().is_off
    assert (world.counted()["starts"], world.counted()["stops"]) == (1, 1)


def test_a_second_cycle_really_starts_again(world: World) -> None:
    """By the same object, and by one of another invocation."""
    for cycle, backend in enumerate([world.backend, world.backend, world.make()], start=1):
        world.backend = backend
        world.start()
        assert world.detect(encoded_like_a_sample()).raw
        world.stop()
        assert (world.counted()["starts"], world.counted()["stops"]) == (cycle, cycle)
        assert backend.describe().state is ModelState.STOPPED


def test_a_start_that_fails_is_seen_and_may_be_repeated(world: World) -> None:
    world.emulator.inject(world.case.start, world.case.failed_start)
    world.backend.start(1)
    assert world.backend.describe().state is ModelState.FAILED
    world.backend.start(1)
    assert world.backend.describe().state is ModelState.RUNNING


def code_for(world: World, operation: str, meaning: type[errors.BatchVisionError], like: str = "") -> str:
    """What the service calls an error of this meaning."""
    found = [name for name in DECLARED[operation] if world.case.expected(operation, name) is meaning and like in name]
    return found[0]


def step(world: World, previous: dict[str, Any] | None = None, seconds: int = 0) -> dict[str, Any]:
    """One look of the workflow at a model that is to start within ten minutes."""
    return ensure_running(world.backend, world.settings, 1, previous, 600, NOW + timedelta(seconds=seconds))


def test_start_throttled_three_times(world: World) -> None:
    for operation in (world.case.describe, world.case.start):
        world.emulator.inject(operation, code_for(world, operation, errors.ThrottledError, "Throttling"), count=3)
    world.start()
    assert world.counted()["starts"] == 1


def test_start_while_it_is_stopping_waits_for_the_end(world: World) -> None:
    world.emulator.set(stop_seconds=600)
    world.bring(ModelState.STOPPING)
    waiting = step(world)
    assert (waiting["is_running"], world.counted()["starts"]) == (False, 0)
    world.emulator.set(stop_seconds=0)
    world.start()
    assert world.counted()["starts"] == 1


def test_start_while_it_is_stopping_for_ever_ends_at_the_deadline(world: World) -> None:
    world.emulator.set(stop_seconds=3600)
    world.bring(ModelState.STOPPING)
    with pytest.raises(errors.ModelStartTimeoutError):
        step(world, step(world), 601)


def test_start_refused_because_another_change_is_under_way(world: World) -> None:
    world.emulator.inject(world.case.start, code_for(world, world.case.start, errors.ModelBusyError), count=2)
    world.start()
    assert world.counted()["starts"] == 1


def test_start_refused_by_a_quota(world: World) -> None:
    # Every time, because botocore takes Rekognition's LimitExceededException for throttling and tries again.
    error = code_for(world, world.case.start, errors.ModelQuotaError)
    world.emulator.inject(world.case.start, error, probability=1)
    with pytest.raises(errors.ModelQuotaError):
        world.start()


def test_start_that_fails_on_the_way_up(world: World) -> None:
    world.emulator.inject(world.case.start, world.case.failed_start)
    with pytest.raises(errors.ModelFailedError):
        world.start()


def test_start_that_never_ends(world: World) -> None:
    world.emulator.set(start_seconds=3600)
    with pytest.raises(errors.ModelStartTimeoutError):
        step(world, step(world), 601)


def test_start_of_a_model_that_is_suddenly_unknown(world: World) -> None:
    error = code_for(world, world.case.describe, errors.ModelNotFoundError)
    world.emulator.inject(world.case.describe, error, probability=1)
    with pytest.raises(errors.ModelNotFoundError):
        world.start()


def test_start_of_a_model_that_is_still_in_training(world: World) -> None:
    world.bring(ModelState.NOT_TRAINED)
    with pytest.raises(errors.ModelNotTrainedError):
        world.start()


@pytest.mark.parametrize("state", [ModelState.STARTING, ModelState.RUNNING])
def test_start_that_somebody_else_made_is_taken_over(world: World, state: ModelState) -> None:
    world.bring(state)
    assert world.start()["is_running"]
    assert world.counted()["starts"] == 0


def test_start_and_stop_whose_answers_are_lost_are_done_once(world: World) -> None:
    world.emulator.set(start_seconds=600, stop_seconds=600)
    world.emulator.inject(world.case.start, "drop_answer")
    step(world)
    assert world.backend.describe().state is ModelState.STARTING
    world.emulator.set(start_seconds=0)
    assert step(world)["is_running"]
    world.emulator.inject(world.case.stop, "drop_answer")
    closing.stop(world.backend)
    assert world.backend.describe().state is ModelState.STOPPING
    world.emulator.set(stop_seconds=0)
    assert closing.stop(world.backend).is_off
    assert (world.counted()["starts"], world.counted()["stops"]) == (1, 1)


def test_detection_that_is_late_or_whose_answer_is_lost(world: World, sample: dict[str, bytes]) -> None:
    world.bring(ModelState.RUNNING)
    world.emulator.inject(world.case.detect, "drop_answer")
    with pytest.raises(errors.ServiceUnavailableError):
        world.detect(encoded_like_a_sample())
    assert world.counted()["detect_calls"] == 1
    world.emulator.inject(world.case.detect, "slow:300")
    began = time.monotonic()
    world.detect(encoded_like_a_sample())
    assert time.monotonic() - began >= 0.3


@for_each(lambda case: ((operation, error) for operation in operations(case) for error in DECLARED[operation]))
def test_each_declared_error_is_translated(world: World, item: list[str]) -> None:
    operation, error = item
    expected = world.case.expected(operation, error)
    world.bring(ModelState.RUNNING if operation in (world.case.stop, world.case.detect) else ModelState.STOPPED)
    world.emulator.inject(operation, error, probability=1)
    with pytest.raises(expected) as caught:
        world.call(operation)
    assert type(caught.value) is expected
    assert str(caught.value)


@for_each(lambda case: ((operation,) for operation in operations(case)))
def test_a_lost_connection_is_a_service_that_is_unavailable(world: World, item: list[str]) -> None:
    (operation,) = item
    world.emulator.inject(operation, "drop", probability=1)
    with pytest.raises(errors.ServiceUnavailableError):
        world.call(operation)


@for_each(lambda case: ((operation,) for operation in operations(case)))
def test_a_model_that_there_is_not(world: World, item: list[str]) -> None:
    (operation,) = item
    with pytest.raises(errors.ModelNotFoundError):
        world.call(operation, world.make(backend_settings=world.case.unknown))


def test_control_calls_are_repeated_and_detection_is_not(world: World) -> None:
    for operation in (world.case.describe, world.case.start, world.case.stop):
        error = next(name for name in DECLARED[operation] if name.startswith("InternalServer"))
        world.emulator.inject(operation, error, count=2)
        world.call(operation)
    world.bring(ModelState.RUNNING)
    error = next(name for name in DECLARED[world.case.detect] if name.startswith("InternalServer"))
    world.emulator.inject(world.case.detect, error, count=2)
    for _ in range(2):
        with pytest.raises(errors.ServiceUnavailableError):
            world.call(world.case.detect)


def test_only_a_running_model_is_asked(world: World) -> None:
    world.emulator.set(start_seconds=600, stop_seconds=600)
    for status, state in world.case.states.items():
        world.emulator.force_status(status, world.case.model)
        if state is not ModelState.RUNNING:
            with pytest.raises(errors.ModelNotReadyError):
                world.detect(encoded_like_a_sample())


def test_too_many_calls_are_throttled(world: World) -> None:
    world.start()
    world.emulator.set(transactions_per_second_per_unit=0.01)
    world.detect(encoded_like_a_sample())
    with pytest.raises(errors.ThrottledError) as caught:
        world.detect(encoded_like_a_sample())
    assert caught.value.retry_after_seconds == world.case.retry_after_seconds
    assert world.counted()["throttled_calls"] == 1


def test_more_units_than_the_quota(world: World) -> None:
    with pytest.raises(errors.ModelQuotaError):
        world.backend.start(6)
    assert world.backend.describe().state is ModelState.STOPPED


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", errors.PermanentImageError),
        (b"no picture", errors.InvalidImageFormatError),
        (encoded(image_format="GIF"), errors.InvalidImageFormatError),
        (encoded(image_format="WEBP"), errors.InvalidImageFormatError),
        (encoded(image_format="TIFF"), errors.InvalidImageFormatError),
        (encoded()[:40], errors.PermanentImageError),
        (encoded(63, 64), errors.InvalidImageError),
        (encoded(64, 63), errors.InvalidImageError),
        (encoded(4097, 256), errors.PermanentImageError),
    ],
    ids=["empty", "text", "gif", "webp", "tiff", "cut off", "narrow", "low", "wide"],
)
def test_what_can_never_be_taken_is_permanent(world: World, content: bytes, error: type[Exception]) -> None:
    world.bring(ModelState.RUNNING)
    with pytest.raises(error):
        world.detect(content)


def test_the_largest_image_is_taken_and_one_byte_more_is_not(world: World, sample: dict[str, bytes]) -> None:
    world.bring(ModelState.RUNNING)
    jpeg = sample["normal"]  # what follows the end marker of a JPEG is ignored
    limit = world.case.max_image_bytes
    assert world.detect(jpeg.ljust(limit, b"\0")).predictions
    with pytest.raises(errors.ImageTooLargeError):
        world.detect(jpeg.ljust(limit + 1, b"\0"))


def test_the_content_decides_and_not_what_the_uploader_called_it(world: World, sample: dict[str, bytes]) -> None:
    world.bring(ModelState.RUNNING)
    answer = world.s3.put_object(Bucket=BUCKET, Key="a.txt", Body=sample["crack"], ContentType="text/plain")
    image = SourceImage(BUCKET, "a.txt", answer["VersionId"], "", len(sample["crack"]), NOW)
    assert world.backend.detect(world.source.stored(image)).predictions


def test_the_named_version_is_looked_at(world: World, sample: dict[str, bytes]) -> None:
    world.bring(ModelState.RUNNING)
    older = world.upload(sample["crack"])
    world.upload(sample["normal"])
    assert best(world.backend.detect(world.source.stored(older))).name == "crack"


def test_an_image_that_is_gone(world: World, sample: dict[str, bytes]) -> None:
    """A service that reads by reference cannot tell it from one that is forbidden; `analyze` looks then."""
    world.bring(ModelState.RUNNING)
    image = world.upload(sample["normal"])
    world.s3.delete_object(Bucket=BUCKET, Key=image.key, VersionId=str(image.version_id))
    with pytest.raises((errors.ImageGoneError, errors.ImageUnreadableError)):
        world.backend.detect(world.source.stored(image))


@pytest.mark.parametrize("label", ["normal", "crack", "stain"])
def test_predictions_are_in_the_common_form(world: World, sample: dict[str, bytes], label: str) -> None:
    world.bring(ModelState.RUNNING)
    detection = world.detect(sample[label])
    assert best(detection).name == label
    for prediction in detection.predictions:
        assert 0 <= prediction.confidence_percent <= 100
    if detection.anomaly is not None:
        assert detection.anomaly.is_anomalous == (label != "normal")
        assert 50 <= detection.anomaly.confidence_percent <= 100
    assert json.loads(json.dumps(detection.raw)) == detection.raw


@pytest.mark.parametrize("label", ["normal", "crack", "stain"])
def test_results_hold_to_the_schema(world: World, sample: dict[str, bytes], label: str) -> None:
    world.bring(ModelState.RUNNING)
    world.s3.create_bucket(Bucket=FINAL_BUCKET)
    final = FinalBucket(world.s3, FINAL_BUCKET, world.source)
    image = world.upload(sample[label])
    outcome = analyze(
        image, world.backend, world.source, final, Pace(1000), is_redelivery=False, deadline=time.monotonic() + 1
    )
    written = {
        entry["Key"]: world.s3.get_object(Bucket=FINAL_BUCKET, Key=entry["Key"])["Body"].read()
        for entry in world.s3.list_objects_v2(Bucket=FINAL_BUCKET)["Contents"]
    }
    result = json.loads(written[f"processed/{image.key}.json"])
    VALIDATOR.validate(result)
    assert result == outcome.result
    assert result["model"] == {"backend": world.name, "id": world.backend.model_id}
    assert max(result["predictions"], key=lambda prediction: prediction["confidence"])["name"] == label
    assert written[f"processed/{image.key}"] == sample[label]
    places = {f"processed/{image.key}", f"processed/{image.key}.json"}
    if result["mask_key"] is not None:
        assert result["mask_key"] == f"processed/{image.key}.mask.png"
        places.add(result["mask_key"])
        mask = Image.open(io.BytesIO(written[result["mask_key"]]))
        assert (mask.format, mask.size) == ("PNG", Image.open(io.BytesIO(sample[label])).size)
        assert "AnomalyMask" not in written[f"processed/{image.key}.json"].decode()
    assert set(written) == places


def test_rejections_hold_to_the_schema(world: World) -> None:
    world.bring(ModelState.RUNNING)
    world.s3.create_bucket(Bucket=FINAL_BUCKET)
    final = FinalBucket(world.s3, FINAL_BUCKET, world.source)
    image = world.upload(b"no picture")
    outcome = analyze(
        image, world.backend, world.source, final, Pace(1000), is_redelivery=False, deadline=time.monotonic() + 1
    )
    VALIDATOR.validate(outcome.result)
    assert (outcome.status, outcome.error_type) == ("rejected", "InvalidImageFormatError")


def test_predictions_below_the_least_confidence_are_left_out(world: World, sample: dict[str, bytes]) -> None:
    world.bring(ModelState.RUNNING)
    strict, lax = world.make(min_confidence_percent=100.0), world.make(min_confidence_percent=0.0)
    assert all(label.confidence_percent >= 100 for label in world.detect(sample["crack"], strict).predictions)
    assert world.detect(sample["crack"], lax).predictions


def best(detection: Any) -> Any:
    return max(detection.predictions, key=lambda prediction: prediction.confidence_percent)


def encoded_like_a_sample() -> bytes:
    return (REPOSITORY / "local" / "samples" / "pile" / "part-01.jpg").read_bytes()
