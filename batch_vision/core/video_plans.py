"""Plans of videos: when an upload gets one, and the records that it has.

A plan is written in place of the one that was read before the source was looked at. So plans of a key follow one
another as its uploads did, and one that was made of an older look is never written over a newer one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from batch_vision.core.video_file import MOST_MINUTES
from batch_vision.core.videos import ENDS, Analysis, Plan, Record, State, record_id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from batch_vision.core.videos import Fault, Upload, VideoMetadata

_MOST_FORMER = 100  # more would make the plan large; they are gone long since


def minutes_of(duration_seconds: float | None) -> int:
    """Return the minutes that a video of this length is paid for; the most there may be where it is not known."""
    return MOST_MINUTES if duration_seconds is None else max(1, math.ceil(duration_seconds / 60))


def new_plan(
    former: Plan,
    upload: Upload,
    video: VideoMetadata,
    analyses: Mapping[str, Mapping[str, Any]],
    refusal: Fault | None = None,
) -> Plan:
    """Return the plan of an upload, after the one that the key had before.

    Parameters
    ----------
    former
        One of generation 0 where there was none.
    analyses
        Their settings as they are now: from here on they stay.
    refusal
        Why no job is to be started; None for most.
    """
    generation = former.generation + 1
    return Plan(
        bucket=former.bucket,
        key=former.key,
        generation=generation,
        upload=upload,
        video=video,
        analyses={
            name: Analysis(
                record_id_of(former.bucket, former.key, upload.name, name, settings, generation), dict(settings)
            )
            for name, settings in analyses.items()
        },
        refusal=refusal,
        moved=former.moved,
        former=(*former.former, *former.record_ids)[-_MOST_FORMER:],
    )


def gone_plan(former: Plan, now: datetime) -> Plan:
    """Return the plan of a key whose object is gone: should that very upload come back, it has a plan of its own."""
    return Plan(
        bucket=former.bucket,
        key=former.key,
        generation=former.generation + 1,
        ended_at=now,
        moved=former.moved,
        former=(*former.former, *former.record_ids)[-_MOST_FORMER:],
    )


def records_of(
    plan: Plan, request_of: Callable[[str, Mapping[str, Any]], Mapping[str, Any]], now: datetime
) -> list[Record]:
    """Return the records of a plan as they begin.

    Parameters
    ----------
    request_of
        Returns the whole request of an analysis, by its settings.
    now
        When they are due. So the marker of a record that is written late has another name than one which was left over
        when somebody died before the record: that one may be deleted at the same moment.
    """
    assert plan.upload is not None  # noqa: S101 - only an upload has analyses
    return [
        Record(
            record_id=analysis.record_id,
            bucket=plan.bucket,
            key=plan.key,
            upload=plan.upload.name,
            uploaded_at=plan.upload.last_modified,
            analysis=name,
            generation=plan.generation,
            request=request_of(name, analysis.settings),
            minutes=0 if plan.refusal else minutes_of(plan.video.duration_seconds),
            video=plan.video,
            due_at=now,
            state=State.REJECTED if plan.refusal else State.WAITING,
            error=plan.refusal,
        )
        for name, analysis in plan.analyses.items()
    ]


def upload_that_counts(plan: Plan, found: Upload | None, resulting: str | None) -> str | None:
    """Return the name of the upload that a key's result must be of; None where it must have none.

    It is that of the current object. But a video that was moved out of its bucket is not gone; and an older upload that
    its leaving has uncovered is not new.

    Parameters
    ----------
    resulting
        Which upload the result is of that is there; None for no result.
    """
    moved = plan.moved
    if moved and resulting == moved.upload and (found is None or found.last_modified < moved.last_modified):
        return moved.upload
    return found.name if found else None


class Remedy(StrEnum):
    """What to do about an upload that has no result of its own."""

    PLAN = "plan"  # a new plan
    COMPLETE = "complete"  # what is missing of the records and markers of the plan that there is


def what_is_missing(plan: Plan, upload: Upload, records: Sequence[Record | None]) -> Remedy:
    """Return what an upload needs that has no result, or whose jobs are all wanted anew.

    An upload that has a plan gets no other one, however often it is told of: unless somebody asked for it, or a job was
    dropped because the upload was gone for a while, or the result that told of a failure was deleted. What somebody may
    ask for before the end is that jobs be started otherwise which are all refused.
    """
    if plan.is_of != upload.name:
        return Remedy.PLAN
    states = {record.state for record in records if record}
    if State.DROPPED in states:
        return Remedy.PLAN
    if plan.ended_at and (plan.retry_requested or State.FAILED in states or None in records):
        return Remedy.PLAN
    if plan.retry_requested and states == {State.WAITING}:
        return Remedy.PLAN
    return Remedy.COMPLETE


def is_over(records: Sequence[Record | None]) -> bool:
    """Return whether all records of a plan have ended; one that is missing is being written."""
    return all(record is not None and record.state in ENDS for record in records)


def ended_plan(plan: Plan, now: datetime) -> Plan:
    """Return a plan whose result is written."""
    # A wish that nobody has seen to by now was for jobs that have been started since.
    return replace(plan, ended_at=now, retry_requested=None)
