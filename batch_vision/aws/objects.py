"""Requests about objects that may not be there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable


def found(call: Callable[..., Any], **request: Any) -> Any:
    """Make a request about an object; None when that is not there."""
    try:
        return call(**request)
    except ClientError as error:
        if is_not_found(error):
            return None
        raise


def is_not_found(error: ClientError) -> bool:
    """Return whether an error says that there is no such object, no such version of it, or none with that ETag."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (404, 412)
