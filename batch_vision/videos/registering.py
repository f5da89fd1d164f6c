"""One batch of events of videos: each key that they name is looked at, and what is new gets its plan and records."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools.metrics import MetricUnit

from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key, name_without_model, write_lines
from batch_vision.aws.in_step import bring_in_step
from batch_vision.aws.results import Results
from batch_vision.backends.rekognition_video import request_of
from batch_vision.core.errors import BatchVisionError, ImageGoneError, NoTimeLeftError, ServiceUnavailableError
from batch_vision.core.events import UNKNOWN_SIZE_BYTES, message_about, parse_change, parse_message
from batch_vision.core.in_place import Step, begin
from batch_vision.core.observability import logger, metrics
from batch_vision.core.scope import why_out_of_scope
from batch_vision.core.settings import settings_of
from batch_vision.core.times import utc_now
from batch_vision.core.video_jobs import reopened
from batch_vision.core.video_plans import (
    Remedy,
    gone_plan,
    new_plan,
    records_of,
    upload_that_counts,
    what_is_missing,
)
from batch_vision.core.video_results import video_line, video_tombstone
from batch_vision.core.videos import ended_marker, video_result_key, waiting_marker
from batch_vision.videos.settings import RegisterVideosSettings
from batch_vision.videos.source import VideosBucket
from batch_vision.videos.store import VideoStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_sqs import SQSClient

    from batch_vision.aws.in_step import KeptResults
    from batch_vision.core.videos import Plan, Record, Upload
    from batch_vision.videos.store import Held

_MOST_ROUNDS = 5
_LOOKING_SHARE = 0.8
_SENT_ANEW_DELAY_SECONDS = 60
# No result has it: who asks for it looks at a result as if it were another upload's.
_ANY_OTHER = "any other"


class Counted(NamedTuple):
    """The object whose result a key must have."""

    upload: str
    found: Upload | None


class LookingAt:
    """What is done about the video of a key by whoever brings its result in step.

    Attributes
    ----------
    found
        What was last found.
    """

    def __init__(self, videos: VideosBucket, store: VideoStore, key: str) -> None:
        self.found: Counted | None = None
        self._videos = videos
        self._store = store
        self._key = key

    def find(self, resulting: str | None) -> Counted | None:
        """Return the object whose result the key must have; None where it must have none."""
        found = self._videos.find(self._key)
        counts = found.name if found else None
        if resulting and resulting != counts:
            # Only now: the plan tells of the move before the video leaves its bucket.
            plan = self._store.plan(self._videos.name, self._key).content
            counts = upload_that_counts(plan, found, resulting)
        self.found = Counted(counts, found) if counts else None
        return self.found

    def detect(self, found: Counted) -> dict[str, Any] | None:
        """Return nothing: this one asks nobody."""
        raise NotImplementedError(found)

    def fingerprint_of(self, found: Counted) -> str:
        """Return nothing, like `detect`."""
        raise NotImplementedError(found)

    def written(self, result: Mapping[str, Any], recorded_at: datetime) -> dict[str, Any]:
        """Return the line of a result that was written this moment."""
        return self.line(result, recorded_at)

    def line(self, result: Mapping[str, Any] | None, recorded_at: datetime) -> dict[str, Any]:
        """Return the line of a result, or of a deletion."""
        return video_line(dict(result), recorded_at) if result else video_tombstone(self._key, recorded_at)


class Registered(NamedTuple):
    """What became of a key.

    Attributes
    ----------
    outcome
        ``planned``, ``completed``, ``deleted``, ``unchanged`` or ``restless``.
    is_work_left
        Whether there may be something for the dispatcher.
    """

    outcome: str
    is_work_left: bool = False


class Registering:
    """Looks at keys of a bucket of videos.

    Parameters
    ----------
    analyses
        What a new upload is to have, as it is deployed now.
    write
        Writes lines of the catalog.
    """

    def __init__(
        self,
        store: VideoStore,
        results: KeptResults,
        videos: VideosBucket,
        analyses: Mapping[str, Mapping[str, Any]],
        channel: Mapping[str, str],
        max_minutes_per_day: int,
        write: Callable[[list[dict[str, Any]]], None],
        clock: Callable[[], datetime] = utc_now,
        request_of: Callable[..., Mapping[str, Any]] = request_of,
    ) -> None:
        self._request_of = request_of
        self._store = store
        self._results = results
        self._videos = videos
        self._analyses = analyses
        self._channel = channel
        self._max_minutes_per_day = max_minutes_per_day
        self._write = write
        self._clock = clock

    def look(self, key: str, *, may_owe_line: bool) -> Registered:
        """Look at a key: its result is deleted where its video is gone, and an upload without one gets its plan.

        Raises
        ------
        BatchVisionError
            Not now: the message is to be delivered again.
        """
        for _ in range(_MOST_ROUNDS):
            # The plan before the source: whoever has seen a newer upload has written another one since.
            plan = self._store.plan(self._videos.name, key)
            work = LookingAt(self._videos, self._store, key)
            wanted = _ANY_OTHER if plan.content.retry_requested else None
            update = bring_in_step(
                key, begin(may_owe_line=may_owe_line, wanted=wanted, asks_model=False), self._results, work
            )
            if update.lines:
                self._write(update.lines)
            if update.ending is Step.SEND_ANEW:
                break
            if work.found is None:
                if plan.content.upload is None or self._forget(plan):
                    return Registered(update.status)
                continue
            if update.ending is not Step.HAND_BACK or work.found.found is None:
                return Registered("unchanged")
            try:
                done = self._provide(plan, work.found.found)
            except ImageGoneError:
                continue
            if done:
                return done
        return Registered("restless", is_work_left=True)

    def _provide(self, held: Held[Plan], upload: Upload) -> Registered | None:
        """See to it that an upload has a plan, and the plan its records; None where somebody else changed the plan."""
        plan, outcome = held.content, "completed"
        records = [one.content if one else None for one in self._store.records(plan.record_ids)]
        if what_is_missing(plan, upload, records) is Remedy.PLAN:
            header = self._videos.read_header(plan.key, upload, self._max_minutes_per_day)
            plan = new_plan(plan, upload, header.video, self._analyses, header.refusal)
            if not self._store.write_plan(plan, held.etag):
                return None
            outcome = "planned"
        return Registered(outcome, is_work_left=True) if self._complete(plan, upload) else None

    def _complete(self, plan: Plan, upload: Upload) -> bool:
        """Write what is missing of a plan's records, each after its marker; what has ended is to be finished anew.

        Returns
        -------
        bool
            False where somebody else changed a record meanwhile.
        """
        now = self._clock()
        request = partial(
            self._request_of, bucket=plan.bucket, key=plan.key, version_id=upload.version_id, channel=self._channel
        )
        begun = records_of(plan, request, now)
        for record, there in zip(begun, self._store.records(plan.record_ids), strict=True):
            if there is None:
                # One that is there had its marker before: so this order is all that keeps it from being forgotten.
                self._store.put_marker(ended_marker(record) if record.has_ended else waiting_marker(record))
                self._store.write_record(record, "")
            elif there.content.has_ended and not reopen(self._store, there, now):
                return False
        return True

    def _forget(self, held: Held[Plan]) -> bool:
        """Write down that a video is gone, and have the files of its jobs deleted."""
        gone = gone_plan(held.content, self._clock())
        if not self._store.write_plan(gone, held.etag):
            return False
        reopen_former(self._store, gone, self._clock())
        return True


def reopen(store: VideoStore, held: Held[Record], now: datetime) -> bool:
    """Have a collector look at a record that has ended; False where somebody else changed it."""
    again = reopened(held.content, now)
    store.put_marker(ended_marker(again))
    return store.write_record(again, held.etag) is not None


def reopen_former(store: VideoStore, plan: Plan, now: datetime) -> None:
    """Have the records of former plans deleted with their files, now that no result names them any more.

    Not here: a collector may still be at work on one, and what it leaves if it dies is found by the record only.
    """
    for held in store.records(plan.former):
        if held and held.content.has_ended:
            reopen(store, held, now)


def register_videos(event: Mapping[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Look at the keys that a batch of SQS messages names.

    Returns
    -------
    dict
        Which messages are to be delivered again.
    """
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 * _LOOKING_SHARE
    settings = settings_of(RegisterVideosSettings)
    s3 = clients.s3()
    numbers = count()

    def write(lines: list[dict[str, Any]]) -> None:
        name = name_without_model(f"{context.aws_request_id}-{next(numbers)}")
        write_lines(s3, settings.final_bucket_name, catalog_key(utc_now(), name), lines)

    registering = Registering(
        VideoStore(s3, settings.final_bucket_name),
        Results(s3, settings.final_bucket_name, video_result_key),
        VideosBucket(s3, settings.videos_bucket_name, settings.scope),
        settings.video_analyses,
        settings.channel,
        settings.max_minutes_per_day,
        write,
    )
    batch = Batch(settings, registering, clients.sqs(), deadline)
    # Nothing runs on after the function has returned: leaving this block waits for every thread.
    with ThreadPoolExecutor(clients.MAX_CONNECTIONS) as pool:
        failed = batch.take(event["Records"], pool)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


class Batch:
    """The work of one invocation.

    Parameters
    ----------
    deadline
        Until when to begin with keys, as `time.monotonic` tells it.
    """

    def __init__(
        self, settings: RegisterVideosSettings, registering: Registering, sqs: SQSClient, deadline: float
    ) -> None:
        self._settings = settings
        self._registering = registering
        self._sqs = sqs
        self._deadline = deadline
        self._count: Counter[str] = Counter()

    def take(self, records: Iterable[Mapping[str, Any]], pool: ThreadPoolExecutor) -> list[str]:
        """Take all messages to their end, and return the ids of those that are to be delivered again."""
        keys: dict[str, list[str]] = {}
        may_owe: dict[str, bool] = {}
        for record in records:
            named = self._read(record)
            keys[record["messageId"]] = list(named)
            for key, owes in named.items():
                may_owe[key] = may_owe.get(key, False) or owes
        work = {key: pool.submit(self._look, key, owes) for key, owes in may_owe.items()}
        looked = {key: future.result() for key, future in work.items()}
        done = {key for key, registered in looked.items() if registered and self._is_sent_anew(key, registered)}
        if any(registered and registered.is_work_left for registered in looked.values()):
            wake(self._sqs, self._settings.hint_queue_url)
        failed = [message_id for message_id, of in keys.items() if not done.issuperset(of)]
        self._tell(len(keys), len(failed))
        return failed

    def _read(self, record: Mapping[str, Any]) -> dict[str, bool]:
        """Return the keys that a message says to look at, and whether somebody may have worked on them."""
        bucket, body = self._settings.videos_bucket_name, record["body"]
        changes, problem = parse_change(body, bucket)
        if problem:
            images, problems = parse_message(body, bucket)  # the notification of a bucket of our own
            named = {image.key: image.is_resent for image in images}
            problem = problems[0] if problems else None
        else:
            named = {change.key: change.is_resent for change in changes}
        if problem:
            logger.error("unreadable message", extra={"message_id": record["messageId"], "problem": problem})
            self._count["UnreadableMessages"] += 1
        is_repeated = int(record["attributes"]["ApproximateReceiveCount"]) > 1
        return {
            key: is_resent or is_repeated
            for key, is_resent in named.items()
            if not why_out_of_scope(key, UNKNOWN_SIZE_BYTES, self._settings.scope)
        }

    def _look(self, key: str, may_owe_line: bool) -> Registered | None:
        try:
            if time.monotonic() > self._deadline:
                raise NoTimeLeftError("The invocation is nearly over: the key is left for another one.")
            registered = self._registering.look(key, may_owe_line=may_owe_line)
        except BatchVisionError as error:
            logger.warning("video left for redelivery", extra={"key": key, "error": repr(error)})
            return None
        except Exception:
            logger.exception("video left for redelivery", extra={"key": key})
            return None
        logger.info("video", extra={"key": key, "outcome": registered.outcome})
        return registered

    def _is_sent_anew(self, key: str, registered: Registered) -> bool:
        """Send a message anew where a key needs it, before its own is acknowledged; False where that failed."""
        self._count[f"Videos{registered.outcome.title()}"] += 1
        if registered.outcome != "restless":
            return True
        try:
            look_again(self._sqs, self._settings.queue_url, self._settings.videos_bucket_name, key)
        except ServiceUnavailableError:
            logger.exception("message not sent anew", extra={"key": key})
            return False
        return True

    def _tell(self, messages: int, failed: int) -> None:
        counted = Counter({"VideosPlanned": 0, "MessagesLeftForRedelivery": failed})
        counted.update(self._count)
        for name, value in counted.items():
            metrics.add_metric(name, MetricUnit.Count, value)
        logger.info("batch", extra={"messages": messages, "failed": failed, **counted})


def look_again(sqs: SQSClient, queue_url: str, bucket: str, key: str) -> None:
    """Have a key looked at in a while.

    Raises
    ------
    ServiceUnavailableError
        The queue does not take the message.
    """
    try:
        sqs.send_message(
            QueueUrl=queue_url, MessageBody=message_about(bucket, key), DelaySeconds=_SENT_ANEW_DELAY_SECONDS
        )
    except Exception as error:
        raise ServiceUnavailableError(f"Queue {queue_url} did not take a message: {error!r}") from error


def wake(sqs: SQSClient, hint_queue_url: str) -> None:
    """Have the dispatcher look now; if this message is lost, it looks within a minute."""
    try:
        sqs.send_message(QueueUrl=hint_queue_url, MessageBody="{}")
    except Exception:
        logger.warning("dispatcher not woken", exc_info=True)
