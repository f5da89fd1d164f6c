"""Everything off, whatever is in the way."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from batch_vision.core.errors import ModelStopTimeoutError, ThrottledError
from batch_vision.operator import runs
from batch_vision.operator import stop as stop_module
from batch_vision.operator.stack import Stack
from batch_vision.operator.stop import Stopped, stop
from tests.unit.tool_stack import Deployed


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


def test_throttled_it_asks_again(deployed: Deployed, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    turn_on(deployed)
    real, refusals = stop_module.ensure_stopped, iter([ThrottledError("slow"), ThrottledError("slow")])

    def throttled(*words: Any) -> Any:
        for refusal in refusals:
            raise refusal
        return real(*words)

    monkeypatch.setattr(stop_module, "ensure_stopped", throttled)
    assert go(stack).is_good


def refusing(call: str) -> ClientError:
    answer: Any = {"Error": {"Code": "AccessDeniedException", "Message": "no"}, "ResponseMetadata": {}}
    return ClientError(answer, call)


@pytest.mark.parametrize("step", ["_stop_runs", "_close_mapping", "_finish_in_flight"])
def test_whatever_fails_the_model_is_stopped(
    deployed: Deployed, stack: Stack, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    turn_on(deployed)

    def fail(*_: Any) -> None:
        raise refusing(step)

    monkeypatch.setattr(stop_module, step, fail)
    with pytest.raises(ClientError, match="AccessDenied"):
        go(stack)
    assert deployed.model_status() == "STOPPED"


def test_a_mapping_that_is_busy_is_asked_again(deployed: Deployed, stack: Stack) -> None:
    turn_on(deployed)
    real = stack.functions

    class Busy:
        refusals = 2

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def update_event_source_mapping(self, **request: Any) -> Any:
            if self.refusals:
                self.refusals -= 1
                answer: Any = {"Error": {"Code": "ResourceInUseException"}}
                raise ClientError(answer, "UpdateEventSourceMapping")
            return real.update_event_source_mapping(**request)

    stack.__dict__["functions"] = Busy()
    assert go(stack).is_good


def test_a_mapping_that_stays_open_does_not_keep_the_model_on(
    deployed: Deployed, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn_on(deployed)
    monkeypatch.setattr(stop_module, "_MAPPING_SECONDS", 0)
    monkeypatch.setattr(stop_module, "_ROUNDS", 1)
    answer = go(stack)
    assert (answer.mapping_state, answer.is_model_stopped, answer.is_good) == ("Enabled", True, False)
    result = deployed.call("stop")
    assert (result.exit_code, f"--uuid {deployed.mapping_uuid} --no-enabled" in result.stdout) == (1, True)


def test_images_in_flight_are_waited_for_but_no_longer_than_a_batch_lives(deployed: Deployed, stack: Stack) -> None:
    """The deployed function has two seconds; a message that failed is hidden for longer."""
    deployed.sqs.send_message(QueueUrl=deployed.queue_url, MessageBody="m")
    deployed.sqs.receive_message(QueueUrl=deployed.queue_url)
    seen: list[str] = []
    assert stop(stack, 60, 0.1, seen.append).is_good
    assert 1 < seen.count("finishing 1 images in flight") < 30


def test_a_run_that_the_schedule_starts_meanwhile_is_stopped_too(
    deployed: Deployed, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed.execution()
    starts = iter([True, False])
    real = stop_module._stop_model

    def stop_model(*words: Any) -> None:
        real(*words)
        if next(starts, False):
            deployed.execution()
            turn_on(deployed)

    monkeypatch.setattr(stop_module, "_stop_model", stop_model)
    answer = go(stack)
    assert (len(answer.runs), answer.is_good) == (2, True)
    assert deployed.model_status() == "STOPPED"


def test_runs_that_are_started_faster_than_they_are_stopped(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stop_module._stop_model
    monkeypatch.setattr(stop_module, "_stop_model", lambda *words: (real(*words), deployed.execution()))
    result = deployed.call("stop")
    assert (result.exit_code, "Pause the schedule first" in result.stdout) == (1, True)


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
