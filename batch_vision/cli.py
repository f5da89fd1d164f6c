"""The commands. Results go to the standard output, progress and errors to the standard error."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, override

import click
from botocore.exceptions import BotoCoreError, ClientError
from click.core import ParameterSource
from rich.console import Console

from batch_vision import status as status_module
from batch_vision.dead_letters import redrive
from batch_vision.display import Display
from batch_vision.errors import OperatorError, UnreachableError, WrongInputError
from batch_vision.reach import explain
from batch_vision.rejected import SKIPPED, retry_rejected
from batch_vision.stack import Stack, find_by_name, find_by_outputs
from lambdas.shared.errors import AccessDeniedError, BatchVisionError, ServiceUnavailableError, ThrottledError
from lambdas.shared.times import to_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

LOCAL_OUTPUTS = Path("build/local/outputs.json")
_FEW = 5
INTERRUPTED_STATUS = 130  # what a shell says of a command that Ctrl-C ended

_EPILOG = """\b
Exit status:
  0    well: done, or nothing wrong
  1    the stack, the run or a part of the work is not well; the text says what to do
  2    a wrong option or argument
  3    not reached: no credentials, permission, Region, network, or no such stack
  130  interrupted with Ctrl-C
"""


class Failure(click.ClickException):
    """The end of a command that did not do what it was asked."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_code = exit_status  # type: ignore[misc]  # click declares it for the class

    @override
    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"batch-vision: {self.message}", err=True)


class Tool(click.Group):
    """A group whose commands end with a sentence and an exit status, whatever happens to them."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OperatorError as error:
            raise Failure(str(error), error.exit_status) from error
        except (BotoCoreError, ClientError) as error:
            raise Failure(explain(error), UnreachableError.exit_status) from error
        except (AccessDeniedError, ServiceUnavailableError, ThrottledError) as error:
            raise Failure(str(error), UnreachableError.exit_status) from error
        except (BatchVisionError, OSError) as error:
            raise Failure(str(error), OperatorError.exit_status) from error
        except KeyboardInterrupt as error:
            raise Failure(str(error) or "interrupted.", INTERRUPTED_STATUS) from error


@click.group(cls=Tool, epilog=_EPILOG, context_settings={"max_content_width": 100})
def main() -> None:
    """Operate a batch-vision stack: see every run, and put right what went wrong.

    A stack is found by what `terraform output -json` printed (--outputs FILE), or by the name_prefix that it was
    applied with (--stack NAME). Without either it is the local stack, if build/local/outputs.json is there. Account,
    Region, credentials and endpoints come from the ordinary AWS environment (AWS_PROFILE, AWS_REGION,
    AWS_ENDPOINT_URL …).
    """


def on_stack[**P, R](command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that find a stack, and the stack as its first argument."""

    @click.option(
        "--outputs",
        type=click.Path(path_type=Path),
        envvar="BATCH_VISION_OUTPUTS",
        show_envvar=True,
        help="File of `terraform output -json`.",
    )
    @click.option("--stack", "name", envvar="BATCH_VISION_STACK", show_envvar=True, help="The stack's name_prefix.")
    @click.pass_context
    @wraps(command)
    def with_stack(ctx: click.Context, /, outputs: Path | None, name: str | None, **options: Any) -> R:
        return command(_find(ctx, outputs, name), **options)

    return with_stack


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for scripts.")


def _find(ctx: click.Context, outputs: Path | None, name: str | None) -> Stack:
    if outputs and name:
        # An option says more than a variable of the environment.
        sources = {given: ctx.get_parameter_source(given) for given in ("outputs", "name")}
        typed = [given for given, source in sources.items() if source is ParameterSource.COMMANDLINE]
        if len(typed) != 1:
            raise WrongInputError("Both --outputs and --stack are given. Give the one that says which stack you mean.")
        outputs, name = (outputs, None) if typed == ["outputs"] else (None, name)
    if name:
        return find_by_name(name)
    if not outputs and not LOCAL_OUTPUTS.exists():
        raise WrongInputError(
            "Which stack? Give --outputs FILE, with what `terraform output -json` prints, or --stack NAME, the"
            f" name_prefix of the stack. (No local stack is running: there is no {LOCAL_OUTPUTS}.)"
        )
    return find_by_outputs(outputs or LOCAL_OUTPUTS)


def display() -> Display:
    """Give what shows progress."""
    return Display(Console(stderr=True, soft_wrap=True))


def print_json(document: Any) -> None:
    """Print a document for scripts."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_lines(lines: dict[str, str]) -> None:
    """Print what things are, one under the other."""
    for name, text in lines.items():
        click.echo(f"{name:<18}{text}")


def good(text: str) -> None:
    """Print that something is well."""
    click.echo(f"{click.style('✓', fg='green')} {text}")


def bad(problem: str, remedy: str) -> None:
    """Print what is wrong, and what to do."""
    click.echo(f"{click.style('✗', fg='red')} {problem}\n  {remedy}")


def shown_time(moment: datetime) -> str:
    """Write a time for people, in UTC."""
    return f"{to_text(moment)[:19].replace('T', ' ')}Z"


def shown_duration(duration: timedelta) -> str:
    """Write a duration for people."""
    seconds = round(duration.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h {seconds % 3600 // 60} min"


@main.command()
@click.option(
    "--runs", "number", type=click.IntRange(1, 100), default=5, show_default=True, help="How many of the latest runs."
)
@json_option
@on_stack
def status(stack: Stack, number: int, *, as_json: bool) -> None:
    """Show the model, queues and last runs, and what is wrong.

    Ends with 1 if anything is wrong; each problem is shown with what to do about it.
    """
    found = status_module.look(stack, number)
    problems = found.problems()
    if as_json:
        print_json(found.to_json())
    else:
        model = found.model
        words = "?" if isinstance(model, BatchVisionError) else model.service_status
        units = None if isinstance(model, BatchVisionError) else model.inference_units
        counts = found.messages
        print_lines(
            {
                "stack": f"{stack.name}, account {stack.account_id}, {stack.region}",
                "model": f"{words}{f', {units} inference units' if units else ''}  ({stack.backend.model_id})",
                "event source": found.mapping_state,
                "schedule": f"{found.schedule_expression}{'' if found.is_schedule_enabled else ' (disabled)'}",
                "waiting": f"{found.waiting} objects in {stack.source_bucket_name}",
                "queue": f"{counts['visible']} messages, {counts['in_flight']} in flight, {counts['delayed']} delayed",
                "dead letters": str(found.dead_letters),
                "runs": "" if found.runs else "none yet",
            }
        )
        for run in found.runs:
            _print_run(run)
        for problem in problems:
            bad(problem.problem, problem.remedy)
        if not problems:
            good("a run is under way" if found.running else "all is well")
    if problems:
        click.get_current_context().exit(OperatorError.exit_status)


def _print_run(run: Any) -> None:
    counts = ""
    if run.summary:
        counts = f"  {run.summary['images_processed']} processed, {run.summary['images_rejected']} rejected"
    said = f"  {run.error['type']}" if run.error else ""
    outcome = run.outcome.replace("_", " ")
    click.echo(f"  {shown_time(run.started_at)}  {shown_duration(run.duration):>8}  {outcome}{said}{counts}  {run.id}")


@main.command()
@click.option("--rejected", is_flag=True, help="Rejected images instead of dead letters: upload them again.")
@click.option("--reason", help="With --rejected: only those with this error type, such as InvalidImageError.")
@json_option
@on_stack
def retry(stack: Stack, reason: str | None, *, rejected: bool, as_json: bool) -> None:
    """Put dead letters back on the queue, or rejected images back into the source bucket.

    The next run takes them. Nothing is lost when this is interrupted: call it again. A dead letter whose image is no
    longer in the source bucket is dropped. A rejected image leaves the rejected ones when its copy is in the source
    bucket; one that was uploaded again since is left as it is.

    Ends with 1 if something could not be moved.
    """
    if reason and not rejected:
        raise WrongInputError("--reason is for rejected images. Add --rejected, or leave --reason out.")
    is_good = (
        _retry_rejected(stack, reason, as_json=as_json) if rejected else _retry_dead_letters(stack, as_json=as_json)
    )
    if not is_good:
        click.get_current_context().exit(OperatorError.exit_status)


_NEXT = "The next run takes them; to have it at once: batch-vision run --watch"


def _retry_dead_letters(stack: Stack, as_json: bool) -> bool:
    with display().step("Moving dead letters back to the queue") as step:
        answer = redrive(stack, step.progress)
        step.done(f"{answer.moved} moved", is_good=answer.is_good)
    if as_json:
        print_json(asdict(answer))
        return answer.is_good
    if answer.moved:
        good(f"{answer.moved} messages are on the queue again. {_NEXT}")
    if answer.dropped:
        good(f"{answer.dropped} messages were dropped: their images are no longer in {stack.source_bucket_name}")
    if answer.failed_again:
        bad(
            f"{answer.failed_again} messages came back to the dead-letter queue while this went on",
            "What makes them fail is not mended: look at the log of the analyzing function first.",
        )
    elif answer.left:
        bad(f"{answer.left} messages are left", "Somebody else is receiving them, or the count is late: retry again.")
    if not answer.moved + answer.dropped + answer.left:
        good("The dead-letter queue is empty.")
    return answer.is_good


def _retry_rejected(stack: Stack, reason: str | None, as_json: bool) -> bool:
    with display().step("Uploading rejected images again") as step:
        answer = retry_rejected(stack, reason, step.progress)
        step.done(f"{answer.retried} uploaded", is_good=answer.is_good)
    if as_json:
        print_json(asdict(answer))
        return answer.is_good
    if answer.retried:
        good(f"{answer.retried} images are in {stack.source_bucket_name} again. {_NEXT}")
    for why, keys in answer.skipped.items():
        click.echo(f"- {len(keys)} left: {SKIPPED[why]}")
        for key in keys[:_FEW]:
            click.echo(f"    {key}")
        if len(keys) > _FEW:
            click.echo(f"    and {len(keys) - _FEW} more (--json lists all)")
    if not answer.retried and not answer.skipped:
        good("No rejected image" + (f" with {reason}." if reason else "."))
    return answer.is_good
