"""A managed model on a drop-off bucket, end to end: no runs, and nothing to start."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from batch_vision.operator.cost import ANALYSES
from local import config
from local.emulator.image_operations import IMAGE_OPERATIONS
from local.environment import OFF_STATUSES
from local.terraform import Terraform
from tests.local import permissions, shapes
from tests.local.permissions import Recording
from tests.local.shapes import paid, paused
from tests.local.stack import Stack
from tests.local.test_stack import NAMES, picture
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.matrix, pytest.mark.timeout(1200)]

BACKEND = "rekognition"
SAMPLES = config.REPOSITORY / "local" / "samples"
SCENES = sorted((SAMPLES / "scenes").iterdir())
PILE = sorted(path for path in (SAMPLES / "pile").rglob("*") if path.is_file())

# One, which a test replaces that changes the backend.
_deployment: list[Stack] = []


@pytest.fixture(scope="module")
def applied(alone: None) -> Iterator[None]:
    # With room for seven analyses of ten images on a busy machine: what a timeout cuts off is paid for again.
    with shapes.deployed(BACKEND, rekognition=shapes.rekognition(*ANALYSES), analyze_timeout_seconds=30) as stack:
        _deployment[:] = [stack]
        yield


@pytest.fixture
def stack(applied: None) -> Stack:
    """The deployment with nothing in it."""
    (stack,) = _deployment
    stack.reset()
    return stack


def finish(stack: Stack) -> None:
    """Wait until each upload has left, and check that each has one end."""
    wait_until(lambda: not stack.waiting(), 30, "each image is done")
    wait_until(lambda: not any(stack.messages().values()), 30, "no message is left")
    stack.check_each()
    assert sum(stack.messages(stack.dead_letter_queue_url).values()) == 0


def requeue(stack: Stack) -> dict[str, int]:
    """Call the function of the tick, as its rule does."""
    name = f"{stack.arguments['name_prefix']}-requeue-images"
    answer = stack.functions.invoke(FunctionName=name, Payload=b"{}")
    said: dict[str, int] = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, said
    return said


def test_nothing_is_made_that_only_a_model_that_is_started_needs(stack: Stack) -> None:
    has = stack.environment.has
    assert not has("state_machine_arn")
    assert not has("schedule_rule_name")
    assert stack.mapping_state() == "Enabled"
    names = {function["FunctionName"] for function in stack.functions.list_functions()["Functions"]}
    assert names == {"e2e-analyze-images", "e2e-compact-catalog", "e2e-requeue-images"}
    status, printed = Terraform().plan()
    assert status == 0, printed


def test_scenes_and_samples_get_all_seven_analyses(stack: Stack) -> None:
    files: dict[str, bytes] = {path.name: path.read_bytes() for path in SCENES}
    files |= {str(path.relative_to(SAMPLES / "pile")): path.read_bytes() for path in PILE}
    files |= {name: picture(number, "JPEG") for number, name in enumerate(NAMES)}
    files["notes.jpg"] = b"no picture at all"
    for name, content in files.items():
        stack.upload(name, content)
    finish(stack)

    results = {key: result for (key, _), (result,) in stack.results().items()}
    rejected = {key for key, result in results.items() if result["status"] == "rejected"}
    assert rejected == {"notes.jpg", "broken.jpg"}
    processed = {key: result for key, result in results.items() if key not in rejected}
    assert all(set(result["raw"]) == set(IMAGE_OPERATIONS) and result["errors"] == {} for result in processed.values())
    kinds = {key: {prediction["kind"] for prediction in result["predictions"]} for key, result in processed.items()}
    assert all({"label", "color"} <= found for found in kinds.values())
    assert {"text"} <= kinds["keep-clear.jpg"]
    assert {"face", "celebrity"} <= kinds["portrait.jpg"]
    assert {"equipment"} <= kinds["worker-equipped.jpg"]
    assert paid(stack) == dict.fromkeys(IMAGE_OPERATIONS, len(processed))
    assert {line["key"]: line["status"] for line in stack.catalog()} == {
        key: result["status"] for key, result in results.items()
    }
    stack.age_catalog()
    assert stack.compact() == stack.catalog()


@pytest.mark.fault("Existing bucket: one of several analyses cannot answer now")
@pytest.mark.parametrize("error", ["ProvisionedThroughputExceededException", "InternalServerError"])
def test_an_analysis_that_cannot_answer_repeats_no_other(stack: Stack, error: str) -> None:
    with paused(stack):
        upload = stack.upload("portrait.jpg", SCENES[2].read_bytes())
        stack.emulator.inject("DetectFaces", error, probability=1.0)
        failed = stack.analyze(upload)
        assert len(failed["batchItemFailures"]) == 1
        assert len(stack.keys(stack.final, "work/partial/")) == 1
        assert stack.keys(stack.source) == ["portrait.jpg"]
        stack.emulator.clear_faults()
        assert stack.analyze(upload, receive_count=2) == {"batchItemFailures": []}
    finish(stack)
    assert paid(stack) == dict.fromkeys(IMAGE_OPERATIONS, 1)


def test_an_analysis_that_blames_the_image_is_told_beside_the_answers_of_the_others(stack: Stack) -> None:
    stack.emulator.inject("DetectText", "InvalidImageFormatException", count=1)
    stack.upload("portrait.jpg", SCENES[2].read_bytes())
    finish(stack)
    ((result,),) = stack.results().values()
    assert (result["status"], set(result["errors"])) == ("processed", {"DetectText"})
    assert set(result["raw"]) >= set(IMAGE_OPERATIONS) - {"DetectText"}
    assert paid(stack) == dict.fromkeys(set(IMAGE_OPERATIONS) - {"DetectText"}, 1)


@pytest.mark.fault("Draining: a Lambda that dies half-way between writing the JSON and deleting the image")
def test_a_function_that_dies_between_any_two_steps_loses_nothing(stack: Stack) -> None:
    points = [
        *(
            f"{when} {operation}"
            for operation in ("DetectLabels", "CopyObject", "DeleteObject")
            for when in ("before", "after")
        ),
        "after PutObject",
    ]
    with paused(stack):
        for number, point in enumerate(points):
            upload = stack.upload(f"{number}.png", picture(number))
            fault = stack.lambda_faults.inject("analyze-images", "die", point)
            assert stack.analyze(upload)["errorType"] == "Runtime.ExitError", point
            assert stack.lambda_faults.hits(fault) == 1, point
            assert stack.analyze(upload, receive_count=2) == {"batchItemFailures": []}
    finish(stack)
    # What was on its way when a function died of a call is paid for again, and nothing else.
    assert all(len(points) <= count <= len(points) + 2 for count in paid(stack).values())


def test_the_tick_puts_back_what_no_event_told_of(stack: Stack) -> None:
    """The queue loses all its messages; images in `stuck/` are left alone."""
    name = f"{stack.arguments['name_prefix']}-requeue-images"
    with paused(stack):
        for number in range(12):
            stack.upload(f"{number}.png", picture(number))
        wait_until(lambda: stack.messages()[""] == 12, 10)
        stack.sqs.purge_queue(QueueUrl=stack.queue_url)
        assert requeue(stack) == {"requeued_images": 0, "given_up_images": 0}, "all are younger than the bound"
        variables = stack.functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        assert int(variables["REQUEUE_AFTER_SECONDS"]) == 2 * 6 * stack.arguments["analyze_timeout_seconds"]
        younger = {"Variables": variables | {"REQUEUE_AFTER_SECONDS": "1"}}
        stack.functions.update_function_configuration(FunctionName=name, Environment=younger)
        try:
            time.sleep(1.1)
            assert requeue(stack) == {"requeued_images": 12, "given_up_images": 0}
        finally:
            stack.functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    finish(stack)
    assert paid(stack) == dict.fromkeys(IMAGE_OPERATIONS, 12)


def test_each_role_may_do_what_it_does_and_nothing_else(stack: Stack) -> None:
    """After all that the tests before have done; of the other statements, test_permissions.py has the scenario."""
    own = {"DetectWithModel", "KeepAnswers", "CountMessages", "ListCatalogAndIndex", "ReadCatalog", "WriteIndex"}
    wrong = shapes.wrong_permissions(
        stack, "analyze-images", "compact-catalog", "requeue-images", is_judged=own.__contains__
    )
    assert not wrong, "\n".join(wrong)


def test_the_tick_is_called_by_its_rule(stack: Stack) -> None:
    events = stack.environment.client("events")
    rule = f"{stack.arguments['name_prefix']}-requeue"
    schedule = events.describe_rule(Name=rule)["ScheduleExpression"]

    def calls() -> int:
        recorded = Recording.read(permissions.RECORDED_CALLS).calls
        return sum(call.role_name.startswith(f"{rule}-images") for call in recorded)

    before = calls()
    stack.schedule(rule, "rate(1 minute)")
    try:
        wait_until(lambda: calls() > before, 65, "the tick")
    finally:
        stack.schedule(rule, schedule)


def test_over_to_a_hosted_model_and_back_while_images_wait(stack: Stack) -> None:
    """There is one mapping at any time, made anew; the run that is cut off leaves no model on."""
    shapes.set_mapping(stack, is_enabled=False)
    for number in range(6):
        stack.upload(f"waits {number}.png", picture(number))
    hosted = shapes.changed(stack, "rekognition_custom_labels")
    _deployment[:] = [hosted]
    assert hosted.mapping_state() == "Disabled"
    assert len(hosted.functions.list_event_source_mappings()["EventSourceMappings"]) == 1
    assert len(hosted.waiting()) == 6
    assert hosted.run()["status"] == "SUCCEEDED"
    hosted.check()
    assert {result["model"]["backend"] for (result,) in hosted.results().values()} == {hosted.environment.backend}

    hosted.emulator.set(transactions_per_second_per_unit=0.5)
    for number in range(40):
        hosted.upload(f"cut off {number}.png", picture(number))
    hosted.start()
    wait_until(lambda: hosted.keys(hosted.final, "processed/cut off"), 30, "the model is in use")
    managed = shapes.changed(hosted, BACKEND, rekognition=stack.arguments["rekognition"])
    _deployment[:] = [managed]
    assert hosted.environment.model()["status"] in OFF_STATUSES
    assert managed.mapping_state() == "Enabled"
    assert len(managed.functions.list_event_source_mappings()["EventSourceMappings"]) == 1
    finish(managed)
    backends = [result["model"]["backend"] for (result,) in managed.results().values()]
    assert set(backends) == {BACKEND, hosted.environment.backend}
    assert not managed.environment.has("state_machine_arn")
