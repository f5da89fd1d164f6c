"""The workflow as a text: what no run would show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from statelint.linter import Linter

from batch_vision.core import errors
from local.config import REPOSITORY

DEFINITION = REPOSITORY / "state_machine.asl.json"
WORKFLOW = json.loads(DEFINITION.read_text())


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


def test_it_is_short_enough_to_be_read() -> None:
    assert len(list(states(WORKFLOW))) <= 30
    assert len(DEFINITION.read_text().splitlines()) <= 600


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_peer_failing_no_retry_and_no_timeout(name: str, task: dict[str, Any]) -> None:
    """Every task has the common Retry, or that of the way out; what these are is Terraform's to say.

    The index can wait: the next run makes up for it.
    """
    if name == "CompactCatalog":
        assert (task["TimeoutSeconds"], "Retry" in task) == ("${compact_timeout_seconds}", False)
        return
    assert task["Retry"] == ("@retry_of_close" if name == "Close" else "@retry")
    assert task["TimeoutSeconds"] in tuple(
        f"${{{kind}_timeout_seconds}}" for kind in ("step", "long_step", "summarize")
    )


def test_an_error_that_waiting_does_not_mend_is_not_repeated() -> None:
    """Each of these would hold the run, and perhaps the model, for minutes of back-off before it has its name."""
    final = set(terraform_list("final_errors"))
    known = {name for name, thing in vars(errors).items() if isinstance(thing, type)}
    assert final <= known, "a name that no error has"
    of_model_and_mapping = {
        error.__name__ for root in (errors.ModelError, errors.MappingError) for error in root.__subclasses__()
    }
    assert of_model_and_mapping - {"ModelBusyError"} <= final
    assert final >= {
        "AccessDeniedError",
        "BackendChangedError",
        "DrainTimeoutError",
        "NoProgressError",
        "SettingsError",
    }
    assert not final & {error.__name__ for error in errors.TransientError.__subclasses__()}


def terraform_list(name: str) -> list[str]:
    """Read a list of texts among the locals of the module."""
    text = "\n".join(path.read_text() for path in sorted((REPOSITORY / "terraform").glob("*.tf")))
    (items,) = re.findall(rf"^  {name} += \[(.*?)\]$", text, re.DOTALL | re.MULTILINE)
    return re.findall(r'"(.*?)"', items)


def test_peer_failing_one_error_leaves_the_model_running() -> None:
    """From the moment that the model may be on, every error leads to the one way out."""
    outside = {name: state for name, state in WORKFLOW["States"].items() if state["Type"] in ("Task", "Parallel")}
    caught = {name: [(c["ErrorEquals"], c["Next"]) for c in state.get("Catch", [])] for name, state in outside.items()}
    assert caught == {
        "ListRunningExecutions": [],
        "CheckForWork": [(["States.ALL"], "Close")],
        "ProcessBacklog": [(["States.ALL"], "Close")],
        "Close": [(["States.ALL"], "SummarizeRun")],
        "SummarizeRun": [(["States.ALL"], "WhichErrorFirst")],
        "CompactCatalog": [(["States.ALL"], "DidAllGoWell")],
    }


@pytest.mark.fault("Compaction: an object of the catalog or of the index is damaged")
def test_the_end_of_a_run_does_not_hang_on_its_index() -> None:
    """What follows, and what it is told, is the same whatever becomes of the step."""
    state = WORKFLOW["States"]["CompactCatalog"]
    assert state["Next"] == "DidAllGoWell"
    assert state["ResultPath"] is None
    assert [caught["ResultPath"] for caught in state["Catch"]] == [None]


def test_every_loop_has_a_bound() -> None:
    assert WORKFLOW["TimeoutSeconds"] == "${execution_timeout_seconds}"
    for name in ("StartModel", "EnableMapping", "CheckProgress", "Close"):
        assert any(key.endswith("timeout_seconds") for key in dict(TASKS)[name]["Parameters"]), name


def sdk_name(name: str) -> str:
    """Write a name of the wire as the AWS SDK for Java does, which Step Functions takes: `UUID` is `Uuid`."""
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z]|$)|[A-Z]?[a-z0-9]+", name)
    return "".join(word.capitalize() for word in words)


@pytest.mark.parametrize(
    ("wire", "sdk"),
    [
        ("UUID", "Uuid"),
        ("stateMachineArn", "StateMachineArn"),
        ("SNSTopicArn", "SnsTopicArn"),
        ("QueueUrl", "QueueUrl"),
    ],
)
def test_names_of_the_sdk(wire: str, sdk: str) -> None:
    assert sdk_name(wire) == sdk


def test_the_names_of_the_sdk_integrations_are_those_that_step_functions_takes() -> None:
    """LocalStack takes any spelling; AWS refuses the state machine."""
    tasks = [task for _, task in TASKS if ":aws-sdk:" in task["Resource"]]
    assert tasks
    for task in tasks:
        service, operation = task["Resource"].rpartition(":aws-sdk:")[2].split(":")
        model = boto3.client({"sfn": "stepfunctions"}.get(service, service), region_name="us-east-1").meta.service_model
        shapes = model.operation_model(operation[0].upper() + operation[1:])
        given = {name.removesuffix(".$") for name in task["Parameters"]}
        assert given <= set(map(sdk_name, shapes.input_shape.members))
        required = set(map(sdk_name, shapes.input_shape.required_members))
        assert required <= given
        used = re.findall(r"\$\.(\w+)", json.dumps(task.get("ResultSelector", {})))
        assert set(used) <= set(map(sdk_name, shapes.output_shape.members))


def test_an_independent_validator_takes_it(planned_definition: str) -> None:
    """statelint knows the specification: fields, types, and that each state can be reached and has a way out."""
    # It wants a Float where the specification says a number.
    rendered = re.sub(r'("BackoffRate": ?\d+)(?=[,}\s])', r"\1.0", planned_definition)
    assert Linter.validate(rendered) == []
    assert Linter.validate(rendered.replace('"BooleanEquals"', '"IsTrue"')) != []


@pytest.fixture
def planned_definition(planned: list[dict[str, Any]]) -> str:
    (machine,) = [resource for resource in planned if resource["type"] == "aws_sfn_state_machine"]
    return str(machine["values"]["definition"])


def test_a_call_that_hangs_costs_no_more_than_is_documented(planned_definition: str) -> None:
    """At the module's defaults; twice its timeout, and the pause between."""
    rendered = json.loads(planned_definition)
    seconds = {}
    for name, task in states(rendered):
        if task["Type"] == "Task" and name not in ("Close", "CompactCatalog"):
            (hung,) = [retry for retry in task["Retry"] if "States.Timeout" in retry["ErrorEquals"]]
            assert "Sandbox.Timedout" in hung["ErrorEquals"], "what Lambda calls its own timeout"
            seconds[name] = (hung["MaxAttempts"] + 1) * task["TimeoutSeconds"] + hung["MaxAttempts"] * hung[
                "IntervalSeconds"
            ]
    long = {name: seconds.pop(name) for name in ("RequeueImages", "SummarizeRun")}
    assert set(seconds.values()) == {142}
    assert long == {"RequeueImages": 622, "SummarizeRun": 1822}  # the model is off when a run is summed up


def test_a_call_that_fails_at_once_is_tried_again_for_some_four_minutes(planned_definition: str) -> None:
    rendered = json.loads(planned_definition)
    for name, task in states(rendered):
        if task["Type"] == "Task" and name != "CompactCatalog":
            last = task["Retry"][-1]
            assert last["ErrorEquals"] == ["States.ALL"]
            waits = [min(60, last["IntervalSeconds"] * 2**attempt) for attempt in range(last["MaxAttempts"])]
            assert sum(waits) == 242 if name != "Close" else sum(waits) > 3600
