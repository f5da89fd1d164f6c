"""Errors, delays and lost connections that are injected on request.

What can be asked for, of any operation, by `POST /_emulator/faults` with the keys `operation`, `error` and either
`count` (1 if nothing is said) or `probability`, and with that a `seed` or none:

========================  ======================================================================================
`error`                   what happens to a call that is hit
========================  ======================================================================================
a declared error's name   it is answered with that error, and nothing is done
`drop`                    nothing is done, and the connection is closed without an answer
`drop_answer`             what was asked is done, and the connection is closed without an answer
`slow:<milliseconds>`     it is done and answered as ever, that much later
`FAILED`                  `StartProjectVersion` only: the model begins to start, and fails on its way up
`HOSTING_FAILED`          `StartModel` only: likewise
`Failed`                  `CreateEndpoint` only: likewise
`ContainerError4xx`       `InvokeEndpoint` only: the container answers with HTTP 400
`ContainerError5xx`       `InvokeEndpoint` only: the container answers with HTTP 500
`MalformedAnswer`         `InvokeEndpoint` only: what the container answers is no JSON
========================  ======================================================================================

And of the Starts of videos only, of the job that the call begins, not of one that it finds by its token:

========================  ======================================================================================
`message_lost`            its message of completion is never published
`message_doubled`         it is published twice
`message_early`           the job ends at once, and the message is published before the Start is answered
`message_error`           the message has the status `ERROR`, whatever the job's own is
`hang`                    the job stays IN_PROGRESS, and open
`FAILED:<text>`           the job ends as FAILED with this text
========================  ======================================================================================

A call is hit by one fault at most: the first of those planned for its operation that is still to be counted down, or
whose chance comes up. A model can be put into any status besides (`PUT /_emulator/models`), and its times be changed
(`PUT /_emulator/settings`): a model that is stuck in STOPPING has a `stop_seconds` of an hour.
"""

from __future__ import annotations

import dataclasses
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from local.emulator.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SEED = 20
DROP = "drop"
DROP_ANSWER = "drop_answer"
SLOW_PREFIX = "slow:"
MESSAGE_LOST = "message_lost"
MESSAGE_DOUBLED = "message_doubled"
MESSAGE_EARLY = "message_early"
MESSAGE_ERROR = "message_error"
HANG = "hang"
FAILED_PREFIX = "FAILED:"
FAILED_WITH_TEXT = f"{FAILED_PREFIX}<text>"
VIDEO_FAULTS = (MESSAGE_LOST, MESSAGE_DOUBLED, MESSAGE_EARLY, MESSAGE_ERROR, HANG, FAILED_WITH_TEXT)


@dataclasses.dataclass
class Fault:
    """One injected fault.

    Attributes
    ----------
    operation
        The operation that it hits.
    error
        What happens, in the words of the module's own table.
    count
        How many calls it still hits; None when it works by chance.
    probability
        The chance, from 0 to 1, that it hits a call; None when it counts.
    seed
        What its chances depend on, beside the operation and the error.
    """

    operation: str
    error: str
    count: int | None = None
    probability: float | None = None
    seed: int = SEED


class FaultPlan:
    """The faults waiting to happen, in the order in which they were asked for.

    Parameters
    ----------
    allowed
        For each operation, the errors that can be injected into it beside delays and lost connections.
    """

    def __init__(self, allowed: Mapping[str, tuple[str, ...]]) -> None:
        self._allowed = {operation: (*errors, DROP, DROP_ANSWER) for operation, errors in allowed.items()}
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, random.Random]] = []
        self.injected: Counter[str] = Counter()

    def add(self, request: Mapping[str, Any]) -> Fault:
        """Plan the fault that a control request describes.

        Raises
        ------
        ConfigurationError
            If the operation or error is unknown, or not exactly one usable count or probability is given.
        """
        fault = self._parse(request)
        chances = random.Random(f"{fault.seed} {fault.operation} {fault.error}")  # noqa: S311 - no secret: repeatable
        with self._lock:
            self._faults.append((fault, chances))
        return fault

    def draw(self, operation: str) -> str | None:
        """Return the error to inject into this call, or None."""
        with self._lock:
            for fault, chances in self._faults:
                if fault.operation != operation:
                    continue
                if fault.probability is not None and chances.random() >= fault.probability:
                    continue
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self._faults.remove((fault, chances))
                self.injected[f"{operation}:{fault.error}"] += 1
                return fault.error
        return None

    def strike(self, operation: str, sleep: Callable[[float], None]) -> str | None:
        """Return the error to inject into this call, or None; a delay is waited for here, and is no error."""
        error = self.draw(operation)
        if error is None or (delay := delay_ms(error)) is None:
            return error
        sleep(delay / 1000.0)
        return None

    def clear(self) -> None:
        """Forget the planned faults; what was injected stays counted."""
        with self._lock:
            self._faults.clear()

    def reset(self) -> None:
        """Forget planned and counted faults."""
        with self._lock:
            self._faults.clear()
            self.injected.clear()

    def describe(self) -> dict[str, Any]:
        """Return the planned and the counted faults as plain data."""
        with self._lock:
            return {
                "planned": [dataclasses.asdict(fault) for fault, _ in self._faults],
                "injected": dict(self.injected),
            }

    def _parse(self, request: Mapping[str, Any]) -> Fault:
        unknown = set(request) - {"operation", "error", "count", "probability", "seed"}
        if unknown:
            raise ConfigurationError(
                f"unknown key {sorted(unknown)[0]!r} of a fault: use operation, error, count, probability, seed"
            )
        operation, error = request.get("operation"), request.get("error")
        if not isinstance(operation, str) or operation not in self._allowed:
            raise ConfigurationError(f"unknown operation {operation!r}: use one of {', '.join(sorted(self._allowed))}")
        allowed = self._allowed[operation]
        if not isinstance(error, str) or not (error in allowed or _is_delay(error) or _is_failure(error, allowed)):
            raise ConfigurationError(
                f"unknown error {error!r} of {operation}: use one of "
                f"{', '.join(allowed)} or {SLOW_PREFIX}<milliseconds>"
            )
        count, probability = request.get("count"), request.get("probability")
        if count is not None and probability is not None:
            raise ConfigurationError("a fault has either a count or a probability: leave one out")
        if probability is None:
            count = 1 if count is None else count
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ConfigurationError(f"count is {count!r}: use a whole number of 1 or more")
        elif isinstance(probability, bool) or not _is_chance(probability):
            raise ConfigurationError(f"probability is {probability!r}: use a number above 0 and up to 1")
        seed = request.get("seed", SEED)
        if not isinstance(seed, int) or isinstance(seed, bool) or (probability is None and "seed" in request):
            raise ConfigurationError(f"seed is {seed!r}: use a whole number, and only together with a probability")
        return Fault(operation, error, count, probability, seed)


def delay_ms(error: str) -> int | None:
    """Return the delay that a `slow:<milliseconds>` fault asks for, or None for any other fault."""
    return int(error.removeprefix(SLOW_PREFIX)) if _is_delay(error) else None


def _is_failure(error: str, allowed: tuple[str, ...]) -> bool:
    return FAILED_WITH_TEXT in allowed and error != FAILED_PREFIX and error.startswith(FAILED_PREFIX)


def _is_chance(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value <= 1


def _is_delay(error: str) -> bool:
    digits = error.removeprefix(SLOW_PREFIX)
    return error.startswith(SLOW_PREFIX) and digits.isascii() and digits.isdigit() and len(digits) <= 6
