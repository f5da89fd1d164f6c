"""The stored-video APIs of Amazon Rekognition: jobs that are started, announced to a topic, and asked for results.

A job reads its video when it is started, and keeps what it read: what happens to the object later changes nothing. How
long it takes, how many there may be and how long things are kept is in `settings`; what can go wrong, in `faults`.

Guesses, where the service's documentation is silent: a token of one Start that is used for another is a mismatch;
a job's Get under another analysis finds no job; the video's metadata is not answered before the job has ended; the
token of a page holds for the order that it was given for; no Start or Get has a quota of calls. The documentation says
that a token under another Start is unpredictable, and names a quota of calls without a number.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import secrets
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from local.config import ACCOUNT_ID
from local.emulator import faults, video_files
from local.emulator.errors import ObjectStoreError, ObjectUnreadableError, TopicError, VideoError, VideoTooLargeError
from local.emulator.hosting import CONCURRENT_ANALYSES
from local.emulator.rekognition_requests import ServiceError
from local.emulator.video_analyses import ANALYSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from local.emulator.hosting import SettingsHolder, Timing
    from local.emulator.image_operations import ImageOperations
    from local.emulator.objects import ObjectReader
    from local.emulator.topics import Topics
    from local.emulator.video_analyses import Detection, VideoAnalysis
    from local.emulator.video_files import VideoDetails

MAX_RESULTS = 1000
MAX_VIDEO_SECONDS = 6 * 3600
IN_PROGRESS, SUCCEEDED, FAILED = "IN_PROGRESS", "SUCCEEDED", "FAILED"
# As public bug reports quote it.
UNSUPPORTED = "Unsupported codec/format."
USER_ARN = f"arn:aws:iam::{ACCOUNT_ID}:root"
# How long a Get waits for a job that should have ended: the machine is slower than the settings say.
_MAX_WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class _Outcome:
    status: str
    message: str = ""
    detections: list[Detection] = field(default_factory=list)


@dataclass
class _Job:
    """A job: its request without the token, when it ends, and how.

    `content` is closed as soon as the outcome is known. `started_at` is by the calendar, the other times by the clock.
    `runs` counts the jobs of the same token so far, this one too; `starts` the calls that were answered with this job.
    `messages` says what became of its message.
    """

    job_id: str
    analysis: VideoAnalysis
    request: dict[str, Any]
    token: str | None
    fault: str | None
    runs: int
    started_at_seconds: float
    ends_at_seconds: float
    samples_per_second: float
    content: IO[bytes]
    details: VideoDetails | None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    starts: int = 1
    is_announced: bool = False
    messages: list[str] = field(default_factory=list)
    outcome: Future[_Outcome] = field(default_factory=Future)

    @property
    def minutes(self) -> int:
        """Minutes that are paid for; AWS does not say whether a job that fails is billed, so it is here."""
        return math.ceil(self.details.duration_seconds / 60 - 1e-9) if self.details else 0


@dataclass(frozen=True)
class _Token:
    job_id: str
    operation: str
    request: dict[str, Any]
    made_at_seconds: float


class VideoOperations:
    """Starts jobs and answers for them; safe for use by several threads at once.

    Parameters
    ----------
    images
        What looks at the frames.
    objects
        Where videos are read from.
    topics
        Where the ends of jobs are announced.
    settings
        Limits, times and quotas.
    timing
        The clock and sleep to go by.
    """

    def __init__(
        self,
        images: ImageOperations,
        objects: ObjectReader,
        topics: Topics,
        settings: SettingsHolder,
        timing: Timing,
    ) -> None:
        self._images = images
        self._objects = objects
        self._topics = topics
        self._settings = settings
        self._timing = timing
        # One Start after the other, so that two of one token cannot both be the first.
        self._starting = threading.Lock()
        self._announcing = threading.Lock()
        self._slots = threading.BoundedSemaphore(CONCURRENT_ANALYSES)
        self._jobs: dict[str, _Job] = {}
        self._tokens: dict[str, _Token] = {}
        self._runs: Counter[str] = Counter()
        self._refused_starts = self._refused_page_tokens = 0
        self._operations: dict[str, Callable[[dict[str, Any], str | None], dict[str, Any]]] = {}
        for analysis in ANALYSES:
            self._operations[analysis.start] = self._starter(analysis)
            self._operations[analysis.get] = self._getter(analysis)

    def answer(self, operation: str, request: dict[str, Any], fault: str | None) -> dict[str, Any]:
        """Answer a request that fits the service's model.

        Parameters
        ----------
        fault
            What is to go wrong with the job that it starts, see `faults`.

        Raises
        ------
        ServiceError
            The request, or its video, is refused, or the account has too many jobs open.
        """
        return self._operations[operation](request, fault)

    def reset(self) -> None:
        """Forget all jobs and tokens; no job that runs will be announced."""
        with self._starting, self._announcing:
            self._jobs.clear()
            self._tokens.clear()
            self._runs.clear()
            self._refused_starts = self._refused_page_tokens = 0

    def describe(self) -> dict[str, Any]:
        """Return all jobs as plain data, after the ends of those whose time has come were announced.

        `open_jobs` are those of this application; `refused_starts` were answered with LimitExceededException, and
        `refused_page_tokens` with InvalidPaginationTokenException.
        """
        for job in list(self._jobs.values()):
            if self._is_over(job):
                self._announce(job)
        return {
            "open_jobs": self._open_jobs(),
            "refused_starts": self._refused_starts,
            "refused_page_tokens": self._refused_page_tokens,
            "jobs": [
                {
                    "job_id": job.job_id,
                    "operation": job.analysis.start,
                    "token": job.token,
                    "tag": job.request.get("JobTag"),
                    **_object_of(job),
                    "status": self._outcome_of(job).status,
                    "started_at": job.started_at.isoformat(),
                    "minutes": job.minutes,
                    "starts": job.starts,
                    "runs": job.runs,
                    "messages": list(job.messages),
                }
                for job in list(self._jobs.values())
            ],
        }

    def _starter(self, analysis: VideoAnalysis) -> Callable[[dict[str, Any], str | None], dict[str, Any]]:
        def start(request: dict[str, Any], fault: str | None) -> dict[str, Any]:
            self._images.check(analysis.image_operation, analysis.image_request(request))
            if "S3Object" not in request["Video"]:
                raise ServiceError("InvalidParameterException", "Give the video as an S3 object.")
            asked = {name: value for name, value in request.items() if name != "ClientRequestToken"}
            token = request.get("ClientRequestToken")
            with self._starting:
                if self._settings.current.video_limit_before_token:
                    self._check_limit()
                job = self._job_of(token, analysis, asked)
                if job is None:
                    self._check_limit()
                    job = self._made(analysis, asked, token, fault)
                    self._jobs[job.job_id] = job
                    if token is not None:
                        self._tokens[token] = _Token(job.job_id, analysis.start, asked, job.started_at_seconds)
                    # Only now: a job that ends at once is announced only if it is known.
                    threading.Thread(target=self._run, args=(job,), daemon=True).start()
                else:
                    job.starts += 1
                    fault = None
            if fault == faults.MESSAGE_EARLY:
                self._announce(job)
            return {"JobId": job.job_id}

        return start

    def _check_limit(self) -> None:
        limit, open_jobs = self._settings.current.video_job_limit, self._open_jobs()
        open_jobs += int(self._settings.current.foreign_jobs)
        if open_jobs >= limit:
            self._refused_starts += 1
            raise ServiceError(
                "LimitExceededException", f"{open_jobs}  open Jobs for User {USER_ARN} Maximum limit: {int(limit)}"
            )

    def _job_of(self, token: str | None, analysis: VideoAnalysis, asked: dict[str, Any]) -> _Job | None:
        known = self._tokens.get(token) if token is not None else None
        if known is None:
            return None
        age_seconds = self._timing.clock() - known.made_at_seconds
        if age_seconds >= self._settings.current.video_token_seconds:
            return None
        if (known.operation, known.request) != (analysis.start, asked):
            raise ServiceError(
                "IdempotentParameterMismatchException",
                f"The ClientRequestToken: {token} you have supplied is already in use.",
            )
        return self._jobs[known.job_id]

    def _made(self, analysis: VideoAnalysis, asked: dict[str, Any], token: str | None, fault: str | None) -> _Job:
        content, details = self._read(asked["Video"]["S3Object"])
        now, settings = self._timing.clock(), self._settings.current
        minutes = details.duration_seconds / 60 if details else 0.0
        ends_at_seconds = now + settings.video_base_seconds + settings.video_seconds_per_minute * minutes
        if fault == faults.HANG:
            ends_at_seconds = math.inf
        elif fault == faults.MESSAGE_EARLY:
            ends_at_seconds = now
        if token is not None:
            self._runs[token] += 1
        return _Job(
            job_id=secrets.token_hex(32),
            analysis=analysis,
            request=asked,
            token=token,
            fault=fault,
            runs=self._runs[token] if token is not None else 1,
            started_at_seconds=now,
            ends_at_seconds=ends_at_seconds,
            samples_per_second=settings.video_samples_per_second,
            content=content,
            details=details,
        )

    def _read(self, named: Mapping[str, str]) -> tuple[IO[bytes], VideoDetails | None]:
        """Return the content of a video, and what it says of itself; nothing for what is none, whose job will fail."""
        if "Bucket" not in named or "Name" not in named:
            raise ServiceError("InvalidS3ObjectException", "Request has invalid S3 object.")
        video_files.av()  # a missing package is told to who starts a job
        content = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the job
        with contextlib.ExitStack() as on_error:
            on_error.callback(content.close)
            try:
                max_bytes = int(self._settings.current.video_max_bytes)
                self._objects.copy(named["Bucket"], named["Name"], named.get("Version"), content, max_bytes)
                details = video_files.read_details(content)
                if details.duration_seconds > MAX_VIDEO_SECONDS:
                    raise VideoTooLargeError(
                        f"Video duration in seconds: {details.duration_seconds:.0f} is more than the maximum limit of:"
                        f" {MAX_VIDEO_SECONDS} seconds."
                    )
            except ObjectUnreadableError as error:
                raise ServiceError("InvalidS3ObjectException") from error
            except ObjectStoreError as error:
                raise ServiceError("InternalServerError", f"S3 did not answer: {error}") from error
            except VideoTooLargeError as error:
                raise ServiceError("VideoTooLargeException", str(error)) from error
            except VideoError:
                details = None
            on_error.pop_all()
        return content, details

    def _run(self, job: _Job) -> None:
        """Compute the outcome of a job, wait for its end, and announce it."""
        if job.ends_at_seconds == math.inf:
            job.content.close()
            return
        with self._slots, job.content:
            try:
                job.outcome.set_result(self._computed(job))
            except Exception as error:  # whoever waits for it must learn of it
                job.outcome.set_result(_Outcome(FAILED, f"The emulator failed: {error!r}"))
        remaining_seconds = job.ends_at_seconds - self._timing.clock()
        if remaining_seconds > 0:
            # A little more, for the two clocks of waiting and of looking may differ by a rounding.
            self._timing.sleep(remaining_seconds + 0.001)
        if self._is_over(job):
            self._announce(job)

    def _computed(self, job: _Job) -> _Outcome:
        if job.fault is not None and job.fault.startswith(faults.FAILED_PREFIX):
            return _Outcome(FAILED, job.fault.removeprefix(faults.FAILED_PREFIX))
        if job.details is None or not job.details.is_supported:
            return _Outcome(FAILED, UNSUPPORTED)
        samples = video_files.look(job.content, job.samples_per_second)
        try:
            return _Outcome(SUCCEEDED, detections=job.analysis.detections(samples, job.request, self._images))
        except VideoError:
            return _Outcome(FAILED, UNSUPPORTED)

    def _announce(self, job: _Job) -> None:
        """Publish that a job has ended, once."""
        outcome = job.outcome.result()
        with self._announcing:
            if job.is_announced or self._jobs.get(job.job_id) is not job:
                return
            job.is_announced = True
            channel = job.request.get("NotificationChannel")
            if channel is None:
                return
            if job.fault == faults.MESSAGE_LOST:
                job.messages.append("lost")
                return
            message = json.dumps(
                {
                    "JobId": job.job_id,
                    "Status": "ERROR" if job.fault == faults.MESSAGE_ERROR else outcome.status,
                    "API": job.analysis.start,
                    **({"JobTag": job.request["JobTag"]} if "JobTag" in job.request else {}),
                    "Timestamp": int(time.time() * 1000),
                    "Video": {
                        "S3ObjectName": job.request["Video"]["S3Object"]["Name"],
                        "S3Bucket": job.request["Video"]["S3Object"]["Bucket"],
                    },
                }
            )
            for _ in range(2 if job.fault == faults.MESSAGE_DOUBLED else 1):
                try:
                    self._topics.publish(channel["SNSTopicArn"], message)
                    job.messages.append("published")
                except TopicError as error:
                    job.messages.append(f"not published: {error}")

    def _is_over(self, job: _Job) -> bool:
        return self._timing.clock() >= job.ends_at_seconds

    def _open_jobs(self) -> int:
        return sum(not self._is_over(job) for job in list(self._jobs.values()))

    def _outcome_of(self, job: _Job) -> _Outcome:
        if not self._is_over(job):
            return _Outcome(IN_PROGRESS)
        try:
            return job.outcome.result(_MAX_WAIT_SECONDS)
        except TimeoutError:
            return _Outcome(IN_PROGRESS)

    def _getter(self, analysis: VideoAnalysis) -> Callable[[dict[str, Any], str | None], dict[str, Any]]:
        def get(request: dict[str, Any], _fault: str | None) -> dict[str, Any]:
            job = self._jobs.get(request["JobId"])
            kept_seconds = self._settings.current.video_results_seconds
            if (
                job is None
                or job.analysis is not analysis
                or self._timing.clock() >= job.ends_at_seconds + kept_seconds
            ):
                raise ServiceError("ResourceNotFoundException", f"Could not find JobId {request['JobId']}.")
            return self._page(job, request)

        return get

    def _page(self, job: _Job, request: dict[str, Any]) -> dict[str, Any]:
        outcome = self._outcome_of(job)
        sort_by, aggregate_by = request.get("SortBy", "TIMESTAMP"), request.get("AggregateBy", "TIMESTAMPS")
        arrangement = f"{sort_by} {aggregate_by}"
        gap_ms = 1500 / job.samples_per_second + 1  # times are rounded
        arranged = job.analysis.arranged(outcome.detections, sort_by, aggregate_by, gap_ms)
        first = self._offset_of(request["NextToken"], job, arrangement) if "NextToken" in request else 0
        last = first + min(request.get("MaxResults", MAX_RESULTS), MAX_RESULTS)
        answer: dict[str, Any] = {
            "JobId": job.job_id,
            "JobStatus": outcome.status,
            "JobTag": job.request.get("JobTag"),
            "Video": job.request["Video"],
            job.analysis.result: arranged[first:last],
        }
        if outcome.status == FAILED:
            answer["StatusMessage"] = outcome.message
        if outcome.status == SUCCEEDED and job.details:
            answer["VideoMetadata"] = job.details.metadata
            if job.analysis.model_version:
                name, version = job.analysis.model_version
                answer[name] = version
        if last < len(arranged):
            answer["NextToken"] = self._page_token(job, arrangement, last)
        if job.analysis.is_aggregated:
            answer["GetRequestMetadata"] = {"SortBy": sort_by, "AggregateBy": aggregate_by}
        return answer

    def _page_token(self, job: _Job, arrangement: str, offset: int) -> str:
        content = json.dumps([job.job_id[:16], arrangement, offset, self._timing.clock()])
        return base64.b64encode(content.encode()).decode()

    def _offset_of(self, token: str, job: _Job, arrangement: str) -> int:
        with self._refusing_token():
            job_id, its_arrangement, offset, made_at_seconds = json.loads(base64.b64decode(token, validate=True))
            age_seconds = self._timing.clock() - made_at_seconds
            is_old = age_seconds >= self._settings.current.video_page_token_seconds
            if (job_id, its_arrangement) != (job.job_id[:16], arrangement) or is_old:
                raise ValueError(token)
            return int(offset)

    @contextlib.contextmanager
    def _refusing_token(self) -> Iterator[None]:
        try:
            yield
        except (binascii.Error, ValueError, TypeError) as error:
            self._refused_page_tokens += 1
            raise ServiceError("InvalidPaginationTokenException", "Invalid Pagination Token") from error


def _object_of(job: _Job) -> dict[str, str | None]:
    named = job.request["Video"]["S3Object"]
    return {"bucket": named["Bucket"], "key": named["Name"], "version": named.get("Version")}
