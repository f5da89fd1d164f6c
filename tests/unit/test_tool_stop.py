"""Everything off, whatever is in the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batch_vision.aws.current_run import write_current_run
from batch_vision.aws.mappings import EventSourceMapping
from batch_vision.core.errors import AccessDeniedError, ModelStopTimeoutError
from batch_vision.core.models import Model
from batch_vision.operator import runs
from batch_vision.operator import stop as stop_module
from batch_vision.operator.stack import Stack
from batch_vision.operator.stop import Stopped, stop
from local.config import PROJECT_ARN, PROJECT_VERSION_ARN
from tests.unit.tool_stack import FINAL, NAME, Deployed

MODEL = {"project_arn": PROJECT_ARN, "project_version_arn": PROJECT_VERSION_ARN}


@pytest.fixture
def stack(deployed: Deployed) -> Stack:
    return deployed.stack()


def turn_on(deployed: Deployed) -> None:
    deployed.start_model()
    deployed.functions.update_event_source_mapping(UUID=deployed.mapping_uuid, Enabled=True)


def go(stack: Stack, timeout_seconds: int = 60) -> Stopped:
    return stop(stack, timeout_seconds, 0.01, lambda _: None)


def test_all_that_is_on_is_stopped(deployed: Deployed) -> None:
    turn_on(deployed)
    names = [deployed.execution().rpartition(":")[2] for _ in range(2)]
    result = deployed.call("stop", "--poll-seconds", "0.2")
    assert result.exit_code == 0, result.output
    assert deployed.model_status() == "STOPPED"
    assert deployed.mapping_state() == "Disabled"
    assert runs.running(deployed.stack()) == []
    for name in names:
        assert f"run {name} is stopped" in result.stdout
    assert "all is off: no run, the mapping is Disabled, the model is STOPPED" in result.stdout
    assert "aws events disable-rule --name pile-schedule" in result.stdout


def test_an_execution_is_stopped_with_a_reason(deployed: Deployed, stack: Stack) -> None:
    arn = deployed.execution()
    go(stack)
    assert deployed.workflow.describe_execution(executionArn=arn)["status"] == "ABORTED"


def test_when_all_is_off_nothing_is_asked_to_stop(deployed: Deployed) -> None:
    answer = deployed.json("stop")
    assert (answer["runs"], answer["is_good"]) == ([], True)
    assert deployed.emulator.model()["stops"] == 0


def test_a_model_that_is_starting_is_stopped_when_it_is_up(deployed: Deployed, stack: Stack) -> None:
    deployed.emulator.set(start_seconds=0.5, stop_seconds=0.3)
    turn_on(deployed)
    assert deployed.model_status() == "STARTING"
    assert go(stack).is_good
    assert deployed.model_status() == "STOPPED"


def test_a_stop_that_is_never_confirmed_is_an_error(deployed: Deployed, stack: Stack) -> None:
    turn_on(deployed)
    deployed.emulator.set(stop_seconds=1000)
    with pytest.raises(ModelStopTimeoutError, match="It may be costing money"):
        go(stack, timeout_seconds=0)
    result = deployed.call("stop", "--timeout-seconds", "1", "--poll-seconds", "0.2")
    assert (result.exit_code, "It may be costing money" in result.stderr) == (1, True)
    assert deployed.mapping_state() == "Disabled"


def test_throttled_it_asks_again(deployed: Deployed, stack: Stack) -> None:
    turn_on(deployed)
    # More than botocore repeats by itself.
    deployed.emulator.inject("DescribeProjectVersions", "ThrottlingException", count=6)
    assert go(stack).is_good


class Refusing:
    """A client one of whose calls is refused, so often."""

    def __init__(self, client: Any, method: str, code: str, times: int) -> None:
        self._client, self._method, self._code, self._times = client, method, code, times

    def __getattr__(self, name: str) -> Any:
        if name != self._method or self._times == 0:
            return getattr(self._client, name)
        self._times -= 1

        def refuse(**_: Any) -> Any:
            answer: Any = {"Error": {"Code": self._code, "Message": "no"}, "ResponseMetadata": {}}
            raise ClientError(answer, name)

        return refuse


@pytest.mark.parametrize(
    ("service", "method"), [("workflow", "stop_execution"), ("functions", "update_event_source_mapping")]
)
def test_whatever_is_refused_the_model_is_stopped(deployed: Deployed, stack: Stack, service: str, method: str) -> None:
    turn_on(deployed)
    deployed.execution()
    stack.__dict__[service] = Refusing(getattr(stack, service), method, "AccessDeniedException", 100)
    with pytest.raises((ClientError, AccessDeniedError), match="AccessDenied"):
        go(stack)
    assert deployed.model_status() == "STOPPED"


def test_a_mapping_that_is_busy_is_asked_again(deployed: Deployed, stack: Stack) -> None:
    turn_on(deployed)
    stack.__dict__["functions"] = Refusing(stack.functions, "update_event_source_mapping", "ResourceInUseException", 2)
    assert go(stack).is_good


def test_a_mapping_that_stays_enabled_does_not_keep_the_model_on(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn_on(deployed)
    monkeypatch.setattr(stop_module, "_MAPPING_SECONDS", 0)
    monkeypatch.setattr(EventSourceMapping, "disable", lambda _: None)
    result = deployed.call("stop", "--poll-seconds", "0.2")
    assert (result.exit_code, f"--uuid {deployed.mapping_uuid} --no-enabled" in result.stdout) == (1, True)
    assert (deployed.mapping_state(), deployed.model_status()) == ("Enabled", "STOPPED")


def test_images_in_flight_are_waited_for_but_no_longer_than_a_batch_lives(deployed: Deployed, stack: Stack) -> None:
    """The deployed function has two seconds; a message that failed is hidden for longer."""
    deployed.sqs.send_message(QueueUrl=deployed.queue_url, MessageBody="m")
    deployed.sqs.receive_message(QueueUrl=deployed.queue_url)
    seen: list[str] = []
    assert stop(stack, 60, 0.1, seen.append).is_good
    assert 1 < sum("1 messages in flight" in text for text in seen) < 30


def after_each_close(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    real = stop_module._close

    def close(*words: Any) -> None:
        real(*words)
        act()

    monkeypatch.setattr(stop_module, "_close", close)


def test_a_run_that_the_schedule_starts_meanwhile_is_stopped_too(
    deployed: Deployed, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed.execution()
    starts = iter([True])

    def tick() -> None:
        if next(starts, False):
            deployed.execution()
            turn_on(deployed)

    after_each_close(monkeypatch, tick)
    answer = go(stack)
    assert (len(answer.runs), answer.is_good) == (2, True)
    assert deployed.model_status() == "STOPPED"


def test_runs_that_are_started_faster_than_they_are_stopped(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_each_close(monkeypatch, lambda: deployed.execution() and None)
    result = deployed.call("stop")
    assert (result.exit_code, "Pause the schedule first" in result.stdout) == (1, True)


def test_the_model_of_a_run_before_an_apply_is_stopped_too(deployed: Deployed, stack: Stack) -> None:
    """current-run.json names it, and the deployment another one since."""
    deployed.start_model()
    write_current_run(deployed.s3, FINAL, "r", "arn", Model.named("rekognition_custom_labels", MODEL))
    other = {name: f"{arn[:-1]}7" for name, arn in MODEL.items()}
    deployed.configure(BACKEND_SETTINGS=json.dumps(other))
    result = deployed.call("stop", "--poll-seconds", "0.2")
    assert (deployed.model_status(), result.exit_code) == ("STOPPED", 0), result.output


def test_a_stack_of_another_version_is_stopped_all_the_same(deployed: Deployed) -> None:
    """Its functions are told less, or more, than this version tells them."""
    variables = deployed.environment("analyze-images")
    few = {variable: variables[variable] for variable in ("BACKEND", "BACKEND_SETTINGS")}
    for told in (few, few | {"OF_A_LATER_VERSION": "1", "MIN_INFERENCE_UNITS": "many", "SOURCE_PREFIXES": "{"}):
        for function in deployed.function_names:
            deployed.functions.update_function_configuration(
                FunctionName=f"{NAME}-{function}", Environment={"Variables": told}
            )
        turn_on(deployed)
        result = deployed.call("stop", "--poll-seconds", "0.2")
        assert (result.exit_code, deployed.model_status()) == (0, "STOPPED"), result.output
        status = deployed.call("status")
        assert (status.exit_code, "all is well" in status.stdout) == (0, True), status.output


def test_it_needs_no_more_than_the_environment_of_the_analyzing_function(deployed: Deployed) -> None:
    for function in set(deployed.function_names) - {"analyze-images"}:
        deployed.functions.delete_function(FunctionName=f"{NAME}-{function}")
    turn_on(deployed)
    result = deployed.call("stop", "--poll-seconds", "0.2")
    assert (result.exit_code, deployed.model_status()) == (0, "STOPPED"), result.output
    status = deployed.call("status")
    assert (status.exit_code, f"{NAME}-check-backlog" in status.stderr) == (3, True), status.output


@pytest.mark.parametrize("change", [{"BACKEND": "of_a_later_version"}, {"BACKEND_SETTINGS": "{}"}])
def test_a_model_that_this_version_does_not_know_is_told_and_the_rest_stopped(
    deployed: Deployed, change: dict[str, str]
) -> None:
    turn_on(deployed)
    deployed.execution()
    deployed.configure(**change)
    result = deployed.call("stop", "--poll-seconds", "0.2")
    assert (result.exit_code, "in the console of its service" in result.stdout) == (1, True), result.output
    assert (deployed.mapping_state(), runs.running(deployed.stack())) == ("Disabled", [])
    status = deployed.call("status")
    assert (status.exit_code, "all is well" in status.stdout) == (1, False), status.output
    assert "Disabled" in status.stdout
    status = deployed.json("status")
    assert status["model"]["error"]["type"] == "SettingsError"
    assert status["mapping"]["state"] == "Disabled"


def test_ctrl_c(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    turn_on(deployed)
    deployed.emulator.set(stop_seconds=1000)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stop_module.time, "sleep", interrupt)
    result = deployed.call("stop")
    assert (result.exit_code, "Go on with: batch-vision stop" in result.stderr) == (130, True)


def test_a_model_that_was_deleted_is_off(deployed: Deployed, stack: Stack) -> None:
    deployed.emulator.inject("DescribeProjectVersions", "ResourceNotFoundException")
    assert go(stack).model_status == "deleted"
