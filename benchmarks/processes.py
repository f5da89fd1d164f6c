"""Processes of their own for what is measured: each has its own memory and processor time."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from local.config import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def run_for_json(
    command: Sequence[str | Path], environment: Mapping[str, str] = os.environ, folder: Path = REPOSITORY
) -> Any:
    """Run a command, and return the JSON that the last line of its output is.

    Raises
    ------
    RuntimeError
        It failed: what it says of that.
    """
    finished = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1800
    )
    if finished.returncode != 0:
        raise RuntimeError(finished.stderr)
    return json.loads(finished.stdout.splitlines()[-1])  # after what a function logged
