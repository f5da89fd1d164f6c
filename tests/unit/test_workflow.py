"""The workflow as a text: what no run would show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from batch_vision.core import errors
from local.config import REPOSITORY

WORKFLOW = json.loads((REPOSITORY / "state_machine.asl.json").read_text())


def states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        for branch in state.get("Branches", []):
            yield from states(branch)


TASKS = [(name, state) for name, state in states(WORKFLOW) if state["Type"] == "Task"]


def followers(state: dict[str, Any]) -> set[str]:
    paths = [state, *state.get("Choices", []), *state.get("Catch", [])]
    return {path[key] for path in paths for key in ("Next", "Default") if key in path}


def test_every_state_can_be_reached_and_every_transition_has_an_end() -> None:
    for machine in (WORKFLOW, WORKFLOW["States"]["ProcessBacklog"]["Branches"][0]):
        targets = {machine["StartAt"]}.union(*(followers(state) for state in machine["States"].values()))
        assert targets == set(machine["States"])


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_peer_failing_no_retry_and_no_timeout(name: str, task: dict[str, Any]) -> None:
    assert task["Retry"][-1]["ErrorEquals"] == ["States.ALL"]
    if task["Resource"].endswith("lambda:invoke"):
        assert task["TimeoutSeconds"] == "${control_timeout_seconds}"
        known = {name for name, thing in vars(errors).items() if isinstance(thing, type)}
        assert set(task["Retry"][0]["ErrorEquals"]) <= known, "a name that no error has"
        assert task["Retry"][0]["MaxAttempts"] == 0


def test_an_error_that_waiting_does_not_mend_is_not_repeated() -> None:
    """Each of these would hold the run, and perhaps the model, for minutes of back-off before it has its name."""
    given_up = {
        name: set(task["Retry"][0]["ErrorEquals"]) for name, task in TASKS if task["Resource"].endswith("lambda:invoke")
    }
    of_the_model = {error.__name__ for error in errors.ModelError.__subclasses__()}
    assert given_up["StartModel"] >= of_the_model - {"ModelBusyError", "ModelStopTimeoutError"}
    assert given_up["StopModel"] >= {"ModelNotFoundError", "ModelStopTimeoutError"}
    assert given_up["StartModel"] & given_up["StopModel"] >= {"AccessDeniedError"}
    of_the_drain = {"DeadLettersError", "NoProgressError", "DrainTimeoutError"}
    assert given_up["CheckForWork"] & given_up["CheckProgress"] >= of_the_drain
    assert given_up["StartModel"] & given_up["CheckForWork"] & given_up["CheckProgress"] >= {"BackendChangedError"}
    assert all("SettingsError" in names for names in given_up.values())


def test_peer_failing_one_error_leaves_the_model_running() -> None:
    """From the moment that the model may be on, every error leads to its stop."""
    outside = {name: state for name, state in WORKFLOW["States"].items() if state["Type"] in ("Task", "Parallel")}
    unguarded = {name for name, state in outside.items() if "Catch" not in state}
    assert unguarded == {"ListRunningExecutions"}
    for state in outside.values():
        if "Catch" in state:
            assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"]
    # The one error that has a name of ours leads to the stop as well.
    named = [catch for state in outside.values() for catch in state.get("Catch", [])[:-1]]
    assert [catch["Next"] for catch in named] == ["TriggerNotFound"]
    assert WORKFLOW["States"]["TriggerNotFound"]["Next"] == "RecordStop"


def test_every_loop_has_a_bound() -> None:
    bounds = {"trigger_max_checks", "in_flight_max_checks"}
    text = json.dumps(WORKFLOW)
    assert all(f"${{{bound}}}" in text for bound in bounds)
    assert WORKFLOW["TimeoutSeconds"] == "${execution_timeout_seconds}"
    for name in ("StartModel", "StopModel", "CheckProgress"):
        payload = dict(TASKS)[name]["Parameters"]["Payload"]
        assert any(key.endswith("timeout_seconds") for key in payload), name
