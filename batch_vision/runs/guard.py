"""Stop what no live execution owns: the model, and the tap through which images flow to it.

The workflow stops its own model on every path that it can take. This is for what it cannot: an execution that was
aborted, timed out or failed on its way out, a model that somebody left on, the end of a model's use, and the end of
the deployment.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, Any

from batch_vision.aws.translation import translated
from batch_vision.backends.base import ModelState
from batch_vision.core import errors
from batch_vision.runs.stop import ON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_stepfunctions import SFNClient

    from batch_vision.backends.base import Backend

# What is left to an invocation when it gives up waiting: time for one look and its alert.
_MARGIN_SECONDS = 30

_ERRORS: dict[str, type[errors.BatchVisionError]] = {
    "AccessDeniedException": errors.AccessDeniedError,
    "ThrottlingException": errors.ThrottledError,
    "TooManyRequestsException": errors.ThrottledError,
    # A mapping that is being enabled or disabled takes no other change.
    "ResourceInUseException": errors.ThrottledError,
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model, as a deployment and each of its executions name it.

    Attributes
    ----------
    settings
        As JSON with sorted keys, so that equal settings are equal texts.
    """

    backend: str
    settings: str

    @classmethod
    def named(cls, backend: str, settings: Mapping[str, str]) -> Model:
        """Give the model of a backend with these settings."""
        return cls(backend, json.dumps(settings, sort_keys=True))


class Task(StrEnum):
    """What the watchdog is called for."""

    TICK = "tick"  # its own schedule
    EXECUTION_ENDED = "execution_ended"  # an execution failed, timed out or was aborted
    RELEASE_MODEL = "release_model"  # Terraform is about to give the deployment another model
    SHUT_DOWN = "shut_down"  # Terraform is about to destroy the deployment


_REMEDIES = {
    Task.TICK: "It may be costing money. The watchdog tries again with its next tick.",
    Task.EXECUTION_ENDED: "It may be costing money. The watchdog tries again, at the latest with its next tick.",
    Task.RELEASE_MODEL: "Nothing has been changed yet: apply again when it can be stopped.",
    Task.SHUT_DOWN: "Nothing that is needed to stop it has been destroyed: run terraform destroy again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What there is to look after.

    Attributes
    ----------
    model
        The model of the deployment.
    batch_seconds
        How long a batch that was taken before the mapping was closed may live.
    ended_execution_arn
        An execution that is known to have ended, whatever the list says; its own model is looked after too.
    ended_status
        How it ended, as Step Functions says it.
    """

    task: Task
    state_machine_arn: str
    mapping_uuid: str
    model: Model
    batch_seconds: float
    ended_execution_arn: str | None = None
    ended_status: str | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Duty:
        """Read the event, which Terraform writes in whole or in part."""
        return cls(
            task=Task(event["task"]),
            state_machine_arn=event["state_machine_arn"],
            mapping_uuid=event["event_source_mapping_uuid"],
            model=Model.named(event["backend"], event["backend_settings"]),
            batch_seconds=event["analyze_timeout_seconds"],
            ended_execution_arn=event.get("execution_arn"),
            ended_status=event.get("execution_status"),
        )

    @property
    def is_last(self) -> bool:
        """Whether the deployment ends, so that executions are stopped as well."""
        return self.task is Task.SHUT_DOWN

    @property
    def waits(self) -> bool:
        """Whether to wait until the service confirms that everything is off; otherwise the next tick sees to it."""
        return self.task is not Task.TICK


@dataclass(slots=True)
class Report:
    """What was done, and what the last look saw.

    Attributes
    ----------
    live_executions
        Executions that own what they use, so that it was left alone.
    stopped_executions, stopped_models, is_mapping_disabled
        What was asked to end, and accepted that.
    left_on
        A sentence for each thing that is not off yet.
    refused
        A sentence for each thing that could not be stopped at this moment.
    is_model_on, is_model_unowned
        Whether a model was on in the last look, and whether one was that no execution owns. The model of a live
        execution is looked at by a tick only, and only if it is that of the deployment.
    """

    live_executions: list[str] = field(default_factory=list)
    stopped_executions: list[str] = field(default_factory=list)
    stopped_models: list[str] = field(default_factory=list)
    is_mapping_disabled: bool = False
    left_on: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    is_model_on: bool = False
    is_model_unowned: bool = False

    @property
    def has_acted(self) -> bool:
        """Whether anything was stopped."""
        return bool(self.stopped_executions or self.stopped_models or self.is_mapping_disabled)

    def as_dict(self) -> dict[str, Any]:
        """Give it for a log line and for Terraform."""
        return asdict(self)


def model_of(definition: str) -> Model | None:
    """Read the model of a run from the definition that its execution was begun with; None where it names none."""
    try:
        payload = json.loads(definition)["States"]["StopModel"]["Parameters"]["Payload"]
        return Model.named(payload["backend"], json.loads(payload["backend_settings"]))
    except KeyError:
        return None


class Guard:
    """One invocation of the watchdog.

    Parameters
    ----------
    backend_of
        Gives the backend of a model, from its name and its settings as JSON.
    """

    def __init__(
        self,
        duty: Duty,
        workflow: SFNClient,
        functions: LambdaClient,
        backend_of: Callable[[str, str], Backend],
    ) -> None:
        self._duty = duty
        self._workflow = workflow
        self._functions = functions
        self._backend_of = backend_of
        self._models = {duty.model}
        self.report = Report()

    def run(self, poll_seconds: float, seconds_left: Callable[[], float], sleep: Callable[[float], Any]) -> None:
        """Look, stop what nobody owns, and look again until it is off.

        The list of executions may lag behind, and an execution that has seen another one ends by itself: only what
        was on in the first look is stopped, in the second. A model that is starting cannot be stopped before it runs,
        so it is asked again in every look.

        Parameters
        ----------
        poll_seconds
            Time between two looks.
        seconds_left
            Gives the time that the invocation has left.

        Raises
        ------
        GuardError
            Something could not be stopped, for a reason that waiting does not change or for longer than there was
            time. Everything else that was to be stopped was asked to.
        """
        quiet_looks = 0
        for look in count(1):
            acts = self._duty.is_last or look > 1
            problems = self._look(acts=acts)
            if problems and acts:
                raise self._error(problems)
            is_quiet = not (problems or self.report.left_on or self.report.refused)
            quiet_looks = quiet_looks + 1 if is_quiet else 0
            # At the end of a deployment an execution may have been begun a moment before; and one that is alive in
            # the first look may be about to end, because it has seen the one that was aborted since.
            is_settled = look > 1 or not self.report.live_executions
            if is_settled and quiet_looks >= (2 if self._duty.is_last else 1):
                break
            if look > 1 and not self._duty.waits:
                break
            if seconds_left() < poll_seconds + _MARGIN_SECONDS:
                raise self._error(problems)
            sleep(poll_seconds)
        if self._duty.is_last and self.report.is_mapping_disabled:
            # A batch that is cut off in the middle of a move would leave its image in two places.
            sleep(min(self._duty.batch_seconds, max(0.0, seconds_left() - _MARGIN_SECONDS)))

    def _error(self, problems: list[str]) -> errors.GuardError:
        sentences = problems + self.report.refused + self.report.left_on
        return errors.GuardError(" ".join([*sentences, _REMEDIES[self._duty.task]]))

    def _look(self, *, acts: bool) -> list[str]:
        """Look once at everything, and give the errors that waiting does not mend; none hinders anything else."""
        self.report.left_on, self.report.refused = [], []
        self.report.is_model_on = self.report.is_model_unowned = False
        problems: list[str] = []
        owned: set[Model] | None = None
        with self._noting(problems):
            owned = self._meet_executions()
        if owned is None and not self._duty.is_last:
            return problems  # without knowing who is alive, everything may be somebody's
        if not owned:
            with self._noting(problems):
                self._close_mapping(acts=acts)
        for model in sorted(self._models - (owned or set()), key=str):
            with self._noting(problems):
                self._stop_model(model, acts=acts)
        if self._duty.task is Task.TICK and self._duty.model in (owned or set()):
            # For a metric only: what a live execution has is its own affair.
            with suppress(errors.BatchVisionError):
                backend = self._backend_of(self._duty.model.backend, self._duty.model.settings)
                self.report.is_model_on = backend.describe().state in ON
        return problems

    @contextmanager
    def _noting(self, problems: list[str]) -> Iterator[None]:
        try:
            with translated(_ERRORS):
                yield
        except errors.TransientError as error:
            self.report.refused.append(f"{type(error).__name__}: {error}")
        except errors.BatchVisionError as error:
            problems.append(f"{type(error).__name__}: {error}")

    def _meet_executions(self) -> set[Model]:
        """Give the models that live executions own; at the end of the deployment, stop the executions instead."""
        ended = self._duty.ended_execution_arn
        if ended:
            self._models.add(self._model_of_execution(ended))
        live = [arn for arn in self._list_executions() if arn != ended]
        models = {self._model_of_execution(arn) for arn in live}
        if not self._duty.is_last:
            self.report.live_executions = live
            return models
        # A run that was under way when the deployment was given another model still has its own.
        self._models |= models
        for arn in live:
            self._workflow.stop_execution(
                executionArn=arn, error="DeploymentDestroyed", cause="The deployment is being destroyed by Terraform."
            )
            self.report.left_on.append(f"Execution {arn} was running.")
            if arn not in self.report.stopped_executions:
                self.report.stopped_executions.append(arn)
        return set()

    def _list_executions(self) -> list[str]:
        pages = self._workflow.get_paginator("list_executions").paginate(
            stateMachineArn=self._duty.state_machine_arn, statusFilter="RUNNING"
        )
        try:
            return [execution["executionArn"] for page in pages for execution in page["executions"]]
        except self._workflow.exceptions.StateMachineDoesNotExist:
            return []

    def _model_of_execution(self, arn: str) -> Model:
        """Give the model of an execution: that of the deployment, unless an apply has changed that since."""
        try:
            definition = self._workflow.describe_state_machine_for_execution(executionArn=arn)["definition"]
        except (
            self._workflow.exceptions.ExecutionDoesNotExist,
            self._workflow.exceptions.StateMachineDoesNotExist,
        ):
            return self._duty.model
        return model_of(definition) or self._duty.model

    def _close_mapping(self, *, acts: bool) -> None:
        uuid = self._duty.mapping_uuid
        try:
            state = self._functions.get_event_source_mapping(UUID=uuid)["State"]
            if state == "Disabled":
                return
            self.report.left_on.append(f"Event source mapping {uuid} is {state}.")
            if acts and state != "Disabling":
                self._functions.update_event_source_mapping(UUID=uuid, Enabled=False)
                self.report.is_mapping_disabled = True
        except self._functions.exceptions.ResourceNotFoundException:
            pass  # deleted: nothing flows

    def _stop_model(self, model: Model, *, acts: bool) -> None:
        backend = self._backend_of(model.backend, model.settings)
        try:
            status = backend.describe()
        except errors.ModelNotFoundError:
            return  # deleted: it costs nothing
        if status.state not in ON:
            return
        self.report.is_model_on = self.report.is_model_unowned = True
        self.report.left_on.append(f"Model {backend.model_id} is {status.service_status}.")
        if not acts or status.state is ModelState.STOPPING:
            return
        try:
            backend.stop()
        except errors.ModelBusyError:
            self.report.refused.append(f"Model {backend.model_id} cannot be stopped before it runs.")
        else:
            if backend.model_id not in self.report.stopped_models:
                self.report.stopped_models.append(backend.model_id)
