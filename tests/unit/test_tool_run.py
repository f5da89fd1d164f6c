"""Starting and watching runs, and what to do when one ends badly."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest

from batch_vision.core.stuck import stuck_key
from batch_vision.core.times import from_text, to_text, utc_now
from batch_vision.operator import runs, watch
from batch_vision.operator.remedies import OTHER, REMEDIES, TIMED_OUT
from batch_vision.operator.runs import CHECKING, PHASES, Position, position
from batch_vision.operator.watch import Progress, Watcher
from local.config import REPOSITORY
from tests.unit.test_workflow import WORKFLOW, states, terraform_list
from tests.unit.tool_stack import FINAL, NAME, SOURCE, SUMMARY, Deployed

OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()


def test_every_phase_is_one_of_the_workflow() -> None:
    names = {name for name, _ in states(WORKFLOW)}
    assert set(PHASES) <= names


def test_every_loop_of_the_workflow_shows_in_what_the_tool_reads_of_the_history() -> None:
    """A run that is anywhere for long is in a Wait: its phase must be known while the latest events tell only of it."""
    waits = {name for name, state in states(WORKFLOW) if state["Type"] == "Wait"}
    assert waits <= set(PHASES)


def names_that_a_run_can_end_with() -> set[str]:
    # What the functions of the workflow let out after all retries, beside what is not repeated.
    repeated = {"ThrottledError", "ServiceUnavailableError", "RequestRefusedError", "ModelError", "MappingError"}
    return set(terraform_list("final_errors")) | repeated


def test_every_name_that_a_run_ends_with_has_a_remedy() -> None:
    assert set(REMEDIES) == names_that_a_run_can_end_with()


@pytest.mark.parametrize(("name", "remedy"), [*REMEDIES.items(), ("Any other name", OTHER), ("Timed out", TIMED_OUT)])
def test_the_manual_has_the_same_remedy_first(name: str, remedy: str) -> None:
    """Whoever reads the manual and whoever reads `status` are told the same; the manual may add to it."""
    section = OPERATIONS.split(f"### {name}\n", 1)
    assert len(section) == 2, f"docs/operations.md has no section for {name}"
    assert plain(section[1]).startswith(plain(remedy))


def plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def history(*entered: tuple[str, dict[str, Any]]) -> Any:
    class Workflow:
        def get_execution_history(self, **_: Any) -> Any:
            events: list[Any] = [{"type": "TaskSucceeded"}]
            for name, state in reversed(entered):
                events.append({"stateEnteredEventDetails": {"name": name, "input": json.dumps(state)}})
            return {"events": events}

    return Workflow()


RUN = {"run": {"id": "r"}, "model": None, "backlog": {"model_wanted_at": "2026-11-20T08:00:01Z"}}
MODEL = {"requested_at": "2026-11-20T08:00:02.000Z", "inference_units": 2, "running_at": None}


def test_the_position_is_that_of_the_latest_state_with_a_word() -> None:
    at = position(history(("StartModel", RUN), ("IsModelRunning", RUN | {"model": MODEL})), "arn")
    assert (at.phase, at.requested_at) == ("starting the model", MODEL["requested_at"])
    later = position(history(("IsClosed", RUN | {"processed": {"model": MODEL}})), "arn", at)
    assert (later.phase, later.model) == ("starting the model", MODEL)
    failed = position(history(("Close", RUN)), "arn", later)
    assert (failed.phase, failed.requested_at) == (PHASES["Close"], RUN["backlog"]["model_wanted_at"])


def test_the_position_before_anything_was_entered() -> None:
    at = position(history(), "arn")
    assert (at.phase, at.model, at.requested_at) == (CHECKING, None, None)
    assert position(history(("A", {})), "arn", Position("x", RUN)) == Position("x", RUN)


def test_run_starts_one_and_only_one(deployed: Deployed) -> None:
    first = deployed.json("run")
    assert first["is_started"]
    assert first["id"].startswith("operator-")
    again = deployed.json("run")
    assert (again["is_started"], again["id"]) == (False, first["id"])
    assert "Already under way" in deployed.call("run").stdout
    assert len(runs.running(deployed.stack())) == 1


@pytest.fixture
def ends(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the run that is watched end after three looks."""

    def how(status: str, **more: Any) -> None:
        looks = iter(range(3))

        def sleep(_: float) -> None:
            if next(looks) == 2:
                for arn in runs.running(deployed.stack()):
                    deployed.end(arn, status, **more)

        monkeypatch.setattr(watch.time, "sleep", sleep)

    return how


def test_watching_a_run_that_succeeds(deployed: Deployed, ends: Callable[..., None]) -> None:
    ends("SUCCEEDED", output=json.dumps(SUMMARY))
    result = deployed.call("run", "--watch")
    assert result.exit_code == 0, result.output
    for text in (
        "images processed  11",
        "images rejected   1 (InvalidImageFormatError 1)",
        "model on          15 min, 2 inference units",
        "cost              up to $2.0000",
        "the run is done, and the model is stopped",
    ):
        assert text in result.stdout, result.output
    assert "Running" in result.stderr


def test_watching_a_run_that_fails(deployed: Deployed, ends: Callable[..., None]) -> None:
    ends("FAILED", error="NoProgressError", cause="2 images are left")
    result = deployed.call("run", "--watch")
    assert result.exit_code == 1
    assert "failed: NoProgressError: 2 images are left" in result.stdout
    assert f"/aws/lambda/{NAME}-analyze-images" in result.stdout


@pytest.mark.parametrize(
    ("status", "more", "exit_status", "text"),
    [
        ("SUCCEEDED", {"output": '{"stop": {"is_stopped": true}}'}, 0, "no image waits"),
        ("SUCCEEDED", {"output": '{"executions": {"running": 2}}'}, 0, "another run was under way"),
        ("ABORTED", {}, 1, "was aborted"),
        ("TIMED_OUT", {}, 1, "Make sure that everything is off: batch-vision stop"),
        ("FAILED", {"error": "States.Runtime", "cause": "x"}, 1, OTHER),
    ],
)
def test_watching_to_every_other_end(
    deployed: Deployed, ends: Callable[..., None], status: str, more: dict[str, str], exit_status: int, text: str
) -> None:
    ends(status, **more)
    result = deployed.call("run", "--watch")
    assert (result.exit_code, text in result.stdout) == (exit_status, True), result.output


def test_images_that_are_left_are_told_and_the_status_is_not_0(deployed: Deployed, ends: Callable[..., None]) -> None:
    deployed.put("late.png")
    ends("SUCCEEDED", output=json.dumps(SUMMARY))
    result = deployed.call("run", "--watch")
    assert (result.exit_code, "1 image left in" in result.stdout) == (1, True), result.output
    assert "the run is done" not in result.stdout


def test_stuck_images_are_named_apart(deployed: Deployed, ends: Callable[..., None]) -> None:
    version = deployed.put("held.png")
    deployed.put(stuck_key("held.png", version), b"{}", FINAL)
    ends("SUCCEEDED", output=json.dumps(SUMMARY))
    result = deployed.call("run", "--watch")
    assert (result.exit_code, "1 stuck image" in result.stdout) == (0, True), result.output


@pytest.mark.parametrize(
    ("status", "more", "starts"),
    [
        ("SUCCEEDED", {"output": json.dumps(SUMMARY)}, True),
        ("SUCCEEDED", {"output": '{"stop": {"is_stopped": true}}'}, True),
        ("FAILED", {"error": "ModelQuotaError", "cause": "x"}, False),
        ("ABORTED", {}, False),
    ],
)
def test_a_run_that_was_closing_when_it_was_joined_is_followed_by_another(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, status: str, more: dict[str, str], starts: bool
) -> None:
    """It did not see the image that waits. One that failed, or that somebody stopped, is followed by none."""
    first = deployed.execution()
    version = deployed.put("late.png")

    def sleep(_: float) -> None:
        for arn in runs.running(deployed.stack()):
            if arn == first:
                deployed.end(arn, status, **more)
            else:
                deployed.s3.delete_object(Bucket=SOURCE, Key="late.png", VersionId=version)
                deployed.end(arn, "SUCCEEDED", output=json.dumps(SUMMARY))

    monkeypatch.setattr(watch.time, "sleep", sleep)
    result = deployed.call("run", "--watch", "--json")
    ended = json.loads(result.stdout)
    assert (ended["execution_arn"] != first, result.exit_code) == (starts, 0 if starts else 1), result.output
    assert (ended["images_left"], "came too late" in result.stderr) == (0 if starts else 1, starts)


def test_a_run_that_finds_another_leads_to_that_one(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both were started at the same time; ours ends at once."""
    steps = iter(("ours", "other"))

    def sleep(_: float) -> None:
        if next(steps) == "ours":
            other = deployed.workflow.start_execution(stateMachineArn=deployed.state_machine_arn, name="other")
            ours = next(arn for arn in runs.running(deployed.stack()) if arn != other["executionArn"])
            deployed.end(ours, "SUCCEEDED", output='{"executions": {"running": 2}}')
        else:
            deployed.end(runs.running(deployed.stack())[0], "SUCCEEDED", output=json.dumps(SUMMARY))

    monkeypatch.setattr(watch.time, "sleep", sleep)
    result = deployed.call("run", "--watch", "--json")
    assert (result.exit_code, json.loads(result.stdout)["id"]) == (0, "other")


def test_ctrl_c_ends_the_watching_and_not_the_run(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", sleep)
    result = deployed.call("run", "--watch")
    assert result.exit_code == 130
    assert re.search(r"stopped watching; run operator-\S+ goes on", result.stderr)
    assert len(runs.running(deployed.stack())) == 1


# How far it is.


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Move all clocks that the watcher reads."""
    now, monotonic = utc_now(), 1000.0

    def move(seconds: float) -> None:
        nonlocal now, monotonic
        now, monotonic = now + timedelta(seconds=seconds), monotonic + seconds

    monkeypatch.setattr(watch, "utc_now", lambda: now)
    monkeypatch.setattr(watch.time, "monotonic", lambda: monotonic)
    return move


def finish(deployed: Deployed, number: int, **more: Any) -> None:
    keys = list(deployed.keys("pile-source-123456789012-us-east-1"))[:number]
    deployed.catalog(to_text(watch.utc_now()), *({"key": key, "version_id": key} | more for key in keys))
    for key in keys:
        deployed.s3.delete_object(Bucket="pile-source-123456789012-us-east-1", Key=key)


def test_progress(deployed: Deployed, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        deployed.put(f"{number:02}.png")
    stack = deployed.stack()
    watcher = Watcher(stack, runs.describe(stack, deployed.execution()))
    began = watch.utc_now()

    def at(state: str, model: dict[str, Any] | None) -> None:
        monkeypatch.setattr(
            runs,
            "position",
            lambda *_: Position(PHASES[state], RUN | {"backlog": {"model_wanted_at": None}, "model": model}),
        )

    at("CheckForWork", None)
    first = watcher.look()
    assert (first.phase, first.done, first.left, first.images_per_second) == (CHECKING, 0, 30, None)
    assert (first.model_status, first.cost_dollars, first.seconds_left) == ("TRAINING_COMPLETED", 0, None)

    deployed.start_model()
    at("WaitForProgress", MODEL | {"requested_at": to_text(began)})
    clock(1800)
    assert watcher.look().cost_dollars == pytest.approx(4.0, rel=0.01)  # half an hour of two units
    deployed.configure(INFERENCE_UNIT_HOUR_DOLLARS="1.408")
    assert deployed.stack().unit_hour_dollars == 1.408
    clock(10)
    finish(deployed, 10)
    look = watcher.look()
    assert (look.done, look.left) == (10, 20)
    assert look.images_per_second == pytest.approx(1.0)
    assert look.seconds_left == pytest.approx(20.0)
    text = str(look)
    for part in ("analyzing images", "1.0 a second", "20 s left", "model RUNNING", "cost up to $4.0"):
        assert part in text

    clock(10)
    finish(deployed, 5, status="rejected")
    assert watcher.look().images_per_second == pytest.approx(0.75)
    clock(300)
    assert watcher.look().images_per_second is None, "nothing moves: no rate, and no time left"

    boto3.client("rekognition").stop_project_version(ProjectVersionArn=stack.lifecycle.model_id)
    stopped = watcher.look()
    clock(3600)
    assert watcher.look().cost_dollars == stopped.cost_dollars, "a model that is stopped costs nothing more"


def test_images_that_were_finished_before_the_run_are_not_counted(deployed: Deployed) -> None:
    deployed.catalog(to_text(utc_now() - timedelta(hours=1)), {"key": "old.png"})
    stack = deployed.stack()
    run = runs.describe(stack, deployed.execution())
    deployed.catalog(to_text(utc_now()), {"key": "new.png"}, {"key": "new.png"})
    assert Watcher(stack, run).look().done == 1


def test_a_catalog_object_that_shows_late_is_counted(deployed: Deployed) -> None:
    stack = deployed.stack()
    watcher = Watcher(stack, runs.describe(stack, deployed.execution()))
    deployed.catalog(to_text(utc_now() + timedelta(seconds=1)), {"key": "b.png"})
    assert watcher.look().done == 1
    deployed.catalog(to_text(utc_now()), {"key": "a.png"})
    assert watcher.look().done == 2


def test_time_left_is_not_guessed_from_a_lower_bound() -> None:
    progress = Progress("p", 5, 10000, True, 4.0, "RUNNING", 1.0)
    assert progress.seconds_left is None
    assert Progress("p", 5, 10000, False, 4.0, "RUNNING", 1.0).seconds_left == 2500
    assert "41:40 left" in str(Progress("p", 5, 10000, False, 4.0, "RUNNING", 1.0))


def test_a_model_that_cannot_be_asked_does_not_end_the_watching(deployed: Deployed) -> None:
    stack = deployed.stack()
    watcher = Watcher(stack, runs.describe(stack, deployed.execution()))
    deployed.emulator.inject("DescribeProjectVersions", "ResourceNotFoundException")
    assert watcher.look().model_status == "unknown (ModelNotFoundError)"


def test_a_summary_of_a_failed_run_is_read(deployed: Deployed) -> None:
    arn = deployed.execution("FAILED", error="NoProgressError", cause="stuck")
    deployed.put(f"runs/{arn.rpartition(':')[2]}.json", json.dumps(SUMMARY).encode(), FINAL)
    run = runs.describe(deployed.stack(), arn)
    assert (run.summary, run.error) == (SUMMARY, {"type": "NoProgressError", "message": "stuck"})
    assert from_text(run.to_json()["started_at"])
