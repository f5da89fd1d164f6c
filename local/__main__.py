"""The local commands; the Makefile's local-... targets call them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from botocore.exceptions import BotoCoreError, ClientError

from batch_vision.operator.display import Display
from batch_vision.operator.errors import OperatorError
from batch_vision.operator.folders import find_files
from local import config, environment, run
from local.emulator.errors import ConfigurationError, EmulatorError
from local.emulator.labelled import learn_folder
from local.errors import LocalError
from local.images import check_out, download, upload
from local.terraform import check_module
from local.tfvars import read_tfvars
from local.workflow_diagram import draw_into_document

if TYPE_CHECKING:
    from types import FrameType

    from local.tfvars import Tfvars

SAMPLES = config.REPOSITORY / "local" / "samples"
DEFAULT_OUT = config.BUILD / "results"

DEFAULT_BACKEND = "rekognition_custom_labels"


def _given(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an argument that is given and empty: a variable of a shell that is not set, most likely."""
    if value is not None and not value.strip():
        name = str(parameter.name).upper()
        raise LocalError(f"{name} is given and empty. Give {name} a value, or leave it out.")
    return value


def _given_path(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    text = _given(context, parameter, value)
    return None if text is None else Path(text).expanduser()


_labelled_option = click.option(
    "--labelled",
    callback=_given_path,
    default=os.path.relpath(SAMPLES / "labelled"),
    help="Folder of labelled examples for the emulator's model, one subfolder for each label.",
)

_backend_option = click.option("--backend", callback=_given, help=f"Model service; {DEFAULT_BACKEND} if not given.")

_localstack_option = click.option(
    "--localstack",
    callback=_given,
    default="host",
    help="How LocalStack and the emulator run: host, as processes, or docker.",
)

_tfvars_option = click.option(
    "--tfvars",
    callback=_given_path,
    help="File of the module's variables, in HCL or JSON: applied on top of what local running sets.",
)


@click.group()
def main() -> None:
    """Run batch-vision on this machine."""
    # A request to end is handled as Ctrl-C is: what was started is stopped.
    signal.signal(signal.SIGTERM, _interrupt)


@main.command("run")
@click.option("--images", callback=_given_path, default=os.path.relpath(SAMPLES / "pile"), help="Folder of images.")
@click.option("--out", callback=_given_path, default=os.path.relpath(DEFAULT_OUT), help="Folder for the results.")
@_backend_option
@_labelled_option
@_localstack_option
@_tfvars_option
def run_command(
    images: Path, out: Path, backend: str | None, labelled: Path, localstack: str, tfvars: Path | None
) -> None:
    """Set everything up, analyze a folder of images, and take everything down."""
    backend, values = _backend_and_values(backend, tfvars)
    in_docker = _is_docker(localstack)
    found = find_files(images, f"IMAGES={images}")
    _check_labelled(labelled)
    is_default_out = out.resolve() == DEFAULT_OUT
    if not is_default_out:
        check_out(out)
    display = Display()
    display.console.print(f"{len(found)} files in {images}", highlight=False)
    stack = environment.up(
        display,
        labelled,
        backend=backend,
        dies_with_parent=True,
        in_docker=in_docker,
        # At a full hour a tick would start the one run that this command is to show.
        arguments={"schedule_enabled": False},
        tfvars=values,
    )
    try:
        is_good = _run(display, stack, found, out, is_default_out=is_default_out)
    finally:
        with display.step("Taking everything down"):
            environment.down()
    sys.exit(0 if is_good else 1)


def _run(
    display: Display, stack: environment.Environment, found: dict[str, Path], out: Path, *, is_default_out: bool
) -> bool:
    if is_default_out:
        shutil.rmtree(out, ignore_errors=True)  # the results of the run before
    with display.step("Uploading") as step:
        upload(stack, {f"{stack.source_prefix}{key}": path for key, path in found.items()}, step.progress)
        step.done(f"{len(found)} files to {stack.output('source_bucket_name')}")
    with display.step("Running the workflow") as step:
        described = run.run(stack, len(found), step)
        step.done(described["status"], is_good=described["status"] == "SUCCEEDED")
    with display.step("Downloading") as step:
        results = download(stack, out, step.progress)
        step.done(str(out))
    return run.report(display.console, stack, described, results, len(found), out)


@main.command("up")
@_backend_option
@_labelled_option
@_localstack_option
@_tfvars_option
def up_command(backend: str | None, labelled: Path, localstack: str, tfvars: Path | None) -> None:
    """Start the local environment and leave it running."""
    backend, values = _backend_and_values(backend, tfvars)
    in_docker = _is_docker(localstack)
    _check_labelled(labelled)
    display = Display()
    environment.up(display, labelled, backend=backend, dies_with_parent=False, in_docker=in_docker, tfvars=values)
    console = display.console
    console.print(f"\nRunning. `source {_relative(environment.ENV_FILE)}` makes any AWS client drive it;")
    console.print(f"{_relative(environment.OUTPUTS_FILE)} says what there is; logs are in {_relative(config.LOGS)}.")
    console.print("`make local-down` stops it.")


@main.command("down")
def down_command() -> None:
    """Stop the local environment."""
    stopped = environment.down()
    click.echo("The local environment is stopped." if stopped else "No local environment was running.")


@main.command("check-terraform")
def check_terraform_command() -> None:
    """Check format, validity and native tests of the Terraform module."""
    check_module()


@main.command("draw-workflow")
def draw_workflow_command() -> None:
    """Draw the workflow from its definition into docs/architecture.md."""
    draw_into_document()


def _backend_and_values(chosen: str | None, tfvars: Path | None) -> tuple[str, Tfvars | None]:
    """Return the model service to use, and the user's own values of the module's variables if there are any."""
    if chosen is not None and chosen not in environment.MODELS:
        raise LocalError(f"BACKEND={chosen} is not known. Use one of: {', '.join(environment.MODELS)}.")
    if tfvars is None:
        return chosen or DEFAULT_BACKEND, None
    values = read_tfvars(tfvars)
    return values.backend(chosen, environment.MODELS, DEFAULT_BACKEND), values


def _is_docker(localstack: str) -> bool:
    if localstack not in ("host", "docker"):
        raise LocalError(f"LOCALSTACK={localstack} is not known. Use host, which needs no Docker, or docker.")
    return localstack == "docker"


def _check_labelled(folder: Path) -> None:
    find_files(folder, f"LABELLED={folder}")
    try:
        learn_folder(folder)
    except ConfigurationError as error:
        raise LocalError(f"LABELLED={folder}: {error}") from error


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _relative(path: Path) -> Path:
    return path.relative_to(config.REPOSITORY)


def _guarded() -> None:
    try:
        main(standalone_mode=False)
    except click.ClickException as error:
        sys.exit(f"batch-vision: {error.format_message()}")
    except (LocalError, OperatorError, EmulatorError, BotoCoreError, ClientError, OSError) as error:
        sys.exit(f"batch-vision: {error}")
    except (KeyboardInterrupt, click.Abort):
        sys.exit("batch-vision: interrupted; what had been started was stopped.")


if __name__ == "__main__":
    _guarded()
