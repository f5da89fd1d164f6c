"""Turn everything off: disable the event source mapping, stop the model, wait for both and for what is in flight.

The one implementation, for the workflow, the watchdog and `batch-vision stop`. Both are asked at once, because a
mapping may take a minute to be disabled and the model is paid for meanwhile; what one of them answers never keeps the
other from being asked. An image that meets a model which stops is no attempt: its message is sent anew.

`ask` is one look at everything, and asks for what is not off. `progress` decides what a look means; it is pure.
`close` is both, for callers that repeat it until ``is_closed``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from batch_vision.aws.mappings import DISABLED, DISABLING
from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from batch_vision.aws.mappings import EventSourceMapping
    from batch_vision.backends.contracts import Lifecycle

# What is not known to be off may be costing money.
ON = (ModelState.STARTING, ModelState.RUNNING, ModelState.STOPPING, ModelState.UNKNOWN)

DELETED = "deleted"
_NOT_SEEN = "not seen"


@dataclass(frozen=True, slots=True)
class Part:
    """What one look saw of the mapping or of a model, and what came of asking it.

    Attributes
    ----------
    name
        What it is, for messages: ``Model <id>``.
    state
        The service's own word; ``deleted`` where there is none, ``not seen`` where that could not be read.
    is_off
        Whether it is disabled, stopped or deleted. What was not seen is not off.
    is_asked
        Whether the service took the request to disable or stop it in this look.
    error
        Why it could not be seen or asked; None when it could, or when there was nothing to ask.
    """

    name: str
    state: str
    is_off: bool = False
    is_asked: bool = False
    error: errors.BatchVisionError | None = None

    @property
    def was_seen(self) -> bool:
        """Whether its state could be read."""
        return self.state != _NOT_SEEN

    @property
    def is_refused_for_good(self) -> bool:
        """Whether waiting does not mend the error."""
        return self.error is not None and not isinstance(self.error, (errors.TransientError, errors.ModelBusyError))

    @property
    def refusal(self) -> str:
        """The error as a part of a sentence; empty without one."""
        return f" Last refusal: {type(self.error).__name__}: {self.error}." if self.error else ""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw."""

    mapping: Part
    models: tuple[Part, ...]

    @property
    def are_models_off(self) -> bool:
        """Whether every model is stopped."""
        return all(model.is_off for model in self.models)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long the parts of a close may take, in seconds.

    Attributes
    ----------
    mapping_timeout_seconds, stop_timeout_seconds
        Until the mapping must be disabled, and the models stopped, after the close began.
    in_flight_timeout_seconds
        Until no batch can be at work any more after the mapping is disabled: the timeout of the analyzing function.
        Messages that failed are in flight for longer, and are not waited for.
    mapping_poll_seconds, model_poll_seconds
        Between two looks: while the mapping or a batch is waited for, and while only a model is.
    """

    mapping_timeout_seconds: float
    stop_timeout_seconds: float
    in_flight_timeout_seconds: float
    mapping_poll_seconds: int
    model_poll_seconds: int

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Bounds:
        """Read them from what the workflow hands over."""
        return cls(**{field.name: event[field.name] for field in fields(cls)})


def ask(mapping: EventSourceMapping, models: Sequence[Lifecycle], *, only_look: bool = False) -> Look:
    """Look at the mapping and the models, and ask for what is not off to be disabled or stopped; never raises ours.

    Parameters
    ----------
    only_look
        Ask for nothing.
    """
    return Look(disable(mapping, only_look=only_look), tuple(stop(model, only_look=only_look) for model in models))


def disable(mapping: EventSourceMapping, *, only_look: bool = False) -> Part:
    """Ask for the mapping to be disabled unless it is, or is about to be; see `ask`."""
    name, state, is_asked = f"Event source mapping {mapping.uuid}", _NOT_SEEN, False
    try:
        state = mapping.state()
        if state not in (DISABLED, DISABLING) and not only_look:
            mapping.disable()
            is_asked = True
    except errors.MappingNotFoundError:
        return Part(name, DELETED, is_off=True)  # nothing flows
    except errors.BatchVisionError as error:
        return Part(name, state, error=error)
    return Part(name, state, is_off=state == DISABLED, is_asked=is_asked)


def stop(model: Lifecycle, *, only_look: bool = False) -> Part:
    """Ask for a model to be stopped unless it is, or is about to be; see `ask`.

    A model that is starting may refuse to stop until it runs. Rekognition documents two errors for that and does not
    say which it is (API reference, StopProjectVersion: ResourceInUse, InvalidParameter), so any refusal of a model
    that is starting is `ModelBusyError`, but for a missing permission.
    """
    name, state, is_asked = f"Model {model.model_id}", _NOT_SEEN, False
    try:
        status = model.describe()
        state = status.service_status
        if status.state not in ON and not status.has_remains:
            return Part(name, state, is_off=True)
        if status.state is not ModelState.STOPPING and not only_look:
            try:
                model.stop()
                is_asked = True
            except errors.ModelError as error:
                if status.state is not ModelState.STARTING or isinstance(error, errors.ModelNotFoundError):
                    raise
                raise errors.ModelBusyError(f"It cannot be stopped before it runs ({error})") from error
    except errors.ModelNotFoundError:
        return Part(name, DELETED, is_off=True)  # it costs nothing
    except errors.BatchVisionError as error:
        return Part(name, state, error=error)
    return Part(name, state, is_asked=is_asked)


def close(
    mapping: EventSourceMapping,
    models: Sequence[Lifecycle],
    count_in_flight: Callable[[], int],
    previous: Mapping[str, Any] | None,
    bounds: Bounds,
    now: datetime,
) -> dict[str, Any]:
    """Do what brings everything nearer to off, and say how it stands: one convergent step.

    Parameters
    ----------
    count_in_flight
        Returns the messages that the queue has handed out and that are not acknowledged; asked once the rest is off.
    previous
        What the step before returned; None for the first.

    Returns
    -------
    dict
        See `progress`.

    Raises
    ------
    BatchVisionError
        See `progress`.
    """
    look = ask(mapping, models)
    in_flight: int | None = 0
    if look.mapping.is_off and look.are_models_off:
        try:
            in_flight = count_in_flight()
        except errors.BatchVisionError:
            in_flight = None
    return progress(look, in_flight, previous, bounds, now)


def progress(
    look: Look, in_flight: int | None, previous: Mapping[str, Any] | None, bounds: Bounds, now: datetime
) -> dict[str, Any]:
    """Say how far a close is.

    Parameters
    ----------
    in_flight
        Messages in flight; None where they could not be counted, which is taken for some.

    Returns
    -------
    dict
        ``requested_at`` (the first step), ``mapping_state``, ``mapping_disabled_at``, ``model_status`` (of the first
        model that is not stopped), ``stopped_at`` (all models; None until then), ``in_flight``, ``is_closed``, and
        ``wait_seconds`` until the next step.

    Raises
    ------
    AccessDeniedError
        The role may not stop a model: raised at once, so that the watchdog, which has another role, does it. Where it
        may not disable the mapping, raised when the models are stopped.
    ModelStopTimeoutError
        A service did not confirm a stop in time: somebody must look, because the model may be costing money.
    MappingNotDisabledError
        The mapping was not disabled in time; the models are stopped.
    MappingNotFoundError
        Somebody deleted the mapping; the models are stopped.
    """
    requested_at = from_text(previous["requested_at"]) if previous else now
    disabled_at, stopped_at = (_first(previous, name) for name in ("mapping_disabled_at", "stopped_at"))
    is_late = now - requested_at > timedelta(seconds=bounds.mapping_timeout_seconds)
    on = [model for model in look.models if not model.is_off]
    for model in on:
        if isinstance(model.error, (errors.AccessDeniedError, errors.SettingsError)):
            raise model.error
        if now - requested_at > timedelta(seconds=bounds.stop_timeout_seconds):
            raise errors.ModelStopTimeoutError(
                f"{model.name} is still {model.state}; it was asked to stop at {to_text(requested_at)} and did not"
                f" within timings.stop_timeout_seconds = {bounds.stop_timeout_seconds}.{model.refusal} It may be"
                " costing money: stop it by hand, and look at the service's own status page."
            )
    mapping = look.mapping
    if mapping.is_off:
        disabled_at = disabled_at or now
    elif not on and mapping.is_refused_for_good and mapping.error:
        raise mapping.error
    elif not on and is_late:
        raise errors.MappingNotDisabledError(
            f"{mapping.name} is still {mapping.state}; it was asked to be disabled at {to_text(requested_at)} and was"
            f" not within timings.mapping_timeout_seconds = {bounds.mapping_timeout_seconds}.{mapping.refusal} Look at"
            " its State, and disable it by hand. The model is stopped, and messages stay on the queue."
        )
    if not on:
        stopped_at = stopped_at or now
    is_batch_at_work = (
        in_flight != 0
        and disabled_at is not None
        and now - disabled_at <= timedelta(seconds=bounds.in_flight_timeout_seconds)
    )
    is_closed = mapping.is_off and not on and not is_batch_at_work
    if is_closed and mapping.state == DELETED:
        raise errors.MappingNotFoundError(
            f"There is no {mapping.name[0].lower()}{mapping.name[1:]} any more. Run terraform apply, which makes it"
            " again. The model is stopped."
        )
    waits_for_mapping = is_batch_at_work or not (mapping.is_off or is_late)
    return {
        "requested_at": to_text(requested_at),
        "mapping_state": mapping.state,
        "mapping_disabled_at": disabled_at and to_text(disabled_at),
        "model_status": next((model.state for model in [*on, *look.models]), None),
        "stopped_at": stopped_at and to_text(stopped_at),
        "in_flight": in_flight,
        "is_closed": is_closed,
        "wait_seconds": bounds.mapping_poll_seconds if waits_for_mapping else bounds.model_poll_seconds,
    }


def _first(previous: Mapping[str, Any] | None, name: str) -> datetime | None:
    text = previous[name] if previous else None
    return from_text(text) if text else None
