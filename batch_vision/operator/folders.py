"""A folder of images, and its way into the source bucket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import batched
from typing import TYPE_CHECKING

from boto3.s3.transfer import TransferConfig

from batch_vision.operator.errors import WrongInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

PARALLEL = 16
_GROUP = 1000  # how many uploads are planned at a time: a folder may hold a million files
# No image that a model takes is larger: each is one request, and its ETag is the MD5 of its bytes.
_UPLOADING = TransferConfig(multipart_threshold=64 * 1024**2, use_threads=False)


def find_files(folder: Path, given: str) -> dict[str, Path]:
    """List the files of a folder and of those below it, by the key that each will have; hidden ones are left out.

    Parameters
    ----------
    given
        How the user gave the folder, for messages: ``IMAGES=pile``, say.

    Raises
    ------
    WrongInputError
        The folder does not exist, is none, or holds no file.
    """
    if not folder.exists():
        raise WrongInputError(f"{given} does not exist. Give the path of a folder with images.")
    if not folder.is_dir():
        raise WrongInputError(f"{given} is not a folder. Give the path of a folder with images.")
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        try:
            relative.as_posix().encode()
        except UnicodeEncodeError as error:
            raise WrongInputError(
                f"{given} holds {relative.as_posix()!r}, whose name is not UTF-8, as keys of S3 are. Rename it."
            ) from error
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            found[relative.as_posix()] = path
    if not found:
        raise WrongInputError(f"{given} holds no file. Put images into it, or give another folder.")
    return found


def upload_files(
    s3: S3Client,
    bucket: str,
    files: Mapping[str, Path],
    *,
    begins: Callable[[str], None] = lambda _: None,
    ends: Callable[[str], None],
) -> None:
    """Upload files, several at a time; interrupted, those that are under way are finished.

    Parameters
    ----------
    begins, ends
        Told of each key before and after its upload: `begins` in the thread of the upload, `ends` in the caller's.
    """

    def upload(key: str) -> str:
        begins(key)
        s3.upload_file(str(files[key]), bucket, key, Config=_UPLOADING)
        return key

    with ThreadPoolExecutor(PARALLEL) as pool:
        for group in batched(files, _GROUP, strict=False):
            jobs = [pool.submit(upload, key) for key in group]
            reported = set()
            try:
                for job in as_completed(jobs):
                    reported.add(job)
                    ends(job.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                for job in jobs:
                    if job not in reported and not job.cancelled() and job.exception() is None:
                        ends(job.result())
                raise
