"""Uploading a folder so that it can be interrupted: what is done is written down, and skipped the next time.

A drop-off bucket cannot tell, for what is analyzed leaves it, and the final bucket is not listed, for it holds all of
the past. So a journal on this machine has a line for each file that begins and one for each that is done. A file that
began and has no end (the machine was switched off) is looked for in both buckets.
"""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from batch_vision.aws.objects import found
from batch_vision.core.catalog import IMAGE, VIDEO
from batch_vision.core.names import usual_name
from batch_vision.core.videos import video_result_key
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.folders import Found, etag_of, is_named_so, upload_files
from batch_vision.operator.locks import lock
from batch_vision.operator.objects import read_result
from batch_vision.operator.user_folders import state_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch_vision.operator.stack import Stack


_LONGEST_KEY_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """A drop-off bucket.

    Attributes
    ----------
    noun
        What is put there.
    prefix
        What all keys begin with that the stack looks at.
    """

    noun: str
    bucket_name: str
    prefix: str

    def result_keys(self, key: str) -> list[str]:
        """Return where the result of a key may be."""
        if self.noun == VIDEO:
            return [video_result_key(key)]
        return [f"{at}/{usual_name(key)}.json" for at in ("processed", "rejected")]


def targets_of(stack: Stack, found: Found) -> tuple[dict[Target, Found], dict[str, str]]:
    """Return which files go to which drop-off bucket, and why each has none that has none.

    Raises
    ------
    WrongInputError
        The stack has no drop-off bucket.
    """
    videos = stack.videos
    buckets: dict[str, Target] = {}
    if stack.has_images and stack.is_drop_off:
        buckets[IMAGE] = Target(IMAGE, stack.source_bucket_name, stack.places.source_prefixes[0])
    if videos and videos.is_drop_off:
        buckets[VIDEO] = Target(VIDEO, videos.bucket_name, videos.scope.prefixes[0])
    answer: dict[Target, Found] = {}
    homeless: dict[str, str] = {}
    for name, path in found.files.items():
        noun = VIDEO if videos and is_named_so(name, videos.scope.suffixes) else IMAGE
        if noun in buckets:
            answer.setdefault(buckets[noun], Found()).files[name] = path
        else:
            bucket_name = videos.bucket_name if videos and noun == VIDEO else stack.images_bucket_name
            homeless[name] = f"put it into {bucket_name}, a bucket of your own" if bucket_name else "no image is taken"
    return answer, homeless


class Upload:
    """The upload of a folder to a drop-off bucket, while the `with` block of its journal lasts.

    Attributes
    ----------
    files
        What is to be uploaded now, by key.
    failed
        What cannot be uploaded, by its path within the folder, and why.
    uploaded, skipped
        How many files were uploaded by now, and how many need not be.
    """

    def __init__(
        self, stack: Stack, target: Target, journal: Journal, prefix: str, found: Found, *, is_again: bool
    ) -> None:
        self._stack, self._target, self._journal, self._prefix = stack, target, journal, prefix
        self.files: dict[str, Path] = {}
        self.failed = dict(found.failed)
        self.skipped = self.uploaded = 0
        for name, path in found.files.items():
            key = f"{prefix}{name}"
            if (length := len(key.encode())) > _LONGEST_KEY_BYTES:
                self.failed[name] = f"it would be a key of {length} bytes; S3 takes {_LONGEST_KEY_BYTES}: shorten it"
                continue
            try:
                is_done = not is_again and self._is_done(key, path)
            except OSError as error:
                self.failed[name] = f"it cannot be read ({error.strerror or error})"
                continue
            if is_done:
                self.skipped += 1
            else:
                self.files[key] = path

    def run(self, progress: Callable[[int], None]) -> None:
        """Upload; interrupted, what is under way is finished and written down."""

        def begins(key: str) -> None:
            self._journal.write(key, _Mark.of(self.files[key]), is_done=False)

        def ends(key: str) -> None:
            self._journal.write(key, self._journal.begun[key], is_done=True)
            self.uploaded += 1
            progress(self.uploaded)

        def fails(key: str, problem: str) -> None:
            self.failed[key.removeprefix(self._prefix)] = problem

        bucket = self._target.bucket_name
        upload_files(self._stack.s3, bucket, self.files, begins=begins, ends=ends, fails=fails)

    def _is_done(self, key: str, path: Path) -> bool:
        mark = _Mark.of(path)
        if self._journal.done.get(key) == mark:
            return True
        if self._journal.begun.get(key) == mark and self._is_there(key, path):
            self._journal.write(key, mark, is_done=True)
            return True
        return False

    def _is_there(self, key: str, path: Path) -> bool:
        """Return whether a bucket has these very bytes under a key; not to be told with a customer key, so then no."""
        etag, stack = etag_of(path), self._stack
        head = found(stack.s3.head_object, Bucket=self._target.bucket_name, Key=key)
        if head and head["ETag"].strip('"') == etag:
            return True
        results = (read_result(stack.s3, stack.final_bucket_name, at) for at in self._target.result_keys(key))
        return any(result and result[0]["source"]["etag"] == etag for result in results)


@dataclass(frozen=True, slots=True)
class _Mark:
    """What tells a file from a later one of the same name."""

    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> _Mark:
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns)


class Journal:
    """The files that began and those that are done, by key; a line of JSON for each.

    In a `with` block it is this process's alone: a second upload of the folder waits, and then finds what is done.

    Raises
    ------
    WrongInputError
        It cannot be read or written.
    """

    def __init__(self, file: Path, *, waits: Callable[[], None] = lambda: None) -> None:
        self._file, self._waits = file, waits
        self._threads = threading.Lock()
        self.begun: dict[str, _Mark] = {}
        self.done: dict[str, _Mark] = {}

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._open = undo.enter_context(self._file.open("a+", encoding="utf-8", errors="replace"))
                lock(self._open, self._waits)
                self._open.seek(0)
                for line in self._open:
                    self._read(line)
            except OSError as error:
                raise self._unwritable(error) from error
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()  # which unlocks it

    def write(self, key: str, mark: _Mark, *, is_done: bool) -> None:
        """Write a line, at once."""
        line = json.dumps([key, mark.size_bytes, mark.modified_ns, is_done])
        with self._threads:
            (self.done if is_done else self.begun)[key] = mark
            try:
                self._open.write(f"{line}\n")
                self._open.flush()
            except OSError as error:
                raise self._unwritable(error) from error

    def _read(self, line: str) -> None:
        try:
            key, size_bytes, modified_ns, is_done = json.loads(line)
            (self.done if is_done else self.begun)[key] = _Mark(size_bytes, modified_ns)
        except (ValueError, TypeError):
            return  # the last line of one that was killed

    def _unwritable(self, error: OSError) -> WrongInputError:
        return WrongInputError(
            f"The journal of uploads, {self._file}, cannot be written ({error.strerror or error}). Without it nothing"
            " tells what was uploaded before. Set XDG_STATE_HOME to a folder that you may write to."
        )


def journal_of(
    stack: Stack, target: Target, folder: Path, prefix: str, *, waits: Callable[[], None] = lambda: None
) -> Journal:
    """Return the journal of the uploads of a folder to a drop-off bucket.

    Parameters
    ----------
    waits
        Called again and again while another process uploads the same folder.
    """
    # The bucket of a stack that was made again holds nothing of this.
    identity = [target.bucket_name, stack.identity, str(folder.resolve()), prefix]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return Journal(state_folder() / f"upload-{name}.jsonl", waits=waits)
