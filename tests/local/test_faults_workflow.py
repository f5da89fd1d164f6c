"""Faults of the model, the event source mapping and the run as a whole, and what a run and the next one make of them.

The rows of the fault matrix that are about images and about the analyzing Lambda are in test_faults_images.py, the
others about executions that somebody ends in test_guard.py.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.local.failed_runs import check_failed
from tests.local.stack import Stack
from tests.local.test_guard import REACTION_SECONDS, abort_in, is_off
from tests.local.test_stack import picture
from tests.local.waits import wait_until

pytestmark = [
    pytest.mark.local,
    pytest.mark.matrix,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("faults_workflow"),
]

BACKEND = "rekognition_custom_labels"

# For the runs alone that are to stall: no other run is to end because a redelivery or a slow start took longer.
STALL_SECONDS = 22
STOP_SECONDS = 15
MAPPING_SECONDS = 5
# For a batch on a busy machine, where a redelivery would be counted; within the visibility timeout of 18 s.
ENOUGH_SECONDS = 15
FILE_ARGUMENTS = {
    "analyze_timeout_seconds": 3,
    "stop_timeout_seconds": STOP_SECONDS,
    "max_receive_count": 10,
}


def check_recovers(stack: Stack, *, refused_calls_allowed: bool = False) -> None:
    """Check that the next run does what the failed one left, with nobody's help."""
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check_each()
    stack.check_nothing_runs(refused_calls_allowed=refused_calls_allowed)


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
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    # It was looked at more than once while it was stopping, and asked to start only after that.
    assert stack.states(described["executionArn"]).count("WaitForModel") >= 4
    assert stack.emulator.state()["faults"]["planned"] == []
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (1, 1)
    stack.check()


@pytest.mark.fault("Starting: LimitExceeded")
@pytest.mark.fault("Starting: unknown model")
@pytest.mark.fault("Starting: still training")
def test_models_that_cannot_be_started(stack: Stack) -> None:
    """Three runs, each with a reason of its own: none starts a model or loses the image, and the fourth does it."""
    stack.upload("a.png", picture())

    stack.inject("start", "quota", probability=1)
    words = "LimitExceededException"
    check_failed(stack, stack.run(), "ModelQuotaError", words, step="StartModel", within_seconds=0)
    stack.check(left=1)
    stack.emulator.reset()

    stack.inject("describe", "not_found", probability=1)
    words = "ResourceNotFoundException"
    check_failed(stack, stack.run(), "ModelNotFoundError", words, step="StartModel", within_seconds=0)
    stack.check(left=1)
    stack.emulator.reset()

    stack.force_status("training")
    words = "Train the model, or set the variable of a model that is trained."
    check_failed(stack, stack.run(), "ModelNotTrainedError", words, step="StartModel", within_seconds=0)
    assert stack.mapping_state() == "Disabled"
    stack.check_each(left=1)
    assert stack.environment.model()["starts"] == 0

    stack.emulator.reset()
    check_recovers(stack)


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
    """One run: Lambda refuses to enable the mapping, and is throttled; the service throttles and refuses the stop."""
    refused = [
        stack.lambda_faults.refuse("UpdateEventSourceMapping", "ResourceInUseException", count=3),
        stack.lambda_faults.refuse("GetEventSourceMapping", "TooManyRequestsException", count=2, status=429),
    ]
    stack.inject("stop", "throttled", count=3)
    stack.inject("stop", "busy", count=2)
    stack.upload("a.png", picture())
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    assert [stack.lambda_faults.hits(fault) for fault in refused] == [3, 2]
    assert stack.emulator.state()["faults"]["planned"] == []
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (1, 1)
    stack.check()


@pytest.mark.fault("Mapping: still Disabling when enabled")
@pytest.mark.fault("Mapping: still Enabled when disabled")
def test_a_mapping_whose_change_takes_longer_than_its_time(stack: Stack) -> None:
    """Two runs: it is not enabled in time, and it is not disabled in time. Each stops the model."""

    def soon(machine: dict[str, Any]) -> None:
        process = machine["States"]["ProcessBacklog"]["Branches"][0]["States"]
        process["EnableMapping"]["Parameters"]["timeout_seconds"] = MAPPING_SECONDS
        machine["States"]["Close"]["Parameters"]["mapping_timeout_seconds"] = MAPPING_SECONDS

    words = (f"mapping_timeout_seconds = {MAPPING_SECONDS}", "LastProcessingResult")
    stack.upload("a.png", picture())
    stack.lambda_faults.slow_mapping(MAPPING_SECONDS + 4)
    with stack.definition(soon):
        execution = stack.start()
    wait_until(lambda: stack.mapping_state() == "Enabling", 60, "the mapping is being enabled")
    stack.lambda_faults.slow_mapping(0)  # counts from the next change on
    described, step = stack.wait(execution), "EnableMapping"
    check_failed(stack, described, "MappingNotEnabledError", *words, step=step, within_seconds=MAPPING_SECONDS)
    # It was enabled in the end, for as long as it took to disable it, while the model stopped.
    stack.check_each(left=1)
    stack.check_nothing_runs(refused_calls_allowed=True)

    stack.emulator.set(latency_ms=2000)
    with stack.definition(soon):
        execution = stack.start()
    wait_until(lambda: "CheckProgress" in stack.states(execution), 60, "draining")
    stack.lambda_faults.slow_mapping(MAPPING_SECONDS + 20)
    described, step = stack.wait(execution), "Close"
    check_failed(stack, described, "MappingNotDisabledError", words[0], step=step, within_seconds=MAPPING_SECONDS)
    assert stack.environment.model()["status"] == stack.words.stopped
    stack.lambda_faults.slow_mapping(0)
    wait_until(lambda: is_off(stack), 30 + REACTION_SECONDS, "mapping disabled")
    stack.emulator.set(latency_ms=20)
    stack.upload("b.png", picture(1))
    check_recovers(stack, refused_calls_allowed=True)  # those of the first run


@pytest.mark.fault("Mapping: enabled by hand before the run")
def test_a_mapping_that_somebody_enabled_before_the_run(stack: Stack) -> None:
    """The images that came to a model that was off come again, and the run waits for them."""
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=True)
    for number in range(3):
        stack.upload(f"{number}.png", picture(number))
    wait_until(lambda: stack.environment.model()["not_running_calls"] > 0, 30, "an image comes to a model that is off")
    check_recovers(stack, refused_calls_allowed=True)


@pytest.mark.fault("Draining: a message that is not JSON")
@pytest.mark.fault("Draining: an s3:TestEvent")
@pytest.mark.fault("Draining: an event for another bucket")
@pytest.mark.fault("Draining: ten records in one message")
def test_messages_that_are_not_one_image_each(stack: Stack) -> None:
    uploads = [stack.upload(f"{number}.png", picture(number)) for number in range(10)]
    wait_until(lambda: stack.messages()[""] == 10, 30, "S3 has sent its own messages")
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    records = [record for upload in uploads for record in json.loads(stack.event_of(upload))["Records"]]
    elsewhere = stack.event_of(uploads[0]).replace(stack.source, "somebody-elses-bucket")
    for body in ("no JSON", json.dumps({"Event": "s3:TestEvent", "Bucket": stack.source}), elsewhere):
        stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=body)
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=json.dumps({"Records": records}))
    with stack.time_to_analyze(ENOUGH_SECONDS):
        described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    summary = json.loads(described["output"])
    assert (summary["images_processed"], summary["images_rejected"], summary["requeued_images"]) == (10, 0, 0)
    assert stack.environment.model()["detect_calls"] == 10
    assert stack.messages()[""] == 0
    stack.check()


@pytest.mark.fault("Draining: no progress at all")
@pytest.mark.fault("Draining: the model stopped by hand in the middle")
@pytest.mark.fault("Draining: the model failed in the middle")
def test_runs_in_which_nothing_moves_any_more(stack: Stack) -> None:
    """First no image succeeds, then somebody stops the model, then it fails."""
    for number in range(40):
        stack.upload(f"{number}.png", picture(number))
    stack.inject("detect", "internal_error", probability=1)
    words = ("No image was finished since", f"stall_timeout_seconds = {STALL_SECONDS}", "nothing is lost")
    with stack.bounds(stall_timeout_seconds=STALL_SECONDS):
        described = stack.run()
    check_failed(stack, described, "NoProgressError", *words, step="CheckProgress", within_seconds=STALL_SECONDS)
    assert is_off(stack)
    stack.check_each(left=40)  # the messages of the last try are in flight still, and come again

    stack.emulator.clear_faults()
    described = lose_model(stack, "stopped")
    # Sooner than nothing moves for the stall's time.
    words = ("in mid-run", "somebody stopped it")
    check_failed(stack, described, "ModelStoppedError", *words, step="CheckProgress", within_seconds=STALL_SECONDS)
    assert stack.mapping_state() == "Disabled"
    assert stack.environment.model()["status"] == stack.words.stopped
    left = len(stack.keys(stack.source))
    assert 0 < left < 40
    stack.check_each(left=left)

    starts = stack.environment.model()["starts"]
    described = lose_model(stack, "failed")
    assert described["status"] == "SUCCEEDED", described
    assert stack.environment.model()["starts"] == starts + 2
    stack.check_each()
    stack.check_nothing_runs(refused_calls_allowed=True)


def lose_model(stack: Stack, status: str) -> dict[str, Any]:
    """Run, and put the model into a state when the first images are processed; give the execution as it ended."""
    # What the run before has tried is hidden for 18 s; without a message it comes sooner.
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    stack.emulator.set(latency_ms=500, transactions_per_second_per_unit=3)
    done = len(stack.keys(stack.final, "processed/"))
    execution = stack.start()
    wait_until(lambda: len(stack.keys(stack.final, "processed/")) > done, 60, "images are processed")
    stack.force_status(status)
    return stack.wait(execution)


@pytest.mark.fault("Finishing: stop never confirmed")
def test_a_stop_that_is_never_confirmed(stack: Stack) -> None:
    stack.emulator.set(stop_seconds=3600)
    stack.upload("a.png", picture())
    words = ("It may be costing money: stop it by hand", f"stop_timeout_seconds = {STOP_SECONDS}")
    check_failed(stack, stack.run(), "ModelStopTimeoutError", *words, step="Close", within_seconds=STOP_SECONDS)
    assert stack.mapping_state() == "Disabled"
    assert stack.environment.model()["status"] == stack.words.stopping
    stack.check_each()
    # The next run waits for the stop, and starts the model again.
    stack.upload("b.png", picture(1))
    execution = stack.start()
    wait_until(lambda: "WaitForModel" in stack.states(execution), 30, "the model is waited for")
    stack.emulator.set(stop_seconds=0)
    assert stack.wait(execution)["status"] == "SUCCEEDED"
    stack.check()


@pytest.mark.fault("From outside: StopExecution in each phase")
def test_runs_that_somebody_stops_one_phase_after_the_other(stack: Stack) -> None:
    """Before the start, at the opening, at the closing and at the end; the phases between are in test_guard.py."""
    # The first and the last phase are held until the stop has come: LocalStack would go on with half of an input.
    held = stack.lambda_faults.inject("check-backlog", "delay", "invocation", seconds=4)
    for state, starts in (("CheckForWork", 0), ("WaitForMapping", 1), ("WaitForClose", 2)):
        stack.upload(f"{state}.png", picture(starts))
        execution = stack.start()
        wait_until(lambda: stack.lambda_faults.hits(held) == 1, 30, "the first check of the backlog")
        abort_in(stack, execution, state)
        wait_until(lambda: is_off(stack), REACTION_SECONDS, f"mapping disabled and model off, aborted in {state}")
        assert stack.environment.model()["starts"] == starts
        stack.check_each(left=len(stack.keys(stack.source)))
    stack.upload("last.png", picture(12))
    held = stack.lambda_faults.inject("summarize-run", "delay", "invocation", seconds=4)
    execution = stack.start()
    wait_until(lambda: stack.lambda_faults.hits(held) == 1, 60, "the summary")
    abort_in(stack, execution, "SummarizeRun")
    assert is_off(stack)
    stack.check()
    stack.upload("next.png", picture(13))
    check_recovers(stack)


@pytest.mark.fault("From outside: two executions that do not see each other")
def test_two_executions_at_work_at_the_same_time(stack: Stack) -> None:
    """LocalStack's list of executions is never late: both go on, whatever it says."""

    def go_on(machine: dict[str, Any]) -> None:
        machine["States"]["IsAnotherRunning"]["Default"] = "CheckForWork"

    stack.emulator.set(latency_ms=300)
    for number in range(30):
        stack.upload(f"{number}.png", picture(number))
    with stack.definition(go_on):
        executions = [stack.start(), stack.start()]
        assert [stack.wait(execution)["status"] for execution in executions] == ["SUCCEEDED"] * 2
    assert all({"StartModel", "CheckProgress", "Close"} <= set(stack.states(arn)) for arn in executions)
    stack.check()
    assert [len(found) for found in stack.results().values()] == [1] * 30
    assert stack.environment.model()["starts"] == 1


@pytest.mark.fault("From outside: `terraform apply` in mid-run")
@pytest.mark.fault("Draining: uploads that keep arriving")
@pytest.mark.fault("Draining: the batch deadline with images left")
def test_an_apply_in_the_middle_of_a_run_and_uploads_that_never_end(stack: Stack) -> None:
    """The run that is under way keeps its bounds and its open tap; the next one has the new, short deadline."""
    stack.emulator.set(latency_ms=500, transactions_per_second_per_unit=1)
    for number in range(40):
        stack.upload(f"{number}.png", picture(number))
    execution = stack.start()
    wait_until(lambda: bool(stack.keys(stack.final, "processed/")), 60, "images are processed")
    bound_seconds = 12
    stack.apply(drain_timeout_seconds=bound_seconds, analyze_memory_mb=1024, schedule_expression="rate(2 days)")
    assert stack.workflow.describe_execution(executionArn=execution)["status"] == "RUNNING"
    assert stack.mapping_state() == "Enabled"
    stack.emulator.set(latency_ms=20, transactions_per_second_per_unit=20)
    assert stack.wait(execution)["status"] == "SUCCEEDED"
    stack.check()

    # Each image takes longer than the next one takes to come, so there is always one that waits. No longer than that:
    # a batch that a busy machine cuts off between result and move would leave an image that is both.
    stack.emulator.set(latency_ms=400)
    ended = threading.Event()

    def keep_uploading() -> None:
        number = 0
        while not ended.wait(0.25):
            stack.upload(f"arriving {number}.png", picture(number))
            number += 1

    uploading = threading.Thread(target=keep_uploading)
    uploading.start()
    try:
        wait_until(lambda: bool(stack.keys(stack.source)), 10, "the first upload")
        described = stack.run()
    finally:
        ended.set()
        uploading.join()
    words = (f"drain_timeout_seconds = {bound_seconds}", "The next run goes on with them.")
    check_failed(stack, described, "DrainTimeoutError", *words, step="CheckProgress", within_seconds=bound_seconds)
    left = len(stack.keys(stack.source))
    assert 0 < left < len(stack.uploads) - 40
    stack.check_each(left=left)
    # Mapping and model are asked at the same time: a batch that is handed out meanwhile finds the model stopping.
    stack.check_nothing_runs(refused_calls_allowed=True)
    stack.emulator.set(latency_ms=20)
    # What is left may be more than a busy machine does within the short deadline.
    stack.apply("-refresh=false")
    check_recovers(stack, refused_calls_allowed=True)


@pytest.mark.fault("Finishing: images in flight while disabling")
def test_a_run_that_ends_by_its_bound_uses_up_no_delivery(stack: Stack) -> None:
    """Hundreds of messages are visible while the mapping is disabled and the model stops already."""

    def soon(machine: dict[str, Any]) -> None:
        process = machine["States"]["ProcessBacklog"]["Branches"][0]["States"]
        process["CheckProgress"]["Parameters"]["drain_timeout_seconds"] = 4

    stack.emulator.set(latency_ms=300, transactions_per_second_per_unit=3, stop_seconds=0)
    stack.lambda_faults.slow_mapping(4)
    for number in range(300):
        stack.upload(f"{number}.png", picture(number))
    with stack.definition(soon), stack.time_to_analyze(ENOUGH_SECONDS):
        described = stack.run()
        assert (described["status"], described["error"]) == ("FAILED", "DrainTimeoutError")
        wait_until(lambda: is_off(stack), REACTION_SECONDS, "mapping disabled")
    left = len(stack.keys(stack.source))
    assert left > 200
    stack.check_each(left=left)
    deliveries: dict[str, int] = {}

    def all_received() -> bool:
        answer = stack.sqs.receive_message(
            QueueUrl=stack.queue_url, MaxNumberOfMessages=10, VisibilityTimeout=600, AttributeNames=["All"]
        )
        for message in answer.get("Messages", []):
            deliveries[message["MessageId"]] = int(message["Attributes"]["ApproximateReceiveCount"])
        return len(deliveries) >= left

    wait_until(all_received, 120, "those that were sent anew come after a minute")
    assert set(deliveries.values()) == {1}
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)  # what was received here is hidden; the run finds it by the listing
    stack.lambda_faults.clear()
    stack.emulator.set(latency_ms=20, transactions_per_second_per_unit=100)
    check_recovers(stack, refused_calls_allowed=True)


@pytest.mark.fault("Mapping: deleted by hand")
def test_a_mapping_that_somebody_deleted(stack: Stack) -> None:
    """Nothing waits for it to come back while the model costs money; an apply makes it again."""
    # LocalStack never comes to the end of deleting a mapping that is disabled, and then refuses another one.
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=True)
    wait_until(lambda: stack.mapping_state() == "Enabled", 10, "mapping enabled")
    stack.functions.delete_event_source_mapping(UUID=stack.mapping_uuid)
    mappings = stack.functions.list_event_source_mappings
    wait_until(lambda: not mappings()["EventSourceMappings"], 20, "mapping deleted")
    stack.upload("a.png", picture())
    check_failed(stack, stack.run(), "MappingNotFoundError", "Run terraform apply", step="Close", within_seconds=0)
    model = stack.environment.model()
    assert (model["status"], model["starts"], model["stops"]) == (stack.words.stopped, 1, 1)
    stack.check_each(left=1)
    stack.apply()
    stack.read_outputs()
    check_recovers(stack)
