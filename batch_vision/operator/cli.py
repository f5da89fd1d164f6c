"""The commands. Results go to the standard output, progress and errors to the standard error."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeIs

import click
from click.core import ParameterSource

from batch_vision.core.catalog import IMAGE, VIDEO, best, verdict_of
from batch_vision.core.errors import BatchVisionError
from batch_vision.core.times import utc_now
from batch_vision.operator import runs
from batch_vision.operator import status as status_module
from batch_vision.operator.backfill_commands import backfill, sweep
from batch_vision.operator.backlog import count_waiting
from batch_vision.operator.catalog import finished_at
from batch_vision.operator.command_line import (
    check_confidences,
    check_page,
    check_span,
    display,
    json_option,
    main,
    on_stack,
    shown_duration,
    shown_time,
    span_options,
    write_page,
)
from batch_vision.operator.cost import (
    ANALYSES,
    FAST_OVERHEAD_SECONDS,
    MOST_UNITS,
    OVERHEAD_MAPPING_SECONDS,
    OVERHEAD_SECONDS,
    START_MINUTES,
    VIDEO_ANALYSES,
    Deployment,
    ManagedEstimate,
    estimate,
    estimate_managed,
    video_dollars,
)
from batch_vision.operator.cost import runs_per_day as ticks_per_day
from batch_vision.operator.dead_letters import Redriven, redrive
from batch_vision.operator.errors import OperatorError, WrongInputError
from batch_vision.operator.failed import retry_lines, send_left_chunks
from batch_vision.operator.films import Films
from batch_vision.operator.folders import find_files
from batch_vision.operator.mapping_commands import check_mapping
from batch_vision.operator.parameters import FilePath, Number, Text
from batch_vision.operator.prices import (
    GROUP_2_TIERS,
    INFERENCE_UNIT_HOUR_DOLLARS,
    SAGEMAKER_INSTANCE_HOUR_DOLLARS,
    in_words,
)
from batch_vision.operator.rejected import SKIPPED, retry_rejected
from batch_vision.operator.report import backfills_between, make_report, summaries_between
from batch_vision.operator.results import (
    Filter,
    confidence_of,
    download,
    read_time,
    select,
    span_of_run,
    summary_of_run,
)
from batch_vision.operator.review_commands import corrections, manifest, review
from batch_vision.operator.search_commands import search
from batch_vision.operator.stop import stop as stop_all
from batch_vision.operator.stuck import retry_stuck
from batch_vision.operator.text import FEW, bad, good, print_json, print_lines, say, say_few, shown_number
from batch_vision.operator.uploads import Upload, journal_of, targets_of
from batch_vision.operator.videos_again import retry_refused, retry_videos
from batch_vision.operator.watch import Progress, watch

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from batch_vision.operator.backfill import Backfill
    from batch_vision.operator.backlog import Waiting
    from batch_vision.operator.catalog import Recent
    from batch_vision.operator.folders import Found
    from batch_vision.operator.images_bucket import ImagesBucket
    from batch_vision.operator.results import Downloaded
    from batch_vision.operator.runs import Run
    from batch_vision.operator.stack import Stack, Videos
    from batch_vision.operator.status import Status
    from batch_vision.operator.stop import Stopped
    from batch_vision.operator.uploads import Target


__all__ = ["main"]

main.add_command(backfill)
main.add_command(sweep)
main.add_command(check_mapping)
main.add_command(corrections)
main.add_command(manifest)
main.add_command(review)
main.add_command(search)


@main.command()
@click.option(
    "--runs", "number", type=click.IntRange(1, 100), default=5, show_default=True, help="How many of the latest runs."
)
@json_option
@on_stack
def status(stack: Stack, number: int, *, as_json: bool) -> None:
    """Show the model, queues and last runs, and what is wrong.

    Of a managed model it shows what was finished lately and how fast; of an existing bucket also whether it sends its
    events, and how many results may be older than the settings; of videos the jobs that wait and run, and the minutes
    that were used of the day. Ends with 1 if anything is wrong; each problem is shown with what to do about it.
    """
    found = status_module.look(stack, number)
    problems = found.problems()
    if as_json:
        print_json(found.to_json())
    else:
        print_lines(
            {
                "stack": f"{stack.name}, account {stack.account_id}, {stack.region}",
                **(_images_words(found, stack) if stack.has_images else {}),
                **(found.videos.words() if found.videos else {}),
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


def _images_words(found: Status, stack: Stack) -> dict[str, str]:
    return {
        "model": f"{_model_words(found, stack)}  ({found.model_id})",
        "event source": found.mapping_state,
        **({"schedule": str(found.schedule)} if found.schedule else {}),
        "waiting": f"{found.waiting} in {stack.bucket_name}",
        "queue": ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in found.messages.items()),
    }


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
@click.option("--rejected", is_flag=True, help="Rejected images and videos instead: upload them again.")
@click.option(
    "--reason", type=Text(), help="With --rejected: only those with this error type, such as InvalidImageError."
)
@click.option(
    "--since",
    type=Text(),
    help="Of an existing bucket, and of videos: failed or rejected since, as in `results` [30d].",
)
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

    A video that failed, or was rejected (--rejected), is analyzed again with the settings of now; what of it was paid
    for is paid for again. One that left its drop-off bucket goes back there.

    Ends with 1 if something could not be moved.
    """
    if reason and not rejected:
        raise WrongInputError("--reason is for rejected images and videos. Add --rejected, or leave --reason out.")
    if since is not None and stack.is_drop_off and not stack.videos:
        raise WrongInputError("--since is for an existing bucket; of a drop-off bucket, all are tried. Leave it out.")
    status = "rejected" if rejected else "failed"
    is_good = True
    told: dict[str, Any] = {}
    if stack.has_images and not stack.is_drop_off:
        is_good, told = _retry_in_place(stack, status, reason, since or "30d", as_json=as_json)
    elif stack.has_images and rejected:
        is_good, told = _retry_rejected(stack, reason, as_json=as_json)
    elif stack.has_images:
        is_good, told = _retry_given_up(stack, as_json=as_json)
    elif not rejected:
        redriven = _redrive(stack)
        is_good, told = redriven.is_good, asdict(redriven)
        if not as_json:
            _print_redriven(stack, redriven)
    if stack.videos:
        told["videos"] = _retry_videos(stack, stack.videos, status, reason, since or "30d", as_json=as_json)
    if as_json:
        print_json(told)
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


def _retry_videos(
    stack: Stack, videos: Videos, status: str, reason: str | None, since: str, *, as_json: bool
) -> dict[str, Any]:
    begin, end = _span(since, None)
    lines = select(stack, begin, end, Filter(status=status, media=VIDEO))
    with display().step(f"Sending {status} videos again") as step:
        chosen = (line for line in lines if reason in (None, line["error_type"]))
        answer = retry_videos(stack, videos, chosen, step.progress)
        answer.retried += 0 if status == "rejected" else retry_refused(stack, videos)
        step.done(f"{answer.retried} sent")
    if not as_json:
        if answer.retried:
            then = "To see how they are: batch-vision status"
            good(f"{shown_number(answer.retried, f'{status} video')} to be analyzed again. {then}")
        if answer.changed:
            say(f"- {len(answer.changed)} left: analyzed again, replaced or deleted since, or being analyzed now")
            say_few(answer.changed)
        if not answer.retried and not answer.changed:
            good(f"No {status} video since {shown_time(begin)}" + (f" with {reason}." if reason else "."))
    return asdict(answer)


def _retry_in_place(
    stack: Stack, status: str, reason: str | None, since: str, *, as_json: bool
) -> tuple[bool, dict[str, Any]]:
    begin, end = _span(since, None)
    lines = select(stack, begin, end, Filter(status=status, media=IMAGE))
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
        return is_good, {**(asdict(answer) if answer else {}), status: asdict(sent), "of_former_model": left}
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
    return is_good, {}


def _retry_given_up(stack: Stack, as_json: bool) -> tuple[bool, dict[str, Any]]:
    with display().step("Sending stuck images again") as step:
        stuck = retry_stuck(stack, step.progress)
        step.done(f"{stuck.retried} sent", is_good=not stuck.foreign)
    answer = _redrive(stack)
    is_good = answer.is_good and not stuck.foreign
    if as_json:
        return is_good, {**asdict(answer), "stuck": asdict(stuck)}
    if stuck.retried:
        good(f"{shown_number(stuck.retried, 'stuck image')} back on the queue. {_next(stack)}")
    if stuck.dropped:
        good(f"{shown_number(stuck.dropped, 'stuck image')} dropped: no longer in {stack.source_bucket_name}")
    if stuck.foreign:
        bad(
            f"{shown_number(len(stuck.foreign), 'object')} under stuck/ of {stack.final_bucket_name} left: not what"
            f" this stack wrote there ({', '.join(stuck.foreign[:FEW])})",
            "Look at them, and move them elsewhere.",
        )
    _print_redriven(stack, answer)
    if not answer.moved + answer.dropped + answer.left + stuck.retried + stuck.dropped:
        good("The dead-letter queue is empty, and no image is stuck.")
    return is_good, {}


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


def _retry_rejected(stack: Stack, reason: str | None, as_json: bool) -> tuple[bool, dict[str, Any]]:
    with display().step("Uploading rejected images again") as step:
        answer = retry_rejected(stack, reason, step.progress)
        step.done(f"{answer.retried} uploaded", is_good=answer.is_good)
    if as_json:
        return answer.is_good, asdict(answer)
    if answer.retried:
        good(f"{shown_number(answer.retried, 'image')} back in {stack.source_bucket_name}. {_next(stack)}")
    for why, keys in answer.skipped.items():
        say(f"- {len(keys)} left: {SKIPPED[why]}")
        say_few(keys)
    if not answer.retried and not answer.skipped:
        good("No rejected image" + (f" with {reason}." if reason else "."))
    return answer.is_good, {}


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
    if not stack.has_images:
        return f"Stack {stack.name} has videos only, so it has no runs. To see how its videos are: batch-vision status"
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
            lines["cost"] = f"up to {in_words(seconds * units, stack.model.backend, stack.unit_hour_dollars)}"
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
@click.option("--prefix", help="What all keys begin with [default: the stack's own prefix].")
@click.option("--again", is_flag=True, help="Also upload what was uploaded before: it is analyzed again.")
@click.option("--all", "takes_all", is_flag=True, help="Also take files that are hidden, or no images by their names.")
@json_option
@on_stack
def upload(stack: Stack, folder: Path, prefix: str | None, *, again: bool, takes_all: bool, as_json: bool) -> None:
    """Upload a folder of images and videos to be analyzed.

    The key of each file of FOLDER, and of the folders in it, is its path within FOLDER. Where the stack has videos,
    files that are videos by their names go to the bucket of videos. Hidden files, and those that are no images by
    their names (Thumbs.db, notes.txt), are left out and named.

    Interrupted, call it again: what was uploaded before and has not changed since is skipped, even if it was analyzed
    meanwhile. What was uploaded is written down in ~/.local/state/batch-vision, or in the folder that XDG_STATE_HOME
    names. It ends with 1 if a file could not be uploaded; the others are.
    """
    videos = stack.videos
    takes_images = stack.has_images and stack.is_drop_off
    if not takes_images and not (videos and videos.is_drop_off):
        bucket = stack.images_bucket_name or (videos.bucket_name if videos else "")
        raise WrongInputError(
            f"Stack {stack.name} analyzes what is in {bucket}, a bucket of your own, and may not write to it. Put it"
            f" there as you always do, such as with: aws s3 cp --recursive {folder} s3://{bucket}/"
        )
    suffixes = videos.scope.suffixes if videos else ()
    found = find_files(folder, str(folder), takes_all=takes_all, takes_images=takes_images, video_suffixes=suffixes)
    targets, homeless = targets_of(stack, found)
    for target in targets:
        if prefix is not None and not prefix.startswith(target.prefix):
            variable = "source_prefix" if target.noun == IMAGE else "videos.prefix"
            raise WrongInputError(
                f"--prefix is {prefix!r}, but the stack only looks at keys that begin with {target.prefix!r}"
                f" ({variable}). Give a prefix that begins so."
            )
    plans = {
        target: _upload(stack, target, folder, target.prefix if prefix is None else prefix, files, is_again=again)
        for target, files in targets.items()
    }
    failed = found.failed | {name: why for plan in plans.values() for name, why in plan.failed.items()}
    if as_json:
        counts = {name: sum(getattr(plan, name) for plan in plans.values()) for name in ("uploaded", "skipped")}
        of_videos = {target.bucket_name: plan.uploaded for target, plan in plans.items() if target.noun == VIDEO}
        print_json(
            counts
            | {"bucket": stack.source_bucket_name, "videos": of_videos}
            | {"left_out": found.left_out | homeless, "failed": failed}
        )
    else:
        _print_uploaded(stack, plans, found, homeless, failed)
    if failed:
        click.get_current_context().exit(OperatorError.exit_status)


def _upload(stack: Stack, target: Target, folder: Path, prefix: str, found: Found, *, is_again: bool) -> Upload:
    with display().step("Uploading" if target.noun == IMAGE else "Uploading videos") as step:
        waits = partial(step.progress, 0, 0, "another upload of this folder is under way: waiting for its end")
        with journal_of(stack, target, folder, prefix, waits=waits) as journal:
            plan = Upload(stack, target, journal, prefix, found, is_again=is_again)
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


def _print_uploaded(
    stack: Stack, plans: dict[Target, Upload], found: Found, homeless: dict[str, str], failed: dict[str, str]
) -> None:
    for target, plan in plans.items():
        if plan.uploaded:
            then = _next(stack) if target.noun == IMAGE else "To see how they are: batch-vision status"
            good(f"{shown_number(plan.uploaded, 'file')} in {target.bucket_name}. {then}")
    if not failed and not any(plan.uploaded for plan in plans.values()):
        good("nothing is new")
    if skipped := sum(plan.skipped for plan in plans.values()):
        say(f"- {skipped} skipped: uploaded before, and not changed since (--again uploads them again)")
    if found.left_out and stack.has_images and stack.is_drop_off:
        say(f"- {len(found.left_out)} left out: hidden, or no images by their names (--all takes them)")
        say_few([*found.left_out])
    elif found.left_out:
        endings = ", ".join(stack.videos.scope.suffixes) if stack.videos else ""
        say(
            f"- {len(found.left_out)} left out: this command takes videos only ({endings}), for this stack has"
            f" {_images_of(stack)}"
        )
        say_few([*found.left_out])
    for why, names in _by_value(homeless).items():
        say(f"- {len(names)} left out: {why}")
        say_few(names)
    for name, why in failed.items():
        bad(f"{name} is not uploaded: {why}", "Mend that and call it again; what was uploaded is skipped.")


def _images_of(stack: Stack) -> str:
    """Say where images are that are not uploaded; what to do with them follows from it."""
    if stack.images_bucket_name:
        return f"its images in {stack.images_bucket_name}, a bucket of your own: put images there yourself"
    return "no images: to have images analyzed, set backend of the module and apply"


def _by_value(reasons: dict[str, str]) -> dict[str, list[str]]:
    answer: dict[str, list[str]] = {}
    for name, why in reasons.items():
        answer.setdefault(why, []).append(name)
    return answer


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
@click.option("--media", type=click.Choice([IMAGE, VIDEO]), help="Only images, or only videos.")
@click.option(
    "--download",
    "folder",
    type=FilePath(file_okay=False),
    help="Fetch images, results and masks, and of videos the results.",
)
@click.option("--with-videos", "takes_videos", is_flag=True, help="With --download: the videos as well.")
@json_option
@on_stack
def results(
    stack: Stack,
    since: str,
    until: str | None,
    run_id: str | None,
    folder: Path | None,
    *,
    takes_videos: bool,
    as_json: bool,
    **conditions: Any,
) -> None:
    """List or download results, filtered by what the model said.

    They are found in the catalog by the time at which they were finished, so only the time that is asked for is read.

    A download has a path for each image: its key, with %XX for what is no plain name. An image gets another path, and
    is shown, if no file system could hold that, if another image has it, or if a newer upload of its key has it. Beside
    the path of a video are its result, KEY.json, and of each analysis its segments as KEY.ANALYSIS.json, .vtt and .csv,
    and every detection in KEY.ANALYSIS.jsonl.gz.

    Of an existing bucket, each key has the result that was current at the end of the time, and deleted ones have none.
    """
    check_confidences(conditions["min_confidence"], conditions["max_confidence"])
    if takes_videos and not folder:
        raise WrongInputError("--with-videos is for --download. Add that, or leave --with-videos out.")
    begin, end = span_of_run(summary_of_run(stack, run_id)) if _is_run(run_id, stack) else _span(since, until)
    chosen = select(stack, begin, end, Filter(**conditions))
    if folder:
        _download(stack, list(chosen), folder, takes_videos=takes_videos, as_json=as_json)
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
    check_span(begin, end)
    return begin, end


def _shown_line(line: dict[str, Any]) -> str:
    confidence = confidence_of(line)
    said = line["error_type"] or (best(line) or {}).get("name") or ""
    if not said and line["anomaly"]:
        said = verdict_of(line["anomaly"])
    shown = "" if confidence is None or line["error_type"] else f"{confidence:.1f}%"
    finished = shown_time(finished_at(line))
    return f"{finished}  {line['status']:<9}  {said or '-':<24}  {shown:>6}  {line['key']}"


def _download(stack: Stack, lines: list[dict[str, Any]], folder: Path, *, takes_videos: bool, as_json: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongInputError(f"--download is {folder}, which cannot be made ({error.strerror}).") from error
    with display().step("Downloading") as step:
        answer = download(
            stack, lines, folder, lambda done: step.progress(done, len(lines), ""), takes_videos=takes_videos
        )
        step.done(_downloaded_words(answer), is_good=not answer.failed)
    if as_json:
        print_json(asdict(answer))
    else:
        good(f"{_downloaded_words(answer)} with their results in {folder}")
        if answer.renamed:
            say(f"- {len(answer.renamed)} under another name, for theirs is taken, or is none on a disk:")
            say_few(
                [f"{renamed['key']} (version {renamed['version_id']}): {renamed['path']}" for renamed in answer.renamed]
            )
        if answer.replaced:
            why = "retried, replaced or deleted, since"
            say(f"- {len(answer.replaced)} are no longer in {stack.final_bucket_name}: {why}:")
            say_few(answer.replaced)
        if answer.without_image:
            say(f"- {len(answer.without_image)} cannot be read: only their results are there")
            say_few(answer.without_image)
        for key, why in answer.failed.items():
            bad(f"{key}: {why}", "Choose another folder, or make room.")
    if answer.failed:
        click.get_current_context().exit(OperatorError.exit_status)


def _downloaded_words(answer: Downloaded) -> str:
    """Say how many were downloaded."""
    images = [shown_number(answer.images, "image")] if answer.images or not answer.videos else []
    return ", ".join([*images, *([shown_number(answer.videos, "video")] if answer.videos else [])])


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
@click.option(
    "--videos",
    "videos_folder",
    type=FilePath(exists=True, file_okay=False),
    help="Folder with the videos under their keys, as results --download --with-videos makes it: the page plays them"
    " from there.",
)
@json_option
@on_stack
def report(
    stack: Stack,
    since: str,
    until: str | None,
    run_id: str | None,
    out: Path,
    max_images: int,
    videos_folder: Path | None,
    *,
    as_json: bool,
) -> None:
    """Write a run, or a span of time, as one HTML page.

    Pictures with boxes, masks, labels and confidences, to be filtered by label, verdict and status; rejected images
    with their reasons; progress and throughput; counts, time and cost. The page needs nothing beside itself, so it can
    be sent. It holds thumbnails of your images, some kB each.

    A video has a lane for each label; a click on a segment leads to its place in the video. Videos are too large for a
    page: it plays them from --videos, or whoever reads it picks the file.

    Beyond --max-images, rejected images are shown first (in half of the places, or in those that are left), then the
    oldest; the page says so.
    """
    check_page(out, "--out")
    summary = summary_of_run(stack, run_id) if _is_run(run_id, stack) else None
    begin, end = span_of_run(summary) if summary else _span(since, until)
    write_page(
        out,
        lambda progress: make_report(
            stack,
            select(stack, begin, end, Filter(media=IMAGE if summary else None)),
            begin,
            end,
            [summary] if summary else summaries_between(stack, begin, end),
            [] if summary else backfills_between(stack, begin, end),
            max_images=max_images,
            is_run=summary is not None,
            films=Films(videos_folder, out.parent),
            progress=progress,
        ),
        as_json=as_json,
    )


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
    if not stack.has_images:
        raise WrongInputError(
            f"Stack {stack.name} has videos only: there is no model to stop. A job of Rekognition that was started can"
            " not be stopped. To start no other until the next apply: aws lambda put-function-concurrency"
            f" --function-name {stack.name}-dispatch-videos --reserved-concurrent-executions 0. Results wait meanwhile;"
            " Rekognition keeps them for seven days. To go on: aws lambda delete-function-concurrency --function-name"
            f" {stack.name}-dispatch-videos"
        )
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
_OF_RUNS = (
    *("schedule", "runs_per_day", "images_per_second", "inference_units", "start_minutes", "overhead_minutes"),
    *("instance_type", "unit_hour_dollars"),
)
_OF_MANAGED = ("analyses", "existing_bucket")


def _check_unmixed(chosen: str, why: str, names: Collection[str]) -> None:
    ctx = click.get_current_context()
    for option in ctx.command.params:
        if option.name in names and ctx.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            raise WrongInputError(f"Both {chosen} and {option.opts[0]} are given, and {why}. Leave one of them out.")


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


def _print_videos(minutes_per_day: float, analyses: tuple[str, ...], *, as_json: bool) -> None:
    if not analyses:
        raise WrongInputError(f"Give --video-analysis, one or several of: {', '.join(VIDEO_ANALYSES)}.")
    dollars = video_dollars(dict.fromkeys(dict.fromkeys(analyses), 30 * minutes_per_day))
    if as_json:
        each = {name: round(amount, 4) for name, amount in dollars.items()}
        told = {"minutes_per_month": 30 * minutes_per_day, "analyses_dollars": each}
        print_json(told | {"dollars": round(sum(dollars.values()), 4)})
        return
    print_lines(
        {
            "minutes a month": f"{30 * minutes_per_day:,g}",
            **{name: f"${amount:,.2f}" for name, amount in dollars.items()},
            "a month": f"${sum(dollars.values()):,.2f}; requests and functions are some cents beside it",
        }
    )


_COST_EPILOG = """\b
unit-hours = images / throughput + runs x (start + overhead) x units
dollars    = unit-hours x price of a unit, $4.00 with Custom Labels
"""


@main.command(epilog=_COST_EPILOG)
@click.option("--images-per-day", type=click.IntRange(1, 10**12))
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
    "--start-minutes",
    type=Number(0, 1440),
    default=START_MINUTES,
    show_default=True,
    help="AWS says 10 to 30 of Custom Labels.",
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
    "--instance-type",
    type=click.Choice(list(SAGEMAKER_INSTANCE_HOUR_DOLLARS)),
    help="Of the backend sagemaker_endpoint: a unit is one instance of this type.",
)
@click.option(
    "--unit-hour-dollars",
    type=Number(0, 10_000),
    help=f"What an inference unit costs for an hour [default: {INFERENCE_UNIT_HOUR_DOLLARS:.2f}, of Custom Labels].",
)
@click.option(
    "--analysis",
    "analyses",
    multiple=True,
    type=click.Choice(ANALYSES),
    help="Of the managed backend rekognition, and then of a month; once for each analysis.",
)
@click.option("--existing-bucket", is_flag=True, help="With --analysis: the images stay in an existing bucket.")
@click.option("--video-minutes-per-day", type=Number(0.01, 10**9), help="Of videos, and then of a month.")
@click.option(
    "--video-analysis",
    "video_analyses",
    multiple=True,
    type=click.Choice(VIDEO_ANALYSES),
    help="With --video-minutes-per-day; once for each analysis.",
)
@json_option
def cost(
    images_per_day: int | None,
    schedule: str | None,
    runs_per_day: float | None,
    images_per_second: float,
    *,
    instance_type: str | None,
    unit_hour_dollars: float | None,
    analyses: tuple[str, ...],
    existing_bucket: bool,
    video_minutes_per_day: float | None,
    video_analyses: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Estimate what a day costs, against a model always on; or with --analysis, what a month costs.

    AWS does not say whether the start of a model is billed, so both are shown. Prices are of us-east-1, November 2026;
    state transitions, requests and Lambda time are those of the module's defaults. With --analysis, the tiers above a
    million images a month are not certain: see the pricing page of Rekognition. Videos are paid for by the minute and
    analysis.
    """
    if (video_minutes_per_day is None) == (images_per_day is None):
        both = "Both --images-per-day and --video-minutes-per-day are given. Leave one of them out."
        raise WrongInputError(both if images_per_day else "Give --images-per-day, or --video-minutes-per-day.")
    if video_analyses and video_minutes_per_day is None:
        raise WrongInputError("--video-analysis is for videos. Add --video-minutes-per-day, or leave it out.")
    if images_per_day is None:
        _check_unmixed("--video-minutes-per-day", "that one is about images", (*_OF_RUNS, *_OF_MANAGED))
        _print_videos(video_minutes_per_day or 0.0, video_analyses, as_json=as_json)
        return
    if analyses:
        _check_unmixed("--analysis", "a managed model is never started", _OF_RUNS)
        _print_managed(estimate_managed(images_per_day, analyses, is_in_place=existing_bucket), as_json=as_json)
        return
    if existing_bucket:
        raise WrongInputError("--existing-bucket is for a managed model. Add --analysis, or leave it out.")
    if schedule is not None and runs_per_day is not None:
        raise WrongInputError("Both --schedule and --runs-per-day are given. Leave one of them out.")
    if instance_type is not None and unit_hour_dollars is not None:
        raise WrongInputError("Both --instance-type and --unit-hour-dollars are given. Leave one of them out.")
    if instance_type is not None:
        unit_hour_dollars = SAGEMAKER_INSTANCE_HOUR_DOLLARS[instance_type]
    found = estimate(
        images_per_day,
        runs_per_day or ticks_per_day("rate(1 hour)" if schedule is None else schedule),
        images_per_second_per_unit=images_per_second,
        unit_hour_dollars=INFERENCE_UNIT_HOUR_DOLLARS if unit_hour_dollars is None else unit_hour_dollars,
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
