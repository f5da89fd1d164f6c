"""Commands that heed Ctrl-C, wherever the tests run."""

from __future__ import annotations

import sys

_HEED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"


def interruptible(*words: str) -> list[str]:
    """The command line of a command that heeds Ctrl-C: a shell in the background ignores it, and so does all it calls.

    Not a `preexec_fn`, which runs Python in a fork of this process: there a library may wait for threads that are gone.
    """
    return [sys.executable, "-c", _HEED, *words]
