"""Writes under a condition: only where the name is free, or holds what was seen there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from batch_vision.aws.s3_errors import ConflictError, TakenError, translated
from batch_vision.core import errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from tenacity import RetryCallState

_ATTEMPTS = 6


def _give_up(_: RetryCallState) -> Any:
    raise errors.ServiceUnavailableError("S3 found another conditional write under way, time and again.")


@retry(
    retry=retry_if_exception_type(ConflictError),
    stop=stop_after_attempt(_ATTEMPTS),
    wait=wait_random_exponential(0.05, 1),
    retry_error_callback=_give_up,
)
def put_on_condition(s3: S3Client, **request: Any) -> Any:
    """Write an object under a condition and return S3's answer.

    Raises
    ------
    TakenError
        The condition does not hold. It may be this very write that made it so: a client repeats a request whose answer
        was lost.
    ServiceUnavailableError, StorageRefusedError, AccessDeniedError
        What S3 says.
    """
    try:
        with translated():
            return s3.put_object(**request)
    except errors.ImageGoneError as error:
        raise TakenError from error  # what it was to replace is gone
