"""Runs a command that must not outlive whoever started it: `python lifeline.py FD COMMAND...`.

FD is the reading end of a pipe whose writing end only the starter has. The operating system closes that end when the
starter ends, however it ends; the command is then asked to stop, and killed with its process group if it does not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import psutil

STOP_SECONDS = 10.0


def kill_session(session_id: int) -> None:
    """Kill every process of a session, those in process groups of their own too (as Terraform's providers are).

    The caller, if it is one of them, goes last.
    """
    for pid in set(psutil.pids()) - {os.getpid()}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == session_id:
                os.kill(pid, signal.SIGKILL)
    if os.getsid(0) == session_id:
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Run the command, watch the pipe, and return the command's exit status."""
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    # The command gets these signals itself, as a member of the same group; this process stays until it has ended.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    process = subprocess.Popen(command)
    is_cut = threading.Event()

    def watch() -> None:
        os.read(lifeline, 1)
        is_cut.set()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        kill_session(os.getsid(0))

    threading.Thread(target=watch, daemon=True).start()
    status = process.wait()
    if is_cut.is_set():
        # Not left to the watching thread, which ends with this one: what the command has left would live on.
        kill_session(os.getsid(0))
    return status


if __name__ == "__main__":
    sys.exit(main())
