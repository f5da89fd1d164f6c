"""Changes of an existing bucket, looked at whether the model runs or not: what needs it is written down in chunks.

Most need none: a deletion, a duplicate, what is finished or empty. So a run is started for work only. A message is
acknowledged when its keys are in step, or stand in a chunk; a chunk that is written twice does no harm.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.aws.catalog import name_without_model
from batch_vision.aws.chunks import write_live_chunk
from batch_vision.core.chunks import Chunk
from batch_vision.core.errors import BatchVisionError, NoTimeLeftError
from batch_vision.core.in_place import Step
from batch_vision.core.observability import logger
from batch_vision.core.settings import settings_of
from batch_vision.images.keys import Keys, unasked_detectors
from batch_vision.images.settings import CollectChangesSettings
from batch_vision.images.updating import Batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from batch_vision.aws.in_step import Update
    from batch_vision.images.updating import Named

# Of the time that an invocation has left, the part in which keys are looked at; the rest is for chunks and catalog.
_LOOKING_SHARE = 0.8


def collect_changes(event: Mapping[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Look at the keys that a batch of SQS messages names, and write down those that need the model.

    Returns
    -------
    dict
        Which messages are to be delivered again.
    """
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 * _LOOKING_SHARE
    settings = settings_of(CollectChangesSettings)
    # Nothing runs on after the function has returned: leaving this block waits for every thread.
    with ThreadPoolExecutor(clients.MAX_CONNECTIONS) as pool:
        batch = Collecting(settings, clients.s3(), clients.sqs(), deadline)
        failed = batch.update(event["Records"], pool, context.aws_request_id)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


class Collecting(Batch):
    """The work of one invocation, which does not ask the model."""

    def __init__(self, settings: CollectChangesSettings, s3: S3Client, sqs: SQSClient, deadline: float) -> None:
        detectors = unasked_detectors(settings.model)
        super().__init__(settings, s3, sqs, detectors, deadline)
        self._keys = Keys(settings, s3, detectors)
        self._chunk_images = settings.chunk_images

    def _update(self, key: str, how: Named) -> Update | None:
        """Bring the result of a key in step as far as that needs no model; None where its messages come again."""
        try:
            # At the last delivery all the same: the next one would be to the dead-letter queue.
            if time.monotonic() > self._deadline and not how.is_last_delivery:
                raise NoTimeLeftError("The invocation is nearly over: the key is left for another one.")
            update = self._keys.look(key, may_owe_line=how.may_owe_line)
        except Exception as error:
            given_up = self._keys.try_to_give_up(key, error, {"key": key}) if how.is_last_delivery else None
            if given_up is None:
                is_ours = isinstance(error, BatchVisionError)
                logger.warning(
                    "image left for redelivery", extra={"key": key, "error": repr(error)}, exc_info=not is_ours
                )
                return None
            update = given_up
        is_handed_on = update.ending is Step.HAND_BACK
        logger.info("image", extra={"key": key, "outcome": "handed_on" if is_handed_on else update.status})
        if update.cause:
            logger.warning("image given up", extra={"key": key, "error": repr(update.cause)})
        return update

    def _recorded(self, updates: list[Update], invocation_id: str) -> list[Update]:
        """Write chunks of the keys that need the model, then the lines of the others; return what is written."""
        handed = [update.key for update in updates if update.ending is Step.HAND_BACK]
        lost: set[str] = set()
        for keys in batched(handed, self._chunk_images, strict=False):
            chunk = Chunk(self._settings.settings_fingerprint, keys)
            try:
                key = write_live_chunk(self._s3, self._settings.final_bucket_name, chunk)
            except Exception:
                logger.exception("chunk not written", extra={"images": len(keys)})
                lost.update(keys)
            else:
                logger.info("chunk written", extra={"chunk": key, "images": len(keys)})
        self._count["ImagesHandedOn"] = len(handed) - len(lost)
        return super()._recorded(
            [update for update in updates if update.key not in lost], name_without_model(invocation_id)
        )
