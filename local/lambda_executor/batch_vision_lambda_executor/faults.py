"""Faults that a test asks for: a function dies, hangs or is late at a named point of its work.

The tests name a folder to LocalStack (`BATCH_VISION_LAMBDA_FAULTS`) and write `faults.json` into it, a list of objects
with the fields of `Fault`; `write` does it. Each function's process looks into it at each of its points, so what is
written counts at once. What happened is counted in that folder too, across all processes: see `hits`.

`launch.py` loads this file in the function's process, and only when there is such a folder. The points of a function's
work are its calls of AWS: nothing in its own code knows of them.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import json
import os
import random
import re
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE_NAME = "faults.json"
ACTIONS = ("die", "hang", "delay")
POINT_PATTERN = re.compile(r"start|invocation|(before|after) [A-Z][A-Za-z0-9]+")
SEED = 20
# Longer than any function may run.
_HANG_SECONDS = 3600
_KEY = "batch_vision_key"


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    id
        Tells it from the others; part of a file's name.
    function
        The end of the function's name, such as `analyze-images`.
    action
        `die` as of SIGKILL, `hang` until the function's time is up, or `delay`.
    point
        `start`, before the handler is loaded; `invocation`, when there is an event and before the handler sees it;
        `before <Operation>`, when AWS has not been asked yet; `after <Operation>`, when it has done what was asked, and
        the function does not know yet. Operations are named as AWS names them: `PutObject`, `DetectCustomLabels`.
    key
        Regular expression that is found in the key of the object that the operation names; None for any.
    count
        How often it happens; None when it happens by chance.
    probability
        The chance, from 0 to 1, that it happens; None when it counts.
    seed
        What the chances depend on, beside the number of the draw.
    seconds
        How long a delay is.
    """

    id: str
    function: str
    action: str
    point: str
    key: str | None = None
    count: int | None = None
    probability: float | None = None
    seed: int = SEED
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Check the fields; raises `ValueError` with the name, the value and the remedy."""
        if not re.fullmatch(r"[A-Za-z0-9_.]+", self.id):
            raise ValueError(f"id {self.id!r} is no part of a file's name: use letters, digits, _ and .")
        if self.action not in ACTIONS:
            raise ValueError(f"unknown action {self.action!r}: use one of {', '.join(ACTIONS)}")
        if not POINT_PATTERN.fullmatch(self.point):
            raise ValueError(
                f"unknown point {self.point!r}: use start, invocation, before <Operation> or after <Operation>"
            )
        if self.key is not None:
            if self.point in ("start", "invocation"):
                raise ValueError(
                    f"key {self.key!r} makes no sense at {self.point}, which is about no object: leave out"
                )
            try:
                re.compile(self.key)
            except re.error as error:
                raise ValueError(f"key {self.key!r} is no regular expression: {error}") from error
        if (self.count is None) == (self.probability is None):
            raise ValueError("a fault has either a count or a probability: give one of them")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count is {self.count!r}: use a whole number of 1 or more")
        if self.probability is not None and not 0 < self.probability <= 1:
            raise ValueError(f"probability is {self.probability!r}: use a number above 0 and up to 1")
        if (self.action == "delay") != (self.seconds is not None):
            raise ValueError(f"seconds is {self.seconds!r} for {self.action}: only a delay has, and needs, seconds")


def write(directory: Path, faults: Iterable[Fault]) -> None:
    """Make these the faults of a folder; a process sees the old ones or the new ones, never half of them."""
    new = directory / f"{FILE_NAME}.new"
    new.write_text(json.dumps([dataclasses.asdict(fault) for fault in faults], indent=1))
    new.replace(directory / FILE_NAME)


def hits(directory: Path, fault_id: str) -> int:
    """Count how often a fault has happened."""
    return sum(1 for _ in directory.glob(f"hit-{fault_id}-*"))


class Faults:
    """The faults of one function.

    Parameters
    ----------
    directory
        The folder that the tests write to.
    function_name
        The whole name of the function.
    """

    def __init__(self, directory: Path, function_name: str) -> None:
        self._directory = directory
        self._function_name = function_name
        self._free: dict[str, int] = {}  # by name, a number before which all are taken

    def strike(self, point: str, key: str = "") -> None:
        """Make happen what is planned for this point of the work."""
        for fault in self._read():
            if (
                fault.point == point
                and self._function_name.endswith(fault.function)
                and (fault.key is None or re.search(fault.key, key))
                and self._happens(fault)
            ):
                print(f"injected fault {fault.id}: {fault.action}, {point} {key}".rstrip(), file=sys.stderr, flush=True)
                if fault.action == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(_HANG_SECONDS if fault.seconds is None else fault.seconds)

    def _read(self) -> list[Fault]:
        try:
            text = (self._directory / FILE_NAME).read_text()
        except FileNotFoundError:
            return []
        return [Fault(**fields) for fields in json.loads(text)]

    def _happens(self, fault: Fault) -> bool:
        if fault.count is not None:
            return self._claim(f"hit-{fault.id}", fault.count) is not None
        number = self._claim(f"draw-{fault.id}")
        # By the number of the draw, so that a seed gives the same chances however many processes there are.
        if random.Random(f"{fault.seed} {number}").random() >= (fault.probability or 0):  # noqa: S311
            return False
        self._claim(f"hit-{fault.id}")
        return True

    def _claim(self, name: str, limit: int | None = None) -> int | None:
        """Take the next number under a name, which no other process gets; None when all are taken."""
        for number in itertools.count(self._first_free(name)) if limit is None else range(limit):
            try:
                os.close(os.open(self._directory / f"{name}-{number}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            self._free[name] = number + 1
            return number
        return None

    def _first_free(self, name: str) -> int:
        """Return a number from which on to try: all before it are taken. A soak draws tens of thousands of times."""

        def is_free(number: int) -> bool:
            return not (self._directory / f"{name}-{number}").exists()

        known = self._free.get(name, 0)
        beyond = known + 1
        while not is_free(beyond):
            beyond += beyond - known
        return bisect.bisect_left(range(beyond), True, lo=known, key=is_free)


def install(directory: Path, function_name: str) -> None:
    """Put the faults of a function into its process; for `launch.py`, before the runtime client runs."""
    faults = Faults(directory, function_name)
    faults.strike("start")
    # The function's interpreter has both, and they are imported where this module is only read from, too.
    from awslambdaric.lambda_runtime_client import LambdaRuntimeClient
    from botocore import handlers

    wait_next_invocation = LambdaRuntimeClient.wait_next_invocation

    def wait_and_strike(client: Any) -> Any:
        invocation = wait_next_invocation(client)
        faults.strike("invocation")
        return invocation

    LambdaRuntimeClient.wait_next_invocation = wait_and_strike

    def before(params: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        context[_KEY] = _key_of(params)
        faults.strike(f"before {model.name}", context[_KEY])

    def after(http_response: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        if http_response.status_code < 300:
            faults.strike(f"after {model.name}", context.get(_KEY, ""))

    # What every session of botocore registers as it is made.
    handlers.BUILTIN_HANDLERS += [("before-parameter-build", before), ("after-call", after)]


def _key_of(params: dict[str, Any]) -> str:
    """The key of the object that a call is about: its own, or that of the image to be looked at."""
    return params.get("Key") or params.get("Image", {}).get("S3Object", {}).get("Name", "")
