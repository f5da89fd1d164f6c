"""What every file of the repository must be."""

from __future__ import annotations

import subprocess

from local.config import REPOSITORY


def test_no_file_is_a_symbolic_link() -> None:
    """Git for Windows writes a link as a file that holds the path."""
    listed = subprocess.run(
        ["git", "ls-files", "--stage", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    files = [line for line in listed.stdout.split("\0") if line]
    assert len(files) > 100
    assert [line for line in files if line.startswith("120000")] == []


def test_a_handler_is_an_entry_point_and_no_more() -> None:
    """Parse, call, return: what it decides would be out of reach of the watchdog and of the operator's tool."""
    handlers = list((REPOSITORY / "lambdas").glob("*/handler.py"))
    assert len(handlers) >= 8
    for path in handlers:
        assert len(path.read_text().splitlines()) < 30, path
        assert [other.name for other in path.parent.glob("*.py") if other != path] == ["__init__.py"]
