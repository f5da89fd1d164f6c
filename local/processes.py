"""Starts programs in the background, and stops them later, from this process or from another one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from local.errors import LocalError
from local.lifeline import kill_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Holds a word that only the one process and its children have: a pid alone may belong to another program by now, and
# the time of its start as psutil gives it moves with the clock.
_VARIABLE = "BATCH_VISION_PROCESS"
_LIFELINES: dict[int, int] = {}


@dataclass(frozen=True)
class BackgroundProcess:
    """A program in a session of its own, known by a file.

    Parameters
    ----------
    pid
        Its process id, which is also the id of its session and of its process group.
    word
        What its environment holds.
    """

    pid: int
    word: str
    pid_file: Path

    def is_running(self) -> bool:
        """Whether the process lives, and is the one that was started."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        try:
            process = psutil.Process(self.pid)
            # Empty while the program replaces the fork, and again while it ends.
            environment = process.environ()
            is_dead = process.status() == psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        return not is_dead and (not environment or environment.get(_VARIABLE) == self.word)

    def stop(self, timeout_seconds: float) -> None:
        """Ask it to stop, and kill its session when it has not after `timeout_seconds`.

        A process that has ended, or whose pid belongs to another program now, is left alone.
        """
        if self.is_running():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                process = psutil.Process(self.pid)
                os.killpg(self.pid, signal.SIGTERM)
                process.wait(timeout_seconds)
        if self.is_running():
            kill_session(self.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(self.pid).wait()
        if (lifeline := _LIFELINES.pop(self.pid, None)) is not None:
            os.close(lifeline)
        self.pid_file.unlink(missing_ok=True)


def start_background(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    directory: Path,
    log_file: Path,
    pid_file: Path,
    dies_with_parent: bool = False,
) -> BackgroundProcess:
    """Start a program in a session of its own, its output appended to `log_file`.

    Parameters
    ----------
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
    word = uuid.uuid4().hex
    try:
        with log_file.open("ab") as output:
            options: dict[str, Any] = {
                "cwd": directory,
                "env": dict(environment) | {_VARIABLE: word},
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
    pid_file.write_text(json.dumps({"pid": process.pid, "word": word}) + "\n")
    # `is_running` reaps it; without this, subprocess warns of a process that is meant to go on.
    process.returncode = 0
    return BackgroundProcess(process.pid, word, pid_file)


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
        background = BackgroundProcess(int(content["pid"]), str(content["word"]), pid_file)
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
