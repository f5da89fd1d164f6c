"""The state machine of a backfill, as it is deployed for a managed and for a hosted model."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from statelint.linter import Linter

from batch_vision.core.backfills import Left, goes_on
from batch_vision.images.planning import ending
from batch_vision.operator.stack import Stack
from benchmarks.asl import Execution, WorkflowFailed
from local.config import REPOSITORY
from tests.unit.test_workflow import followers

DEFINITION = REPOSITORY / "terraform" / "backfill.asl.json"
WORKFLOW = json.loads(DEFINITION.read_text())
WORKING_OFF = {"DoesItGoOn", "WorkOffChunks"}
NAME = "20261120T080000Z-0a1b2c-1"


@pytest.fixture
def deployed(planned_shapes: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """The definition in each shape that has one."""
    return {
        shape: resource["values"]["definition"]
        for shape, resources in planned_shapes.items()
        for resource in resources
        if resource["type"] == "aws_sfn_state_machine" and resource["values"]["name"].endswith("-backfill")
    }


def machines(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield machine
    for state in machine["States"].values():
        if "ItemProcessor" in state:
            yield from machines(state["ItemProcessor"])


def tasks(machine: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: state
        for one in machines(machine)
        for name, state in one["States"].items()
        if state["Type"] in ("Task", "Map")
    }


def test_only_an_existing_bucket_has_one(deployed: dict[str, str]) -> None:
    assert set(deployed) == {"managed_existing", "hosted_existing"}


def test_a_deployment_has_the_states_that_it_uses(deployed: dict[str, str]) -> None:
    assert set(json.loads(deployed["managed_existing"])["States"]) == set(WORKFLOW["States"])
    assert set(json.loads(deployed["hosted_existing"])["States"]) == set(WORKFLOW["States"]) - WORKING_OFF
    for definition in deployed.values():
        assert re.findall(r'"@|\$\{', definition) == []


def test_every_state_can_be_reached_and_every_transition_has_an_end(deployed: dict[str, str]) -> None:
    for definition in deployed.values():
        for machine in machines(json.loads(definition)):
            targets = {machine["StartAt"]}.union(*map(followers, machine["States"].values()))
            assert targets == set(machine["States"])


def test_an_independent_validator_takes_it(deployed: dict[str, str]) -> None:
    """statelint knows the specification, but not the fields of a Distributed Map."""
    for definition in deployed.values():
        # It wants a Float where the specification says a number.
        rendered = json.loads(re.sub(r'("BackoffRate": ?\d+)(?=[,}\s])', r"\1.0", definition))
        distributed = [state for state in rendered["States"].values() if state["Type"] == "Map"]
        for state in distributed:
            assert state["ItemProcessor"].pop("ProcessorConfig") == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
            state["Iterator"] = state.pop("ItemProcessor")
            for name in (
                "ItemReader",
                "ItemSelector",
                "Label",
                "MaxConcurrencyPath",
                "ResultWriter",
                "ToleratedFailurePercentage",
            ):
                del state[name]
        assert Linter.validate(json.dumps(rendered)) == []


def test_every_task_is_bounded_and_repeated(deployed: dict[str, str]) -> None:
    for definition in deployed.values():
        rendered = json.loads(definition)
        assert rendered["TimeoutSeconds"] == 365 * 24 * 3600, "the longest that Step Functions allows"
        for name, task in tasks(rendered).items():
            if task["Type"] == "Map":
                assert "Retry" not in task, "that would be a Map Run of all chunks anew"
                continue
            assert task["TimeoutSeconds"] == (910 if name == "Plan" else 310)
            hung = [retry for retry in task["Retry"] if "States.Timeout" in retry["ErrorEquals"]]
            assert [(retry["MaxAttempts"], "Sandbox.Timedout" in retry["ErrorEquals"]) for retry in hung] == [(1, True)]
            assert task["Retry"][-1]["ErrorEquals"] == ["States.ALL"]
            (final,) = [retry["ErrorEquals"] for retry in task["Retry"] if retry["MaxAttempts"] == 0]
            assert set(final) == {"AccessDeniedError", "BackfillListError", "BackfillNotFoundError", "SettingsError"}


def test_every_error_but_that_of_summing_up_is_caught(deployed: dict[str, str]) -> None:
    caught = {
        name: [catch["Next"] for catch in task.get("Catch", []) if catch["ErrorEquals"] == ["States.ALL"]]
        for name, task in tasks(json.loads(deployed["managed_existing"])).items()
    }
    assert caught == {
        "Plan": ["Count"],
        "Count": [],
        "WorkOffChunks": ["Count"],
        "WorkOffChunk": ["TakeChunkApart"],
        "TakeChunkApart": ["LeaveChunk"],
    }
    # No end of a child is a Fail.
    children = json.loads(deployed["managed_existing"])["States"]["WorkOffChunks"]["ItemProcessor"]["States"]
    assert "Fail" not in {state["Type"] for state in children.values()}


def test_a_percentage_has_a_fraction(deployed: dict[str, str]) -> None:
    """To LocalStack a percentage is no whole number."""
    assert '"ToleratedFailurePercentage":100.0' in deployed["managed_existing"]


type Answer = dict[str, Any] | Exception


@dataclass
class Functions:
    """Answers what each function is to answer, in turn; the last answer stays. An exception is raised.

    Attributes
    ----------
    chunks
        What a listing finds, by round.
    """

    plan: list[Answer] = field(default_factory=lambda: [{"is_done": True, "planned_images": 0, "planned_chunks": 0}])
    count: list[Answer] = field(default_factory=lambda: [counted(0)])
    work_off: list[Answer] = field(default_factory=lambda: [worked(0)])
    chunks: list[list[str]] = field(default_factory=lambda: [["one"]])
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def perform(self, resource: str, told: dict[str, Any]) -> Any:
        if resource.endswith(":s3:listObjectsV2"):
            self.calls.append(("list", told))
            found = self.chunks.pop(0) if len(self.chunks) > 1 else self.chunks[0]
            return [{"Key": f"{told['Prefix']}{chunk}"} for chunk in found]
        name = next(name for name in ("plan", "count", "work_off") if name.replace("_", "-") in resource)
        self.calls.append((name, told))
        answers = getattr(self, name)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        if name == "count":  # as the real function does
            answer = {"max_concurrency": told["max_concurrency"]} | answer
            return answer | {"error": ending(told["error"])} if told["error"] else answer
        return answer

    def of(self, name: str) -> list[Any]:
        return [told for called, told in self.calls if called == name]


def counted(chunks: int, *, goes_on: bool = False, is_incomplete: bool = False, rounds: int = 0) -> dict[str, Any]:
    return {
        "left_chunks": chunks,
        "left_images": 10 * chunks,
        "rounds": rounds,
        "goes_on": goes_on,
        "is_incomplete": is_incomplete,
        "error": None,
    }


def worked(left: int, *, is_stuck: bool = False, barren: int = 0) -> dict[str, Any]:
    return {"left": left, "is_stuck": is_stuck, "barren": barren}


def named(name: str) -> Exception:
    error: Exception = type(name, (Exception,), {})("as told")
    return error


type Run = Callable[..., Execution]
ASKED = {"job": "20261120T080000Z-0a1b2c", "max_concurrency": 3}


@pytest.fixture
def run(deployed: dict[str, str]) -> Run:
    """Run a backfill of a shape with an input, and return the execution."""

    def begin(functions: Functions, shape: str = "managed_existing", asked: dict[str, Any] = ASKED) -> Execution:
        # The mocked ARNs are all the same: a resource is known by its state.
        definition = json.loads(deployed[shape])
        names = {"Plan": "plan", "Count": "count", "WorkOffChunk": "work-off", "TakeChunkApart": "work-off"}
        for name, task in tasks(definition).items():
            if name in names:
                task["Resource"] = names[name]
        execution = Execution(
            definition, functions.perform, lambda _: None, lambda: {"Execution": {"Name": NAME, "Input": asked}}
        )
        execution.output = execution.run()  # type: ignore[attr-defined]
        return execution

    return begin


@pytest.mark.parametrize("shape", ["managed_existing", "hosted_existing"])
def test_with_nothing_to_do_it_is_done_at_once(run: Run, shape: str) -> None:
    functions = Functions()
    execution = run(functions, shape)
    assert functions.calls == [
        ("plan", ASKED),
        (
            "count",
            ASKED | {"execution": NAME, "left": None, "error": None, "works_off": shape == "managed_existing"},
        ),
    ]
    assert execution.output == counted(0) | {"max_concurrency": 3}  # type: ignore[attr-defined]
    assert execution.events < 40


def test_a_sweep_is_a_job_by_the_name_of_its_execution(run: Run) -> None:
    request = {"source": {"kind": "listing", "prefix": ""}, "deep": False, "removes_orphans": True}
    functions = Functions()
    run(functions, asked={"request": request, "max_concurrency": 3})
    assert functions.of("plan") == [{"job": NAME, "request": request, "max_concurrency": 3}]
    assert functions.of("count")[0]["job"] == NAME


def test_without_a_concurrency_it_is_that_of_the_deployment(run: Run) -> None:
    functions = Functions()
    run(functions, asked={})
    assert functions.of("plan") == [{"job": NAME, "max_concurrency": 1}]


def test_planning_goes_on_until_it_is_done(run: Run) -> None:
    half = {"is_done": False, "planned_images": 10, "planned_chunks": 1}
    functions = Functions(plan=[half, half, half | {"is_done": True}])
    run(functions)
    assert [name for name, _ in functions.calls] == ["plan"] * 3 + ["count"]


def test_one_round(run: Run) -> None:
    """Each chunk is worked on until nothing is left of it, and is told what its last call answered."""
    functions = Functions(
        count=[counted(2, goes_on=True), counted(0, rounds=1)],
        work_off=[worked(5), worked(0), worked(0)],
        chunks=[["one", "two"]],
    )
    run(functions)
    prefix = f"work/{ASKED['job']}/chunks/"
    assert [told["Prefix"] for told in functions.of("list")] == [prefix]
    assert functions.of("work_off") == [
        {"chunk": f"{prefix}one", "previous": {}},
        {"chunk": f"{prefix}one", "previous": worked(5)},
        {"chunk": f"{prefix}two", "previous": {}},
    ]
    assert [told["left"] for told in functions.of("count")] == [
        None,
        counted(2, goes_on=True) | {"max_concurrency": 3},
    ]


def test_a_round_works_on_as_many_chunks_as_was_said_before_it_began(run: Run) -> None:
    functions = Functions(
        count=[counted(2, goes_on=True), counted(1, goes_on=True) | {"max_concurrency": 8}, counted(0, rounds=2)]
    )
    assert run(functions).concurrencies == [3, 8]
    assert [told["max_concurrency"] for told in functions.of("count")] == [3, 3, 3]


def test_rounds_until_it_is_incomplete(run: Run) -> None:
    functions = Functions(
        count=[counted(3, goes_on=True), counted(2, goes_on=True, rounds=1), counted(2, is_incomplete=True, rounds=2)],
        work_off=[worked(5, is_stuck=True)],
    )
    with pytest.raises(WorkflowFailed) as failed:
        run(functions)
    assert failed.value.error == "BackfillIncompleteError"
    assert [name for name, _ in functions.calls] == ["plan", "count", *["list", "work_off", "count"] * 2]


def test_an_error_of_planning_is_told_the_summary_and_ends_the_execution(run: Run) -> None:
    functions = Functions(plan=[named("BackfillListError")])
    with pytest.raises(WorkflowFailed, match="as told") as failed:
        run(functions)
    assert failed.value.error == "BackfillListError"
    (told,) = functions.of("count")
    assert told["error"]["Error"] == "BackfillListError"
    assert not functions.of("list")


def test_an_error_of_a_map_run_is_told_the_summary_and_ends_the_execution(run: Run) -> None:
    functions = Functions(count=[counted(1, goes_on=True), counted(1)])

    def perform(resource: str, told: dict[str, Any]) -> Any:
        if resource.endswith(":s3:listObjectsV2"):
            raise named("States.ItemReaderFailed")
        return Functions.perform(functions, resource, told)

    functions.perform = perform  # type: ignore[method-assign]
    with pytest.raises(WorkflowFailed) as failed:
        run(functions)
    assert failed.value.error == "BackfillError"
    assert functions.of("count")[1]["error"]["Error"] == "States.ItemReaderFailed"


@pytest.mark.parametrize("error", ["Sandbox.Timedout", "Runtime.ExitError", "Lambda.Unknown", "KeyError"])
def test_a_chunk_that_a_function_dies_of_is_taken_apart_for_the_next_round(run: Run, error: str) -> None:
    functions = Functions(
        count=[counted(1, goes_on=True), counted(2, goes_on=True, rounds=1), counted(0, rounds=2)],
        work_off=[worked(5), named(error), worked(0), worked(0), worked(0)],
        chunks=[["one"], ["two", "three"]],
    )
    run(functions)
    assert functions.of("work_off")[2] == {
        "chunk": f"work/{ASKED['job']}/chunks/one",
        "previous": worked(5),
        "died": True,
    }
    assert len(functions.of("work_off")) == 5


def test_a_chunk_that_cannot_be_taken_apart_is_left(run: Run) -> None:
    functions = Functions(
        count=[counted(1, goes_on=True), counted(1, is_incomplete=True, rounds=1)],
        work_off=[named("Runtime.ExitError")],
    )
    with pytest.raises(WorkflowFailed) as failed:
        run(functions)
    assert failed.value.error == "BackfillIncompleteError"
    assert len(functions.of("work_off")) == 2


@pytest.mark.parametrize("error", ["AccessDeniedError", "SettingsError", "Lambda.TooManyRequestsException"])
def test_a_chunk_is_not_taken_apart_for_what_every_chunk_would_meet(run: Run, error: str) -> None:
    functions = Functions(
        count=[counted(1, goes_on=True), counted(1, is_incomplete=True, rounds=1)], work_off=[named(error)]
    )
    with pytest.raises(WorkflowFailed):
        run(functions)
    assert len(functions.of("work_off")) == 1


@pytest.mark.parametrize(("shape", "told"), [("managed_existing", 7), ("hosted_existing", None)])
def test_the_tool_reads_the_concurrency_of_the_deployment(
    deployed: dict[str, str], shape: str, told: int | None
) -> None:
    definition = json.loads(deployed[shape])
    default = definition["States"]["Initialize"]["Parameters"]["default"]
    assert (default["max_concurrency"] is None) == (told is None)
    default["max_concurrency"] = told
    workflow = SimpleNamespace(describe_state_machine=lambda **_: {"definition": json.dumps(definition)})
    stack: Any = SimpleNamespace(workflow=workflow, backfill_state_machine_arn="arn")
    assert Stack.backfill_max_concurrency.func(stack) == (told or 1)


class PausedError(Exception):
    """Somebody stops the execution."""


@dataclass
class Bucket:
    """A bucket of many images, whose backfill is simulated: each chunk is as many keys as are left of it.

    Attributes
    ----------
    busy_seconds
        Of all children together.
    done, asked
        Keys that have a result, and calls of the model.
    """

    keys: int
    invocations: int = 2
    calls_per_second: float = 20.0  # of one invocation
    chunk_images: int = 1000
    pauses_after: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(20261126))
    chunks: dict[str, int] = field(default_factory=dict)
    planned: int = 0
    done: int = 0
    asked: int = 0
    busy_seconds: float = 0.0
    calls: int = 0

    def perform(self, resource: str, told: dict[str, Any]) -> Any:
        if resource.endswith(":s3:listObjectsV2"):
            return [{"Key": chunk} for chunk in self.chunks]
        if resource == "plan":
            return self.plan()
        if resource == "count":
            return self.count(told)
        return self.take_apart(told["chunk"]) if told.get("died") else self.work_off(told["chunk"])

    def plan(self) -> dict[str, Any]:
        """A call writes ten million keys."""
        for _ in range(10_000):
            if self.planned < self.keys:
                self.chunks[f"{self.planned:09}"] = min(self.chunk_images, self.keys - self.planned)
                self.planned += self.chunks[f"{self.planned:09}"]
        return {"is_done": self.planned == self.keys}

    def count(self, told: dict[str, Any]) -> dict[str, Any]:
        before = told["left"] and Left(told["left"]["left_images"], told["left"]["left_chunks"], told["left"]["rounds"])
        left = Left(sum(self.chunks.values()), len(self.chunks), before.rounds + 1 if before else 0)
        again = goes_on(left, before)
        return counted(left.chunks, goes_on=again, is_incomplete=not again and left.chunks > 0, rounds=left.rounds) | {
            "left_images": left.images,
            "max_concurrency": told["max_concurrency"],
        }

    def work_off(self, chunk: str) -> dict[str, Any]:
        self.calls += 1
        if self.calls == self.pauses_after:
            raise PausedError
        left = self.chunks.get(chunk, 0)
        if self.chance.random() < 0.01:
            raise named("Lambda.TooManyRequestsException")
        # Now and then others use the quota, and a fifth of the calls are refused.
        refused = 0.2 if self.chance.random() < 0.05 else 0.0
        settled = min(left, int(180 * self.calls_per_second * (1 - refused)))
        self.busy_seconds += settled / self.calls_per_second / (1 - refused) + 0.3
        self.asked += settled
        self.done += settled
        self.chunks[chunk] = left - settled
        if self.chance.random() < 0.0001:
            raise named("Lambda.Unknown")
        if not self.chunks[chunk]:
            del self.chunks[chunk]
        return worked(left - settled)

    def take_apart(self, chunk: str) -> dict[str, Any]:
        # Each is looked at once more: those that have a result cost no call.
        for number in range(self.chunks.pop(chunk)):
            self.chunks[f"{chunk}-{number}"] = 1
        return worked(0)


@pytest.mark.matrix
def test_a_backfill_of_a_hundred_million_images_ends_with_nothing_missing(deployed: dict[str, str]) -> None:
    """Children that fail, throttles, and a pause in the middle, at 40 of 50 calls a second."""
    definition = json.loads(deployed["managed_existing"])
    names = {"Plan": "plan", "Count": "count", "WorkOffChunk": "work", "TakeChunkApart": "work"}
    for name, task in tasks(definition).items():
        if name in names:
            task["Resource"] = names[name]
    # In the middle of the Map, which catches whatever happens in it: whoever stops an execution is not asked.
    del definition["States"]["WorkOffChunks"]["Catch"]
    children = definition["States"]["WorkOffChunks"]["ItemProcessor"]["States"]
    for name in ("WorkOffChunk", "TakeChunkApart"):
        for catch in children[name]["Catch"]:
            if catch["ErrorEquals"] == ["States.ALL"]:
                catch["ErrorEquals"] = ["Lambda.Unknown"]
    bucket = Bucket(keys=10**8, pauses_after=40_000)

    def execution() -> Execution:
        return Execution(
            definition, bucket.perform, lambda _: None, lambda: {"Execution": {"Name": NAME, "Input": ASKED}}
        )

    with pytest.raises(PausedError):
        execution().run()
    assert 0 < bucket.done < bucket.keys
    resumed = execution()
    output = resumed.run()
    assert (output["left_images"], bucket.chunks, bucket.done) == (0, {}, bucket.keys)
    assert bucket.asked == bucket.keys, "nothing is paid for twice"
    seconds = bucket.busy_seconds / bucket.invocations
    assert bucket.keys / 40 / seconds >= 0.95, "of its share of the quota"
    assert resumed.events < 25_000
