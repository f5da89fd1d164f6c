"""Stop what no live execution owns: the model, and the event source mapping through which images flow to it.

The workflow stops its own model on every path that it can take. This is for what it cannot: an execution that was
aborted, timed out or failed on its way out, a model that somebody left on, the end of a model's use, and the end of
the deployment. How each part is asked, and what counts as off, is in `closing`, as for the workflow.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, Any

from batch_vision.aws.executions import list_running, stop_execution
from batch_vision.core import errors
from batch_vision.core.models import Model
from batch_vision.runs import closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_stepfunctions import SFNClient

    from batch_vision.aws.current_run import CurrentRun
    from batch_vision.aws.mappings import EventSourceMapping
    from batch_vision.backends.contracts import Lifecycle

# What is left to an invocation when it gives up waiting: time for one look and its alert.
_MARGIN_SECONDS = 30


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
        How long a batch that was taken before the mapping was disabled may live.
    ended_execution_arn
        An execution that is known to have ended, whatever the list says.
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
            model=Model.from_json(event),
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
        """Return it for a log line and for Terraform."""
        return asdict(self)


class Guard:
    """One invocation of the watchdog.

    Looked after are the model of the deployment, and those of the current run, which an apply may have given another
    one since.

    Parameters
    ----------
    load_current_run
        Returns what `current-run.json` says; None where there is none.
    close_current_run
        Takes the id of the current run when everything was seen off.
    """

    def __init__(
        self,
        duty: Duty,
        workflow: SFNClient,
        mapping: EventSourceMapping,
        lifecycle_of: Callable[[Model], Lifecycle],
        load_current_run: Callable[[], CurrentRun | None],
        close_current_run: Callable[[str], None],
    ) -> None:
        self._duty = duty
        self._workflow = workflow
        self._mapping = mapping
        self._lifecycle_of = lifecycle_of
        self._load_current_run = load_current_run
        self._close_current_run = close_current_run
        self._models = {duty.model}
        self._current: CurrentRun | None = None
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
            Returns the time that the invocation has left.

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
        if quiet_looks and not self.report.live_executions and self._current and not self._current.is_closed:
            self._close_current_run(self._current.run_id)

    def _error(self, problems: list[str]) -> errors.GuardError:
        sentences = problems + self.report.refused + self.report.left_on
        return errors.GuardError(" ".join([*sentences, _REMEDIES[self._duty.task]]))

    def _look(self, *, acts: bool) -> list[str]:
        """Look once at everything, and return the errors that waiting does not mend; none hinders anything else."""
        self.report.left_on, self.report.refused = [], []
        self.report.is_model_on = self.report.is_model_unowned = False
        problems: list[str] = []
        owned: set[Model] | None = None
        with self._noting(problems):
            self._current = self._load_current_run()
            self._models.update(self._current.models if self._current else ())
        with self._noting(problems):
            owned = self._owned_models()
        if owned is None and not self._duty.is_last:
            return problems  # without knowing who is alive, everything may be somebody's
        if not owned:
            part = closing.disable(self._mapping, only_look=not acts)
            self._note(part, problems)
            self.report.is_mapping_disabled |= part.is_asked
        for model in sorted(self._models, key=str):
            with self._noting(problems):
                self._look_at_model(model, problems, is_owned=model in (owned or ()), acts=acts)
        return problems

    def _look_at_model(self, model: Model, problems: list[str], *, is_owned: bool, acts: bool) -> None:
        if is_owned and not (self._duty.task is Task.TICK and model == self._duty.model):
            return  # what a live execution has is its own affair
        lifecycle = self._lifecycle_of(model)
        part = closing.stop(lifecycle, only_look=is_owned or not acts)
        is_on = part.was_seen and not part.is_off
        self.report.is_model_on |= is_on
        if is_owned:
            return  # looked at for the metric only
        self.report.is_model_unowned |= is_on
        self._note(part, problems)
        if part.is_asked and lifecycle.model_id not in self.report.stopped_models:
            self.report.stopped_models.append(lifecycle.model_id)

    def _note(self, part: closing.Part, problems: list[str]) -> None:
        """Put down what a part is, and what came of asking it."""
        if part.was_seen and not part.is_off:
            self.report.left_on.append(f"{part.name} is {part.state}.")
        if part.error:
            sentence = f"{part.name}: {type(part.error).__name__}: {part.error}"
            (problems if part.is_refused_for_good else self.report.refused).append(sentence)

    @contextmanager
    def _noting(self, problems: list[str]) -> Iterator[None]:
        try:
            yield
        except errors.TransientError as error:
            self.report.refused.append(f"{type(error).__name__}: {error}")
        except errors.BatchVisionError as error:
            problems.append(f"{type(error).__name__}: {error}")

    def _owned_models(self) -> set[Model]:
        """Return the models that live executions own; at the end of the deployment, stop the executions instead.

        The run that `current-run.json` names has the model that stands there. Any other execution has written nothing
        yet, so it has started nothing: it is about to start the model of the deployment, or to end.
        """
        live = [
            arn
            for arn in list_running(self._workflow, self._duty.state_machine_arn)
            if arn != self._duty.ended_execution_arn
        ]
        if not self._duty.is_last:
            self.report.live_executions = live
            owned = {self._duty.model for arn in live if not self._current or arn != self._current.execution_arn}
            if self._current and self._current.execution_arn in live:
                owned.add(self._current.model)
            return owned
        for arn in live:
            stop_execution(
                self._workflow, arn, "DeploymentDestroyed", "The deployment is being destroyed by Terraform."
            )
            self.report.left_on.append(f"Execution {arn} was running.")
            if arn not in self.report.stopped_executions:
                self.report.stopped_executions.append(arn)
        return set()
