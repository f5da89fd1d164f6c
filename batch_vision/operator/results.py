"""The results of a span of time: chosen by what the catalog says of them, listed or downloaded.

An image is downloaded with its result and its mask; of a video the result and the files of each analysis are, and the
video itself where that is asked for, for it may be large.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.aws.objects import found, is_not_found
from batch_vision.aws.parallel import in_parallel
from batch_vision.aws.uploads import versions_of
from batch_vision.core.catalog import VIDEO, best, media_of
from batch_vision.core.run_summaries import summary_key
from batch_vision.core.times import from_text, to_text
from batch_vision.operator import runs
from batch_vision.operator.catalog import lines_between
from batch_vision.operator.cost import VIDEO_ANALYSES
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.objects import as_result, image_place, read_result, read_summary, video_place
from batch_vision.operator.paths import SUFFIXES, VIDEO_FILES, VIDEO_SUFFIXES, Places, other_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from batch_vision.operator.stack import Stack

_PARALLEL = 16
_AGO = re.compile(r"(\d+)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which results are wanted; None is no condition.

    Attributes
    ----------
    key
        Of the upload: it may have been uploaded several times.
    label, kind
        Name and kind of the most confident prediction. One of schema version 1 has no kind.
    min_confidence, max_confidence
        Of that prediction, in percent; of the verdict where there is no prediction.
    is_anomalous
        The verdict of a model that looks for anomalies.
    media
        image or video.
    """

    key: str | None = None
    status: str | None = None
    label: str | None = None
    kind: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    is_anomalous: bool | None = None
    media: str | None = None

    def matches(self, line: dict[str, Any]) -> bool:
        """Return whether a line of the catalog is wanted."""
        if self.media is not None and media_of(line) != self.media:
            return False
        if self.key is not None and line["key"] != self.key:
            return False
        if self.status and line["status"] != self.status:
            return False
        said = best(line) or {}
        if self.label is not None and said.get("name") != self.label:
            return False
        if self.kind is not None and said.get("kind") != self.kind:
            return False
        if self.is_anomalous is not None and (line["anomaly"] or {}).get("is_anomalous") is not self.is_anomalous:
            return False
        if self.min_confidence is None and self.max_confidence is None:
            return True
        confidence = confidence_of(line)
        lowest, highest = self.min_confidence or 0.0, 100.0 if self.max_confidence is None else self.max_confidence
        return confidence is not None and lowest <= confidence <= highest


def confidence_of(line: Mapping[str, Any]) -> float | None:
    """Return the confidence of a line's prediction, or of its verdict, in percent."""
    said = best(line) or line.get("anomaly")
    return float(said["confidence"]) if said else None


def read_time(text: str, option: str, now: datetime) -> datetime:
    """Read a time: ISO 8601 in UTC, or how long ago, such as ``90m``, ``6h``, ``7d`` or ``2w``.

    Raises
    ------
    WrongInputError
        It is neither, or is before the year 1 in UTC.
    """
    try:
        if match := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        return from_text(text).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise WrongInputError(
        f"{option} is {text!r}. Give how long ago, such as 90m, 6h, 7d or 2w, or a time in UTC, such as"
        " 2026-11-20T08:00."
    )


def summary_of_run(stack: Stack, run_id: str) -> dict[str, Any]:
    """Return the summary of a run.

    Raises
    ------
    WrongInputError
        There is no summary of such a run, yet or at all.
    """
    summary = read_summary(stack.s3, stack.final_bucket_name, run_id)
    if summary is not None:
        return summary
    if (began := runs.running_since(stack, run_id)) is not None:
        raise WrongInputError(
            f"Run {run_id} is still under way, so it has no summary yet. For what it has finished by now:"
            f" --since {to_text(began)} instead of --run."
        )
    raise WrongInputError(
        f"--run is {run_id!r}, and {stack.final_bucket_name} has no summary {summary_key(run_id)}."
        " `batch-vision status --runs 20` shows the ids of runs; one that found nothing to do, or was aborted,"
        " has no summary."
    )


def span_of_run(summary: dict[str, Any]) -> tuple[datetime, datetime]:
    """Return when a run began and ended."""
    return from_text(summary["started_at"]), from_text(summary["ended_at"])


def select(stack: Stack, since: datetime, until: datetime, wanted: Filter) -> Iterator[dict[str, Any]]:
    """Return the catalog lines of the wanted images and videos, the oldest first."""
    lines = lines_between(stack.s3, stack.final_bucket_name, since, until)
    return (line for line in lines if wanted.matches(line))


@dataclass
class Downloaded:
    """What was fetched.

    Attributes
    ----------
    renamed
        ``key``, ``version_id`` and ``path`` of each image that could not have its key as its path: a file system
        cannot hold that, another image has it, or a newer upload of the key has.
    videos
        Of which the results were fetched.
    without_image
        Keys whose result is there, and whose image, or video, cannot be read.
    replaced
        Keys whose image or result is no longer there, in no version: it was retried, replaced or deleted.
    failed
        Keys that could not be written to the folder, and why.
    """

    images: int = 0
    videos: int = 0
    renamed: list[dict[str, str]] = field(default_factory=list)
    without_image: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def download(
    stack: Stack,
    lines: Iterable[dict[str, Any]],
    folder: Path,
    progress: Callable[[int], None],
    *,
    takes_videos: bool = False,
) -> Downloaded:
    """Fetch what belongs to each line into a folder, under their keys as far as these are paths.

    Of two uploads of one key, the one that has the key's name in the final bucket has it here.

    Parameters
    ----------
    takes_videos
        Whether the videos themselves are fetched, and not only their results.
    """
    answer, places = Downloaded(), Places()
    # Taken in the order of the lines, so that the same lines have the same paths again.
    placed = ((line, places.take(place_of(line), owner_of(line), suffixes_of(line))) for line in lines)

    def fetch(one: tuple[dict[str, Any], str | None]) -> _Fetched:
        return _fetch(stack, one[0], folder, one[1], takes_videos=takes_videos)

    for done, ((line, _), outcome) in enumerate(in_parallel(fetch, placed, _PARALLEL), 1):
        _note(answer, line, outcome)
        progress(done)
    return answer


def place_of(line: dict[str, Any]) -> str:
    """Return what an image is known by: its place in the final bucket, or its key in an existing bucket."""
    return str(line.get("image_key") or line["key"])


def owner_of(line: dict[str, Any]) -> tuple[str, str]:
    """Return whose a path is in a download: an image and a video may have one key."""
    return media_of(line), place_of(line)


def suffixes_of(line: dict[str, Any]) -> tuple[str, ...]:
    """Return what is put beside an image, or a video, under its name."""
    return VIDEO_SUFFIXES if media_of(line) == VIDEO else SUFFIXES


@dataclass(frozen=True, slots=True)
class _Fetched:
    path: str | None = None
    is_renamed: bool = False
    has_image: bool = True
    problem: str | None = None


def _note(answer: Downloaded, line: dict[str, Any], outcome: _Fetched) -> None:
    if outcome.problem:
        answer.failed[line["key"]] = outcome.problem
    elif outcome.path is None:
        answer.replaced.append(line["key"])
    else:
        is_video = media_of(line) == VIDEO
        answer.videos += is_video
        answer.images += outcome.has_image and not is_video
        if not outcome.has_image:
            answer.without_image.append(line["key"])
        if outcome.is_renamed:
            answer.renamed.append({"key": line["key"], "version_id": line["version_id"], "path": outcome.path})


@dataclass(frozen=True, slots=True)
class _Finished:
    """An image as its bucket has it; the version ids are None where they are the current ones."""

    place: str
    result: dict[str, Any]
    image_version: str | None = None
    mask_version: str | None = None
    is_current: bool = True


def _fetch(
    stack: Stack, line: dict[str, Any], folder: Path, path: str | None, *, takes_videos: bool = False
) -> _Fetched:
    """Fetch what belongs to an image or a video.

    Parameters
    ----------
    path
        The one that its place has in this download; None where it can have none.
    """
    finished = _find_in_place(stack, line) if "result_key" in line else _find(stack.s3, stack.final_bucket_name, line)
    if finished is None:
        return _Fetched()
    write = partial(_write_video, takes_videos=takes_videos) if media_of(line) == VIDEO else _write
    if finished.is_current and path is not None and not _is_of_another(folder / path, owner_of(line)):
        try:
            return write(stack, finished, folder, path)
        except OSError:
            pass  # no name for this file system: it gets another
    path = renamed_path(line, "" if finished.is_current else line["version_id"])
    try:
        return write(stack, finished, folder, path, is_renamed=True)
    except OSError as error:
        return _Fetched(problem=f"{folder / path} cannot be written ({error.strerror or error})")


def renamed_path(line: dict[str, Any], version_id: str = "") -> str:
    """Return the path of what cannot have its own."""
    # No version has such an id.
    return other_path(place_of(line), f"\0{VIDEO}" if media_of(line) == VIDEO else version_id)


def _find_in_place(stack: Stack, line: dict[str, Any]) -> _Finished | None:
    """Find the result of a key of an existing bucket; None where it is not that of the line any more."""
    read = read_result(stack.s3, stack.final_bucket_name, line["result_key"])
    if read is None or not is_of_line(read[0], line):
        return None
    return _Finished(line["key"], read[0])


def is_of_line(result: dict[str, Any], line: dict[str, Any]) -> bool:
    """Return whether a result is that of a line of the catalog, and not of another upload.

    A key of an existing bucket may have one of other settings as well, and its versions may all have no id.
    """
    names = ("fingerprint", "status") if "result_key" in line else ()
    is_same = all(result.get(name) == line[name] for name in names)
    return is_same and bool(result["source"].get("version_id") == line["version_id"])


def _find(s3: S3Client, bucket: str, line: dict[str, Any]) -> _Finished | None:
    """Find the result of a line's upload, among the older versions of its place too; None where there is none."""
    place, version_id = line["image_key"], line["version_id"]

    def read(**version: str) -> dict[str, Any] | None:
        answer = found(s3.get_object, Bucket=bucket, Key=f"{place}.json", **version)
        result = answer and as_result(answer)
        return result if result and result["source"].get("version_id") == version_id else None

    if result := read():
        return _Finished(place, result)
    for entry in versions_of(s3, bucket, f"{place}.json"):
        if result := read(VersionId=entry["VersionId"]):
            image = _image_version(list(versions_of(s3, bucket, place)), result["source"], entry["LastModified"])
            if image is None:
                return None
            return _Finished(place, result, image, _mask_version(s3, bucket, result), is_current=False)
    return None


def _image_version(versions: list[dict[str, Any]], source: dict[str, Any], written_at: datetime) -> str | None:
    """Choose the version of an image that belongs to a result; None where it is gone.

    Parameters
    ----------
    versions
        Of the image's place, the newest first.
    written_at
        When the result was written: its image was copied after that, and the next upload's after that image.
    """
    since = [entry for entry in versions if entry["LastModified"] >= written_at and _size_agrees(entry, source)]
    # The ETag of a large copy, or of one with a customer key, is another one than the upload had.
    same = [entry for entry in since if entry["ETag"].strip('"') == source.get("etag")]
    return next((entry["VersionId"] for entry in reversed(same or since)), None)


def _size_agrees(entry: dict[str, Any], source: dict[str, Any]) -> bool:
    return source.get("size_bytes") in (None, entry["Size"])


def _mask_version(s3: S3Client, bucket: str, result: dict[str, Any]) -> str | None:
    """Find the version of a mask that belongs to a result: its metadata names the upload."""
    if not (key := result.get("mask_key")):
        return None
    for entry in versions_of(s3, bucket, key):
        head = found(s3.head_object, Bucket=bucket, Key=key, VersionId=entry["VersionId"])
        if head and head["Metadata"].get("version-id") == result["source"]["version_id"]:
            return str(entry["VersionId"])
    return None


def _is_of_another(path: Path, owner: tuple[str, str]) -> bool:
    """Return whether the disk has something else there: what was downloaded earlier, or a file of the user."""
    beside = path.with_name(f"{path.name}.json")
    try:
        read = json.loads(beside.read_bytes())
        return bool((media_of(read), read.get("image_key") or read["source"]["key"]) != owner)
    except FileNotFoundError:
        return path.exists()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True


def _write(stack: Stack, finished: _Finished, folder: Path, name: str, *, is_renamed: bool = False) -> _Fetched:
    """Write image, result and mask beside one another; nothing where the image was moved or replaced this moment."""
    result, path = finished.result, folder / name
    beside = _write_result(result, path)
    if result.get("status") == "failed":  # mostly because nobody can read the image
        return _Fetched(name, is_renamed=is_renamed, has_image=False)
    image = image_place(stack.final_bucket_name, result)
    if not _save(stack, image | ({"VersionId": finished.image_version} if finished.image_version else {}), path):
        beside.unlink()
        return _Fetched()
    if mask_key := result.get("mask_key"):
        mask = {"Bucket": stack.final_bucket_name, "Key": mask_key}
        mask |= {"VersionId": finished.mask_version} if finished.mask_version else {}
        _save(stack, mask, path.with_name(f"{path.name}.mask.png"))
    return _Fetched(name, is_renamed=is_renamed)


def _write_result(result: dict[str, Any], path: Path) -> Path:
    """Write a result beside what it is of, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The result first: it says whose path this is to a download that goes on after an interruption.
    beside = path.with_name(f"{path.name}.json")
    beside.write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8", errors="surrogatepass")
    return beside


def _write_video(
    stack: Stack, finished: _Finished, folder: Path, name: str, *, takes_videos: bool, is_renamed: bool = False
) -> _Fetched:
    """Write a video's result and the files of its analyses beside one another; nothing where they are gone by now."""
    result, path = finished.result, folder / name
    beside = _write_result(result, path)
    for analysis, kind, key in files_of(result):
        file = path.with_name(f"{path.name}.{analysis}{VIDEO_FILES[kind]}")
        if not _save(stack, {"Bucket": stack.final_bucket_name, "Key": key}, file):
            beside.unlink()  # another result took its place, and its files went with it
            return _Fetched()
    has_video = not takes_videos or _save(stack, video_place(stack.final_bucket_name, result), path)
    return _Fetched(name, is_renamed=is_renamed, has_image=has_video)


def files_of(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the files of a video's result: the analysis, what the file is, see `VIDEO_FILES`, and its key."""
    for analysis in VIDEO_ANALYSES:
        files = (result["analyses"].get(analysis) or {}).get("files") or {}
        yield from ((analysis, kind, files[kind]) for kind in VIDEO_FILES if files.get(kind))


def _save(stack: Stack, place: dict[str, str], path: Path) -> bool:
    """Download an object; False where it is not there.

    Parameters
    ----------
    place
        As `image_place` returns it. A transfer takes no IfMatch, so that is looked at before.
    """
    version = {"VersionId": place["VersionId"]} if "VersionId" in place else {}
    if "IfMatch" in place and found(stack.s3.head_object, **place) is None:
        return False
    try:
        stack.s3.download_file(place["Bucket"], place["Key"], str(path), ExtraArgs=version)
    except ClientError as error:
        if not is_not_found(error):
            raise
        return False
    return True
