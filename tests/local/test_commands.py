"""The make targets as a user calls them: what they print, what they leave, and what they do when interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pillow_heif
import psutil
import pytest
from PIL import Image

from local import config, environment
from local.processes import find_background
from local.provider import PID_FILE, VARIABLE
from tests.local.interruptible import interruptible
from tests.local.test_stack import SAMPLES

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

pillow_heif.register_heif_opener()  # it has an encoder

# A proxy that nobody answers at: nothing of the local environment, which speaks http throughout, may ask it. Packages
# come by https.
DEAD_PROXY = {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}

# Of formats that are converted, a JPEG in CMYK among them.
SUFFIXES = (".webp", ".heic", ".tiff", ".avif", ".jpg", ".bmp")

# Command lines that only the local environment has.
MARKS = ("localstack.runtime.main", "local.emulator", "awslambdaric", "terraform apply", "terraform-provider-aws")


def leftovers() -> list[str]:
    """Processes of this environment: others may run beside it, each in a folder and on ports of its own."""
    own = find_background(PID_FILE)  # the tests' provider
    listed = psutil.process_iter(["cmdline", "cwd", "pid"])
    found = [
        (" ".join(process.info["cmdline"] or ()), process.info["cwd"] or "")
        for process in listed
        if own is None or session_of(process.info["pid"]) != own.pid
    ]
    return [
        line
        for line, folder in found
        if any(mark in line for mark in MARKS)
        and (f"--port={config.EMULATOR_PORT}" in line or folder.startswith(f"{config.LOCAL_BUILD}/"))
    ]


def session_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid)
    return None


@pytest.fixture(autouse=True)
def nothing_is_left(alone: None) -> Iterator[None]:
    assert leftovers() == []
    yield
    environment.down()
    assert leftovers() == []
    for port in (config.LOCALSTACK_PORT, config.EMULATOR_PORT):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still taken"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Half of the labelled samples, in a folder for each label, and one file that is no image."""
    folder = tmp_path / "my images"
    copy_half(folder, 0)
    (folder / "notes.jpg").write_text("no picture")
    return folder


def convert_some(folder: Path) -> None:
    """Save every other image in another format."""
    for path, suffix in zip(sorted(folder.glob("*/*"))[::2], SUFFIXES, strict=True):
        Image.open(path).convert("CMYK" if suffix == ".jpg" else "RGB").save(path.with_suffix(suffix))
        if path.suffix != suffix:
            path.unlink()


def copy_half(folder: Path, half: int) -> None:
    for label in (path for path in SAMPLES.iterdir() if path.is_dir()):
        for path in sorted(label.iterdir())[half::2]:
            target = folder / label.name / f"no. {path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def command(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        interruptible("make", *words),
        cwd=config.REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    printed, _ = process.communicate(timeout=800)
    return process.returncode, printed


# What somebody wants on AWS: a model, key and Region that are not here.
TFVARS = """
name_prefix   = "weld-seams"
source_prefix = "line-7/"
kms_key_arn   = "arn:aws:kms:eu-west-1:111122223333:key/5f2c2d3e-0000-4000-8000-000000000000"
tags          = { Project = "weld-seams" }
rekognition_custom_labels = {
  project_arn         = "arn:aws:rekognition:eu-west-1:111122223333:project/weld-seams/1732100000000"
  project_version_arn = "arn:aws:rekognition:eu-west-1:111122223333:project/weld-seams/version/1/1732190000000"
}
"""


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (
            "lookout_for_vision",
            ["images with an anomaly      8 of 12", "AWS ended Lookout for Vision on 2025-10-31"],
        ),
        (
            "sagemaker_endpoint",
            ["at $0.23 an hour for each inference unit (a start takes 5 s here, some minutes there)"],
        ),
    ],
)
def test_local_run_says_what_came_of_every_image(images: Path, tmp_path: Path, backend: str, said: list[str]) -> None:
    """Learned on one half of the samples, run on the other; of these, some in formats that must be converted."""
    out, labelled = tmp_path / "out", tmp_path / "labelled"
    copy_half(labelled, 1)
    convert_some(images)
    words = [f"IMAGES={images}", f"LABELLED={labelled}", f"OUT={out}", f"BACKEND={backend}", "CONVERT=1"]
    status, printed = finish(command("local-run", *words, **DEAD_PROXY))
    check_report(status, printed, out, *said)
    check_downloaded(images, out)


@pytest.mark.matrix
def test_local_run_tries_the_users_own_variables(images: Path, tmp_path: Path) -> None:
    """Learned on one half of the samples, run on the other."""
    out, labelled, tfvars = tmp_path / "out", tmp_path / "labelled", tmp_path / "weld seams.tfvars"
    copy_half(labelled, 1)
    tfvars.write_text(TFVARS + 'owner = "somebody"\nconvert_images = true\n')
    convert_some(images)
    # With its result's suffix this name is longer than a file system takes.
    short = next((images / "crack").glob("*.jpg"))
    long = short.rename(short.with_name(f"{'x' * 247}{short.suffix}"))
    assert len(long.name) == 251
    words = [f"IMAGES={images}", f"LABELLED={labelled}", f"OUT={out}", f"TFVARS={tfvars}"]
    # Without the provider of the tests, as a user.
    status, printed = finish(command("local-run", *words, **DEAD_PROXY, **{VARIABLE: ""}))
    for text in (
        "rekognition_custom_labels: here it is the model of the emulator",
        "kms_key_arn: here it is a key on LocalStack",
        "owner: not a variable of the module",
        "to weld-seams-",  # the bucket
    ):
        assert text in printed, printed
    check_report(status, printed, out, "label is the folder's name  12 of 12", long.name)
    content = long.read_bytes()
    (stored,) = (path for path in (out / "processed").rglob("xxx*") if path.read_bytes() == content)
    result = json.loads(stored.with_name(f"{stored.name}.json").read_text())
    assert result["source"]["key"] == f"line-7/{long.relative_to(images)}"
    long.unlink()
    check_downloaded(images, out, "line-7/")


def test_a_value_that_a_plan_on_aws_refuses_is_refused_before_anything_starts(images: Path, tmp_path: Path) -> None:
    shutil.rmtree(config.LOGS, ignore_errors=True)
    tfvars = tmp_path / "weld-seams.tfvars"
    tfvars.write_text(TFVARS.replace('"line-7/"', '"/line-7"').replace("key/", "alias/") + "batch_size = 0\n")
    status, printed = finish(command("local-run", f"IMAGES={images}", f"TFVARS={tfvars}"))
    assert status != 0
    for text in (f"TFVARS={tfvars} is refused", 'source_prefix is "/line-7"', "alias/5f2c2d3e", "batch_size is 0"):
        assert text in printed, printed
    assert "project_version_arn is" not in printed
    assert "Traceback" not in printed
    assert not (config.LOGS / "localstack.log").exists()


def check_report(status: int, printed: str, out: Path, *said: str) -> None:
    assert status == 0, printed
    for text in (
        *said,
        "13 files in",
        "images processed            12 of 13",
        "images rejected             1 (InvalidImageFormatError 1)",
        "model on",
        "inference-unit seconds (1 start, 1 stop)",
        "would cost on AWS           $0.0",
        f"results                     {out}",
        "every image has its end, the model is stopped",
    ):
        assert text in printed, printed


def check_downloaded(images: Path, out: Path, prefix: str = "") -> None:
    for path in images.glob("*/*"):
        assert (out / "processed" / prefix / path.relative_to(images)).read_bytes() == path.read_bytes()
    assert json.loads((out / "rejected" / prefix / "notes.jpg.json").read_text())["status"] == "rejected"
    assert len(list((out / "runs").glob("*.json"))) == 1


@pytest.mark.matrix
def test_local_up_leaves_an_environment_that_any_client_can_drive(images: Path) -> None:
    status, printed = finish(command("local-up"))
    assert status == 0, printed
    exports = environment.ENV_FILE.read_text().splitlines()
    assert all(line.startswith("export ") for line in exports)
    variables = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    assert set(variables) >= {"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "EMULATOR_URL", "NO_PROXY"}
    outputs = json.loads(environment.OUTPUTS_FILE.read_text())
    assert set(outputs) == {
        "source_bucket_name",
        "final_bucket_name",
        "queue_url",
        "dead_letter_queue_url",
        "state_machine_arn",
        "schedule_rule_name",
        "event_source_mapping_uuid",
        "analyze_images_function_name",
        "alert_topic_arn",
    }
    client = boto3.client("s3", endpoint_url=variables["AWS_ENDPOINT_URL"])
    assert outputs["source_bucket_name"]["value"] in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]

    for again in (command("local-up"), command("local-run", f"IMAGES={images}")):
        status, printed = finish(again)
        assert status != 0
        assert "is running already. Stop it with `make local-down` first" in printed
    assert find_background(environment.EMULATOR_PID_FILE), "a refused command stopped what runs"

    status, printed = finish(command("local-down"))
    assert (status, "is stopped" in printed) == (0, True), printed
    assert leftovers() == []
    assert not environment.OUTPUTS_FILE.exists()
    assert not environment.ENV_FILE.exists()
    assert "No local environment was running" in finish(command("local-down"))[1]


@pytest.mark.parametrize(
    "last_line",
    ["Packaging the Lambdas", "Starting LocalStack", pytest.param("Uploading", marks=pytest.mark.matrix)],
)
@pytest.mark.parametrize("number", [signal.SIGINT])
def test_interrupted_it_leaves_nothing(images: Path, last_line: str, number: signal.Signals) -> None:
    """While LocalStack starts, while Terraform applies, and while the workflow runs."""
    process = command("local-run", f"IMAGES={images}")
    seen = []
    for line in process.stdout or ():
        seen.append(line)
        if last_line in line:
            break
    time.sleep(2)
    os.killpg(process.pid, number)
    status, printed = finish(process)
    assert status != 0
    assert "interrupted; what had been started was stopped" in printed, "".join(seen) + printed
    assert "Traceback" not in printed
    assert leftovers() == []


def test_killed_it_leaves_nothing_that_stops_the_next_one(images: Path) -> None:
    """SIGKILL of everything that the terminal knows: what runs in the background notices and ends."""
    process = command("local-run", f"IMAGES={images}")
    for line in process.stdout or ():
        if "Starting LocalStack" in line:
            break
    time.sleep(2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 120
    while leftovers():
        assert time.monotonic() < deadline, leftovers()
        time.sleep(0.5)
    time.sleep(2)
    assert leftovers() == [], "something began while the rest ended"
    environment.check_nothing_runs()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["IMAGES=/nowhere"], "IMAGES=/nowhere does not exist"),
        (["IMAGES=Makefile"], "IMAGES=Makefile is not a folder"),
        (["LABELLED=/nowhere"], "LABELLED=/nowhere does not exist"),
        (["LABELLED=tests/local"], "LABELLED=tests/local"),
        (["BACKEND=abacus"], "BACKEND=abacus is not known. Use one of: rekognition_custom_labels, lookout_for_vision"),
        (["OUT=lambdas"], "OUT=lambdas is not empty"),
        (["LOCALSTACK_PORT=high"], "LOCALSTACK_PORT is 'high'"),
        (["LOCALSTACK=podman"], "LOCALSTACK=podman is not known. Use host, which needs no Docker, or docker"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_starts(words: list[str], message: str) -> None:
    shutil.rmtree(config.LOGS, ignore_errors=True)
    status, printed = finish(command("local-run", *words))
    assert status != 0
    assert message in printed
    assert "Traceback" not in printed
    assert not (config.LOGS / "localstack.log").exists()


@pytest.mark.parametrize(("name", "port"), [("LOCALSTACK_PORT", 4566), ("EMULATOR_PORT", 4599)])
def test_a_port_in_use_is_named_and_nothing_started(images: Path, name: str, port: int) -> None:
    shutil.rmtree(config.LOGS, ignore_errors=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        status, printed = finish(command("local-run", f"IMAGES={images}", f"{name}={taken}"))
    assert status != 0
    assert f"ort {taken}" in printed
    assert "another program" in printed
    assert not (config.LOGS / "localstack.log").exists()


def fake_docker(folder: Path, script: str) -> dict[str, str]:
    """A `docker` that writes down what it is asked before it does what the script says, and where to find it."""
    program = folder / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {folder}/calls\n{script}\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_without_compose_nothing_is_started_and_the_remedy_named(tmp_path: Path) -> None:
    shutil.rmtree(config.LOGS, ignore_errors=True)
    path = fake_docker(tmp_path, "echo 'no such command: compose' >&2; exit 1")
    status, printed = finish(command("local-up", "LOCALSTACK=docker", **path))
    assert status != 0
    assert "Docker has no Compose. Install its plugin, Compose 2. Or leave LOCALSTACK=docker away" in printed
    assert "no such command: compose" in printed
    assert "Traceback" not in printed
    assert (tmp_path / "calls").read_text() == "compose version\n"
    assert not config.LOGS.exists()


def test_containers_that_do_not_answer_are_taken_down(tmp_path: Path) -> None:
    """A Docker that says yes to everything and starts nothing."""
    status, printed = finish(command("local-up", "LOCALSTACK=docker", **fake_docker(tmp_path, "exit 0")))
    assert status != 0
    assert f"127.0.0.1:{config.EMULATOR_PORT}" in printed
    assert "Traceback" not in printed
    compose = f"compose --file={config.REPOSITORY / 'docker-compose.localstack.yml'}"
    assert (tmp_path / "calls").read_text().splitlines() == [
        "compose version",
        "info",
        f"{compose} up --build --detach --wait --wait-timeout=180",
        f"{compose} logs --no-color",
        f"{compose} down --volumes --remove-orphans",
    ]
    assert "No local environment was running" in finish(command("local-down"))[1]
