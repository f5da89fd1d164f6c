"""Backfills: jobs that have every image of an existing bucket looked at, as the objects that tell of them.

``jobs/<job>/job.json`` says what was asked for, and is never changed. ``jobs/<job>/plan.json`` says how far the planner
has come. ``jobs/<job>/concurrency.json`` says how many chunks the rounds to come work on at a time, where somebody
changed that. What is left to do are the chunks in ``work/<job>/chunks/`` and nothing else. ``backfills/<job>.json``
sums a job up that is over. ``work/backfill.json`` tells the function of live events that it shares the quota now.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

SCHEMA_VERSION = 1
MOST_ROUNDS = 5
# Where the summaries of jobs that are over are.
SUMMARIES = "backfills/"
# Says until when a backfill asks the model. Whoever works a chunk off writes it anew, and it ends by itself: nobody has
# to take it back where a backfill is paused, is cancelled or dies.
ASKING = "work/backfill.json"


def job_key(job: str) -> str:
    """Return where a job is written down."""
    return f"jobs/{job}/job.json"


def plan_key(job: str) -> str:
    """Return where the planner of a job says how far it has come."""
    return f"jobs/{job}/plan.json"


def cancelled_key(job: str) -> str:
    """Return what is written before the chunks of a job that is cancelled are deleted: no new ones are to be left."""
    return f"jobs/{job}/cancelled.json"


def concurrency_key(job: str) -> str:
    """Return where an operator says how many chunks the rounds to come work on at a time."""
    return f"jobs/{job}/concurrency.json"


def concurrency_body(execution: str, max_concurrency: int) -> bytes:
    """Return the content of `concurrency_key`: it counts for the execution that it names, by its name."""
    return json.dumps({"execution": execution, "max_concurrency": max_concurrency}).encode()


def concurrency_of(body: bytes, execution: str) -> int | None:
    """Return what was said for an execution; None where that was for another one, or cannot be read."""
    try:
        told = json.loads(body)
        return max(1, int(told["max_concurrency"])) if told["execution"] == execution else None
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError):
        return None


def list_key(job: str, number: int, suffix: str) -> str:
    """Return where a file of a job's list is kept, by its place in the list."""
    return f"jobs/{job}/lists/{number:05}{suffix}"


def summary_key(job: str) -> str:
    """Return where the summary of a job is."""
    return f"{SUMMARIES}{job}.json"


def asking_body(until: datetime) -> bytes:
    """Return the content of `ASKING`."""
    return json.dumps({"asks_until": to_text(until)}).encode()


def is_asking(body: bytes, now: datetime) -> bool:
    """Return whether a backfill asks the model, by the content of `ASKING`; what cannot be read says no."""
    try:
        return from_text(json.loads(body)["asks_until"]) > now
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return False


class Kind(StrEnum):
    """Where a job has its keys from."""

    LISTING = "listing"
    INVENTORY = "inventory"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a job has its keys from.

    Attributes
    ----------
    prefix
        What the keys of a listing begin with.
    name
        Of the list, as somebody gave it.
    fields
        The columns of an inventory's files.
    files
        The keys of a list's files, which are copies in the final bucket.
    """

    kind: Kind = Kind.LISTING
    prefix: str = ""
    name: str = ""
    fields: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what ``job.json`` says of it."""
        match self.kind:
            case Kind.LISTING:
                return {"kind": self.kind.value, "prefix": self.prefix}
            case Kind.INVENTORY:
                told = {"manifest": self.name, "fields": [*self.fields]}
            case Kind.CSV:
                told = {"list": self.name}
        return {"kind": self.kind.value} | told | {"files": [*self.files]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what ``job.json`` says; raises `KeyError`, `TypeError` or `ValueError` for what is no source."""
        kind = Kind(content["kind"])
        if kind is Kind.LISTING:
            return cls(kind, prefix=str(content["prefix"]))
        name = content["manifest" if kind is Kind.INVENTORY else "list"]
        return cls(kind, name=str(name), fields=tuple(content.get("fields", ())), files=tuple(content["files"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What somebody asked for.

    Attributes
    ----------
    created_at
        As text, in UTC.
    is_deep
        Whether each key in scope is looked at, and not only those whose result a listing shows to be out of date.
    removes_orphans
        Whether the results of objects that are gone are looked at as well.
    """

    id: str
    created_at: str
    source: Source = Source()
    is_deep: bool = False
    removes_orphans: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``job.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "job": self.id,
            "created_at": self.created_at,
            "source": self.source.to_json(),
            "deep": self.is_deep,
            "removes_orphans": self.removes_orphans,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read the content of ``job.json``; raises `KeyError`, `TypeError` or `ValueError` for something else."""
        return cls(
            id=str(content["job"]),
            created_at=str(content["created_at"]),
            source=Source.from_json(content["source"]),
            is_deep=bool(content["deep"]),
            removes_orphans=bool(content["removes_orphans"]),
        )


class Phase(StrEnum):
    """How far the planner of a job is."""

    CHECK = "check"  # the list is read once, before anything is written of it
    PLAN = "plan"
    DONE = "done"


@dataclass(slots=True)
class Plan:
    """How far the planner of a job has come: what is before it is in chunks, or needs nothing.

    Attributes
    ----------
    position
        Of a listing: `joining.Position` as JSON. Of a list: ``file`` and ``row``, how many files, and then rows, are
        done.
    counts
        Keys by what became of them: ``listed``, ``planned``, ``chunks``, and by their state.
    left_out
        Objects that are not analyzed, by the reason.
    """

    phase: Phase = Phase.CHECK
    position: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, Any]:
        """Return the counts, as ``plan.json`` and the summary have them."""
        return dict(self.counts) | {"left_out": dict(self.left_out)}

    def body(self, updated_at: str) -> bytes:
        """Return the content of ``plan.json``."""
        return json.dumps(
            {"phase": self.phase, "position": self.position, "counts": self.told(), "updated_at": updated_at},
            ensure_ascii=False,
        ).encode()

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the content of ``plan.json``."""
        content = json.loads(body)
        counts = dict(content["counts"])
        left_out = counts.pop("left_out")
        return cls(Phase(content["phase"]), content["position"], Counter(counts), Counter(left_out))


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a job; an image that is done counts until all of its chunk are.

    Attributes
    ----------
    rounds
        How often the chunks were mapped.
    """

    images: int
    chunks: int
    rounds: int = 0


def goes_on(left: Left, before: Left | None) -> bool:
    """Return whether chunks are to be mapped once more.

    They are while that helps, and five times at most: each time fewer images are left, or the same ones in smaller
    chunks, because a function died of a chunk.
    """
    if not left.chunks or left.rounds >= MOST_ROUNDS:
        return False
    return before is None or left.images < before.images or left.chunks > before.chunks


def summary_of(
    job: str,
    asked: Mapping[str, Any] | None,
    plan: Plan,
    left: Left,
    *,
    outcome: str,
    ended_at: str,
    error: Mapping[str, str] | None = None,
) -> bytes:
    """Return the content of the summary of a job that is over.

    Parameters
    ----------
    asked
        The content of ``job.json``; None where it is not there.
    """
    content = dict(asked or {"job": job}) | {
        "schema_version": SCHEMA_VERSION,
        "ended_at": ended_at,
        "outcome": outcome,
        "counts": plan.told(),
        "left_images": left.images,
        "left_chunks": left.chunks,
        "error": error,
    }
    return json.dumps(content).encode()
