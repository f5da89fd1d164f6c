"""The program of one execution environment: a supervisor, and below it AWS's Python runtime client.

Run by the function's interpreter as `python launch.py LIFELINE_FD HANDLER [FAULT_DIRECTORY FUNCTION_NAME]`, as the
leader of its own process group. With a directory, `faults.py` makes happen in the function what a test asks for there.

The supervisor exists for one promise: whatever ends the executor, nothing of the function lives on. It holds the
reading end of a pipe whose writing end only the executor has. The operating system closes that end even when the
executor is killed, on Linux and macOS alike, and the supervisor then kills the group, the function's own children
included.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import runpy
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Fork the runtime client and stay behind to watch over it."""
    lifeline, handler, fault_arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worker = os.fork()
    if worker == 0:
        os.close(lifeline)
        _run_runtime_client(handler, fault_arguments)
    threading.Thread(target=_die_with_executor, args=(lifeline,), daemon=True).start()
    _, status = os.waitpid(worker, 0)
    _end_like(os.waitstatus_to_exitcode(status))


def _run_runtime_client(handler: str, fault_arguments: list[str]) -> NoReturn:
    # As on AWS, the function's own folder comes first; the folder of this file is none of its business.
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    sys.argv = ["awslambdaric", handler]
    if fault_arguments:
        _install_faults(*fault_arguments)
    runpy.run_module("awslambdaric", run_name="__main__", alter_sys=True)
    sys.exit(0)


def _install_faults(directory: str, function_name: str) -> None:
    # Under a name that no module of the function has.
    name = "batch_vision_lambda_faults"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("faults.py"))
    sys.modules[name] = faults = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(faults)
    faults.install(Path(directory), function_name)


def _die_with_executor(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def _end_like(exit_code: int) -> NoReturn:
    """End as the runtime client did, so that the executor can tell an exit status from a signal."""
    if exit_code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(-exit_code, signal.SIG_DFL)
        os.kill(os.getpid(), -exit_code)
        signal.pause()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
