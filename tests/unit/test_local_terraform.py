from __future__ import annotations

import json
import platform
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local import terraform
from local.config import LOCALSTACK_URL, REPOSITORY
from local.errors import LocalError


def mirror(root: Path, target: str) -> Path:
    folder = root / "registry.terraform.io" / "hashicorp" / "aws" / "5.100.0" / target
    folder.mkdir(parents=True)
    (folder / "terraform-provider-aws_v5.100.0_x5").write_bytes(b"")
    return root


def this_platform() -> str:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{platform.system().lower()}_{machine}"


def test_an_unpacked_mirror_is_found_by_search(tmp_path: Path) -> None:
    wanted = mirror(tmp_path / "some" / "place", this_platform())
    assert terraform.find_mirror([str(tmp_path)]) == wanted


def test_a_mirror_for_another_platform_is_none(tmp_path: Path) -> None:
    mirror(tmp_path, "plan9_386")
    assert terraform.find_mirror([str(tmp_path), str(tmp_path / "missing")]) is None


def fake_terraform(folder: Path, script: str) -> None:
    path = folder / "terraform"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


def test_a_missing_or_old_terraform_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalError, match=r"terraform is not on PATH. Install Terraform 1\.9 or later"):
        terraform.check_version()
    fake_terraform(tmp_path, """echo '{"terraform_version": "1.5.7"}'""")
    with pytest.raises(LocalError, match=r"Terraform is 1\.5\.7; install 1\.9 or later"):
        terraform.check_version()
    fake_terraform(tmp_path, """echo '{"terraform_version": "1.10.0-beta1"}'""")
    terraform.check_version()


def test_apply_tells_progress_and_gives_terraforms_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = {"resource": {"addr": "module.batch_vision.aws_sqs_queue.this"}}
    events = [
        {"type": "planned_change", "change": resource},
        {"type": "apply_complete", "hook": resource},
        {"type": "diagnostic", "diagnostic": {"severity": "error", "summary": "No such thing", "detail": "Look."}},
    ]
    lines = "\n".join(f"echo '{json.dumps(event)}'" for event in events)
    fake_terraform(tmp_path, f"{lines}\nexit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    seen: list[tuple[int, int, str]] = []
    with pytest.raises(LocalError, match="No such thing\nLook"):
        terraform.Terraform(tmp_path).apply(lambda *step: seen.append(step))
    assert seen == [(0, 1, "aws_sqs_queue.this"), (1, 1, "aws_sqs_queue.this")]


def test_nothing_of_the_users_account_reaches_terraform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://production.example")
    monkeypatch.setenv("TF_VAR_name_prefix", "production")
    of_aws = {name: value for name, value in terraform.environment().items() if name.startswith(("AWS_", "TF_VAR_"))}
    assert of_aws == {"AWS_ENDPOINT_URL": LOCALSTACK_URL}


def test_terraform_asks_localstack_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    environment = terraform.environment()
    assert environment["HTTPS_PROXY"] == "http://proxy.example:3128"  # for the registry of providers
    assert environment["NO_PROXY"] == environment["no_proxy"] == "intranet.example,127.0.0.1,localhost"


@pytest.mark.parametrize("value", ["abc", "80", "70000", "-1", "٤٥٦٦"])
def test_a_wrong_port_is_named(value: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", "import local.config"],
        cwd=REPOSITORY,
        env={"LOCALSTACK_PORT": value, "PYTHONUTF8": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1
    assert f"LOCALSTACK_PORT is '{value}'" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_missing_python_is_named_with_the_remedy(tmp_path: Path) -> None:
    finished = subprocess.run(
        ["/bin/sh", REPOSITORY / "local" / "find_python.sh"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1
    assert "needs Python 3.13" in finished.stderr
    assert "pyenv install 3.13" in finished.stderr


def test_python_3_13_is_found_among_pyenv_versions(tmp_path: Path) -> None:
    shim = tmp_path / ".pyenv" / "versions" / "3.13.99" / "bin" / "python3"
    shim.parent.mkdir(parents=True)
    shim.symlink_to(sys.executable)
    finished = subprocess.run(
        ["/bin/sh", REPOSITORY / "local" / "find_python.sh"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip()
