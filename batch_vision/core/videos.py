"""Videos: what an upload is to have, and the record of each of its jobs, as objects of the final bucket.

``videos/plans/<hash of bucket and key>.json`` says what the current upload of a key is to have. For each analysis there
is a record, ``videos/jobs/<record id>/record.json``, which holds the whole request of the job, frozen: a job that may
have been started is started again with the very same request under the very same token, and then S3 and the service
say which job that is. Nothing about a job is taken from the settings of now.

Markers, empty objects, say which records are open, so that nobody has to list a bucket. ``videos/open/waiting/…`` is
there before the record and until its end, under a name that sorts by when it is due. ``videos/open/active/<record id>``
is there before the job is started, and until its video has ended. What has ended without a job, or could not be
collected, has ``videos/open/ended/…`` instead, by when it is due: however much of it there is, nobody waits behind it.
Markers may be there for nothing, and whoever meets such a one deletes it; a record that has not ended is never without.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from batch_vision.core.names import name_in
from batch_vision.core.times import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION = 1
PLANS = "videos/plans/"
JOBS = "videos/jobs/"
OPEN = "videos/open/"
ACTIVE = f"{OPEN}active/"  # sorts before the others
ENDED = f"{OPEN}ended/"
WAITING = f"{OPEN}waiting/"
RESERVATIONS = "videos/reservations.json"

# The files of a job's answers: what each is, and the end of its name.
ANSWER_FILES = {"detections": "jsonl.gz", "segments": "json", "vtt": "vtt", "csv": "csv"}
MOST_ATTEMPTS = 2
_ID_DIGITS = 40
_DUE_FORMAT = "%Y%m%dT%H%M%SZ"


class State(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    STARTING = "starting"  # it may have been started: nobody knows before the same start has been answered
    RUNNING = "running"
    SUCCEEDED = "succeeded"  # its answers are to be collected
    DONE = "done"
    REJECTED = "rejected"  # the file is at fault
    FAILED = "failed"
    DROPPED = "dropped"  # the video was replaced or deleted meanwhile


ENDS = frozenset({State.DONE, State.REJECTED, State.FAILED, State.DROPPED})


class JobStatus(StrEnum):
    """What the service says of a job."""

    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"  # it failed, and the file is at fault
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class VideoMetadata:
    """What is known of a video: from its header, or from the service.

    Attributes
    ----------
    container
        Such as ``mp4``; None, as for all else, where it is not known.
    """

    duration_seconds: float | None = None
    frame_rate: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    container: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in plans, records and results."""
        return dict(_plain(self))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**_known(cls, content))


@dataclass(frozen=True, slots=True)
class JobLook:
    """What the service says of a job now.

    Attributes
    ----------
    message
        Why it failed, in the service's words; empty where it says nothing.
    metadata
        Of the video; None as long as the service does not tell.
    """

    status: JobStatus
    message: str = ""
    metadata: VideoMetadata | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something was refused or failed: the name of an error of `core.errors`, and its message."""

    type: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return what is written down of an error."""
        return cls(type(error).__name__, str(error))

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> Self | None:
        """Read one that stands in a plan or record."""
        return cls(**_known(cls, content)) if content else None


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload of a key.

    Attributes
    ----------
    name
        What tells it from all others of the key: see `core.in_place.upload_of`.
    version_id
        None where the object has none.
    """

    name: str
    version_id: str | None
    etag: str
    last_modified: datetime
    size_bytes: int

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> Self | None:
        """Read one that stands in a plan."""
        return _with_time(cls, content)


@dataclass(frozen=True, slots=True)
class Moved:
    """The last upload of a key that has left the drop-off bucket.

    Attributes
    ----------
    key
        Where it is now, in the final bucket.
    """

    upload: str
    last_modified: datetime
    key: str

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> Self | None:
        """Read one that stands in a plan."""
        return _with_time(cls, content)


@dataclass(frozen=True, slots=True)
class Analysis:
    """An analysis that an upload is to have.

    Attributes
    ----------
    settings
        As they were when the plan was made.
    """

    record_id: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the current upload of a key is to have.

    Attributes
    ----------
    generation
        Grows by one with each plan of the key, so that no record id comes twice.
    upload
        None where the source is gone.
    video
        What its header says.
    refusal
        Why it is rejected without any job; None for most.
    ended_at
        When its result was written, or deleted; None before.
    retry_requested
        When the operator asked for all jobs anew; None where nobody did.
    moved
        None in a bucket in which videos stay.
    former
        Records of earlier plans whose files go when the result is a new one.
    """

    bucket: str
    key: str
    generation: int = 0
    upload: Upload | None = None
    video: VideoMetadata = VideoMetadata()
    analyses: Mapping[str, Analysis] = field(default_factory=dict)
    refusal: Fault | None = None
    ended_at: datetime | None = None
    retry_requested: datetime | None = None
    moved: Moved | None = None
    former: tuple[str, ...] = ()

    @property
    def is_of(self) -> str | None:
        """Name of the upload that it is of; None where there is none."""
        return self.upload.name if self.upload else None

    @property
    def record_ids(self) -> list[str]:
        """Return the ids of its records, one for each analysis."""
        return [analysis.record_id for analysis in self.analyses.values()]

    @property
    def fingerprint(self) -> str:
        """What the result of this plan is told by from that of any other plan of the key."""
        return digest(self.bucket, self.key, str(self.generation), *self.record_ids)

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the final bucket."""
        return {"schema_version": SCHEMA_VERSION, **_plain(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            **_known(cls, content)
            | {
                "upload": Upload.from_json(content["upload"]),
                "video": VideoMetadata.from_json(content["video"]),
                "analyses": {
                    name: Analysis(one["record_id"], one["settings"]) for name, one in content["analyses"].items()
                },
                "refusal": Fault.from_json(content["refusal"]),
                "ended_at": _time(content["ended_at"]),
                "retry_requested": _time(content.get("retry_requested")),
                "moved": Moved.from_json(content.get("moved")),
                "former": tuple(content.get("former", ())),
            }
        )


@dataclass(frozen=True, slots=True)
class Record:
    """A job: one analysis of one upload.

    Attributes
    ----------
    upload
        The name of the upload.
    request
        The whole request of its start, but for the token and the tag.
    minutes
        That are reserved for it: rounded up, as they are paid for.
    attempt
        From 1 to `MOST_ATTEMPTS`. Each has a token of its own, and is paid for.
    due_at
        Before it, nobody starts the job; or finishes with it, where it has ended without one.
    refusals
        How many starts in a row were refused for a reason that lies with us.
    starting_since
        When this attempt's token was first used; None before.
    leased_until
        Until then, whoever took it is at work: a dispatcher that starts it, or a collector.
    checks, next_check_at
        How often the service was asked about the running job, and when it is next. The same of collectors that were
        called and have not gone on with it.
    deadline_at
        After it, a job that has not ended is given up.
    video
        What the service says of the video, or else its header.
    """

    record_id: str
    bucket: str
    key: str
    upload: str
    uploaded_at: datetime
    analysis: str
    generation: int
    request: Mapping[str, Any]
    minutes: int
    video: VideoMetadata
    due_at: datetime
    state: State = State.WAITING
    attempt: int = 1
    refusals: int = 0
    starting_since: datetime | None = None
    leased_until: datetime | None = None
    job_id: str | None = None
    started_at: datetime | None = None
    checks: int = 0
    next_check_at: datetime | None = None
    deadline_at: datetime | None = None
    succeeded_at: datetime | None = None
    error: Fault | None = None
    ended_at: datetime | None = None

    @property
    def token(self) -> str:
        """The client request token and the tag of this attempt: at most 64 of ``[a-zA-Z0-9-_]``."""
        return f"{self.record_id}-{self.attempt}"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ENDS

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the final bucket."""
        return {"schema_version": SCHEMA_VERSION, **_plain(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        times = {
            name: _time(content.get(name))
            for name in (
                "uploaded_at",
                "due_at",
                "starting_since",
                "leased_until",
                "started_at",
                "next_check_at",
                "deadline_at",
                "succeeded_at",
                "ended_at",
            )
        }
        others = {
            "state": State(content["state"]),
            "video": VideoMetadata.from_json(content["video"]),
            "error": Fault.from_json(content["error"]),
        }
        return cls(**_known(cls, content) | times | others)


def digest(*parts: str) -> str:
    """Return what names the whole of some texts, none of which has a NUL."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_ID_DIGITS]


def record_id_of(
    bucket: str, key: str, upload: str, analysis: str, settings: Mapping[str, Any], generation: int
) -> str:
    """Return the id of the record of an analysis: it depends on nothing but the plan."""
    return digest(bucket, key, upload, analysis, json.dumps(settings, sort_keys=True), str(generation))


def plan_key(bucket: str, key: str) -> str:
    """Return where the plan of a key is."""
    return f"{PLANS}{digest(bucket, key)}.json"


def record_key(record_id: str) -> str:
    """Return where a record is."""
    return job_file(record_id, "record.json")


def job_file(record_id: str, name: str) -> str:
    """Return where a file of a job is: each job has a folder, so none writes over the files of another."""
    return f"{JOBS}{record_id}/{name}"


def moved_key(status: str, key: str) -> str:
    """Return where a video of the drop-off bucket goes: below ``videos/processed/`` or ``videos/rejected/``.

    A key that leaves no room has its hash instead.
    """
    return name_in(f"videos/{status}", key)


def answer_files(record_id: str, analysis: str) -> dict[str, str]:
    """Return where the files of a job's answers are, by what they are: see `ANSWER_FILES`."""
    return {kind: job_file(record_id, f"{analysis}.{end}") for kind, end in ANSWER_FILES.items()}


def video_result_key(key: str) -> str:
    """Return where the result of a video is: one place for each key, whichever bucket it is in.

    A key that leaves no room for the name has its hash instead, and stands in the result itself.
    """
    return name_in("videos/results", key, ".json")


def waiting_marker(record: Record) -> str:
    """Return the marker of a record that has not ended; a listing of them has the longest due first."""
    return f"{WAITING}{_due_name(record)}"


def ended_marker(record: Record) -> str:
    """Return the marker of a record that has ended and whose job, if it had one, is not under way."""
    return f"{ENDED}{_due_name(record)}"


def _due_name(record: Record) -> str:
    return f"{record.due_at.astimezone(UTC).strftime(_DUE_FORMAT)}-{record.record_id}"


def active_marker(record_id: str) -> str:
    """Return the marker of a record whose job may have been started."""
    return f"{ACTIVE}{record_id}"


def marked_record(marker: str) -> str:
    """Return the id of the record that a marker is of."""
    return marker.rpartition("/")[2].rpartition("-")[2]


def marked_due(marker: str) -> datetime:
    """Return when the record of a marker is due, which is not an active one.

    Raises
    ------
    ValueError
        It is no such marker.
    """
    return datetime.fromisoformat(marker.rpartition("/")[2].partition("-")[0]).astimezone(UTC)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, tuple):
        return list(value)
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def _known(cls: Any, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a content is of a class: a later version may have written more."""
    names = {one.name for one in fields(cls)}
    return {name: value for name, value in content.items() if name in names}


def _with_time[T](cls: type[T], content: Mapping[str, Any] | None) -> T | None:
    """Read what tells when an object was last modified."""
    return cls(**_known(cls, content) | {"last_modified": from_text(content["last_modified"])}) if content else None


def _time(text: str | None) -> datetime | None:
    return from_text(text) if text else None
