"""Faults of the model, the event source mapping and the run as a whole, and what a run and the next one make of them.

The rows of the fault matrix that are about images and about the analyzing Lambda are in test_faults_images.py, those
about executions that somebody ends in test_guard.py.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from local import config
from local.terraform import Terraform
from tests.local.stack import Stack
from tests.local.test_guard import wait_until
from tests.local.test_stack import picture

pytestmark = [pytest.mark.local, pytest.mark.timeout(600)]

BACKEND = "rekognition_custom_labels"

# A message is hidden for 36 s: less than that is no stall.
FILE_ARGUMENTS = {
    "analyze_timeout_seconds": 6,
    "stall_timeout_seconds": 37,
    "stop_timeout_seconds": 15,
    "max_receive_count": 10,
}


def check_failed(stack: Stack, described: dict[str, Any], name: str, *words: str) -> None:
    """Check what an operator sees of a run that failed: the execution, its summary, its log line, its metric."""
    assert (described["status"], described["error"]) == ("FAILED", name)
    assert all(word in described["cause"] for word in words), described["cause"]
    summary = stack.read_json(f"runs/{described['name']}.json")
    assert (summary["outcome"], summary["error"]["type"]) == ("failed", name)
    log = Path(config.LOGS / "lambda" / f"{stack.arguments['name_prefix']}-summarize-run.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (told,) = [line for line in lines if line.get("run_id") == described["name"]]
    assert told["error"]["type"] == name
    assert [line["RunsFailed"] for line in lines if "_aws" in line][-1] == [1.0]


def check_recovers(stack: Stack) -> None:
    """Check that the next run does what the failed one left, with nobody's help."""
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check_each()


@pytest.mark.fault("Starting: throttled three times")
@pytest.mark.fault("Starting: already STOPPING")
@pytest.mark.fault("Starting: ResourceInUse")
def test_a_start_that_is_early_throttled_and_refused(stack: Stack) -> None:
    """One run meets them all, one after the other: the model is started once, when it can be."""
    stack.emulator.set(stop_seconds=4)
    stack.force_status("stopping")
    stack.inject("start", "throttled", count=3)
    stack.inject("start", "busy", count=2)
    stack.upload("a.png", picture())
    assert stack.run()["status"] == "SUCCEEDED"
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (1, 1)
    stack.check()


@pytest.mark.parametrize(
    ("operation", "error", "name"),
    [
        pytest.param("start", "quota", "ModelQuotaError", marks=pytest.mark.fault("Starting: LimitExceeded")),
        pytest.param("describe", "not_found", "ModelNotFoundError", marks=pytest.mark.fault("Starting: unknown model")),
    ],
)
def test_a_model_that_cannot_be_started(stack: Stack, operation: str, error: str, name: str) -> None:
    stack.inject(operation, error, probability=1)
    stack.upload("a.png", picture())
    check_failed(stack, stack.run(), name)
    assert stack.environment.model()["starts"] == 0
    stack.check(left=1)
    stack.emulator.reset()
    check_recovers(stack)
    stack.check()


@pytest.mark.fault("Starting: someone else already started it")
def test_a_model_that_somebody_else_is_starting(stack: Stack) -> None:
    stack.force_status("starting")
    stack.upload("a.png", picture())
    assert stack.run()["status"] == "SUCCEEDED"
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (0, 1)
    stack.check()


@pytest.mark.fault("Mapping: ResourceInUse")
@pytest.mark.fault("Finishing: stop throttled")
@pytest.mark.fault("Finishing: stop refused")
def test_a_mapping_and_a_stop_that_are_refused(stack: Stack) -> None:
    """One run: Lambda refuses to open the mapping, and is throttled; the service throttles and refuses the stop."""
    refused = [
        stack.lambda_faults.refuse("UpdateEventSourceMapping", "ResourceInUseException", count=3),
        stack.lambda_faults.refuse("GetEventSourceMapping", "TooManyRequestsException", count=2, status=429),
    ]
    stack.inject("stop", "throttled", count=3)
    stack.inject("stop", "busy", count=2)
    stack.upload("a.png", picture())
    assert stack.run()["status"] == "SUCCEEDED"
    assert [stack.lambda_faults.hits(fault) for fault in refused] == [3, 2]
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (1, 1)
    stack.check()


@pytest.mark.fault("Mapping: enabled by hand before the run")
def test_a_mapping_that_somebody_enabled_before_the_run(stack: Stack) -> None:
    """The images that came to a model that was off come again, and the run waits for them."""
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=True)
    for number in range(3):
        stack.upload(f"{number}.png", picture(number))
    wait_until(lambda: stack.environment.model()["not_running_calls"] > 0, 30, "an image comes to a model that is off")
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check_each()
    stack.check_nothing_runs(refused_calls_allowed=True)


@pytest.mark.fault("Draining: ten records in one message")
def test_ten_records_in_one_message(stack: Stack) -> None:
    uploads = [stack.upload(f"{number}.png", picture(number)) for number in range(10)]
    wait_until(lambda: stack.messages()[""] == 10, 30, "S3 has sent its own messages")
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    records = [record for upload in uploads for record in json.loads(stack.event_of(upload))["Records"]]
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=json.dumps({"Records": records}))
    assert stack.run()["status"] == "SUCCEEDED"
    assert stack.environment.model()["detect_calls"] == 10
    stack.check()


@pytest.mark.fault("Draining: uploads that keep arriving")
def test_uploads_that_keep_arriving(stack: Stack) -> None:
    """What arrives while the run drains is part of it; what arrives after that is the next run's."""
    stack.upload("first.png", picture())
    execution = stack.start()
    ended = threading.Event()

    def keep_uploading() -> None:
        for number in range(60):
            stack.upload(f"{number}.png", picture(number))
            if ended.wait(0.25):
                return

    uploading = threading.Thread(target=keep_uploading)
    uploading.start()
    try:
        assert stack.wait(execution)["status"] == "SUCCEEDED"
    finally:
        ended.set()
        uploading.join()
    assert len(stack.uploads) > 20
    left = len(stack.keys(stack.source))
    assert len(stack.uploads) - left > 20
    stack.check_each(left=left)
    check_recovers(stack)
    stack.check()


@pytest.mark.fault("Draining: the model stopped by hand in the middle")
@pytest.mark.fault("Draining: the model failed in the middle")
@pytest.mark.fault("Draining: no progress at all")
def test_a_model_that_ends_in_the_middle(stack: Stack) -> None:
    """First somebody stops it, and in the next run it fails: both end by name, and the third run does what is left."""
    for number in range(30):
        stack.upload(f"{number}.png", picture(number))
    for status in ("stopped", "failed"):
        stack.emulator.set(latency_ms=300, transactions_per_second_per_unit=4)
        done = len(stack.keys(stack.final, "processed/"))
        execution = stack.start()
        wait_until(lambda done=done: len(stack.keys(stack.final, "processed/")) > done, 90, "images are processed")
        stack.force_status(status)
        check_failed(stack, stack.wait(execution), "NoProgressError")
        left = len(stack.keys(stack.source))
        assert 0 < left < 30
        stack.check_each(left=left)
        assert stack.mapping_state() == "Disabled"
        assert stack.environment.model()["status"] == getattr(stack.words, status)
    stack.emulator.set(latency_ms=20, transactions_per_second_per_unit=20)
    check_recovers(stack)
    stack.check_nothing_runs(refused_calls_allowed=True)


@pytest.mark.fault("Finishing: stop never confirmed")
def test_a_stop_that_is_never_confirmed(stack: Stack) -> None:
    stack.emulator.set(stop_seconds=3600)
    stack.upload("a.png", picture())
    described = stack.run()
    check_failed(stack, described, "ModelStopTimeoutError", "STOPPING")
    assert stack.mapping_state() == "Disabled"
    stack.check_each()
    stack.emulator.set(stop_seconds=0)
    stack.upload("b.png", picture(1))
    check_recovers(stack)
    stack.check()


@pytest.mark.fault("From outside: `terraform apply` in mid-run")
def test_an_apply_in_the_middle_of_a_run(stack: Stack) -> None:
    """New code settings, another schedule and other limits: the run goes on and does everything."""
    stack.emulator.set(latency_ms=500, transactions_per_second_per_unit=1)
    for number in range(40):
        stack.upload(f"{number}.png", picture(number))
    execution = stack.start()
    wait_until(lambda: bool(stack.keys(stack.final, "processed/")), 60, "images are processed")
    stack.apply(analyze_memory_mb=1024, schedule_expression="rate(2 hours)", batch_size=5, stop_timeout_seconds=20)
    assert stack.workflow.describe_execution(executionArn=execution)["status"] == "RUNNING"
    stack.emulator.set(latency_ms=20, transactions_per_second_per_unit=20)
    assert stack.wait(execution)["status"] == "SUCCEEDED"
    stack.check()


# The last test of the file, because the mapping is another one after it.
@pytest.mark.fault("Mapping: deleted by hand")
def test_a_mapping_that_somebody_deleted(stack: Stack) -> None:
    # LocalStack forgets a mapping only when that was enabled.
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=True)
    wait_until(lambda: stack.mapping_state() == "Enabled", 30, "the mapping is enabled")
    stack.functions.delete_event_source_mapping(UUID=stack.mapping_uuid)
    wait_until(
        lambda: not stack.functions.list_event_source_mappings()["EventSourceMappings"], 60, "the mapping is deleted"
    )
    stack.upload("a.png", picture())
    check_failed(stack, stack.run(), "TriggerNotFoundError", "Run terraform apply")
    assert stack.environment.model()["stops"] == 1
    stack.check_each(left=1)
    stack.apply()
    stack.mapping_uuid = Terraform().outputs()["event_source_mapping_uuid"]["value"]
    check_recovers(stack)
    stack.check()
