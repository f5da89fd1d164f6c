"""Make the deployment packages: a zip of all functions, and one of those that convert images.

The same inputs give the same bytes. Run as ``python -m local.package`` (``make package`` does). Needs nothing but the
locked dependencies.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from local.install import InstallError, run_uv

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "build" / "lambdas.zip"
CONVERTING_PACKAGE = REPOSITORY / "build" / "lambdas-converting.zip"
# For local running only: with the libraries of this machine, which are not those of Lambda.
LOCAL_CONVERTING_PACKAGE = REPOSITORY / "build" / "lambdas-converting-local.zip"

# As uv names it. Terraform gives every function arm64, and python3.13 runs on Amazon Linux 2023, whose glibc is newer.
LAMBDA_PLATFORM = "aarch64-manylinux_2_28"

_PYTHON_VERSION = "3.13"
_LOCK_FILE = REPOSITORY / "requirements" / "lambda.txt"
_CONVERTING_LOCK_FILE = REPOSITORY / "requirements" / "converting.txt"
_ENTRY_POINTS = REPOSITORY / "lambdas"
_CODE = REPOSITORY / "batch_vision"
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows
_MODE = 0o644
_LAMBDA_FOLDER = "/var/task"  # where Lambda unpacks the zip: what tracebacks are to show
_DIFFER_BY_MACHINE = {"RECORD", "INSTALLER", "REQUESTED", "uv_cache.json", ".lock"}


class PackageError(Exception):
    """The package cannot be made; the message says what to do."""


def make_package(target: Path = PACKAGE) -> Path:
    """Install the locked dependencies, add `lambdas/` and what they use of `batch_vision/`, and zip all.

    Raises
    ------
    PackageError
        A dependency cannot be installed, or holds compiled code, which would tie the zip to one platform.
    """
    return _make(target, [_LOCK_FILE], is_pure=True)


def make_converting_package(target: Path = CONVERTING_PACKAGE, of_platform: str | None = LAMBDA_PLATFORM) -> Path:
    """Make the same zip with the libraries that decode and encode images besides, which are compiled code.

    Parameters
    ----------
    of_platform
        Where the zip is to run, as uv names it; None for this machine. Any machine makes it for any other.

    Raises
    ------
    PackageError
        A dependency cannot be installed, for it has no wheel for the platform, say.
    """
    return _make(target, [_LOCK_FILE, _CONVERTING_LOCK_FILE], of_platform, is_pure=False)


def container_platform() -> str:
    """Return the platform of a container on this machine, as uv names it: Linux, whatever the machine has itself."""
    processor = "aarch64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    return f"{processor}-manylinux_2_28"


def _make(target: Path, lock_files: Sequence[Path], of_platform: str | None = None, *, is_pure: bool) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _install_dependencies(root, lock_files, of_platform)
        shutil.copytree(_ENTRY_POINTS, root / "lambdas", ignore=shutil.ignore_patterns("__pycache__"))
        not_shipped = shutil.ignore_patterns("__pycache__", "operator", "__main__.py")
        shutil.copytree(_CODE, root / "batch_vision", ignore=not_shipped)
        _compile(root)
        files = sorted(path for path in root.rglob("*") if path.is_file() and _belongs(path.relative_to(root)))
        compiled = [path.name for path in files if path.suffix in {".so", ".pyd", ".dylib"}]
        if compiled and is_pure:
            raise PackageError(f"The dependencies hold compiled code ({compiled[0]}); choose pure Python ones.")
        partial = target.with_suffix(f".{os.getpid()}.partial")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as package:
            for path in files:
                entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _FIXED_TIME)
                entry.external_attr = _MODE << 16
                package.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=6)
        partial.replace(target)
    return target


def _install_dependencies(root: Path, lock_files: Sequence[Path], of_platform: str | None) -> None:
    chosen = ("--python-platform", of_platform, "--python-version", _PYTHON_VERSION) if of_platform else ()
    requirements = [word for path in lock_files for word in ("--requirements", path)]
    try:
        run_uv(
            *("pip", "install", "--require-hashes", "--only-binary", ":all:", "--no-compile-bytecode", *chosen),
            *("--python", sys.executable, "--target", root, *requirements),
        )
    except InstallError as error:
        names = " and ".join(path.name for path in lock_files)
        raise PackageError(f"uv could not install {names}:\n{error}") from error


def _compile(root: Path) -> None:
    """Add the compiled modules, for Lambda could not keep them: without them, each cold start compiles all anew.

    A Python that wants others (another minor version) ignores these and takes the sources. They are not compared with
    the sources by time, which the zip does not keep, and the order of a set must not differ from run to run.
    """
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(root), "-p", _LAMBDA_FOLDER, str(root)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "0"})


def _belongs(path: Path) -> bool:
    return path.parts[0] != "bin" and path.name not in _DIFFER_BY_MACHINE


if __name__ == "__main__":
    try:
        for made in (make_package(), make_converting_package()):
            print(f"{made.relative_to(REPOSITORY)}: {made.stat().st_size:,} bytes")
    except PackageError as error:
        sys.exit(str(error))
