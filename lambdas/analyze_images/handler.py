"""Taken from the queue in batches: analyze the images that the messages name."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key
from batch_vision.aws.current_run import read_current_run
from batch_vision.backends.registry import backend
from batch_vision.core.capacity import calls_per_second_of_one
from batch_vision.core.errors import BatchVisionError
from batch_vision.core.events import parse_message
from batch_vision.core.names import same_names_lock
from batch_vision.core.observability import logger, metrics
from batch_vision.core.settings import settings
from batch_vision.core.times import utc_now
from batch_vision.images.analysis import Outcome, analyze
from batch_vision.images.buckets import FinalBucket, SourceBucket
from batch_vision.images.pace import Pace

if TYPE_CHECKING:
    from concurrent.futures import Future

    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from batch_vision.core.events import SourceImage

# The function only waits for services, so its images are worked on side by side.
_POOL = ThreadPoolExecutor(clients.MAX_CONNECTIONS)

# Of the time that an invocation has left, the part in which the model is asked; the rest is for S3.
_RETRY_SHARE = 0.6


@cache
def pace() -> Pace:
    """Give the pace of this process, which it keeps from batch to batch."""
    return Pace(calls_per_second_of_one(settings()))


class Batch:
    """The work of one invocation.

    Parameters
    ----------
    deadline
        Until when to ask the model, as `time.monotonic` tells it.
    """

    def __init__(self, deadline: float) -> None:
        self._backend = backend()  # here, for the threads must not make one each
        self._source = SourceBucket(clients.s3())
        self._final = FinalBucket(clients.s3(), settings().final_bucket_name, self._source)
        self._pace = pace()
        self._deadline = deadline
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._outcomes: list[Outcome] = []
        self._work: dict[str, list[Future[None]]] = {}
        # Beside the images: no image waits for it.
        self._run_id = _POOL.submit(read_current_run, clients.s3(), settings().final_bucket_name)

    def begin(self, records: list[dict[str, Any]]) -> None:
        """Begin to work on the images of all messages side by side."""
        self._pace.begin_batch(len(records), self._deadline)
        self._work = {record["messageId"]: self._begin(record) for record in records}

    def take(self, record: SQSRecord) -> None:
        """Wait for the images of one message; raises when the message must be delivered again."""
        images = self._work[record.message_id]
        wait(images)
        for image in images:
            image.result()

    def _begin(self, record: dict[str, Any]) -> list[Future[None]]:
        message_id = record["messageId"]
        images, problems = parse_message(record["body"], settings().source_bucket_name)
        for problem in problems:
            logger.error("unreadable message", extra=self._about() | {"message_id": message_id, "problem": problem})
            metrics.add_metric("UnreadableMessages", MetricUnit.Count, 1)
        is_redelivery = int(record["attributes"]["ApproximateReceiveCount"]) > 1
        return [_POOL.submit(self._take_image, image, is_redelivery) for image in images]

    def _take_image(self, image: SourceImage, is_redelivery: bool) -> None:
        with self._locks[same_names_lock(image.key)]:
            try:
                outcome = analyze(
                    image,
                    self._backend,
                    self._source,
                    self._final,
                    self._pace,
                    is_redelivery=is_redelivery,
                    deadline=self._deadline,
                )
            except BatchVisionError as error:
                logger.warning("image left for redelivery", extra=self._about(image) | {"error": repr(error)})
                raise
            except Exception:
                logger.exception("image left for redelivery", extra=self._about(image))
                raise
        self._outcomes.append(outcome)
        logger.info(
            "image",
            extra=self._about(image)
            | {
                "outcome": outcome.status,
                "error_type": outcome.error_type,
                "attempts": outcome.attempts,
                "throttles": outcome.throttles,
                "duration_ms": outcome.duration_ms,
            },
        )

    def _about(self, image: SourceImage | None = None) -> dict[str, Any]:
        run = {"run_id": self._run_id.result()}
        return run | {"key": image.key, "version_id": image.version_id} if image else run

    def finish(self, invocation_id: str, messages: int, failed: int) -> None:
        """Write the catalog and the metrics of the batch; a failure here is logged, because the images are done."""
        lines = [outcome.catalog_line() for outcome in self._outcomes if outcome.result]
        if lines:
            try:
                self._final.write_catalog(catalog_key(utc_now(), invocation_id), lines)
            except BatchVisionError:
                logger.exception("catalog not written", extra=self._about() | {"images": len(lines)})
        count = defaultdict(int, {"ImagesProcessed": 0, "ImagesRejected": 0})
        for outcome in self._outcomes:
            count[f"Images{outcome.status.capitalize()}"] += 1
            count["DetectRetries"] += max(0, outcome.attempts - 1)
            count["DetectThrottles"] += outcome.throttles
        count["MessagesLeftForRedelivery"] = failed
        for name, value in count.items():
            metrics.add_metric(name, MetricUnit.Count, value)
        logger.info("batch", extra=self._about() | {"messages": messages, "failed": failed, **count})


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Take a batch of SQS messages and answer which of them are to be delivered again."""
    batch = Batch(time.monotonic() + context.get_remaining_time_in_millis() / 1000 * _RETRY_SHARE)
    batch.begin(event["Records"])
    # Even a batch that fails as a whole is answered item by item: an error would hide which and why.
    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    answer = process_partial_response(event, batch.take, processor, context)
    batch.finish(context.aws_request_id, len(event["Records"]), len(answer["batchItemFailures"]))
    return answer
