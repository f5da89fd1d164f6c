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
