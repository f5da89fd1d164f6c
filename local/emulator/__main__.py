"""Runs the emulator until it is told to end: `python -m local.emulator --help`."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import click

from local.config import (
    ADAPTER_ARN,
    EMULATOR_PORT,
    LOCALSTACK_URL,
    LOOKOUT_MODEL_ARN,
    PROJECT_ARN,
    PROJECT_VERSION_ARN,
    REPOSITORY,
    SAGEMAKER_MODEL_ARN,
)
from local.emulator.errors import ConfigurationError
from local.emulator.labelled import learn_folder
from local.emulator.objects import S3ObjectReader
from local.emulator.recorder import CallRecorder
from local.emulator.server import Emulator, EmulatorServer
from local.emulator.settings import Settings
from local.emulator.topics import SnsTopics

# 0.0.0.0 is for a container, which is reached from outside only through ports that are published.
HOSTS = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104


@click.command(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="Loopback address to listen on; 0.0.0.0 in a container.")
@click.option("--port", default=EMULATOR_PORT, type=click.IntRange(0, 65535), help="Port; 0 means any free one.")
@click.option(
    "--labelled",
    type=click.Path(path_type=Path),
    default=REPOSITORY / "local" / "samples" / "labelled",
    show_default="the samples of the repository",
    help="Folder to learn from, with one subfolder of images for each label.",
)
@click.option("--aws-endpoint", default=LOCALSTACK_URL, help="Where S3, to read from, and SNS, to publish to, are.")
@click.option("--project-arn", default=PROJECT_ARN, help="The project that exists in Rekognition.")
@click.option(
    "--project-version-arn",
    "project_version_arns",
    multiple=True,
    default=(PROJECT_VERSION_ARN,),
    help="A model that exists in Rekognition; may be given several times.",
)
@click.option(
    "--lookout-model-arn",
    "lookout_model_arns",
    multiple=True,
    default=(LOOKOUT_MODEL_ARN,),
    help="A model that exists in Lookout for Vision; may be given several times.",
)
@click.option(
    "--sagemaker-model-arn",
    "sagemaker_model_arns",
    multiple=True,
    default=(SAGEMAKER_MODEL_ARN,),
    help="A model that exists in SageMaker; may be given several times. Its name ends with the task of its container.",
)
@click.option(
    "--adapter-arn",
    "adapter_arns",
    multiple=True,
    default=(ADAPTER_ARN,),
    help="An adapter of content moderation that exists in Rekognition; may be given several times.",
)
@click.option(
    "--settings",
    "settings_json",
    default="{}",
    envvar="EMULATOR_SETTINGS",
    help="Settings to begin with, a JSON object; also taken from EMULATOR_SETTINGS.",
)
@click.option("--record-calls", type=click.Path(path_type=Path), help="File to append a line to for each call.")
def main(
    host: str,
    port: int,
    labelled: Path,
    aws_endpoint: str,
    project_arn: str,
    project_version_arns: tuple[str, ...],
    lookout_model_arns: tuple[str, ...],
    sagemaker_model_arns: tuple[str, ...],
    adapter_arns: tuple[str, ...],
    settings_json: str,
    record_calls: Path | None,
) -> None:
    """Emulate Rekognition, Lookout for Vision and SageMaker endpoints with a model learned from labelled images."""
    try:
        emulator = Emulator(
            learn_folder(labelled),
            S3ObjectReader.at(_checked_endpoint(aws_endpoint)),
            settings=_parsed_settings(settings_json),
            project_arn=project_arn,
            project_version_arns=project_version_arns,
            lookout_model_arns=lookout_model_arns,
            sagemaker_model_arns=sagemaker_model_arns,
            adapter_arns=adapter_arns,
            topics=SnsTopics.at(aws_endpoint),
            recorder=CallRecorder(record_calls) if record_calls else None,
        )
        server = _listening(emulator, host, port)
    except ConfigurationError as error:
        click.echo(f"emulator: {error}", err=True)
        sys.exit(2)

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with server as client:
        click.echo(f"emulator: ready at {client.url}, labels {', '.join(_labels(emulator))}")
        ended.wait()


def _parsed_settings(text: str) -> Settings:
    remedy = 'use a JSON object such as {"start_seconds": 2}'
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"--settings {text!r} is not JSON, {error}: {remedy}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"--settings {text!r} is not an object: {remedy}")
    return Settings().updated(content)


def _checked_endpoint(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise ConfigurationError(f"--aws-endpoint {url!r} is no address: use one like {LOCALSTACK_URL}")
    return url


def _listening(emulator: Emulator, host: str, port: int) -> EmulatorServer:
    if host not in HOSTS:
        raise ConfigurationError(f"--host {host!r} is not a loopback address: use one of {', '.join(HOSTS)}")
    try:
        return EmulatorServer(emulator, host, port)
    except OSError as error:
        raise ConfigurationError(
            f"--port {port} on {host} cannot be used, {error}: end what listens there or choose another"
        ) from error


def _labels(emulator: Emulator) -> list[str]:
    return sorted({label for model in emulator.models.values() for label in model.pixel_model.labels})


if __name__ == "__main__":
    main()
