"""Running in Docker, as far as that can be shown without an engine: what Docker is asked, and what the files say."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from local import docker, localstack
from local.config import REPOSITORY
from local.emulator.client import EmulatorClient
from local.errors import LocalError

COMPOSE: dict[str, Any] = yaml.safe_load(docker.COMPOSE_FILE.read_text())
LOCALSTACK, EMULATOR = COMPOSE["services"]["localstack"], COMPOSE["services"]["emulator"]
DOCKERFILE = REPOSITORY / EMULATOR["build"]["dockerfile"]

# Writes down each call with what the file reads from the environment, and does as it is told for its second word.
FAKE = """#!{python}
import json, os, sys, time
with open({calls!r}, "a") as calls:
    names = ("LABELLED", "EMULATOR_SETTINGS", "LOCALSTACK_PORT", "EMULATOR_PORT")
    calls.write(json.dumps([sys.argv[1:], {{name: os.environ.get(name) for name in names}}]) + "\\n")
for word, (status, seconds) in {answers!r}.items():
    if word in sys.argv:
        time.sleep(seconds)
        print("said", word)
        print("the fake's", word, file=sys.stderr)
        sys.exit(status)
"""


class FakeDocker:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._calls, self._program = folder / "calls.jsonl", folder / "bin" / "docker"
        self._program.parent.mkdir()
        monkeypatch.setenv("PATH", str(self._program.parent))
        monkeypatch.setattr(docker, "MARKER_FILE", folder / "marker")
        monkeypatch.setattr(docker, "LOG_FILE", folder / "logs" / "docker.log")

    def install(self, **answers: tuple[int, float]) -> None:
        self._program.write_text(FAKE.format(python=sys.executable, calls=str(self._calls), answers=answers))
        self._program.chmod(0o755)

    @property
    def calls(self) -> list[tuple[list[str], dict[str, str | None]]]:
        return (
            [tuple(json.loads(line)) for line in self._calls.read_text().splitlines()] if self._calls.exists() else []
        )


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    return FakeDocker(tmp_path, monkeypatch)


def test_a_missing_docker_is_named(fake: FakeDocker) -> None:
    with pytest.raises(LocalError, match=r"docker is not on PATH\. Install Docker .* leave LOCALSTACK=docker away"):
        docker.check_docker()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"compose": (1, 0)}, r"(?s)Docker has no Compose\. Install its plugin.*the fake's compose"),
        ({"info": (1, 0)}, r"(?s)Docker does not answer\. Start the engine.*the fake's info"),
        ({"info": (0, 5)}, r"(?s)Docker does not answer.*no answer to `docker info` within 1 seconds"),
    ],
)
def test_what_is_wrong_with_docker_is_told_apart(
    fake: FakeDocker, monkeypatch: pytest.MonkeyPatch, answers: dict[str, tuple[int, float]], message: str
) -> None:
    monkeypatch.setattr(docker, "_ANSWER_SECONDS", 1.0)
    fake.install(**answers)
    with pytest.raises(LocalError, match=message):
        docker.check_docker()
    assert not docker.are_containers_up()


def test_up_and_down(fake: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    fake.install()
    docker.check_docker()
    docker.start_containers(Path("local/samples/labelled"), {"start_seconds": 2})
    assert docker.are_containers_up()
    assert docker.stop_containers()
    assert not docker.are_containers_up()
    assert not docker.stop_containers()
    compose = ["compose", f"--file={REPOSITORY / 'docker-compose.localstack.yml'}"]
    assert [words for words, _ in fake.calls] == [
        ["compose", "version"],
        ["info"],
        [*compose, "up", "--build", "--detach", "--wait", "--wait-timeout=180"],
        [*compose, "logs", "--no-color"],
        [*compose, "down", "--volumes", "--remove-orphans"],
    ]
    _, environment = fake.calls[2]
    assert environment["LABELLED"] == str(REPOSITORY / "local" / "samples" / "labelled")
    assert json.loads(environment["EMULATOR_SETTINGS"] or "") == {"start_seconds": 2}
    assert {environment["LOCALSTACK_PORT"], environment["EMULATOR_PORT"]} == {
        str(docker.config.LOCALSTACK_PORT),
        str(docker.config.EMULATOR_PORT),
    }


def test_containers_that_do_not_start_are_shown_with_their_logs_and_can_be_removed(fake: FakeDocker) -> None:
    fake.install(up=(1, 0), logs=(0, 0))
    with pytest.raises(LocalError, match=r"(?s)could not start.*the fake's up.*docker\.log.*said logs"):
        docker.start_containers(Path("anywhere"), {})
    assert docker.are_containers_up()
    assert docker.stop_containers()


def test_containers_that_cannot_be_stopped_are_not_forgotten(fake: FakeDocker) -> None:
    fake.install(down=(1, 0))
    docker.start_containers(Path("anywhere"), {})
    with pytest.raises(LocalError, match=r"(?s)could not stop the containers.*make local-down.*the fake's down"):
        docker.stop_containers()
    assert docker.are_containers_up()


def test_the_compose_file_fits_its_schema() -> None:
    """The schema of the Compose specification, as check-jsonschema brings it."""
    finished = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(docker.COMPOSE_FILE)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_ports_are_published_on_the_loopback_address_only() -> None:
    assert set(COMPOSE["services"]) == {"localstack", "emulator"}
    for service in COMPOSE["services"].values():
        assert service["ports"]
        assert all(re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-(\d+)\}:\1", port) for port in service["ports"])
        assert "network_mode" not in service


def test_what_the_containers_ask_of_each_other_and_of_themselves_goes_through_no_proxy() -> None:
    for service in COMPOSE["services"].values():
        for name in ("NO_PROXY", "no_proxy"):
            assert set(service["environment"][name].split(",")) == {"localhost", "127.0.0.1", *COMPOSE["services"]}


def test_both_have_a_health_check_and_localstacks_asks_for_the_engine_too() -> None:
    assert "docker.sock" in LOCALSTACK["healthcheck"]["test"][1]
    assert all(service["healthcheck"]["retries"] * 2 <= docker.START_SECONDS for service in (LOCALSTACK, EMULATOR))


def test_it_is_the_localstack_that_runs_without_docker() -> None:
    pinned = re.search(r"^localstack-core==(\S+)", (REPOSITORY / "requirements" / "localstack.txt").read_text(), re.M)
    assert pinned
    assert LOCALSTACK["image"] == f"localstack/localstack:{pinned[1]}"


PROBE = """
import json, os
from localstack import config
from localstack.services.lambda_.invocation.docker_runtime_executor import docker_platform, resolver
from localstack.services.lambda_.networking import get_all_container_networks_for_lambda
from localstack.utils.container_utils.container_client import Util
print(json.dumps({
    "unknown": [n for n in os.environ["NAMES"].split() if n not in config.CONFIG_ENV_VARS and not hasattr(config, n)],
    "environment": Util.parse_additional_flags(config.LAMBDA_DOCKER_FLAGS).env_vars,
    "platforms": [docker_platform(name) for name in ("arm64", "x86_64")],
    "networks": get_all_container_networks_for_lambda(),
    "image": resolver.get_image_for_runtime("python3.13"),
    "host": str(config.LOCALSTACK_HOST),
}))
"""


@pytest.mark.skipif(not localstack.PYTHON.exists(), reason="LocalStack is not installed: `make local-up` installs it")
def test_localstack_takes_the_settings_as_they_are_meant(tmp_path: Path) -> None:
    """LocalStack's own code, with the container's environment: what a container of a function is given."""
    settings = {
        name: value.replace("${LOCALSTACK_PORT:-4566}", "5000")
        for name, value in LOCALSTACK["environment"].items()
        if name.upper() != "NO_PROXY"  # for every program
    }
    finished = subprocess.run(
        [localstack.PYTHON, "-c", PROBE],
        env=settings | {"NAMES": " ".join(settings), "HOME": str(tmp_path), "PATH": os.defpath},
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(finished.stdout)
    assert found["unknown"] == []
    port = EMULATOR["ports"][0].rpartition(":")[2]
    assert found["environment"] == {
        "AWS_ENDPOINT_URL_REKOGNITION": f"http://emulator:{port}",
        "AWS_ENDPOINT_URL_LOOKOUTVISION": f"http://emulator:{port}",
        "AWS_ENDPOINT_URL_SAGEMAKER": f"http://emulator:{port}",
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://emulator:{port}",
    }
    # Docker resolves the names of services for whoever is on their network.
    assert found["networks"] == [COMPOSE["networks"]["default"]["name"]]
    assert found["platforms"] == [None, None]
    assert found["image"] == "public.ecr.aws/lambda/python:3.13"
    assert found["host"] == "127.0.0.1:5000"


def test_a_function_asks_the_endpoint_that_it_is_given_whatever_a_queues_url_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The URL of a queue is for this machine; in a container of its own, a function would ask itself."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://172.18.0.2:4566")
    client = boto3.client("sqs", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    asked: list[str] = []

    def refuse(request: Any, **_: Any) -> None:
        asked.append(request.url)
        raise ConnectionAbortedError

    client.meta.events.register("before-send.sqs", refuse)
    with pytest.raises(ConnectionAbortedError):
        client.send_message(QueueUrl="http://127.0.0.1:4566/000000000000/images", MessageBody="-")
    assert asked == ["http://172.18.0.2:4566/"]


def instructions(name: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in DOCKERFILE.read_text().splitlines() if line.startswith(f"{name} ")]


# What Python runs before its program: packages that the image has not cannot be imported.
MISSING = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {missing!r}:
            raise ModuleNotFoundError(f"The image of the emulator has no {{name}}.")

sys.meta_path.insert(0, Missing())
"""


def pinned(name: str) -> set[str]:
    return set(re.findall(r"^(\S+==\S+)", (REPOSITORY / "requirements" / name).read_text(), re.M))


def not_in_the_image() -> set[str]:
    """The modules of packages that are installed here, and are not among the image's."""
    there = {requirement.partition("==")[0] for requirement in pinned("emulator.txt")}
    return {
        module
        for module, packages in packages_distributions().items()
        if not there & {re.sub(r"[-_.]+", "-", package).lower() for package in packages}
    }


def test_the_emulators_image_has_what_its_command_needs(tmp_path: Path) -> None:
    """The files that the recipe copies, in a folder of their own, its command and the health check of the file.

    What is not among the packages of the image cannot be imported.
    """
    missing = not_in_the_image()
    assert {"aws_lambda_powertools", "tenacity", "moto", "pytest"} <= missing
    assert not {"av", "boto3", "botocore", "click", "jmespath", "numpy", "PIL", "werkzeug"} & missing
    (tmp_path / "sitecustomize.py").write_text(MISSING.format(missing=missing))
    ignored = (DOCKERFILE.parent / f"{DOCKERFILE.name}.dockerignore").read_text().split()
    for source, target in (line.split() for line in instructions("COPY")):
        assert any(fnmatch(source, entry.removeprefix("!")) for entry in ignored if entry.startswith("!"))
        if (REPOSITORY / source).is_dir():
            shutil.copytree(REPOSITORY / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (tmp_path / target).mkdir()
            shutil.copy(REPOSITORY / source, tmp_path / target)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    published = EMULATOR["ports"][0].rpartition(":")[2]
    (mounted,) = (volume.split(":")[-2] for volume in EMULATOR["volumes"])
    command = json.loads(instructions("CMD")[0])
    assert command[0] == "python"
    assert f"--port={published}" in command
    assert f"--labelled={mounted}" in command
    assert "--aws-endpoint=http://localstack:4566" in command
    here = {
        f"--port={published}": f"--port={port}",
        f"--labelled={mounted}": f"--labelled={REPOSITORY}/local/samples/labelled",
    }
    process = subprocess.Popen(
        [sys.executable, *(here.get(word, word) for word in command[1:])],
        cwd=tmp_path,
        env={"EMULATOR_SETTINGS": '{"start_seconds": 7}', "PYTHONPATH": str(tmp_path)},
    )
    check = EMULATOR["healthcheck"]["test"]
    assert check[:3] == ["CMD", "python", "-c"]
    try:
        deadline = time.monotonic() + 120
        while (
            subprocess.run(
                [sys.executable, "-c", check[3].replace(published, port)], check=False, capture_output=True
            ).returncode
            != 0
        ):
            assert process.poll() is None
            assert time.monotonic() < deadline
        assert EmulatorClient(f"http://127.0.0.1:{port}").state()["settings"]["start_seconds"] == 7
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_the_emulators_image_has_the_versions_that_it_is_tested_with() -> None:
    assert pinned("emulator.txt")
    assert pinned("emulator.txt") <= pinned("dev.txt")
