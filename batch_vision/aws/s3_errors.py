"""What S3 answers, as our own errors: whether the image is gone, refused for good, or to be tried again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from batch_vision.core import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

# Refusals of S3 that another try may not meet: credentials that expire, and requests that arrived cut off.
_PASSING_CODES = frozenset(
    {"BadDigest", "ExpiredToken", "IncompleteBody", "InvalidToken", "RequestTimeTooSkewed", "RequestTimeout"}
)


class TakenError(Exception):
    """A conditional write found the name taken, or what it was to replace changed or gone."""


class ConflictError(Exception):
    """Another conditional write to the name is under way: S3 wants this one repeated (409)."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise the project's error for what a request to S3 inside raises: see `_refusal` for those that S3 refuses.

    Raises
    ------
    TakenError, ConflictError
        A conditional write failed (412), or is to be repeated (409).
    ImageGoneError
        The object, or that version of it, was not found: whoever has to be sure asks the listing.
    ServiceUnavailableError
        S3 itself failed, or the network to it.
    """
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        http_status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if http_status == 412:
            raise TakenError from error
        if http_status == 409:
            raise ConflictError from error
        if http_status == 404 and code != "NoSuchBucket":
            raise errors.ImageGoneError(str(error)) from error
        raise _refusal(code, http_status, str(error)) from error
    except BotoCoreError as error:
        raise errors.ServiceUnavailableError(str(error)) from error


def _refusal(code: str, http_status: int, message: str) -> errors.BatchVisionError:
    """Return the error for what S3 answered (API reference, "Error responses").

    S3 has no code of its own for an object that is encrypted with somebody else's key: the message says it.
    """
    if http_status == 429 or http_status >= 500 or code in _PASSING_CODES or "Throttling" in code:
        return errors.ServiceUnavailableError(message)
    if code == "InvalidObjectState":
        return errors.ImageArchivedError(message)
    if code.startswith("KMS.") or (http_status == 403 and "kms:decrypt" in message.lower()):
        return errors.ImageKeyDeniedError(message)
    if http_status == 403:
        return errors.AccessDeniedError(message)
    if http_status == 400 and "server side encryption" in message.lower():
        return errors.ImageEncryptedError(message)
    return errors.StorageRefusedError(message)
