"""The event source mapping between the queue and the analyzing function.

States and errors: Lambda API reference, EventSourceMappingConfiguration and UpdateEventSourceMapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_vision.aws.translation import AWS_ERRORS, translated
from batch_vision.core import errors

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

ENABLED = "Enabled"
DISABLED = "Disabled"
DISABLING = "Disabling"

_ERRORS = AWS_ERRORS | {
    "ResourceConflictException": errors.MappingBusyError,
    "ResourceInUseException": errors.MappingBusyError,
    "ResourceNotFoundException": errors.MappingNotFoundError,
}


class EventSourceMapping:
    """One event source mapping.

    Every method raises `MappingNotFoundError` where there is none, `AccessDeniedError` for a missing permission, and
    `ThrottledError`, `ServiceUnavailableError` or `MappingBusyError` (enable and disable) for what may succeed later.
    """

    def __init__(self, functions: LambdaClient, uuid: str) -> None:
        self._functions = functions
        self.uuid = uuid

    def state(self) -> str:
        """Return the state as Lambda calls it, such as ``Enabled``, ``Disabling`` or ``Updating``."""
        with translated(_ERRORS, otherwise=errors.MappingError):
            return self._functions.get_event_source_mapping(UUID=self.uuid)["State"]

    def enable(self, max_concurrency: int) -> None:
        """Ask for the mapping to be enabled; returns before it is.

        Parameters
        ----------
        max_concurrency
            Invocations of the function at the same time, at most.
        """
        with translated(_ERRORS, otherwise=errors.MappingError):
            self._functions.update_event_source_mapping(
                UUID=self.uuid, Enabled=True, ScalingConfig={"MaximumConcurrency": max_concurrency}
            )

    def disable(self) -> None:
        """Ask for the mapping to be disabled; returns before it is."""
        with translated(_ERRORS, otherwise=errors.MappingError):
            self._functions.update_event_source_mapping(UUID=self.uuid, Enabled=False)
