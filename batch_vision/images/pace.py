"""The pace at which one process asks the model: as fast as the service allows, with under 1% of the calls throttled.

The invocations of a run share what the model can do, and know nothing of each other. Each has a pace of its own that
is right when all have it (`core.capacity`), and finds the right one when it is not: every answer makes it a
little faster and every throttled call much slower, so that it stays where one call in two hundred is throttled. Others
of the account, whose calls the service throttles no less often, notice as much.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from batch_vision.core.errors import NoTimeLeftError

if TYPE_CHECKING:
    from collections.abc import Callable

_SLOWER = 0.95
# 199 steps up are one step down.
_FASTER = _SLOWER ** (-1 / 199)
# After so many answers in a row the right pace is far off: the steps double, and again after as many more.
_LONG_STREAK = 200
# One step that was doubled so often crosses the whole range. Without a bound, a float overflows after 4,200 answers.
_MOST_DOUBLINGS = 13
# However bad the service was for a while, this is found again in minutes.
_RANGE = 8.0


class Pace:
    """Paces the calls of a process.

    Parameters
    ----------
    calls_per_second
        To begin with.
    most_calls_per_second
        Never exceeded, not for a batch either: what the service allows others of the account is theirs.
    credit_seconds
        For how long a pause between two batches may be made up for.
    clock
        A monotonic clock in seconds.
    """

    def __init__(
        self,
        calls_per_second: float,
        most_calls_per_second: float,
        *,
        credit_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.calls_per_second = calls_per_second
        self._slowest, self._fastest = calls_per_second / _RANGE, most_calls_per_second
        self._streak = 0
        self._credit_seconds = credit_seconds
        self._clock = clock
        self._next_turn = clock()
        self._batch_per_second = 0.0
        self._share = 1.0
        self._lock = threading.Lock()

    def take_share(self, share: float) -> None:
        """Keep to a share of the pace and of its bounds from now on; 1 for all of it."""
        with self._lock:
            change, self._share = share / self._share, share
            self.calls_per_second *= change
            self._slowest *= change
            self._fastest *= change

    def begin_batch(self, images: int, deadline: float) -> None:
        """Be fast enough for a batch of so many images, within the bound: what is not begun in time comes back."""
        self._batch_per_second = images / max(0.001, deadline - self._clock())

    def reserve(self, deadline: float) -> float:
        """Take the next turn and give the seconds until then.

        Raises
        ------
        NoTimeLeftError
            The turn would have to be waited for until after the deadline.
        """
        with self._lock:
            now = self._clock()
            turn = max(self._next_turn, now - self._credit_seconds)
            if turn > max(now, deadline):
                raise NoTimeLeftError("The invocation is nearly over: the image is left for another one.")
            wanted = max(self.calls_per_second, self._batch_per_second)
            self._next_turn = turn + 1 / min(wanted, self._fastest)
            return max(0.0, turn - now)

    def wait(self, deadline: float) -> None:
        """Wait for the next turn."""
        time.sleep(self.reserve(deadline))

    def answered(self) -> None:
        """Be a little faster, for the service took a call."""
        with self._lock:
            self._streak += 1
            step = _FASTER ** (2 ** min(self._streak // _LONG_STREAK, _MOST_DOUBLINGS))
            self.calls_per_second = min(self._fastest, self.calls_per_second * step)

    def throttled(self) -> None:
        """Be slower, for the service refused a call."""
        with self._lock:
            self._streak = 0
            self.calls_per_second = max(self._slowest, self.calls_per_second * _SLOWER)
