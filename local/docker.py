"""Runs LocalStack and the emulator in containers, by `docker-compose.localstack.yml`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from local import config
from local.errors import LocalError
from local.processes import tail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COMPOSE_FILE = config.REPOSITORY / "docker-compose.localstack.yml"
# There while containers are, or may be: it is written before they are started.
MARKER_FILE = config.LOCAL_BUILD / "docker"
LOG_FILE = config.LOGS / "docker.log"

START_SECONDS = 180
_ANSWER_SECONDS = 20.0
_WITHOUT = "Or leave LOCALSTACK=docker away: no Docker is needed then."


def check_docker() -> None:
    """Check that there is a Docker with Compose, and that its engine answers.

    Raises
    ------
    LocalError
        What is missing and the remedy; nothing was started.
    """
    if shutil.which("docker") is None:
        raise LocalError(f"docker is not on PATH. Install Docker with Compose 2. {_WITHOUT}")
    for command, problem, remedy in (
        (["compose", "version"], "has no Compose", "Install its plugin, Compose 2."),
        (["info"], "does not answer", "Start the engine, and see that you may use it."),
    ):
        try:
            finished = _docker(*command, timeout_seconds=_ANSWER_SECONDS)
            said = finished.stderr.strip() if finished.returncode else None
        except subprocess.TimeoutExpired:
            said = f"no answer to `docker {' '.join(command)}` within {_ANSWER_SECONDS:.0f} seconds"
        if said is not None:
            raise LocalError(f"Docker {problem}. {remedy} {_WITHOUT}\n{said}")


def start_containers(labelled: Path, settings: Mapping[str, Any]) -> None:
    """Start LocalStack and the emulator and wait until both are healthy. The first time fetches their images.

    Parameters
    ----------
    labelled
        The folder that the emulator's model learns from.
    settings
        The emulator's settings.

    Raises
    ------
    LocalError
        What Docker said, and the end of the containers' logs. `stop_containers` removes what is left.
    """
    MARKER_FILE.parent.mkdir(parents=True, exist_ok=True)
    MARKER_FILE.write_text("")
    finished = _compose(
        "up",
        "--build",
        "--detach",
        "--wait",
        f"--wait-timeout={START_SECONDS}",
        environment={"LABELLED": str(labelled.resolve()), "EMULATOR_SETTINGS": json.dumps(dict(settings))},
    )
    if finished.returncode != 0:
        _write_log()
        raise LocalError(
            f"Docker could not start LocalStack and the emulator:\n{finished.stderr.strip()}\n"
            f"The end of their logs, {LOG_FILE}:\n{tail(LOG_FILE)}"
        )


def are_containers_up() -> bool:
    """Return whether this checkout has started containers and not stopped them yet."""
    return MARKER_FILE.exists()


def stop_containers() -> bool:
    """Stop and remove the containers of this checkout, and return whether there were any.

    Raises
    ------
    LocalError
        Docker could not: they may still run.
    """
    if not are_containers_up():
        return False
    _write_log()
    finished = _compose("down", "--volumes", "--remove-orphans")
    if finished.returncode != 0:
        raise LocalError(
            "Docker could not stop the containers. Start the engine if it has ended, and run `make local-down` again."
            f"\n{finished.stderr.strip()}"
        )
    MARKER_FILE.unlink()
    return True


def _write_log() -> None:
    LOG_FILE.parent.mkdir(parents=True, exist_ok=True)
    LOG_FILE.write_text(_compose("logs", "--no-color").stdout)


def _compose(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return _docker("compose", f"--file={COMPOSE_FILE}", *arguments, environment=environment)


def _docker(
    *arguments: str, environment: Mapping[str, str] | None = None, timeout_seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    ports = {"LOCALSTACK_PORT": str(config.LOCALSTACK_PORT), "EMULATOR_PORT": str(config.EMULATOR_PORT)}
    return subprocess.run(
        ["docker", *arguments],
        cwd=config.REPOSITORY,
        env=dict(os.environ) | ports | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout_seconds,
    )
