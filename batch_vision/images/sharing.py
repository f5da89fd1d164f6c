"""A backfill and live events share what the deployment may ask of a managed model.

A backfill keeps to its part always. Live events keep to theirs while a backfill asks the model. They look for one once
in a minute, at one object, so they ask at full pace beside it for a minute: what the service refuses then is repeated.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from batch_vision.aws.objects import found
from batch_vision.core.backfills import ASKING, asking_body, is_asking
from batch_vision.core.observability import logger
from batch_vision.core.times import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

_LOOK_SECONDS = 60.0


def tell_of_backfill(s3: S3Client, bucket: str, seconds: float) -> None:
    """Say that a backfill asks the model for so long from now on; a failure is logged, but stops nothing."""
    try:
        body = asking_body(utc_now() + timedelta(seconds=seconds))
        s3.put_object(Bucket=bucket, Key=ASKING, Body=body, ContentType="application/json")
    except Exception:
        logger.exception("live events not told of the backfill")


class BackfillWatch:
    """Tells whether a backfill asks the model, by a look once in a minute.

    Parameters
    ----------
    clock
        A monotonic clock in seconds.
    """

    def __init__(self, s3: S3Client, bucket: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock
        self._look_at = clock()
        self._is_asking = False

    def is_asking(self) -> bool:
        """Return whether a backfill asks the model; where that cannot be read, what was so before."""
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + _LOOK_SECONDS
            try:
                answer = found(self._s3.get_object, Bucket=self._bucket, Key=ASKING)
                self._is_asking = answer is not None and is_asking(answer["Body"].read(), utc_now())
            except Exception:
                logger.exception("not known whether a backfill works")
        return self._is_asking
