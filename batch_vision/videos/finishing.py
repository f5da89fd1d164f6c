"""The collector: the answers of a job, and the end of a video all of whose jobs have ended.

The result is written as that of an image is: what is current is looked at before and after. Which of the jobs of a
video ends it is not agreed on: each that has ended looks at the others, and the last one finds that all have.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key, write_lines
from batch_vision.aws.in_step import bring_in_step
from batch_vision.aws.results import Results
from batch_vision.backends.rekognition_video import make_service
from batch_vision.core import errors
from batch_vision.core.in_place import Step, begin
from batch_vision.core.observability import logger
from batch_vision.core.settings import settings_of
from batch_vision.core.times import utc_now
from batch_vision.core.video_jobs import ended, let_go, tried_again
from batch_vision.core.video_plans import ended_plan, gone_plan, is_over
from batch_vision.core.video_results import make_result, place_of
from batch_vision.core.videos import Moved, State, active_marker, ended_marker, video_result_key, waiting_marker
from batch_vision.videos.collecting import collect
from batch_vision.videos.dispatching import give_back, is_superseded
from batch_vision.videos.moving import Mover
from batch_vision.videos.registering import LookingAt, look_again, reopen_former, wake
from batch_vision.videos.settings import CollectVideosSettings
from batch_vision.videos.source import VideosBucket
from batch_vision.videos.store import Held, VideoStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from aws_lambda_powertools.utilities.typing import LambdaContext

    from batch_vision.aws.in_step import KeptResults
    from batch_vision.backends.video_contract import VideoService
    from batch_vision.core.videos import Plan, Record, Upload, VideoMetadata
    from batch_vision.videos.registering import Counted

_MOST_ROUNDS = 5
# Of the time of an invocation, the part in which pages are collected; the rest is for the result and the move.
_COLLECTING_SHARE = 0.6


class Answers(Protocol):
    """What was collected of a job."""

    @property
    def metadata(self) -> VideoMetadata | None:
        """Of the video, as the service tells it."""


class Moves(Protocol):
    """Moves a video out of its bucket: see `Mover`."""

    def move(self, bucket: str, key: str, upload: Upload, place: str) -> None:
        """Move an upload to its place."""


class _OtherPlanNeededError(Exception):
    """The current upload is another one than the plan's, or some of its jobs were dropped: it was gone for a while."""


class _Finishing(LookingAt):
    """What is done about a video whose jobs have ended."""

    def __init__(
        self,
        videos: VideosBucket,
        store: VideoStore,
        plan: Plan,
        records: Sequence[Record],
        now: datetime,
        *,
        leaves: bool,
    ) -> None:
        super().__init__(videos, store, plan.key)
        self._plan = plan
        self._records = records
        self._now = now
        self._leaves = leaves

    def detect(self, found: Counted) -> dict[str, Any] | None:
        """Return the result of the plan's upload; raise where another one is needed."""
        if found.upload != self._plan.is_of or any(record.state is State.DROPPED for record in self._records):
            raise _OtherPlanNeededError
        answers = {
            record.analysis: answer
            for record in self._records
            if record.state is State.DONE and (answer := self._store.answers(record))
        }
        place = place_of(self._plan, self._records) if self._leaves else None
        return make_result(self._plan, self._records, answers, self._now, place)

    def fingerprint_of(self, _found: Counted) -> str:
        """Return what tells the result of this plan from that of an earlier one of the same upload."""
        return self._plan.fingerprint


class Finisher:
    """The work of one invocation.

    Parameters
    ----------
    collect
        Collects the answers of a job; None where it was not finished in time.
    write
        Writes lines of the catalog.
    look_again
        Has a key of a bucket looked at in a while.
    mover
        None where videos stay in their bucket.
    """

    def __init__(
        self,
        store: VideoStore,
        results: KeptResults,
        bucket_of: Callable[[str], VideosBucket],
        collect: Callable[[Record], Answers | None],
        write: Callable[[list[dict[str, Any]]], None],
        look_again: Callable[[str, str], None],
        mover: Moves | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._results = results
        self._bucket_of = bucket_of
        self._collect = collect
        self._write = write
        self._look_again = look_again
        self._mover = mover
        self._clock = clock

    def take(self, record_id: str) -> str:
        """Take a job as far as it can go, and return its state.

        Raises
        ------
        BatchVisionError
            Not now: the dispatcher hands it to another collector later.
        """
        held = self._store.record(record_id)
        if held is None:
            return "unknown"
        try:
            if held.content.state is State.SUCCEEDED:
                held = self._collected(held)
            if held and held.content.has_ended:
                self._finish(held.content)
        except Exception:
            if held:
                give_back(self._store, held, self._clock())
            raise
        return str(held.content.state) if held else "changed"

    def _collected(self, held: Held[Record]) -> Held[Record] | None:
        """Return a record whose answers are collected, or that is useless; None where somebody else changed it."""
        record = held.content
        if is_superseded(self._store, self._bucket_of(record.bucket), record):
            return self._store.write_record(ended(record, State.DROPPED, self._clock()), held.etag)
        try:
            answers = self._collect(record)
        except errors.JobNotFoundError as error:
            changed = tried_again(record, self._clock(), error)
            self._store.put_marker(waiting_marker(changed))
            written = self._store.write_record(changed, held.etag)
            if written and waiting_marker(changed) != waiting_marker(record):
                self._store.delete([waiting_marker(record)])
            return written
        if answers is None:
            return self._store.write_record(let_go(record), held.etag)
        known = replace(record, video=answers.metadata or record.video)
        return self._store.write_record(ended(known, State.DONE, self._clock()), held.etag)

    def _finish(self, record: Record) -> None:
        """Bring the result of a video in step when all its jobs have ended, then forget that they were open."""
        for _ in range(_MOST_ROUNDS):
            held = self._store.plan(record.bucket, record.key)
            plan = held.content
            if record.record_id not in plan.record_ids:
                self._finish_former(plan, record)
                return
            records = [one.content if one else None for one in self._store.records(plan.record_ids)]
            if not is_over(records):
                self._close([record])  # the last one finds that all have ended, for each looks after its own end
                return
            whole = [one for one in records if one]
            if self._end(held, whole):
                self._close(whole)
                return
        raise errors.ServiceUnavailableError(f"{record.key!r} changes faster than it can be finished.")

    def _finish_former(self, plan: Plan, record: Record) -> None:
        """Forget a job of an earlier plan; its files go too, unless a result may name them."""
        if record.state is not State.DROPPED:
            # A collector may have died that wrote its result too late.
            self._look_again(record.bucket, record.key)
        self._close([record])
        is_named = record.state is State.DONE and record.record_id in plan.former and plan.ended_at is None
        if not is_named:
            self._store.delete_job(record.record_id)

    def _close(self, records: Iterable[Record]) -> None:
        for record in records:
            self._store.delete([active_marker(record.record_id), ended_marker(record), waiting_marker(record)])

    def _end(self, held: Held[Plan], records: Sequence[Record]) -> bool:
        """Write or delete the result, then move the video; False where something changed meanwhile."""
        plan, now = held.content, self._clock()
        bucket = self._bucket_of(plan.bucket)
        work = _Finishing(bucket, self._store, plan, records, now, leaves=self._mover is not None)
        # What is about to move has had its line.
        is_moving = plan.moved is not None and plan.moved.upload == plan.is_of
        look = begin(may_owe_line=not is_moving, wanted=plan.fingerprint)
        try:
            update = bring_in_step(plan.key, look, self._results, work)
        except _OtherPlanNeededError:
            # Not left to the message of that upload: this one may have deleted what that has brought about.
            self._look_again(plan.bucket, plan.key)
            return plan.ended_at is not None or self._changed(held, ended_plan(plan, now)) is not None
        if update.lines:
            self._write(update.lines)
        if update.ending is Step.SEND_ANEW:
            return False
        logger.info("video", extra={"key": plan.key, "outcome": update.status})
        if work.found is None:
            gone = gone_plan(plan, now)
            if not self._store.write_plan(gone, held.etag):
                return False
            reopen_former(self._store, gone, now)
            return True
        if self._mover and work.found.found and work.found.found.name == plan.is_of:
            place = place_of(plan, records)
            if place and plan.upload:
                moved = self._move(held, plan.upload, place)
                if moved is None:
                    return False
                held = moved
        if held.content.ended_at is None and self._changed(held, ended_plan(held.content, now)) is None:
            return False
        reopen_former(self._store, plan, now)
        return True

    def _move(self, held: Held[Plan], upload: Upload, place: str) -> Held[Plan] | None:
        """Move a video to its place; None where its key has another plan by now."""
        plan = held.content
        assert self._mover is not None  # noqa: S101 - its caller has looked
        # Before it leaves: who finds it gone then knows that it was moved.
        moving = self._changed(held, replace(plan, moved=Moved(upload.name, upload.last_modified, place)))
        if moving is None:
            return None
        self._mover.move(plan.bucket, plan.key, upload, place)
        return moving

    def _changed(self, held: Held[Plan], plan: Plan) -> Held[Plan] | None:
        """Write a plan in place of the one that was read, and return it; None where that is another one by now."""
        if plan == held.content:
            return held
        etag = self._store.write_plan(plan, held.etag)
        return Held(plan, etag) if etag else None


@cache
def _service() -> VideoService:
    return make_service()


def collect_video(event: dict[str, Any], context: LambdaContext) -> None:
    """Take a job of a video that stays in its bucket as far as it can go."""
    _take(event, context, None)


def collect_and_move_video(event: dict[str, Any], context: LambdaContext) -> None:
    """Take a job of a video of the drop-off bucket as far as it can go; the video leaves the bucket when it is done."""
    _take(event, context, Mover(clients.s3_for_copies(), settings_of(CollectVideosSettings).final_bucket_name))


def _take(event: dict[str, Any], context: LambdaContext, mover: Mover | None) -> None:
    settings = settings_of(CollectVideosSettings)
    s3, sqs, final_bucket = clients.s3(), clients.sqs(), settings.final_bucket_name
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 * _COLLECTING_SHARE
    finisher = Finisher(
        VideoStore(s3, final_bucket),
        Results(s3, final_bucket, video_result_key),
        lambda bucket: VideosBucket(s3, bucket),
        lambda record: collect(record, _service(), s3, final_bucket, deadline),
        lambda lines: write_lines(s3, final_bucket, catalog_key(utc_now(), context.aws_request_id), lines),
        lambda bucket, key: look_again(sqs, settings.queue_url, bucket, key),
        mover,
    )
    state = finisher.take(event["record_id"])
    logger.info("job", extra={"record_id": event["record_id"], "state": state})
    wake(sqs, settings.hint_queue_url)
