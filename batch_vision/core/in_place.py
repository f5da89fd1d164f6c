"""What to do next about one key of a bucket whose images stay in it, as a pure function of what was seen so far.

A message only means "look at this key". Of all that stands in an event, bucket and key are believed and nothing else:
events are delivered more than once, late and in any order. What is believed is what S3 answers now, which is strongly
consistent (S3 user guide, "Amazon S3 data consistency model"):

1. Head the result, then the source. Where they agree, or both are gone, there is nothing to do.
2. Source there: detect, and write the result on the condition that it is as it was seen. Source gone: delete the
   result.
3. After every write and every delete, head the source again. Where it is not what was written, begin anew.
4. Write the catalog's lines, then acknowledge.

The second look is what makes it right. A condition alone fences nothing off where nothing was written: the one who
looks after a deletion finds neither image nor result, and acknowledges, before a slow writer writes. The delete needs
no condition for the same reason. The line comes before the acknowledgement, so one that is lost has a message that
comes again: a redelivery writes the line of what it finds, even where it has nothing else to do.

`tests/unit/in_place_model.py` explores the interleavings of this very function.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from batch_vision.core.versions import NULL_VERSION

if TYPE_CHECKING:
    from datetime import datetime

MOST_ROUNDS = 3


class Step(StrEnum):
    """What is to be done next; its comment tells what `advance` is to be told of it."""

    HEAD_RESULT = "head_result"  # the `ResultHead`, or None
    HEAD_SOURCE = "head_source"  # the upload that is there, or None
    DETECT = "detect"  # whether that upload was still there
    WRITE_RESULT = "write_result"  # whether it was written: False where the condition failed
    DELETE_RESULT = "delete_result"  # True
    LOOK_AGAIN = "look_again"  # the upload that is there, or None
    READ_RESULT = "read_result"  # True, with the line of what was found noted
    WRITE_LINES = "write_lines"  # True, with all lines that were noted written
    ACKNOWLEDGE = "acknowledge"
    SEND_ANEW = "send_anew"  # the key changes faster than it can be looked at: a new message, then the acknowledgement
    HAND_BACK = "hand_back"  # the model is needed, and this worker does not ask it


ENDS = frozenset({Step.ACKNOWLEDGE, Step.SEND_ANEW, Step.HAND_BACK})


class ResultHead(NamedTuple):
    """What a HEAD of the result tells.

    Attributes
    ----------
    etag
        Of the result object. No two results have the same one, because each holds a nonce.
    upload
        Which upload of the key it is of; empty for an object that is no result.
    fingerprint
        Of the settings and the model that it was made with.
    """

    etag: str
    upload: str
    fingerprint: str


class Look(NamedTuple):
    """How far the work on one key is.

    Attributes
    ----------
    rounds_left
        How often more it may begin anew, this time included.
    owes_line
        Whether something may have been written or deleted whose line is lost: by an earlier delivery that died, or by
        a write whose answer was lost, so that its repetition found the condition false.
    has_line
        Whether lines were noted that are not written.
    result, upload
        What was last seen of the result and of the source, or last written.
    wanted
        The fingerprint that the result must have; None where any will do.
    asks_model
        Whether this worker asks the model; one that does not hands the key back.
    ending
        What follows when the line is written.
    """

    step: Step = Step.HEAD_RESULT
    rounds_left: int = MOST_ROUNDS
    owes_line: bool = False
    has_line: bool = False
    result: ResultHead | None = None
    upload: str | None = None
    wanted: str | None = None
    asks_model: bool = True
    ending: Step = Step.ACKNOWLEDGE


def begin(*, may_owe_line: bool, wanted: str | None = None, asks_model: bool = True) -> Look:
    """Return the first look at a key.

    Parameters
    ----------
    may_owe_line
        Whether somebody may have worked on the key for the same message and died: a redelivery, a message that was
        sent anew, a key of a chunk.
    wanted
        The fingerprint that the result must have. None for a live event, which compares the upload only.
    asks_model
        Whether this worker asks the model.
    """
    return Look(owes_line=may_owe_line, wanted=wanted, asks_model=asks_model)


def advance(look: Look, answer: ResultHead | str | bool | None) -> Look:
    """Return the next step, after the answer to the one that was to be done.

    Parameters
    ----------
    answer
        See `Step`. An error is no answer: the worker ends, and the message comes again.
    """
    match look.step, answer:
        case Step.HEAD_RESULT, ResultHead() | None:
            return look._replace(step=Step.HEAD_SOURCE, result=answer)
        case Step.HEAD_SOURCE, str() | None:
            return _compare(look._replace(upload=answer))
        case Step.DETECT, bool():
            return look._replace(step=Step.WRITE_RESULT) if answer else _anew(look)
        case Step.WRITE_RESULT, bool():
            return _look_again(look) if answer else _anew(look._replace(owes_line=True))
        case Step.DELETE_RESULT, True:
            return _look_again(look)
        case Step.LOOK_AGAIN, str() | None:
            return _end(look, Step.ACKNOWLEDGE) if answer == look.upload else _anew(look)
        case Step.READ_RESULT, True:
            return look._replace(step=Step.WRITE_LINES, owes_line=False, has_line=True)
        case Step.WRITE_LINES, True:
            return look._replace(step=look.ending, has_line=False)
    raise TypeError(f"{answer!r} is no answer to {look.step}")


def _compare(look: Look) -> Look:
    result, upload = look.result, look.upload
    if upload is None:
        return look._replace(step=Step.DELETE_RESULT) if result else _end(look, Step.ACKNOWLEDGE)
    if result and result.upload == upload and look.wanted in (None, result.fingerprint):
        return _end(look, Step.ACKNOWLEDGE)
    return look._replace(step=Step.DETECT) if look.asks_model else _end(look, Step.HAND_BACK)


def _look_again(look: Look) -> Look:
    # The line of this change is younger than any that is owed.
    return look._replace(step=Step.LOOK_AGAIN, owes_line=False, has_line=True)


def _anew(look: Look) -> Look:
    left = look.rounds_left - 1
    if not left:
        return _end(look._replace(rounds_left=0), Step.SEND_ANEW)
    return look._replace(step=Step.HEAD_RESULT, rounds_left=left, result=None, upload=None)


def _end(look: Look, ending: Step) -> Look:
    step = Step.READ_RESULT if look.owes_line else Step.WRITE_LINES if look.has_line else ending
    return look._replace(step=step, ending=ending)


def upload_of(version_id: str, etag: str, last_modified: datetime, size_bytes: int) -> str:
    """Return what names an upload of a key: its version, or what tells it from others where it has none.

    Parameters
    ----------
    version_id
        `NULL_VERSION` for an object that is not versioned: another one may take its place under the same name.
    etag
        Alone it would not do: the same bytes may come back after others.
    last_modified
        Of which the seconds count: not every answer of S3 has more.
    """
    if version_id != NULL_VERSION:
        return version_id
    told = f"{etag}\0{int(last_modified.timestamp())}\0{size_bytes}"
    return hashlib.sha256(told.encode()).hexdigest()
