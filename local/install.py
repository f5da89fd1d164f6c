"""Install and resolve what is locked in requirements/ with uv, from wherever pip is configured to install from.

Run as ``python -m local.install requirements/NAME.txt`` or ``python -m local.install lock``, with the Python of the
environment that holds uv (the Makefile makes it). Needs nothing but the standard library, for it installs the rest.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
VENVS = REQUIREMENTS.parent / "build" / "venvs"
# Where LocalStack looks for what was made before it starts, under the root that it is given.
STATIC_LIBRARIES = Path("usr", "lib", "localstack")
UV_PYTHON = VENVS / "uv" / "bin" / "python"

# The settings of pip that say where packages come from, and uv's variables for the same.
# https://pip.pypa.io/en/stable/topics/configuration/ and https://docs.astral.sh/uv/reference/environment/
_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
}
_SEPARATORS = {"UV_FIND_LINKS": ","}
# What an environment makes for itself, once: the index of all services of AWS, which LocalStack's image has too.
# Without it each LocalStack reads the models of all of them anew, and keeps a core busy for ten seconds.
_MADE_ONCE = {"localstack": ("-m", "localstack.aws.spec")}
_LOCK_OPTIONS: dict[str, list[str]] = {
    # The same versions on Lambda, and in the container, as here.
    "converting": ["--universal", "--constraint", "dev.txt"],
    "emulator": ["--universal", "--constraint", "dev.txt"],
    "localstack": ["--exclude-newer", "2026-03-05"],
}


class InstallError(Exception):
    """A lock file cannot be installed; the message is uv's."""


def uv_variables(pip_settings: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of uv that installs from where pip does.

    Parameters
    ----------
    pip_settings
        What `pip config list` prints: lines ``global.index-url='...'``. Of several sections, the later one of global,
        install and :env: wins, as in pip.
    environment
        The user's own variables; those of uv win over pip's settings.
    """
    found: dict[str, str] = {}
    lines = [line.partition("=") for line in pip_settings.splitlines()]
    for section in ("global.", "install.", ":env:."):
        for name, _, value in lines:
            variable = _VARIABLES.get(name.removeprefix(section)) if name.startswith(section) else None
            if variable:
                words = str(ast.literal_eval(value)).split()
                # pip passes over a folder that is not there, at which uv would end.
                words = [word for word in words if not _is_missing_folder(word)]
                found[variable] = _SEPARATORS.get(variable, " ").join(words)
    # As pip does: the best of all places. Every file is held to its hash, wherever it comes from.
    found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in found.items() if value} | dict(environment)


def run_uv(*arguments: str | Path, without: Iterable[str] = ()) -> None:
    """Run a command of uv in the folder of the lock files.

    Parameters
    ----------
    without
        Variables of uv that it is not to have.

    Raises
    ------
    InstallError
        With what uv printed.
    """
    settings = subprocess.run([UV_PYTHON, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True)
    command = [UV_PYTHON.with_name("uv"), *arguments, "--quiet", "--no-config", "--no-python-downloads"]
    found = uv_variables(settings.stdout, os.environ)
    environment = {name: value for name, value in found.items() if name not in without}
    try:
        _run(command, environment)
    except FileNotFoundError as error:
        raise InstallError(f"{error.filename} is missing; `make package` installs it.") from error


def _run(command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    finished = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=REQUIREMENTS)
    if finished.returncode != 0:
        raise InstallError(finished.stderr.strip())


def install_environment(lock_file: Path) -> None:
    """Make the virtual environment `build/venvs/<name>` anew, with the Python that runs this and what a lock file says.

    Raises
    ------
    InstallError
        With what uv, or what it installed, printed.
    """
    target = VENVS / lock_file.stem
    shutil.rmtree(target, ignore_errors=True)
    run_uv("venv", "--python", sys.executable, target)
    # Compiled, for many processes use the files, and functions write none at their cold starts.
    run_uv(
        *("pip", "install", "--require-hashes", "--compile-bytecode"),
        *("--python", target / "bin" / "python", "--requirements", lock_file.resolve()),
    )
    if command := _MADE_ONCE.get(lock_file.stem):
        (target / STATIC_LIBRARIES).mkdir(parents=True)
        own = {"FILESYSTEM_ROOT": str(target), "OVERRIDE_IN_DOCKER": "0"}
        _run([target / "bin" / "python", *command], os.environ | own)


def lock() -> None:
    """Resolve every `<name>.in` into a fully pinned, hashed `<name>.txt` without addresses.

    Raises
    ------
    InstallError
        With what uv printed.
    """
    # Those that keep to the versions of dev come after it.
    names = ("uv", "lambda", "lambda-runtime", "dev", "converting", "policy-scan", "emulator", "localstack", "bench")
    for name in names:
        options = _LOCK_OPTIONS.get(name, ["--universal"])
        written_without = ["--no-header", "--no-emit-index-url", "--no-emit-find-links"]
        files = [f"{name}.in", "--output-file", f"{name}.txt"]
        command = ["pip", "compile", "--python-version", "3.13", "--generate-hashes", *written_without, *options]
        # From the one index: what a machine has of its own, others could not install.
        run_uv(*command, *files, without=("UV_INDEX", "UV_FIND_LINKS", "UV_INDEX_STRATEGY"))


def _is_missing_folder(place: str) -> bool:
    path = place.removeprefix("file://")
    return path.startswith("/") and not Path(path).exists()


if __name__ == "__main__":
    (what,) = sys.argv[1:]
    try:
        lock() if what == "lock" else install_environment(Path(what))
    except InstallError as error:
        sys.exit(f"{what}: {error}")
