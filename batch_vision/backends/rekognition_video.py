"""The jobs of Amazon Rekognition that analyze a video in S3.

Requests, answers and errors: botocore's service model `rekognition` 2016-06-27. Each analysis is a pair of operations,
one that starts a job and one that returns its state and its answers, up to a thousand a page. How answers are sorted
and put together is asked of the second, so one job serves every view; here it is one detection for each moment.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from botocore import xform_name
from botocore.exceptions import ParamValidationError

from batch_vision.aws.clients import NOT_RETRYING, RETRYING
from batch_vision.aws.translation import translated
from batch_vision.backends.video_contract import Page, VideoService
from batch_vision.core import errors
from batch_vision.core.segments import Sighting
from batch_vision.core.versions import NULL_VERSION
from batch_vision.core.videos import JobLook, JobStatus, VideoMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_rekognition import RekognitionClient

NAME = "rekognition_video"

_PAGE_DETECTIONS = 1000  # the service's most; a greater number is silently this one (developer guide)

_ERRORS: dict[str, type[errors.BatchVisionError]] = {
    "AccessDeniedException": errors.AccessDeniedError,
    "InternalServerError": errors.ServiceUnavailableError,
    "InvalidParameterException": errors.BadRequestError,
    "ProvisionedThroughputExceededException": errors.RateError,
    "ThrottlingException": errors.RateError,
}
_START_ERRORS = _ERRORS | {
    "IdempotentParameterMismatchException": errors.RequestMismatchError,
    "InvalidS3ObjectException": errors.VideoObjectError,
    "LimitExceededException": errors.JobLimitError,
    "VideoTooLargeException": errors.VideoTooLargeError,
}
_GET_ERRORS = _ERRORS | {
    "InvalidPaginationTokenException": errors.PageTokenError,
    "ResourceNotFoundException": errors.JobNotFoundError,
}

_STATUSES = {
    "IN_PROGRESS": JobStatus.IN_PROGRESS,
    "SUCCEEDED": JobStatus.SUCCEEDED,
    "FAILED": JobStatus.FAILED,
}
# The words of a failure are not documented; seen was "Unsupported codec/format." Another try would end the same way.
_OF_THE_FILE = re.compile(r"\b(codec|format)", re.IGNORECASE)


class _Seen(NamedTuple):
    """What a detection says, but for its moment and its confidence."""

    name: str
    parents: tuple[str, ...] = ()
    box: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class _Analysis:
    """A pair of operations.

    Attributes
    ----------
    operation
        The name of both, after Start and Get.
    kind
        Of all that is seen.
    detections
        Where in an answer they are.
    detection
        Where in a detection that is what was seen.
    see
        Reads that.
    settings
        Names of those it takes.
    request
        What the start is asked, of these settings.
    view
        How the detections are to come, where the operation takes it.
    model_version
        Where in an answer it is; None where the operation does not tell.
    """

    operation: str
    kind: str
    detections: str
    detection: str
    see: Callable[[Mapping[str, Any]], _Seen]
    settings: frozenset[str] = frozenset()
    request: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda _: {}
    view: Mapping[str, str] = field(default_factory=dict)
    model_version: str | None = None


_LEAST = "min_confidence_percent"
_FILTERS = {
    "include": "LabelInclusionFilters",
    "exclude": "LabelExclusionFilters",
    "include_categories": "LabelCategoryInclusionFilters",
    "exclude_categories": "LabelCategoryExclusionFilters",
}


def _least(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"MinConfidence": settings[_LEAST]} if _LEAST in settings else {}


def _ask_labels(settings: Mapping[str, Any]) -> dict[str, Any]:
    filters = {theirs: settings[ours] for ours, theirs in _FILTERS.items() if ours in settings}
    return _least(settings) | ({"Settings": {"GeneralLabels": filters}} if filters else {})


def _ask_text(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"Filters": {"WordFilter": least}} if (least := _least(settings)) else {}


def _ask_faces(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"FaceAttributes": settings["attributes"]} if "attributes" in settings else {}


def _see_label(label: Mapping[str, Any]) -> _Seen:
    parents = tuple(parent["Name"] for parent in label.get("Parents", []))
    instances: list[dict[str, Any]] = label.get("Instances", [])
    best = max(instances, key=lambda one: one.get("Confidence", 0.0), default={})
    return _Seen(label.get("Name", ""), parents, best.get("BoundingBox"))


def _see_moderation(label: Mapping[str, Any]) -> _Seen:
    parent = label.get("ParentName")
    return _Seen(label.get("Name", ""), (parent,) if parent else ())


def _see_face(face: Mapping[str, Any]) -> _Seen:
    return _Seen("face", box=face.get("BoundingBox"))


def _see_celebrity(celebrity: Mapping[str, Any]) -> _Seen:
    box = celebrity.get("BoundingBox") or celebrity.get("Face", {}).get("BoundingBox")
    return _Seen(celebrity.get("Name", ""), box=box)


def _see_text(text: Mapping[str, Any]) -> _Seen:
    """Return a line; a word has no name here, for its line has it."""
    name = text.get("DetectedText", "") if text.get("Type") == "LINE" else ""
    return _Seen(name, box=text.get("Geometry", {}).get("BoundingBox"))


_BY_TIME = {"SortBy": "TIMESTAMP"}
_EACH_MOMENT = _BY_TIME | {"AggregateBy": "TIMESTAMPS"}

ANALYSES = {
    "labels": _Analysis(
        "LabelDetection",
        "label",
        "Labels",
        "Label",
        _see_label,
        frozenset({_LEAST, *_FILTERS}),
        _ask_labels,
        _EACH_MOMENT,
        "LabelModelVersion",
    ),
    "moderation": _Analysis(
        "ContentModeration",
        "moderation",
        "ModerationLabels",
        "ModerationLabel",
        _see_moderation,
        frozenset({_LEAST}),
        _least,
        _EACH_MOMENT,
        "ModerationModelVersion",
    ),
    "faces": _Analysis("FaceDetection", "face", "Faces", "Face", _see_face, frozenset({"attributes"}), _ask_faces),
    "celebrities": _Analysis(
        "CelebrityRecognition", "celebrity", "Celebrities", "Celebrity", _see_celebrity, view=_BY_TIME
    ),
    "text": _Analysis(
        "TextDetection",
        "text",
        "TextDetections",
        "TextDetection",
        _see_text,
        frozenset({_LEAST}),
        _ask_text,
        model_version="TextModelVersion",
    ),
}


def request_of(
    analysis: str,
    settings: Mapping[str, Any],
    bucket: str,
    key: str,
    version_id: str | None,
    channel: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return the whole request that starts a job, but for the token and the tag.

    Parameters
    ----------
    settings
        Of the analysis; those that are None or empty are left to the service.
    version_id
        None where the object has none.
    channel
        Topic and role of the messages about the end of jobs, as the service names them; None for none.

    Raises
    ------
    SettingsError
        There is no such analysis, or it has no such setting.
    """
    if analysis not in ANALYSES:
        raise errors.SettingsError(
            f"Environment variable VIDEO_ANALYSES has the analysis {analysis!r}; it must be one of"
            f" {', '.join(ANALYSES)}. Set videos.analyses and apply the module again."
        )
    known = ANALYSES[analysis]
    given = {name: value for name, value in settings.items() if value not in (None, [])}
    if unknown := sorted(given.keys() - known.settings):
        raise errors.SettingsError(
            f"Environment variable VIDEO_ANALYSES has {unknown[0]!r} = {given[unknown[0]]!r}, which the analysis"
            f" {analysis} does not take. Take it out of videos.{analysis} and apply the module again."
        )
    video = {"Bucket": bucket, "Name": key}
    if version_id and version_id != NULL_VERSION:  # it is not documented that the service knows that one
        video["Version"] = version_id
    notified = {"NotificationChannel": dict(channel)} if channel else {}
    return {"Video": {"S3Object": video}, **notified, **known.request(given)}


def make_service() -> RekognitionVideos:
    """Return the service of this process."""
    # The jobs of an account are limited, and botocore takes that limit for a rate: it would ask again and again.
    return RekognitionVideos(
        boto3.client("rekognition", config=NOT_RETRYING), boto3.client("rekognition", config=RETRYING)
    )


class RekognitionVideos(VideoService):
    """The service.

    Parameters
    ----------
    starting
        A client without retries.
    getting
        A client that repeats what the service refuses for its rate.
    """

    def __init__(self, starting: RekognitionClient, getting: RekognitionClient) -> None:
        self._starting = starting
        self._getting = getting

    def start(self, analysis: str, request: Mapping[str, Any], token: str) -> str:
        """Start a job; see `VideoService`. The token is its tag too, which messages of its end name."""
        call = self._call(self._starting, f"Start{ANALYSES[analysis].operation}")
        with _told(_START_ERRORS):
            return str(call(**request, ClientRequestToken=token, JobTag=token)["JobId"])

    def look(self, analysis: str, job_id: str) -> JobLook:
        """Ask for a single detection, for there is no other way to ask for the state."""
        return _look(self._get(analysis, JobId=job_id, MaxResults=1))

    def page(self, analysis: str, job_id: str, token: str | None) -> Page:
        """Return a page; see `VideoService`."""
        known = ANALYSES[analysis]
        after = {"NextToken": token} if token else {}
        answer = self._get(analysis, JobId=job_id, MaxResults=_PAGE_DETECTIONS, **known.view, **after)
        look = _look(answer)
        return Page(
            look,
            answer.get(known.detections, []),
            answer.get("NextToken") or None,
            look.metadata,
            answer.get(known.model_version or "", ""),
        )

    def _get(self, analysis: str, **request: Any) -> Mapping[str, Any]:
        call = self._call(self._getting, f"Get{ANALYSES[analysis].operation}")
        with _told(_GET_ERRORS):
            answer: Mapping[str, Any] = call(**request)
        return answer

    @staticmethod
    def _call(client: RekognitionClient, operation: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(client, xform_name(operation))
        return call


@contextmanager
def _told(known: Mapping[str, type[errors.BatchVisionError]]) -> Iterator[None]:
    """Raise the project's error."""
    try:
        with translated(known, otherwise=errors.BadRequestError):
            yield
    except errors.ServiceUnavailableError as error:
        if isinstance(error.__cause__, ParamValidationError):  # it never becomes right
            raise errors.BadRequestError(str(error)) from error
        raise


def _look(answer: Mapping[str, Any]) -> JobLook:
    # A status that is not known is no end: the deadline of the job holds.
    status = _STATUSES.get(answer.get("JobStatus", ""), JobStatus.IN_PROGRESS)
    message = answer.get("StatusMessage", "")
    if status is JobStatus.FAILED and _OF_THE_FILE.search(message):
        status = JobStatus.REJECTED
    told = answer.get("VideoMetadata")
    metadata = None
    if told:
        duration_ms = told.get("DurationMillis")
        metadata = VideoMetadata(
            duration_seconds=None if duration_ms is None else duration_ms / 1000,
            frame_rate=told.get("FrameRate"),
            width=told.get("FrameWidth"),
            height=told.get("FrameHeight"),
            codec=told.get("Codec"),
            container=told.get("Format"),
        )
    return JobLook(status, message, metadata)


def sighting_of(analysis: str, detection: Mapping[str, Any], least_percent: float = 0.0) -> Sighting | None:
    """Return a detection in the common form; None for one that makes no segment.

    That is a word of a line, whatever has no name, and what has less confidence than the least: the service filters
    words by it, and not their lines.
    """
    known = ANALYSES[analysis]
    content = detection.get(known.detection, {})
    name, parents, box = known.see(content)
    confidence = content.get("Confidence", 0.0)
    if not name or confidence < least_percent:
        return None
    return Sighting(name, known.kind, parents, detection.get("Timestamp", 0), confidence, _box(box))


def _box(box: Mapping[str, float] | None) -> dict[str, float] | None:
    """Return a box in the form of a result; None where a side is not told."""
    sides = ("Left", "Top", "Width", "Height")
    return {side.lower(): box[side] for side in sides} if box and all(side in box for side in sides) else None


def least_percent_of(request: Mapping[str, Any]) -> float:
    """Return the least confidence that a frozen request of `request_of` asks for."""
    words = request.get("Filters", {}).get("WordFilter", {})
    return float(request.get("MinConfidence", words.get("MinConfidence", 0.0)))
