"""One execution environment of a function: its process, its log and the rules of AWS Lambda around them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .runtime_api import Response, RuntimeApi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .runtime_api import Invocation
    from .settings import ExecutorSettings

_LAUNCHER = Path(__file__).resolve().with_name("launch.py")


@dataclass(frozen=True)
class FunctionConfiguration:
    """What the sandbox has to know of a function.

    Parameters
    ----------
    task_root
        The unpacked deployment package; the function's working directory.
    environment
        Every variable of the function, those that AWS defines included.
    """

    name: str
    handler: str
    task_root: Path
    timeout_seconds: float
    memory_mb: int
    environment: Mapping[str, str]
    version: str = "$LATEST"


@dataclass(frozen=True)
class Outcome:
    """The result of one invocation, and what was logged in the course of it."""

    payload: bytes
    is_error: bool
    logs: str


@dataclass(frozen=True)
class _Failure:
    """An end that the runtime itself could not report: killed at the deadline, or dead."""

    error_type: str
    message: str
    log_line: str
    status: str

    def payload(self, request_id: str) -> bytes:
        message = f"RequestId: {request_id} Error: {self.message}"
        return json.dumps({"errorType": self.error_type, "errorMessage": message}).encode()


def _timed_out(timeout_seconds: float, request_id: str) -> _Failure:
    message = f"Task timed out after {timeout_seconds:.2f} seconds"
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _Failure("Sandbox.Timedout", message, f"{now} {request_id} {message}", "timeout")


def _exited(exit_code: int | None, request_id: str) -> _Failure:
    if exit_code is not None and exit_code < 0:
        reason = signal.strsignal(-exit_code) or f"signal {-exit_code}"
        message = f"Runtime exited with error: signal: {reason.lower()}"
    elif exit_code:
        message = f"Runtime exited with error: exit status {exit_code}"
    else:
        message = "Runtime exited without providing a reason"
    log_line = f"RequestId: {request_id} Error: {message}\nRuntime.ExitError"
    return _Failure("Runtime.ExitError", message, log_line, "error\tError Type: Runtime.ExitError")


class RuntimeProcess:
    """One process of the runtime client, with the Runtime API it talks to, in a process group of its own."""

    def __init__(self, settings: ExecutorSettings, function: FunctionConfiguration, home: Path, output: Path) -> None:
        self.api = RuntimeApi()
        faults = [] if settings.fault_directory is None else [settings.fault_directory, function.name]
        lifeline, self._lifeline = os.pipe()
        try:
            with output.open("ab") as output_file:
                self._process = subprocess.Popen(
                    [settings.python, "-s", "-B", _LAUNCHER, str(lifeline), function.handler, *faults],
                    cwd=function.task_root,
                    env=self._environment(function, home),
                    stdin=subprocess.DEVNULL,
                    stdout=output_file,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lifeline,),
                    start_new_session=True,
                )
        except OSError:
            os.close(self._lifeline)
            self.api.close()
            raise
        finally:
            os.close(lifeline)
        self._reaping = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="runtime-process", daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        """The supervisor's process id, which is also the id of the process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """As of `subprocess`: None while it runs, negative for a signal."""
        return self._process.returncode

    @property
    def has_ended(self) -> bool:
        """Whether the process and its group have ended."""
        return self.api.has_exited

    def kill(self) -> None:
        """Kill the whole process group and wait for its end; nothing happens when it has ended."""
        with self._reaping:
            if self._process.returncode is None:
                self._kill_group()
        self._watcher.join()
        self.api.close()

    def peak_memory_mb(self) -> int | None:
        """Peak resident memory of the runtime client, in MB, where the system tells it at no cost (Linux)."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            for line in Path(f"/proc/{children[0]}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return math.ceil(int(line.split()[1]) / 1024)
        return None

    def _environment(self, function: FunctionConfiguration, home: Path) -> dict[str, str]:
        temporary = home / "tmp"
        temporary.mkdir(exist_ok=True)
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            # A home of its own: boto3 would read the user's profile.
            "HOME": str(home),
            "TMPDIR": str(temporary),
            **function.environment,
            "AWS_LAMBDA_RUNTIME_API": self.api.address,
            "LAMBDA_TASK_ROOT": str(function.task_root),
        }

    def _watch(self) -> None:
        if hasattr(os, "waitid"):
            # Looked at but not reaped yet, the process keeps its number, and so does its group.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with self._reaping:
            self._kill_group()
            self._process.wait()
        os.close(self._lifeline)
        self.api.runtime_exited()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class Sandbox:
    """Runs a function's invocations one after another, in one process for as long as that lives.

    A process that timed out or died is replaced at the next invocation, as AWS does. Nothing that a function does is an
    exception here: every end is an `Outcome`.

    Everything is written to one file: the runtime writes there itself, the executor adds its own lines between. Nothing
    is lost when a process is killed, nothing has to be drained, and the order is the order of writing.
    """

    def __init__(self, function: FunctionConfiguration, settings: ExecutorSettings) -> None:
        self._function = function
        self._settings = settings
        self._home = Path(tempfile.mkdtemp(prefix=f"lambda-{function.name}-"))
        self._output = self._home / "output.log"
        self._output.touch()
        self._output_read_bytes = 0
        self._log_file = settings.log_directory / f"{function.name}.log"
        self._process: RuntimeProcess | None = None
        self._init_ms: float | None = None
        self._is_stopped = False
        self._replacing = threading.Lock()
        self._working = threading.RLock()

    @property
    def pid(self) -> int | None:
        """Process id, and process group id, of the present runtime process."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start a process and wait until it is ready or has failed; the next `invoke` reports the failure.

        Raises
        ------
        OSError
            The interpreter cannot be started.
        RuntimeError
            The sandbox has been stopped.
        """
        with self._working:
            begun = time.monotonic()
            with self._replacing:
                if self._is_stopped:
                    raise RuntimeError(f"the environment of {self._function.name} has been stopped")
                if self._process is not None:
                    self._process.kill()
                process = RuntimeProcess(self._settings, self._function, self._home, self._output)
                self._process = process
            process.api.wait_for_start(self._settings.start_seconds)
            self._init_ms = (time.monotonic() - begun) * 1000

    def invoke(self, invocation: Invocation) -> Outcome:
        """Run one event to its end: response, error, timeout or death.

        Raises
        ------
        OSError, RuntimeError
            As of `start`.
        """
        with self._working:
            if self._is_stopped:
                raise RuntimeError(f"the environment of {self._function.name} has been stopped")
            process = self._usable_process()
            self._write_line(f"START RequestId: {invocation.request_id} Version: {self._function.version}")
            begun = time.monotonic()
            result = self._run(process, invocation)
            duration_ms = (time.monotonic() - begun) * 1000
            if isinstance(result, _Failure):
                self._write_line(result.log_line)
                response = Response(result.payload(invocation.request_id), is_error=True)
            else:
                response = result
            self._write_line(f"END RequestId: {invocation.request_id}")
            self._write_line(self._report(invocation.request_id, duration_ms, result))
            self._init_ms = None
            return Outcome(response.payload, response.is_error, self._collect_output())

    def stop(self) -> None:
        """Kill what runs, keep what was logged, and remove the sandbox's folder."""
        with self._replacing:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()
        with self._working:
            if self._home.exists():
                self._collect_output()
                shutil.rmtree(self._home, ignore_errors=True)

    def output(self) -> str:
        """Everything that the sandbox has logged; empty after `stop`."""
        with contextlib.suppress(FileNotFoundError):
            return self._output.read_text(errors="replace")
        return ""

    def _usable_process(self) -> RuntimeProcess:
        is_new = self._init_ms is not None
        if self._process is None or (self._process.has_ended and not is_new):
            self.start()
        assert self._process is not None  # noqa: S101 - for the type checker: start() sets it
        return self._process

    def _run(self, process: RuntimeProcess, invocation: Invocation) -> Response | _Failure:
        """Pass the event to the process, and find out how it ended when there is no response."""
        if process.api.init_error is not None:
            process.kill()
            return Response(_with_request_id(process.api.init_error, invocation.request_id), is_error=True)
        if not process.api.is_ready and not process.has_ended:
            process.kill()
            return _timed_out(self._settings.start_seconds, invocation.request_id)
        response = process.api.invoke(invocation, self._function.timeout_seconds)
        if response is not None:
            return response
        if process.has_ended:
            if self._init_ms is None and not process.api.was_delivered:
                # It had died of something before: this event has not been tried yet.
                self.start()
                return self._run(self._usable_process(), invocation)
            return _exited(process.exit_code, invocation.request_id)
        process.kill()
        return _timed_out(self._function.timeout_seconds, invocation.request_id)

    def _report(self, request_id: str, duration_ms: float, result: Response | _Failure) -> str:
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {duration_ms:.2f} ms",
            f"Billed Duration: {math.ceil(duration_ms)} ms",
            f"Memory Size: {self._function.memory_mb} MB",
        ]
        peak_memory_mb = self._process.peak_memory_mb() if self._process is not None else None
        if peak_memory_mb is not None:
            fields.append(f"Max Memory Used: {peak_memory_mb} MB")
        if self._init_ms is not None:
            fields.append(f"Init Duration: {self._init_ms:.2f} ms")
        if isinstance(result, _Failure):
            fields.append(f"Status: {result.status}")
        return "\t".join(fields)

    def _write_line(self, line: str) -> None:
        with self._output.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = f"\n{line}"
            file.write(f"{line}\n".encode())

    def _collect_output(self) -> str:
        """What was written since the last time; it goes to the function's log file too."""
        with self._output.open("rb") as file:
            file.seek(self._output_read_bytes)
            new = file.read()
        self._output_read_bytes += len(new)
        text = new.decode(errors="replace")
        if text:
            self._log_file.parent.mkdir(parents=True, exist_ok=True)
            # The runtime client ends the lines of a traceback with CR, which keeps it one event in CloudWatch.
            with self._log_file.open("ab") as file:
                file.write(text.replace("\r", "\n").encode())
        return text


def _with_request_id(payload: bytes, request_id: str) -> bytes:
    """Fill in the request, which the runtime client does not know yet while it loads a handler."""
    with contextlib.suppress(ValueError):
        error = json.loads(payload)
        if isinstance(error, dict) and not error.get("requestId"):
            return json.dumps({**error, "requestId": request_id}).encode()
    return payload
