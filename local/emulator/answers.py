"""What a protocol module hands back to the server."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Answer:
    """What goes back to the caller; `dropped` means that the connection is closed without a word."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dropped: bool = False

    def lost(self) -> Answer:
        """Return the answer as one that never arrives."""
        return dataclasses.replace(self, dropped=True)


@dataclasses.dataclass(frozen=True)
class Call:
    """What a request asks for, as the record of calls has it; `operation` is empty where there is no such operation."""

    service: str
    operation: str
    parameters: Mapping[str, Any]
