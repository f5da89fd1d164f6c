"""Errors of a service, told in the project's own: what every backend that speaks through botocore does alike."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from batch_vision.core import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What Lambda, S3, SNS, SQS and Step Functions answer to a role without a permission, and to too many calls.
AWS_ERRORS: dict[str, type[errors.BatchVisionError]] = {
    "AccessDenied": errors.AccessDeniedError,
    "AccessDeniedException": errors.AccessDeniedError,
    "AuthorizationError": errors.AccessDeniedError,
    "AuthorizationErrorException": errors.AccessDeniedError,
    "KMS.AccessDeniedException": errors.AccessDeniedError,
    "KmsAccessDenied": errors.AccessDeniedError,
    "KmsThrottled": errors.ThrottledError,
    "RequestThrottled": errors.ThrottledError,
    "SlowDown": errors.ThrottledError,
    "Throttling": errors.ThrottledError,
    "ThrottlingException": errors.ThrottledError,
    "TooManyRequestsException": errors.ThrottledError,
}


@contextmanager
def translated(
    known: Mapping[str, type[errors.BatchVisionError]],
    otherwise: type[errors.BatchVisionError] = errors.ModelError,
) -> Iterator[None]:
    """Raise the project's error for what a call inside raises.

    Parameters
    ----------
    known
        The error for each code of the service. A code that is not among them is `ServiceUnavailableError` where the
        service itself failed (5xx), otherwise `otherwise`. The network, in all its forms, is
        `ServiceUnavailableError`. A transient error keeps how long the service wants to be left alone: whoever asks
        about an image waits for that long. Control calls (describe, start, stop) are repeated by botocore, which backs
        off by itself and does not read it; what is refused after that is the workflow's to repeat, which waits longer.
    """
    try:
        yield
    except ClientError as error:
        details = error.response.get("Error", {})
        http_status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        cls = known.get(details.get("Code", ""))
        if cls is None:
            cls = errors.ServiceUnavailableError if http_status >= 500 else otherwise
        told = cls(str(error))
        if isinstance(told, errors.TransientError):
            told.retry_after_seconds = error.response.get("RetryAfterSeconds")  # type: ignore[assignment]
        raise told from error
    except BotoCoreError as error:
        raise errors.ServiceUnavailableError(str(error)) from error


@contextmanager
def control_calls() -> Iterator[None]:
    """Translate the errors of the services that a run is controlled with: all but the model's own.

    A refusal with another code than those of `AWS_ERRORS` is `RequestRefusedError`.
    """
    with translated(AWS_ERRORS, otherwise=errors.RequestRefusedError):
        yield
