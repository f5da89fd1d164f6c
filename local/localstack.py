"""Runs LocalStack on this machine as a plain process, without Docker."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local import config
from local.errors import LocalError
from local.install import STATIC_LIBRARIES
from local.processes import BackgroundProcess, find_background, start_background, tail

if TYPE_CHECKING:
    from collections.abc import Mapping

PYTHON = config.BUILD / "venvs" / "localstack" / "bin" / "python"
LAMBDA_PYTHON = config.BUILD / "venvs" / "lambda-runtime" / "bin" / "python"
EXECUTOR = config.REPOSITORY / "local" / "lambda_executor"
DIRECTORY = config.LOCAL_BUILD / "localstack"
PID_FILE = config.LOCAL_BUILD / "localstack.pid"
LOG_FILE = config.LOGS / "localstack.log"
LAMBDA_LOGS = config.LOGS / "lambda"

START_SECONDS = 240.0
# It holds nothing that outlives it, and takes a quarter of a minute to end by itself; its functions end with it.
STOP_SECONDS = 2.0
# How long its port may stay taken after that.
_FREE_SECONDS = 15.0
LAMBDA_START_SECONDS = 30
HEALTH_SECONDS = 5.0

_MODULE = "localstack.runtime.main"
_WITHOUT_PROXY = config.without_proxy({})
_HEALTH_PATH = "/_localstack/health"


class PortInUseError(LocalError):
    """Another program listens on LocalStack's port."""


class LocalStackStartError(LocalError):
    """LocalStack ended, or was not healthy in time."""


@dataclass(frozen=True)
class LocalStack:
    """A LocalStack that was started here, now or by an earlier command."""

    process: BackgroundProcess
    port: int

    @property
    def url(self) -> str:
        """The endpoint of every service."""
        return f"http://127.0.0.1:{self.port}"

    def is_healthy(self) -> bool:
        """Return whether the process runs and answers."""
        return self.process.is_running() and is_healthy(self.port)

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """Stop it and remove its data; its log stays."""
        self.process.stop(timeout_seconds)
        # A function that it ran may hold its socket for a moment longer, and the next one wants the port.
        deadline = time.monotonic() + _FREE_SECONDS
        while _is_taken(self.port) and time.monotonic() < deadline:
            time.sleep(0.1)
        shutil.rmtree(DIRECTORY, ignore_errors=True)


def start_localstack(
    port: int = config.LOCALSTACK_PORT,
    *,
    lambda_environment: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    dies_with_parent: bool = False,
    timeout_seconds: float = START_SECONDS,
    stop_seconds: float = STOP_SECONDS,
) -> LocalStack:
    """Start LocalStack and wait until it is healthy. It starts empty.

    Parameters
    ----------
    lambda_environment
        Variables that every Lambda function gets.
    settings
        Variables of LocalStack itself, over the ones set here.
    dies_with_parent
        Whether it ends when this process ends, even when that is killed; otherwise it runs until it is stopped.
    timeout_seconds
        How long it may take to be healthy.
    stop_seconds
        How long it may take to end when it has failed to start.

    Raises
    ------
    PortInUseError
        Something listens on the port; nothing was started.
    LocalStackStartError
        It ended or was not healthy in time; it was stopped, and the message holds the tail of its log.
    """
    check_port(port)
    if find_background(PID_FILE) is not None:
        raise LocalError(
            f"a LocalStack of this checkout is running already ({PID_FILE.name}). Stop it with `make local-down`."
        )
    # What a killed LocalStack left behind, and the index of plugins, which would hide one that is new.
    for folder in (DIRECTORY, LAMBDA_LOGS):
        shutil.rmtree(folder, ignore_errors=True)
    # Made when the environment was installed.
    if (index := PYTHON.parent.parent / STATIC_LIBRARIES).is_dir():
        shutil.copytree(index, DIRECTORY / "root" / STATIC_LIBRARIES)
    environment = _environment(port, lambda_environment or {}) | dict(settings or {})
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        Path(environment[name]).mkdir(parents=True, exist_ok=True)
    LOG_FILE.unlink(missing_ok=True)
    process = start_background(
        [PYTHON, "-m", _MODULE],
        environment=environment,
        directory=DIRECTORY,
        log_file=LOG_FILE,
        pid_file=PID_FILE,
        dies_with_parent=dies_with_parent,
    )
    localstack = LocalStack(process, port)
    deadline = time.monotonic() + timeout_seconds
    problem = ""
    try:
        while not is_healthy(port):
            if not process.is_running():
                problem = "ended while it started"
            elif time.monotonic() > deadline:
                problem = f"was not healthy after {timeout_seconds:.0f} seconds"
            if problem:
                raise LocalStackStartError(
                    f"LocalStack on port {port} {problem}. The end of its log, {LOG_FILE}:\n{tail(LOG_FILE)}"
                )
            time.sleep(0.1)
    except BaseException:
        localstack.stop(stop_seconds)
        raise
    return localstack


def find_localstack(port: int = config.LOCALSTACK_PORT) -> LocalStack | None:
    """Find the LocalStack that an earlier command left running; None when there is none."""
    process = find_background(PID_FILE)
    return LocalStack(process, port) if process is not None else None


def stop_localstack(timeout_seconds: float = STOP_SECONDS) -> bool:
    """Stop the LocalStack of this checkout, remove its data, and return whether one was running."""
    localstack = find_localstack()
    if localstack is None:
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        return False
    localstack.stop(timeout_seconds)
    return True


def is_healthy(port: int = config.LOCALSTACK_PORT) -> bool:
    """Return whether a LocalStack answers on the port."""
    return _health(port) is not None


def _is_taken(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def check_port(port: int) -> None:
    """Make sure that nothing listens on a port of this machine.

    Raises
    ------
    PortInUseError
        With what answers there and the remedy.
    """
    if not _is_taken(port):
        return
    health = _health(port)
    owner = f"LocalStack {health.get('version', 'of unknown version')}" if health else "another program"
    raise PortInUseError(
        f"port {port} is in use: {owner} answers there. If it is an environment that `make local-up` left running, "
        f"stop it with `make local-down`; otherwise choose another port with LOCALSTACK_PORT={port + 1}."
    )


def _health(port: int) -> dict[str, Any] | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HEALTH_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", _HEALTH_PATH)
        response = connection.getresponse()
        content = json.loads(response.read())
        if response.status == http.HTTPStatus.OK and isinstance(content, dict) and "services" in content:
            return content
    return None


def _environment(port: int, lambda_environment: Mapping[str, str]) -> dict[str, str]:
    """Return LocalStack's whole environment: it inherits none of the user's profiles, proxies or endpoints."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        # On macOS, Python takes the system's proxy where no variable says anything.
        **_WITHOUT_PROXY,
        # Its places, so that nothing is left elsewhere and no other checkout shares them.
        "HOME": str(DIRECTORY / "home"),
        "XDG_CACHE_HOME": str(DIRECTORY / "cache"),
        "TMPDIR": str(DIRECTORY / "tmp"),
        "FILESYSTEM_ROOT": str(DIRECTORY / "root"),
        "CONFIG_DIR": str(DIRECTORY / "home" / ".localstack"),
        # In a development container it would take itself for its own image, and write to /var/lib/localstack.
        "OVERRIDE_IN_DOCKER": "0",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        # `localhost.localstack.cloud` needs a name server that knows it.
        "LOCALSTACK_HOST": f"127.0.0.1:{port}",
        # The standard form, sqs.REGION.HOST, is no name that resolves.
        "SQS_ENDPOINT_STRATEGY": "off",
        # Nothing from or to the network.
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DISABLE_EVENTS": "1",
        "DNS_ADDRESS": "0",
        "PERSISTENCE": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(EXECUTOR),
        "LAMBDA_RUNTIME_EXECUTOR": "subprocess",
        "LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT": str(LAMBDA_START_SECONDS + 5),
        "LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC": "1",
        "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC": "1",
        "BATCH_VISION_LAMBDA_PYTHON": str(LAMBDA_PYTHON),
        "BATCH_VISION_LAMBDA_LOG_DIRECTORY": str(LAMBDA_LOGS),
        "BATCH_VISION_LAMBDA_ENVIRONMENT": json.dumps(_WITHOUT_PROXY | dict(lambda_environment)),
    }
