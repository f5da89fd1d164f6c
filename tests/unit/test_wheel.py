"""The wheel of the tool: it builds, it holds what the tool reads, and the report is made from it alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from batch_vision.operator.cli import main
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
    assert len(templates) == 6
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
stack = SimpleNamespace(name="pile", account_id="1", region="r", analyses=[], model=SimpleNamespace(backend="b"))
now = utc_now()
print(make_report(stack, [], now, now, [], [], max_images=1, is_run=False, progress=print).html)
"""
    finished = subprocess.run(
        [sys.executable, "-I", "-c", code, str(unpacked)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert "No image was finished in this time." in finished.stdout
    assert "color-scheme" in finished.stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds nothing but the wheel and what it says it depends on, in the locked versions."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home)
    python = home / "bin" / "python"
    locked = re.findall(
        r"^([a-z0-9_.\[\],-]+==[^ ;\\]+)", (REPOSITORY / "requirements" / "dev.txt").read_text(), re.MULTILINE
    )
    constraints = home / "constraints.txt"
    constraints.write_text("\n".join(re.sub(r"\[.*?\]", "", line) for line in locked))
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--only-binary", ":all:"]
    finished = subprocess.run(
        [*command, "--no-compile", "--constraint", str(constraints), str(wheel)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return home / "bin"


def test_every_module_can_be_imported_where_nothing_else_is_installed(installed: Path, tmp_path: Path) -> None:
    code = """
import pkgutil, importlib, batch_vision
names = [module.name for module in pkgutil.walk_packages(batch_vision.__path__, "batch_vision.")]
for name in names:
    importlib.import_module(name)
assert len(names) > 50, names
"""
    variables = {"AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_METRICS_NAMESPACE": "n"}
    finished = subprocess.run(
        [installed / "python", "-I", "-c", code],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


def test_every_command_runs_where_nothing_else_is_installed(installed: Path, tmp_path: Path) -> None:
    calls = [[name, "--help"] for name in main.commands] + [["--help"], ["cost", "--images-per-day", "18000"]]
    for words in calls:
        finished = subprocess.run(
            [installed / "batch-vision", *words], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
        )
        assert (finished.returncode, finished.stderr) == (0, ""), words
        assert finished.stdout


def test_it_installs_on_every_later_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    assert "Requires-Python: >=3.13\n" in metadata
