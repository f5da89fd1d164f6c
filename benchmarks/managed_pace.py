"""How the deployment of a managed model shares a quota with a neighbour: simulated, at the quotas that Regions have.

Virtual time, the real pace and the emulator's own admission. `managed_saturation` runs the real handler beside it, with
as small a quota as two cores can fill through LocalStack.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_vision.aws.clients import MAX_CONNECTIONS
from batch_vision.images.pace import Pace
from benchmarks.report import Result
from benchmarks.simulation import terraform_defaults
from local.emulator.throttle import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

QUOTAS = (5.0, 25.0, 50.0)
SHARE = 0.6
BACKFILL_SHARE = 0.8
SECONDS = 900.0
_FAR = 1e9
# What a call takes on average, and what an invocation takes between two batches.
LATENCY_SECONDS, REST_SECONDS = 0.7, 0.3


@dataclass
class Clock:
    """Tells the time that it is set to."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@dataclass
class Calls:
    """What became of the calls of one operation: ours, those of a backfill among them, and a neighbour's."""

    bucket: TokenBucket
    taken: int = 0
    refused: int = 0
    backfilled: int = 0
    neighbour_taken: int = 0
    neighbour_refused: int = 0

    @property
    def refused_share(self) -> float:
        """Of our calls, the refused ones."""
        return self.refused / max(1, self.taken + self.refused)

    @property
    def neighbour_refused_share(self) -> float:
        """Of the neighbour's calls, the refused ones."""
        return self.neighbour_refused / max(1, self.neighbour_taken + self.neighbour_refused)


def invocations_for(cap: float, batch_size: int) -> int:
    """Return how many invocations at once use so many calls a second, as Terraform computes it."""
    latency_seconds = float(terraform_defaults()["image_latency_seconds"])
    return max(2, math.ceil(2 * cap * latency_seconds / min(MAX_CONNECTIONS, batch_size)))


def backfill_invocations_for(cap: float) -> int:
    """Return how many invocations at once a backfill takes its part of so many calls a second with, as above."""
    return max(
        1, math.ceil(BACKFILL_SHARE * cap * float(terraform_defaults()["image_latency_seconds"]) / MAX_CONNECTIONS)
    )


class Simulation:
    """A deployment that has more work than it may do, and a neighbour.

    Parameters
    ----------
    quotas
        Of the operations, in calls a second. An image is taken to all of them at once, and is done when the last has
        answered. The neighbour asks the first.
    share
        What the deployment may use of each.
    """

    def __init__(self, quotas: list[float], share: float, batch_size: int = 10) -> None:
        self._quotas = quotas
        self._caps = [quota * share for quota in quotas]
        self._batch_size = batch_size
        self._chance, self._clock, self._order = random.Random(7), Clock(), itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.calls = [Calls(TokenBucket(self._clock)) for _ in quotas]

    def add_events(self, part: float = 1.0) -> None:
        """Let events come without end: as many invocations as Terraform allows, each with a batch after the other."""
        invocations = invocations_for(min(self._caps), self._batch_size)
        for _ in range(invocations):
            paces = self._paces(invocations)
            for pace in paces:
                pace.take_share(part)
            self._begin(paces, self._batch_size)

    def add_backfill(self) -> None:
        """Let a backfill work: its invocations have a chunk without end, and an image for each of their threads."""
        invocations = backfill_invocations_for(min(self._caps))
        for _ in range(invocations):
            paces = self._paces(invocations, BACKFILL_SHARE)
            for _ in range(MAX_CONNECTIONS):
                self._begin(paces, 1, is_backfill=True)

    def add_neighbour(self, calls_per_second: float) -> None:
        """Let somebody else ask the first operation at a steady pace, and take a refusal for an answer."""

        def ask() -> None:
            is_taken = calls.bucket.try_take(self._quotas[0])
            calls.neighbour_taken += is_taken
            calls.neighbour_refused += not is_taken
            self._after(self._chance.uniform(0.5, 1.5) / calls_per_second, ask)

        calls = self.calls[0]
        ask()

    def run(self, seconds: float) -> None:
        """Let all happen that happens in so many seconds."""
        while self._agenda[0][0] < seconds:
            self._clock.now, _, step = heapq.heappop(self._agenda)
            step()

    def _paces(self, invocations: int, part: float = 1.0) -> list[Pace]:
        rates = [part * cap / invocations for cap in self._caps]
        return [Pace(rate, rate, clock=self._clock) for rate in rates]

    def _after(self, wait_seconds: float, step: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self._clock.now + wait_seconds, next(self._order), step))

    def _begin(self, paces: list[Pace], images: int, *, is_backfill: bool = False) -> None:
        left = images * len(paces)

        def ask(number: int) -> None:
            self._after(paces[number].reserve(_FAR), lambda: call(number))

        def call(number: int) -> None:
            if self.calls[number].bucket.try_take(self._quotas[number]):
                self.calls[number].taken += 1
                self.calls[number].backfilled += is_backfill
                self._after(LATENCY_SECONDS * self._chance.uniform(0.7, 1.3), lambda: answered(number))
            else:
                self.calls[number].refused += 1
                paces[number].throttled()
                ask(number)

        def answered(number: int) -> None:
            nonlocal left
            paces[number].answered()
            left -= 1
            if left == 0:
                # A thread that is free takes the next image of its chunk at once.
                rest = 0.0 if is_backfill else REST_SECONDS * self._chance.uniform(0.5, 1.5)
                self._after(rest, lambda: self._begin(paces, images, is_backfill=is_backfill))

        for _ in range(images):
            for number in range(len(paces)):
                ask(number)


def simulate(
    quotas: list[float],
    share: float,
    *,
    has_neighbour: bool = False,
    has_backfill: bool = False,
    seconds: float = SECONDS,
) -> list[Calls]:
    """Return what became of the calls of each operation; the neighbour asks for the rest of the first one's quota."""
    simulation = Simulation(quotas, share)
    simulation.add_events(1 - BACKFILL_SHARE if has_backfill else 1)
    if has_backfill:
        simulation.add_backfill()
    if has_neighbour:
        simulation.add_neighbour((1 - share) * quotas[0])
    simulation.run(seconds)
    return simulation.calls


def measure(quota: float, share: float, seconds: float, *, has_backfill: bool = False) -> dict[str, Any]:
    """Return the row of a deployment with one analysis, beside a neighbour who takes what it leaves."""
    has_neighbour = share < 1
    (calls,) = simulate([quota], share, has_neighbour=has_neighbour, has_backfill=has_backfill, seconds=seconds)
    return {
        "quota, calls a second": quota,
        "share": share,
        "work": "events and a backfill" if has_backfill else "events",
        "invocations": invocations_for(quota * share, 10)
        + (backfill_invocations_for(quota * share) if has_backfill else 0),
        "of the allowed throughput used": calls.taken / (seconds * quota * share),
        "refused calls, share": calls.refused_share,
        "neighbour asks for, calls a second": (1 - share) * quota,
        "neighbour refused, share": calls.neighbour_refused_share if has_neighbour else "-",
    }


def run(quick: bool = False) -> Result:
    """Simulate each quota: alone, beside a neighbour, and with a backfill at the same time."""
    seconds = 20.0 if quick else SECONDS
    rows = [measure(quota, 1.0, seconds) for quota in QUOTAS]
    rows += [measure(quota, SHARE, seconds) for quota in QUOTAS]
    rows += [measure(quota, SHARE, seconds, has_backfill=True) for quota in QUOTAS]
    result = Result("A managed model and a neighbour in the same account, simulated at the quotas of Regions", rows)
    used = min(row["of the allowed throughput used"] for row in rows)
    result.target("at least 95% of the allowed throughput used", used, is_met=used >= 0.95)
    refused = max(row["refused calls, share"] for row in rows)
    result.target("under 2% of calls refused", refused, is_met=refused < 0.02)
    for work in ("events", "events and a backfill"):
        disturbed = max(
            row["neighbour refused, share"]
            for row in rows
            if row["work"] == work and row["share"] < 1 and row["quota, calls a second"] >= 25
        )
        goal = f"at a quota of 25 and more, a neighbour who takes the rest is refused under 1%: {work}"
        result.target(goal, disturbed, is_met=disturbed < 0.01)
    result.notes.append(
        f"{seconds:g} s of virtual time. A call takes {LATENCY_SECONDS:g} s, and {REST_SECONDS:g} s pass between two"
        " batches of 10 images. The service admits calls by a token bucket that holds those of a second. There is more"
        " work than is allowed all the time. The neighbour asks at a steady pace, give or take half of it, and does not"
        " try again. While a backfill asks, live events keep to a fifth of what is allowed."
    )
    return result
