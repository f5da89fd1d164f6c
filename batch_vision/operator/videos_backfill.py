"""A backfill of videos: which of a bucket have no plan, what their analysis costs, and the messages that start it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.aws.objects import list_entries
from batch_vision.aws.parallel import in_parallel
from batch_vision.aws.queues import send_messages
from batch_vision.core.events import message_about
from batch_vision.core.scope import Storage, prefix_to_list, reason_of, why_out_of_scope, why_unreadable
from batch_vision.core.times import utc_now
from batch_vision.core.video_file import VideoFile, read_header, why_refused
from batch_vision.core.video_plans import minutes_of
from batch_vision.core.videos import PLANS, plan_key
from batch_vision.operator.cost import video_dollars
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.videos_again import read_plan, request_again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batch_vision.core.videos import Plan
    from batch_vision.operator.stack import Stack, Videos

_PARALLEL = 16
_AT_ONCE = 1000  # objects whose plans are read, and keys whose messages are sent, before the next ones
# Headers that are read for their minutes, with some requests each; of the others the size tells, as far as it does.
_MOST_HEADERS = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A video that has no plan of its current upload, or one with other settings than those of now.

    Attributes
    ----------
    fingerprint
        Of the plan that there is; empty for none.
    minutes
        None where they are not known.
    """

    key: str
    size_bytes: int
    fingerprint: str = ""
    minutes: int | None = None


@dataclass
class VideosSurvey:
    """What was found.

    Attributes
    ----------
    listed
        Objects that were looked at.
    wanted
        Videos to analyze.
    counts
        Videos that are ``new``, ``outdated`` (analyzed with other settings), ``done``, ``under_way``, or that will be
        ``rejected`` at no cost.
    left_out
        Objects that are not analyzed, by the reason.
    """

    listed: int = 0
    wanted: list[Wanted] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def known_minutes(self) -> int:
        """Minutes of the videos whose length is known."""
        return sum(one.minutes or 0 for one in self.wanted)

    @property
    def unknown(self) -> list[Wanted]:
        """Videos whose length is not known."""
        return [one for one in self.wanted if one.minutes is None]

    @property
    def minutes(self) -> int | None:
        """Minutes of all videos, where those of unknown length are as long for their size as the others.

        None where no length is known.
        """
        known_bytes = sum(one.size_bytes for one in self.wanted if one.minutes)
        if not self.unknown:
            return self.known_minutes
        unknown_bytes = sum(one.size_bytes for one in self.unknown)
        return math.ceil(self.known_minutes * (1 + unknown_bytes / known_bytes)) if known_bytes else None

    def estimate(self, videos: Videos) -> VideosEstimate:
        """Return what it costs and how long it takes."""
        minutes = self.minutes
        if minutes is None:
            return VideosEstimate(None, {}, None)
        most = videos.max_minutes_per_day
        days = math.ceil(minutes * len(videos.analyses) / most) if most else None
        return VideosEstimate(minutes, video_dollars(dict.fromkeys(videos.analyses, minutes)), days)

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        return {
            "listed": self.listed,
            "videos": len(self.wanted),
            "size_bytes": sum(one.size_bytes for one in self.wanted),
            "known_minutes": self.known_minutes,
            "videos_of_unknown_length": len(self.unknown),
            "counts": dict(self.counts),
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True, slots=True)
class VideosEstimate:
    """What a backfill costs.

    Attributes
    ----------
    minutes
        Of video; None where no length is known, and then nothing else is.
    days
        As long as the minutes of a day that the settings allow make it take.
    """

    minutes: int | None
    analyses_dollars: dict[str, float]
    days: int | None

    @property
    def dollars(self) -> float | None:
        """Price of all analyses."""
        return None if self.minutes is None else sum(self.analyses_dollars.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        return {
            "minutes": self.minutes,
            "analyses_dollars": {name: round(dollars, 2) for name, dollars in self.analyses_dollars.items()},
            "dollars": self.dollars and round(self.dollars, 2),
            "days": self.days,
        }


def survey_videos(
    stack: Stack, videos: Videos, prefix: str, progress: Callable[[int], None], *, is_again: bool
) -> VideosSurvey:
    """List the videos under a prefix, and change nothing.

    Parameters
    ----------
    progress
        Told how many objects were looked at.
    is_again
        Whether videos whose plan has other settings than those of now are wanted as well.

    Raises
    ------
    WrongInputError
        No key with that prefix is in scope.
    """
    own = videos.scope.prefixes[0]
    if not prefix.startswith(own) and not own.startswith(prefix):
        raise WrongInputError(
            f"--prefix is {prefix!r}, but the stack only looks at keys that begin with {own!r} (videos.prefix). Give a"
            " prefix that begins so."
        )
    planned = {entry["Key"] for entry in list_entries(stack.s3, stack.final_bucket_name, PLANS)}
    answer, headers_left = VideosSurvey(), _MOST_HEADERS
    entries = list_entries(stack.s3, videos.bucket_name, prefix_to_list(prefix, videos.scope))
    for group in batched(entries, _AT_ONCE, strict=False):
        answer.listed += len(group)
        inside = [entry for entry in group if entry["Key"].startswith(prefix) and _is_inside(entry, videos, answer)]
        unmeasured = []
        for entry, plan in in_parallel(lambda entry: _plan_of(stack, videos, entry, planned), inside, _PARALLEL):
            if _is_wanted(plan, videos, answer.counts, is_again=is_again):
                has_length = plan is not None and plan.video.duration_seconds is not None
                reads_header = not has_length and headers_left > 0
                headers_left -= reads_header
                unmeasured.append((entry, plan, reads_header))
        for _, (measured, is_refused) in in_parallel(lambda one: _measure(stack, videos, *one), unmeasured, _PARALLEL):
            answer.wanted.append(measured)
            answer.counts["rejected"] += is_refused
        progress(answer.listed)
    return answer


def _is_inside(entry: Any, videos: Videos, answer: VideosSurvey) -> bool:
    """Return whether an object is a video that can be read; counted where it is not."""
    why = why_out_of_scope(entry["Key"], entry["Size"], videos.scope)
    refusal = None if why else why_unreadable(Storage(entry.get("StorageClass", "")), utc_now())
    reason = str(why) if why else reason_of(refusal) if refusal else ""
    if reason:
        answer.left_out[reason] += 1
    return not reason


def _plan_of(stack: Stack, videos: Videos, entry: Any, planned: set[str]) -> Plan | None:
    """Return the plan of the upload that a listing shows; None where there is none."""
    if plan_key(videos.bucket_name, entry["Key"]) not in planned:
        return None
    read = read_plan(stack, videos, entry["Key"])
    upload = read[0].upload if read else None
    if read is None or upload is None:
        return None
    # A listing does not tell the version.
    told = (entry["ETag"].strip('"'), int(entry["LastModified"].timestamp()), entry["Size"])
    is_same = told == (upload.etag.strip('"'), int(upload.last_modified.timestamp()), upload.size_bytes)
    return read[0] if is_same else None


def _is_wanted(plan: Plan | None, videos: Videos, counts: Counter[str], *, is_again: bool) -> bool:
    if plan is None:
        state = "new"
    elif not plan.ended_at:
        state = "under_way"
    elif {name: dict(one.settings) for name, one in plan.analyses.items()} != videos.analyses:
        state = "outdated"
    else:
        state = "done"
    counts[state] += 1
    return state == "new" or (is_again and state == "outdated")


def _measure(stack: Stack, videos: Videos, entry: Any, plan: Plan | None, reads_header: bool) -> tuple[Wanted, bool]:
    """Return a wanted video with its minutes, and whether it will be rejected for what its header tells."""
    key, size_bytes = entry["Key"], entry["Size"]
    fingerprint = plan.fingerprint if plan else ""
    file = VideoFile(duration_seconds=plan.video.duration_seconds) if plan else VideoFile()
    if reads_header:
        try:
            file = read_header(partial(_read_bytes, stack, videos.bucket_name, key, entry["ETag"]), size_bytes)
        except ClientError:
            return Wanted(key, size_bytes, fingerprint), False  # such as of one that was replaced this moment
    if why_refused(file, size_bytes, videos.max_minutes_per_day or 24 * 60) is not None:
        return Wanted(key, size_bytes, fingerprint, minutes=0), True
    known = file.duration_seconds
    return Wanted(key, size_bytes, fingerprint, None if known is None else minutes_of(known)), False


def _read_bytes(stack: Stack, bucket: str, key: str, etag: str, offset: int, length: int) -> bytes:
    wanted = f"bytes={offset}-{offset + length - 1}"
    return stack.s3.get_object(Bucket=bucket, Key=key, Range=wanted, IfMatch=etag)["Body"].read()


def start_videos(
    stack: Stack, videos: Videos, wanted: Iterable[Wanted], progress: Callable[[int], None]
) -> tuple[int, int]:
    """Send a message about each wanted video, and return how many were sent, and left because they changed since."""
    sent = left = 0
    for group in batched(wanted, _AT_ONCE, strict=False):
        marked = in_parallel(
            lambda one: not one.fingerprint or request_again(stack, videos, one.key, one.fingerprint), group, _PARALLEL
        )
        bodies = [message_about(videos.bucket_name, one.key) for one, is_good in marked if is_good]
        parts = batched(bodies, _AT_ONCE // _PARALLEL, strict=False)
        sending = in_parallel(lambda part: send_messages(stack.sqs, videos.queue_url, part), parts, _PARALLEL)
        sent += sum(number for _, number in sending)
        left += len(group) - len(bodies)
        progress(sent + left)
    return sent, left
