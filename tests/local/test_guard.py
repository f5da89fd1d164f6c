"""End to end: what the watchdog stops when the workflow cannot, and what it leaves alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import batch_vision.runs
from local import config
from local.emulator.models import HOSTED_MODELS, MODELS
from local.environment import OFF_STATUSES
from local.errors import LocalError
from local.terraform import Terraform
from tests.local.failed_runs import check_failed
from tests.local.stack import Stack
from tests.local.test_stack import picture
from tests.local.waits import LOAD_SECONDS, wait_until

pytestmark = [pytest.mark.local, pytest.mark.timeout(1200)]

BACKEND = "rekognition_custom_labels"
OTHER = "lookout_for_vision"

SUMMARY_VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((Path(batch_vision.runs.__file__).parent / "summary.schema.json").read_text()),
    format_checker=jsonschema.FormatChecker(),
)

# From the end of an execution until everything is asked to stop: model_poll_seconds, which is 1 here, and the time for
# an event and a cold start of the function on a busy laptop.
REACTION_SECONDS = 15


def is_off(stack: Stack) -> bool:
    statuses = [stack.emulator.model(model.arn)["status"] for model in HOSTED_MODELS.values()]
    return stack.mapping_state() == "Disabled" and all(status in OFF_STATUSES for status in statuses)


def abort_in(stack: Stack, execution: str, state: str) -> None:
    wait_until(lambda: state in stack.states(execution), 60, f"state {state}")
    stack.workflow.stop_execution(executionArn=execution)
    assert stack.wait(execution)["status"] == "ABORTED"


def rule_name(stack: Stack, kind: str) -> str:
    return f"{stack.state_machine_arn.rsplit(':', 1)[-1]}-guard-{kind}"


def target_input(stack: Stack, kind: str) -> dict[str, Any]:
    """What a rule of the watchdog hands over, as Terraform wrote it."""
    (target,) = stack.environment.client("events").list_targets_by_rule(Rule=rule_name(stack, kind))["Targets"]
    return dict(json.loads(target["Input"]))


def call_guard(stack: Stack, event: dict[str, Any]) -> dict[str, Any]:
    name = stack.state_machine_arn.rsplit(":", 1)[-1]
    answer = stack.functions.invoke(FunctionName=f"{name}-guard-model", Payload=json.dumps(event))
    assert "FunctionError" not in answer, answer["Payload"].read()
    return dict(json.loads(answer["Payload"].read()))


def tasks_logged(stack: Stack) -> list[str]:
    """What the watchdog was called for, as its log says."""
    name = stack.state_machine_arn.rsplit(":", 1)[-1]
    log = config.LOGS / "lambda" / f"{name}-guard-model.log"
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")] if log.exists() else []
    return [line["task"] for line in lines if line.get("message") == "guard"]


@contextmanager
def alerts(stack: Stack) -> Iterator[Callable[..., list[dict[str, str]]]]:
    """Subscribe to the alerts for a while; gives the functions' mails, or the alarms, since the last call."""
    sns = stack.environment.client("sns")
    url = stack.sqs.create_queue(QueueName="alerts")["QueueUrl"]
    arn = stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = stack.environment.output("alert_topic_arn")
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]

    kept: dict[bool, list[dict[str, str]]] = {False: [], True: []}

    def received(*, alarms: bool = False) -> list[dict[str, str]]:
        found = stack.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5).get("Messages", [])
        for message in found:
            stack.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            body = json.loads(message["Body"])
            kept[body["Subject"].startswith("ALARM:")].append(body)
        answer, kept[alarms] = kept[alarms], []
        return answer

    try:
        yield received
    finally:
        sns.unsubscribe(SubscriptionArn=subscription)
        stack.sqs.delete_queue(QueueUrl=url)


@pytest.mark.fault("From outside: StopExecution in each phase")
@pytest.mark.parametrize(
    ("state", "on_for_seconds"),
    [
        ("WaitForModel", 4),  # the model is starting and cannot be stopped before it runs
        ("WaitForProgress", 0),
        ("WaitForClose", 0),
    ],
)
def test_an_execution_that_somebody_aborts(stack: Stack, state: str, on_for_seconds: float) -> None:
    stack.emulator.set(start_seconds=4 if state == "WaitForModel" else 1, stop_seconds=2, latency_ms=300)
    for number in range(30 if state == "WaitForProgress" else 3):
        stack.upload(f"{number}.png", picture(number))
    execution = stack.start()
    abort_in(stack, execution, state)
    wait_until(lambda: is_off(stack), on_for_seconds + 2 + REACTION_SECONDS, "mapping disabled and model off")
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (1, 1)
    stack.check_each(left=len(stack.keys(stack.source)))
    assert f"runs/{execution.rsplit(':', 1)[-1]}.json" not in stack.keys(stack.final, "runs/")
    stack.emulator.set(start_seconds=1)
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check_each()
    stack.check_nothing_runs(refused_calls_allowed=True)


@pytest.mark.matrix
@pytest.mark.fault("From outside: the execution reaches its own timeout")
def test_an_execution_that_reaches_its_own_timeout(stack: Stack) -> None:
    stack.emulator.set(start_seconds=5)
    stack.upload("a.png", picture())
    with stack.definition(lambda machine: machine.update(TimeoutSeconds=3)):
        described = stack.run()
        assert described["status"] == "TIMED_OUT"
        wait_until(lambda: is_off(stack), 5 + 1 + REACTION_SECONDS, "mapping disabled and model off")
    assert (stack.environment.model()["starts"], stack.environment.model()["stops"]) == (1, 1)
    stack.check(left=1)
    assert f"runs/{described['name']}.json" not in stack.keys(stack.final, "runs/")
    stack.emulator.set(start_seconds=1)
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check()


@pytest.mark.fault("Finishing: stop refused")
def test_an_execution_that_cannot_stop_the_model_itself(stack: Stack) -> None:
    """It fails by that name with the model running; the watchdog stops it and says so."""
    stack.emulator.inject("StopProjectVersion", "AccessDeniedException", count=1)
    stack.upload("a.png", picture())
    with alerts(stack) as received:
        check_failed(stack, stack.run(), "AccessDeniedError", step="Close", within_seconds=0)
        wait_until(lambda: is_off(stack), 1 + REACTION_SECONDS, "mapping disabled and model off")
        wait_until(lambda: bool(found := received()) and check_alert(stack, found), 30, "the alert")
    assert stack.environment.model()["stops"] == 1
    stack.upload("b.png", picture(1))
    assert stack.run()["status"] == "SUCCEEDED"
    stack.check()


def test_a_run_that_succeeded_is_told_of_once_and_summed_up_as_it_was(stack: Stack) -> None:
    stack.emulator.set(start_seconds=2, stop_seconds=1)
    stack.inject("detect", "throttled", count=3)
    for number in range(5):
        stack.upload(f"{number}.png", picture(number))
    stack.upload("notes.txt", b"no picture")
    stack.upload("more notes.txt", b"no picture either")
    with alerts(stack) as received:
        described = stack.run()
        (notice,) = received()
        assert received() == []
        # 2 of 7 are more than rejected_alarm_percent.
        hand_on_metrics(stack, "summarize-run")
        evaluate_alarm(stack, "e2e-rejected")
        wait_until(lambda: bool(found := received(alarms=True)) and check_alarm(found), 30, "the alarm")
    assert described["status"] == "SUCCEEDED"
    summary = json.loads(described["output"])
    SUMMARY_VALIDATOR.validate(summary)
    assert (summary["images_processed"], summary["images_rejected"], summary["images_left"]) == (5, 2, 0)
    assert summary["rejected_by_reason"] == {"InvalidImageFormatError": 2}
    assert (summary["throttles"], summary["inference_units"], summary["end_reason"]) == (3, 1, "drained")
    model = stack.environment.model()
    assert model["billed_unit_seconds"] <= summary["model_on_seconds"] < model["billed_unit_seconds"] + LOAD_SECONDS
    assert summary["cost_dollars"] == pytest.approx(summary["model_on_seconds"] / 3600 * 4, abs=1e-5)
    # The schedule is a cron(...) one, whose period is not known: the comparison is with the time of the run.
    assert summary["always_on_seconds"] > summary["model_on_seconds"]
    assert summary["always_on_cost_dollars"] == pytest.approx(summary["always_on_seconds"] / 3600 * 4, abs=1e-5)
    assert summary["slowest_image"]["key"] in {upload.key for upload in stack.uploads}
    assert notice["Subject"] == "e2e: 5 images processed"
    assert "Rejected:  2 (InvalidImageFormatError 2)" in notice["Message"].splitlines()
    stack.check()


def hand_on_metrics(stack: Stack, function: str) -> None:
    """Do what CloudWatch does and LocalStack does not: take the metrics from the last such line of a log."""
    log = config.LOGS / "lambda" / f"{stack.arguments['name_prefix']}-{function}.log"
    written = [json.loads(line) for line in log.read_text().splitlines() if '"_aws"' in line][-1]
    cloudwatch = stack.environment.client("cloudwatch")
    at = time.time() - 10  # in the period that has passed when the alarm looks
    for directive in written["_aws"]["CloudWatchMetrics"]:
        dimensions = [{"Name": name, "Value": written[name]} for name in directive["Dimensions"][0]]
        values = [
            {"MetricName": metric["Name"], "Dimensions": dimensions, "Values": written[metric["Name"]], "Timestamp": at}
            for metric in directive["Metrics"]
        ]
        cloudwatch.put_metric_data(Namespace=directive["Namespace"], MetricData=values)


def evaluate_alarm(stack: Stack, name: str) -> None:
    """Have an alarm look at once, as it is: LocalStack looks when an alarm is put, and then once in its period."""
    cloudwatch = stack.environment.client("cloudwatch")
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    known = cloudwatch.meta.service_model.operation_model("PutMetricAlarm").input_shape.members
    cloudwatch.put_metric_alarm(**{field: value for field, value in alarm.items() if field in known})


def check_alarm(found: list[dict[str, str]]) -> bool:
    (alarm,) = found
    assert alarm["Subject"].startswith('ALARM: "e2e-rejected"')
    told = json.loads(alarm["Message"])
    assert told["AlarmDescription"].startswith(
        "Look at why images are rejected: batch-vision results --status rejected."
    )
    assert told["Trigger"]["MetricName"] == "RejectedPercent"
    return True


def check_alert(stack: Stack, found: list[dict[str, str]]) -> bool:
    (alert,) = found
    assert alert["Subject"] == "e2e: a run failed, AccessDeniedError"
    assert alert["Message"].startswith("See what to do about AccessDeniedError: batch-vision status\n")
    assert "Processed: 1 of about 1" in alert["Message"].splitlines()
    assert f"Asked to stop: model {MODELS[BACKEND].arn}" in alert["Message"].splitlines()
    return True


def test_an_execution_that_was_begun_with_another_model(stack: Stack) -> None:
    """An apply has changed the model since: current-run.json says which one it had."""
    stack.apply("-refresh=false", former_settings={"backends": [OTHER]})
    stack.emulator.force_status("HOSTED", MODELS[OTHER].arn)
    stack.upload("a.png", picture())
    execution = stack.start()
    wait_until(lambda: "WaitForModel" in stack.states(execution), 60, "the model is starting")
    entry = stack.read_json("current-run.json")
    assert (entry["execution_arn"], entry["backend"], entry["closed_at"]) == (execution, BACKEND, None)
    other = {"backend": OTHER, "backend_settings": MODELS[OTHER].argument}
    stack.s3.put_object(Bucket=stack.final, Key="current-run.json", Body=json.dumps(entry | other).encode())
    stack.workflow.stop_execution(executionArn=execution)
    wait_until(lambda: is_off(stack), 2 + 1 + REACTION_SECONDS, "mapping disabled and models off")
    assert [stack.emulator.model(MODELS[name].arn)["stops"] for name in (BACKEND, OTHER)] == [1, 1]
    stack.check(left=1)


def test_a_live_execution_keeps_what_it_has(stack: Stack) -> None:
    """Whatever the watchdog is called for, in every phase of a run."""
    # Four batches, a second each: still at work when it is asked for the third time.
    stack.emulator.set(start_seconds=4, latency_ms=1000, stop_seconds=1)
    for number in range(40):
        stack.upload(f"{number}.png", picture(number))
    tick = target_input(stack, "schedule")
    ended = tick | {"task": "execution_ended", "execution_arn": f"{stack.start()}-of-another-name"}
    execution = ended["execution_arn"].removesuffix("-of-another-name")
    for state in ("WaitForModel", "WaitForProgress"):
        wait_until(lambda state=state: state in stack.states(execution), 60, state)
        for event in (tick, ended, tick | {"task": "release_model"}):
            report = call_guard(stack, event)
            assert report["live_executions"] == [execution]
            assert (report["stopped_models"], report["is_mapping_disabled"]) == ([], False)
    assert stack.wait(execution)["status"] == "SUCCEEDED"
    assert (stack.environment.model()["starts"], stack.environment.model()["stops"]) == (1, 1)
    stack.check()


@pytest.mark.matrix
@pytest.mark.fault("From outside: a mapping and a model that somebody left on")
def test_its_own_schedule_finds_what_somebody_left_on(stack: Stack) -> None:
    """No execution, so no event either: the mapping is enabled and the model runs."""
    # LocalStack takes up a changed schedule only when a target is put to the rule again.
    stack.apply(
        "-refresh=false",
        "-replace=module.batch_vision.module.guard[0].aws_cloudwatch_event_target.schedule",
        guard_schedule_expression="rate(1 minute)",
    )
    stack.emulator.force_status("RUNNING")
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=True)
    wait_until(lambda: is_off(stack), 120 + REACTION_SECONDS, "mapping disabled and model off")
    stack.schedule(rule_name(stack, "schedule"), stack.arguments["guard_schedule_expression"])
    model = stack.environment.model()
    assert (model["starts"], model["stops"]) == (0, 1)
    stack.check()


@pytest.mark.matrix
def test_another_model_is_not_taken_up_before_the_former_one_is_off(stack: Stack) -> None:
    """No execution owns the old model and it cannot be stopped: the apply changes nothing, and the next one does it."""
    stack.emulator.force_status("RUNNING")
    stack.emulator.inject("StopProjectVersion", "AccessDeniedException", probability=1)
    with pytest.raises(
        LocalError, match=f"{MODELS[BACKEND].arn} is RUNNING. Nothing has been changed yet: apply again"
    ):
        stack.switch(OTHER)
    function = stack.environment.output("analyze_images_function_name")
    configured = stack.functions.get_function_configuration(FunctionName=function)
    assert configured["Environment"]["Variables"]["BACKEND"] == BACKEND
    assert stack.emulator.model(MODELS[BACKEND].arn)["status"] == "RUNNING"
    stack.emulator.clear_faults()
    stack.switch(OTHER)
    assert stack.emulator.model(MODELS[BACKEND].arn)["stops"] == 1
    assert is_off(stack)
    configured = stack.functions.get_function_configuration(FunctionName=function)
    assert configured["Environment"]["Variables"]["BACKEND"] == OTHER


@pytest.mark.fault("From outside: `terraform destroy` in mid-run")
def test_a_destroy_in_the_middle_of_a_run(last_stack: Stack) -> None:
    stack = last_stack
    stack.apply("-refresh=false", force_destroy=False)
    # More than is done before Terraform comes to it: one poller, batches of 10, 2.5 seconds for each.
    stack.emulator.set(latency_ms=2500)
    for number in range(150):
        stack.upload(f"{number}.png", picture(number))
    execution = stack.start()
    wait_until(lambda: "WaitForProgress" in stack.states(execution), 60, "draining")
    # While the model cannot be stopped, nothing is destroyed but the schedule.
    called = tasks_logged(stack).count("execution_ended")
    for operation in ("StopProjectVersion", "StopModel"):
        stack.emulator.inject(operation, "AccessDeniedException", probability=1)
    refused = Terraform().run("destroy", "-auto-approve", "-input=false", "-no-color", "-refresh=false")
    assert refused.returncode != 0
    assert "run terraform destroy again" in " ".join(refused.stderr.split())
    assert stack.wait(execution)["status"] == "ABORTED"
    assert stack.mapping_state() == "Disabled"
    # The aborted execution has called the watchdog too; it is tried again after a minute only.
    wait_until(lambda: tasks_logged(stack).count("execution_ended") > called, 30, "the watchdog's own attempt")
    stack.emulator.clear_faults()
    assert stack.environment.model()["status"] not in OFF_STATUSES
    destroyed = Terraform().run("destroy", "-auto-approve", "-input=false", "-no-color")
    assert stack.environment.model()["status"] in OFF_STATUSES
    assert stack.environment.model()["stops"] == 1
    # LocalStack goes on listing a mapping that was disabled before it was deleted.
    mappings = stack.functions.list_event_source_mappings()["EventSourceMappings"]
    assert {mapping["State"] for mapping in mappings} <= {"Deleting"}
    assert not stack.functions.list_functions()["Functions"]
    # Images are there, so the buckets stay, and Terraform says so.
    assert destroyed.returncode != 0
    assert "BucketNotEmpty" in destroyed.stderr
    left = stack.keys(stack.source)
    assert left
    stack.check_each(left=len(left))
