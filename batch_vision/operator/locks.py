"""A file that one process at a time has to itself."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL_SECONDS = 0.5


def lock(file: IO[str], waits: Callable[[], None]) -> None:
    """Wait until no other process has a file; closing it, or the end of the process, sets it free.

    Parameters
    ----------
    waits
        Called again and again while another process has it.
    """
    while not _try_lock(file):
        waits()
        time.sleep(_POLL_SECONDS)


if sys.platform == "win32":

    def _try_lock(file: IO[str]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
