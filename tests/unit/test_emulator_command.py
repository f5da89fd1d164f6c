"""The emulator as a command: what it refuses, and that it begins and ends cleanly; and its reader of S3."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber
from click.testing import CliRunner
from PIL import Image

from local.config import LOOKOUT_MODEL_ARN, PROJECT_VERSION_ARN, REPOSITORY, SAGEMAKER_MODEL_ARN
from local.emulator.__main__ import main
from local.emulator.client import EmulatorClient, EmulatorRequestError
from local.emulator.errors import ImageTooLargeError, ObjectStoreError, ObjectUnreadableError
from local.emulator.objects import S3ObjectReader

if TYPE_CHECKING:
    from pathlib import Path


def labelled(folder: Path, **counts: int) -> Path:
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (100, 80), (i, 2 * i, 0)).save(folder / label / f"{i}.png")
    return folder


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["--port", "0", *arguments])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def test_missing_folder(tmp_path: Path) -> None:
    message = refusal("--labelled", str(tmp_path / "nowhere"))
    assert "nowhere" in message
    assert "does not exist" in message


def test_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "normal").mkdir()
    (tmp_path / "normal" / "notes.txt").write_text("nothing to see")
    assert "holds no labelled image" in refusal("--labelled", str(tmp_path))


def test_one_label_only(tmp_path: Path) -> None:
    assert "one label only, 'normal'" in refusal("--labelled", str(labelled(tmp_path, normal=3)))


def test_malformed_adapter(tmp_path: Path) -> None:
    folder = str(labelled(tmp_path, normal=2, dent=2))
    assert "'moderation.1' is malformed" in refusal("--labelled", folder, "--adapter-arn", "moderation.1")


def test_label_with_one_image(tmp_path: Path) -> None:
    message = refusal("--labelled", str(labelled(tmp_path, normal=3, dent=1)))
    assert "'dent'" in message
    assert "2 or more" in message


def test_labelled_image_that_is_none(tmp_path: Path) -> None:
    labelled(tmp_path, normal=3, dent=3)
    (tmp_path / "dent" / "1.png").write_bytes(b"no image")
    message = refusal("--labelled", str(tmp_path))
    assert "1.png" in message
    assert "replace or remove" in message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--settings", "{"], "not JSON"),
        (["--settings", "[]"], "not an object"),
        (["--settings", '{"speed": 1}'], "'speed'"),
        (["--settings", '{"latency_ms": "fast"}'], "'fast'"),
        (["--aws-endpoint", "localhost"], "'localhost'"),
        (["--host", "192.0.2.1"], "loopback"),
        (["--project-arn", "batch-vision"], "'batch-vision'"),
        (["--project-version-arn", "batch-vision"], "'batch-vision'"),
        (["--sagemaker-model-arn", "arn:aws:sagemaker:us-east-1:000000000000:model/a"], "model/a"),
        (["--lookout-model-arn", "batch-vision/1"], "'batch-vision/1'"),
        (["--lookout-model-arn", "arn:aws:lookoutvision:us-east-1:000000000000:model/a/latest"], "a/latest"),
    ],
)
def test_arguments_that_cannot_be(arguments: list[str], named: str) -> None:
    assert named in refusal(*arguments)


def test_version_of_another_project() -> None:
    arn = "arn:aws:rekognition:us-east-1:000000000000:project/other/version/other.1/1"
    assert "name the same project" in refusal("--project-version-arn", arn)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_begins_and_ends_cleanly(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "local.emulator", "--port", "0", "--aws-endpoint", "http://127.0.0.1:1"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("emulator: ready at http://127.0.0.1:")
        client = EmulatorClient(line.split()[3].rstrip(","))
        assert client.is_ready()
        assert client.model()["labels"] == ["normal", "crack", "stain"]
        assert set(client.state()["models"]) == {PROJECT_VERSION_ARN, LOOKOUT_MODEL_ARN, SAGEMAKER_MODEL_ARN}
        # The port is taken now, and the next one says so.
        assert "cannot be used" in refusal("--port", client.url.rpartition(":")[2])
        process.send_signal(number)
        rest, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, rest, errors) == (0, "", "")
    assert not client.is_ready()
    with pytest.raises(EmulatorRequestError, match="cannot be reached"):
        client.state()


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("NoSuchKey", 404, ObjectUnreadableError),
        ("AccessDenied", 403, ObjectUnreadableError),
        ("MethodNotAllowed", 405, ObjectUnreadableError),
        ("InvalidArgument", 400, ObjectUnreadableError),
        ("InternalError", 500, ObjectStoreError),
        ("SlowDown", 503, ObjectStoreError),
    ],
)
def test_what_s3_says_of_an_object(code: str, status: int, error: type[Exception]) -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    with Stubber(client) as stubber:
        stubber.add_client_error("get_object", code, http_status_code=status)
        with pytest.raises(error):
            S3ObjectReader(client).read("bucket", "key", "version", 10)


def test_large_objects_are_not_read() -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")

    class Unread(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise AssertionError("the body was read")

    with Stubber(client) as stubber:
        body = StreamingBody(Unread(), 11)
        stubber.add_response("get_object", {"Body": body, "ContentLength": 11}, {"Bucket": "bucket", "Key": "key"})
        with pytest.raises(ImageTooLargeError):
            S3ObjectReader(client).read("bucket", "key", None, 10)
