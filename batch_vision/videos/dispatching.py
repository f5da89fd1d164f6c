"""The dispatcher: asks about jobs that run, starts those that wait, and hands what has ended to a collector.

It looks each minute and at every message that a job has ended. A message is a hint: it says about which job to ask
now. Two dispatchers at once do no harm, nor does one that dies between any two requests.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import timedelta
from functools import cache
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit

from batch_vision.aws import clients
from batch_vision.backends.rekognition_video import make_service
from batch_vision.core import errors
from batch_vision.core.observability import logger, metrics
from batch_vision.core.settings import settings_of
from batch_vision.core.times import utc_now
from batch_vision.core.video_file import why_over_budget
from batch_vision.core.video_jobs import (
    MOST_COLLECTORS,
    TOKEN_LIFE,
    Step,
    backed_off,
    ended,
    given_back,
    is_token_old,
    is_with_collector,
    looked,
    looked_later,
    minutes_paid,
    next_step,
    put_back,
    started,
    taken_to_collect,
    taken_to_start,
    tried_again,
    unanswered,
    unheard,
)
from batch_vision.core.video_reservations import Refusal, is_used, release, reserve, swept
from batch_vision.core.videos import (
    ACTIVE,
    ENDED,
    WAITING,
    State,
    active_marker,
    ended_marker,
    marked_due,
    waiting_marker,
)
from batch_vision.videos.settings import DispatchVideosSettings
from batch_vision.videos.source import VideosBucket
from batch_vision.videos.store import Held, VideoStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from aws_lambda_powertools.utilities.typing import LambdaContext

    from batch_vision.backends.video_contract import VideoService
    from batch_vision.core.video_reservations import Limits, Reservations
    from batch_vision.core.videos import Record
    from batch_vision.videos.store import Marker

# A marker without a record is being written, or left over from a plan that was replaced before it had its records.
_ORPHAN_AGE = timedelta(hours=1)
_MOST_TRIES = 10
_MOST_REFUSALS = 5  # of a request that the service does not take, which never becomes another one
_MOST_WAITING_COUNTED = 1000
_MOST_ACTIVE = 1000  # whose records one look reads; an account runs 20 jobs at a time unless AWS raised that
_MOST_TRIED = 50  # of those that wait for something: what fails comes later, and the next look goes on behind it

_METRICS = (
    "JobsPastDeadline",
    "JobsRunning",
    "JobsStarted",
    "LookErrors",
    "MinutesToday",
    "OldestUncollectedSeconds",
    "OldestWaitingSeconds",
    "StartErrors",
    "StartsRefused",
    "VideosWaiting",
)


class Dispatcher:
    """The work of one invocation.

    Parameters
    ----------
    invoke
        Has a collector called for a record; returns at once.
    """

    def __init__(
        self,
        store: VideoStore,
        bucket_of: Callable[[str], VideosBucket],
        service: VideoService,
        invoke: Callable[[str], None],
        limits: Limits,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._bucket_of = bucket_of
        self._service = service
        self._invoke = invoke
        self._limits = limits
        self._clock = clock
        self._held: dict[str, Held[Record]] = {}
        self._count = Counter(dict.fromkeys(_METRICS, 0))

    def dispatch(self, hinted: frozenset[str] = frozenset()) -> Counter[str]:
        """Do all that is due, and return the metrics.

        Parameters
        ----------
        hinted
            Records of whose jobs a message says that they have ended.
        """
        markers = self._store.markers()
        first = next(markers, None)
        if first is None:
            return Counter()
        listed = list(takewhile(lambda marker: marker.key.startswith(ACTIVE), chain([first], markers)))
        if len(listed) > _MOST_ACTIVE:
            random.shuffle(listed)  # each has its turn in one of the next looks
        unread = frozenset(marker.record_id for marker in listed[_MOST_ACTIVE:])
        # The reservations before the records: one of a record that is found not to use it is left over, unless
        # somebody has reserved since, and then the condition of the write does not hold.
        reservations = self._store.reservations()
        active = self._read(listed[:_MOST_ACTIVE])
        self._look_at_running(active, hinted)
        self._sweep(reservations, active)
        # What is paid for comes first, and is not kept from it by starts that fail.
        self._collect(active, unread)
        self._start_waiting(active, unread)
        self._measure(reservations.content)
        return self._count

    def _read(self, markers: list[Marker]) -> list[str]:
        """Read the records of markers, and return their ids; a marker whose record never came is deleted."""
        for marker, held in zip(markers, self._store.records(marker.record_id for marker in markers), strict=True):
            if held:
                self._held[marker.record_id] = held
            else:
                self._drop_orphan(marker)
        return [marker.record_id for marker in markers if marker.record_id in self._held]

    def _drop_orphan(self, marker: Marker) -> None:
        if self._clock() - marker.written_at > _ORPHAN_AGE:
            self._store.delete([marker.key])

    # Jobs that run.

    def _look_at_running(self, active: Iterable[str], hinted: frozenset[str]) -> None:
        longest_due_first = sorted((self._held[record_id] for record_id in active), key=_next_check_of)
        for held in longest_due_first:
            if next_step(held.content, self._clock(), is_hinted=held.content.record_id in hinted) is Step.LOOK:
                try:
                    self._look(held)
                except (errors.RateError, errors.ServiceUnavailableError) as error:
                    logger.warning("service does not answer", extra=_about(held.content) | {"error": repr(error)})
                    # If it is this job that has no answer, the next look begins with the others.
                    self._write(held, looked_later(held.content, self._clock()))
                    return
                except errors.BatchVisionError as error:
                    self._count["LookErrors"] += 1
                    logger.warning("job not looked at", extra=_about(held.content) | {"error": repr(error)})

    def _look(self, held: Held[Record]) -> None:
        record = held.content
        try:
            look = self._service.look(record.analysis, str(record.job_id))
            changed = looked(record, look, self._clock())
        except errors.JobNotFoundError as error:
            changed = tried_again(record, self._clock(), error)
        if changed.error and changed.error.type == errors.StalledJobError.__name__:
            self._count["JobsPastDeadline"] += 1
        written = self._write(held, changed)
        if written and changed.state is not State.RUNNING:
            logger.info("job has ended", extra=_about(changed) | {"state": changed.state})
            self._release(record.token, minutes_paid(changed) if changed.state is State.SUCCEEDED else None)
            if changed.state is State.WAITING:
                self._store.delete([active_marker(record.record_id)])

    # What is reserved.

    def _reserve(self, record: Record) -> Refusal | int:
        """Reserve what a record needs, and return the number of its reservation, or why there is none."""
        for _ in range(_MOST_TRIES):
            reservations, etag = self._store.reservations()
            reserved = reserve(reservations, record, self._limits, self._clock())
            if isinstance(reserved, Refusal):
                return reserved
            if self._store.write_reservations(reserved, etag):
                return reserved.number
        return Refusal.JOBS  # many dispatchers at once: they start enough

    def _release(self, token: str, minutes: int | None, number: int | None = None) -> None:
        """Give back what is reserved for a job, see `release`; what is not given back here is swept later."""
        for _ in range(_MOST_TRIES):
            reservations, etag = self._store.reservations()
            released = release(reservations, token, minutes, number)
            if released == reservations or self._store.write_reservations(released, etag):
                return

    def _sweep(self, held: Held[Reservations], active: Iterable[str]) -> None:
        """Give back what dispatchers that died have left, and mark again the jobs whose marker they have deleted."""
        known = set(active)
        records = {}
        for token, reserved in held.content.jobs.items():
            record_id = reserved.record_id
            found = self._held.get(record_id) or self._store.record(record_id)
            if found:
                records[record_id] = found.content
                if record_id not in known and is_used(token, found.content):
                    self._store.put_marker(active_marker(record_id))
        left = swept(held.content, records)
        if left != held.content:
            self._store.write_reservations(left, held.etag)

    # What waits.

    def _start_waiting(self, active: Iterable[str], unread: frozenset[str]) -> None:
        known = unread.union(one for one in active if self._held[one].content.state is not State.WAITING)
        is_open, tries = True, 0
        # First those that may have been started: they have their slot already, and others may wait for that.
        for held in [self._held[record_id] for record_id in active]:
            if held.content.state is State.STARTING and next_step(held.content, self._clock()) is Step.START:
                is_open = self._start(held) and is_open
        for marker in self._store.markers(WAITING):
            if marker.record_id in known:
                continue
            waits = (self._clock() - _due_of(marker)).total_seconds()
            if waits < 0 or self._count["VideosWaiting"] >= _MOST_WAITING_COUNTED:
                break
            self._count["VideosWaiting"] += 1
            self._count["OldestWaitingSeconds"] = max(round(waits), self._count["OldestWaitingSeconds"])
            if is_open and tries < _MOST_TRIED:
                is_open = self._try(marker)
                tries += 1

    def _try(self, marker: Marker) -> bool:
        """Start the job of a marker if that is what it waits for; False where no other one is to be tried."""
        held = self._held.get(marker.record_id) or self._store.record(marker.record_id)
        if held is None:
            self._drop_orphan(marker)
            return True
        record = held.content
        if marker.key != waiting_marker(record):
            # Left over by a dispatcher that died; one that is later may be of somebody who is about to write it.
            if record.has_ended or marker.key < waiting_marker(record):
                self._store.delete([marker.key])
            return True
        if record.state is not State.WAITING:
            self._store.put_marker(active_marker(record.record_id))
            return True
        return next_step(record, self._clock()) is not Step.START or self._start(held)

    def _start(self, held: Held[Record]) -> bool:
        """Start a job; False where no other one is to be tried."""
        record, now = held.content, self._clock()
        is_first = record.state is State.WAITING
        if is_token_old(record, now):
            message = f"Nobody knows whether its start was answered; its token is older than {TOKEN_LIFE.days} days."
            self._write(held, tried_again(record, now, errors.JobNotFoundError(message)))
            return True
        if is_first:
            try:
                is_superseded = self._is_superseded(record)
            except errors.BatchVisionError as error:
                return self._back_off(held, error)
            if is_superseded:
                self._end(held, State.DROPPED)
                return True
            peeked = reserve(self._store.reservations().content, record, self._limits, now)
            if peeked is Refusal.NEVER:
                why = why_over_budget(record.video.duration_seconds, record.minutes, self._limits.max_minutes_per_day)
                self._end(held, State.REJECTED, why)
                return True
            if isinstance(peeked, Refusal):
                return False
        self._store.put_marker(active_marker(record.record_id))
        taken = self._write(held, taken_to_start(record, self._clock()))
        if taken is None:
            return True  # another dispatcher has it
        reserved = self._reserve(record)
        if isinstance(reserved, Refusal):
            self._write(taken, put_back(taken.content) if is_first else unanswered(taken.content, now))
            return reserved is Refusal.NEVER
        return self._ask(taken, reserved, is_first=is_first)

    def _ask(self, held: Held[Record], reserved: int, *, is_first: bool) -> bool:
        """Ask the service to start a job that has its reservation; False where no other one is to be tried.

        Parameters
        ----------
        reserved
            The number of its reservation.
        is_first
            Whether nobody has asked before. If somebody has, and died, a refusal does not say that nothing runs.
        """
        record = held.content
        try:
            job_id = self._service.start(record.analysis, record.request, record.token)
        except errors.JobLimitError as error:
            self._count["StartsRefused"] += 1
            logger.info("account is full", extra=_about(record) | {"error": repr(error)})
            self._refused(held, put_back(record), reserved, is_first=is_first)
            return False
        except errors.RateError as error:
            logger.warning("service is too busy to start a job", extra=_about(record) | {"error": repr(error)})
            self._refused(held, put_back(record), reserved, is_first=is_first)
            return False
        except errors.ServiceUnavailableError as error:
            logger.warning("start not answered", extra=_about(record) | {"error": repr(error)})
            self._write(held, unheard(record, self._clock()))
            return True
        except errors.BatchVisionError as error:
            self._fail(held, error, reserved, is_first=is_first)
            return True
        self._count["JobsStarted"] += 1
        logger.info("job started", extra=_about(record) | {"job_id": job_id})
        self._write(held, started(record, job_id, self._clock()))
        return True

    def _fail(self, held: Held[Record], error: errors.BatchVisionError, reserved: int, *, is_first: bool) -> None:
        """Note why a start failed that the service has refused for good, or until somebody mends it."""
        record, now = held.content, self._clock()
        logger.warning("start refused", extra=_about(record) | {"error": repr(error)})
        if isinstance(error, errors.PermanentVideoError):
            changed = ended(record, State.REJECTED, now, error)
        elif isinstance(error, errors.VideoObjectError) and self._is_gone(record):
            changed = ended(record, State.DROPPED, now)
        elif isinstance(error, errors.RequestMismatchError):
            changed = tried_again(record, now, error)
        elif isinstance(error, errors.BadRequestError) and record.refusals + 1 >= _MOST_REFUSALS:
            changed = ended(record, State.FAILED, now, error)
        else:
            self._count["StartErrors"] += 1
            changed = backed_off(record, now, error)
        self._refused(held, changed, reserved, is_first=is_first)

    def _refused(self, held: Held[Record], changed: Record, reserved: int, *, is_first: bool) -> None:
        """Write what becomes of a record whose start was refused, then give back what was reserved."""
        record = held.content
        if not is_first and changed.state is State.WAITING and changed.token == record.token:
            self._write(held, unanswered(record, self._clock()))
            return
        if self._write(held, changed):
            self._release(record.token, 0 if is_first else None, reserved)
            if changed.state is State.WAITING:
                self._store.delete([active_marker(record.record_id)])

    def _back_off(self, held: Held[Record], error: errors.BatchVisionError) -> bool:
        """Let others go first; returns True, for another one is to be tried."""
        self._count["StartErrors"] += 1
        logger.warning("job not started", extra=_about(held.content) | {"error": repr(error)})
        self._write(held, backed_off(held.content, self._clock(), error))
        return True

    def _is_superseded(self, record: Record) -> bool:
        """Return whether a job has become useless: its key has another plan by now, or its upload is not current."""
        return is_superseded(self._store, self._bucket_of(record.bucket), record)

    def _is_gone(self, record: Record) -> bool:
        try:
            return self._is_superseded(record)
        except errors.BatchVisionError:
            return False

    def _end(self, held: Held[Record], state: State, error: errors.BatchVisionError | None = None) -> None:
        """End what was not started."""
        self._store.put_marker(ended_marker(held.content))
        if self._write(held, ended(held.content, state, self._clock(), error)):
            self._store.delete([waiting_marker(held.content)])

    # What has ended.

    def _collect(self, active: Iterable[str], unread: frozenset[str]) -> None:
        now = self._clock()
        records = [self._held[record_id] for record_id in active]
        free = MOST_COLLECTORS - sum(is_with_collector(held.content, now) for held in records)
        for held in sorted(records, key=_uncollected_since):
            if free > 0 and next_step(held.content, now) is Step.COLLECT:
                free -= self._hand_on(held)
        known = unread.union(active)
        others = (marker for marker in self._store.markers(ENDED) if marker.record_id not in known)
        for marker in islice(others, _MOST_TRIED):
            # The last one is left to answers that are paid for.
            if free <= 1 or _due_of(marker) > now:
                break
            found = self._store.record(marker.record_id)
            if found is None or marker.key != ended_marker(found.content):
                # Not at once, even an earlier one: a record is reopened by its marker first, which may be earlier.
                self._drop_orphan(marker)
            elif found.content.has_ended and next_step(found.content, now) is Step.COLLECT:
                self._store.put_marker(active_marker(marker.record_id))
                free -= self._hand_on(found)

    def _hand_on(self, held: Held[Record]) -> bool:
        """Have a collector called for a record; False where somebody else was faster."""
        taken = self._write(held, taken_to_collect(held.content, self._clock()))
        if taken is None:
            return False
        try:
            self._invoke(taken.content.record_id)
        except Exception:
            logger.exception("collector not called", extra=_about(held.content))
            give_back(self._store, taken, self._clock())
        return True

    def _write(self, held: Held[Record], changed: Record) -> Held[Record] | None:
        """Write a record in place of the one that was read; None where somebody else was faster.

        One that has not ended is never without the marker that says when it is due.
        """
        is_later = changed.due_at != held.content.due_at and not changed.has_ended
        if is_later:
            self._store.put_marker(waiting_marker(changed))
        written = self._store.write_record(changed, held.etag)
        if written:
            self._held[changed.record_id] = written
            if is_later and waiting_marker(changed) != waiting_marker(held.content):
                self._store.delete([waiting_marker(held.content)])
        return written

    def _measure(self, reservations: Reservations) -> None:
        now = self._clock()
        self._count["JobsRunning"] = sum(held.content.state is State.RUNNING for held in self._held.values())
        self._count["OldestUncollectedSeconds"] = max(
            (
                round((now - record.succeeded_at).total_seconds())
                for record in (held.content for held in self._held.values())
                if record.state is State.SUCCEEDED and record.succeeded_at
            ),
            default=0,
        )
        if reservations.day == now.date().isoformat():
            self._count["MinutesToday"] = reservations.minutes


def give_back(store: VideoStore, held: Held[Record], now: datetime) -> None:
    """Leave a record whose collector failed to a later one; what has ended goes behind the others of its kind."""
    record, later = held.content, given_back(held.content, now)
    if record.has_ended:
        store.put_marker(ended_marker(later))
    if store.write_record(later, held.etag) and record.has_ended:
        store.delete([ended_marker(record), waiting_marker(record), active_marker(record.record_id)])


def is_superseded(store: VideoStore, bucket: VideosBucket, record: Record) -> bool:
    """Return whether a job has become useless: its key has another plan by now, or its upload is not current.

    Raises
    ------
    AccessDeniedError, StorageRefusedError
        S3 does not let the video be looked at.
    ServiceUnavailableError
        S3 does not answer now.
    """
    if record.record_id not in store.plan(record.bucket, record.key).content.record_ids:
        return True
    found = bucket.find(record.key)
    return found is None or found.name != record.upload


def _next_check_of(held: Held[Record]) -> datetime:
    return held.content.next_check_at or held.content.due_at


def _uncollected_since(held: Held[Record]) -> datetime:
    record = held.content
    return record.next_check_at or record.ended_at or record.succeeded_at or record.due_at


def _due_of(marker: Marker) -> datetime:
    try:
        return marked_due(marker.key)
    except ValueError:  # somebody else's object
        return marker.written_at


def _about(record: Record) -> dict[str, Any]:
    return {
        "key": record.key,
        "record_id": record.record_id,
        "analysis": record.analysis,
        "attempt": record.attempt,
        "job_id": record.job_id,
    }


def hinted_records(event: Mapping[str, Any]) -> frozenset[str]:
    """Return of which records the messages of an event say that their jobs have ended.

    A message is the service's, as it is or in the envelope of SNS, or one of ours, which names none; the schedule has
    none. Whatever cannot be read is no hint, and does no harm: all that is due is looked at anyway.
    """
    tags = (_tag_of(record.get("body")) for record in event.get("Records", []))
    return frozenset(tag.rpartition("-")[0] for tag in tags if tag)


def _tag_of(body: Any) -> str:
    for _ in range(2):
        try:
            told = json.loads(body)
        except (RecursionError, TypeError, ValueError):
            return ""
        if not isinstance(told, dict):
            return ""
        if isinstance(tag := told.get("JobTag"), str):
            return tag
        body = told.get("Message")
    return ""


@cache
def _service() -> VideoService:
    return make_service()


def dispatch_videos(event: Mapping[str, Any], _context: LambdaContext) -> None:
    """Do all that is due; called by the schedule, or with a batch of hints."""
    settings = settings_of(DispatchVideosSettings)
    s3 = clients.s3()

    def invoke(record_id: str) -> None:
        clients.functions().invoke(
            FunctionName=settings.collect_function_name,
            InvocationType="Event",
            Payload=json.dumps({"record_id": record_id}).encode(),
        )

    dispatcher = Dispatcher(
        VideoStore(s3, settings.final_bucket_name),
        lambda bucket: VideosBucket(s3, bucket),
        _service(),
        invoke,
        settings.limits,
    )
    count = dispatcher.dispatch(hinted_records(event))
    for name, value in count.items():
        unit = MetricUnit.Seconds if name.endswith("Seconds") else MetricUnit.Count
        metrics.add_metric(name, unit, value)
    logger.info("dispatched", extra=dict(count))
