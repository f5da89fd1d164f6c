"""Watching a run: how far it is, how fast, how long yet, and what it has cost."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_vision.backends.contracts import ModelState
from batch_vision.core.errors import BatchVisionError
from batch_vision.core.times import from_text, utc_now
from batch_vision.operator import runs
from batch_vision.operator.backlog import count_waiting
from batch_vision.operator.catalog import FinishedImages
from batch_vision.operator.prices import model_dollars

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batch_vision.operator.backlog import Waiting
    from batch_vision.operator.runs import Position, Run
    from batch_vision.operator.stack import Stack

_RATE_SPAN_SECONDS = 60.0
# Counting many objects takes many requests, so it is done rarely; what is finished meanwhile is taken off.
_COUNT_AGAIN_SECONDS = 30.0
_FEW_OBJECTS = 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    left
        Images that wait, or at least so many.
    images_per_second
        Of the last minute; None until there is something to tell.
    cost_dollars
        The model from the request to start it until now, or until its stop: at most this, for AWS does not say
        whether a start is billed.
    """

    phase: str
    done: int
    left: int
    is_at_least: bool
    images_per_second: float | None
    model_status: str
    cost_dollars: float

    @property
    def seconds_left(self) -> float | None:
        """How long the images that are left will take; None when there is no telling."""
        if not self.images_per_second or not self.left or self.is_at_least:
            return None
        return self.left / self.images_per_second

    def __str__(self) -> str:
        parts = [self.phase]
        if self.images_per_second:
            parts.append(f"{self.images_per_second:.1f} a second")
        if self.seconds_left is not None:
            parts.append(f"{shown_seconds(self.seconds_left)} left")
        parts += [f"model {self.model_status}", f"cost up to ${self.cost_dollars:.4f}"]
        return ", ".join(parts)


class Rate:
    """How fast something is done, over a span of time that ends now."""

    def __init__(self, span_seconds: float) -> None:
        self._span_seconds = span_seconds
        self._looks: deque[tuple[float, int]] = deque()

    def after(self, done: int) -> float | None:
        """Return how many a second were done, now that so many are; None until there is something to tell."""
        now = time.monotonic()
        self._looks.append((now, done))
        while now - self._looks[0][0] > self._span_seconds:
            self._looks.popleft()
        # The span begins with the last look before the first one.
        while len(self._looks) > 1 and self._looks[1][1] == self._looks[0][1]:
            self._looks.popleft()
        (began, done_then), seconds = self._looks[0], now - self._looks[0][0]
        return (done - done_then) / seconds if done > done_then and began < now else None


class Watcher:
    """Looks at one execution."""

    def __init__(self, stack: Stack, run: Run) -> None:
        self._stack, self._run = stack, run
        self._finished = FinishedImages(stack.s3, stack.final_bucket_name, run.started_at)
        self._position: Position | None = None
        self._waiting: Waiting | None = None
        self._counted_at = self._done_when_counted = 0.0
        self._rate = Rate(_RATE_SPAN_SECONDS)
        self._off_at: datetime | None = None

    def look(self) -> Progress:
        """Look once."""
        self._position = runs.position(self._stack.workflow, self._run.execution_arn, self._position)
        done = self._finished.count(utc_now())
        waiting = self._count_waiting(done)
        left = max(0, waiting.images - int(done - self._done_when_counted))
        status, units = self._model()
        return Progress(
            phase=self._position.phase,
            done=done,
            left=left,
            is_at_least=waiting.is_at_least,
            images_per_second=self._rate.after(done),
            model_status=status,
            cost_dollars=model_dollars(self._on_seconds() * units, self._stack.unit_hour_dollars),
        )

    def _count_waiting(self, done: int) -> Waiting:
        now = time.monotonic()
        due = 0.0 if self._waiting and self._waiting.images < _FEW_OBJECTS else _COUNT_AGAIN_SECONDS
        if self._waiting is None or now - self._counted_at >= due:
            self._waiting = count_waiting(self._stack)
            self._counted_at, self._done_when_counted = now, done
        return self._waiting

    def _model(self) -> tuple[str, int]:
        """Return the service's word for the model's state, and its inference units."""
        units = ((self._position and self._position.model) or {}).get("inference_units") or 0
        try:
            status = self._stack.lifecycle.describe()
        except BatchVisionError as error:
            return f"unknown ({type(error).__name__})", units
        is_off = status.state in (ModelState.STOPPED, ModelState.FAILED)
        if is_off and self._on_since():
            self._off_at = self._off_at or utc_now()
        elif not is_off:
            self._off_at = None
        return status.service_status, units or status.inference_units or self._stack.min_inference_units

    def _on_since(self) -> datetime | None:
        requested_at = self._position and self._position.requested_at
        return from_text(requested_at) if requested_at else None

    def _on_seconds(self) -> float:
        since = self._on_since()
        return max(0.0, ((self._off_at or utc_now()) - since).total_seconds()) if since else 0.0


def watch(stack: Stack, execution_arn: str, show: Callable[[Progress], None], poll_seconds: float) -> Run:
    """Show how far an execution is until it ends; one that only found another under way leads to that one.

    Returns
    -------
    Run
        How it ended.
    """
    while True:
        run = runs.describe(stack, execution_arn)
        watcher = Watcher(stack, run)
        while run.outcome == "running":
            show(watcher.look())
            time.sleep(poll_seconds)
            run = runs.describe(stack, execution_arn)
        if run.outcome != "another_run":
            return run
        others = runs.running(stack)
        if not others:
            return run
        execution_arn = others[0]


def shown_seconds(seconds: float) -> str:
    """Write how long something will take, for a display that changes."""
    return str(timedelta(seconds=round(seconds))).removeprefix("0:") if seconds >= 60 else f"{seconds:.0f} s"
