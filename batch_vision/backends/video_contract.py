"""The contract between batch-vision and a service that analyzes stored videos by jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_vision.core.videos import JobLook, VideoMetadata


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a job's answers.

    Attributes
    ----------
    detections
        Each as the service gave it.
    next_token
        What asks for the next page, within its time; None on the last one.
    model_version
        Of the service's model; empty where it does not tell.
    look
        What the page says of the job: one that is in progress or has failed has no detections.
    """

    look: JobLook
    detections: list[dict[str, Any]] = field(default_factory=list)
    next_token: str | None = None
    metadata: VideoMetadata | None = None
    model_version: str = ""


class VideoService(Protocol):
    """Jobs that analyze videos in S3. None can be listed or stopped.

    Every method raises, besides what it names, `RateError` where the service takes no more requests now,
    `ServiceUnavailableError` where it failed or its answer is lost, so that it may have done what was asked, and
    `AccessDeniedError` for a missing permission.
    """

    def start(self, analysis: str, request: Mapping[str, Any], token: str) -> str:
        """Start a job, and return its id: the same token with the same request is the same job, which is not run again.

        Raises
        ------
        JobLimitError
            As many jobs are running as the account may have. Where the token was used before, its job may be running.
        VideoTooLargeError
            The service can never take this video.
        VideoObjectError
            There is no such object, or the service cannot read it.
        RequestMismatchError
            The token was used with another request.
        BadRequestError
            The service takes no such request.
        """

    def look(self, analysis: str, job_id: str) -> JobLook:
        """Return what the service says of a job now.

        Raises
        ------
        JobNotFoundError
            The service does not know the job any more.
        """

    def page(self, analysis: str, job_id: str, token: str | None) -> Page:
        """Return a page of a job's answers, in the order of time.

        Parameters
        ----------
        token
            The `next_token` of the page before; None for the first one.

        Raises
        ------
        PageTokenError
            The token is too old: begin at the first page.
        JobNotFoundError
            As `look`.
        """
