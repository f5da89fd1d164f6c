"""Lists of objects that a user names: read from end to end before anything is written, then copied for the planner."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_vision.aws.objects import found
from batch_vision.core.backfills import Kind, Source, list_key
from batch_vision.core.lists import DAMAGES, Inventory, ListError, Row, read_rows
from batch_vision.core.times import utc_now
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch_vision.operator.stack import Stack

# Names of buckets as S3 has them, those of before 2018 included.
_URL = re.compile(r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9])/(?P<key>.+)", re.DOTALL)
_TELL_EVERY = 1000


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """A file of a list that is an object.

    Attributes
    ----------
    etag
        Of the object that was read: it is copied only as long as it is that one.
    """

    bucket: str
    key: str
    etag: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A list that a user named, found and not read yet.

    Attributes
    ----------
    name
        As the user gave it.
    inventory
        What its manifest says; None for a CSV list.
    files
        Objects, or one file of this machine.
    """

    name: str
    inventory: Inventory | None
    files: tuple[ObjectFile | Path, ...]

    def source(self, job: str) -> Source:
        """Return what the job says of it."""
        files = tuple(list_key(job, number, _suffix(file)) for number, file in enumerate(self.files))
        if self.inventory:
            return Source(Kind.INVENTORY, name=self.name, fields=self.inventory.fields, files=files)
        return Source(Kind.CSV, name=self.name, files=files)


def open_inventory(stack: Stack, url: str) -> ObjectList:
    """Find an inventory by its manifest, and every one of its files.

    Raises
    ------
    WrongInputError
        There is none, it is of another bucket, or a file is missing.
    """
    bucket, key = _place(url, "--inventory")
    answer = found(stack.s3.get_object, Bucket=bucket, Key=key)
    if answer is None:
        raise WrongInputError(f"--inventory is {url}, and there is no such object. Give the URL of a manifest.json.")
    try:
        inventory = Inventory.from_manifest(answer["Body"].read())
    except ListError as error:
        raise WrongInputError(f"--inventory is {url}. {error}") from error
    if inventory.bucket != stack.images_bucket_name:
        raise WrongInputError(
            f"--inventory is of bucket {inventory.bucket!r}, and the stack analyzes the images of"
            f" {stack.images_bucket_name!r}. Give an inventory of that bucket."
        )
    return ObjectList(url, inventory, tuple(_find(stack, bucket, each, f"inventory {url}") for each in inventory.files))


def open_csv(stack: Stack, name: str) -> ObjectList:
    """Find a CSV list: an object, or a file of this machine.

    Raises
    ------
    WrongInputError
        There is none of that name.
    """
    if name.startswith("s3://"):
        bucket, key = _place(name, "--list")
        return ObjectList(name, None, (_find(stack, bucket, key, f"--list {name}"),))
    if "\0" in name:
        raise WrongInputError(f"--list is {name!r}, which is no path. Give a file, or s3://bucket/key.csv.")
    try:
        with Path(name).open("rb"):
            return ObjectList(name, None, (Path(name),))
    except OSError as error:
        raise WrongInputError(
            f"--list is {name}, which cannot be read ({error.strerror or error}). Give a file, or s3://bucket/key.csv."
        ) from error


def survey_list(stack: Stack, listed: ObjectList, progress: Callable[[int], None]) -> Survey:
    """Read a list from end to end, and count its rows in scope as the planner does.

    Parameters
    ----------
    progress
        Told how many rows were read.

    Raises
    ------
    WrongInputError
        A file of it cannot be read; the message names file and line.
    """
    answer, now, scope = Survey(), utc_now(), stack.scope
    for file in listed.files:
        for row in _rows(stack, listed, file):
            answer.listed += 1
            if answer.listed % _TELL_EVERY == 0:
                progress(answer.listed)
            if reason := row.why_left_out(scope, now):
                answer.left_out[reason] += 1
            else:
                answer.images += 1
    return answer


def copy_list(stack: Stack, listed: ObjectList, source: Source, progress: Callable[[int], None]) -> None:
    """Copy the files of a list to the final bucket, where the planner reads them: it may read no other one's bucket."""
    for done, (file, key) in enumerate(zip(listed.files, source.files, strict=True), start=1):
        if isinstance(file, Path):
            stack.s3.upload_file(str(file), stack.final_bucket_name, key)
        else:
            place: Any = {"Bucket": file.bucket, "Key": file.key}
            # Fails where the object is not the one that was read any more.
            stack.s3.copy(place, stack.final_bucket_name, key, ExtraArgs={"CopySourceIfMatch": file.etag})
        progress(done)


def _place(url: str, option: str) -> tuple[str, str]:
    if not (match := _URL.fullmatch(url)):
        raise WrongInputError(f"{option} is {url!r}, which is no URL of an object. Give s3://bucket/key.")
    return match["bucket"], match["key"]


def _find(stack: Stack, bucket: str, key: str, of: str) -> ObjectFile:
    head = found(stack.s3.head_object, Bucket=bucket, Key=key)
    if head is None:
        raise WrongInputError(f"{of}: there is no object s3://{bucket}/{key}. Give a list whose files are all there.")
    return ObjectFile(bucket, key, head["ETag"])


def _suffix(file: ObjectFile | Path) -> str:
    return ".csv.gz" if _file_name(file).lower().endswith(".gz") else ".csv"


def _file_name(file: ObjectFile | Path) -> str:
    return file.name if isinstance(file, ObjectFile) else str(file)


def _rows(stack: Stack, listed: ObjectList, file: ObjectFile | Path) -> Iterator[Row]:
    name, read = _file_name(file), 0
    with closing(_open(stack, file)) as opened:
        try:
            rows = read_rows(
                opened, stack.images_bucket_name, name, listed.inventory, is_gzip=_suffix(file).endswith(".gz")
            )
            for row in rows:
                read += 1
                yield row
        except ListError as error:
            raise WrongInputError(str(error)) from error
        except DAMAGES as error:
            raise WrongInputError(
                f"{name}, after line {read}: the file is damaged, or no CSV in UTF-8 ({error}). Write it again."
            ) from error


def _open(stack: Stack, file: ObjectFile | Path) -> Any:
    if isinstance(file, Path):
        return file.open("rb")
    answer = found(stack.s3.get_object, Bucket=file.bucket, Key=file.key, IfMatch=file.etag)
    if answer is None:
        raise WrongInputError(f"{file.name} was replaced or deleted while it was read. Give a list that stays.")
    return answer["Body"]
