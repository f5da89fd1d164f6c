"""What the executor is told through the environment of LocalStack."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PYTHON_VARIABLE = "BATCH_VISION_LAMBDA_PYTHON"
LOG_DIRECTORY_VARIABLE = "BATCH_VISION_LAMBDA_LOG_DIRECTORY"
ENVIRONMENT_VARIABLE = "BATCH_VISION_LAMBDA_ENVIRONMENT"
FAULTS_VARIABLE = "BATCH_VISION_LAMBDA_FAULTS"


class SettingsError(ValueError):
    """A variable of the executor is missing or holds something that cannot be used."""


@dataclass(frozen=True)
class ExecutorSettings:
    """The settings that all functions share.

    Parameters
    ----------
    python
        Interpreter of an environment that holds `awslambdaric`.
    log_directory
        Folder in which every function has a file `<function name>.log`.
    extra_environment
        Variables that every function gets, unless it sets them itself.
    start_seconds
        How long a function may take until it asks for its first event.
    fault_directory
        Folder in which tests ask for faults of functions, see `faults`; None for none.
    """

    python: Path
    log_directory: Path
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 15.0
    fault_directory: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], start_seconds: float = 15.0) -> ExecutorSettings:
        """Read and check the variables.

        Raises
        ------
        SettingsError
            With the name of the variable and what is wrong with its value.
        """
        python = Path(_required(environment, PYTHON_VARIABLE))
        if not python.is_absolute() or not os.access(python, os.X_OK):
            raise SettingsError(f"{PYTHON_VARIABLE}={python}: not the absolute path of a program")
        log_directory = Path(_required(environment, LOG_DIRECTORY_VARIABLE))
        if not log_directory.is_absolute():
            raise SettingsError(f"{LOG_DIRECTORY_VARIABLE}={log_directory}: not an absolute path")
        faults = environment.get(FAULTS_VARIABLE, "")
        if faults and not (Path(faults).is_absolute() and Path(faults).is_dir()):
            raise SettingsError(f"{FAULTS_VARIABLE}={faults}: not the absolute path of a folder")
        return cls(
            python=python,
            log_directory=log_directory,
            extra_environment=_string_map(environment.get(ENVIRONMENT_VARIABLE, "")),
            start_seconds=start_seconds,
            fault_directory=Path(faults) if faults else None,
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _string_map(text: str) -> dict[str, str]:
    """Read the JSON object of strings that `BATCH_VISION_LAMBDA_ENVIRONMENT` holds; empty text is no variable."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{ENVIRONMENT_VARIABLE}={text!r}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise SettingsError(f"{ENVIRONMENT_VARIABLE}={text!r}: not a JSON object")
    for name, item in value.items():
        if not isinstance(item, str):
            raise SettingsError(f"{ENVIRONMENT_VARIABLE}={text!r}: the value of {name!r} is not a string")
    return value
