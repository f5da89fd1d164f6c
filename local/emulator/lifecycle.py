"""The life of a hosted model, from start to stop, and the meter that runs meanwhile."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from local.emulator.errors import StatusConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.emulator.settings import Settings


@dataclasses.dataclass(frozen=True)
class StatusNames:
    """What one service calls the stations of a model's life.

    Attributes
    ----------
    idle, starting, running, stopping, stopped, failed
        The status of a trained model that was never started, and the stations after it. A service may
        give two stations one name.
    startable
        The statuses from which the service accepts a start.
    known
        Every status that the service can report, the ones of training and deleting included.
    stoppable
        The statuses beside running from which it accepts a stop.
    """

    idle: str
    starting: str
    running: str
    stopping: str
    stopped: str
    failed: str
    startable: frozenset[str]
    known: tuple[str, ...]
    stoppable: frozenset[str] = frozenset()


class Lifecycle:
    """A state machine that moves by the clock, and counts starts, stops and billed time.

    It holds no timer: every look at it first catches up with the clock, and a transition counts from the
    moment at which it was due, however late it is noticed. Not safe for use by several threads at once;
    its owner locks.

    Inference units are billed while the model is running and stopping, and while it is starting if the
    settings say so. The units are those asked for as the minimum: scaling up to a maximum is not emulated.

    Parameters
    ----------
    names
        The service's names of the statuses.
    clock
        A monotonic clock in seconds.
    settings
        Gives the settings of this moment. A changed time applies to a transition that is under way, but
        never moves it into the past.
    """

    def __init__(self, names: StatusNames, clock: Callable[[], float], settings: Callable[[], Settings]) -> None:
        self.names = names
        self._clock = clock
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Go back to a model that was never started, with all counters at zero."""
        self._status = self.names.idle
        self._since_seconds = self._seen_seconds = self._clock()
        self._billed_unit_seconds = 0.0
        self._start_fails = False
        self.inference_units: int | None = None
        self.max_inference_units: int | None = None
        self.starts = 0
        self.stops = 0

    @property
    def status(self) -> str:
        """The status at this moment, in the words of the service."""
        self.catch_up()
        return self._status

    @property
    def billed_unit_seconds(self) -> float:
        """Inference units times seconds billed until this moment."""
        self.catch_up()
        return self._billed_unit_seconds

    def start(self, units: int, max_units: int | None = None, *, fails: bool = False) -> str:
        """Begin to start, and return the new status.

        Parameters
        ----------
        units
            Inference units to run with.
        max_units
            The most units that the service may scale to; only reported.
        fails
            Whether this start ends as a failure instead of a running model.

        Raises
        ------
        StatusConflictError
            If a model of this status cannot be started.
        """
        status = self.status
        if status not in self.names.startable:
            raise StatusConflictError(status)
        self.inference_units = units
        self.max_inference_units = max_units
        self._start_fails = fails
        self.starts += 1
        self._enter(self.names.starting, self._clock())
        return self.names.starting

    def stop(self) -> str:
        """Begin to stop, and return the new status.

        Raises
        ------
        StatusConflictError
            If the model is not running; one that is still starting cannot be stopped either.
        """
        status = self.status
        if status != self.names.running and status not in self.names.stoppable:
            raise StatusConflictError(status)
        self.stops += 1
        self._enter(self.names.stopping, self._clock())
        return self.names.stopping

    def force(self, status: str) -> None:
        """Take on any status of the service at once, whatever led there."""
        self.catch_up()
        if status in self._billed_statuses() and self.inference_units is None:
            self.inference_units = 1
        self._start_fails = False
        self._enter(status, self._clock())

    def catch_up(self) -> None:
        """Make the transitions that are due and bill the time up to this moment."""
        now = self._clock()
        while (due := self._due()) is not None and due[1] <= now:
            status, at_seconds = due
            self._bill_until(at_seconds)
            self._enter(status, at_seconds)
        self._bill_until(now)

    def _due(self) -> tuple[str, float] | None:
        settings = self._settings()
        if self._status == self.names.starting:
            reached = self.names.failed if self._start_fails else self.names.running
            return reached, max(self._since_seconds + settings.start_seconds, self._seen_seconds)
        if self._status == self.names.stopping:
            return self.names.stopped, max(self._since_seconds + settings.stop_seconds, self._seen_seconds)
        return None

    def _enter(self, status: str, at_seconds: float) -> None:
        self._status = status
        self._since_seconds = self._seen_seconds = at_seconds

    def _bill_until(self, at_seconds: float) -> None:
        if self._status in self._billed_statuses():
            self._billed_unit_seconds += (self.inference_units or 0) * (at_seconds - self._seen_seconds)
        self._seen_seconds = at_seconds

    def _billed_statuses(self) -> set[str]:
        billed = {self.names.running, self.names.stopping}
        return billed | {self.names.starting} if self._settings().bill_starting else billed
