"""A proxy of the user's environment never comes between what runs on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.config import Config

from local import config
from local.emulator.objects import S3ObjectReader
from local.environment import CLIENT_ENVIRONMENT, Environment

PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


class Store(BaseHTTPRequestHandler):
    """Answers every request as S3 answers one for an object."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"image")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that nobody answers at, and nothing exempt from it."""
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_the_emulator_reads_objects_without_it(store: str) -> None:
    assert S3ObjectReader.at(store).read("bucket", "key", None, 10) == b"image"


def test_the_local_commands_ask_localstack_without_it(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "LOCALSTACK_URL", store)
    client = Environment({}, "rekognition_custom_labels").client("s3")
    assert client.get_object(Bucket="bucket", Key="key")["Body"].read() == b"image"


def test_a_client_that_takes_what_local_up_exports_asks_without_it(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CLIENT_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=store, config=Config(s3={"addressing_style": "path"}))
    assert client.get_object(Bucket="bucket", Key="key")["Body"].read() == b"image"


@pytest.mark.parametrize(
    ("set_by_user", "exempt"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": ""}, "127.0.0.1,localhost"),
        ({"NO_PROXY": ".intranet.example,10.0.0.0/8"}, ".intranet.example,10.0.0.0/8,127.0.0.1,localhost"),
        ({"no_proxy": "a.example", "NO_PROXY": "b.example,localhost"}, "b.example,localhost,a.example,127.0.0.1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_what_the_user_exempts_stays_exempt(set_by_user: dict[str, str], exempt: str) -> None:
    assert config.without_proxy(set_by_user) == {"NO_PROXY": exempt, "no_proxy": exempt}
