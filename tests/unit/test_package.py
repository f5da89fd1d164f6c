from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from local import package
from tests.unit.tool_stack import ENVIRONMENT

LAMBDA_PYTHON = package.REPOSITORY / "build" / "venvs" / "lambda-runtime" / "bin" / "python"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.make_package(tmp_path_factory.mktemp("package") / "lambdas.zip")


@pytest.fixture(scope="module")
def converting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.make_converting_package(tmp_path_factory.mktemp("package") / "lambdas-converting.zip")


def test_the_same_inputs_give_the_same_bytes(made: Path, converting: Path, tmp_path: Path) -> None:
    assert package.make_package(tmp_path / "again.zip").read_bytes() == made.read_bytes()
    again = package.make_converting_package(tmp_path / "converting again.zip")
    assert again.read_bytes() == converting.read_bytes()


def test_it_holds_the_code_and_the_locked_dependencies_only(made: Path) -> None:
    names = zipfile.ZipFile(made).namelist()
    assert "lambdas/analyze_images/handler.py" in names
    assert "aws_lambda_powertools/__init__.py" in names
    assert not [name for name in names if name.startswith(("boto", "bin/", "tests/", "local/"))]
    assert not [name for name in names if name.endswith(("RECORD", "INSTALLER", "uv_cache.json", ".lock"))]
    assert "batch_vision/backends/service_models/lookoutvision/2020-11-20/service-2.json" in names
    assert not [name for name in names if name.startswith("batch_vision/operator/")]
    assert names == sorted(names, key=lambda name: Path(name).parts)


@pytest.mark.parametrize(
    "function",
    sorted(path.parent.name for path in (package.REPOSITORY / "lambdas").glob("*/handler.py")),
)
def test_every_handler_imports_with_nothing_but_the_runtime(made: Path, tmp_path: Path, function: str) -> None:
    zipfile.ZipFile(made).extractall(tmp_path)
    finished = subprocess.run(
        [
            LAMBDA_PYTHON,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, '.'); import lambdas.{function}.handler as h; h.handler",
        ],
        cwd=tmp_path,
        env={"AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_METRICS_NAMESPACE": "n", "PATH": ""},
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr


def test_the_service_that_boto3_does_not_know_is_known_in_the_package(made: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(made).extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, '.'); from batch_vision.backends.lookout_for_vision import make_client;"
        " from batch_vision.aws.clients import RETRYING; print(make_client(RETRYING).meta.endpoint_url)"
    )
    finished = subprocess.run(
        [LAMBDA_PYTHON, "-I", "-c", code],
        cwd=tmp_path,
        env={"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL_LOOKOUTVISION": "http://emulator:1", "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert finished.stdout.strip() == "http://emulator:1"


def test_the_functions_need_no_newer_boto3_than_that_of_2025_01(tmp_path: Path) -> None:
    """AWS's runtime brings boto3 in a version of AWS's choice, older than the newest, and the package has none.

    What is tried with an old one, that of the policy scan: the calls that have parameters of late 2024 (conditional
    writes), the copies, the listings, and the client of Rekognition.
    """
    venv = package.REPOSITORY / "build" / "venvs" / "policy-scan"
    found = sorted(venv.glob("lib/python3*/site-packages/botocore"))
    assert found, f"{venv} has no botocore: `make check` installs it."
    for name in ("boto3", "botocore", "s3transfer"):
        (tmp_path / name).symlink_to(found[0].parent / name)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    asked = [sys.executable, "-c", "import botocore; print(botocore.__version__)"]
    version = subprocess.run(asked, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    assert version.startswith("1.35."), f"botocore {version} is not old enough to show anything"
    tests = [f"tests/unit/test_{name}.py" for name in ("analysis", "backlog", "rekognition_backend")]
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-W", "ignore", "-p", "no:cacheprovider", *tests],
        cwd=package.REPOSITORY,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout[-4000:]


def test_compiled_code_is_refused_where_one_zip_is_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(package, "_LOCK_FILE", package._CONVERTING_LOCK_FILE)
    with pytest.raises(package.PackageError, match=r"hold compiled code \(.*choose pure Python"):
        package.make_package(tmp_path / "never.zip")


def test_a_dependency_that_cannot_be_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lock_file = tmp_path / "broken.txt"
    lock_file.write_text("tenacity==9.2.1 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(package, "_LOCK_FILE", lock_file)
    with pytest.raises(package.PackageError, match=r"uv could not install broken\.txt"):
        package.make_package(tmp_path / "never.zip")
    assert not (tmp_path / "never.zip").exists()


def test_it_is_small(made: Path) -> None:
    """What is not there need not be fetched at a cold start; Lambda itself takes 50 MB, and 250 MB unpacked."""
    assert made.stat().st_size < 3.2 * 1000 * 1000


IMAGE_LIBRARIES = (
    "PIL/",
    "pi_heif/",
    "_pi_heif",
    "pillow.libs/",
    "pi_heif_decoder.libs/",
    "pillow-",
    "pi_heif_decoder-",
)
ELF, ARM64 = b"\x7fELF", 183  # the machine of an ELF file, at byte 18


def test_the_converting_package_is_the_other_one_with_image_libraries_for_arm64(made: Path, converting: Path) -> None:
    plain, more = zipfile.ZipFile(made), zipfile.ZipFile(converting)
    for name in plain.namelist():
        assert more.read(name) == plain.read(name), name
    added = {*more.namelist()} - {*plain.namelist()}
    assert not [name for name in added if not name.startswith(IMAGE_LIBRARIES)]
    libraries = [content for name in added if (content := more.read(name)).startswith(ELF)]
    assert len(libraries) > 10
    assert {int.from_bytes(content[18:20], "little") for content in libraries} == {ARM64}


def test_the_converting_package_is_of_a_size_that_lambda_takes(converting: Path) -> None:
    """Lambda takes 50 MB, and 250 MB unpacked; what is not there need not be fetched at a cold start."""
    assert converting.stat().st_size < 13 * 1000 * 1000
    assert sum(entry.file_size for entry in zipfile.ZipFile(converting).infolist()) < 40 * 1000 * 1000


def test_the_licences_of_what_is_bundled_go_with_it(converting: Path) -> None:
    names = zipfile.ZipFile(converting).namelist()
    licences = {
        Path(name).name for name in names if "/licenses/" in name and name.startswith(("pillow-", "pi_heif_decoder-"))
    }
    assert licences >= {"LICENSE", "LICENSE.txt"}


DECODERS = """
import os, subprocess, sys
sys.path.insert(0, os.getcwd())
from PIL import Image, features
import pi_heif
for name in ("jpg", "webp", "avif", "libtiff", "zlib", "jpg_2000"):
    assert features.check(name), name
info = pi_heif.libheif_info()
assert info["decoders"] and "x265" not in info["encoders"], info
assert not features.check("libimagequant")  # GPL, as x265 is
program = [sys.executable, "-c", "import PIL, pi_heif, batch_vision.core.conversion"]
subprocess.run(program, cwd="/", env={"PYTHONPATH": os.pathsep.join(sys.path)}, check=True)
"""


def test_with_the_libraries_of_this_machine_images_are_decoded_here(tmp_path: Path) -> None:
    """As the local Lambda executor has it: unpacked, and nothing else installed; by a program that it starts, too."""
    local = package.make_converting_package(tmp_path / "local.zip", None)
    zipfile.ZipFile(local).extractall(tmp_path / "unpacked")
    finished = subprocess.run(
        [LAMBDA_PYTHON, "-I", "-B", "-c", DECODERS],
        cwd=tmp_path / "unpacked",
        env={"PATH": ""},
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("machine", "expected"),
    [("arm64", "aarch64-manylinux_2_28"), ("aarch64", "aarch64-manylinux_2_28"), ("x86_64", "x86_64-manylinux_2_28")],
)
def test_a_container_has_the_processor_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, machine: str, expected: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert package.container_platform() == expected


def test_the_compiled_modules_are_those_of_the_sources(made: Path) -> None:
    names = {name for name in zipfile.ZipFile(made).namelist() if not name.startswith("bin/")}
    sources = {name for name in names if name.endswith(".py")}
    compiled = {name for name in names if name.endswith(".pyc")}
    assert compiled == {cache_from_source(name, optimization="") for name in sources}


CLIENTS_ALONE = """
import boto3
from botocore.config import Config
for service in ("s3", "rekognition"):
    boto3.client(service, config=Config(max_pool_connections=32))
"""
FUNCTION = """
sys.path.insert(0, ".")
from lambdas.analyze_images.handler import handler
from batch_vision.images.batch import clients, detectors
clients.s3()
detectors()
"""


def test_a_cold_start_imports_little_more_than_boto3(made: Path, tmp_path: Path) -> None:
    """Import and clients of the analyzing function, beside boto3 with the same clients; `make bench` has the times."""
    zipfile.ZipFile(made).extractall(tmp_path)

    def packages(code: str) -> set[str]:
        finished = subprocess.run(
            [LAMBDA_PYTHON, "-I", "-B", "-c", f"import sys\n{code}\nprint(*sys.modules)"],
            cwd=tmp_path,
            env=ENVIRONMENT | {"AWS_DEFAULT_REGION": "us-east-1", "PATH": ""},
            check=True,
            capture_output=True,
            text=True,
        )
        return {name.partition(".")[0] for name in finished.stdout.split()}

    ours = {"lambdas", "batch_vision", "aws_lambda_powertools", "tenacity"}
    theirs = {"asyncio", "_asyncio", "typing_extensions"}  # of these libraries
    assert packages(FUNCTION) - packages(CLIENTS_ALONE) == ours | theirs
