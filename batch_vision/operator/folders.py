"""A folder of images and videos, and its way into the drop-off buckets."""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import batched
from mimetypes import MimeTypes
from pathlib import Path
from typing import TYPE_CHECKING

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from batch_vision.operator.errors import WrongInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mypy_boto3_s3 import S3Client

PARALLEL = 16
_GROUP = 1000  # how many uploads are planned at a time: a folder may hold a million files
# No image that a model takes is larger: each is one request, and its ETag is the MD5 of its bytes.
_ONE_REQUEST_BYTES = 64 * 1024**2
_PART_BYTES = 16 * 1024**2
_UPLOADING = TransferConfig(multipart_threshold=_ONE_REQUEST_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False)
# What S3 says of one object, or of a file that changes while it is read; anything else concerns them all.
_OF_ONE_FILE = {"BadDigest", "EntityTooLarge", "IncompleteBody", "KeyTooLongError", "XAmzContentSHA256Mismatch"}

# Python's own table, not that of the machine, so that every machine leaves out the same.
_TYPES = MimeTypes()
_BESIDE_IMAGES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}  # Windows puts them into folders of images


@dataclass
class Found:
    """The files of a folder, by the key that each will have, in order.

    Attributes
    ----------
    left_out
        Why each file, or folder, is not taken that nobody wants mostly: hidden, or no image by its name.
    failed
        Why each is not taken that somebody may want.
    """

    files: dict[str, Path] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def find_files(
    folder: Path, given: str, *, takes_all: bool = False, takes_images: bool = True, video_suffixes: Sequence[str] = ()
) -> Found:
    """List the files of a folder and of those below it.

    Parameters
    ----------
    given
        How the user gave the folder, for messages: ``IMAGES=pile``, say.
    takes_all
        Whether to take hidden files, and those that are no images by their names, as well.
    takes_images
        Whether to take images, and not only videos.
    video_suffixes
        Ends of the names of videos in lower case, which are taken; none of them where nothing takes videos.

    Raises
    ------
    WrongInputError
        The folder does not exist, is none, cannot be read, or holds no file that is taken.
    """
    wanted = " or ".join([*(["image"] if takes_images else []), *(["video"] if video_suffixes else [])])
    if not folder.exists():
        raise WrongInputError(f"{given} does not exist. Give the path of a folder with {wanted}s.")
    if not folder.is_dir():
        raise WrongInputError(f"{given} is not a folder. Give the path of a folder with {wanted}s.")
    found = Found()

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise WrongInputError(f"{given} cannot be read ({error.strerror}). Change its permissions.") from error
        found.failed[_key(folder, Path(error.filename))] = f"the folder cannot be read ({error.strerror})"

    for at, below, names in os.walk(folder, onerror=unreadable):
        linked = [name for name in below if Path(at, name).is_symlink()]
        if not takes_all:
            hidden = [name for name in below if name.startswith(".")]
            found.left_out |= {f"{_key(folder, Path(at, name))}/": "hidden" for name in hidden}
            below[:] = [name for name in below if name not in hidden]
        for name in (*names, *linked):
            path = Path(at, name)
            key = _key(folder, path)
            is_video = is_named_so(name, video_suffixes)
            reason = None if is_video and not name.startswith(".") else _left_out(name)
            if not takes_images and not is_video:
                reason = reason or f"no video by its name, which ends with {', '.join(video_suffixes)}"
            if reason and not (takes_all and (takes_images or is_video)):
                found.left_out[key] = reason
            elif problem := _problem(path, key):
                found.failed[key] = problem
            else:
                found.files[key] = path
    if not found.files and not found.failed:
        others = f" ({len(found.left_out)} left out: {', '.join([*found.left_out][:3])} …)" if found.left_out else ""
        raise WrongInputError(
            f"{given} holds no file of {'an' if takes_images else 'a'} {wanted}{others}. Put {wanted}s into it"
            f"{'' if takes_images else f' ({", ".join(video_suffixes)})'}, or give another folder."
        )
    found.files = dict(sorted(found.files.items()))
    return found


def is_named_so(name: str, suffixes: Sequence[str]) -> bool:
    """Return whether a name has one of some ends, whatever its case."""
    return bool(suffixes) and name.lower().endswith(tuple(suffixes))


def etag_of(path: Path) -> str:
    """Return the ETag that an upload of a file has in S3, where it is not encrypted with a key of somebody's own.

    That of an upload in parts: S3 user guide, "Checking object integrity".
    """
    with path.open("rb") as file:
        if path.stat().st_size < _ONE_REQUEST_BYTES:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        parts = [
            hashlib.md5(part, usedforsecurity=False).digest() for part in iter(lambda: file.read(_PART_BYTES), b"")
        ]
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _key(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _problem(path: Path, key: str) -> str | None:
    """Say why a file cannot be taken."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8, as keys of S3 are: rename it"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link to nothing"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "a link to a folder is not followed: give that folder"
    return None if stat.S_ISREG(mode) else "no regular file"


def _left_out(name: str) -> str | None:
    """Say why a file is one that nobody wants mostly."""
    if name.startswith("."):
        return "hidden"
    kind, encoding = _TYPES.guess_type(name.lower())
    is_other = encoding or (kind and not kind.startswith("image/") and kind != "application/octet-stream")
    return "no image by its name" if is_other or name.lower() in _BESIDE_IMAGES else None


def upload_files(
    s3: S3Client,
    bucket: str,
    files: Mapping[str, Path],
    *,
    begins: Callable[[str], None] = lambda _: None,
    ends: Callable[[str], None],
    fails: Callable[[str, str], None],
) -> None:
    """Upload files, several at a time; interrupted, those that are under way are finished.

    Parameters
    ----------
    begins, ends
        Told of each key before and after its upload: `begins` in the thread of the upload, `ends` in the caller's.
    fails
        Told of each key whose file cannot be uploaded, and why; the others are.
    """

    def upload(key: str) -> tuple[str, str | None]:
        try:
            begins(key)
            s3.upload_file(str(files[key]), bucket, key, Config=_UPLOADING)
        except OSError as error:
            return key, f"it cannot be read ({error.strerror or error})"
        except S3UploadFailedError as error:
            cause = error.__context__
            if not isinstance(cause, ClientError) or cause.response.get("Error", {}).get("Code") not in _OF_ONE_FILE:
                raise
            return key, str(cause)
        return key, None

    def report(key: str, problem: str | None) -> None:
        if problem is None:
            ends(key)
        else:
            fails(key, problem)

    with ThreadPoolExecutor(PARALLEL) as pool:
        for group in batched(files, _GROUP, strict=False):
            jobs = [pool.submit(upload, key) for key in group]
            reported = set()
            try:
                for job in as_completed(jobs):
                    reported.add(job)
                    report(*job.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                for job in jobs:
                    if job not in reported and not job.cancelled() and job.exception() is None:
                        report(*job.result())
                raise
