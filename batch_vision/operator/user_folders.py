"""Folders of the user, where the XDG Base Directory Specification has them."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Return where the tool keeps what it must not forget."""
    return _folder("XDG_STATE_HOME", ".local", "state")


def cache_folder() -> Path:
    """Return where the tool keeps what it can make again."""
    return _folder("XDG_CACHE_HOME", ".cache")


def _folder(variable: str, *usual: str) -> Path:
    given = os.environ.get(variable)
    folder = Path(given) if given else Path(os.path.expanduser("~"), *usual)  # noqa: PTH111 - never raises
    return folder / "batch-vision"
