"""Starts programs in the background, and stops them later, from this process or from another one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_POLL_SECONDS = 0.05
_LIFELINES: dict[int, int] = {}


@dataclass(frozen=True)
class BackgroundProcess:
    """A program in a session of its own, known by a file.

    Parameters
    ----------
    pid
        Its process id, which is also the id of its process group.
    started
        When the system says it started; with the pid it makes an identity, which a recycled pid does not share.
    marker
        A word of its command line.
    """

    pid: int
    started: str
    marker: str
    pid_file: Path

    def is_running(self) -> bool:
        """Whether the process lives, and is the one that was started."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        found = _look_up(self.pid)
        if found is None or found.started != self.started:
            return False
        # The command line is empty while the program replaces the fork, and again while it ends.
        return not found.command or self.marker in found.command

    def stop(self, timeout_seconds: float) -> None:
        """Ask it to stop, and kill its process group when it has not after `timeout_seconds`.

        A process that has ended, or whose pid belongs to another program now, is left alone.
        """
        if self.is_running():
            _signal_group(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + timeout_seconds
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        if self.is_running():
            _signal_group(self.pid, signal.SIGKILL)
            while self.is_running():
                time.sleep(_POLL_SECONDS)
        if (lifeline := _LIFELINES.pop(self.pid, None)) is not None:
            os.close(lifeline)
        self.pid_file.unlink(missing_ok=True)


def start_background(
    arguments: Sequence[str | Path],
    *,
    marker: str,
    environment: Mapping[str, str],
    directory: Path,
    log_file: Path,
    pid_file: Path,
    dies_with_parent: bool = False,
) -> BackgroundProcess:
    """Start a program in a session of its own, its output appended to `log_file`.

    Parameters
    ----------
    marker
        A word of the command line by which the program is known again.
    dies_with_parent
        Whether the program ends when this process ends, even when that is killed.

    Raises
    ------
    LocalError
        The program cannot be started.
    """
    for folder in (directory, log_file.parent, pid_file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    command = [str(argument) for argument in arguments]
    if marker not in " ".join(command):
        raise ValueError(f"{marker!r} is not in the command line {command}")
    try:
        with log_file.open("ab") as output:
            options: dict[str, Any] = {
                "cwd": directory,
                "env": dict(environment),
                "stdin": subprocess.DEVNULL,
                "stdout": output,
                "stderr": subprocess.STDOUT,
            }
            if dies_with_parent:
                process, lifeline = start_tied(command, **options)
                _LIFELINES[process.pid] = lifeline
            else:
                process = subprocess.Popen(command, start_new_session=True, **options)
    except OSError as error:
        raise LocalError(
            f"cannot start {command[0]}: {error.strerror}. Remove build/venvs and run the command again."
        ) from error
    found = _look_up(process.pid)
    background = BackgroundProcess(process.pid, found.started if found else "", marker, pid_file)
    pid_file.write_text(json.dumps({"pid": background.pid, "started": background.started, "marker": marker}) + "\n")
    # `is_running` reaps it; without this, subprocess warns of a process that is meant to go on.
    process.returncode = 0
    return background


def start_tied(command: Sequence[str], **options: Any) -> tuple[subprocess.Popen[Any], int]:
    """Start a program in a session of its own that ends when this process ends, even when that is killed.

    Parameters
    ----------
    options
        As for `subprocess.Popen`.

    Returns
    -------
    process, lifeline
        The lifeline is a file descriptor; closing it ends the program.
    """
    read_end, write_end = os.pipe()
    try:
        tied = [sys.executable, str(Path(__file__).with_name("lifeline.py")), str(read_end), *command]
        process = subprocess.Popen(tied, start_new_session=True, pass_fds=(read_end,), **options)
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return process, write_end


def find_background(pid_file: Path) -> BackgroundProcess | None:
    """Find the running program that a pid file names; None when there is none (a stale file is removed)."""
    try:
        content = json.loads(pid_file.read_text())
        background = BackgroundProcess(int(content["pid"]), str(content["started"]), str(content["marker"]), pid_file)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        background = None
    if background is not None and background.is_running():
        return background
    pid_file.unlink(missing_ok=True)
    return None


def tail(log_file: Path, line_count: int = 30) -> str:
    """The last lines of a log, to be shown in an error message."""
    with contextlib.suppress(FileNotFoundError):
        return "\n".join(log_file.read_text(errors="replace").splitlines()[-line_count:])
    return ""


@dataclass(frozen=True)
class _Found:
    started: str
    command: str


def _look_up(pid: int) -> _Found | None:
    """What the system says of a process; None when there is none, or only a dead one that nobody has waited for."""
    folder = Path(f"/proc/{pid}")
    if Path("/proc/self/stat").exists():
        try:
            # The name, in parentheses, may hold anything; the fields after it are state, ..., start time (the 22nd).
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else _Found(fields[19], command)
    result = subprocess.run(
        ["ps", "-ww", "-o", "stat=,lstart=,command=", "-p", str(pid)],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    words = result.stdout.split()
    if len(words) < 7 or words[0].startswith("Z"):
        return None
    command = " ".join(words[6:])
    return _Found(" ".join(words[1:6]), "" if command.startswith("(") else command)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
