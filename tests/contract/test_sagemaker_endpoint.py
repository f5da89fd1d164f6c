"""What the backend and the emulator have of SageMaker alone: configurations, a container of one's own, its errors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from batch_vision.backends.contracts import Lifecycle, ModelState
from batch_vision.core import errors
from batch_vision.core.models import Model
from batch_vision.runs import closing
from batch_vision.runs.guard import Duty, Guard, Task
from local.config import REGION, SAGEMAKER_MODEL_NAME
from local.emulator.client import EmulatorClient
from local.emulator.errors import ConfigurationError
from local.emulator.sagemaker_endpoint import check_arns
from tests.contract.cases import SAGEMAKER_SETTINGS
from tests.contract.conftest import CLASSIFIER_ARN
from tests.contract.world import World, encoded, encoded_like_a_sample, picture
from tests.local.waits import wait_until

NAME = "sagemaker_endpoint"


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(NAME)


@pytest.fixture
def service(emulator: EmulatorClient) -> Any:
    """A client that does not retry, so that each error of the emulator is seen."""
    return boto3.client(
        "sagemaker",
        endpoint_url=emulator.url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )


def configurations(world: World) -> list[str]:
    found: list[str] = world.emulator.state()["endpoint_configurations"]
    return found


def variant(**changes: Any) -> list[dict[str, Any]]:
    told = {"VariantName": "v", "ModelName": SAGEMAKER_MODEL_NAME, "InstanceType": "ml.m5.xlarge"}
    return [told | {"InitialInstanceCount": 1} | changes]


def told(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return f"{caught.value.response['Error']['Code']}: {caught.value.response['Error']['Message']}"


# The lifecycle.


def test_an_endpoint_is_made_of_a_configuration_and_both_are_gone_after_it(world: World, service: Any) -> None:
    settings = SAGEMAKER_SETTINGS | {
        "instances_per_unit": "2",
        "data_capture_s3_uri": "s3://captured/welds",
        "data_capture_percent": "10",
    }
    world.lifecycle = world.make_lifecycle(settings)
    world.lifecycle.start(2)
    assert world.lifecycle.describe().inference_units == 2
    (name,) = configurations(world)
    assert name.startswith("batch-vision-")
    assert name.endswith("-0004")
    made = service.describe_endpoint_config(EndpointConfigName=name)
    (only,) = made["ProductionVariants"]
    assert (only["ModelName"], only["InstanceType"], only["InitialInstanceCount"]) == (
        SAGEMAKER_MODEL_NAME,
        "ml.m5.xlarge",
        4,
    )
    assert made["DataCaptureConfig"]["DestinationS3Uri"] == "s3://captured/welds"
    assert made["DataCaptureConfig"]["InitialSamplingPercentage"] == 10
    assert world.stop().is_off
    assert (configurations(world), world.counted()["status"]) == ([], "NotDeployed")


def test_nothing_is_captured_by_default(world: World, service: Any) -> None:
    world.lifecycle.start(1)
    (name,) = configurations(world)
    assert "DataCaptureConfig" not in service.describe_endpoint_config(EndpointConfigName=name)


@pytest.mark.parametrize("mapping", ["[].{", "huggingface-poetry", "[].{name: shout(label)}"])
def test_a_mapping_that_does_not_compile_starts_nothing_and_keeps_no_model_from_its_stop(
    world: World, mapping: str
) -> None:
    world.lifecycle = world.make_lifecycle(SAGEMAKER_SETTINGS | {"mapping": mapping})
    with pytest.raises(errors.SettingsError, match="mapping"):
        world.start()
    assert (configurations(world), world.counted()["starts"]) == ([], 0)
    assert world.stop().is_off


def test_a_quota_asks_for_half_and_leaves_nothing_behind(world: World) -> None:
    """Three units of two instances are six, and the account has five."""
    world.lifecycle = world.make_lifecycle(SAGEMAKER_SETTINGS | {"instances_per_unit": "2"})
    assert world.start()["inference_units"] == 1
    assert len(configurations(world)) == 2
    assert world.stop().is_off
    assert configurations(world) == []


def killed_after_the_configuration(world: World) -> None:
    world.emulator.inject("CreateEndpoint", "ServiceUnavailable", probability=1)
    with pytest.raises(errors.ServiceUnavailableError):
        world.lifecycle.start(1)
    world.emulator.clear_faults()


def killed_while_it_is_created(world: World) -> None:
    world.emulator.set(start_seconds=3600)
    world.lifecycle.start(1)
    for _ in range(2):
        guard = tick(world.make_lifecycle())
        guard.run(0, lambda: 900, lambda _: None)
        (refused,) = guard.report.refused
        assert "It cannot be stopped before it runs" in refused
        assert guard.report.is_model_unowned  # what the alarm model-without-run looks at
    world.emulator.set(start_seconds=0)


def killed_after_it_has_failed(world: World) -> None:
    world.emulator.inject("CreateEndpoint", "Failed")
    world.lifecycle.start(1)
    assert world.lifecycle.describe().state is ModelState.FAILED


def killed_while_it_runs(world: World) -> None:
    world.start()


def killed_while_it_is_deleted(world: World) -> None:
    world.start()
    world.emulator.set(stop_seconds=3600)
    world.lifecycle.stop()
    assert not closing.stop(world.lifecycle).is_asked
    world.emulator.set(stop_seconds=0)


@pytest.mark.fault("A SageMaker endpoint: a run that is killed at any step of the creation")
@pytest.mark.fault("A SageMaker endpoint: the endpoint is stuck in Creating and cannot be deleted")
@pytest.mark.parametrize(
    "kill",
    [
        killed_after_the_configuration,
        killed_while_it_is_created,
        killed_after_it_has_failed,
        killed_while_it_runs,
        killed_while_it_is_deleted,
    ],
)
def test_what_a_run_leaves_behind_is_seen_and_removed(world: World, kill: Callable[[World], None]) -> None:
    """By ticks of the watchdog: its first look only looks, and what it does not see it does not stop."""
    kill(world)
    assert configurations(world) != []
    for _ in range(3):
        guard = tick(world.make_lifecycle())
        guard.run(0, lambda: 900, lambda _: None)
    assert (guard.report.left_on, guard.report.is_model_on) == ([], False)
    assert (configurations(world), world.counted()["status"]) == ([], "NotDeployed")


class KilledError(Exception):
    """The end of a run's process."""


@pytest.mark.fault("A SageMaker endpoint: a run that is killed at any step of the creation")
def test_a_run_that_is_killed_before_any_of_its_calls_leaves_nothing_behind(world: World) -> None:
    """It finds an endpoint that failed, and is refused what it wants by a quota."""
    settings = SAGEMAKER_SETTINGS | {"instances_per_unit": "2"}
    watched, world.lifecycle = (world.make_lifecycle(settings) for _ in range(2))
    for number in count(1):
        world.emulator.reset()
        world.emulator.inject("CreateEndpoint", "Failed")
        watched.start(1)
        if not is_killed(world, number):
            break
        for _ in range(3):
            tick(watched).run(0, lambda: 900, lambda _: None)
        assert (configurations(world), world.counted()["status"]) == ([], "NotDeployed"), number
    assert number > 15


def is_killed(world: World, number: int) -> bool:
    """Start and stop, and be killed before one of the calls; tells whether there are so many."""
    calls = count(1)

    def die(**_: Any) -> None:
        if next(calls) == number:
            raise KilledError

    events = world.lifecycle._client.meta.events  # type: ignore[attr-defined]
    events.register("before-call.sagemaker", die)
    try:
        world.start()
        world.stop()
    except KilledError:
        return True
    finally:
        events.unregister("before-call.sagemaker", die)
    return False


def tick(lifecycle: Lifecycle) -> Guard:
    """A tick of the watchdog that finds no execution."""
    workflow: Any = SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [{"executions": []}]))
    mapping: Any = SimpleNamespace(uuid="u", state=lambda: "Disabled")
    duty = Duty(
        task=Task.TICK,
        state_machine_arn="arn:aws:states:us-east-1:000000000000:stateMachine:batch-vision",
        mapping_uuid="u",
        model=Model.named(NAME, SAGEMAKER_SETTINGS),
        batch_seconds=60,
    )
    return Guard(duty, workflow, mapping, lambda _: lifecycle, lambda: None, lambda _: None)


@pytest.mark.fault("A SageMaker endpoint: the creation fails")
def test_a_failed_endpoint_that_is_slow_to_go_is_waited_for(world: World) -> None:
    world.emulator.inject("CreateEndpoint", "Failed")
    world.lifecycle.start(1)
    world.emulator.set(stop_seconds=600)
    step = world.step()
    assert (step["is_running"], step["inference_units"]) == (False, 0)
    assert world.step(step)["status"] == "Deleting"
    world.emulator.set(stop_seconds=0)
    assert world.start()["is_running"]


@pytest.mark.fault("A SageMaker endpoint: the creation fails")
def test_a_failure_says_why(world: World) -> None:
    world.emulator.inject("CreateEndpoint", "Failed")
    with pytest.raises(errors.ModelFailedError, match="did not pass the ping health check"):
        world.start()


def test_configurations_of_others_and_of_endpoints_that_are_there_stay(world: World, service: Any) -> None:
    """Others of the deployment go, on whichever page of the list they are."""
    world.lifecycle.start(1)
    (in_use,) = configurations(world)
    left = [f"batch-vision-{number:016x}-0001" for number in range(12)]
    # Of a deployment whose name begins likewise, and of somebody who names things as he likes.
    foreign = ["batch-vision-2-0123456789abcdef-0001", "batch-vision-test", "my-batch-vision-0123456789abcdef-0001"]
    for name in left + foreign:
        service.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variant())
    other = world.make_lifecycle(SAGEMAKER_SETTINGS | {"instance_type": "ml.g5.xlarge"})
    described = other.describe()
    assert (described.state, described.has_remains) == (ModelState.STOPPED, True)
    assert closing.stop(other).is_asked
    assert closing.stop(other).is_off
    assert set(configurations(world)) == {in_use, *foreign}
    assert world.lifecycle.describe().state is ModelState.RUNNING
    assert world.stop().is_off
    assert set(configurations(world)) == set(foreign)


@pytest.mark.fault("A SageMaker endpoint: somebody deletes the endpoint in mid-run")
def test_an_endpoint_that_somebody_deletes_in_mid_run_is_a_stopped_model(world: World, service: Any) -> None:
    world.start()
    (name,) = configurations(world)
    service.delete_endpoint(EndpointName=name.removesuffix("-0003"))
    assert world.lifecycle.describe().state is ModelState.STOPPED
    with pytest.raises(errors.ModelNotReadyError):
        world.detect(encoded_like_a_sample())


def test_an_endpoint_whose_configuration_is_not_told_is_stopped_like_any_other(world: World, service: Any) -> None:
    """Its name is no member that DescribeEndpoint must give."""
    world.start()

    class Silent:
        def describe_endpoint(self, **named: Any) -> dict[str, Any]:
            described = service.describe_endpoint(**named)
            return {name: told for name, told in described.items() if name != "EndpointConfigName"}

        def __getattr__(self, name: str) -> Any:
            return getattr(service, name)

    lifecycle: Any = world.make_lifecycle()
    lifecycle._client = Silent()
    described = lifecycle.describe()
    assert (described.state, described.inference_units) == (ModelState.RUNNING, None)
    assert closing.stop(lifecycle).is_asked
    assert closing.stop(lifecycle).is_asked
    assert closing.stop(lifecycle).is_off
    assert configurations(world) == []


@pytest.mark.fault("A SageMaker endpoint: the configuration is not seen yet when the endpoint is created")
def test_a_configuration_that_is_not_seen_yet_is_no_end(world: World, service: Any) -> None:
    """AWS warns of it: the next step of the workflow asks again."""

    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return (lambda **_: {}) if name == "create_endpoint_config" else getattr(service, name)

    lifecycle: Lifecycle = world.make_lifecycle()
    lifecycle._client = Forgetful()  # type: ignore[attr-defined]
    with pytest.raises(errors.ModelBusyError, match="Could not find endpoint configuration"):
        lifecycle.start(1)


# The detector.


@pytest.mark.fault("A SageMaker endpoint: the container answers 4xx")
@pytest.mark.fault("A SageMaker endpoint: the container answers 5xx, too late, or no JSON")
@pytest.mark.parametrize(
    ("fault", "content", "expected"),
    [
        ("ContainerError4xx", encoded_like_a_sample(), errors.UnexplainedRefusalError),
        ("ContainerError4xx", encoded()[:-12], errors.InvalidImageError),
        ("ContainerError5xx", encoded_like_a_sample(), errors.ServiceUnavailableError),
        ("MalformedAnswer", encoded_like_a_sample(), errors.UnreadableAnswerError),
    ],
)
def test_only_an_image_that_is_broken_is_to_blame_for_its_container(
    world: World, fault: str, content: bytes, expected: type[Exception]
) -> None:
    """The containers of Hugging Face answer 400 to whatever goes wrong."""
    world.bring(ModelState.RUNNING)
    world.emulator.inject("InvokeEndpoint", fault)
    with pytest.raises(expected) as caught:
        world.detect(content)
    assert type(caught.value) is expected
    assert world.detect(encoded_like_a_sample()).raw


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (413, errors.ImageTooLargeError),
        (415, errors.InvalidImageFormatError),
        (422, errors.InvalidImageError),
        (429, errors.ThrottledError),
        (404, errors.UnexplainedRefusalError),
        (503, errors.ServiceUnavailableError),
        (0, errors.ServiceUnavailableError),
    ],
)
def test_a_status_of_the_container_that_blames_the_content_is_believed(
    world: World, status: int, expected: type[Exception]
) -> None:
    world.bring(ModelState.RUNNING)

    def refuse(**_: Any) -> None:
        answer: Any = {"Error": {"Code": "ModelError", "Message": "words"}, "OriginalStatusCode": status}
        raise ClientError(answer, "InvokeEndpoint")

    world.detector._client = type("Client", (), {"invoke_endpoint": staticmethod(refuse)})()  # type: ignore[attr-defined]
    with pytest.raises(expected, match="words") as caught:
        world.detect(encoded_like_a_sample())
    assert type(caught.value) is expected


@pytest.mark.fault("A SageMaker endpoint: the container answers 5xx, too late, or no JSON")
def test_an_answer_is_waited_for_as_long_as_is_said_and_once(world: World) -> None:
    detector: Any = world.make_detector(SAGEMAKER_SETTINGS | {"answer_timeout_seconds": "37"})
    config = detector._client.meta.config
    assert (config.read_timeout, config.retries["total_max_attempts"]) == (37, 1)


@pytest.mark.fault("A SageMaker endpoint: the container answers 5xx, too late, or no JSON")
def test_a_container_that_is_slow_at_first_costs_an_answer_and_no_image(world: World) -> None:
    world.bring(ModelState.RUNNING)
    world.emulator.inject("InvokeEndpoint", "slow:1500")
    detector = world.make_detector(SAGEMAKER_SETTINGS | {"answer_timeout_seconds": "1"})
    with pytest.raises(errors.ServiceUnavailableError, match="Read timeout"):
        world.detect(encoded_like_a_sample(), detector)
    assert world.detect(encoded_like_a_sample(), detector).raw
    wait_until(lambda: world.counted()["detect_calls"] == 2, 10, "the late answer is ready too")


def test_what_is_sent_has_the_type_of_the_image_or_the_one_that_is_set(world: World) -> None:
    sent: list[dict[str, Any]] = []

    def invoke(**request: Any) -> None:
        sent.append(request)
        raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": ""}}, "InvokeEndpoint")

    for content_type, content in (
        ("", encoded()),
        ("", picture("pile/part-01.jpg")),
        ("application/x-image", encoded()),
    ):
        detector = world.make_detector(SAGEMAKER_SETTINGS | {"content_type": content_type})
        detector._client = type("Client", (), {"invoke_endpoint": staticmethod(invoke)})()  # type: ignore[attr-defined]
        with pytest.raises(errors.ServiceUnavailableError):
            world.detect(content, detector)
    assert [request["ContentType"] for request in sent] == ["image/png", "image/jpeg", "application/x-image"]


def test_a_larger_payload_where_the_service_takes_it(world: World) -> None:
    world.bring(ModelState.RUNNING)
    detector = world.make_detector(SAGEMAKER_SETTINGS | {"max_payload_mb": "8"})
    assert world.detect(encoded_like_a_sample().ljust(7 * 1024 * 1024, b"\0"), detector).raw
    with pytest.raises(errors.ImageTooLargeError, match=r"max_payload_mb lets 8,388,608 be sent"):
        world.detect(encoded_like_a_sample().ljust(9 * 1024 * 1024, b"\0"), detector)


@pytest.mark.parametrize(
    "content",
    [
        encoded(image_format="JPEG", mode="CMYK"),
        encoded(mode="I;16"),
        encoded(1, 1),
        encoded(1, 5000),
        encoded(5000, 1, "JPEG"),
    ],
    ids=["cmyk", "16-bit", "1x1", "1x5000", "5000x1"],
)
def test_the_emulated_container_takes_what_it_can_decode(world: World, content: bytes) -> None:
    world.bring(ModelState.RUNNING)
    assert "Body" in world.detect(content).raw


def test_a_payload_that_is_too_large_for_the_service_is_the_images_fault(world: World) -> None:
    """It may take less than was said of it; it answers with a status, and no error code."""
    world.bring(ModelState.RUNNING)
    detector = world.make_detector(SAGEMAKER_SETTINGS | {"max_payload_mb": "26"})
    with pytest.raises(errors.ImageTooLargeError, match=r"\(413\).*HTTP content length exceeded 26214400 bytes"):
        world.detect(encoded_like_a_sample().ljust(26 * 1024 * 1024, b"\0"), detector)


def test_boxes_and_verdict_are_in_the_common_form(world: World) -> None:
    world.bring(ModelState.RUNNING)
    detection = world.detect(picture("pile/part-02.png"))
    (crack,) = detection.predictions
    assert crack.bounding_box is not None
    assert 0 < crack.bounding_box.width < 1
    assert detection.anomaly is not None
    assert detection.anomaly.confidence_percent == crack.confidence_percent


# The emulator, in the service's own words.


def test_the_emulator_says_what_sagemaker_says(service: Any, emulator: EmulatorClient) -> None:
    named = {"EndpointName": "e"}
    assert 'ValidationException: Could not find endpoint "arn:aws:sagemaker:' in told(
        lambda: service.describe_endpoint(**named)
    )
    assert "Could not find endpoint configuration" in told(
        lambda: service.create_endpoint(**named, EndpointConfigName="c")
    )
    unknown = variant(ModelName="other")
    assert "Could not find model" in told(
        lambda: service.create_endpoint_config(EndpointConfigName="c", ProductionVariants=unknown)
    )
    service.create_endpoint_config(EndpointConfigName="c", ProductionVariants=variant())
    assert "Cannot create already existing endpoint configuration" in told(
        lambda: service.create_endpoint_config(EndpointConfigName="c", ProductionVariants=variant())
    )
    emulator.set(start_seconds=600)
    service.create_endpoint(**named, EndpointConfigName="c")
    assert "Cannot create already existing endpoint" in told(
        lambda: service.create_endpoint(**named, EndpointConfigName="c")
    )
    assert "Cannot update in-progress endpoint" in told(lambda: service.delete_endpoint(**named))
    described = service.describe_endpoint(**named)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("Creating", "c")
    assert "1 validation error detected" in told(
        lambda: service.create_endpoint(EndpointName="-no-", EndpointConfigName="c")
    )
    service.delete_endpoint_config(EndpointConfigName="c")
    assert service.list_endpoint_configs()["EndpointConfigs"] == []


def test_a_classifier_answers_with_every_label(world: World) -> None:
    """The task of a container is the end of its model's name."""
    world.emulator.force_status("InService", CLASSIFIER_ARN)
    name = CLASSIFIER_ARN.rpartition("/")[2]
    settings = SAGEMAKER_SETTINGS | {"model_name": name, "mapping": "huggingface-image-classification"}
    detection = world.detect(picture("pile/part-02.png"), world.make_detector(settings))
    assert {one.name for one in detection.predictions} == {"normal", "crack", "stain"}
    assert max(detection.predictions, key=lambda one: one.confidence_percent).name == "crack"
    assert all(one.bounding_box is None for one in detection.predictions)


def test_the_emulator_has_models_of_these_tasks_only() -> None:
    with pytest.raises(ConfigurationError, match="the task is image-classification or object-detection"):
        check_arns(["arn:aws:sagemaker:us-east-1:000000000000:model/poetry"])
