"""One batch of events of an existing bucket: each key that they name is looked at, side by side."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit

from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key, write_lines
from batch_vision.aws.in_step import Update
from batch_vision.aws.results import Results
from batch_vision.core.errors import BatchVisionError, NoTimeLeftError
from batch_vision.core.events import UNKNOWN_SIZE_BYTES, message_about, parse_change
from batch_vision.core.in_place import Look, Step
from batch_vision.core.observability import logger, metrics
from batch_vision.core.scope import why_out_of_scope
from batch_vision.core.settings import settings_of
from batch_vision.core.times import utc_now
from batch_vision.images.analyzer import ImageAnalyzer
from batch_vision.images.call_metrics import tell_calls
from batch_vision.images.detectors import Detectors
from batch_vision.images.in_place import ImagesBucket, is_no_attempt, update_result
from batch_vision.images.settings import UpdateResultsSettings
from batch_vision.images.sharing import BackfillWatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Executor

    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from batch_vision.images.detectors import Calls
    from batch_vision.images.settings import LookingSettings

# Of the time that an invocation has left, the part in which the model is asked; the rest is for S3.
_RETRY_SHARE = 0.6
# How long a message waits whose key changed faster than it could be looked at, or whose turn did not come.
_SENT_ANEW_DELAY_SECONDS = 60
_COUNTED = {
    "processed": "ImagesProcessed",
    "rejected": "ImagesRejected",
    "failed": "ImagesFailed",
    "deleted": "ResultsDeleted",
    "unchanged": "ImagesUnchanged",
}


@cache
def detectors() -> Detectors:
    """Return the detectors of this process, which keep their paces from batch to batch."""
    return Detectors.of(settings_of(UpdateResultsSettings))


@cache
def backfill_watch() -> BackfillWatch:
    """Return what this process knows of backfills."""
    return BackfillWatch(clients.s3(), settings_of(UpdateResultsSettings).final_bucket_name)


def update_results(event: Mapping[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Bring the results of the keys in step that a batch of SQS messages names.

    Returns
    -------
    dict
        Which messages are to be delivered again.
    """
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 * _RETRY_SHARE
    settings = settings_of(UpdateResultsSettings)
    detectors().take_share(settings.live_share_percent / 100 if backfill_watch().is_asking() else 1.0)
    # Nothing runs on after the function has returned, for Lambda would freeze it in the middle: leaving this block
    # waits for every thread.
    with ThreadPoolExecutor(clients.MAX_CONNECTIONS) as pool:
        batch = Batch(settings, clients.s3(), clients.sqs(), detectors(), deadline)
        failed = batch.update(event["Records"], pool, context.aws_request_id)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


@dataclass
class Named:
    """How the messages of a batch name a key.

    Attributes
    ----------
    may_owe_line, is_last_delivery
        As `update_result` takes them: true where they are of any of the messages.
    """

    may_owe_line: bool = False
    is_last_delivery: bool = False


class Batch:
    """The work of one invocation.

    Parameters
    ----------
    deadline
        Until when to ask the model, as `time.monotonic` tells it.
    """

    def __init__(
        self, settings: LookingSettings, s3: S3Client, sqs: SQSClient, detectors: Detectors, deadline: float
    ) -> None:
        self._settings = settings
        self._s3 = s3
        self._sqs = sqs
        self._detectors = detectors
        self._images = ImagesBucket(s3, settings.images_bucket_name, settings.scope)
        self._results = Results(s3, settings.final_bucket_name)
        self._deadline = deadline
        self._count: Counter[str] = Counter()
        self._calls: list[Calls] = []

    def update(self, records: Iterable[Mapping[str, Any]], pool: Executor, invocation_id: str) -> list[str]:
        """Take all messages to their end, and return the ids of those that are to be delivered again."""
        keys: dict[str, list[str]] = {}
        named: defaultdict[str, Named] = defaultdict(Named)
        for record in records:
            keys[record["messageId"]] = self._read(record, named)
        self._detectors.begin_batch(len(named), self._deadline)
        work = {key: pool.submit(self._update, key, how) for key, how in named.items()}
        updates = [update for future in work.values() if (update := future.result())]
        done = {update.key for update in self._recorded(updates, invocation_id) if self._is_sent_anew(update)}
        failed = [message_id for message_id, of in keys.items() if not done.issuperset(of)]
        self._tell(updates, len(keys), len(failed))
        return failed

    def _read(self, record: Mapping[str, Any], named: defaultdict[str, Named]) -> list[str]:
        """Return the keys that a message says to look at; what is no image is left out here, without a look."""
        changes, problem = parse_change(record["body"], self._settings.images_bucket_name)
        if problem:
            logger.error("unreadable message", extra={"message_id": record["messageId"], "problem": problem})
            self._count["UnreadableMessages"] += 1
            return []
        reasons = {
            change.key: why_out_of_scope(change.key, UNKNOWN_SIZE_BYTES, self._settings.scope) for change in changes
        }
        if all(reasons.values()):
            logger.info("out of scope", extra={"message_id": record["messageId"], "reasons": reasons})
            self._count["MessagesOutOfScope"] += 1
        deliveries = int(record["attributes"]["ApproximateReceiveCount"])
        in_scope = [change for change in changes if not reasons[change.key]]
        for change in in_scope:
            how = named[change.key]
            how.may_owe_line |= change.is_resent or deliveries > 1
            how.is_last_delivery |= deliveries >= self._settings.max_receive_count
        return [change.key for change in in_scope]

    def _update(self, key: str, how: Named) -> Update | None:
        """Bring the result of a key in step; None where its messages must be delivered again."""
        analyzer = ImageAnalyzer(self._detectors, self._s3, self._settings, self._images.source, self._deadline)
        try:
            # At the last delivery what finds no time is given up: its message would be a dead letter.
            if time.monotonic() > self._deadline and not how.is_last_delivery:
                raise NoTimeLeftError("The invocation is nearly over: the key is left for another one.")
            update = update_result(
                key,
                self._images,
                self._results,
                analyzer,
                may_owe_line=how.may_owe_line,
                is_last_delivery=how.is_last_delivery,
            )
        except BatchVisionError as error:
            if is_no_attempt(error, analyzer.calls):
                logger.info("image waits for its turn", extra={"key": key, "error": repr(error)})
                return Update(key, Look(Step.SEND_ANEW), status="no_turn")
            logger.warning("image left for redelivery", extra={"key": key, "error": repr(error)})
            return None
        except Exception:
            logger.exception("image left for redelivery", extra={"key": key})
            return None
        finally:
            self._calls.append(analyzer.calls)
        logger.info("image", extra={"key": key, "outcome": update.status, "duration_ms": update.duration_ms})
        if update.cause:
            logger.warning("image given up", extra={"key": key, "error": repr(update.cause)})
        return update

    def _recorded(self, updates: list[Update], invocation_id: str) -> list[Update]:
        """Write the lines of the catalog, and return the updates whose lines are written."""
        lines = [line for update in updates for line in update.lines]
        if not lines:
            return updates
        try:
            write_lines(self._s3, self._settings.final_bucket_name, catalog_key(utc_now(), invocation_id), lines)
        except Exception:
            logger.exception("catalog not written", extra={"lines": len(lines)})
            return [update for update in updates if not update.lines]
        return updates

    def _is_sent_anew(self, update: Update) -> bool:
        """Send a message anew where a key needs it, before its own is acknowledged; False where that failed."""
        if update.ending is not Step.SEND_ANEW:
            return True
        try:
            self._sqs.send_message(
                QueueUrl=self._settings.queue_url,
                MessageBody=message_about(self._settings.images_bucket_name, update.key),
                DelaySeconds=_SENT_ANEW_DELAY_SECONDS,
            )
        except Exception:
            logger.exception("message not sent anew", extra={"key": update.key})
            return False
        self._count["MessagesSentAnew"] += 1
        return True

    def _tell(self, updates: list[Update], messages: int, failed: int) -> None:
        """Write the metrics of the batch."""
        count = count_updates(updates, self._calls)
        count.update(self._count)
        count["MessagesLeftForRedelivery"] = failed
        for name, value in count.items():
            metrics.add_metric(name, MetricUnit.Count, value)
        tell_calls(self._detectors.operations, self._calls, [update.result for update in updates if update.result])
        logger.info("batch", extra={"messages": messages, "failed": failed, **count})


def count_updates(updates: Iterable[Update], calls: Iterable[Calls]) -> Counter[str]:
    """Count what became of keys and what they have cost, by the names of the metrics."""
    count = Counter({"ImagesProcessed": 0, "ImagesRejected": 0, "ImagesFailed": 0, "ResultsDeleted": 0})
    count.update(_COUNTED[update.status] for update in updates if update.status in _COUNTED)
    for one in calls:
        count["DetectRetries"] += sum(made - 1 for made in one.made.values())
        count["DetectThrottles"] += one.throttled.total()
    return count
