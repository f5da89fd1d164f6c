"""The wheel of the tool: it builds, it holds what the tool reads, and the report is made from it alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from local.config import REPOSITORY


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what a clean checkout has of it, for setuptools leaves its own files beside the source."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPOSITORY / "batch_vision", source / "batch_vision", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    finished = subprocess.run(
        [*command, "--wheel-dir", str(out), str(source)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (built,) = out.glob("*.whl")
    return built


def test_it_holds_every_file_that_the_tool_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {
        path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("batch_vision/operator/templates/*")
    }
    assert len(templates) == 3
    assert templates <= names
    assert "batch_vision/backends/service_models/lookoutvision/2020-11-20/service-2.json" in names
    assert not [name for name in names if name.startswith(("lambdas/", "tests/", "local/"))]


def test_the_command_and_the_report_work_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    # An empty run, for which nothing is asked of AWS.
    code = """
import sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from batch_vision.core.times import utc_now
from batch_vision.operator.report import make_report
import batch_vision
assert batch_vision.__file__.startswith(sys.argv[1]), batch_vision.__file__
stack = SimpleNamespace(name="pile", account_id="1", region="r", settings=SimpleNamespace(backend="b"))
now = utc_now()
print(make_report(stack, [], now, now, [], max_images=1, is_run=False, progress=print).html)
"""
    finished = subprocess.run(
        [sys.executable, "-I", "-c", code, str(unpacked)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "No image was finished in this time." in finished.stdout
    assert "color-scheme" in finished.stdout
