"""What was judged and has not reached the final bucket: a file on this machine, so that no kill loses it."""

from __future__ import annotations

import json
import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from batch_vision.core.corrections import read_line
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.locks import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batch_vision.core.corrections import Correction

_MOST_AT_ONCE = 5000  # corrections of one object: some MB


class Journal:
    """Corrections, a line of JSON for each, and a line for those that have reached the bucket.

    In a `with` block it is this process's alone.

    Raises
    ------
    WrongInputError
        It cannot be read or written, or another process has it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._threads = threading.RLock()
        self._sending = threading.Lock()
        self._lines: list[Correction | None] = []  # None for one that cannot be read

    @property
    def waiting(self) -> list[Correction]:
        """What has not reached the final bucket."""
        return [one for one in self._lines if one]

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            try:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # Lines end with \n whatever the system: a key may hold another end of a line.
                self._open = undo.enter_context(self._file.open("a+", encoding="utf-8", errors="replace", newline="\n"))
                lock(self._open, self._refuse)
                self._open.seek(0)
                text = self._open.read()
                self._read(text)
                if not self.waiting:
                    self._lines.clear()
                    self._open.truncate(0)
                elif not text.endswith("\n"):
                    self._append("")  # what is half written stays alone
            except OSError as error:
                raise self._unwritable(error) from error
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.waiting:
            self._open.truncate(0)
        self._open.close()  # which unlocks it

    def add(self, corrections: Sequence[Correction]) -> None:
        """Write corrections down; when it returns, the disk has them."""
        with self._threads:
            self._append("\n".join(json.dumps(correction.to_line()) for correction in corrections))
            self._lines += corrections

    def send(self, write: Callable[[Sequence[Correction]], object]) -> None:
        """Hand what waits to `write`, and note that it need not be written again; what that raises is raised."""
        with self._sending:
            while batch := self._lines[:_MOST_AT_ONCE]:
                if readable := [one for one in batch if one]:
                    write(readable)
                with self._threads:
                    self._append(json.dumps({"sent": len(batch)}))
                    del self._lines[: len(batch)]

    def _append(self, text: str) -> None:
        try:
            self._open.write(f"{text}\n")
            self._open.flush()
            os.fsync(self._open.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def _read(self, text: str) -> None:
        for entry in filter(None, text.split("\n")):
            try:
                line = json.loads(entry)
                if "sent" in line:
                    del self._lines[: int(line["sent"])]
                else:
                    self._lines.append(read_line(line))
            except (ValueError, TypeError):
                # Half of a line, of a process that was killed while it wrote: nobody was told of it. It counts as one
                # of those that are sent, as it did for whoever wrote what follows.
                self._lines.append(None)

    def _refuse(self) -> None:
        raise WrongInputError(
            f"Another review of this stack is under way on this machine: it has {self._file}. Use that one, or end it"
            " with Ctrl-C first."
        )

    def _unwritable(self, error: OSError) -> WrongInputError:
        return WrongInputError(
            f"The journal of the review, {self._file}, cannot be written ({error.strerror or error}). Without it a"
            " judgement could be lost. Set XDG_STATE_HOME to a folder that you may write to."
        )
