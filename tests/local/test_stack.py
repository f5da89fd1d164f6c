"""End to end on LocalStack: the real module, workflow and zip, and the emulator in the place of Rekognition."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batch_vision.core.stuck import stuck_key
from local import config
from local.package import PACKAGE
from local.terraform import Terraform
from tests.local.failed_runs import check_failed
from tests.local.stack import Stack
from tests.local.waits import LOAD_SECONDS, wait_until

pytestmark = [pytest.mark.local, pytest.mark.timeout(1200)]

BACKEND = "rekognition_custom_labels"
SAMPLES = config.REPOSITORY / "local" / "samples" / "labelled"
LABELLED = sorted(path for path in SAMPLES.rglob("*") if path.is_file())


def picture(number: int = 0, kind: str = "PNG") -> bytes:
    """One of the samples, each number a little different from the others."""
    image = Image.open(LABELLED[number % len(LABELLED)]).convert("RGB")
    image.putpixel((number % image.width, number // image.width), (number % 256, 0, 0))
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


@pytest.mark.fault("Draining: an s3:TestEvent")
def test_peer_failing_the_test_event_of_the_deployment_buys_a_batch(fresh_stack: Stack) -> None:
    """The queue holds the s3:TestEvent that S3 sent when the notification was made, and no image waits."""
    stack = fresh_stack
    assert stack.messages()[""] == 1
    described = stack.run()
    assert described["status"] == "SUCCEEDED"
    assert stack.states(described["executionArn"])[-1] == "NothingToDo"
    assert stack.environment.model()["starts"] == 0
    stack.check()


def test_a_second_plan_shows_no_changes(stack: Stack) -> None:
    status, printed = Terraform().plan()
    assert status == 0, printed


def test_an_empty_queue_does_not_start_the_model(stack: Stack) -> None:
    described = stack.run()
    assert stack.states(described["executionArn"])[-1] == "NothingToDo"
    assert stack.environment.model()["starts"] == 0
    stack.check()


NAMES = [
    "a b/c+d (1).JPG",
    "café/R&D 50%.jpeg",
    "日本/x.png",
    "deep/er/and/deep/er/image.PNG",
    "no suffix",
    "100%25=1;2,3@4:5!$'*.png",
    "x" * 200 + "/" + "y" * 819 + ".png",
    "é" * 500 + "/" + "z" * 19 + ".jpg",
]


def test_more_than_a_hundred_images_under_names_of_all_kinds(stack: Stack) -> None:
    assert len(NAMES[-2].encode()) == len(NAMES[-1].encode()) == 1024
    names = NAMES + [f"belt {number % 7}/camera+{number % 3}/{number:03}.png" for number in range(100)]
    for number, name in enumerate(names):
        stack.upload(name, picture(number, "PNG" if name.lower().endswith("png") else "JPEG"))
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check()
    results = stack.results()
    assert all(result["status"] == "processed" for found in results.values() for result in found)
    for name in names[:6]:
        assert f"processed/{name}" in stack.keys(stack.final)
    summary = json.loads(described["output"])
    assert (summary["images_processed"], summary["images_rejected"]) == (len(names), 0)
    assert stack.read_json(f"runs/{summary['run_id']}.json") == summary
    assert {line["key"] for line in stack.catalog()} == set(names)
    assert all(line["width"] and line["height"] for line in stack.catalog())
    assert "CompactCatalog" in stack.states(described["executionArn"])
    assert stack.keys(stack.final, "index/") == [], "what was written lately waits"
    stack.age_catalog()
    assert stack.compact() == stack.catalog()
    assert stack.compact() == stack.catalog()
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (1, 1)
    assert 0 < model["billed_unit_seconds"] <= summary["model_on_seconds"]


def test_a_plan_after_a_run_shows_no_changes(stack: Stack) -> None:
    stack.upload("a.png", picture())
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check()
    status, printed = Terraform().plan()
    assert status == 0, printed


def test_a_change_in_place_replaces_nothing(stack: Stack, tmp_path: Path) -> None:
    """Whatever the new model, schedule, code or setting: buckets, queues and mapping stay, and all that is in them."""
    package = tmp_path / "lambdas.zip"
    package.write_bytes(PACKAGE.read_bytes())
    with zipfile.ZipFile(package, "a") as archive:
        archive.writestr("lambdas/new.py", "")
    actions = stack.planned_actions(
        backend="lookout_for_vision",
        lambda_package_path=str(package),
        schedule_expression="cron(0 18 ? * MON-FRI *)",
        schedule_enabled=False,
        batch_size=20,
        max_concurrency=5,
        max_receive_count=7,
        source_prefix="incoming/",
        max_inference_units=3,
        analyze_memory_mb=1024,
        timings={"analyze_timeout_seconds": 15},
        log_retention_days=30,
        permissions_boundary_arn="arn:aws:iam::000000000000:policy/developers",
        tags={"Project": "welds"},
    )
    # Each of these is touched, or the test would see nothing.
    for address in (
        "aws_lambda_event_source_mapping.this[0]",
        'module.function["analyze_images"].aws_lambda_function.this',
        "aws_s3_bucket_notification.this[0]",
        "module.queue[0].aws_sqs_queue.this",
        "module.schedule[0].aws_cloudwatch_event_rule.this",
        "module.source_bucket[0].aws_s3_bucket.this",
        "module.workflow[0].aws_sfn_state_machine.this",
    ):
        assert actions.pop(address) == ["update"], address
    # No resource of AWS: the call to the watchdog that stops the former model.
    assert set(actions.pop("module.guard[0].aws_lambda_invocation.model")) == {"create", "delete"}
    assert actions.pop("aws_s3_object.package") == ["create", "delete"]  # the new one first
    assert {address: done for address, done in actions.items() if done != ["update"]} == {}


@pytest.mark.matrix
@pytest.mark.fault("Draining: an S3 event that never came")
def test_peer_failing_images_from_before_the_deployment_never_enter(stack: Stack) -> None:
    """Objects whose event was lost, or never sent, are found by the listing and put back on the queue."""
    for number in range(12):
        stack.upload(f"{number}.png", picture(number))
    wait_until(lambda: stack.messages()[""] == 12, what="S3 sends all events")
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    assert stack.messages()[""] == 0
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check()
    assert json.loads(described["output"])["requeued_images"] == 12


@pytest.mark.fault("Starting: FAILED on the way up")
def test_peer_failing_one_error_leaves_the_model_running(stack: Stack) -> None:
    """A model that fails on its way up: the run fails by that name, nothing is lost, the next run does it."""
    stack.inject("start", "failed", count=1)
    stack.upload("a.png", picture())
    check_failed(stack, stack.run(), "ModelFailedError", step="StartModel", within_seconds=0)
    stack.check(left=1)
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check()


@pytest.mark.matrix
@pytest.mark.fault("Starting: never RUNNING before the deadline")
def test_peer_failing_a_model_that_cannot_start_is_retried_for_ever(stack: Stack) -> None:
    stack.emulator.set(start_seconds=3600)
    stack.upload("a.png", picture())
    execution = stack.start()
    wait_until(lambda: stack.environment.model()["status"] == stack.words.starting, what="the model starts")
    # The model is stuck for longer than start_timeout_seconds, and lets itself be stopped only when it is up.
    wait_until(lambda: "Close" in stack.states(execution), 120, "the model is asked to stop")
    stack.emulator.set(start_seconds=0)
    words = "start_timeout_seconds = 20. Raise it if the model needs longer."
    described = stack.wait(execution)
    check_failed(stack, described, "ModelStartTimeoutError", words, step="StartModel", within_seconds=20)
    stack.check(left=1)
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check()


@pytest.mark.fault("Finishing: stop refused")
def test_peer_failing_a_failed_stop_is_reported_as_success(stack: Stack) -> None:
    """The service fails to stop the model twelve times over; the run ends only when it says STOPPED."""
    stack.inject("stop", "internal_error", count=12)
    stack.upload("a.png", picture())
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    assert stack.environment.model()["stops"] == 1
    stack.check()


def test_peer_failing_the_start_is_polled_for_minutes_and_the_model_held(stack: Stack) -> None:
    """One image: the model is on for little more than its own start and stop."""
    stack.upload("a.png", picture())
    described = stack.run()
    settings = stack.emulator.state()["settings"]
    on = json.loads(described["output"])["model_on_seconds"]
    assert on < settings["start_seconds"] + settings["stop_seconds"] + LOAD_SECONDS
    stack.check()


@pytest.mark.fault("From outside: ten executions started at once")
def test_peer_failing_each_hour_adds_another_execution(stack: Stack) -> None:
    """Ten at once: one does the work, the others see it and end."""
    for number in range(5):
        stack.upload(f"{number}.png", picture(number))
    arns = [stack.start() for _ in range(10)]
    assert {stack.wait(arn)["status"] for arn in arns} == {"SUCCEEDED"}
    assert stack.environment.model()["starts"] == 1
    last = [stack.states(arn)[-1] for arn in arns]
    assert last.count("RunSucceeded") == 1
    assert set(last) <= {"RunSucceeded", "AlreadyRunning", "NothingToDo"}
    stack.check()


@pytest.mark.fault("Mapping: disabled by hand while the run begins")
def test_a_mapping_that_is_disabled_while_a_run_begins_is_enabled_all_the_same(stack: Stack) -> None:
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=True)
    stack.upload("a.png", picture())
    # The run is not to come to the mapping before it is disabled.
    stack.emulator.set(start_seconds=3600)
    execution = stack.start()
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=False)
    wait_until(lambda: stack.mapping_state() == "Disabled", what="the mapping is disabled")
    wait_until(lambda: stack.environment.model()["status"] == stack.words.starting, what="the model starts")
    stack.emulator.set(start_seconds=0)
    assert stack.wait(execution)["status"] == "SUCCEEDED"
    stack.check_each()
    # The mapping may have taken the message before it was disabled.
    stack.check_nothing_runs(refused_calls_allowed=True)


@pytest.mark.matrix
@pytest.mark.fault("Mapping: a minute to be enabled and to be disabled")
def test_the_model_stops_while_the_mapping_is_disabled(stack: Stack) -> None:
    """A mapping on AWS takes tens of seconds, and the model is paid for meanwhile."""
    stack.lambda_faults.slow_mapping(20)
    stack.upload("a.png", picture())
    execution = stack.start()
    wait_until(lambda: stack.mapping_state() == "Enabling", 60, "the mapping is being enabled")
    assert stack.environment.model()["status"] == stack.words.running
    wait_until(lambda: stack.environment.model()["stops"] == 1, 120, "the model is asked to stop")
    assert stack.mapping_state() == "Disabling"
    described = stack.wait(execution)
    assert described["status"] == "SUCCEEDED", described
    stack.check()


@pytest.mark.fault("Draining: the batch deadline with images left")
@pytest.mark.fault("Finishing: images in flight while disabling")
def test_a_drain_that_ends_in_the_middle_of_the_work(stack: Stack) -> None:
    """What is in flight is waited for; an image that meets a model which stops already waits with the rest."""

    def soon(machine: dict[str, Any]) -> None:
        process = machine["States"]["ProcessBacklog"]["Branches"][0]["States"]
        process["CheckProgress"]["Parameters"]["drain_timeout_seconds"] = 4

    stack.emulator.set(latency_ms=3000, transactions_per_second_per_unit=3)
    for number in range(40):
        stack.upload(f"{number}.png", picture(number))
    # What is in flight may take analyze_timeout_seconds, which is 10.
    with stack.definition(soon):
        check_failed(stack, stack.run(), "DrainTimeoutError", step="CheckProgress", within_seconds=4 + 10)
    left = len(stack.keys(stack.source))
    assert 0 < left < 40
    stack.check_each(left=left)
    stack.emulator.reset()
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check_each()
    stack.check_nothing_runs(refused_calls_allowed=True)


@pytest.mark.fault("From outside: a mapping and a model that somebody left on")
def test_peer_failing_the_next_tick_never_looks_at_the_model(stack: Stack) -> None:
    """No image waits, but the model runs and the mapping is enabled: whatever left them so, the tick ends it."""
    stack.force_status("running")
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=True)
    described = stack.run()
    assert described["status"] == "SUCCEEDED"
    assert stack.states(described["executionArn"])[-1] == "NothingToDo"
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (0, 1)
    stack.check()


@pytest.mark.matrix
def test_peer_failing_an_image_that_never_succeeds_restarts_the_model_every_hour(stack: Stack) -> None:
    """An image whose message is in the dead-letter queue is given up: it blocks no other, and starts nothing more."""
    unlucky = stack.upload("unlucky.png", picture())
    taken = stack.sqs.receive_message(QueueUrl=stack.queue_url, WaitTimeSeconds=10)["Messages"][0]
    stack.sqs.send_message(QueueUrl=stack.dead_letter_queue_url, MessageBody=taken["Body"])
    stack.sqs.delete_message(QueueUrl=stack.queue_url, ReceiptHandle=taken["ReceiptHandle"])
    stack.upload("good.png", picture(1))
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    assert json.loads(described["output"])["images_processed"] == 1
    assert stack.keys(stack.final, "stuck/") == [stuck_key(unlucky.key, unlucky.version_id)]
    stack.check(left=1)
    described = stack.run()
    assert stack.states(described["executionArn"])[-1] == "NothingToDo"
    assert stack.environment.model()["starts"] == 1
    # What `batch-vision retry` does.
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=taken["Body"])
    stack.s3.delete_object(Bucket=stack.final, Key=stuck_key(unlucky.key, unlucky.version_id))
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check()


def test_a_folder_made_in_the_console_buys_no_start(stack: Stack) -> None:
    stack.upload("folder/", b"")
    described = stack.run()
    assert stack.states(described["executionArn"])[-1] == "NothingToDo"
    assert stack.environment.model()["starts"] == 0
    stack.check(left=1)


def test_the_functions_logs_are_where_a_user_finds_them(stack: Stack) -> None:
    stack.upload("a.png", picture())
    stack.run()
    stack.check()
    name = stack.environment.output("analyze_images_function_name")
    log = Path(config.LOGS / "lambda" / f"{name}.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    outcomes = [line for line in lines if line.get("message") == "image" and line.get("key") == "a.png"]
    assert outcomes[-1]["outcome"] == "processed"
    emf = [line for line in lines if "_aws" in line]
    assert "ImagesProcessed" in emf[-1]


def test_every_function_runs_with_its_own_role_and_log_group(stack: Stack) -> None:
    listed: list[dict[str, Any]] = stack.functions.list_functions()["Functions"]
    assert len({function["Role"] for function in listed}) == len(listed) == 9
    groups = {group["logGroupName"] for group in stack.environment.client("logs").describe_log_groups()["logGroups"]}
    assert {f"/aws/lambda/{function['FunctionName']}" for function in listed} <= groups


def executions(stack: Stack) -> list[str]:
    listed = stack.workflow.list_executions(stateMachineArn=stack.state_machine_arn)["executions"]
    return [execution["executionArn"] for execution in listed]


def test_a_large_backlog_gets_more_units_and_a_wider_mapping_and_a_plan_sees_no_change(stack: Stack) -> None:
    """40 images, half an image a second for each unit, in a minute: two units, and two Lambdas for each.

    The schedule lets 39 images wait for another one, as long as they are young.
    """
    gate = {"start_backlog_images": 40, "start_max_age_seconds": 3600}
    stack.apply(target_drain_seconds=60, images_per_second_per_unit=0.5, **gate)
    for number in range(39):
        stack.upload(f"{number}.png", picture(number))
    as_scheduled = json.dumps({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}})
    described = stack.wait(stack.start(input=as_scheduled))
    assert described["status"] == "SUCCEEDED", described
    assert "39 images wait, fewer than start_backlog_images = 40" in json.loads(described["output"])["backlog"]["held"]
    assert stack.environment.model()["starts"] == 0
    stack.check(left=39)
    stack.upload("39.png", picture(39))
    described = stack.wait(stack.start(input=as_scheduled))
    assert described["status"] == "SUCCEEDED", described
    stack.check()
    summary, model = json.loads(described["output"]), stack.environment.model()
    assert summary["inference_units"] == 2
    assert model["inference_units"] == 2
    assert model["billed_unit_seconds"] > summary["model_on_seconds"]
    mapping = stack.functions.get_event_source_mapping(UUID=stack.mapping_uuid)
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 4}
    status, printed = Terraform().plan()
    assert status == 0, printed


def test_the_schedule_itself_starts_a_run(stack: Stack) -> None:
    """Not StartExecution: the EventBridge rule, made by Terraform, with its own role."""
    uploads = [stack.upload(f"{number}.png", picture(number)) for number in range(3)]
    rule, events = stack.environment.output("schedule_rule_name"), stack.environment.client("events")
    assert events.describe_rule(Name=rule)["ScheduleExpression"] == stack.arguments["schedule_expression"]
    before = set(executions(stack))
    # LocalStack takes up a changed schedule only when a target is put to the rule again.
    stack.apply(
        "-refresh=false",
        "-replace=module.batch_vision.module.schedule[0].aws_cloudwatch_event_target.this",
        schedule_expression="rate(1 minute)",
    )
    wait_until(lambda: set(executions(stack)) - before, 120, "the rule starts a run")
    (started,) = set(executions(stack)) - before
    assert stack.wait(started)["status"] == "SUCCEEDED"
    stack.schedule(rule, stack.arguments["schedule_expression"])
    stack.check()
    assert len(stack.results()) == len(uploads)
