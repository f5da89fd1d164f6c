"""Chunks: keys of an existing bucket that wait for the model, one object for up to a thousand of them.

A chunk is ``work/<job>/chunks/<name>-<count>-<hash>.json`` in the final bucket. ``work/`` alone says whether there is
work and whether all is done, and the count in each name makes one listing of it the backlog. A chunk is deleted, in the
very version that was read, when each of its keys has a result or no object. Messages only say which chunk to look at:
they are worthless beyond the run that sent them, and a chunk whose message is lost gets another one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

PREFIX = "work/"
LIVE = "live"  # the job of what events tell of; every other one is a backfill's
_NAMED = re.compile(r"work/[^/]+/chunks/[^/]+-([0-9]{1,9})-[0-9a-f]{16}\.json")
# How long the counts of a queue may lag behind what was sent (SQS API reference, GetQueueAttributes).
_COUNTS_LAG = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a chunk holds.

    Attributes
    ----------
    fingerprint
        Of the settings that were deployed when it was written. The results of a backfill's keys must have it; those of
        a live chunk's are compared by their upload only.
    """

    fingerprint: str
    keys: tuple[str, ...]

    def body(self) -> bytes:
        """Return the object's content."""
        return json.dumps({"fingerprint": self.fingerprint, "keys": self.keys}, ensure_ascii=False).encode()

    @classmethod
    def from_body(cls, body: bytes) -> Chunk:
        """Read an object's content; raises `ValueError` for what is no chunk."""
        try:
            content = json.loads(body)
            fingerprint, keys = content["fingerprint"], content["keys"]
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"no chunk: {body[:200]!r}") from error
        if not (isinstance(fingerprint, str) and isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
            raise ValueError(f"no chunk: {body[:200]!r}")
        return cls(fingerprint, tuple(dict.fromkeys(keys)))


def chunk_key(job: str, name: str, chunk: Chunk) -> str:
    """Return the key of a chunk in the final bucket.

    Parameters
    ----------
    name
        What tells it from others of its job with the same keys.
    """
    digest = hashlib.sha256(chunk.body()).hexdigest()[:16]
    return f"{chunks_prefix(job)}{name}-{len(chunk.keys)}-{digest}.json"


def live_chunk_key(moment: datetime, chunk: Chunk) -> str:
    """Return the key of a chunk of what events told of, written at a time."""
    return chunk_key(LIVE, to_text(moment).replace("-", "").replace(":", ""), chunk)


def job_of(key: str) -> str:
    """Return the job of a chunk."""
    return key.removeprefix(PREFIX).partition("/")[0]


def split(key: str, chunk: Chunk) -> dict[str, Chunk]:
    """Return a chunk for each key of a chunk, by its own key, which depends on nothing but these."""
    name = key.removeprefix(chunks_prefix(job_of(key))).rsplit("-", 2)[0]
    singles = [Chunk(chunk.fingerprint, (one,)) for one in chunk.keys]
    return {chunk_key(job_of(key), name, single): single for single in singles}


def chunks_prefix(job: str) -> str:
    """Return what the keys of a job's chunks begin with."""
    return f"{PREFIX}{job}/chunks/"


def images_in(key: str) -> int | None:
    """Return how many keys a chunk holds, finished ones included; None for an object that is not named like a chunk."""
    named = _NAMED.fullmatch(key)
    return int(named[1]) if named else None


@dataclass(frozen=True, slots=True, order=True)
class WaitingChunk:
    """A chunk as a listing tells of it.

    Attributes
    ----------
    written_at
        In whole seconds, by the clock of S3.
    images
        See `images_in`.
    """

    written_at: datetime
    key: str
    images: int

    @property
    def place(self) -> str:
        """Its place in the order in which chunks are sent, the oldest first: places compare as texts."""
        return f"{to_text(self.written_at)} {self.key}"


def to_send(chunks: Iterable[WaitingChunk], sent_until: str, most: int) -> list[WaitingChunk]:
    """Return the chunks to send a message for, the oldest first.

    Parameters
    ----------
    sent_until
        The place of the last one that this run has sent; empty for none. Where nothing waits beyond it, whoever asks
        found the messages of the others lost: then it begins anew.
    """
    waiting = sorted(chunks)
    return ([chunk for chunk in waiting if chunk.place > sent_until] or waiting)[:most]


def is_to_send(
    newest: str, messages: Mapping[str, int], sent: Mapping[str, Any] | None, idle_checks: int, now: datetime
) -> bool:
    """Tell whether chunks that wait are to be sent.

    Parameters
    ----------
    newest
        The place of the youngest chunk that is known to wait.
    messages
        ``visible``, ``in_flight`` and ``delayed`` messages of the queue, approximate for a minute.
    sent
        What the step that sends answered last in this run: ``is_done``, ``sent_until`` and ``sent_at``; None, or
        without these, when it was not called yet.
    idle_checks
        Checks in a row that saw chunks but no message.
    """
    if not sent or not sent.get("sent_at"):
        return True
    if not sent["is_done"]:  # more wait than were sent at once
        return messages["visible"] + messages["delayed"] == 0
    if newest > sent["sent_until"]:
        return True
    return idle_checks >= 2 and now - from_text(sent["sent_at"]) >= _COUNTS_LAG


@dataclass(frozen=True, slots=True)
class ChunkMessage:
    """The message that makes a chunk be worked on.

    Attributes
    ----------
    run_id
        The run that sent it: of another one, it is out of date. None outside of runs.
    version_id, left
        Which keys of the chunk need a look, by their places, and in which version of it; empty at first, for all.
    """

    chunk: str
    run_id: str | None = None
    version_id: str = ""
    left: tuple[int, ...] = ()

    def body(self) -> str:
        """Return the message's text."""
        known = {"run_id": self.run_id, "version_id": self.version_id, "left": self.left}
        return json.dumps({"chunk": self.chunk} | {name: value for name, value in known.items() if value})

    @classmethod
    def from_body(cls, body: str) -> ChunkMessage:
        """Read a message's text; raises `ValueError` for one that names no chunk."""
        try:
            content = json.loads(body)
            message = cls(
                content["chunk"], content.get("run_id"), content.get("version_id", ""), tuple(content.get("left", ()))
            )
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"The message names no chunk: {body[:200]!r}") from error
        texts = (message.chunk, message.run_id or "", message.version_id)
        is_sound = all(isinstance(text, str) for text in texts) and all(type(place) is int for place in message.left)
        if not is_sound or images_in(message.chunk) is None:
            raise ValueError(f"The message names no chunk: {body[:200]!r}")
        return message


class Then(StrEnum):
    """What is done about a chunk and its message when an invocation is over."""

    DELETE = "delete"  # every key is settled: chunk and message go
    SEND_ANEW = "send_anew"  # a new message at once, then the old one goes: no attempt is used up
    SEND_LATER = "send_later"  # the same with a delay
    LEAVE = "leave"  # delivered again by the queue, which counts it


def then(*, settled: int, left: int, waits: bool, failed: int) -> Then:
    """Return what is done about a chunk.

    Parameters
    ----------
    settled, left
        Keys that are settled since the delivery, and keys that are not.
    waits
        Whether a key waits for something that passes by itself: the model does not run, or its object changes faster
        than it can be looked at.
    failed
        Keys among those left that failed; the others found no time.
    """
    if not left:
        return Then.DELETE
    if waits:
        return Then.SEND_LATER
    # Deliveries that settle a key are bounded by the keys; those that had no time to begin one by the run, which ends
    # when nothing is finished for long.
    return Then.SEND_ANEW if settled or not failed else Then.LEAVE
