"""How the videos of a stack are: what waits, what runs, what was used of the day.

A look reads the listing of `videos/open/`, the reservations and the records of jobs that are under way. It never lists
the bucket of the videos, nor the records of what has ended.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import list_entries
from batch_vision.aws.parallel import in_parallel
from batch_vision.aws.queues import count_messages
from batch_vision.core.errors import StalledJobError
from batch_vision.core.times import to_text
from batch_vision.core.video_reservations import Reservations
from batch_vision.core.videos import ACTIVE, RESERVATIONS, WAITING, Record, State, marked_due, marked_record, record_key
from batch_vision.operator.images_bucket import (
    WORKING_MAPPING,
    failed_lately,
    look_at_events,
    wrong_bucket,
)
from batch_vision.operator.objects import read_known
from batch_vision.operator.problems import Problem, remedy_of
from batch_vision.operator.text import shown_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch_vision.operator.catalog import Recent
    from batch_vision.operator.stack import Stack, Videos

_MOST_WAITING = 10_000  # in ten requests
_MOST_ACTIVE = 500  # of which the records are read; the quota of an account is 20 jobs
_PARALLEL = 16
# A collector takes some minutes for what there is; Rekognition deletes answers after seven days.
_LONGEST_COLLECTING = timedelta(hours=6)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class VideosStatus:
    """What was found.

    Attributes
    ----------
    waiting, is_at_least
        Jobs that wait for their start, or at least so many: one for each video and analysis.
    oldest_at
        Since when the first of them waits, or when it is due; None where none waits.
    first
        The first of them; None where none waits, or where it has just been started.
    jobs
        Jobs that were started and whose video is not finished.
    slots_used, minutes_today
        Jobs that are reserved now, and minutes that were started today, of which the settings allow so many.
    messages
        Keys to look at that are on the queue.
    recent
        What was finished lately.
    """

    videos: Videos
    now: datetime
    waiting: int
    is_at_least: bool
    oldest_at: datetime | None
    first: Record | None
    jobs: list[Record]
    slots_used: int
    minutes_today: int
    messages: int
    recent: Recent
    bucket_problems: list[Problem] = field(default_factory=list)

    @property
    def states(self) -> Counter[str]:
        """Jobs under way by their state; what has ended and waits for the rest of its video counts as ended."""
        return Counter("ended" if job.has_ended else job.state for job in self.jobs)

    @property
    def is_full(self) -> bool:
        """Whether no job can start before another one ends."""
        most = self.videos.max_concurrent_jobs
        return most is not None and self.slots_used >= most

    @property
    def lacks_minutes(self) -> bool:
        """Whether the first job that waits needs more minutes than are left of the day."""
        most = self.videos.max_minutes_per_day
        return most is not None and self.first is not None and self.minutes_today + self.first.minutes > most

    @property
    def next_start_at(self) -> datetime | None:
        """When the first job that waits can start, as far as these limits go.

        None where none waits, or where a job must end first.
        """
        if self.oldest_at is None or self.is_full:
            return None
        begin = datetime.combine(self.now.date() + _DAY, time(), UTC) if self.lacks_minutes else self.now
        return max(self.oldest_at, begin)

    @property
    def past_deadline(self) -> list[Record]:
        """Jobs that run longer than any such video should take, or that were given up for it."""
        return [
            job
            for job in self.jobs
            if (job.error and job.error.type == StalledJobError.__name__)
            or (job.state is State.RUNNING and job.deadline_at and job.deadline_at < self.now)
        ]

    def problems(self, stack: Stack) -> Iterator[Problem]:
        """Yield what is wrong."""
        name = stack.name
        if self.videos.mapping_state not in WORKING_MAPPING:
            yield Problem(
                f"the event source mapping of {name}-register-videos is {self.videos.mapping_state}: no video is"
                " looked at",
                "Enable it: aws lambda update-event-source-mapping --uuid"
                f" {self.videos.mapping_uuid or '…'} --enabled; where it is missing, apply the module again.",
            )
        yield from self.bucket_problems
        if late := self.past_deadline:
            jobs = ", ".join(f"{job.analysis} of {job.key}" for job in late[:3])
            yield Problem(
                f"videos: {shown_number(len(late), 'job')} past the deadline ({jobs})",
                "Rekognition can neither list nor stop such a job. Look at the health of the service, then try the"
                " videos again, which is paid for again: batch-vision retry. It leaves a video that another analysis"
                " has answered: upload that again.",
            )
        ended = self._longest_uncollected
        if ended and ended.succeeded_at and self.now - ended.succeeded_at > _LONGEST_COLLECTING:
            yield Problem(
                f"videos: results wait to be collected since {to_text(ended.succeeded_at)} ({ended.analysis} of"
                f" {ended.key}); Rekognition keeps them for seven days",
                f"See what fails: aws logs tail /aws/lambda/{name}-collect-videos --since 1d --filter-pattern WARNING",
            )
        if self.refused and self.refused.error:
            error = self.refused.error
            yield Problem(
                f"videos: {self.refused.analysis} of {self.refused.key} is not started ({error.type}:"
                f" {error.message}); the next try is at {to_text(self.refused.due_at)}",
                f"{remedy_of(error.type) or 'Mend what it says.'} Nothing is lost, and no attempt is used up.",
            )
        if self.first and self.oldest_at and self.now - self.oldest_at > _DAY:
            yield Problem(
                f"videos: {self.first.analysis} of {self.first.key} has waited since {to_text(self.oldest_at)}",
                self._why_waiting(name),
            )
        if problem := failed_lately(stack, self.recent, "video"):
            yield problem

    @property
    def refused(self) -> Record | None:
        """The first job that waits, if Rekognition has refused to start it."""
        return self.first if self.first and self.first.refusals else None

    @property
    def _longest_uncollected(self) -> Record | None:
        ended = [job for job in self.jobs if job.state is State.SUCCEEDED and job.succeeded_at]
        return min(ended, key=lambda job: job.succeeded_at or self.now, default=None)

    def _why_waiting(self, name: str) -> str:
        if self.lacks_minutes:
            return (
                f"The day's minutes are used up ({self.minutes_today} of {self.videos.max_minutes_per_day}). Nothing is"
                f" lost; to have it sooner, set videos.max_minutes_per_day to more and apply.{self._why_so_many()}"
            )
        if self.is_full:
            return (
                f"All {self.videos.max_concurrent_jobs} jobs of videos.max_concurrent_jobs are taken. Nothing is lost;"
                " for more, ask AWS for a greater quota of concurrent jobs, set it and apply."
            )
        return (
            "Either others in this account use its quota of concurrent jobs, or a start is refused: aws logs tail"
            f" /aws/lambda/{name}-dispatch-videos --since 1h --filter-pattern WARNING"
        )

    def words(self) -> dict[str, str]:
        """Return what people are shown, by a title."""
        states, videos = self.states, self.videos
        waiting = f"{self.waiting:,}{' or more' if self.is_at_least else ''} to start"
        if self.oldest_at:
            since = "due at" if self.oldest_at > self.now else "since"
            waiting += f", the oldest {since} {_shown(self.oldest_at)}; {self._next_words()}"
        jobs = [
            f"{states['starting'] + states['running']} running",
            f"{states['succeeded']} to be collected",
            *([f"{len(self.past_deadline)} past the deadline"] if self.past_deadline else []),
        ]
        finished = [f"{len(self.recent.with_status(name)):,} {name}" for name in ("processed", "rejected", "failed")]
        used = f"{self.minutes_today:,}" + ("" if videos.max_minutes_per_day is None else f" of {_most(videos)}")
        return {
            "videos": f"{', '.join(videos.analyses)}, of {videos.bucket_name}",
            "jobs waiting": waiting,
            "jobs": f"{', '.join(jobs)}, of at most {videos.max_concurrent_jobs} at a time",
            "minutes today": f"{used} (UTC)",
            "videos finished": f"{', '.join(finished)} in {self.recent.hours:.0f} h",
        }

    def _next_words(self) -> str:
        if self.next_start_at is None:
            return "the next starts when a job ends"
        if self.next_start_at <= self.now:
            return "the next starts within a minute"
        # What is kept for a job of unknown length comes back when that has succeeded.
        under_way = (job for job in self.jobs if job.state in (State.STARTING, State.RUNNING))
        is_less_known = any(job.video.duration_seconds is None for job in under_way)
        sooner = ", or when a job of unknown length ends" if self.lacks_minutes and is_less_known else ""
        return f"the next can start at {_shown(self.next_start_at)}{sooner}.{self._why_so_many()}".rstrip(".")

    def _why_so_many(self) -> str:
        """Return a sentence for a job that lacks minutes because nobody knows how many it takes; else nothing."""
        if self.first is None or not self.lacks_minutes or self.first.video.duration_seconds is not None:
            return ""
        return (
            f" The header of {self.first.key} does not tell its length, so {self.first.minutes} minutes are kept for"
            f" its {self.first.analysis}. An MP4 whose header tells it counts as what it has."
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        states, videos = self.states, self.videos
        return {
            "bucket": videos.bucket_name,
            "analyses": videos.analyses,
            "mapping": {"uuid": videos.mapping_uuid, "state": videos.mapping_state},
            "messages": self.messages,
            "waiting": {
                "jobs": self.waiting,
                "is_at_least": self.is_at_least,
                "oldest_at": self.oldest_at and to_text(self.oldest_at),
                "next_start_at": self.next_start_at and to_text(self.next_start_at),
            },
            "jobs": {name: states[name] for name in ("starting", "running", "succeeded", "ended")}
            | {"past_deadline": len(self.past_deadline), "slots_used": self.slots_used},
            "max_concurrent_jobs": videos.max_concurrent_jobs,
            "minutes_today": self.minutes_today,
            "max_minutes_per_day": videos.max_minutes_per_day,
            "recent": {
                "since": to_text(self.recent.since),
                **{
                    f"videos_{name}": len(self.recent.with_status(name)) for name in ("processed", "rejected", "failed")
                },
            },
        }


def _most(videos: Videos) -> str:
    return f"{videos.max_minutes_per_day:,}"


def _shown(moment: datetime) -> str:
    return f"{to_text(moment)[:19].replace('T', ' ')}Z"


def look_at_videos(stack: Stack, videos: Videos, recent: Recent, now: datetime) -> VideosStatus:
    """Look once; it changes nothing.

    Parameters
    ----------
    recent
        What was finished lately, of videos.
    """
    active = {marked_record(marker) for marker in islice(_markers(stack, ACTIVE), _MOST_ACTIVE)}
    # A job keeps its first marker until it has ended.
    unstarted = (marker for marker in _markers(stack, WAITING) if marked_record(marker) not in active)
    waiting = list(islice(unstarted, _MOST_WAITING + 1))
    records = in_parallel(lambda record_id: _record(stack, record_id), sorted(active), _PARALLEL)
    read = read_known(stack.s3, stack.final_bucket_name, RESERVATIONS, Reservations.from_json)
    reserved = read[0] if read else Reservations()
    return VideosStatus(
        videos=videos,
        now=now,
        waiting=min(len(waiting), _MOST_WAITING),
        is_at_least=len(waiting) > _MOST_WAITING,
        oldest_at=_due(waiting[0]) if waiting else None,
        first=_record(stack, marked_record(waiting[0])) if waiting else None,
        jobs=[record for _, record in records if record],
        slots_used=len(reserved.jobs),
        minutes_today=reserved.minutes if reserved.day == f"{now:%Y-%m-%d}" else 0,
        messages=sum(count_messages(stack.sqs, videos.queue_url).values()),
        recent=recent,
        bucket_problems=[] if videos.is_drop_off else _bucket_problems(stack, videos),
    )


def _bucket_problems(stack: Stack, videos: Videos) -> list[Problem]:
    if videos.bucket_name == stack.images_bucket_name:
        return []  # looked at as the bucket of images
    if problem := wrong_bucket(stack, videos.bucket_name, "videos.bucket_name"):
        return [problem]
    return look_at_events(stack, videos.bucket_name, "video")[1]


def _markers(stack: Stack, prefix: str) -> Iterator[str]:
    return (entry["Key"] for entry in list_entries(stack.s3, stack.final_bucket_name, prefix))


def _due(marker: str) -> datetime | None:
    try:
        return marked_due(marker)
    except ValueError:
        return None  # of a version of the dispatcher that this tool does not know


def _record(stack: Stack, record_id: str) -> Record | None:
    read = read_known(stack.s3, stack.final_bucket_name, record_key(record_id), Record.from_json)
    return read[0] if read else None
