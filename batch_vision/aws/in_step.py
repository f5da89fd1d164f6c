"""A key of a bucket whose result is brought in step with its object: `core.in_place` says what to do, here it is done.

Of the bucket itself nothing is written here.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from batch_vision.core.catalog import DELETED
from batch_vision.core.in_place import ENDS, Look, ResultHead, Step, advance

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_PAUSED = ENDS | {Step.WRITE_LINES}


class Found(Protocol):
    """The object of a key."""

    @property
    def upload(self) -> str:
        """What names the upload (`core.in_place.upload_of`)."""


class KeptResults(Protocol):
    """The results of keys: see `aws.results.Results`."""

    def head(self, key: str) -> ResultHead | None:
        """Return which upload the result of a key is of."""

    def write(self, key: str, result: Mapping[str, Any], upload: str, seen: ResultHead | None) -> datetime | None:
        """Write the result of a key in place of what was seen there."""

    def delete(self, key: str) -> datetime:
        """Delete the result of a key."""

    def read(self, key: str) -> tuple[dict[str, Any] | None, datetime]:
        """Return the result of a key."""


class Work[F: Found](Protocol):
    """What is done about the object of a key."""

    def find(self, resulting: str | None) -> F | None:
        """Return the object whose result the key must have; None where it must have none.

        Parameters
        ----------
        resulting
            Which upload the result is of that is there now.
        """

    def detect(self, found: F) -> dict[str, Any] | None:
        """Return the result of an object, None where it is not there any more."""

    def fingerprint_of(self, found: F) -> str:
        """Return what the result that `detect` returns is told by."""

    def written(self, result: Mapping[str, Any], recorded_at: datetime) -> dict[str, Any]:
        """Return the line of the result that was written this moment."""

    def line(self, result: Mapping[str, Any] | None, recorded_at: datetime) -> dict[str, Any]:
        """Return the line of a result that was there, or of a deletion."""


@dataclass
class Update:
    """What became of one key.

    Attributes
    ----------
    look
        Where the protocol is: at `Step.WRITE_LINES`, or at its end where there are no lines.
    status
        That of the result that was written; ``deleted``; ``unchanged``; or ``no_turn`` where nothing was done yet.
    lines
        Lines of the catalog, to be written before the message is acknowledged.
    result
        What was written last.
    cause
        Why it failed.
    """

    key: str
    look: Look
    status: str = "unchanged"
    lines: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    cause: Exception | None = None
    duration_ms: int = 0

    @property
    def ending(self) -> Step:
        """What follows when the lines are written: acknowledge, send anew or hand back."""
        return advance(self.look, True).step if self.look.step is Step.WRITE_LINES else self.look.step


def bring_in_step[F: Found](key: str, look: Look, results: KeptResults, work: Work[F]) -> Update:
    """Bring the result of a key in step with its object, up to the lines of the catalog, which the caller writes.

    Raises
    ------
    BatchVisionError
        What results and work raise: the message is to be delivered again.
    """
    update = Update(key, look)
    found: F | None = None
    detected: F | None = None
    result: dict[str, Any] | None = None
    answer: ResultHead | str | bool | None
    while look.step not in _PAUSED:
        match look.step:
            case Step.HEAD_RESULT:
                answer = results.head(key)
            case Step.HEAD_SOURCE:
                found = work.find(look.result.upload if look.result else None)
                answer = found.upload if found else None
            case Step.DETECT:
                if result is None or detected != found:  # the answer that was paid for in an earlier round is as good
                    detected, result = found, work.detect(_known(found))
                answer = result is not None
            case Step.WRITE_RESULT:
                made = _known(result) | {"fingerprint": work.fingerprint_of(_known(found)), "nonce": uuid.uuid4().hex}
                written_at = results.write(key, made, _known(look.upload), look.result)
                if written_at:
                    update.status, update.result = made["status"], made
                    update.lines.append(work.written(made, written_at))
                answer = written_at is not None
            case Step.DELETE_RESULT:
                update.lines.append(work.line(None, results.delete(key)))
                update.status, update.result = DELETED, None
                answer = True
            case Step.LOOK_AGAIN:
                again = work.find(look.upload)
                answer = again.upload if again else None
            case _:  # Step.READ_RESULT
                update.lines.append(work.line(*results.read(key)))
                answer = True
        look = update.look = advance(look, answer)
    return update


def _known[T](value: T | None) -> T:
    assert value is not None  # noqa: S101 - the protocol comes to a step only after the one that finds its value
    return value
