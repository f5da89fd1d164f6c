"""Steps of a backfill: write down in chunks which keys are to be looked at, and count what is left of them.

A call of the planner goes as far as its time does, and says in ``plan.json`` how far that is. What stands before that
is in chunks, so whoever goes on there loses nothing: keys that a planner wrote and did not tell of are written once
more, perhaps in other chunks, and a second look at a key pays for nothing.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.aws.chunks import count_left, deployed_at, write_chunk
from batch_vision.aws.conditional import put_on_condition
from batch_vision.aws.listings import RESULTS_LONG, key_of_long_result, list_images, list_results
from batch_vision.aws.objects import found, list_entries
from batch_vision.aws.queues import send_messages
from batch_vision.aws.s3_errors import TakenError
from batch_vision.core import errors
from batch_vision.core.backfills import (
    Job,
    Kind,
    Left,
    Phase,
    Plan,
    concurrency_key,
    concurrency_of,
    goes_on,
    job_key,
    plan_key,
    summary_key,
    summary_of,
)
from batch_vision.core.chunks import Chunk, chunk_key
from batch_vision.core.errors import read_error
from batch_vision.core.events import message_about
from batch_vision.core.joining import Join, Listed, Position, State, compare
from batch_vision.core.lists import DAMAGES, Inventory, ListError, Row, read_rows
from batch_vision.core.names import result_key
from batch_vision.core.scope import (
    RESULT_OUT_OF_SCOPE,
    Storage,
    is_of_other_scope,
    reason_of,
    why_unreadable,
)
from batch_vision.core.settings import settings_of
from batch_vision.core.times import to_text, utc_now
from batch_vision.images.settings import CountBackfillSettings, PlanBackfillSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# Of the time that a call has, the part in which keys are read; the rest is for the last chunk and the checkpoint.
_READING_SHARE = 0.8
# A planner that dies repeats so much work. Each checkpoint ends a chunk.
_CHECKPOINT_SECONDS = 30.0
_MOST_HANDED_ON = 1000
_PLANNED = frozenset({State.MISSING, State.STALE, State.DOUBTFUL, State.OUTDATED})


def plan_backfill(event: Mapping[str, Any], remaining_seconds: Callable[[], float]) -> dict[str, Any]:
    """Write the chunks of a job, as far as the time of this call goes.

    Parameters
    ----------
    event
        ``job``, and ``request`` where nobody has written the job down yet: then it is written first.

    Returns
    -------
    dict
        ``is_done``, ``planned_images`` and ``planned_chunks``, of the whole job so far.

    Raises
    ------
    BackfillNotFoundError
        There is no such job.
    BackfillListError
        The list cannot be read. Nothing has been planned of it.
    ServiceUnavailableError
        Another call is planning the same job.
    """
    deadline = time.monotonic() + remaining_seconds() * _READING_SHARE
    settings, s3 = settings_of(PlanBackfillSettings), clients.s3()
    job = _read_job(s3, settings.final_bucket_name, event)
    planner = Planner(settings, s3, clients.sqs(), job, deadline)
    try:
        planner.go_on()
    except ListError as error:
        raise errors.BackfillListError(str(error)) from error
    plan = planner.plan
    return {
        "is_done": plan.phase is Phase.DONE,
        "planned_images": plan.counts["planned"],
        "planned_chunks": plan.counts["chunks"],
    }


class Planner:
    """Plans a job.

    Parameters
    ----------
    deadline
        Until when to read keys, as `time.monotonic` tells it.

    Attributes
    ----------
    plan
        How far it is.
    """

    def __init__(self, settings: PlanBackfillSettings, s3: S3Client, sqs: SQSClient, job: Job, deadline: float) -> None:
        self._settings = settings
        self._bucket = settings.final_bucket_name
        self._s3 = s3
        self._sqs = sqs
        self._job = job
        self._deadline = deadline
        answer = found(s3.get_object, Bucket=self._bucket, Key=plan_key(job.id))
        self._etag = answer["ETag"] if answer else None
        is_list = job.source.kind is not Kind.LISTING
        self.plan = Plan.from_body(answer["Body"].read()) if answer else Plan(Phase.CHECK if is_list else Phase.PLAN)
        self._now = utc_now()
        self._keys: list[str] = []
        self._handed_on: list[str] = []
        self._checkpoint_at = time.monotonic() + _CHECKPOINT_SECONDS

    def go_on(self) -> None:
        """Read keys, and write chunks and checkpoints, until the job is planned or the time is over.

        Raises
        ------
        ListError
            The list cannot be read.
        ServiceUnavailableError
            Another call is planning the same job.
        """
        if self.plan.phase is Phase.CHECK and self._read_list(self._count):
            # What was counted is counted again as it is planned.
            self.plan = Plan(Phase.PLAN)
            self._checkpoint()
        if self.plan.phase is Phase.PLAN:
            is_listing = self._job.source.kind is Kind.LISTING
            is_over = self._read_listing() if is_listing else self._read_list(self._plan_row)
            if is_over:
                self._write_chunk()
                self._send_handed_on()
                self.plan.phase = Phase.DONE
        self._checkpoint()

    # Listings.

    def _read_listing(self) -> bool:
        """Join the listings of objects and results; return whether they were read to their end."""
        counts = self.plan.counts
        since = deployed_at(self._s3, self._bucket, self._settings.settings_fingerprint)
        position = Position.from_json(self.plan.position) if self.plan.position else None
        join = Join(self._list_images, self._list_results, since, position)
        for state, one in join:
            counts["listed"] += state is not State.ORPHANED
            if state is State.LEFT_OUT:
                self.plan.left_out[one.left_out] += 1
            elif state is State.ORPHANED and is_of_other_scope(one.key, self._settings.scope):
                self.plan.left_out[RESULT_OUT_OF_SCOPE] += 1
            else:
                known = self._head(one, since) if state is State.UNKNOWN else state
                counts[known] += 1
                self._take(known, one)
            if self._is_time_up(join.position):
                return False
        if self._job.removes_orphans:
            for key in self._list_long_results():
                self._hand_on(key)
        self.plan.position = join.position.to_json()
        return True

    def _head(self, one: Listed, settings_since: datetime | None) -> State:
        """Return how an object is whose result has a hash for a name: there are few of them."""
        head = found(self._s3.head_object, Bucket=self._bucket, Key=result_key(one.key))
        return compare(one, head["LastModified"], settings_since) if head else State.MISSING

    def _take(self, state: State, one: Listed) -> None:
        """Do what is to be done about a key that is in scope."""
        if state is State.ORPHANED:
            if self._job.removes_orphans:
                self._hand_on(one.key)
        elif state in _PLANNED or self._job.is_deep:
            if refusal := why_unreadable(Storage(one.storage_class), self._now):
                self.plan.left_out[reason_of(refusal)] += 1
            elif state is State.DOUBTFUL and self._settings.starts_model:
                self._hand_on(one.key)
            else:
                self._add(one.key)

    def _list_images(self, after: str) -> Iterator[Listed]:
        settings, prefix = self._settings, self._job.source.prefix
        return list_images(self._s3, settings.images_bucket_name, prefix, settings.scope, after)

    def _list_results(self, after: str) -> Iterator[Listed]:
        return list_results(self._s3, self._bucket, self._job.source.prefix, after)

    def _list_long_results(self) -> Iterator[str]:
        """Yield the keys whose results have hashes for names."""
        for entry in list_entries(self._s3, self._bucket, RESULTS_LONG):
            key = key_of_long_result(self._s3, self._bucket, entry["Key"])
            if key is None or not key.startswith(self._job.source.prefix):
                continue
            if not is_of_other_scope(key, self._settings.scope):
                yield key

    # Lists.

    def _read_list(self, take: Callable[[Row], None]) -> bool:
        """Read the rows of the list's files from where the plan is; return whether they were read to their end."""
        files = self._job.source.files
        at = Counter(self.plan.position)
        for number in range(at["file"], len(files)):
            rows = self._rows(files[number])
            for row in islice(rows, at["row"], None):
                at["row"] += 1
                take(row)
                if self._is_time_up(at):
                    return False
            at["file"], at["row"] = number + 1, 0
        return True

    def _rows(self, key: str) -> Iterator[Row]:
        """Yield the rows of a file.

        Raises
        ------
        ListError
            It is not there, or damaged.
        """
        source, bucket = self._job.source, self._settings.images_bucket_name
        name = f"file {key} of {source.name}"
        answer = found(self._s3.get_object, Bucket=self._bucket, Key=key)
        if answer is None:
            raise ListError(f"There is no {name}. Begin another backfill.")
        inventory = Inventory(bucket, source.fields, source.files) if source.kind is Kind.INVENTORY else None
        try:
            yield from read_rows(answer["Body"], bucket, name, inventory, is_gzip=key.endswith(".gz"))
        except DAMAGES as error:
            raise ListError(f"{name} is damaged ({error}). Take another one.") from error

    def _count(self, _: Row) -> None:
        self.plan.counts["listed"] += 1

    def _plan_row(self, row: Row) -> None:
        self.plan.counts["listed"] += 1
        if reason := row.why_left_out(self._settings.scope, self._now):
            self.plan.left_out[reason] += 1
        else:
            self._add(row.key)

    # Chunks and checkpoints.

    def _add(self, key: str) -> None:
        self._keys.append(key)
        self.plan.counts["planned"] += 1
        if len(self._keys) == self._settings.chunk_images:
            self._write_chunk()

    def _write_chunk(self) -> None:
        """Write down the keys that were read."""
        if self._keys:
            chunk = Chunk(self._settings.settings_fingerprint, tuple(self._keys))
            # Where there is one of that key, it holds the same.
            write_chunk(
                self._s3, self._bucket, chunk_key(self._job.id, f"{self.plan.counts['chunks']:08}", chunk), chunk
            )
            self.plan.counts["chunks"] += 1
            self._keys.clear()

    def _hand_on(self, key: str) -> None:
        self._handed_on.append(key)
        if len(self._handed_on) == _MOST_HANDED_ON:
            self._send_handed_on()

    def _send_handed_on(self) -> None:
        """Send keys that most likely need no model to the function of live events, which looks at them."""
        if self._handed_on:
            bodies = (message_about(self._settings.images_bucket_name, key) for key in self._handed_on)
            send_messages(self._sqs, self._settings.queue_url, bodies)
            self._handed_on.clear()

    def _is_time_up(self, position: Position | Mapping[str, int]) -> bool:
        """Write a checkpoint where it is time for one, and return whether the call has no more time."""
        now = time.monotonic()
        if now > min(self._deadline, self._checkpoint_at):
            self._write_chunk()
            self._send_handed_on()
            self.plan.position = position.to_json() if isinstance(position, Position) else dict(position)
            self._checkpoint()
        return now > self._deadline

    def _checkpoint(self) -> None:
        """Say how far the plan is, on the condition that nobody else has said so since."""
        condition = {"IfMatch": self._etag} if self._etag else {"IfNoneMatch": "*"}
        try:
            answer = put_on_condition(
                self._s3,
                Bucket=self._bucket,
                Key=plan_key(self._job.id),
                Body=self.plan.body(to_text(utc_now())),
                ContentType="application/json",
                **condition,
            )
        except TakenError as error:
            raise errors.ServiceUnavailableError(f"Another call is planning the backfill {self._job.id}.") from error
        self._etag = answer["ETag"]
        self._checkpoint_at = time.monotonic() + _CHECKPOINT_SECONDS


def _read_job(s3: S3Client, bucket: str, event: Mapping[str, Any]) -> Job:
    job = event["job"]
    if request := event.get("request"):
        wanted = Job.from_json({"job": job, "created_at": to_text(utc_now())} | request)
        content = json.dumps(wanted.to_json()).encode()
        with suppress(TakenError):  # by the call before, which died
            put_on_condition(s3, Bucket=bucket, Key=job_key(job), Body=content, IfNoneMatch="*")
    answer = found(s3.get_object, Bucket=bucket, Key=job_key(job))
    if answer is None:
        raise errors.BackfillNotFoundError(f"There is no job {job}: s3://{bucket}/{job_key(job)} is not there.")
    try:
        return Job.from_json(json.loads(answer["Body"].read()))
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise errors.BackfillNotFoundError(f"s3://{bucket}/{job_key(job)} is no job of a backfill.") from error


def count_backfill(event: Mapping[str, Any]) -> dict[str, Any]:
    """Count what is left of a job, and write its summary when it is over.

    Parameters
    ----------
    event
        ``job``; ``execution``, by name; ``left``, what the call before answered; ``error``, why planning ended;
        ``works_off``, whether the chunks are worked off by the job itself, and not by the runs of a hosted model; and
        ``max_concurrency``, which the execution was started with.

    Returns
    -------
    dict
        ``left_images``, ``left_chunks``, ``rounds``, ``goes_on`` (the chunks are to be mapped, ``max_concurrency`` at a
        time), ``is_incomplete``, and ``error``, with the ``type`` and the ``message`` that the job ends with, or None.
    """
    s3, bucket = clients.s3(), settings_of(CountBackfillSettings).final_bucket_name
    job, told = event["job"], event.get("left")
    before = Left(told["left_images"], told["left_chunks"], told["rounds"]) if told else None
    left = replace(count_left(s3, bucket, job), rounds=before.rounds + 1 if before else 0)
    error = ending(event["error"]) if event.get("error") else None
    is_mapped = event["works_off"] and not error
    again = is_mapped and goes_on(left, before)
    is_incomplete = is_mapped and not again and left.chunks > 0
    if not again:
        _write_summary(s3, bucket, job, left, error, is_incomplete=is_incomplete)
    said = found(s3.get_object, Bucket=bucket, Key=concurrency_key(job)) if again else None
    # An execution that was started before an update names neither itself nor its concurrency.
    changed = concurrency_of(said["Body"].read(), event.get("execution", "")) if said else None
    return {
        "left_images": left.images,
        "left_chunks": left.chunks,
        "rounds": left.rounds,
        "goes_on": again,
        "max_concurrency": changed or event.get("max_concurrency"),
        "is_incomplete": is_incomplete,
        "error": error,
    }


def _write_summary(
    s3: S3Client, bucket: str, job: str, left: Left, error: dict[str, str] | None, *, is_incomplete: bool
) -> None:
    outcome = "failed" if error else "incomplete" if is_incomplete else "planned" if left.chunks else "succeeded"
    asked = found(s3.get_object, Bucket=bucket, Key=job_key(job))
    planned = found(s3.get_object, Bucket=bucket, Key=plan_key(job))
    plan = Plan.from_body(planned["Body"].read()) if planned else Plan()
    body = summary_of(
        job,
        json.loads(asked["Body"].read()) if asked else None,
        plan,
        left,
        outcome=outcome,
        ended_at=to_text(utc_now()),
        error=error,
    )
    s3.put_object(Bucket=bucket, Key=summary_key(job), Body=body, ContentType="application/json")


def ending(error: Mapping[str, str]) -> dict[str, str]:
    """Return what Step Functions says of an error as the job ends with it.

    No Fail state may have a name of Step Functions' own (Amazon States Language, "Errors").
    """
    told = read_error(error)
    if told["type"].startswith("States."):
        return {"type": "BackfillError", "message": f"{told['type']}: {told['message']}"}
    return told | {"message": str(told["message"])}
