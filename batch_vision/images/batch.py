"""One batch of SQS messages: the images that they name are worked on side by side."""

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
from batch_vision.core.errors import BatchVisionError, ModelNotReadyError
from batch_vision.core.events import message_for, parse_message
from batch_vision.core.names import same_names_lock
from batch_vision.core.observability import logger, metrics
from batch_vision.core.settings import settings_of
from batch_vision.core.times import utc_now
from batch_vision.images.analysis import Outcome, analyze
from batch_vision.images.call_metrics import tell_calls
from batch_vision.images.detectors import COSTS_NO_DELIVERY, Calls, Detectors
from batch_vision.images.final import FinalBucket
from batch_vision.images.settings import AnalyzeImagesSettings
from batch_vision.images.source import SourceBucket

if TYPE_CHECKING:
    from concurrent.futures import Future

    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from batch_vision.core.events import SourceImage

# Of the time that an invocation has left, the part in which the model is asked; the rest is for S3.
_RETRY_SHARE = 0.6
# How long a message waits that met a model which is not running: a run that is closing is closed by then.
_SENT_ANEW_DELAY_SECONDS = 60


@cache
def detectors() -> Detectors:
    """Return the detectors of this deployment, made on first use, with the paces that they keep."""
    return Detectors.of(settings_of(AnalyzeImagesSettings))


def analyze_batch(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Analyze the images of a batch of SQS messages and return which messages are to be delivered again."""
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 * _RETRY_SHARE
    # The function only waits for services, so its images are worked on side by side. Nothing runs on after it has
    # returned, for Lambda would freeze it in the middle: leaving this block waits for every thread.
    with ThreadPoolExecutor(clients.MAX_CONNECTIONS) as pool:
        batch = Batch(pool, deadline)
        batch.begin(event["Records"])
        # Even a batch that fails as a whole is answered item by item: an error would hide which and why.
        processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
        answer = process_partial_response(event, batch.take, processor, context)
        batch.finish(context.aws_request_id, len(event["Records"]), len(answer["batchItemFailures"]))
    return answer


class Batch:
    """The work of one invocation.

    Parameters
    ----------
    pool
        Where the images are worked on.
    deadline
        Until when to ask the model, as `time.monotonic` tells it.
    """

    def __init__(self, pool: ThreadPoolExecutor, deadline: float) -> None:
        self._pool = pool
        self._settings = settings_of(AnalyzeImagesSettings)
        self._detectors = detectors()  # here, for the threads must not make some each
        self._source = SourceBucket(clients.s3())
        self._final = FinalBucket(clients.s3(), self._settings.final_bucket_name, self._source)
        self._deadline = deadline
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._outcomes: list[Outcome] = []
        self._calls: list[Calls] = []
        self._messages_sent_anew = 0
        self._work: dict[str, list[tuple[SourceImage, Future[None]]]] = {}
        # Beside the images: no image waits for it.
        self._run_id = pool.submit(read_current_run, clients.s3(), self._settings.final_bucket_name)

    def begin(self, records: list[dict[str, Any]]) -> None:
        """Begin to work on the images of all messages side by side."""
        images = {record["messageId"]: self._parse(record) for record in records}
        self._detectors.begin_batch(sum(len(found) for found in images.values()), self._deadline)
        for record in records:
            deliveries = int(record["attributes"]["ApproximateReceiveCount"])
            self._work[record["messageId"]] = [
                (image, self._pool.submit(self._take_image, image, deliveries)) for image in images[record["messageId"]]
            ]

    def take(self, record: SQSRecord) -> None:
        """Wait for the images of one message; raises when the message must be delivered again."""
        work = self._work[record.message_id]
        wait([future for _, future in work])
        failed = [(image, error) for image, future in work if (error := future.exception())]
        # A model that is not running is no attempt, nor is the conversion of others: it costs the message no delivery.
        # Where another image of the message failed as well, the message comes back as a whole.
        for _, error in failed:
            if not isinstance(error, COSTS_NO_DELIVERY):
                raise error
        if failed:
            self._send_anew([image for image, _ in failed])

    def _parse(self, record: dict[str, Any]) -> list[SourceImage]:
        images, problems = parse_message(record["body"], self._settings.source_bucket_name)
        for problem in problems:
            about = {"message_id": record["messageId"], "problem": problem}
            logger.error("unreadable message", extra=self._about() | about)
            metrics.add_metric("UnreadableMessages", MetricUnit.Count, 1)
        return images

    def _take_image(self, image: SourceImage, deliveries: int) -> None:
        calls = Calls()
        self._calls.append(calls)
        with self._locks[same_names_lock(image.key)]:
            try:
                outcome = analyze(
                    image,
                    self._detectors,
                    self._source,
                    self._final,
                    calls,
                    is_redelivery=deliveries > 1,
                    deadline=self._deadline,
                    is_last_delivery=deliveries >= self._settings.max_receive_count,
                )
            except ModelNotReadyError as error:
                logger.info("image waits for the model", extra=self._about(image) | {"error": _told(error)})
                raise
            except BatchVisionError as error:
                logger.warning("image left for redelivery", extra=self._about(image) | {"error": _told(error)})
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
        if outcome.cause:
            logger.warning("image given up", extra=self._about(image) | {"error": _told(outcome.cause)})

    def _send_anew(self, images: list[SourceImage]) -> None:
        """Send a message for images anew, before their own is acknowledged: at worst there are two."""
        try:
            clients.sqs().send_message(
                QueueUrl=self._settings.queue_url,
                MessageBody=message_for(images),
                DelaySeconds=_SENT_ANEW_DELAY_SECONDS,
            )
        except Exception:
            logger.exception("message not sent anew", extra=self._about() | {"images": len(images)})
            raise
        self._messages_sent_anew += 1

    def _about(self, image: SourceImage | None = None) -> dict[str, Any]:
        run = {"run_id": self._run_id.result()}
        return run | {"key": image.key, "version_id": image.version_id} if image else run

    def finish(self, invocation_id: str, messages: int, failed: int) -> None:
        """Write the catalog and the metrics of the batch; a failure here is logged, because the images are done."""
        lines = [outcome.catalog_line() for outcome in self._outcomes if outcome.result]
        if lines:
            try:
                self._final.write_catalog(catalog_key(utc_now(), invocation_id), lines)
            except Exception:
                logger.exception("catalog not written", extra=self._about() | {"images": len(lines)})
        count = defaultdict(int, {"ImagesProcessed": 0, "ImagesRejected": 0, "ImagesStuck": 0})
        for outcome in self._outcomes:
            if outcome.status != "folder_marker":
                count[f"Images{outcome.status.title().replace('_', '')}"] += 1
        for calls in self._calls:
            count["DetectRetries"] += sum(made - 1 for made in calls.made.values())
            count["DetectThrottles"] += calls.throttled.total()
        count["MessagesLeftForRedelivery"] = failed
        count["MessagesSentAnew"] = self._messages_sent_anew
        for name, value in count.items():
            metrics.add_metric(name, MetricUnit.Count, value)
        results = [outcome.result for outcome in self._outcomes if outcome.result]
        tell_calls(self._detectors.operations, self._calls, results)
        logger.info("batch", extra=self._about() | {"messages": messages, "failed": failed, **count})


def _told(error: BaseException) -> str:
    """Return an error and what caused it: a throttle is why an invocation has no time left."""
    return f"{error!r} from {error.__cause__!r}" if isinstance(error.__cause__, BatchVisionError) else repr(error)
