"""Uploading a folder so that it can be interrupted: what is done is written down, and skipped the next time.

The source bucket cannot tell, for images leave it when they are analyzed, and the final bucket is not listed, for it
holds all of the past. So a journal on this machine has a line for each file that begins and one for each that is done.
A file that began and has no end (the machine was switched off) is looked for in both buckets.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch_vision.core.names import usual_name
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.folders import upload_files
from batch_vision.operator.objects import found, read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batch_vision.operator.stack import Stack


_LONGEST_KEY_BYTES = 1024


class Upload:
    """The upload of a folder to a stack.

    Attributes
    ----------
    files
        What is to be uploaded now, by key.
    uploaded, skipped
        How many files were uploaded by now, and how many need not be.
    """

    def __init__(self, stack: Stack, folder: Path, prefix: str, files: Mapping[str, Path], *, is_again: bool) -> None:
        self._stack = stack
        self._journal = Journal(_journal_file(stack, folder, prefix))
        candidates = {f"{prefix}{name}": path for name, path in files.items()}
        if too_long := next((key for key in candidates if len(key.encode()) > _LONGEST_KEY_BYTES), None):
            raise WrongInputError(
                f"{too_long!r} would be a key of {len(too_long.encode())} bytes; S3 takes {_LONGEST_KEY_BYTES}."
                " Shorten the path within the folder, or --prefix."
            )
        self.files = {key: path for key, path in candidates.items() if is_again or not self._is_done(key, path)}
        self.skipped = len(candidates) - len(self.files)
        self.uploaded = 0

    def run(self, progress: Callable[[int], None]) -> None:
        """Upload; interrupted, what is under way is finished and written down."""

        def begins(key: str) -> None:
            self._journal.write(key, _Mark.of(self.files[key]), is_done=False)

        def ends(key: str) -> None:
            self._journal.write(key, self._journal.begun[key], is_done=True)
            self.uploaded += 1
            progress(self.uploaded)

        upload_files(self._stack.s3, self._stack.source_bucket_name, self.files, begins=begins, ends=ends)

    def _is_done(self, key: str, path: Path) -> bool:
        mark = _Mark.of(path)
        if self._journal.done.get(key) == mark:
            return True
        if self._journal.begun.get(key) == mark and self._is_there(key, path):
            self._journal.write(key, mark, is_done=True)
            return True
        return False

    def _is_there(self, key: str, path: Path) -> bool:
        """Tell whether a bucket has these very bytes under a key; not to be told with a customer key, so then no."""
        with path.open("rb") as file:
            etag = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        stack, name = self._stack, usual_name(key)
        head = found(stack.s3.head_object, Bucket=stack.source_bucket_name, Key=key)
        if head and head["ETag"].strip('"') == etag:
            return True
        results = (
            read_result(stack.s3, stack.final_bucket_name, f"{at}/{name}.json") for at in ("processed", "rejected")
        )
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
    """The files that began and those that are done, by key; a line of JSON for each."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.begun: dict[str, _Mark] = {}
        self.done: dict[str, _Mark] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                self._read(line)
        file.parent.mkdir(parents=True, exist_ok=True)

    def write(self, key: str, mark: _Mark, *, is_done: bool) -> None:
        """Write a line, at once."""
        line = json.dumps([key, mark.size_bytes, mark.modified_ns, is_done])
        with self._lock:
            (self.done if is_done else self.begun)[key] = mark
            with self._file.open("a") as file:
                file.write(f"{line}\n")

    def _read(self, line: str) -> None:
        try:
            key, size_bytes, modified_ns, is_done = json.loads(line)
        except ValueError:
            return  # the last line of one that was killed
        (self.done if is_done else self.begun)[key] = _Mark(size_bytes, modified_ns)


def _journal_file(stack: Stack, folder: Path, prefix: str) -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    # The mapping's UUID is new whenever the stack is: the bucket of a stack that was made again holds nothing of this.
    identity = [stack.source_bucket_name, stack.event_source_mapping_uuid, str(folder.resolve()), prefix]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return state / "batch-vision" / f"upload-{name}.jsonl"
