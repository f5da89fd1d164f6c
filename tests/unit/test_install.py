import hashlib
import re
import zipfile
from pathlib import Path

import pytest

from local import install
from local.config import REPOSITORY


@pytest.mark.parametrize(
    ("pip_settings", "environment", "expected"),
    [
        ("", {}, {}),
        ("global.index-url='https://mirror/simple'", {}, {"UV_DEFAULT_INDEX": "https://mirror/simple"}),
        (
            ":env:.index-url='https://of.the.environment'\nglobal.index-url='https://of.a.file'",
            {},
            {"UV_DEFAULT_INDEX": "https://of.the.environment"},
        ),
        (
            "global.index-url='https://of.pip'",
            {"UV_DEFAULT_INDEX": "https://of.uv"},
            {"UV_DEFAULT_INDEX": "https://of.uv"},
        ),
        (
            "global.extra-index-url='\\nhttps://one\\nhttps://two'\nglobal.timeout='180'",
            {},
            {"UV_INDEX": "https://one https://two"},
        ),
        ("global.find-links='/nowhere file:///nowhere'", {}, {}),
        ("global.find-links='/ /tmp'\nglobal.no-index='1'", {}, {"UV_FIND_LINKS": "/,/tmp", "UV_NO_INDEX": "1"}),
        (
            "global.cert='/etc/ours.pem'\nglobal.proxy='http://proxy:1'",
            {},
            {"SSL_CERT_FILE": "/etc/ours.pem", "ALL_PROXY": "http://proxy:1"},
        ),
    ],
)
def test_uv_gets_its_packages_from_where_pip_does(
    pip_settings: str, environment: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: path != Path("/nowhere"))
    found = install.uv_variables(pip_settings, environment)
    assert found == expected | {"UV_INDEX_STRATEGY": "unsafe-best-match"}


@pytest.fixture
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock file of a package that only a folder has, which pip's variables name."""
    wheel = tmp_path / "wheels" / "flange-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("flange.py", "")
        archive.writestr("flange-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: flange\nVersion: 1.0\n")
        archive.writestr("flange-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("flange-1.0.dist-info/RECORD", "flange.py,,\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(install, "VENVS", tmp_path / "venvs")
    path = tmp_path / "tools.txt"
    path.write_text(f"flange==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return path


def test_an_environment_is_made_of_its_lock_file_alone(lock_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "venvs" / "tools"
    (target / "of before").mkdir(parents=True)
    install.install_environment(lock_file)
    assert not (target / "of before").exists()
    modules = next((target / "lib").glob("python3.13/site-packages"))
    assert (modules / "flange.py").exists()
    assert list(modules.glob("__pycache__/flange.*.pyc"))


@pytest.mark.parametrize("hashes", ["--hash=sha256:" + "0" * 64, ""], ids=["another", "none"])
def test_a_file_that_is_not_held_to_its_hash_is_refused(lock_file: Path, hashes: str) -> None:
    lock_file.write_text(f"flange==1.0 {hashes}\n")
    with pytest.raises(install.InstallError, match="flange"):
        install.install_environment(lock_file)


def test_uv_that_is_not_there_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = tmp_path / "python"
    uv.symlink_to(install.UV_PYTHON)
    monkeypatch.setattr(install, "UV_PYTHON", uv)
    with pytest.raises(install.InstallError, match="make package"):
        install.run_uv("--version")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_lock_files_hold_hashes_and_no_addresses(path: Path) -> None:
    content = path.read_text()
    assert "://" not in content
    pins = re.findall(r"^[a-z].*", content, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z].*\\\n    --hash=sha256:", content, re.MULTILINE)) > 0
