"""Jobs: what is to be done next about a record, and what a record becomes by what the service says.

Whoever starts a job takes its record first, for longer than a dispatcher lives. One that finds a record taken whose
time is over knows that the one before died, and does not know whether it started the job. So it makes the same request
under the same token again: either this is the same job, or it was not started. A refusal then says nothing about the
first time, and the record stays as it is until an answer says more. Only who took the record from those that wait may
put it back there.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from batch_vision.core.errors import JobFailedError, StalledJobError, VideoCodecError
from batch_vision.core.video_plans import minutes_of
from batch_vision.core.videos import MOST_ATTEMPTS, Fault, JobStatus, State

if TYPE_CHECKING:
    from datetime import datetime

    from batch_vision.core.videos import JobLook, Record

# How long a dispatcher has a record to itself: longer than its timeout in Terraform.
STARTING_LEASE = timedelta(minutes=3)
# The same of a collector, which may be called a minute after it was asked for.
COLLECTING_LEASE = timedelta(minutes=16)
MOST_COLLECTORS = 5
# The service knows a token for seven days (Rekognition API reference, "ClientRequestToken").
TOKEN_LIFE = timedelta(days=6)

_RATE_PAUSE = timedelta(minutes=1)
_AGAIN_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=1)
_FIRST_CHECK, _LONGEST_CHECK = timedelta(seconds=30), timedelta(minutes=10)
_SHARE_OF_ELAPSED = 0.25  # how much later than a job may end it is found, where no message tells of it
_LEAST_DEADLINE, _MOST_DEADLINE, _DEADLINE_FACTOR = timedelta(hours=1), timedelta(hours=24), 4


class Step(StrEnum):
    """What is to be done about a record."""

    NOTHING = "nothing"  # not now
    START = "start"
    LOOK = "look"  # ask the service about its job
    COLLECT = "collect"  # hand it to a collector: answers, or the end of its plan


def next_step(record: Record, now: datetime, *, is_hinted: bool = False) -> Step:
    """Return what is to be done about a record now.

    Parameters
    ----------
    is_hinted
        Whether a message says that its job has ended: it is believed as far as to ask.
    """
    is_taken = record.leased_until is not None and record.leased_until > now
    match record.state:
        case State.WAITING:
            return Step.START if record.due_at <= now else Step.NOTHING
        case State.STARTING:
            return Step.NOTHING if is_taken else Step.START
        case State.RUNNING:
            due = min((at for at in (record.next_check_at, record.deadline_at) if at), default=now)
            return Step.LOOK if is_hinted or due <= now else Step.NOTHING
    is_due = record.next_check_at is None or record.next_check_at <= now
    return Step.COLLECT if is_due and not is_taken else Step.NOTHING


def is_with_collector(record: Record, now: datetime) -> bool:
    """Return whether a collector is at work on a record."""
    return (
        record.state not in (State.WAITING, State.STARTING, State.RUNNING)
        and record.leased_until is not None
        and record.leased_until > now
    )


def taken_to_start(record: Record, now: datetime) -> Record:
    """Return a record that its dispatcher has to itself now."""
    since = record.starting_since or now
    return replace(record, state=State.STARTING, starting_since=since, leased_until=now + STARTING_LEASE)


def is_token_old(record: Record, now: datetime) -> bool:
    """Return whether the service may have forgotten the token of a start: repeated, it would be another job."""
    return record.starting_since is not None and now - record.starting_since >= TOKEN_LIFE


def put_back(record: Record) -> Record:
    """Return a record that was not started, for the account is full: it stays the oldest that waits."""
    return replace(record, state=State.WAITING, starting_since=None, leased_until=None)


def backed_off(record: Record, now: datetime, error: Exception) -> Record:
    """Return a record that was not started, for a reason of ours: it lets others go first, longer each time."""
    refusals = min(record.refusals + 1, 10)
    return replace(put_back(record), refusals=refusals, due_at=now + _pause(record.refusals), error=Fault.of(error))


def unanswered(record: Record, now: datetime) -> Record:
    """Return a record of which nobody knows whether it was started: the same start is made again in a while."""
    return replace(record, leased_until=now + _RATE_PAUSE)


def unheard(record: Record, now: datetime) -> Record:
    """Return the same of a record whose start had no answer: it is made again later each time."""
    return replace(record, leased_until=now + _pause(record.refusals), refusals=min(record.refusals + 1, 10))


def _pause(failures: int) -> timedelta:
    """Return how long to wait after so many failures in a row, and one more."""
    return min(timedelta(minutes=2**failures), _LONGEST_PAUSE)


def started(record: Record, job_id: str, now: datetime) -> Record:
    """Return a record whose job runs."""
    return replace(
        record,
        state=State.RUNNING,
        job_id=job_id,
        started_at=now,
        leased_until=None,
        refusals=0,
        error=None,
        checks=0,
        next_check_at=now + _FIRST_CHECK,
        deadline_at=now + _time_to_end(record),
    )


def _time_to_end(record: Record) -> timedelta:
    seconds = record.video.duration_seconds
    usual = _MOST_DEADLINE if seconds is None else timedelta(seconds=seconds) * _DEADLINE_FACTOR
    return min(_MOST_DEADLINE, max(_LEAST_DEADLINE, usual))


def looked(record: Record, look: JobLook, now: datetime) -> Record:
    """Return what a running record becomes by what the service says of its job."""
    video = look.metadata or record.video
    match look.status:
        case JobStatus.SUCCEEDED:
            return replace(record, state=State.SUCCEEDED, succeeded_at=now, video=video, checks=0, next_check_at=None)
        case JobStatus.REJECTED:
            return ended(record, State.REJECTED, now, VideoCodecError(look.message))
        case JobStatus.FAILED:
            return tried_again(
                record, now, JobFailedError(f"Job {record.job_id}: {look.message or 'Rekognition does not say why.'}")
            )
    if record.deadline_at and record.deadline_at <= now:
        return ended(
            record,
            State.FAILED,
            now,
            StalledJobError(f"Job {record.job_id} has not ended by {record.deadline_at:%Y-%m-%d %H:%M} UTC."),
        )
    return looked_later(record, now)


def looked_later(record: Record, now: datetime) -> Record:
    """Return a running record that is looked at again in a while."""
    elapsed = (now - record.started_at) * _SHARE_OF_ELAPSED if record.started_at else _FIRST_CHECK
    pause = min(_LONGEST_CHECK, max(_FIRST_CHECK, elapsed))
    return replace(record, checks=record.checks + 1, next_check_at=now + pause)


def tried_again(record: Record, now: datetime, error: Exception) -> Record:
    """Return a record with its next attempt, which waits; failed where there are no more."""
    if record.attempt >= MOST_ATTEMPTS:
        return ended(record, State.FAILED, now, error)
    return replace(
        record,
        state=State.WAITING,
        attempt=record.attempt + 1,
        due_at=max(now, record.due_at) + _AGAIN_PAUSE,
        refusals=0,
        starting_since=None,
        leased_until=None,
        job_id=None,
        started_at=None,
        checks=0,
        next_check_at=None,
        deadline_at=None,
        succeeded_at=None,
        error=Fault.of(error),
    )


def taken_to_collect(record: Record, now: datetime) -> Record:
    """Return a record that is handed to a collector. Should that fail or die, the next one comes later each time."""
    return replace(
        record,
        leased_until=now + COLLECTING_LEASE,
        checks=min(record.checks + 1, 10),
        next_check_at=now + _pause(record.checks),
    )


def given_back(record: Record, now: datetime) -> Record:
    """Return a record whose collector failed."""
    later = record.next_check_at or now + _AGAIN_PAUSE
    due_at = max(later, record.due_at + timedelta(seconds=1)) if record.has_ended else record.due_at
    return replace(record, leased_until=None, next_check_at=later, due_at=due_at)


def let_go(record: Record) -> Record:
    """Return a record with which its collector has gone on, and there is more to do than one invocation can."""
    return replace(record, leased_until=None, checks=0, next_check_at=None)


def reopened(record: Record, now: datetime) -> Record:
    """Return a record that has ended, and that a collector is to look at again.

    Its marker has another name than any before, for whoever has just finished with it may be about to delete that. A
    lease stays: whoever has it may yet write a result, and die, and only who comes after that sees to it. So it is due
    when that is over, and nobody waits behind its marker meanwhile.
    """
    due_at = max(now, record.leased_until or now, record.due_at + timedelta(seconds=1))
    return replace(record, due_at=due_at, checks=0, next_check_at=None)


def ended(record: Record, state: State, now: datetime, error: Exception | None = None) -> Record:
    """Return a record of which nothing more comes."""
    if record.state is not State.SUCCEEDED:
        # Else a collector goes on with it: nobody else is to end the video, and to forget the record, meanwhile.
        record = replace(record, leased_until=None, checks=0, next_check_at=None)
    return replace(
        record,
        state=state,
        ended_at=now,
        error=Fault.of(error) if error else None,
        minutes=minutes_paid(record) if state is State.DONE else record.minutes,
    )


def minutes_paid(record: Record) -> int:
    """Return the minutes of a job by the length that the service tells."""
    known = record.video.duration_seconds
    return record.minutes if known is None else minutes_of(known)
