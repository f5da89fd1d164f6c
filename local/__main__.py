"""The local commands; the Makefile's local-... targets call them."""

from __future__ import annotations

import os
import signal
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from botocore.exceptions import BotoCoreError, ClientError

from batch_vision.operator.display import Display
from batch_vision.operator.errors import OperatorError
from batch_vision.operator.folders import Found, find_files
from batch_vision.operator.parameters import FilePath, Text
from batch_vision.operator.reach import explain_file
from batch_vision.operator.text import prepare_streams, visible
from local import config, environment, run
from local import videos as videos_module
from local.emulator.errors import ConfigurationError, EmulatorError
from local.emulator.labelled import learn_folder
from local.emulator.models import MODELS
from local.errors import LocalError
from local.images import check_out, clear_out, download, upload
from local.images_bucket import choose_bucket
from local.provider import running_provider
from local.terraform import check_module
from local.tfvars import read_tfvars
from local.workflow_diagram import draw_into_document

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from local.tfvars import Tfvars

SAMPLES = config.REPOSITORY / "local" / "samples"
DEFAULT_OUT = config.BUILD / "results"
_FEW = 5

DEFAULT_BACKEND = "rekognition_custom_labels"


_labelled_option = click.option(
    "--labelled",
    type=FilePath(),
    default=os.path.relpath(SAMPLES / "labelled"),
    help="Folder of labelled examples for the emulator's model, one subfolder for each label.",
)

_backend_option = click.option("--backend", type=Text(), help=f"Model service; {DEFAULT_BACKEND} if not given.")

_localstack_option = click.option(
    "--localstack",
    type=Text(),
    default="host",
    help="How LocalStack and the emulator run: host, as processes, or docker.",
)

_tfvars_option = click.option(
    "--tfvars",
    type=FilePath(),
    help="File of the module's variables, in HCL or JSON: applied on top of what local running sets.",
)


@click.group()
def main() -> None:
    """Run batch-vision on this machine."""
    # A request to end is handled as Ctrl-C is: what was started is stopped.
    signal.signal(signal.SIGTERM, _interrupt)


_videos_option = click.option(
    "--videos",
    type=FilePath(),
    help="Folder of videos; without --images, --backend and --images-bucket the stack has videos only.",
)

_images_bucket_option = click.option(
    "--images-bucket",
    type=Text(),
    help="Name of an existing bucket to play the owner of: it is made, and its images stay in it.",
)

_versioned_option = click.option("--versioned", type=Text(), help="Whether that bucket is versioned: 1, or 0 as ever.")

_convert_option = click.option(
    "--convert",
    type=Text(),
    help="Whether images that the model does not take are converted for it: 1, or 0; what --tfvars says if not given.",
)


@main.command("run")
@click.option("--images", type=FilePath(), help="Folder of images; the samples of the backend if not given.")
@_videos_option
@click.option("--out", type=FilePath(), default=os.path.relpath(DEFAULT_OUT), help="Folder for the results.")
@_backend_option
@_labelled_option
@_localstack_option
@_tfvars_option
@_images_bucket_option
@_versioned_option
@_convert_option
def run_command(
    images: Path | None,
    videos: Path | None,
    out: Path,
    backend: str | None,
    labelled: Path,
    localstack: str,
    tfvars: Path | None,
    images_bucket: str | None,
    versioned: str | None,
    convert: str | None,
) -> None:
    """Set everything up, analyze folders of images and videos, and take everything down."""
    chosen, values = _backend_and_values(
        backend, tfvars, is_videos_only=bool(videos) and not (images or backend or images_bucket or tfvars)
    )
    bucket = choose_bucket(images_bucket, versioned, values.values if values else {})
    converts = _convert_argument(convert, chosen)
    given_videos = values.values.get("videos") if values else None
    piles: dict[str, Path] = {}
    if chosen:
        piles["IMAGES"] = images or Path(os.path.relpath(SAMPLES / MODELS[chosen].samples))
    elif images:
        raise LocalError(f"IMAGES={images} is given, and backend is null: nothing takes images. Leave IMAGES out.")
    if videos or given_videos:
        piles["VIDEOS"] = videos or Path(os.path.relpath(SAMPLES / "videos"))
    in_docker = _is_docker(localstack)
    found = {
        name: find_files(folder, f"{name}={folder}", **(_VIDEOS_TAKEN if name == "VIDEOS" else {}))
        for name, folder in piles.items()
    }
    _check_labelled(labelled)
    is_default_out = out.resolve() == DEFAULT_OUT
    display = Display()
    for name, folder in piles.items():
        check_out(out, folder, is_replaced=is_default_out)
        noun = name.lower()
        display.say(f"{len(found[name].files)} files in {folder}")
        if left_out := found[name].left_out:
            display.say(f"- {len(left_out)} left out: hidden, or no {noun} by their names: {_few(left_out)}")
    stack = environment.up(
        display,
        labelled,
        backend=chosen,
        dies_with_parent=True,
        in_docker=in_docker,
        # At a full hour a tick would start the one run that this command is to show.
        arguments={"schedule_enabled": False} | _videos_argument(given_videos, is_wanted=videos is not None) | converts,
        tfvars=values,
        images_bucket=bucket,
    )
    try:
        if is_default_out:
            clear_out(out)
        ends = [
            (_run_videos if name == "VIDEOS" else _run)(display, stack, of_pile, out) for name, of_pile in found.items()
        ]
    finally:
        with display.step("Taking everything down"):
            environment.down()
    sys.exit(0 if all(ends) else 1)


def _few(names: Iterable[str]) -> str:
    few = [*islice(names, _FEW + 1)]
    return ", ".join(few[:_FEW]) + (" …" if len(few) > _FEW else "")


# What of a folder of videos is taken.
_VIDEOS_TAKEN: dict[str, Any] = {"takes_images": False, "video_suffixes": videos_module.SUFFIXES}


def _videos_argument(given: Any, *, is_wanted: bool) -> dict[str, Any]:
    """Return the module's argument for videos: that of the user's file counts, where it has one."""
    return {"videos": videos_module.ARGUMENT} if is_wanted and not given else {}


def _run_videos(display: Display, stack: environment.Environment, found: Found, out: Path) -> bool:
    bucket_name, out = stack.output("videos_bucket_name"), out / "videos"
    with display.step("Uploading videos") as step:
        keyed = {f"{stack.videos_prefix}{name}": path for name, path in found.files.items()}
        failed = found.failed | upload(stack, keyed, step.progress, bucket_name)
        keys = [key for key in keyed if key not in failed]
        step.done(f"{len(keys)} files to {bucket_name}", is_good=not failed)
    with display.step("Analyzing videos") as step:
        videos_module.wait(stack, keys, step)
    with display.step("Downloading results of videos") as step:
        results = videos_module.fetch(stack, keys, out, step.progress)
        step.done(str(out))
    for name, why in failed.items():
        display.mark(f"{name} is not uploaded: {why}", is_good=False)
    return videos_module.report(display, stack, results, len(keys), out) and not failed


def _run(display: Display, stack: environment.Environment, found: Found, out: Path) -> bool:
    with display.step("Uploading") as step:
        keyed = {f"{stack.source_prefix}{name}": path for name, path in found.files.items()}
        failed = found.failed | upload(stack, keyed, step.progress)
        uploaded = [key for key in keyed if key not in failed]
        step.done(f"{len(uploaded)} files to {stack.bucket_name}", is_good=not failed)
    keys = run.in_scope(stack, uploaded)
    if others := sorted({*uploaded} - {*keys}):
        display.say(f"- {len(others)} have none of image_suffixes, so they have no result: {_few(others)}")
    described = None
    if stack.is_hosted:
        with display.step("Running the workflow") as step:
            described = run.run(stack, keys, step)
            step.done(described["status"], is_good=described["status"] == "SUCCEEDED")
    else:
        with display.step("Analyzing") as step:
            run.wait(stack, keys, step)
    with display.step("Downloading") as step:
        results = download(stack, out, step.progress)
        step.done(str(out))
    for name, why in failed.items():
        display.mark(f"{name} is not uploaded: {why}", is_good=False)
    return run.report(display, stack, described, results, len(keys), out) and not failed


@main.command("up")
@click.option("--videos", type=Text(), help="1 for a stack with videos beside images; only for one with videos only.")
@_backend_option
@_labelled_option
@_localstack_option
@_tfvars_option
@_images_bucket_option
@_versioned_option
@_convert_option
def up_command(
    videos: str | None,
    backend: str | None,
    labelled: Path,
    localstack: str,
    tfvars: Path | None,
    images_bucket: str | None,
    versioned: str | None,
    convert: str | None,
) -> None:
    """Start the local environment and leave it running."""
    if videos not in (None, "0", "1", "only"):
        raise LocalError(f"VIDEOS={videos} is not known. Use 1 for videos beside images, only for videos alone, or 0.")
    if videos == "only" and backend:
        raise LocalError(f"VIDEOS=only is for a stack without images, and BACKEND={backend} was given. Use VIDEOS=1.")
    chosen, values = _backend_and_values(backend, tfvars, is_videos_only=videos == "only")
    bucket = choose_bucket(images_bucket, versioned, values.values if values else {})
    converts = _convert_argument(convert, chosen)
    in_docker = _is_docker(localstack)
    _check_labelled(labelled)
    display = Display()
    stack = environment.up(
        display,
        labelled,
        backend=chosen,
        dies_with_parent=False,
        in_docker=in_docker,
        arguments=_videos_argument(values.values.get("videos") if values else None, is_wanted=videos in ("1", "only"))
        | converts,
        tfvars=values,
        images_bucket=bucket,
    )
    console = display.console
    does = "waits for a run: `make status` says when the next one is" if stack.is_hosted else "is analyzed at once"
    stays = "stays there" if bucket else "leaves it"
    if chosen:
        console.print(f"\nWhat is put into {stack.bucket_name} {does}, and {stays}.", highlight=False)
    if stack.has("videos_bucket_name"):
        videos_bucket = stack.output("videos_bucket_name")
        console.print(f"Videos that are put into {videos_bucket} are analyzed within minutes.", highlight=False)
    console.print(f"Results are in {stack.output('final_bucket_name')}.", highlight=False)
    console.print(f"Running. `source {_relative(environment.ENV_FILE)}` makes any AWS client drive it;")
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
    with running_provider():
        check_module()


@main.command("draw-workflow")
def draw_workflow_command() -> None:
    """Draw the workflow from its definition into docs/architecture.md."""
    draw_into_document()


def _backend_and_values(
    chosen: str | None, tfvars: Path | None, *, is_videos_only: bool
) -> tuple[str | None, Tfvars | None]:
    """Return the model service to use, and the user's own values of the module's variables if there are any.

    Parameters
    ----------
    is_videos_only
        Whether the stack is to have videos only, as far as the other arguments go.
    """
    if chosen is not None and chosen not in MODELS:
        raise LocalError(f"BACKEND={chosen} is not known. Use one of: {', '.join(MODELS)}.")
    default = None if is_videos_only else DEFAULT_BACKEND
    if tfvars is None:
        return chosen or default, None
    values = read_tfvars(tfvars)
    return values.backend(chosen, MODELS, DEFAULT_BACKEND), values


def _convert_argument(given: str | None, backend: str | None) -> dict[str, Any]:
    """Return the module's argument for converting images, where CONVERT is given."""
    if given not in (None, "0", "1"):
        raise LocalError(f"CONVERT={given} is not known. Use 1 to convert images that the model does not take, or 0.")
    if given == "1" and backend is None:
        raise LocalError("CONVERT=1 is about images, and this stack has videos only. Leave CONVERT out.")
    return {} if given is None else {"convert_images": given == "1"}


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
    prepare_streams()
    try:
        main(standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.BadParameter) and error.param is not None:
            error.param_hint = str(error.param.name).upper()  # as it was given to make
        sys.exit(f"batch-vision: {visible(error.format_message())}")
    except OSError as error:
        sys.exit(f"batch-vision: {visible(explain_file(error))}")
    except LocalError as error:
        # Its lines are those of Terraform, of Docker or of a log.
        sys.exit("batch-vision: " + "\n".join(visible(line) for line in str(error).split("\n")))
    except (OperatorError, EmulatorError, BotoCoreError, ClientError) as error:
        sys.exit(f"batch-vision: {visible(str(error))}")
    except (KeyboardInterrupt, click.Abort):
        sys.exit("batch-vision: interrupted; what had been started was stopped.")


if __name__ == "__main__":
    _guarded()
