"""The answers of a job that has succeeded, page by page into the files of its folder.

``<analysis>.jsonl.gz`` has each detection as the service gave it, one a line; ``<analysis>.json``, ``.vtt`` and
``.csv`` have the segments. A long video has hundreds of thousands of detections, so no more than one part of the first
file is held, as it is compressed. Each part is a gzip member of its own (RFC 1952: a file may have several), so it can
be finished at any page.

What is done is noted in ``progress.json`` with each part, and when the time is over: then also what is no part yet, for
S3 takes no small ones. Whoever comes next goes on there. Beginning at the first page is always right too, because the
names of the files follow from the record and their content from the job.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.aws.objects import found
from batch_vision.aws.s3_errors import translated
from batch_vision.backends.rekognition_video import least_percent_of, sighting_of
from batch_vision.core import errors
from batch_vision.core.segments import Segments, to_csv, to_vtt
from batch_vision.core.videos import JobStatus, VideoMetadata, answer_files, job_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

    from batch_vision.backends.video_contract import Page, VideoService
    from batch_vision.core.videos import Record

PART_BYTES = 8 * 1024**2
SMALLEST_PART_BYTES = 5 * 1024**2  # of S3, but for the last part
_PROGRESS = "progress.json"
_GZIP_TYPE = "application/gzip"
_GZIP = 16 + zlib.MAX_WBITS  # zlib's code for gzip; it writes no time into the header
# Somebody else has finished or given up the upload: another collector, or the bucket's rule for old ones.
_STALE_UPLOAD = frozenset({"NoSuchUpload", "InvalidPart", "InvalidPartOrder"})
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 16.0


@dataclass(frozen=True, slots=True)
class Collected:
    """The files of a job.

    Attributes
    ----------
    files
        Their keys in the final bucket: ``detections``, ``segments``, ``vtt``, ``csv``.
    detections, segments
        How many there are.
    metadata
        Of the video, as the service tells it.
    model_version
        Of the service's model; empty where it does not tell.
    """

    files: Mapping[str, str]
    detections: int
    segments: int
    is_truncated: bool
    metadata: VideoMetadata | None
    model_version: str


def collect(
    record: Record,
    service: VideoService,
    s3: S3Client,
    final_bucket: str,
    deadline: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Collected | None:
    """Write the files of a job that has succeeded; those that are there are written over with the same.

    Parameters
    ----------
    deadline
        When to stop and to note how far it is, by the clock.

    Returns
    -------
    Collected or None
        None where it was not finished in time: call it again.

    Raises
    ------
    JobNotFoundError
        The service has forgotten the job and its answers, seven days after its end.
    PageTokenError, errors.StaleUploadError
        After beginning anew at the first page, again.
    AccessDeniedError, BadRequestError, JobFailedError
        What the service says, that the job has not succeeded after all among it.
    ServiceUnavailableError, StorageRefusedError
        What S3 says.
    """
    collecting = _Collecting(record, service, s3, final_bucket)
    pause = _Pause(deadline, clock, sleep)
    with translated():
        collecting.resume()
        try:
            try:
                return collecting.run(pause)
            except (errors.PageTokenError, errors.StaleUploadError):
                collecting.restart()
                return collecting.run(pause)
        except errors.JobNotFoundError:
            collecting.restart()
            raise


class _Pause:
    """The time there is, and the waits in it."""

    def __init__(self, deadline: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._deadline, self._clock, self._sleep = deadline, clock, sleep
        self._seconds = _FIRST_WAIT_SECONDS

    def is_over(self, seconds: float = 0.0) -> bool:
        return self._clock() + seconds >= self._deadline

    def wait(self) -> bool:
        """Wait, longer each time; False where there is no time for it."""
        if self.is_over(self._seconds):
            return False
        self._sleep(self._seconds)
        self._seconds = min(2 * self._seconds, _LONGEST_WAIT_SECONDS)
        return True

    def went_well(self) -> None:
        self._seconds = _FIRST_WAIT_SECONDS


class _Part:
    """What is compressed and not stored yet: gzip members, of which the last is open."""

    def __init__(self, members: bytes = b"") -> None:
        self._chunks = [members] if members else []
        self._compressor: Any = None
        self.size_bytes = len(members)

    def add(self, lines: bytes) -> None:
        if self._compressor is None:
            self._compressor = zlib.compressobj(wbits=_GZIP)
        self._append(self._compressor.compress(lines))

    def close(self) -> bytes:
        """End the member that is open, and return all of them."""
        if self._compressor is not None:
            self._append(self._compressor.flush())
            self._compressor = None
        self._chunks = [b"".join(self._chunks)]
        return self._chunks[0]

    def _append(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.size_bytes += len(chunk)


class _Collecting:
    """One job, and how far it is."""

    def __init__(self, record: Record, service: VideoService, s3: S3Client, bucket: str) -> None:
        if record.job_id is None:
            raise ValueError(f"The record {record.record_id} has no job.")
        self._record, self._job_id = record, record.job_id
        self._service = service
        self._s3, self._bucket = s3, bucket
        self._files = answer_files(record.record_id, record.analysis)
        self._progress_key = job_file(record.record_id, _PROGRESS)
        self._least_percent = least_percent_of(record.request)
        self._begin()

    def _begin(self) -> None:
        self._token: str | None = None
        self._upload_id: str | None = None
        self._etags: list[str] = []
        self._part = _Part()
        self._segments = Segments()
        self._detections = 0
        self._metadata: VideoMetadata | None = None
        self._model_version = ""

    def resume(self) -> None:
        """Go on where an earlier invocation stopped, if it was the same job and what it noted can be read."""
        answer = found(self._s3.get_object, Bucket=self._bucket, Key=self._progress_key)
        if answer is None:
            return
        with suppress(KeyError, TypeError, ValueError):
            noted = json.loads(answer["Body"].read())
            if noted["job_id"] != self._job_id:
                return
            segments = Segments.from_state(noted["segments"])
            part = _Part(base64.b64decode(noted["part"]))
            metadata = VideoMetadata.from_json(noted["metadata"]) if noted["metadata"] else None
            self._token, self._upload_id, self._etags = noted["next_token"], noted["upload_id"], noted["etags"]
            self._detections, self._model_version = noted["detections"], noted["model_version"]
            self._segments, self._part, self._metadata = segments, part, metadata

    def restart(self) -> None:
        """Give up what was done."""
        if self._upload_id:
            with suppress(errors.StaleUploadError), _stale_is_told():
                self._s3.abort_multipart_upload(**self._upload())
        self._s3.delete_object(Bucket=self._bucket, Key=self._progress_key)
        self._begin()

    def run(self, pause: _Pause) -> Collected | None:
        """Take page after page, then finish; None where the time was over before."""
        while True:
            page = self._next_page(pause)
            if page is None:
                self._note()
                return None
            self._take(page)
            if page.next_token is None:
                return self._finish()
            self._token = page.next_token
            if self._part.size_bytes >= PART_BYTES:
                self._store_part()
                self._note()

    def _next_page(self, pause: _Pause) -> Page | None:
        while not pause.is_over():
            try:
                page = self._service.page(self._record.analysis, self._job_id, self._token)
            except (errors.RateError, errors.ServiceUnavailableError):
                if not pause.wait():
                    return None
                continue
            pause.went_well()
            if page.look.status is not JobStatus.SUCCEEDED:
                raise errors.JobFailedError(
                    f"The service told of job {self._job_id} that it has succeeded, and now that it is"
                    f" {page.look.status} ({page.look.message})."
                )
            if page.next_token is not None and page.next_token == self._token:
                raise errors.PageTokenError(f"The page of job {self._job_id} names itself as the next one.")
            return page
        return None

    def _take(self, page: Page) -> None:
        lines = []
        for detection in page.detections:
            lines.append(json.dumps(detection, separators=(",", ":")))
            if sighting := sighting_of(self._record.analysis, detection, self._least_percent):
                self._segments.add(sighting)
        if lines:
            self._part.add(("\n".join(lines) + "\n").encode())
        self._detections += len(lines)
        self._metadata = page.metadata or self._metadata
        self._model_version = page.model_version or self._model_version

    def _store_part(self) -> None:
        if self._upload_id is None:
            created = self._s3.create_multipart_upload(
                Bucket=self._bucket, Key=self._files["detections"], ContentType=_GZIP_TYPE
            )
            self._upload_id = created["UploadId"]
        with _stale_is_told():
            stored = self._s3.upload_part(**self._upload(), PartNumber=len(self._etags) + 1, Body=self._part.close())
        self._etags.append(stored["ETag"])
        self._part = _Part()

    def _note(self) -> None:
        """Write down how far it is. What is enough for a part of S3 becomes one first: the note stays small."""
        if self._token is None:  # nothing was done
            return
        self._part.close()
        if self._part.size_bytes >= SMALLEST_PART_BYTES:
            self._store_part()
        content = {
            "schema_version": 1,
            "job_id": self._job_id,
            "next_token": self._token,
            "upload_id": self._upload_id,
            "etags": self._etags,
            "detections": self._detections,
            "metadata": self._metadata.to_json() if self._metadata else None,
            "model_version": self._model_version,
            "segments": self._segments.to_state(),
            "part": base64.b64encode(self._part.close()).decode(),
        }
        self._put(self._progress_key, json.dumps(content).encode(), "application/json")

    def _finish(self) -> Collected:
        if self._upload_id is None:
            self._put(self._files["detections"], self._part.close() or gzip.compress(b"", mtime=0), _GZIP_TYPE)
        else:
            self._complete()
        segments = self._segments.finish()
        self._put(self._files["segments"], json.dumps(self._document(segments)).encode(), "application/json")
        self._put(self._files["vtt"], _encoded(to_vtt(segments)), "text/vtt; charset=utf-8")
        self._put(self._files["csv"], _encoded(to_csv(segments)), "text/csv; charset=utf-8")
        self._s3.delete_object(Bucket=self._bucket, Key=self._progress_key)
        return Collected(
            self._files,
            self._detections,
            len(segments),
            self._segments.is_truncated,
            self._metadata,
            self._model_version,
        )

    def _complete(self) -> None:
        if self._part.size_bytes:
            self._store_part()
        parts: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": etag} for number, etag in enumerate(self._etags, start=1)
        ]
        with _stale_is_told():
            self._s3.complete_multipart_upload(**self._upload(), MultipartUpload={"Parts": parts})

    def _document(self, segments: list[dict[str, Any]]) -> dict[str, Any]:
        video = self._metadata or self._record.video
        return {
            "schema_version": 1,
            "analysis": self._record.analysis,
            "duration_seconds": video.duration_seconds,
            "frame_rate": video.frame_rate,
            "model_version": self._model_version,
            "job_id": self._job_id,
            "attempt": self._record.attempt,
            "detections": self._detections,
            "truncated": self._segments.is_truncated,
            "segments": segments,
        }

    def _upload(self) -> Any:
        """Return what names the upload of parts in a request."""
        return {"Bucket": self._bucket, "Key": self._files["detections"], "UploadId": self._upload_id}

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)


def _encoded(lines: Iterable[str]) -> bytes:
    """Return lines as bytes; half of a surrogate pair, which no encoding has, becomes a question mark."""
    return "".join(lines).encode(errors="replace")


@contextmanager
def _stale_is_told() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _STALE_UPLOAD:
            raise errors.StaleUploadError(str(error)) from error
        raise
