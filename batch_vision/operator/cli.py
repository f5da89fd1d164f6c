"""The commands. Results go to the standard output, progress and errors to the standard error."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import asdict
from datetime import timedelta
from functools import partial, wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeIs, override

import click
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from click.core import ParameterSource
from rich.console import Console

from batch_vision.core.backfills import Kind, Phase, Source
from batch_vision.core.errors import AccessDeniedError, BatchVisionError, ServiceUnavailableError, ThrottledError
from batch_vision.core.times import to_text, utc_now
from batch_vision.operator import backfill as backfills
from batch_vision.operator import environment, runs
from batch_vision.operator import status as status_module
from batch_vision.operator.backlog import count_waiting
from batch_vision.operator.catalog import finished_at
from batch_vision.operator.cost import (
    ANALYSES,
    FAST_OVERHEAD_SECONDS,
    MOST_UNITS,
    OVERHEAD_MAPPING_SECONDS,
    OVERHEAD_SECONDS,
    START_MINUTES,
    BackfillEstimate,
    Deployment,
    ManagedEstimate,
    Tier,
    estimate,
    estimate_backfill_hosted,
    estimate_backfill_managed,
    estimate_managed,
)
from batch_vision.operator.cost import runs_per_day as ticks_per_day
from batch_vision.operator.dead_letters import Redriven, redrive
from batch_vision.operator.display import Display
from batch_vision.operator.errors import OperatorError, UnreachableError, WrongInputError
from batch_vision.operator.failed import retry_lines, send_left_chunks
from batch_vision.operator.folders import find_files
from batch_vision.operator.lists import copy_list, open_csv, open_inventory, survey_list
from batch_vision.operator.parameters import FilePath, Number, Text
from batch_vision.operator.prices import GROUP_2_TIERS, in_words
from batch_vision.operator.reach import explain, explain_endpoint, explain_file, is_wrong_endpoint
from batch_vision.operator.rejected import SKIPPED, retry_rejected
from batch_vision.operator.report import check_replaceable, make_report, summaries_between
from batch_vision.operator.results import (
    Filter,
    confidence_of,
    download,
    read_time,
    select,
    span_of_run,
    summary_of_run,
)
from batch_vision.operator.stack import Stack, find_by_name, find_by_outputs
from batch_vision.operator.stop import stop as stop_all
from batch_vision.operator.stuck import retry_stuck
from batch_vision.operator.survey import SWEPT, check_prefix, survey_listing
from batch_vision.operator.text import bad, good, prepare_streams, print_json, print_lines, say, shown_number, visible
from batch_vision.operator.uploads import Upload, journal_of
from batch_vision.operator.watch import Progress, watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batch_vision.operator.backfill import Backfill
    from batch_vision.operator.backlog import Waiting
    from batch_vision.operator.catalog import Recent
    from batch_vision.operator.folders import Found
    from batch_vision.operator.images_bucket import ImagesBucket
    from batch_vision.operator.lists import ObjectList
    from batch_vision.operator.runs import Run
    from batch_vision.operator.status import Status
    from batch_vision.operator.stop import Stopped
    from batch_vision.operator.survey import Survey

LOCAL_OUTPUTS = Path("build", os.environ.get("LOCAL_NAME") or "local", "outputs.json")
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
        return command(_find(ctx, outputs, name), **options)

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


@main.command()
@click.option(
    "--runs", "number", type=click.IntRange(1, 100), default=5, show_default=True, help="How many of the latest runs."
)
@json_option
@on_stack
def status(stack: Stack, number: int, *, as_json: bool) -> None:
    """Show the model, queues and last runs, and what is wrong.

    Of a managed model it shows what was finished lately and how fast; of an existing bucket also whether it sends its
    events, and how many results may be older than the settings. Ends with 1 if anything is wrong; each problem is shown
    with what to do about it.
    """
    found = status_module.look(stack, number)
    problems = found.problems()
    if as_json:
        print_json(found.to_json())
    else:
        print_lines(
            {
                "stack": f"{stack.name}, account {stack.account_id}, {stack.region}",
                "model": f"{_model_words(found, stack)}  ({found.model_id})",
                "event source": found.mapping_state,
                **({"schedule": str(found.schedule)} if found.schedule else {}),
                "waiting": f"{found.waiting} in {stack.bucket_name}",
                "queue": ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in found.messages.items()),
                "dead letters": str(sum(found.dead_letters.values())),
                **(_recent_words(found.recent) if found.recent else {}),
                **(_bucket_words(found.bucket) if found.bucket else {}),
                **({"backfill": _backfill_words(found.backfill)} if found.backfill else {}),
                **({"runs": "" if found.runs else "none yet"} if stack.is_hosted else {}),
            }
        )
        for run in found.runs:
            _print_run(run)
        for problem in problems:
            bad(problem.problem, problem.remedy)
        if not problems:
            good("a run is under way" if found.running else "all is well")
            if found.bucket and found.recent:
                say(
                    f"- images that failed more than {found.recent.hours:.0f} hours ago:"
                    " batch-vision results --status failed --since 30d"
                )
    if problems:
        click.get_current_context().exit(OperatorError.exit_status)


def _model_words(found: Status, stack: Stack) -> str:
    model = found.model
    if model is None:
        return f"{stack.model.backend}, managed"
    if isinstance(model, BatchVisionError):
        return "?"
    units = f", {shown_number(model.inference_units, 'inference unit')}" if model.inference_units else ""
    return f"{model.service_status}{units if model.state in status_module.ON else ''}"


def _recent_words(recent: Recent) -> dict[str, str]:
    counts = [f"{len(recent.with_status(status)):,} {status}" for status in ("processed", "rejected", "failed")]
    refused = "" if recent.refused_percent is None else f", {recent.refused_percent:.1f}% of calls refused"
    return {
        "finished": f"{', '.join(counts)} in {shown_duration(recent.now - recent.since)}",
        "speed": f"{recent.images_per_hour:,} images an hour{refused}",
    }


def _bucket_words(bucket: ImagesBucket) -> dict[str, str]:
    sends = {True: "sent to EventBridge", False: "not sent to EventBridge", None: "?"}[bucket.sends_events]
    return {"events": sends, "results": str(bucket.older_results or "?")}


def _backfill_words(found: Backfill) -> str:
    words = f"{found.state.replace('_', ' ')}, {shown_number(found.left.images, 'image')} left  ({found.job})"
    return words if found.is_good else f"{words}; what to do: batch-vision backfill --status --job {found.job}"


def _print_run(run: Run) -> None:
    counts = ""
    if run.summary:
        numbers = {name: run.summary.get(f"images_{name}") for name in ("processed", "rejected", "stuck")}
        shown = [f"{number} {name}" for name, number in numbers.items() if number or (name != "stuck" and number == 0)]
        counts = f"  {', '.join(shown)}"
    said = f"  {run.error['type']}" if run.error else ""
    if run.held:
        said = f"  {run.held.partition('.')[0]}"
    outcome = run.outcome.replace("_", " ")
    say(f"  {shown_time(run.started_at)}  {shown_duration(run.duration):>8}  {outcome}{said}{counts}  {run.id}")


@main.command()
@click.option("--rejected", is_flag=True, help="Rejected images instead: upload them again.")
@click.option(
    "--reason", type=Text(), help="With --rejected: only those with this error type, such as InvalidImageError."
)
@click.option("--since", type=Text(), help="Of an existing bucket: failed or rejected since, as in `results` [30d].")
@json_option
@on_stack
def retry(stack: Stack, reason: str | None, since: str | None, *, rejected: bool, as_json: bool) -> None:
    """Try stuck or failed images and dead letters, or rejected images, again.

    Stuck images, which were given up, and dead letters go back to the queue, rejected images (--rejected) to the source
    bucket, as new uploads; the next run takes them. Nothing is lost when this is interrupted: call it again. A stuck
    image or a dead letter whose image is no longer in the source bucket is dropped. A rejected image leaves the
    rejected ones when its copy is in the source bucket; one that was uploaded again since is left as it is.

    The images of an existing bucket stay where they are: the result of one that failed, or was rejected (--rejected),
    is deleted, and a message makes the image be looked at.

    Ends with 1 if something could not be moved.
    """
    if reason and not rejected:
        raise WrongInputError("--reason is for rejected images. Add --rejected, or leave --reason out.")
    if since is not None and stack.is_drop_off:
        raise WrongInputError("--since is for an existing bucket; of a drop-off bucket, all are tried. Leave it out.")
    if not stack.is_drop_off:
        is_good = _retry_in_place(stack, "rejected" if rejected else "failed", reason, since or "30d", as_json=as_json)
    elif rejected:
        is_good = _retry_rejected(stack, reason, as_json=as_json)
    else:
        is_good = _retry_given_up(stack, as_json=as_json)
    if not is_good:
        click.get_current_context().exit(OperatorError.exit_status)


def _next(stack: Stack) -> str:
    if stack.is_hosted:
        return "The next run takes them; to have it at once: batch-vision run --watch"
    return "They are analyzed now; to see how that goes: batch-vision status"


def _redrive(stack: Stack) -> Redriven:
    with display().step("Moving dead letters back to the queue") as step:
        answer = redrive(stack, step.progress)
        step.done(f"{answer.moved} moved", is_good=answer.is_good)
    return answer


def _retry_in_place(stack: Stack, status: str, reason: str | None, since: str, *, as_json: bool) -> bool:
    begin, end = _span(since, None)
    lines = select(stack, begin, end, Filter(status=status))
    with display().step(f"Sending {status} images again") as step:
        sent = retry_lines(stack, (line for line in lines if reason in (None, line["error_type"])), step.progress)
        step.done(f"{sent.retried} sent")
    answer, left = None, 0
    if status != "rejected":
        answer = _redrive(stack)
        if not stack.is_hosted:
            with display().step("Sending what waits for a former model") as step:
                left = send_left_chunks(stack, step.progress)
                step.done(shown_number(left, "image"))
    is_good = answer is None or answer.is_good
    if as_json:
        print_json({**(asdict(answer) if answer else {}), status: asdict(sent), "of_former_model": left})
        return is_good
    if sent.retried:
        good(f"{shown_number(sent.retried, f'{status} image')} on the queue to be looked at again. {_next(stack)}")
    if sent.changed:
        say(f"- {sent.changed} left: analyzed again since")
    if left:
        good(f"{shown_number(left, 'image')} that waited for a hosted model on the queue. {_next(stack)}")
    if answer:
        _print_redriven(stack, answer)
    if not sent.retried + left and not (answer and answer.moved + answer.left):
        good(f"No {status} image since {shown_time(begin)}" + (f" with {reason}." if reason else "."))
    return is_good


def _retry_given_up(stack: Stack, as_json: bool) -> bool:
    with display().step("Sending stuck images again") as step:
        stuck = retry_stuck(stack, step.progress)
        step.done(f"{stuck.retried} sent", is_good=not stuck.foreign)
    answer = _redrive(stack)
    is_good = answer.is_good and not stuck.foreign
    if as_json:
        print_json({**asdict(answer), "stuck": asdict(stuck)})
        return is_good
    if stuck.retried:
        good(f"{shown_number(stuck.retried, 'stuck image')} back on the queue. {_next(stack)}")
    if stuck.dropped:
        good(f"{shown_number(stuck.dropped, 'stuck image')} dropped: no longer in {stack.source_bucket_name}")
    if stuck.foreign:
        bad(
            f"{shown_number(len(stuck.foreign), 'object')} under stuck/ of {stack.final_bucket_name} left: not what"
            f" this stack wrote there ({', '.join(stuck.foreign[:_FEW])})",
            "Look at them, and move them elsewhere.",
        )
    _print_redriven(stack, answer)
    if not answer.moved + answer.dropped + answer.left + stuck.retried + stuck.dropped:
        good("The dead-letter queue is empty, and no image is stuck.")
    return is_good


def _print_redriven(stack: Stack, answer: Redriven) -> None:
    if answer.moved:
        good(f"{shown_number(answer.moved, 'message')} back on the queue. {_next(stack)}")
    if answer.dropped:
        good(
            f"{shown_number(answer.dropped, 'message')} dropped: the images are no longer in {stack.source_bucket_name}"
        )
    if answer.failed_again:
        bad(
            f"{shown_number(answer.failed_again, 'message')} came back to the dead-letter queue while this went on",
            "What makes them fail is not mended: look at the log of the analyzing function first.",
        )
    elif answer.left:
        bad(
            f"{shown_number(answer.left, 'message')} left",
            "Somebody else is receiving them, or the count is late: retry again.",
        )


def _retry_rejected(stack: Stack, reason: str | None, as_json: bool) -> bool:
    with display().step("Uploading rejected images again") as step:
        answer = retry_rejected(stack, reason, step.progress)
        step.done(f"{answer.retried} uploaded", is_good=answer.is_good)
    if as_json:
        print_json(asdict(answer))
        return answer.is_good
    if answer.retried:
        good(f"{shown_number(answer.retried, 'image')} back in {stack.source_bucket_name}. {_next(stack)}")
    for why, keys in answer.skipped.items():
        say(f"- {len(keys)} left: {SKIPPED[why]}")
        _print_few(keys)
    if not answer.retried and not answer.skipped:
        good("No rejected image" + (f" with {reason}." if reason else "."))
    return answer.is_good


@main.command()
@click.option("--watch", "is_watching", is_flag=True, help="Show progress until the run ends.")
@click.option("--poll-seconds", type=Number(0.2, 60), default=2.0, show_default=True, help="Between two looks.")
@json_option
@on_stack
def run(stack: Stack, poll_seconds: float, *, is_watching: bool, as_json: bool) -> None:
    """Start a run now; with --watch, show how it goes.

    When a run is under way already, no other is started, and that one is watched; if it ends well and images wait that
    came too late for it, a run of their own is started and watched. Ctrl-C ends the watching, not the run. With --watch
    it ends with 1 if the run does not end well, or while images wait.
    """
    if not stack.is_hosted:
        raise WrongInputError(_no_runs(stack))
    under_way = runs.running(stack)
    execution_arn = under_way[0] if under_way else runs.start(stack)
    if not as_json or is_watching:
        say(f"{'Already under way' if under_way else 'Started'}: run {_id(execution_arn)}", err=as_json)
    if not is_watching:
        if as_json:
            print_json({"id": _id(execution_arn), "execution_arn": execution_arn, "is_started": not under_way})
        return
    ended = _watch(stack, execution_arn, poll_seconds)
    waiting = count_waiting(stack)
    is_own = not under_way and ended.execution_arn == execution_arn and ended.outcome != "another_run"
    if waiting.images and ended.is_good and not is_own:
        execution_arn = runs.start(stack)
        say(f"{waiting} came too late for run {ended.id}. Started: run {_id(execution_arn)}", err=as_json)
        ended = _watch(stack, execution_arn, poll_seconds)
        waiting = count_waiting(stack)
    if as_json:
        left = {"images_left": waiting.images, "is_at_least": waiting.is_at_least, "images_stuck": waiting.stuck}
        print_json(ended.to_json() | left)
    else:
        _print_ended(stack, ended, waiting)
    if not ended.is_good or waiting.images:
        click.get_current_context().exit(OperatorError.exit_status)


def _no_runs(stack: Stack) -> str:
    return (
        f"Stack {stack.name} has a managed model, {stack.model.backend}, which is always there: it has no runs. Images"
        " are analyzed as they come; to see how that goes: batch-vision status"
    )


def _id(execution_arn: str) -> str:
    return execution_arn.rpartition(":")[2]


def _watch(stack: Stack, execution_arn: str, poll_seconds: float) -> Run:
    try:
        with display().step("Running") as step:

            def show(progress: Progress) -> None:
                step.progress(progress.done, progress.done + progress.left, str(progress))

            ended = watch(stack, execution_arn, show, poll_seconds)
            step.done(ended.outcome.replace("_", " "), is_good=ended.is_good)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"stopped watching; run {_id(execution_arn)} goes on. To watch it again: batch-vision run --watch."
            " To stop it: batch-vision stop"
        ) from error
    return ended


def _print_ended(stack: Stack, ended: Run, waiting: Waiting) -> None:
    if summary := ended.summary:
        lines = {
            "images processed": str(summary["images_processed"]),
            "images rejected": f"{summary['images_rejected']}{_counted(summary.get('rejected_by_reason') or {})}",
        }
        if (seconds := summary.get("model_on_seconds")) is not None:
            units = summary.get("inference_units") or stack.min_inference_units
            lines["model on"] = f"{shown_duration(timedelta(seconds=seconds))}, {shown_number(units, 'inference unit')}"
            lines["cost"] = f"up to {in_words(seconds * units, stack.model.backend)}"
        print_lines(lines)
    if remedy := ended.remedy(stack):
        said = f": {ended.error['type']}: {ended.error['message']}" if ended.error else ""
        bad(f"run {ended.id} {ended.outcome.replace('_', ' ')}{said}", remedy)
    elif not ended.is_good:
        bad(f"run {ended.id} was aborted", "See that everything is off: batch-vision status")
    elif not waiting.images:
        good(_ENDED[ended.outcome])
    if waiting.images:
        bad(f"{waiting} left in {stack.bucket_name}", f"{ended.held or ''} {_GO_ON}".strip())
    if waiting.stuck:
        say(f"- {shown_number(waiting.stuck, 'stuck image')} given up; what to do: batch-vision status")


_GO_ON = "Go on with them: batch-vision run --watch"


_ENDED = {
    "succeeded": "the run is done, and the model is stopped",
    "nothing_to_do": "no image waits: the model was not started",
    "another_run": "another run was under way, and is done",
}


def _counted(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{name} {number}' for name, number in counts.items())})" if counts else ""


@main.command()
@click.argument("folder", type=FilePath())
@click.option("--prefix", help="What all keys begin with [default: the stack's source_prefix].")
@click.option("--again", is_flag=True, help="Also upload what was uploaded before: it is analyzed again.")
@click.option("--all", "takes_all", is_flag=True, help="Also take files that are hidden, or no images by their names.")
@json_option
@on_stack
def upload(stack: Stack, folder: Path, prefix: str | None, *, again: bool, takes_all: bool, as_json: bool) -> None:
    """Upload a folder of images to be analyzed.

    The key of each file of FOLDER, and of the folders in it, is its path within FOLDER. Hidden files, and those that
    are no images by their names (Thumbs.db, notes.txt), are left out and named.

    Interrupted, call it again: what was uploaded before and has not changed since is skipped, even if it was analyzed
    meanwhile. What was uploaded is written down in ~/.local/state/batch-vision, or in the folder that XDG_STATE_HOME
    names. It ends with 1 if a file could not be uploaded; the others are.
    """
    if not stack.is_drop_off:
        bucket = stack.images_bucket_name
        raise WrongInputError(
            f"Stack {stack.name} analyzes the images of {bucket}, a bucket of your own, and may not write to it. Put"
            f" them there as you always do, such as with: aws s3 cp --recursive {folder} s3://{bucket}/"
        )
    source_prefix = stack.places.source_prefixes[0]
    prefix = source_prefix if prefix is None else prefix
    if not prefix.startswith(source_prefix):
        raise WrongInputError(
            f"--prefix is {prefix!r}, but the stack only looks at keys that begin with {source_prefix!r}"
            " (source_prefix). Give a prefix that begins so."
        )
    found = find_files(folder, str(folder), takes_all=takes_all)
    plan = _upload(stack, folder, prefix, found, is_again=again)
    if as_json:
        counts = {"uploaded": plan.uploaded, "skipped": plan.skipped, "bucket": stack.source_bucket_name}
        print_json(counts | {"left_out": found.left_out, "failed": plan.failed})
    else:
        _print_uploaded(stack, plan, found)
    if plan.failed:
        click.get_current_context().exit(OperatorError.exit_status)


def _upload(stack: Stack, folder: Path, prefix: str, found: Found, *, is_again: bool) -> Upload:
    with display().step("Uploading") as step:
        waits = partial(step.progress, 0, 0, "another upload of this folder is under way: waiting for its end")
        with journal_of(stack, folder, prefix, waits=waits) as journal:
            plan = Upload(stack, journal, prefix, found, is_again=is_again)
            try:
                plan.run(lambda done: step.progress(done, len(plan.files), ""))
            except KeyboardInterrupt as error:
                left = len(plan.files) - plan.uploaded
                uploaded = shown_number(plan.uploaded, "file")
                raise KeyboardInterrupt(
                    f"interrupted: {uploaded} uploaded, {left:,} left. Call it again to go on."
                ) from error
        step.done(shown_number(plan.uploaded, "file"), is_good=not plan.failed)
    return plan


def _print_uploaded(stack: Stack, plan: Upload, found: Found) -> None:
    if plan.uploaded:
        good(f"{shown_number(plan.uploaded, 'file')} in {stack.source_bucket_name}. {_next(stack)}")
    elif not plan.failed:
        good("nothing is new")
    if plan.skipped:
        say(f"- {plan.skipped} skipped: uploaded before, and not changed since (--again uploads them again)")
    if found.left_out:
        say(f"- {len(found.left_out)} left out: hidden, or no images by their names (--all takes them)")
        _print_few([*found.left_out])
    for name, why in plan.failed.items():
        bad(f"{name} is not uploaded: {why}", "Mend that and call it again; what was uploaded is skipped.")


@main.command()
@span_options("Finished in the time of this run, instead of --since and --until.")
@click.option("--key", type=Text(), help="Only uploads of this very key, all of them.")
@click.option("--status", type=click.Choice(["processed", "rejected", "failed"]), help="Only those that ended so.")
@click.option("--label", type=Text(), help="Only those whose most confident prediction has this name.")
@click.option(
    "--kind", type=Text(), help="Only those whose most confident prediction is of this kind: label, text, face …"
)
@click.option("--min-confidence", type=Number(0, 100), help="Only from this confidence on, in percent.")
@click.option("--max-confidence", type=Number(0, 100), help="Only up to this confidence, in percent.")
@click.option("--anomalous/--normal", "is_anomalous", default=None, help="Only with this verdict.")
@click.option("--download", "folder", type=FilePath(file_okay=False), help="Fetch images, results and masks.")
@json_option
@on_stack
def results(
    stack: Stack,
    since: str,
    until: str | None,
    run_id: str | None,
    folder: Path | None,
    *,
    as_json: bool,
    **conditions: Any,
) -> None:
    """List or download results, filtered by what the model said.

    They are found in the catalog by the time at which they were finished, so only the time that is asked for is read.

    A download has a path for each image: its key, with %XX for what is no plain name. An image gets another path, and
    is shown, if no file system could hold that, if another image has it, or if a newer upload of its key has it.

    Of an existing bucket, each key has the result that was current at the end of the time, and deleted ones have none.
    """
    lowest, highest = conditions["min_confidence"], conditions["max_confidence"]
    if lowest is not None and highest is not None and lowest > highest:
        raise WrongInputError(
            f"--min-confidence is {lowest:g}, above --max-confidence, {highest:g}: no result is both. Exchange them."
        )
    begin, end = span_of_run(summary_of_run(stack, run_id)) if _is_run(run_id, stack) else _span(since, until)
    chosen = select(stack, begin, end, Filter(**conditions))
    if folder:
        _download(stack, list(chosen), folder, as_json=as_json)
    elif as_json:
        print_json(list(chosen))
    else:
        number = 0
        for line in chosen:
            say(_shown_line(line))
            number += 1
        say(f"{shown_number(number, 'result')} finished from {shown_time(begin)} until {shown_time(end)}", err=True)


def _is_run(run_id: str | None, stack: Stack) -> TypeIs[str]:
    """Return whether a run was asked for, and not a span of time as well."""
    if run_id is not None and not stack.is_hosted:
        raise WrongInputError(f"--run is {run_id!r}. {_no_runs(stack)}. For a span of time: --since.")
    ctx = click.get_current_context()
    typed = [name for name in ("since", "until") if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if run_id is not None and typed:
        raise WrongInputError(f"Both --run and --{typed[0]} are given, and each is a span of time. Leave one out.")
    return run_id is not None


def _span(since: str, until: str | None) -> tuple[datetime, datetime]:
    now = utc_now()
    begin = read_time(since, "--since", now)
    end = min(now, read_time(until, "--until", now)) if until else now  # nothing is finished after now
    if begin > end:
        raise WrongInputError(f"--since ({shown_time(begin)}) is after --until ({shown_time(end)}). Exchange them.")
    return begin, end


def _shown_line(line: dict[str, Any]) -> str:
    confidence = confidence_of(line)
    said = line["error_type"] or (line["prediction"] or {}).get("name") or ""
    if not said and line["anomaly"]:
        said = "anomalous" if line["anomaly"]["is_anomalous"] else "normal"
    shown = "" if confidence is None or line["error_type"] else f"{confidence:.1f}%"
    finished = shown_time(finished_at(line))
    return f"{finished}  {line['status']:<9}  {said or '-':<24}  {shown:>6}  {line['key']}"


def _download(stack: Stack, lines: list[dict[str, Any]], folder: Path, *, as_json: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongInputError(f"--download is {folder}, which cannot be made ({error.strerror}).") from error
    with display().step("Downloading") as step:
        answer = download(stack, lines, folder, lambda done: step.progress(done, len(lines), ""))
        step.done(shown_number(answer.images, "image"), is_good=not answer.failed)
    if as_json:
        print_json(asdict(answer))
    else:
        good(f"{shown_number(answer.images, 'image')} with their results in {folder}")
        if answer.renamed:
            say(f"- {len(answer.renamed)} under another name, for theirs is taken, or is none on a disk:")
            _print_few(
                [f"{renamed['key']} (version {renamed['version_id']}): {renamed['path']}" for renamed in answer.renamed]
            )
        if answer.replaced:
            why = "retried, replaced or deleted, since"
            say(f"- {len(answer.replaced)} are no longer in {stack.final_bucket_name}: {why}:")
            _print_few(answer.replaced)
        if answer.without_image:
            say(f"- {len(answer.without_image)} failed: their results are there, the images are not downloaded")
            _print_few(answer.without_image)
        for key, why in answer.failed.items():
            bad(f"{key}: {why}", "Choose another folder, or make room.")
    if answer.failed:
        click.get_current_context().exit(OperatorError.exit_status)


def _print_few(keys: list[str]) -> None:
    for key in keys[:_FEW]:
        say(f"    {key}")
    if len(keys) > _FEW:
        say(f"    and {len(keys) - _FEW} more (--json lists all)")


@main.command()
@span_options("Of this run, instead of --since and --until.")
@click.option(
    "--out",
    type=FilePath(dir_okay=False),
    default=Path("report.html"),
    show_default=True,
    help="The page; an older report that is there is replaced.",
)
@click.option(
    "--max-images",
    type=click.IntRange(0, 5000),
    default=200,
    show_default=True,
    help="No more pictures than these; all are counted.",
)
@json_option
@on_stack
def report(
    stack: Stack, since: str, until: str | None, run_id: str | None, out: Path, max_images: int, *, as_json: bool
) -> None:
    """Write a run, or a span of time, as one HTML page.

    Pictures with boxes, masks, labels and confidences, to be filtered by label, verdict and status; rejected images
    with their reasons; progress and throughput; counts, time and cost. The page needs nothing beside itself, so it can
    be sent. It holds thumbnails of your images, some kB each.

    Beyond --max-images, rejected images are shown first (in half of the places, or in those that are left), then the
    oldest; the page says so.
    """
    if not out.parent.is_dir():
        raise WrongInputError(f"--out is {out}, but there is no folder {out.parent}. Make it, or give another path.")
    check_replaceable(out)
    summary = summary_of_run(stack, run_id) if _is_run(run_id, stack) else None
    begin, end = span_of_run(summary) if summary else _span(since, until)
    with display().step("Making the report") as step:
        made = make_report(
            stack,
            select(stack, begin, end, Filter()),
            begin,
            end,
            [summary] if summary else summaries_between(stack, begin, end),
            max_images=max_images,
            is_run=summary is not None,
            progress=step.progress,
        )
        out.write_text(made.html, encoding="utf-8")
        step.done(shown_number(made.shown, "picture"))
    if as_json:
        print_json({"path": str(out), "images": made.images, "shown": made.shown, "size_bytes": out.stat().st_size})
    else:
        good(f"{out}: {shown_number(made.images, 'image')}, {made.shown:,} of them shown")


# How many chunks at a time anybody may ask for; an account has 1,000 concurrent executions of Lambda by default.
_MOST_CONCURRENCY = 1000
poll_option = click.option(
    "--poll-seconds", type=Number(0.2, 60), default=2.0, show_default=True, help="Between two looks."
)
yes_option = click.option("--yes", is_flag=True, help="Start without a question.")


@main.command()
@click.option("--prefix", type=Text(), help="Only keys that begin so [default: all in scope].")
@click.option("--inventory", type=Text(), help="The keys of an S3 Inventory in CSV: s3://bucket/…/manifest.json.")
@click.option(
    "--list", "list_name", type=Text(), help="The keys of a CSV list, bucket,key: a file, or s3://bucket/key."
)
@click.option("--deep", is_flag=True, help="Also look closely at results that seem to be up to date.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, _MOST_CONCURRENCY),
    help="How many chunks of keys are worked on at a time [default: what the quota allows]. Alone: of the backfill that"
    " is under way, from now on.",
)
@yes_option
@click.option("--watch", "is_watching", is_flag=True, help="Show progress until it ends; also with --status, --resume.")
@click.option("--status", "is_status", is_flag=True, help="Show how the backfill is.")
@click.option("--pause", "is_pause", is_flag=True, help="Stop it; what is left of it waits.")
@click.option("--resume", "is_resume", is_flag=True, help="Go on with one that was paused or broken off.")
@click.option("--cancel", "is_cancel", is_flag=True, help="End it for good; what is done stays.")
@click.option("--job", type=Text(), help="Another backfill than the latest that is not over.")
@poll_option
@json_option
@on_stack
def backfill(
    stack: Stack,
    prefix: str | None,
    inventory: str | None,
    list_name: str | None,
    concurrency: int | None,
    job: str | None,
    poll_seconds: float,
    *,
    deep: bool,
    yes: bool,
    is_watching: bool,
    is_status: bool,
    is_pause: bool,
    is_resume: bool,
    is_cancel: bool,
    as_json: bool,
) -> None:
    """Analyze what an existing bucket holds and has no result that is up to date.

    First it says what there is to do, what that costs and how long it takes, and asks. Then the backfill goes on by
    itself: as chunks of keys that are worked off, or that wait for the next runs of a hosted model. It can be paused,
    resumed and cancelled (--pause, --resume, --cancel), and nothing is paid for twice.

    Ctrl-C ends the watching, not the backfill. Ends with 1 if the backfill did not end well.
    """
    options = {
        "prefix": prefix, "inventory": inventory, "list": list_name, "deep": deep, "concurrency": concurrency,
        "yes": yes, "watch": is_watching, "status": is_status, "pause": is_pause, "resume": is_resume,
        "cancel": is_cancel, "job": job,
    }  # fmt: skip
    action = backfills.action_of([name for name, value in options.items() if value])
    backfills.check_supported(stack)
    if concurrency and stack.is_hosted:
        raise WrongInputError(
            f"--concurrency is {concurrency}, and the model of stack {stack.name} is started by runs, which work the"
            " chunks off: set max_concurrency of the module instead."
        )
    if action == "start":
        begun = _start_backfill(
            stack, prefix, inventory, list_name, concurrency, is_deep=deep, is_yes=yes, as_json=as_json
        )
        if begun is None:
            return
        job = begun.job
    else:
        job = backfills.named_job(stack, job, may_be_over=action == "status")
    if action in ("pause", "cancel", "concurrency"):
        _change_backfill(stack, job, action, concurrency, as_json=as_json)
        return
    if action == "resume":
        backfills.resume(stack, job, concurrency or _default_concurrency(stack))
        say(f"Resumed: backfill {job}", err=as_json)
    found = _watch_backfill(stack, job, poll_seconds) if is_watching else backfills.look(stack, job)
    _finish_backfill(stack, found, as_json=as_json)


def _default_concurrency(stack: Stack) -> int:
    return 1 if stack.is_hosted else stack.backfill_max_concurrency


def _finish_backfill(stack: Stack, found: Backfill, *, as_json: bool, **more: Any) -> None:
    """Show how a backfill is, and end with 1 if that is not well."""
    if as_json:
        print_json(found.to_json() | more)
    else:
        _print_backfill(stack, found)
    if not found.is_good:
        click.get_current_context().exit(OperatorError.exit_status)


def _start_backfill(
    stack: Stack,
    prefix: str | None,
    inventory: str | None,
    list_name: str | None,
    concurrency: int | None,
    *,
    is_deep: bool,
    is_yes: bool,
    as_json: bool,
) -> Backfill | None:
    backfills.check_none_runs(stack)
    listed = open_inventory(stack, inventory) if inventory else open_csv(stack, list_name) if list_name else None
    with display().step("Reading the list" if listed else "Comparing images and results") as step:
        noun = "row" if listed else "object"

        def show(number: int) -> None:
            step.progress(0, 0, f"{shown_number(number, noun)} looked at")

        if listed:
            survey = survey_list(stack, listed, show)
        else:
            check_prefix(stack, prefix or "")
            survey = survey_listing(stack, prefix or "", show, is_deep=is_deep)
        step.done(shown_number(survey.listed, noun))
    at_a_time = concurrency or _default_concurrency(stack)
    estimated = _estimate_backfill(stack, survey, at_a_time)
    if not as_json:
        _print_estimate(stack, survey, estimated, at_a_time, is_list=listed is not None)
    if not survey.images + survey.looks:
        _print_nothing_to_do(survey, as_json=as_json)
        return None
    _ask(
        f"Start a backfill of {shown_number(survey.images, 'image')}, for at most ${estimated.dollars:,.2f}?",
        {"survey": survey.to_json(), "estimate": estimated.to_json()},
        is_yes=is_yes,
        as_json=as_json,
    )
    return _begin_backfill(stack, Source(prefix=prefix or ""), listed, at_a_time, is_deep=is_deep, as_json=as_json)


def _print_nothing_to_do(survey: Survey, *, as_json: bool) -> None:
    if as_json:
        print_json({"job": None, "survey": survey.to_json()})
    else:
        good("nothing to do: no image in scope lacks a result that is up to date")


def _begin_backfill(
    stack: Stack,
    source: Source,
    listed: ObjectList | None,
    at_a_time: int,
    *,
    as_json: bool,
    is_deep: bool = False,
    removes_orphans: bool = False,
) -> Backfill:
    """Copy the list, if there is one, write the job down and start it."""
    backfills.check_none_runs(stack)  # while the question was open, somebody else may have started one
    job = backfills.new_job()
    if listed:
        source = listed.source(job)
        with display().step("Copying the list") as step:
            copy_list(stack, listed, source, lambda done: step.progress(done, len(source.files)))
            step.done(shown_number(len(source.files), "file"))
    begun = backfills.start(stack, source, at_a_time, job=job, is_deep=is_deep, removes_orphans=removes_orphans)
    say(f"Started: backfill {job}", err=as_json)
    return begun


def has_terminal() -> bool:
    """Return whether somebody can be asked."""
    return sys.stdin.isatty()


def _ask(question: str, told: dict[str, Any], *, is_yes: bool, as_json: bool) -> None:
    """Ask whether to pay; return only where the answer is yes."""
    if is_yes:
        return
    is_confirmed = has_terminal() and click.confirm(visible(question), err=True)
    if is_confirmed:
        return
    if as_json:
        print_json({"job": None} | told)
    if not has_terminal():
        raise WrongInputError(
            "Nothing is started: there is no terminal to ask on. To start it without a question: --yes"
        )
    raise OperatorError("Nothing is started.")


def _estimate_backfill(stack: Stack, survey: Survey, at_a_time: int) -> BackfillEstimate:
    if stack.is_hosted:
        return estimate_backfill_hosted(survey.images, survey.looks, survey.listed, stack.capacity)
    # More than the default of them have no more of the quota.
    useful = min(at_a_time, stack.backfill_max_concurrency)
    pace = stack.backfill_calls_per_second
    return estimate_backfill_managed(survey.images, survey.looks, survey.listed, stack.analyses, pace and pace * useful)


def _print_estimate(
    stack: Stack, survey: Survey, estimated: BackfillEstimate, at_a_time: int, *, is_list: bool
) -> None:
    found = ", ".join(f"{survey.counts[state]:,} {state}" for state in SWEPT[:-1])
    images = f"at most {survey.images:,}: what has a result that is up to date costs no call" if is_list else ""
    lines = {
        "looked at": shown_number(survey.listed, "row" if is_list else "object"),
        "images to analyze": images or f"{survey.images:,} ({found})",
    }
    if survey.looks:
        lines["to look at"] = f"{shown_number(survey.looks, 'result')} more, closely"
    if survey.left_out:
        lines["left out"] = ", ".join(f"{number:,} {reason}" for reason, number in survey.left_out.items())
    lines["calls"] = f"{'at most ' if is_list else ''}{estimated.calls:,} of the model"
    if estimated.model_hours is not None:
        dollars = (
            f"${estimated.model_dollars:,.2f}, or ${estimated.model_with_starts_dollars:,.2f} if starts are billed"
        )
        lines["model"] = f"{estimated.model_hours:,.2f} hours, {dollars}"
    lines |= {name.replace("_", " "): f"${dollars:,.2f}" for name, dollars in estimated.analyses_dollars.items()}
    if estimated.tiers:
        lines["by price"] = _tier_words(estimated.tiers)
    if len(estimated.image_properties_tiers) > 1:
        lines["properties by price"] = _tier_words(estimated.image_properties_tiers)
    lines["requests"] = f"at most ${estimated.requests_dollars:,.2f}, for S3 and Lambda"
    lines["in all"] = f"at most ${estimated.dollars:,.2f}"
    if estimated.hours is not None:
        at = "with the units that a run starts" if stack.is_hosted else f"at the quota, {at_a_time} at a time"
        lines["time"] = f"{estimated.hours:,.2f} hours {at}"
    print_lines(lines)
    if estimated.calls > GROUP_2_TIERS[0][0] and not stack.is_hosted:
        say("The prices above 1,000,000 images a month are not certain: see the pricing page of Rekognition.")
    if not stack.is_hosted and at_a_time > stack.backfill_max_concurrency:
        say(
            f"More than {stack.backfill_max_concurrency} at a time have no more of the quota: the service refuses"
            " calls, and new images wait longer."
        )


def _tier_words(tiers: tuple[Tier, ...]) -> str:
    return ", ".join(f"{tier.images:,} at ${tier.price_dollars:g} (${tier.dollars:,.2f})" for tier in tiers)


def _change_backfill(stack: Stack, job: str, action: str, concurrency: int | None, *, as_json: bool) -> None:
    told: dict[str, Any] = {}
    said = ""
    if action == "pause":
        backfills.pause(stack, job)
        said = f"backfill {job} is paused. To go on: batch-vision backfill --resume --job {job}"
    elif action == "cancel":
        with display().step("Cancelling") as step:
            images = backfills.cancel(stack, job, lambda done, now: step.progress(done, 0, now))
            step.done(f"{shown_number(images, 'image')} given up")
        told = {"images_given_up": images}
        said = f"backfill {job} is cancelled: {shown_number(images, 'image')} given up. What is done stays."
    elif concurrency:
        number = backfills.set_concurrency(stack, job, concurrency)
        told = {"concurrency": concurrency, "map_runs": number}
        said = f"backfill {job} works on {shown_number(concurrency, 'chunk')} at a time from now on"
        if not number:
            said = (
                f"backfill {job} works on no chunk now, so nothing is changed: {concurrency} at a time counts from"
                f" --resume on: batch-vision backfill --resume --concurrency {concurrency} --job {job}"
            )
    if as_json:
        print_json(backfills.look(stack, job).to_json() | told)
    elif told.get("map_runs") == 0:
        say(f"- {said}")
    else:
        good(said)


def _watch_backfill(stack: Stack, job: str, poll_seconds: float) -> Backfill:
    try:
        with display().step("Backfill") as step:
            ended = backfills.watch(
                stack, job, lambda now: step.progress(now.done, now.planned, str(now)), poll_seconds
            )
            step.done(ended.state.replace("_", " "), is_good=ended.is_good)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"stopped watching; backfill {job} goes on. To watch it again: batch-vision backfill --status --watch. To"
            " stop it: batch-vision backfill --pause"
        ) from error
    return ended


def _source_words(source: Source) -> str:
    if source.kind is Kind.LISTING:
        return f"the bucket, keys that begin with {source.prefix!r}" if source.prefix else "the whole bucket"
    return source.name


def _print_backfill(stack: Stack, found: Backfill) -> None:
    counts = dict(found.counts)
    left_out = counts.pop("left_out", {})
    of_states = ", ".join(f"{counts[state]:,} {state}" for state in SWEPT if counts.get(state))
    asked = found.asked
    lines = {
        "backfill": found.job,
        "state": found.state.replace("_", " "),
        **({"keys": _source_words(asked.source) + (", deep" if asked.is_deep else "")} if asked else {}),
        **({"phase": _PHASE_WORDS[found.phase]} if found.phase and found.is_running else {}),
        "looked at": f"{counts.get('listed', 0):,}" + (f" ({of_states})" if of_states else ""),
        "planned": f"{shown_number(counts.get('planned', 0), 'image')} in"
        f" {shown_number(counts.get('chunks', 0), 'chunk')}",
        "left": f"{shown_number(found.left.images, 'image')} in {shown_number(found.left.chunks, 'chunk')}",
        **({"left out": _counted_words(left_out)} if left_out else {}),
    }
    print_lines(lines)
    _print_backfill_end(stack, found)


_PHASE_WORDS = {
    Phase.CHECK: "checking the list",
    Phase.PLAN: "planning",
    Phase.DONE: "planned",
}


def _counted_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _print_backfill_end(stack: Stack, found: Backfill) -> None:
    if found.state == "succeeded":
        good("the backfill is done")
    elif found.state == "planned":
        good("all is planned: the next runs take it. To have one at once: batch-vision run --watch")
    elif found.state == "paused":
        say(f"To go on with it: batch-vision backfill --resume --job {found.job}")
    elif not found.is_good:
        said = f": {found.error['type']}: {found.error['message']}" if found.error else ""
        bad(
            f"backfill {found.job} {found.state.replace('_', ' ')}{said}",
            f"Mend that ({_backfill_log(stack, found)}), then: batch-vision backfill --resume --job {found.job}",
        )


def _backfill_log(stack: Stack, found: Backfill) -> str:
    role = "work-off-chunk" if found.state == "incomplete" else "plan-backfill"
    return f"aws logs tail /aws/lambda/{stack.name}-{role} --since 1d --filter-pattern WARNING"


@main.command()
@click.option("--prefix", type=Text(), help="Only keys that begin so [default: all in scope].")
@click.option(
    "--apply", "is_apply", is_flag=True, help="Mend it: start a backfill, which also deletes orphaned results."
)
@yes_option
@json_option
@on_stack
def sweep(stack: Stack, prefix: str | None, *, is_apply: bool, yes: bool, as_json: bool) -> None:
    """Compare an existing bucket with its results, and tell what differs.

    Missing: an image without a result. Stale: the result is older than the image. Outdated: the result is older than
    the deployed settings. Orphaned: a result without an image. It changes nothing without --apply, and ends with 1 if
    something differs.
    """
    if yes and not is_apply:
        raise WrongInputError(
            "--yes is for --apply, without which nothing is changed. Add --apply, or leave --yes out."
        )
    backfills.check_supported(stack)
    check_prefix(stack, prefix or "")
    if is_apply:
        backfills.check_none_runs(stack)
    with display().step("Comparing images and results") as step:
        survey = survey_listing(
            stack,
            prefix or "",
            lambda number: step.progress(0, 0, f"{shown_number(number, 'object')} looked at"),
            is_sweep=True,
        )
        step.done(shown_number(survey.listed, "object"), is_good=not survey.wrong)
    if not as_json:
        _print_survey(survey, is_apply=is_apply)
    begun = (
        _apply_sweep(stack, survey, prefix or "", is_yes=yes, as_json=as_json) if is_apply and survey.wrong else None
    )
    if as_json:
        print_json({"job": begun.job if begun else None} | survey.to_json())
    if survey.wrong and not begun:
        click.get_current_context().exit(OperatorError.exit_status)


def _apply_sweep(stack: Stack, survey: Survey, prefix: str, *, is_yes: bool, as_json: bool) -> Backfill:
    at_a_time = _default_concurrency(stack)
    estimated = _estimate_backfill(stack, survey, at_a_time)
    if not as_json:
        _print_estimate(stack, survey, estimated, at_a_time, is_list=False)
    orphans = shown_number(survey.counts[SWEPT[-1]], "orphaned result")
    _ask(
        f"Delete {orphans} and analyze {shown_number(survey.images, 'image')}, for at most ${estimated.dollars:,.2f}?",
        {"estimate": estimated.to_json()} | survey.to_json(),
        is_yes=is_yes,
        as_json=as_json,
    )
    begun = _begin_backfill(stack, Source(prefix=prefix), None, at_a_time, removes_orphans=True, as_json=as_json)
    if not as_json:
        say("To see how far it is: batch-vision backfill --status --watch")
    return begun


def _print_survey(survey: Survey, *, is_apply: bool) -> None:
    for state in SWEPT:
        number, examples = survey.counts[state], survey.examples.get(state, [])
        say(f"{state.value:<10}{number:,}")
        for key in examples:
            say(f"    {key}")
        if number > len(examples):
            say(f"    and {number - len(examples):,} more")
    if not survey.wrong:
        good("images and results agree")
    elif not is_apply:
        bad(f"{shown_number(survey.wrong, 'key')} to mend", "To mend them: batch-vision sweep --apply")


@main.command()
@click.option(
    "--timeout-seconds",
    type=click.IntRange(1, 21600),
    default=3600,
    show_default=True,
    help="How long to wait for the model's stop; one that is starting stops only when it is up.",
)
@click.option("--poll-seconds", type=Number(0.2, 60), default=2.0, show_default=True, help="Between two looks.")
@json_option
@on_stack
def stop(stack: Stack, timeout_seconds: int, poll_seconds: float, *, as_json: bool) -> None:
    """Stop the runs, disable the event source mapping, stop the model; for a hosted model.

    Images in flight are finished, the others stay where they are. It ends with 0 only when the service has confirmed
    that the model is stopped. The schedule is left as it is: its next tick starts a run if images wait.
    """
    if not stack.is_hosted:
        raise WrongInputError(
            f"Stack {stack.name} has a managed model, {stack.model.backend}, which is always there and costs nothing"
            " while no image comes: there is nothing to stop. To pause it until the next apply, disable the event"
            " source mapping: aws lambda update-event-source-mapping --uuid"
            f" {stack.event_source_mapping_uuid} --no-enabled"
        )
    try:
        with display().step("Stopping") as step:
            answer = stop_all(stack, timeout_seconds, poll_seconds, lambda now: step.progress(0, 0, now))
            step.done(f"model {answer.model_status}", is_good=answer.is_good)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("interrupted before all was seen to be off. Go on with: batch-vision stop") from error
    if as_json:
        print_json(asdict(answer) | {"is_good": answer.is_good})
    else:
        _print_stopped(stack, answer)
    if not answer.is_good:
        click.get_current_context().exit(OperatorError.exit_status)


def _print_stopped(stack: Stack, answer: Stopped) -> None:
    for run_id in answer.runs:
        good(f"run {run_id} is stopped")
    if answer.mapping_state != "Disabled":
        bad(
            f"the event source mapping is {answer.mapping_state}",
            f"Disable it by hand: aws lambda update-event-source-mapping --uuid {stack.event_source_mapping_uuid}"
            " --no-enabled",
        )
    for problem in answer.problems:
        bad("a model may be on", problem)
    if answer.is_run_under_way:
        bad("runs are started faster than they can be stopped", f"Pause the schedule first: {_pause(stack)}")
    if answer.is_good:
        good(f"all is off: no run, the mapping is Disabled, the model is {answer.model_status}")
        say(f"  The next tick of the schedule starts a run if images wait. To pause it: {_pause(stack)}")


def _pause(stack: Stack) -> str:
    return f"aws events disable-rule --name {stack.schedule_rule_name}"


# Options of `cost` that only a model which is started has.
_OF_RUNS = ("schedule", "runs_per_day", "images_per_second", "inference_units", "start_minutes", "overhead_minutes")


def _check_unmixed() -> None:
    ctx = click.get_current_context()
    for name in _OF_RUNS:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise WrongInputError(
                f"Both --analysis and {option} are given, and a managed model is never started. Leave one of them out."
            )


def _print_managed(found: ManagedEstimate, *, as_json: bool) -> None:
    if as_json:
        print_json(found.to_json())
        return
    s3 = f"{found.s3_writes_per_image} writes and {found.s3_reads_per_image} reads of S3"
    print_lines(
        {
            "images a month": f"{found.images_per_month:,}",
            **{name.replace("_", " "): f"${dollars:,.2f}" for name, dollars in found.analyses_dollars.items()},
            "requests": f"at most ${found.requests_dollars:,.2f}, for S3, Lambda, SQS and events",
            "an image": f"{shown_number(found.calls_per_image, 'call')} of the model, {s3}",
            "a month": f"${found.dollars:,.2f}",
        }
    )
    if found.images_per_month * found.calls_per_image > GROUP_2_TIERS[0][0]:
        say("The prices above 1,000,000 images a month are not certain: see the pricing page of Rekognition.")


_COST_EPILOG = """\b
unit-hours = images / throughput + runs x (start + overhead) x units
dollars    = unit-hours x $4.00
"""


@main.command(epilog=_COST_EPILOG)
@click.option("--images-per-day", type=click.IntRange(1, 10**12), required=True)
@click.option("--schedule", type=Text(), help="As in schedule_expression: rate(…) [default: rate(1 hour)].")
@click.option("--runs-per-day", type=Number(0.001, 1440), help="Instead of --schedule.")
@click.option(
    "--images-per-second",
    type=Number(0.001, 1000),
    default=Deployment().images_per_second_per_unit,
    show_default=True,
    help="Throughput of one inference unit; it depends on the model: measure yours.",
)
@click.option("--inference-units", type=click.IntRange(1, MOST_UNITS), show_default="what a run chooses for its images")
@click.option(
    "--start-minutes", type=Number(0, 1440), default=START_MINUTES, show_default=True, help="AWS says 10 to 30."
)
@click.option(
    "--overhead-minutes",
    type=Number(0, 1440),
    default=OVERHEAD_SECONDS / 60,
    show_default=True,
    help="How long the model runs besides analyzing, and stops, in each run. The default is for an event source mapping"
    f" that takes {OVERHEAD_MAPPING_SECONDS} s to be enabled or disabled; where it takes 5 s, it is"
    f" {FAST_OVERHEAD_SECONDS / 60:.1f}.",
)
@click.option(
    "--analysis",
    "analyses",
    multiple=True,
    type=click.Choice(ANALYSES),
    help="Of the managed backend rekognition, and then of a month; once for each analysis.",
)
@click.option("--existing-bucket", is_flag=True, help="With --analysis: the images stay in an existing bucket.")
@json_option
def cost(
    images_per_day: int,
    schedule: str | None,
    runs_per_day: float | None,
    images_per_second: float,
    *,
    analyses: tuple[str, ...],
    existing_bucket: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Estimate what a day costs, against a model always on; or with --analysis, what a month costs.

    AWS does not say whether the start of a model is billed, so both are shown. Prices are of us-east-1, November 2026;
    state transitions, requests and Lambda time are those of the module's defaults. With --analysis, the tiers above a
    million images a month are not certain: see the pricing page of Rekognition.
    """
    if analyses:
        _check_unmixed()
        _print_managed(estimate_managed(images_per_day, analyses, is_in_place=existing_bucket), as_json=as_json)
        return
    if existing_bucket:
        raise WrongInputError("--existing-bucket is for a managed model. Add --analysis, or leave it out.")
    if schedule is not None and runs_per_day is not None:
        raise WrongInputError("Both --schedule and --runs-per-day are given. Leave one of them out.")
    found = estimate(
        images_per_day,
        runs_per_day or ticks_per_day("rate(1 hour)" if schedule is None else schedule),
        images_per_second_per_unit=images_per_second,
        **given,
    )
    if as_json:
        print_json(found.to_json())
    else:
        units = shown_number(found.inference_units, "inference unit")
        totals = [found.other_dollars + model for model in (found.model_dollars, found.model_with_starts_dollars)]
        print_lines(
            {
                "runs a day": f"{found.runs_per_day:,g}",
                "analyzing": f"{found.analyzing_hours:,.2f} hours a day with {units}",
                "overhead": f"{found.overhead_minutes:.1f} minutes a run, and a start's {given['start_minutes']:g}",
                "a day": f"${totals[0]:,.2f}, or ${totals[1]:,.2f} if starts are billed",
                "a month": f"${totals[0] * 30:,.2f}, or ${totals[1] * 30:,.2f}",
                "always on": f"${found.always_on_dollars:,.2f} a day, ${found.always_on_dollars * 30:,.2f} a month",
                "beside the model": f"${found.other_dollars:,.2f} a day of it, for S3, Step Functions, Lambda and SQS",
            }
        )
        if totals[1] > found.always_on_dollars:
            say("With billed starts this is more than a model that is always on: run less often.")
    if found.is_too_much:
        needed = math.ceil(found.analyzing_hours * found.inference_units / 24)
        remedy = f"Give at least --inference-units {needed}."
        if needed > MOST_UNITS:
            remedy = f"That is more than {MOST_UNITS:,} inference units can do: give a smaller --images-per-day."
        raise OperatorError(f"The images of a day take {found.analyzing_hours:,.1f} hours. {remedy}")
