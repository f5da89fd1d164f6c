"""A chunk of a backfill is worked off by calls, one after the other, until nothing is left of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from batch_vision.aws import clients
from batch_vision.aws.chunks import delete_chunk
from batch_vision.core.chunks import ChunkMessage
from batch_vision.core.observability import logger
from batch_vision.core.settings import settings_of
from batch_vision.images.chunk import ASKING_SHARE, ChunkWorker, Progress
from batch_vision.images.detectors import Detectors
from batch_vision.images.keys import Keys, unasked_detectors
from batch_vision.images.settings import WorkOffChunkSettings
from batch_vision.images.sharing import tell_of_backfill
from batch_vision.images.taking_apart import take_apart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.utilities.typing import LambdaContext

# Calls in a row that settle no key. After so many, the images that fail are given up where others of the chunk did not
# fail; where none did, it is not the images' fault, and the chunk is left for later.
_MOST_BARREN = 3
_OVER = {"left": 0, "is_stuck": False, "barren": 0, "has_settled_any": False, "version_id": "", "places": ()}


@cache
def detectors() -> Detectors:
    """Return the detectors of this process, which keep their paces from call to call."""
    return Detectors.of(settings_of(WorkOffChunkSettings))


def work_off_chunk(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Bring the results of a chunk's keys in step, as far as the time of this call goes.

    Parameters
    ----------
    event
        ``chunk``, the key of it; ``previous``, what the call before answered; and ``died``, true where that call died:
        then the chunk is taken apart.

    Returns
    -------
    dict
        ``left``, how many keys are not settled; ``is_stuck``, whether another call would not help now; and for the next
        call ``barren``, how many calls in a row have settled nothing, ``has_settled_any``, and ``places`` and
        ``version_id``, as in a `ChunkMessage`.
    """
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 * ASKING_SHARE
    settings, s3 = settings_of(WorkOffChunkSettings), clients.s3()
    previous = event["previous"]
    if event.get("died"):
        take_apart(
            s3, settings.final_bucket_name, Keys(settings, s3, unasked_detectors(settings.model)), event["chunk"]
        )
        return _OVER
    message = ChunkMessage(
        event["chunk"], version_id=previous.get("version_id", ""), left=tuple(previous.get("places", ()))
    )
    barren: int = previous.get("barren", 0)
    # Nothing runs on after the function has returned: leaving this block waits for every thread.
    with ThreadPoolExecutor(clients.MAX_CONNECTIONS) as pool:
        worker = ChunkWorker(settings, s3, detectors(), deadline)
        work = worker.read(message)
        if work is None:
            return _OVER
        tell_of_backfill(s3, settings.final_bucket_name, deadline - time.monotonic())
        has_settled_any = previous.get("has_settled_any", False)
        work.is_last_delivery = barren == _MOST_BARREN - 1 and has_settled_any
        is_recorded = worker.update([work], pool, context.aws_request_id)
    worker.tell({})
    count = work.counts()
    left = len(work.progress) - count[Progress.SETTLED]
    if is_recorded and not left:
        delete_chunk(s3, settings.final_bucket_name, message.chunk, work.version_id)
    elif not is_recorded:
        left = max(1, left)
    is_barren = not (is_recorded and count[Progress.SETTLED])
    barren = barren + 1 if is_barren else 0
    rest = work.rest() if is_recorded else message
    answer = {
        "left": left,
        "is_stuck": left > 0 and barren >= _MOST_BARREN,
        "barren": barren,
        "version_id": rest.version_id,
        "places": rest.left,
        "has_settled_any": has_settled_any or not is_barren,
    }
    logger.info("chunk", extra={"chunk": message.chunk} | count | answer)
    return answer
