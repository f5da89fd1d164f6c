"""Runs in virtual time: what must hold whatever the workflow's waits are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.asl import AslError, Execution, WorkflowFailed
from benchmarks.simulation import (
    Arrival,
    Simulation,
    SimulationError,
    World,
    bill,
    ideal_seconds,
    one_batch,
    public_sample,
    terraform_defaults,
)
from local.config import REPOSITORY


def test_the_defaults_are_those_of_the_module() -> None:
    defaults = terraform_defaults()
    text = (REPOSITORY / "terraform" / "variables.tf").read_text()
    assert f"model_poll_seconds               = optional(number, {defaults['model_poll_seconds']})\n" in text
    assert (defaults["max_concurrency"], defaults["control_memory_mb"], defaults["inference_unit_hour_dollars"]) == (
        20,
        512,
        4,
    )
    assert defaults["name_prefix"] == "batch-vision"
    assert defaults["kms_key_arn"] is None


def test_no_image_no_start() -> None:
    run = Simulation([]).run()
    assert (run.outcome, run.inference_units, run.model_on_seconds) == ("succeeded", 0, 0)
    assert "StartModel" not in run.entered


@pytest.mark.parametrize("images", [1, 10, 999, 18_000])
def test_a_run_takes_the_ideal_and_a_bounded_overhead(images: int) -> None:
    world = World()
    run = one_batch(images, world)
    assert (run.outcome, run.images) == ("succeeded", images)
    assert 0 < run.model_on_seconds - ideal_seconds(images, world) < 120
    assert run.history_events < 25_000
    assert run.transitions == sum(run.entered.values())


def test_a_few_images_wait_for_more_or_for_their_time() -> None:
    gate = {"start_backlog_images": 100, "start_max_age_seconds": 7000}
    few = Simulation([Arrival(10, 5)], **gate).run_until_empty(3600)
    assert [run.inference_units for run in few] == [0, 0, 1]
    assert few[2].started_at_seconds == 7200
    assert [run.outcome for run in few] == ["succeeded"] * 3
    more = Simulation([Arrival(10, 50), Arrival(4000, 50)], **gate).run_until_empty(3600)
    assert [run.images for run in more] == [0, 0, 100]
    enough = Simulation([Arrival(0, 100)], **gate).run_until_empty(3600)
    assert [run.images for run in enough] == [100]


def test_the_waits_are_those_of_the_variables() -> None:
    """A start that is seen late by a whole wait, of a third of the poll interval, costs that wait."""
    late = World(start_seconds=905)  # looks come at 900 and some tenths, and 100 s later
    slow = one_batch(1, late, model_poll_seconds=300)
    fast = one_batch(1, late, model_poll_seconds=1)
    assert 80 < slow.running_seconds - fast.running_seconds < 110
    assert slow.transitions < fast.transitions


def test_more_units_take_less_time() -> None:
    one, five = (one_batch(90_000, max_inference_units=units, drain_timeout_seconds=30_000) for units in (1, 5))
    assert (one.inference_units, five.inference_units) == (1, 5)
    assert five.running_seconds < one.running_seconds / 4


def test_counts_that_are_late_do_not_hold_the_model() -> None:
    exact, late = (one_batch(100, World(count_lag_seconds=lag)) for lag in (0, 30))
    assert late.running_seconds == exact.running_seconds


@pytest.mark.parametrize("images", [1, 10, 1000, 18_000])
def test_a_mapping_that_takes_a_minute_costs_the_model_little_more_than_that(images: int) -> None:
    """It is enabled when the model runs, and disabled while the model stops."""
    world = World(mapping_seconds=60)
    run = one_batch(images, world)
    assert (run.outcome, run.images) == ("succeeded", images)
    assert 60 < run.model_on_seconds - ideal_seconds(images, world) <= 75


def test_concurrency_can_be_the_limit() -> None:
    world = World(image_seconds=10)  # 2 x 10 images in 10 s: 2 a second, of 5
    assert one_batch(2_000, world).running_seconds > 1_000


def test_what_outlasts_the_drain_goes_on_in_the_next_run() -> None:
    runs = Simulation([Arrival(0, 150_000)], max_inference_units=1).run_until_empty(3600)
    assert [run.outcome for run in runs] == ["DrainTimeoutError", "succeeded"]
    assert sum(run.images for run in runs) == 150_000
    assert all(run.stopping_seconds for run in runs)
    assert runs[1].started_at_seconds % 3600 == 0


def test_images_that_arrive_in_the_middle_of_a_run_belong_to_it() -> None:
    run = Simulation([Arrival(0, 1000), Arrival(1000, 1000)]).run()
    assert run.images == 2000


def test_a_million_images() -> None:
    runs = Simulation([Arrival(0, 1_000_000)]).run_until_empty(3600)
    assert {run.inference_units for run in runs} == {5}
    assert sum(run.images for run in runs) == 1_000_000
    assert max(run.history_events for run in runs) < 25_000
    assert bill(runs).model == pytest.approx(1_000_000 / 5 / 3600 * 4, rel=0.02)


def test_the_bill_is_of_its_parts() -> None:
    run = one_batch(1000)
    found = bill([run])
    assert found.model == pytest.approx((run.running_seconds + 60) / 3600 * 4)
    assert found.starts == pytest.approx(1.0)
    assert found.step_functions == pytest.approx(run.transitions * 0.025 / 1000)
    assert 0 < found.others < 0.05


def test_the_public_sample_holds_an_hour() -> None:
    sample = public_sample(1, World(start_seconds=1000))
    assert sample.running_seconds == 800 + 3540
    assert one_batch(1, World(start_seconds=1000)).running_seconds < sample.running_seconds / 20


def test_unknown_variables_are_named() -> None:
    with pytest.raises(SimulationError, match="no variable poll"):
        Simulation([], poll=1)


# The walker.


def walk(states: dict[str, Any], perform: Any = lambda resource, given: given) -> tuple[Any, Execution]:
    waits: list[float] = []
    execution = Execution({"StartAt": "First", "States": states}, perform, waits.append, lambda: {"Name": "run"})
    return execution.run(), execution


def test_paths_intrinsics_and_selectors() -> None:
    states = {
        "First": {
            "Type": "Pass",
            "Parameters": {"a": {"b": [1, 2]}, "name.$": "$$.Name", "sum.$": "States.MathAdd(1, 2)"},
            "Next": "Second",
        },
        "Second": {
            "Type": "Task",
            "Resource": "r",
            "Parameters": {"last.$": "$.a.b[-1:]", "text": "t"},
            "ResultSelector": {"length.$": "States.ArrayLength($.last)"},
            "ResultPath": "$.a.found",
            "Next": "Third",
        },
        "Third": {
            "Type": "Choice",
            "Choices": [
                {
                    "And": [
                        {"Variable": "$.a.found.length", "NumericEquals": 1},
                        {"Not": {"Variable": "$.missing", "IsPresent": True}},
                        {"Variable": "$.name", "StringEqualsPath": "$$.Name"},
                    ],
                    "Next": "Good",
                }
            ],
            "Default": "Bad",
        },
        "Good": {"Type": "Succeed", "OutputPath": "$.a"},
        "Bad": {"Type": "Fail"},
    }
    output, execution = walk(states)
    assert output == {"b": [1, 2], "found": {"length": 1}}
    assert execution.events == 2 + 2 + 5 + 2 + 2


def test_an_error_goes_to_its_catch_and_a_fail_state_ends_all() -> None:
    def fail(resource: str, given: Any) -> Any:
        raise ValueError("broken")

    task = {"Type": "Task", "Resource": "r", "Next": "First"}
    catch = [{"ErrorEquals": ["ValueError"], "ResultPath": "$.error", "Next": "Failed"}]
    end = {"Type": "Fail", "ErrorPath": "$.error.Error", "CausePath": "$.error.Cause"}
    with pytest.raises(WorkflowFailed) as ended:
        walk({"First": task | {"Catch": catch}, "Failed": end}, fail)
    assert ended.value.error == "ValueError"
    with pytest.raises(ValueError, match="broken"):
        walk({"First": task}, fail)


def test_what_the_walker_does_not_know_is_named() -> None:
    with pytest.raises(AslError, match=r"States\.UUID"):
        walk({"First": {"Type": "Pass", "Parameters": {"a.$": "States.UUID()"}, "End": True}})
    rule = {"Variable": "$.a", "TimestampEquals": "x", "Next": "First"}
    with pytest.raises(AslError, match="TimestampEquals"):
        walk({"First": {"Type": "Choice", "Choices": [rule], "Default": "First"}})


def test_every_state_of_the_workflow_is_walked_or_is_a_way_of_failing() -> None:
    """A placeholder that the simulation does not fill in would be a wait without end."""
    workflow = json.loads((REPOSITORY / "state_machine.asl.json").read_text())
    states = workflow["States"] | workflow["States"]["ProcessBacklog"]["Branches"][0]["States"]
    defaults = terraform_defaults()
    for name, state in states.items():
        if state["Type"] == "Wait" and "Seconds" in state:
            assert str(state["Seconds"]).strip("${}") in defaults, f"{name} waits for what is no variable"
