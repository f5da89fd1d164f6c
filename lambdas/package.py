"""Make the deployment package of all functions: one zip, the same bytes from the same inputs.

Run as ``python -m lambdas.package`` (``make package`` does). Needs nothing but the locked dependencies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "build" / "lambdas.zip"

_LOCK_FILE = REPOSITORY / "requirements" / "lambda.txt"
_CODE = REPOSITORY / "lambdas"
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows
_MODE = 0o644
_DIFFER_BY_MACHINE = {"RECORD", "INSTALLER", "REQUESTED"}


class PackageError(Exception):
    """The package cannot be made; the message says what to do."""


def make_package(target: Path = PACKAGE) -> Path:
    """Install the locked dependencies, add `lambdas/` and zip both.

    Raises
    ------
    PackageError
        A dependency cannot be installed, or holds compiled code, which would tie the zip to one platform.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _install_dependencies(root)
        shutil.copytree(_CODE, root / "lambdas", ignore=shutil.ignore_patterns("__pycache__"))
        files = sorted(path for path in root.rglob("*") if path.is_file() and _belongs(path.relative_to(root)))
        compiled = [path.name for path in files if path.suffix in {".so", ".pyd", ".dylib"}]
        if compiled:
            raise PackageError(f"The dependencies hold compiled code ({compiled[0]}); choose pure Python ones.")
        partial = target.with_suffix(f".{os.getpid()}.partial")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
            for path in files:
                entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _FIXED_TIME)
                entry.external_attr = _MODE << 16
                package.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)
        partial.replace(target)
    return target


def _install_dependencies(root: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--require-hashes", "--only-binary", ":all:", "--target", str(root), "-r", str(_LOCK_FILE)]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    if finished.returncode != 0:
        raise PackageError(f"pip could not install {_LOCK_FILE.name}:\n{finished.stderr.strip()}")


def _belongs(path: Path) -> bool:
    if path == Path("lambdas/package.py") or path.parts[0] == "bin":
        return False
    return "__pycache__" not in path.parts and path.name not in _DIFFER_BY_MACHINE


if __name__ == "__main__":
    try:
        made = make_package()
    except PackageError as error:
        sys.exit(str(error))
    print(f"{made.relative_to(REPOSITORY)}: {made.stat().st_size:,} bytes")
