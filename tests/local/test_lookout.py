"""End to end with Lookout for Vision, and from one backend to the other on a live stack."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime

import pytest
from PIL import Image

from local.emulator.models import HOSTED_MODELS, MODELS
from tests.local import permissions
from tests.local.failed_runs import check_failed
from tests.local.permissions import Recording
from tests.local.stack import Stack
from tests.local.test_guard import is_off
from tests.local.test_permissions import check_without_progress
from tests.local.test_stack import LABELLED, NAMES, picture
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.timeout(1200)]

BACKEND = "lookout_for_vision"


def test_images_under_names_of_all_kinds_get_a_verdict_and_a_mask(stack: Stack) -> None:
    names = NAMES + [f"belt {number % 3}/{number:03}.png" for number in range(24)]
    for number, name in enumerate(names):
        stack.upload(name, picture(number, "PNG" if name.lower().endswith("png") else "JPEG"))
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check()
    summary = json.loads(described["output"])
    assert (summary["images_processed"], summary["images_rejected"]) == (len(names), 0)
    for number, name in enumerate(names):
        ((result,),) = [found for (key, _), found in stack.results().items() if key == name]
        label = LABELLED[number % len(LABELLED)].parent.name
        assert result["model"]["backend"] == BACKEND
        assert result["anomaly"]["is_anomalous"] == (label != "normal"), name
        mask = Image.open(io.BytesIO(stack.s3.get_object(Bucket=stack.final, Key=result["mask_key"])["Body"].read()))
        assert mask.size == Image.open(LABELLED[number % len(LABELLED)]).size
        colours = {colour for _, colour in mask.convert("RGB").getcolors(mask.width * mask.height) or []}
        assert (len(colours) > 1) == (label != "normal"), name
    assert "processed/café/R&D 50%.jpeg.mask.png" in stack.keys(stack.final)
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (1, 1)


@pytest.mark.matrix
def test_a_second_run_starts_the_model_again(stack: Stack) -> None:
    """A client token that is used twice would make the second start a no-op."""
    for number in range(2):
        stack.upload(f"{number}.png", picture(number))
        assert stack.run()["status"] == "SUCCEEDED"
        stack.check()
    assert stack.environment.model()["starts"] == 2


@pytest.mark.matrix
@pytest.mark.fault("Draining: a Lambda that dies half-way between writing the JSON and deleting the image")
def test_lambdas_that_die_before_and_after_they_write_the_mask_lose_nothing(stack: Stack) -> None:
    """The messages are handed over by hand, so that nobody waits for the redelivery; S3's own ones come after that."""
    stack.emulator.force_status("HOSTED", MODELS[BACKEND].arn)
    left = {"before": [".json"], "after": [".json", ".mask.png"]}
    for number, (when, suffixes) in enumerate(left.items()):
        upload = stack.upload(f"{when}.png", picture(number))
        place = f"processed/{when}.png"
        fault = stack.lambda_faults.inject("analyze-images", "die", f"{when} PutObject", key=rf"^{place}\.mask\.png$")
        assert stack.analyze(upload)["errorType"] == "Runtime.ExitError"
        assert stack.lambda_faults.hits(fault) == 1
        assert stack.keys(stack.final, place) == [place + suffix for suffix in suffixes]
        assert stack.keys(stack.source) == [upload.key]
        assert stack.analyze(upload, receive_count=2) == {"batchItemFailures": []}
        assert stack.keys(stack.final, place) == [place, f"{place}.json", f"{place}.mask.png"]
        assert stack.keys(stack.source) == []
    stack.upload("other.png", picture(2))
    assert stack.run()["status"] == "SUCCEEDED"
    assert stack.messages()[""] == 0
    stack.check()
    assert {result["mask_key"] for (result,) in stack.results().values()} == {
        f"processed/{name}.png.mask.png" for name in ("before", "after", "other")
    }


@pytest.mark.matrix
def test_two_uploads_of_one_name_and_files_that_are_not_images(stack: Stack) -> None:
    stack.upload("same.png", picture(1))
    newer = stack.upload("same.png", picture(2))
    stack.upload("notes.jpg", b"no picture at all")
    other_size = io.BytesIO()
    Image.new("RGB", (100, 100)).save(other_size, "PNG")
    stack.upload("other size.png", other_size.getvalue())
    stack.upload("right bytes.txt", picture(3, "JPEG"))
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check()
    assert stack.read_json("processed/same.png.json")["source"]["version_id"] == newer.version_id
    rejected = {key for (key, _), found in stack.results().items() if found[0]["error"]}
    assert rejected == {"notes.jpg", "other size.png"}


@pytest.mark.fault("A SageMaker endpoint: a run that is killed at any step of the creation")
@pytest.mark.fault("A SageMaker endpoint: the creation fails")
@pytest.mark.fault("A SageMaker endpoint: the container answers 5xx, too late, or no JSON")
def test_a_live_stack_goes_over_to_the_other_backend_with_images_waiting(stack: Stack) -> None:
    """There and back; each pile is for the backend that is chosen when it is analyzed."""
    for backend in ("sagemaker_endpoint", "rekognition_custom_labels", "lookout_for_vision"):
        for number in range(6):
            stack.upload(f"for {backend}/{number}.png", picture(number))
        stack.switch(backend)
        switched, starts = time.time(), 1
        if backend == "sagemaker_endpoint":
            kill_while_it_is_created(stack)
            starts += 1
            # An endpoint that is not there in mid-run is a model that somebody stopped.
            assert check_without_progress(stack)["errorType"] == "ModelStoppedError"
            stack.force_status("failed")
            # None of these is the image's fault.
            for fault in ("ContainerError5xx", "MalformedAnswer"):
                stack.emulator.inject("InvokeEndpoint", fault)
        assert stack.run()["status"] == "SUCCEEDED"
        stack.check()
        for (key, _), (result,) in stack.results().items():
            if key.startswith(f"for {backend}"):
                assert result["model"]["backend"] == backend
                assert (result["anomaly"] is None) == (backend != "lookout_for_vision")
        assert stack.environment.model()["starts"] == starts
        if backend == "sagemaker_endpoint":
            check_roles(stack, switched)


def check_roles(stack: Stack, since: float) -> None:
    """Check that the roles may do with the endpoint what they have done since a moment, and nothing else."""
    recording = Recording.read(permissions.RECORDED_CALLS).since(since)
    verdicts = permissions.judge(recording, permissions.role_names(stack))
    for verdict in verdicts:
        ours = ("sagemaker:", "iam:PassRole")
        verdict.needed = {grant: by for grant, by in verdict.needed.items() if grant.action.startswith(ours)}
        verdict.redundant.clear()  # those that stop former models may do it for the model of now too
    assert [problem for verdict in verdicts for problem in verdict.problems()] == []
    assert {grant.action for verdict in verdicts for grant in verdict.needed} == {
        "iam:PassRole",
        "sagemaker:CreateEndpoint",
        "sagemaker:CreateEndpointConfig",
        "sagemaker:DeleteEndpoint",
        "sagemaker:DeleteEndpointConfig",
        "sagemaker:DescribeEndpoint",
        "sagemaker:InvokeEndpoint",
        "sagemaker:ListEndpointConfigs",
    }


def kill_while_it_is_created(stack: Stack) -> None:
    """Abort a run whose endpoint cannot be deleted yet: the watchdog leaves neither it nor its configuration behind."""
    stack.emulator.set(start_seconds=4)
    execution = stack.start()
    wait_until(lambda: stack.environment.model()["status"] == "Creating", 60, "the endpoint is created")
    stack.workflow.stop_execution(executionArn=execution)
    assert stack.wait(execution)["status"] == "ABORTED"
    wait_until(lambda: is_off(stack), 30, "mapping disabled and models off")
    wait_until(lambda: stack.emulator.state()["endpoint_configurations"] == [], 30, "no configuration is left")
    stack.emulator.set(start_seconds=0)


@pytest.mark.matrix
@pytest.mark.fault("From outside: `terraform apply` of another model in mid-run")
def test_a_switch_in_the_middle_of_a_run_leaves_no_model_running(stack: Stack) -> None:
    """The run that is under way stops the model that it started; the next one goes on with the new backend."""
    old, new = stack.environment.backend, next(name for name in HOSTED_MODELS if name != stack.environment.backend)
    stack.emulator.set(start_seconds=3, latency_ms=1500, transactions_per_second_per_unit=1)
    # More than is done before Terraform comes to the functions, on a busy machine too.
    for number in range(200):
        stack.upload(f"{number}.png", picture(number))
    execution = stack.start()
    wait_until(lambda: "WaitForProgress" in stack.states(execution), 10, "the run is at work")
    stack.switch(new)
    since, described = datetime.now(UTC), stack.wait(execution)
    check_failed(stack, described, "BackendChangedError", step="CheckProgress", within_seconds=10, since=since)
    assert stack.emulator.model(MODELS[old].arn)["stops"] == 1
    stack.emulator.set(latency_ms=0, transactions_per_second_per_unit=20)
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check_each()
    # Until the old run noticed, the function asked the new model, which was off: the images were left for later.
    stack.check_nothing_runs(refused_calls_allowed=True)
