"""Admission of calls at a bounded rate."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TokenBucket:
    """A token bucket whose rate is given at each call, because units and settings change while it is in use.

    It holds one second's worth of calls (at least one), so that a burst after a rest is admitted.

    Parameters
    ----------
    clock
        A monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: float | None = None
        self._filled_at_seconds = clock()

    def try_take(self, rate_per_second: float) -> bool:
        """Take one token if there is one, and return whether there was."""
        capacity = max(1.0, rate_per_second)
        with self._lock:
            now = self._clock()
            if self._tokens is None:
                self._tokens = capacity
            gained = (now - self._filled_at_seconds) * rate_per_second
            self._tokens = min(capacity, self._tokens + gained)
            self._filled_at_seconds = now
            # Tokens are sums of fractions: a millionth short of one is one.
            if self._tokens < 1.0 - 1e-6:
                return False
            self._tokens = max(0.0, self._tokens - 1.0)
            return True

    def refill(self) -> None:
        """Make the bucket full again, as it is when a model begins to run."""
        with self._lock:
            self._tokens = None
            self._filled_at_seconds = self._clock()
