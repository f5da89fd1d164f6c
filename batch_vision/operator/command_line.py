"""What all commands of the tool share: how a stack is found, and how a command ends."""

from __future__ import annotations

import os
from functools import partial, wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, override

import click
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from click.core import ParameterSource
from rich.console import Console

from batch_vision.core.errors import AccessDeniedError, BatchVisionError, ServiceUnavailableError, ThrottledError
from batch_vision.core.times import to_text
from batch_vision.operator import environment
from batch_vision.operator.display import Display
from batch_vision.operator.errors import OperatorError, UnreachableError, WrongInputError
from batch_vision.operator.parameters import FilePath, Text
from batch_vision.operator.reach import explain, explain_endpoint, explain_file, is_wrong_endpoint
from batch_vision.operator.report import check_replaceable
from batch_vision.operator.stack import Stack, find_by_name, find_by_outputs
from batch_vision.operator.text import good, prepare_streams, print_json, say, shown_number, visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from batch_vision.operator.report import Report

LOCAL_OUTPUTS = Path("build", os.environ.get("LOCAL_NAME") or "local", "outputs.json")
INTERRUPTED_STATUS = 130  # what a shell says of a command that Ctrl-C ended

_EPILOG = """\b
Exit status:
  0    well: done, or nothing wrong
  1    the stack, the run or a part of the work is not well; the text says what to do
  2    a wrong option or argument
  3    not reached: no credentials, permission, Region, network, or no such stack
  130  interrupted with Ctrl-C
"""


def check_confidences(lowest: float | None, highest: float | None) -> None:
    """Check that some confidence is in a range; raises `WrongInputError`."""
    if lowest is not None and highest is not None and lowest > highest:
        raise WrongInputError(
            f"--min-confidence is {lowest:g}, above --max-confidence, {highest:g}: no result is both. Exchange them."
        )


def check_span(begin: datetime | None, end: datetime | None) -> None:
    """Check that a span of time does not end before it begins; raises `WrongInputError`."""
    if begin and end and begin > end:
        raise WrongInputError(f"--since ({shown_time(begin)}) is after --until ({shown_time(end)}). Exchange them.")


def check_page(path: Path, option: str) -> None:
    """Check that a page may be written to a path; raises `WrongInputError`."""
    if not path.parent.is_dir():
        raise WrongInputError(
            f"{option} is {path}, but there is no folder {path.parent}. Make it, or give another path."
        )
    check_replaceable(path, option)


def write_page(path: Path, make: Callable[[Callable[[int, int], None]], Report], *, as_json: bool) -> None:
    """Make a report, write it to a path, and say so.

    Parameters
    ----------
    make
        Takes what is to be told how many pictures are done, of how many.
    """
    with display().step("Making the report") as step:
        made = make(step.progress)
        path.write_text(made.html, encoding="utf-8")
        step.done(shown_number(made.shown, "picture"))
    if as_json:
        print_json({"path": str(path), "images": made.images, "shown": made.shown, "size_bytes": path.stat().st_size})
    else:
        counted = shown_number(made.images, "image") if made.nouns == "images" else f"{made.images:,} {made.nouns}"
        good(f"{path}: {counted}, {made.shown:,} of them shown")


class Failure(click.ClickException):
    """The end of a command that did not do what it was asked."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_code = exit_status  # type: ignore[misc]  # click declares it for the class

    @override
    def show(self, file: IO[Any] | None = None) -> None:
        say(f"batch-vision: {self.message}", err=True)


class Tool(click.Group):
    """A group whose commands end with a sentence and an exit status, whatever happens to them."""

    @override
    def main(self, *args: Any, **extra: Any) -> Any:
        prepare_streams()
        return super().main(*args, **extra)

    @override
    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):  # https://no-color.org
            ctx.color = False
        try:
            environment.check_endpoints(os.environ)
            environment.bypass_proxies_for_loopback(os.environ)
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except click.UsageError as error:
            raise click.UsageError(visible(error.format_message()), ctx=error.ctx) from error
        except click.ClickException:
            raise
        except OperatorError as error:
            raise Failure(str(error), error.exit_status) from error
        except (BotoCoreError, ClientError) as error:
            raise Failure(explain(error), UnreachableError.exit_status) from error
        except Boto3Error as error:  # what a transfer makes of one of the above
            cause = error.__context__
            why = explain(cause) if isinstance(cause, BotoCoreError | ClientError) else ""
            raise Failure(f"{error} {why}".strip(), UnreachableError.exit_status) from error
        except (AccessDeniedError, ServiceUnavailableError, ThrottledError) as error:
            raise Failure(str(error), UnreachableError.exit_status) from error
        except BatchVisionError as error:
            raise Failure(str(error), OperatorError.exit_status) from error
        except OSError as error:
            raise Failure(explain_file(error), OperatorError.exit_status) from error
        except KeyboardInterrupt as error:
            raise Failure(str(error) or "interrupted.", INTERRUPTED_STATUS) from error
        except Exception as error:
            if is_wrong_endpoint(error):
                raise Failure(explain_endpoint(error), WrongInputError.exit_status) from error
            if os.environ.get("BATCH_VISION_TRACEBACK"):
                raise
            raise Failure(
                f"{type(error).__name__}: {error}. This is a fault of batch-vision. Please report it with what"
                " BATCH_VISION_TRACEBACK=1 shows.",
                OperatorError.exit_status,
            ) from error


@click.group(cls=Tool, epilog=_EPILOG, context_settings={"max_content_width": 100})
def main() -> None:
    """Operate a batch-vision stack: see every run, and put right what went wrong.

    A stack is found by what `terraform output -json` printed (--outputs FILE), or by the name_prefix that it was
    applied with (--stack NAME). Without either it is the local stack, if build/local/outputs.json is there. Account,
    Region, credentials and endpoints come from the ordinary AWS environment (AWS_PROFILE, AWS_REGION,
    AWS_ENDPOINT_URL …).
    """


def on_stack[**P, R](command: Callable[..., R]) -> Callable[..., R]:
    """Add the options that find a stack to a command, and pass the stack as its first argument."""

    @wraps(command)
    def on_found(find: Callable[[], Stack], /, **options: Any) -> R:
        return command(find(), **options)

    return finding_stack(on_found)


def finding_stack[**P, R](command: Callable[..., R]) -> Callable[..., R]:
    """Add the options that find a stack to a command that may do without, and pass what finds it, to be called."""

    @click.option(
        "--outputs",
        type=FilePath(),
        envvar="BATCH_VISION_OUTPUTS",
        show_envvar=True,
        help="File of `terraform output -json`.",
    )
    @click.option(
        "--stack",
        "name",
        type=Text(),
        envvar="BATCH_VISION_STACK",
        show_envvar=True,
        help="The stack's name_prefix.",
    )
    @click.pass_context
    @wraps(command)
    def with_stack(ctx: click.Context, /, outputs: Path | None, name: str | None, **options: Any) -> R:
        return command(partial(_find, ctx, outputs, name), **options)

    return with_stack


def span_options[F: Callable[..., Any]](run_help: str) -> Callable[[F], F]:
    """Return a decorator that adds the options for a span of time, or for a run instead, to a command."""

    def with_options(command: F) -> F:
        command = click.option("--run", "run_id", type=Text(), help=run_help)(command)
        command = click.option("--until", type=Text(), help="Finished until, given likewise [default: now].")(command)
        since_help = "Finished since: 90m, 6h, 7d, or a time in UTC."
        return click.option("--since", type=Text(), default="24h", show_default=True, help=since_help)(command)

    return with_options


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for scripts.")


# What names a stack in the environment, by the option that does.
_VARIABLES = {"outputs": "BATCH_VISION_OUTPUTS", "name": "BATCH_VISION_STACK"}


def _find(ctx: click.Context, outputs: Path | None, name: str | None) -> Stack:
    typed = [option for option in _VARIABLES if ctx.get_parameter_source(option) is ParameterSource.COMMANDLINE]
    if typed:  # an option says more than a variable of the environment
        outputs, name = outputs if "outputs" in typed else None, name if "name" in typed else None
    elif empty := [variable for variable in (*_VARIABLES.values(), "LOCAL_NAME") if os.environ.get(variable) == ""]:
        # As of a variable in a script that was not set: another stack than the one that was meant must not be taken.
        raise WrongInputError(f"{empty[0]} is set and empty. Set it to the stack that you mean, or unset it.")
    if outputs and name:
        raise WrongInputError("Both --outputs and --stack are given. Give the one that says which stack you mean.")
    if name:
        return find_by_name(name)
    if not outputs and not LOCAL_OUTPUTS.exists():
        raise WrongInputError(
            "Which stack? Give --outputs FILE, with what `terraform output -json` prints, or --stack NAME, the"
            f" name_prefix of the stack. (No local stack is running: there is no {LOCAL_OUTPUTS}.)"
        )
    return find_by_outputs(outputs or LOCAL_OUTPUTS)


def display() -> Display:
    """Return what shows progress."""
    return Display(Console(stderr=True, soft_wrap=True))


def shown_time(moment: datetime) -> str:
    """Write a time for people, in UTC."""
    return f"{to_text(moment)[:19].replace('T', ' ')}Z"


def shown_duration(duration: timedelta) -> str:
    """Write a duration for people."""
    seconds = round(duration.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h {seconds % 3600 // 60} min"
