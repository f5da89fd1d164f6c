"""Chunks of keys for the model: a batch of messages names one each, and their images are worked on side by side.

When the invocation has no more time, the catalog is written, and only then a chunk deleted whose keys are all settled,
in the version that was read. What is left stays in the chunk, and its message is sent anew from where it came to: that
is no attempt. Only a delivery that settles no key and fails at one is left to the queue, which counts it; at the last
one the images that fail are given up, so none holds a chunk for ever.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from threading import Event
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit

from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key, write_lines
from batch_vision.aws.chunks import delete_chunk, deployed_at, read_chunk, set_aside_chunk
from batch_vision.aws.current_run import read_current_run
from batch_vision.core import errors
from batch_vision.core.chunks import LIVE, ChunkMessage, Then, job_of, then
from batch_vision.core.in_place import Step
from batch_vision.core.observability import logger, metrics
from batch_vision.core.settings import settings_of
from batch_vision.core.times import utc_now
from batch_vision.images.detectors import Detectors
from batch_vision.images.keys import Keys
from batch_vision.images.settings import AnalyzeChunkSettings
from batch_vision.images.updating import count_updates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from batch_vision.aws.in_step import Update
    from batch_vision.core.settings import ExistingBucketSettings

# Of the time that an invocation has left, the part in which the model is asked; the rest is for S3.
ASKING_SHARE = 0.6
# How long a message waits whose images wait for something that passes by itself: a run that is closing is closed then.
_LATER_SECONDS = 60


class Progress(StrEnum):
    """How far a key of a chunk is."""

    SETTLED = "settled"  # it has its result, or there is no object
    WAITS = "waits"  # the model does not run, or the object changes faster than it can be looked at
    NO_TIME = "no_time"
    FAILED = "failed"


@dataclass(slots=True)
class Work:
    """What a message asks for.

    Attributes
    ----------
    keys, places
        Those that need a look, and their places in the chunk.
    wanted
        The fingerprint that the results must have; None where any will do, if only they are of the current upload.
    is_ahead
        Whether they wait for a function of other settings, which were deployed since.
    progress
        Of each of these keys.
    """

    message: ChunkMessage
    keys: tuple[str, ...]
    places: tuple[int, ...]
    version_id: str
    wanted: str | None = None
    is_ahead: bool = False
    is_last_delivery: bool = False
    progress: list[Progress] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many keys are how far."""
        return {progress.value: self.progress.count(progress) for progress in Progress}

    def then(self) -> Then:
        """Return what is done about the chunk and its message."""
        count = self.counts()
        return then(
            settled=count[Progress.SETTLED],
            left=len(self.progress) - count[Progress.SETTLED],
            waits=count[Progress.WAITS] > 0,
            failed=count[Progress.FAILED],
        )

    def rest(self) -> ChunkMessage:
        """Return the message for what is left."""
        places = zip(self.places, self.progress, strict=True)
        left = tuple(place for place, progress in places if progress is not Progress.SETTLED)
        return ChunkMessage(self.message.chunk, self.message.run_id, self.version_id, left)


@cache
def detectors() -> Detectors:
    """Return the detectors of this process, which keep their paces from batch to batch."""
    return Detectors.of(settings_of(AnalyzeChunkSettings))


def analyze_chunks(event: Mapping[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Work on the chunks that a batch of SQS messages names.

    Returns
    -------
    dict
        Which messages are to be delivered again.
    """
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 * ASKING_SHARE
    settings = settings_of(AnalyzeChunkSettings)
    # Nothing runs on after the function has returned, for Lambda would freeze it in the middle: leaving this block
    # waits for every thread.
    with ThreadPoolExecutor(clients.MAX_CONNECTIONS) as pool:
        batch = ChunkBatch(settings, clients.s3(), clients.sqs(), detectors(), deadline)
        failed = batch.work(event["Records"], pool, context.aws_request_id)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


class ChunkWorker:
    """Works on the keys of chunks.

    Parameters
    ----------
    deadline
        Until when to ask the model, as `time.monotonic` tells it.
    run_id
        The run that is under way, for the log.
    """

    def __init__(
        self,
        settings: ExistingBucketSettings,
        s3: S3Client,
        detectors: Detectors,
        deadline: float,
        run_id: str | None = None,
    ) -> None:
        self._own_fingerprint = settings.settings_fingerprint
        self._bucket = settings.final_bucket_name
        self._s3 = s3
        self._keys = Keys(settings, s3, detectors, deadline)
        self._deadline = deadline
        self._run_id = run_id
        self._is_model_off = Event()
        self._updates: list[Update] = []
        self._count: Counter[str] = Counter()

    def read(self, message: ChunkMessage) -> Work | None:
        """Read the chunk that a message names; None where there is nothing to do about it."""
        try:
            found = read_chunk(self._s3, self._bucket, message.chunk)
        except ValueError as error:
            logger.error("unreadable chunk", extra=self._about() | {"chunk": message.chunk, "problem": str(error)})
            self._count["UnreadableMessages"] += 1
            set_aside_chunk(self._s3, self._bucket, message.chunk)
            return None
        if found is None:
            return None  # its keys are settled
        chunk, version_id = found
        places = message.left if message.left and message.version_id == version_id else range(len(chunk.keys))
        places = tuple(place for place in places if 0 <= place < len(chunk.keys))
        work = Work(message, tuple(chunk.keys[place] for place in places), places, version_id)
        if job_of(message.chunk) != LIVE:
            if chunk.fingerprint == self._own_fingerprint:
                work.wanted = self._own_fingerprint
            elif self._is_ahead(chunk.fingerprint):
                # An apply is under way, and this function is the old one: its results would be out of date at once.
                work.is_ahead = True
        return work

    def _is_ahead(self, fingerprint: str) -> bool:
        """Tell whether other settings than this function's were deployed after them; those from before are gone.

        Times are in whole seconds.
        """
        theirs = deployed_at(self._s3, self._bucket, fingerprint)
        ours = deployed_at(self._s3, self._bucket, self._own_fingerprint)
        return theirs is not None and (ours is None or theirs >= ours)

    def update(self, works: Iterable[Work], pool: Executor, invocation_id: str) -> bool:
        """Bring the results of all keys in step, as far as there is time, and write the catalog.

        Returns
        -------
        bool
            Whether the catalog is written: before that no key counts as settled.
        """
        began = [(work, pool.submit(self._update, key, work)) for work in works for key in work.keys]
        for work, future in began:
            work.progress.append(future.result())
        return self._record(invocation_id)

    def _update(self, key: str, work: Work) -> Progress:
        """Bring the result of a key in step."""
        if work.is_ahead or self._is_model_off.is_set():
            return Progress.WAITS
        if time.monotonic() > self._deadline:
            return Progress.NO_TIME
        try:
            update = self._keys.update(key, work.wanted)
        except errors.ModelNotReadyError as error:
            self._is_model_off.set()
            logger.info("image waits for the model", extra=self._about(key) | {"error": repr(error)})
            return Progress.WAITS
        except errors.NoTimeLeftError:
            return Progress.NO_TIME
        except Exception as error:
            given_up = self._keys.try_to_give_up(key, error, self._about(key)) if work.is_last_delivery else None
            if given_up is None:
                is_ours = isinstance(error, errors.BatchVisionError)
                logger.warning(
                    "image left for redelivery", extra=self._about(key) | {"error": repr(error)}, exc_info=not is_ours
                )
                return Progress.FAILED
            update = given_up
        self._updates.append(update)
        logger.info("image", extra=self._about(key) | {"outcome": update.status, "duration_ms": update.duration_ms})
        if update.cause:
            logger.warning("image given up", extra=self._about(key) | {"error": repr(update.cause)})
        return Progress.WAITS if update.ending is Step.SEND_ANEW else Progress.SETTLED

    def _record(self, invocation_id: str) -> bool:
        """Write the lines of the catalog, before any key counts as settled; return whether they are written."""
        lines = [line for update in self._updates for line in update.lines]
        if not lines:
            return True
        try:
            write_lines(self._s3, self._bucket, catalog_key(utc_now(), invocation_id), lines)
        except Exception:
            logger.exception("catalog not written", extra=self._about() | {"lines": len(lines)})
            return False
        return True

    def _about(self, key: str | None = None) -> dict[str, Any]:
        run = {"run_id": self._run_id}
        return run | {"key": key} if key else run

    def tell(self, about: Mapping[str, Any]) -> None:
        """Write the metrics of the invocation, and log them with more about it."""
        count = count_updates(self._updates, self._keys.calls)
        count.update(self._count)
        for name, value in count.items():
            metrics.add_metric(name, MetricUnit.Count, value)
        logger.info("batch", extra=self._about() | dict(about) | count)


class ChunkBatch(ChunkWorker):
    """The work of one invocation that messages ask for.

    Parameters
    ----------
    deadline
        Until when to ask the model, as `time.monotonic` tells it.
    """

    def __init__(
        self, settings: AnalyzeChunkSettings, s3: S3Client, sqs: SQSClient, detectors: Detectors, deadline: float
    ) -> None:
        super().__init__(settings, s3, detectors, deadline, read_current_run(s3, settings.final_bucket_name))
        self._settings = settings
        self._sqs = sqs

    def work(self, records: Sequence[Mapping[str, Any]], pool: Executor, invocation_id: str) -> list[str]:
        """Take the chunks as far as there is time, and return the ids of the messages to be delivered again."""
        works: dict[str, Work] = {}
        failed = []
        for record in records:
            try:
                work = self._begin(record, {work.message.chunk for work in works.values()})
            except Exception:
                logger.exception("chunk not read", extra=self._about() | {"message_id": record["messageId"]})
                failed.append(record["messageId"])
            else:
                if work:
                    works[record["messageId"]] = work
        is_recorded = self.update(works.values(), pool, invocation_id)
        failed += [message_id for message_id, work in works.items() if not (is_recorded and self._end(work))]
        self._count["MessagesLeftForRedelivery"] = len(failed)
        self.tell({"messages": len(records), "failed": len(failed)})
        return failed

    def _begin(self, record: Mapping[str, Any], known: set[str]) -> Work | None:
        """Read the chunk that a record names; None where there is nothing to do about it."""
        try:
            message = ChunkMessage.from_body(record["body"])
        except ValueError as error:
            logger.error("unreadable message", extra=self._about() | {"problem": str(error)})
            self._count["UnreadableMessages"] += 1
            return None
        if message.run_id and self._run_id and message.run_id != self._run_id:
            return None  # the run that is under way has sent one of its own
        if message.chunk in known:
            return None  # by another message of this batch
        if work := self.read(message):
            deliveries = int(record["attributes"]["ApproximateReceiveCount"])
            work.is_last_delivery = deliveries >= self._settings.max_receive_count
        return work

    def _end(self, work: Work) -> bool:
        """Do what is to be done about a chunk, before its message is acknowledged; False where that may not be."""
        ending = work.then()
        try:
            match ending:
                case Then.DELETE:
                    delete_chunk(self._s3, self._bucket, work.message.chunk, work.version_id)
                case Then.SEND_ANEW | Then.SEND_LATER:
                    self._sqs.send_message(
                        QueueUrl=self._settings.queue_url,
                        MessageBody=work.rest().body(),
                        DelaySeconds=_LATER_SECONDS if ending is Then.SEND_LATER else 0,
                    )
                    self._count["MessagesSentAnew"] += 1
        except Exception:
            logger.exception("chunk not finished", extra=self._about() | {"chunk": work.message.chunk})
            return False
        about = self._about() | {"chunk": work.message.chunk, "then": ending} | work.counts()
        logger.info("chunk", extra=about)
        return ending is not Then.LEAVE
