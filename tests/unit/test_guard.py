"""The watchdog: what it stops, what it leaves alone, and what it says of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from batch_vision.aws import clients
from batch_vision.aws.current_run import KEY, CurrentRun, close_current_run, load_current_run, write_current_run
from batch_vision.aws.mappings import EventSourceMapping
from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from batch_vision.core.models import Model
from batch_vision.runs import steps, watchdog
from batch_vision.runs.alert import alert_of
from batch_vision.runs.guard import Duty, Guard, Report, Task
from lambdas.guard_model import handler as handler_module
from tests.unit.conftest import NOW, FakeBackend

S = ModelState
MACHINE = "arn:aws:states:us-east-1:111122223333:stateMachine:welds"
MINE = Model.named("fake", {"model": "mine"})
FORMER = Model.named("fake", {"model": "former"})


def refusal(code: str, operation: str = "Any") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation
    )


@dataclass
class FakeWorkflow:
    """The executions that run; the list may be given look by look."""

    lists: list[list[str]] = field(default_factory=lambda: [[]])
    stopped: list[str] = field(default_factory=list)
    list_errors: list[Exception | None] = field(default_factory=lambda: [None])
    exceptions: Any = field(default_factory=lambda: boto3.client("stepfunctions").exceptions)

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_executions"
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        assert request == {"stateMachineArn": MACHINE, "statusFilter": "RUNNING"}
        error = self.list_errors.pop(0) if len(self.list_errors) > 1 else self.list_errors[0]
        if error:
            raise error
        listed = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        # A page for each: the watchdog reads all of them.
        for arn in listed:
            yield {"executions": [{"executionArn": arn}]}

    def stop_execution(self, *, executionArn: str, error: str, cause: str) -> None:  # noqa: N803
        self.stopped.append(executionArn)


@dataclass
class FakeFunctions:
    """The mapping: its state at each look."""

    states: list[str] = field(default_factory=lambda: ["Disabled"])
    update_error: Exception | None = None
    is_deleted: bool = False
    updates: int = 0
    exceptions: Any = field(default_factory=lambda: boto3.client("lambda").exceptions)

    def get_event_source_mapping(self, *, UUID: str) -> dict[str, str]:  # noqa: N803
        assert UUID == "uuid"
        if self.is_deleted:
            raise self.exceptions.ResourceNotFoundException({"Error": {"Code": "ResourceNotFoundException"}}, "Get")
        return {"State": self.states.pop(0) if len(self.states) > 1 else self.states[0]}

    def update_event_source_mapping(self, *, UUID: str, Enabled: bool) -> None:  # noqa: N803
        assert (UUID, Enabled) == ("uuid", False)
        self.updates += 1
        if self.update_error:
            raise self.update_error


@dataclass
class Scene:
    """Everything around one call of the watchdog; time passes in its sleeps only."""

    task: Task = Task.EXECUTION_ENDED
    ended: str | None = "ended"
    workflow: FakeWorkflow = field(default_factory=FakeWorkflow)
    functions: FakeFunctions = field(default_factory=FakeFunctions)
    backends: dict[Model, FakeBackend] = field(default_factory=lambda: {MINE: FakeBackend([S.STOPPED])})
    current: CurrentRun | Exception | None = None
    closed: list[str] = field(default_factory=list)
    seconds: float = 900.0
    slept: list[float] = field(default_factory=list)

    def run(self) -> Report:
        duty = Duty(
            task=self.task,
            state_machine_arn=MACHINE,
            mapping_uuid="uuid",
            model=MINE,
            batch_seconds=60,
            ended_execution_arn=self.ended if self.task is Task.EXECUTION_ENDED else None,
        )
        guard = Guard(
            duty,
            self.workflow,  # type: ignore[arg-type]
            EventSourceMapping(self.functions, "uuid"),  # type: ignore[arg-type]
            self.backends.__getitem__,
            self.load,
            self.closed.append,
        )
        self.report = guard.report
        guard.run(30, lambda: self.seconds - sum(self.slept), self.slept.append)
        return guard.report

    def load(self) -> CurrentRun | None:
        if isinstance(self.current, Exception):
            raise self.current
        return self.current

    @property
    def model(self) -> FakeBackend:
        return self.backends[MINE]

    def stops(self, model: Model = MINE) -> int:
        return self.backends[model].calls.count(("stop",))


def scene(*states: ModelState, **changes: Any) -> Scene:
    return Scene(backends={MINE: FakeBackend(list(states))}, **changes)


@pytest.mark.parametrize("task", [Task.TICK, Task.EXECUTION_ENDED, Task.RELEASE_MODEL])
@pytest.mark.parametrize("state", [S.STOPPED, S.FAILED, S.NOT_TRAINED, S.UNAVAILABLE])
def test_nothing_on_is_one_look(task: Task, state: ModelState) -> None:
    quiet = scene(state, task=task)
    assert not quiet.run().has_acted
    assert (quiet.slept, quiet.stops(), quiet.functions.updates) == ([], 0, 0)


@pytest.mark.parametrize("task", [Task.EXECUTION_ENDED, Task.RELEASE_MODEL])
def test_what_nobody_owns_is_closed_and_stopped_until_that_is_confirmed(task: Task) -> None:
    left = scene(S.RUNNING, S.RUNNING, S.STOPPING, S.STOPPED, task=task)
    left.functions.states = ["Enabled", "Enabled", "Disabling", "Disabled"]
    report = left.run()
    assert (left.stops(), left.functions.updates) == (1, 1)
    assert (report.stopped_models, report.is_mapping_disabled, report.left_on) == (["fake-model"], True, [])
    assert left.slept == [30, 30, 30]


def test_a_tick_asks_and_leaves_the_rest_to_the_next_one() -> None:
    left = scene(S.RUNNING, task=Task.TICK)
    report = left.run()
    assert (left.stops(), left.slept) == (1, [30])
    assert report.left_on == ["Model fake-model is RUNNING."]


def test_only_what_is_on_in_two_looks_is_stopped() -> None:
    """An execution that the first list lacked, because it was just begun."""
    begun = scene(S.RUNNING)
    begun.workflow.lists = [[], ["new"]]
    report = begun.run()
    assert (begun.stops(), report.live_executions) == (0, ["new"])


@pytest.mark.parametrize("task", [Task.TICK, Task.EXECUTION_ENDED, Task.RELEASE_MODEL])
def test_a_live_execution_keeps_what_it_has(task: Task) -> None:
    owned = scene(S.RUNNING, task=task)
    owned.functions.states = ["Enabled"]
    owned.workflow.lists = [["live"]]
    report = owned.run()
    assert (owned.stops(), owned.functions.updates, report.left_on) == (0, 0, [])
    assert report.live_executions == ["live"]


def test_an_execution_that_has_only_seen_another_one_owns_nothing() -> None:
    """It saw the one that was aborted a moment later, and ends: nobody is left to stop the model."""
    racing = scene(S.RUNNING, S.STOPPED)
    racing.workflow.lists = [["ends as AlreadyRunning"], []]
    assert racing.run().stopped_models == ["fake-model"]


def test_an_ended_execution_that_is_still_listed_owns_nothing() -> None:
    lagging = scene(S.RUNNING, S.RUNNING, S.STOPPED)
    lagging.workflow.lists = [["ended"]]
    assert lagging.run().stopped_models == ["fake-model"]


def test_the_model_of_the_current_run_is_looked_after_whatever_the_deployment_has_now() -> None:
    """The deployment has another one since, which a live execution is about to start."""
    former = FakeBackend([S.RUNNING, S.RUNNING, S.STOPPED])
    switched = Scene(backends={MINE: FakeBackend([S.RUNNING]), FORMER: former})
    switched.current = CurrentRun("r1", "ended", FORMER)
    switched.workflow.lists = [["live"]]
    switched.run()
    assert (switched.stops(MINE), switched.stops(FORMER), switched.functions.updates) == (0, 1, 0)


def test_both_models_are_stopped_when_no_execution_is_live() -> None:
    former, mine = (FakeBackend([S.RUNNING, S.RUNNING, S.STOPPED]) for _ in range(2))
    switched = Scene(backends={MINE: mine, FORMER: former}, current=CurrentRun("r1", "ended", FORMER))
    switched.run()
    assert (switched.stops(MINE), switched.stops(FORMER)) == (1, 1)
    assert switched.closed == ["r1"]


def test_a_model_of_a_run_before_is_stopped_while_the_current_run_keeps_its_own() -> None:
    former = FakeBackend([S.RUNNING])
    both = Scene(Task.TICK, backends={MINE: FakeBackend([S.RUNNING]), FORMER: former})
    both.current = CurrentRun("r2", "live", MINE, former_models=(FORMER,))
    both.workflow.lists = [["live"]]
    both.run()
    assert (both.stops(MINE), both.stops(FORMER), both.closed) == (0, 1, [])


def test_a_live_execution_of_a_former_model_does_not_own_the_new_one() -> None:
    switched = Scene(Task.TICK, backends={MINE: FakeBackend([S.RUNNING]), FORMER: FakeBackend([S.RUNNING])})
    switched.current = CurrentRun("r1", "live", FORMER)
    switched.workflow.lists = [["live"]]
    assert switched.run().stopped_models == ["fake-model"]
    assert (switched.stops(MINE), switched.stops(FORMER)) == (1, 0)


def test_a_run_that_is_closed_has_no_model_any_more() -> None:
    """The former model may be one that nobody may describe any more."""
    done = scene(S.STOPPED, task=Task.TICK, current=CurrentRun("r1", "ended", FORMER, is_closed=True))
    done.run()
    assert done.closed == []


def test_without_the_current_run_the_model_of_the_deployment_is_stopped_all_the_same() -> None:
    blind = scene(S.RUNNING, current=errors.AccessDeniedError("not authorized"))
    with pytest.raises(errors.GuardError, match="AccessDeniedError: not authorized"):
        blind.run()
    assert blind.stops() == 1


@pytest.mark.parametrize("error", [errors.ModelBusyError("in use"), errors.ModelError("InvalidParameterException")])
def test_a_starting_model_is_asked_again_until_it_runs(error: errors.ModelError) -> None:
    starting = scene(*[S.STARTING] * 4, S.RUNNING, S.STOPPING, S.STOPPED)
    starting.model.stop_error = error
    original = starting.model.describe

    def describe() -> Any:
        status = original()
        if status.state is S.RUNNING:
            starting.model.stop_error = None
        return status

    starting.model.describe = describe  # type: ignore[method-assign]
    report = starting.run()
    assert (report.stopped_models, report.refused) == (["fake-model"], [])


@pytest.mark.parametrize(
    ("task", "remedy"),
    [
        (Task.EXECUTION_ENDED, "at the latest with its next tick"),
        (Task.RELEASE_MODEL, "Nothing has been changed yet: apply again"),
        (Task.SHUT_DOWN, "run terraform destroy again"),
    ],
)
def test_a_model_that_does_not_come_up_in_time_is_an_error_that_names_it(task: Task, remedy: str) -> None:
    stuck = scene(S.STARTING, task=task)
    stuck.model.stop_error = errors.ModelBusyError("it starts")
    with pytest.raises(errors.GuardError, match=f"fake-model: .*cannot be stopped before it runs.*STARTING.*{remedy}"):
        stuck.run()
    assert 900 - 2 * 30 - 30 <= sum(stuck.slept) < 900


def test_a_tick_does_not_wait_for_a_starting_model() -> None:
    starting = scene(S.STARTING, task=Task.TICK)
    starting.model.stop_error = errors.ModelBusyError("it starts")
    report = starting.run()
    assert "cannot be stopped before it runs" in report.refused[0]
    assert not report.has_acted


def test_a_stop_that_is_never_confirmed_is_an_error() -> None:
    with pytest.raises(errors.GuardError, match="fake-model is STOPPING"):
        scene(S.STOPPING).run()


def test_a_model_whose_status_is_new_to_us_is_stopped() -> None:
    assert scene(S.UNKNOWN, S.UNKNOWN, S.STOPPED).run().stopped_models == ["fake-model"]


def test_a_missing_permission_hinders_nothing_else() -> None:
    """The mapping is disabled although the model cannot be stopped, and nobody waits for a permission."""
    refused = scene(S.RUNNING)
    refused.functions.states = ["Enabled"]
    refused.model.stop_error = errors.AccessDeniedError("not authorized")
    with pytest.raises(errors.GuardError, match=r"AccessDeniedError: not authorized.*fake-model is RUNNING"):
        refused.run()
    assert (refused.functions.updates, refused.slept) == (1, [30])


def test_the_other_way_round_too() -> None:
    refused = scene(S.RUNNING)
    refused.functions.states = ["Enabled"]
    refused.functions.update_error = refusal("AccessDeniedException")
    with pytest.raises(errors.GuardError, match="AccessDeniedError"):
        refused.run()
    assert refused.report.stopped_models == ["fake-model"]


@pytest.mark.parametrize("code", ["ResourceInUseException", "TooManyRequestsException"])
def test_a_mapping_in_transition_is_asked_again(code: str) -> None:
    busy = scene(S.STOPPED)
    busy.functions.states = ["Enabling", "Enabling", "Enabling", "Enabled", "Disabled"]
    busy.functions.update_error = refusal(code)
    report = busy.run()
    assert busy.functions.updates == 3
    assert not report.is_mapping_disabled


def test_without_the_list_nothing_is_touched() -> None:
    """Everything may be somebody's."""
    blind = scene(S.RUNNING)
    blind.functions.states = ["Enabled"]
    blind.workflow.list_errors = [refusal("AccessDeniedException")]
    with pytest.raises(errors.GuardError, match="AccessDeniedError"):
        blind.run()
    assert (blind.stops(), blind.functions.updates) == (0, 0)


def test_a_list_that_is_throttled_is_asked_for_again() -> None:
    throttled = scene(S.STOPPED)
    throttled.workflow.list_errors = [refusal("ThrottlingException"), None]
    throttled.run()
    assert throttled.slept == [30]


def test_what_was_deleted_is_off() -> None:
    gone = scene(S.RUNNING)
    gone.functions.is_deleted = True
    gone.workflow.list_errors = [
        gone.workflow.exceptions.StateMachineDoesNotExist({"Error": {"Code": "StateMachineDoesNotExist"}}, "List")
    ]

    def describe() -> Any:
        raise errors.ModelNotFoundError("no such model")

    gone.model.describe = describe  # type: ignore[method-assign]
    assert not gone.run().has_acted


def test_the_end_of_the_deployment_stops_executions_and_every_model_they_had() -> None:
    former = FakeBackend([S.RUNNING, S.STOPPED])
    last = Scene(task=Task.SHUT_DOWN, backends={MINE: FakeBackend([S.RUNNING, S.STOPPED]), FORMER: former})
    last.current = CurrentRun("r1", "old run", FORMER)
    last.workflow.lists = [["old run", "run"], []]
    last.functions.states = ["Enabled", "Disabled"]
    report = last.run()
    assert last.workflow.stopped == ["old run", "run"] == report.stopped_executions
    assert (last.stops(MINE), last.stops(FORMER), report.is_mapping_disabled) == (1, 1, True)
    # Two looks that see nothing; then a batch that was under way has its time.
    assert last.slept == [30, 30, 60]


def test_the_end_of_the_deployment_sees_an_execution_that_was_begun_a_moment_before() -> None:
    last = scene(S.STOPPED, S.STARTING, S.RUNNING, S.STOPPED, task=Task.SHUT_DOWN)
    last.workflow.lists = [[], ["late"], []]
    last.run()
    assert last.workflow.stopped == ["late"]
    assert last.slept == [30, 30, 30, 30]


def test_the_end_of_the_deployment_stops_the_model_even_without_the_list() -> None:
    blind = scene(S.RUNNING, task=Task.SHUT_DOWN)
    blind.workflow.list_errors = [refusal("AccessDeniedException")]
    with pytest.raises(errors.GuardError, match="AccessDeniedError"):
        blind.run()
    assert blind.stops() == 1


def test_no_time_for_a_second_look_is_an_error() -> None:
    with pytest.raises(errors.GuardError, match="fake-model is RUNNING"):
        scene(S.RUNNING, seconds=40).run()


# current-run.json


def test_the_current_run_is_written_read_and_closed(s3: Any) -> None:
    assert load_current_run(s3, "final") is None
    write_current_run(s3, "final", "r1", "arn:r1", MINE)
    assert load_current_run(s3, "final") == CurrentRun("r1", "arn:r1", MINE)
    close_current_run(s3, "final", "another", NOW)
    assert load_current_run(s3, "final") == CurrentRun("r1", "arn:r1", MINE)
    close_current_run(s3, "final", "r1", NOW)
    closed = load_current_run(s3, "final")
    assert closed
    assert (closed.is_closed, closed.models) == (True, ())


def test_a_model_that_nobody_has_seen_stopped_is_not_forgotten(s3: Any) -> None:
    write_current_run(s3, "final", "r1", "arn:r1", FORMER)
    write_current_run(s3, "final", "r2", "arn:r2", MINE)
    write_current_run(s3, "final", "r3", "arn:r3", MINE)
    assert load_current_run(s3, "final") == CurrentRun("r3", "arn:r3", MINE, former_models=(FORMER,))
    close_current_run(s3, "final", "r3", NOW)
    write_current_run(s3, "final", "r4", "arn:r4", MINE)
    assert load_current_run(s3, "final") == CurrentRun("r4", "arn:r4", MINE)


@pytest.mark.parametrize("text", ["", "[]", '{"run_id": "r1"}', '{"run_id": 1, "backend": {}}'])
def test_what_names_no_model_is_no_current_run(s3: Any, text: str) -> None:
    """As a version before has written it, or somebody else."""
    s3.put_object(Bucket="final", Key=KEY, Body=text.encode())
    assert load_current_run(s3, "final") is None
    close_current_run(s3, "final", "r1", NOW)
    write_current_run(s3, "final", "r2", "arn:r2", MINE)


def test_a_model_that_cannot_be_named_is_not_started(
    s3: Any, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would know which one to stop."""
    model = FakeBackend([S.STOPPED])
    tell()
    monkeypatch.setattr(steps, "check_unchanged", lambda *_: None)
    monkeypatch.setattr(steps, "lifecycle_of", lambda _model: model)
    monkeypatch.setattr(clients, "s3", lambda: s3)

    def refuse(**_: Any) -> None:
        raise refusal("AccessDenied", "PutObject")

    monkeypatch.setattr(s3, "put_object", refuse)
    run = {"id": "r1", "execution_arn": "arn:r1", **MINE.to_json()}
    event = {"run": run, "previous": None, "drain": None, "backlog_images": 1, "timeout_seconds": 60, "poll_seconds": 5}
    with pytest.raises(errors.AccessDeniedError):
        steps.start_model(event)
    assert model.calls == []


EVENT = {
    "task": "tick",
    "state_machine_arn": MACHINE,
    "event_source_mapping_uuid": "uuid",
    "backend": "fake",
    "backend_settings": {"model": "mine"},
    "poll_seconds": 0,
    "analyze_timeout_seconds": 60,
    "alert_topic_arn": "arn:aws:sns:us-east-1:111122223333:welds-alerts",
}
CONTEXT = SimpleNamespace(
    get_remaining_time_in_millis=lambda: 900_000,
    function_name="guard",
    memory_limit_in_mb=512,
    invoked_function_arn="arn",
    aws_request_id="id",
)


@dataclass
class FakeTopic:
    published: list[dict[str, str]] = field(default_factory=list)
    error: Exception | None = None

    def publish(self, **request: str) -> None:
        if self.error:
            raise self.error
        self.published.append(request)


@pytest.fixture
def around(tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the handler reaches: a workflow without executions, a mapping, a model and a topic."""
    reached = SimpleNamespace(
        workflow=FakeWorkflow(), functions=FakeFunctions(), model=FakeBackend([S.STOPPED]), topic=FakeTopic()
    )
    monkeypatch.setattr(clients, "stepfunctions", lambda: reached.workflow)
    monkeypatch.setattr(clients, "functions", lambda: reached.functions)
    monkeypatch.setattr(clients, "sns", lambda: reached.topic)
    monkeypatch.setattr(watchdog, "lifecycle_of", lambda _model: reached.model)
    tell()
    monkeypatch.setattr(watchdog, "load_current_run", lambda _s3, _bucket: None)
    monkeypatch.setattr(handler_module.metrics, "service", "welds")
    return reached


def metrics_of(printed: str) -> dict[str, float]:
    (emf,) = [json.loads(line) for line in printed.splitlines() if '"_aws"' in line]
    return {name: value[0] for name, value in emf.items() if name.startswith("Guard")}


@pytest.mark.parametrize("action", ["create", "update"])
def test_making_and_changing_the_resource_does_nothing(around: SimpleNamespace, action: str) -> None:
    around.model.states = [S.RUNNING]
    event = EVENT | {"task": "shut_down", "tf": {"action": action, "prev_input": None}}
    assert handler_module.handler(event, CONTEXT) == {}
    assert around.model.calls == []


def test_destroying_the_resource_shuts_down(around: SimpleNamespace) -> None:
    around.model.states = [S.RUNNING, S.STOPPED]
    event = EVENT | {"task": "shut_down", "tf": {"action": "delete", "prev_input": EVENT}}
    assert handler_module.handler(event, CONTEXT)["stopped_models"] == ["fake-model"]


def test_nothing_to_do_is_told_to_nobody_but_counted(
    around: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """The metrics are there with every tick, so that their absence says that the watchdog does not run."""
    handler_module.handler(dict(EVENT), CONTEXT)
    assert around.topic.published == []
    assert metrics_of(capsys.readouterr().out) == {
        "GuardStoppedModel": 0,
        "GuardDisabledMapping": 0,
        "GuardStoppedExecution": 0,
        "GuardFailed": 0,
    }


@pytest.mark.parametrize(
    ("executions", "states", "on", "without_run"),
    [([], [S.STOPPED], 0, 0), ([], [S.RUNNING], 1, 1), (["mine"], [S.RUNNING], 1, 0), (["mine"], [S.STOPPED], 0, 0)],
)
def test_a_tick_counts_models_that_are_on(
    around: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    executions: list[str],
    states: list[ModelState],
    on: int,
    without_run: int,
) -> None:
    around.workflow.lists = [executions]
    around.model.states = states
    handler_module.handler(dict(EVENT), CONTEXT)
    (emf,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert (emf["ModelOn"], emf["ModelOnWithoutRun"]) == ([on], [without_run])


def test_what_was_done_is_told_and_counted(around: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    around.model.states = [S.RUNNING]
    around.functions.states = ["Enabled"]
    handler_module.handler(dict(EVENT), CONTEXT)
    (alert,) = around.topic.published
    assert alert["TopicArn"] == EVENT["alert_topic_arn"]
    assert alert["Subject"] == "welds: the watchdog stopped what no execution owned"
    assert "Asked to stop: model fake-model" in alert["Message"].splitlines()
    assert "Disabled event source mapping: uuid" in alert["Message"].splitlines()
    counted = metrics_of(capsys.readouterr().out)
    assert (counted["GuardStoppedModel"], counted["GuardDisabledMapping"], counted["GuardFailed"]) == (1, 1, 0)


def test_what_could_not_be_done_is_told_counted_and_raised(
    around: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    around.model.states = [S.RUNNING]
    around.model.stop_error = errors.AccessDeniedError("not authorized")
    with pytest.raises(errors.GuardError):
        handler_module.handler(dict(EVENT), CONTEXT)
    (alert,) = around.topic.published
    assert alert["Subject"] == "welds: the watchdog could not stop everything"
    assert "AccessDeniedError: not authorized" in alert["Message"]
    assert metrics_of(capsys.readouterr().out)["GuardFailed"] == 1


SUMMARY = {
    "run_id": "r1",
    "started_at": "2026-11-20T08:00:00.000Z",
    "ended_at": "2026-11-20T08:30:00.000Z",
    "end_reason": "NoProgressError",
    "error": {"type": "NoProgressError", "message": "No image was finished since 08:10."},
    "images_found": 20,
    "images_processed": 11,
    "images_rejected": 2,
    "rejected_by_reason": {"InvalidImageError": 2},
    "images_left": 7,
    "retries": 3,
    "throttles": 1,
    "model_on_seconds": 900.0,
    "model_requested_at": "2026-11-20T08:00:01.000Z",
    "cost_dollars": 1.0,
    "always_on_seconds": 3600,
    "always_on_cost_dollars": 4.0,
    "slowest_image": {"key": "é.png", "version_id": "1", "duration_ms": 900, "attempts": 2},
}


def ended_duty(status: str) -> Duty:
    return Duty(
        task=Task.EXECUTION_ENDED,
        state_machine_arn=MACHINE,
        mapping_uuid="uuid",
        model=MINE,
        batch_seconds=60,
        ended_execution_arn=f"{MACHINE}:r1",
        ended_status=status,
    )


def test_one_mail_tells_of_a_run_that_failed_and_of_what_was_left_on() -> None:
    alert = alert_of(ended_duty("FAILED"), Report(stopped_models=["m"]), None, SUMMARY)
    assert alert is not None
    lines = alert.message.splitlines()
    assert alert.subject == "welds: a run failed, NoProgressError"
    assert lines[0] == "See what to do about NoProgressError: batch-vision status"
    assert "Rejected:  2 (InvalidImageError 2)" in lines
    assert "Cost:      up to $1.00" in lines
    assert "Slowest:   900 ms, '\\xe9.png'" in lines
    assert "Error:     NoProgressError: No image was finished since 08:10." in lines
    assert "Asked to stop: model m" in lines
    assert max(map(len, lines)) < 120


@pytest.mark.parametrize(
    ("status", "says"), [("ABORTED", "was aborted"), ("TIMED_OUT", "timed out"), ("FAILED", "failed")]
)
def test_a_run_without_a_summary_is_told_of_too(status: str, says: str) -> None:
    alert = alert_of(ended_duty(status), Report(), None)
    assert alert is not None
    assert alert.subject == f"welds: a run {says}"
    assert "batch-vision" in alert.message.splitlines()[0]
    assert "It wrote no summary." in alert.message.splitlines()
    assert alert.message.splitlines()[-1] == "The watchdog found everything off."


def test_what_could_not_be_stopped_comes_first() -> None:
    alert = alert_of(ended_duty("FAILED"), Report(refused=["Model m cannot be stopped."]), None, SUMMARY)
    assert alert is not None
    assert alert.subject == "welds: the watchdog could not stop everything"
    assert alert.message.splitlines()[0].endswith("batch-vision stop")


def test_the_summary_of_a_failed_run_is_read_by_its_name(
    around: SimpleNamespace, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "s3", lambda: s3)
    event = EVENT | {"task": "execution_ended", "execution_arn": f"{MACHINE}:r1", "execution_status": "FAILED"}
    handler_module.handler(dict(event), CONTEXT)
    s3.put_object(Bucket="final", Key="runs/r1.json", Body=json.dumps(SUMMARY))
    handler_module.handler(dict(event), CONTEXT)
    subjects = [published["Subject"] for published in around.topic.published]
    assert subjects == ["welds: a run failed", "welds: a run failed, NoProgressError"]


def test_an_alert_that_cannot_be_sent_changes_nothing(around: SimpleNamespace) -> None:
    around.model.states = [S.RUNNING]
    around.topic.error = refusal("AuthorizationErrorException", "Publish")
    assert handler_module.handler(dict(EVENT), CONTEXT)["stopped_models"] == ["fake-model"]


def test_a_subject_is_as_long_as_sns_takes() -> None:
    duty = Duty(
        task=Task.TICK, state_machine_arn=f"{MACHINE}{'x' * 27}", mapping_uuid="uuid", model=MINE, batch_seconds=60
    )
    alert = alert_of(duty, Report(stopped_models=["m"]), None)
    assert alert is not None
    assert len(alert.subject) < 100
    assert alert.subject.isascii()
