"""Slots and minutes of the day, reserved before a job is started: one object, written under a condition.

A reservation is made for a job's token after its record says `starting`, and given back after it says something else.
So one whose record does not is left over from a dispatcher that died, and anybody may give it back on the condition
that nobody has reserved anything since. That is why even what changes nothing is written, with another number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from batch_vision.core.videos import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batch_vision.core.videos import Record


@dataclass(frozen=True, slots=True)
class Limits:
    """What a deployment may use of the account.

    Attributes
    ----------
    max_concurrent_jobs, max_minutes_per_day
        Of all analyses together.
    """

    max_concurrent_jobs: int
    max_minutes_per_day: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """What is reserved for a job, and on which day.

    Attributes
    ----------
    number
        Of the write that reserved it last: what tells a reservation from a later one for the same token.
    """

    record_id: str
    minutes: int
    day: str
    number: int


class Refusal(StrEnum):
    """Why nothing is reserved."""

    JOBS = "jobs"  # as many are running as may
    MINUTES = "minutes"  # not today any more
    NEVER = "never"  # more minutes than any day has


@dataclass(frozen=True, slots=True)
class Reservations:
    """What is reserved.

    Attributes
    ----------
    day
        In UTC, such as ``2026-11-20``; empty before the first one.
    minutes
        Reserved on that day.
    jobs
        The slots, by the token of the job.
    number
        Of writes, so that no two contents are the same.
    """

    day: str = ""
    minutes: int = 0
    jobs: Mapping[str, Reserved] = field(default_factory=dict)
    number: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the final bucket."""
        return {
            "schema_version": 1,
            "day": self.day,
            "minutes": self.minutes,
            "jobs": {
                token: {"record_id": one.record_id, "minutes": one.minutes, "day": one.day, "number": one.number}
                for token, one in self.jobs.items()
            },
            "number": self.number,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            day=content["day"],
            minutes=content["minutes"],
            jobs={
                token: Reserved(one["record_id"], one["minutes"], one["day"], one["number"])
                for token, one in content["jobs"].items()
            },
            number=content["number"],
        )


def reserve(reservations: Reservations, record: Record, limits: Limits, now: datetime) -> Reservations | Refusal:
    """Reserve the slot and the minutes of a record's attempt, or say why not.

    What has its reservation keeps it, under another number: whoever had it before can give it back no more.
    """
    # Of two clocks at midnight the one that is ahead counts: a day that has begun does not come back.
    today = max(reservations.day, now.astimezone(UTC).date().isoformat())
    used = reservations.minutes if reservations.day == today else 0
    jobs, token, number = reservations.jobs, record.token, reservations.number + 1
    if token in jobs:
        return replace(reservations, jobs={**jobs, token: replace(jobs[token], number=number)}, number=number)
    if record.minutes > limits.max_minutes_per_day:
        return Refusal.NEVER
    if len(jobs) >= limits.max_concurrent_jobs:
        return Refusal.JOBS
    if used + record.minutes > limits.max_minutes_per_day:
        return Refusal.MINUTES
    reserved = Reserved(record.record_id, record.minutes, today, number)
    return Reservations(today, used + record.minutes, {**jobs, token: reserved}, number)


def release(
    reservations: Reservations, token: str, minutes: int | None = None, number: int | None = None
) -> Reservations:
    """Give a slot back, and of its minutes, where they are of today, those that are not used; what is more is added.

    Parameters
    ----------
    minutes
        How many were used: 0 where the job was not started. None where that is not known: then all were.
    number
        Of the reservation that is given back, where another one may have been made for the same token since.
    """
    reserved = reservations.jobs.get(token)
    if reserved is None or number not in (None, reserved.number):
        return reservations
    jobs = {one: told for one, told in reservations.jobs.items() if one != token}
    unused = 0 if minutes is None else reserved.minutes - minutes
    left = reservations.minutes - (unused if reserved.day == reservations.day else 0)
    return Reservations(reservations.day, left, jobs, reservations.number + 1)


def is_used(token: str, record: Record | None) -> bool:
    """Return whether the job of a reservation may be running, by its record as it is now."""
    return record is not None and record.token == token and record.state in (State.STARTING, State.RUNNING)


def swept(reservations: Reservations, records: Mapping[str, Record]) -> Reservations:
    """Return the reservations without those that are left over.

    Parameters
    ----------
    records
        Those of the reservations, by id, read after these; what is missing is gone.
    """
    for token, reserved in reservations.jobs.items():
        record = records.get(reserved.record_id)
        if not is_used(token, record):
            # One that waits under the same token was not started: a start that may have been made is repeated.
            was_refused = record is not None and record.token == token and record.state is State.WAITING
            reservations = release(reservations, token, 0 if was_refused else None)
    return reservations
