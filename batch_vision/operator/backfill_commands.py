"""The commands about backfills of an existing bucket."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from batch_vision.core.backfills import Kind, Phase, Source
from batch_vision.operator import backfill as backfills
from batch_vision.operator.command_line import display, json_option, on_stack
from batch_vision.operator.cost import (
    BackfillEstimate,
    Tier,
    estimate_backfill_hosted,
    estimate_backfill_managed,
)
from batch_vision.operator.errors import OperatorError, WrongInputError
from batch_vision.operator.lists import copy_list, open_csv, open_inventory, survey_list
from batch_vision.operator.parameters import Number, Text
from batch_vision.operator.prices import GROUP_2_TIERS
from batch_vision.operator.survey import SWEPT, check_prefix, survey_listing
from batch_vision.operator.text import bad, good, print_json, print_lines, say, shown_number, visible
from batch_vision.operator.videos_backfill import start_videos, survey_videos

if TYPE_CHECKING:
    from batch_vision.operator.backfill import Backfill
    from batch_vision.operator.lists import ObjectList
    from batch_vision.operator.stack import Stack, Videos
    from batch_vision.operator.survey import Survey
    from batch_vision.operator.videos_backfill import VideosEstimate, VideosSurvey


_MOST_CONCURRENCY = 1000
poll_option = click.option(
    "--poll-seconds", type=Number(0.2, 60), default=2.0, show_default=True, help="Between two looks."
)
yes_option = click.option("--yes", is_flag=True, help="Start without a question.")


@click.command()
@click.option("--prefix", type=Text(), help="Only keys that begin so [default: all in scope].")
@click.option("--inventory", type=Text(), help="The keys of an S3 Inventory in CSV: s3://bucket/…/manifest.json.")
@click.option(
    "--list", "list_name", type=Text(), help="The keys of a CSV list, bucket,key: a file, or s3://bucket/key."
)
@click.option("--videos", "is_videos", is_flag=True, help="Videos instead of images; with --prefix, --again, --yes.")
@click.option("--again", "is_again", is_flag=True, help="With --videos: also those analyzed with other settings.")
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
    is_videos: bool,
    is_again: bool,
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

    With --videos it is about the videos of a bucket that have no result of their current upload. Each gets a message,
    and they are analyzed as those are that were just uploaded: as many minutes a day as max_minutes_per_day allows.
    """
    options = {
        "prefix": prefix, "inventory": inventory, "list": list_name, "deep": deep, "concurrency": concurrency,
        "yes": yes, "watch": is_watching, "status": is_status, "pause": is_pause, "resume": is_resume,
        "cancel": is_cancel, "job": job,
    }  # fmt: skip
    if is_videos:
        _backfill_videos(stack, prefix or "", options, is_again=is_again, is_yes=yes, as_json=as_json)
        return
    if is_again:
        raise WrongInputError("--again is for --videos. Add that, or leave --again out.")
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
        number = concurrency or _default_concurrency(stack)
        backfills.resume(stack, job, number, lambda now: say(f"- {now}", err=as_json))
        say(f"Resumed: backfill {job}", err=as_json)
    found = _watch_backfill(stack, job, poll_seconds) if is_watching else backfills.look(stack, job)
    _finish_backfill(stack, found, as_json=as_json)


def _backfill_videos(
    stack: Stack, prefix: str, options: dict[str, Any], *, is_again: bool, is_yes: bool, as_json: bool
) -> None:
    videos = stack.videos
    if videos is None:
        raise WrongInputError(
            f"Stack {stack.name} has no videos. Set videos of the module and apply, then call it again."
        )
    if others := [name for name, value in options.items() if value and name not in ("prefix", "yes")]:
        raise WrongInputError(f"Both --videos and --{others[0]} are given. Leave one of them out.")
    with display().step("Looking at videos") as step:
        survey = survey_videos(
            stack,
            videos,
            prefix,
            lambda number: step.progress(0, 0, f"{shown_number(number, 'object')} looked at"),
            is_again=is_again,
        )
        step.done(shown_number(survey.listed, "object"))
    estimated = survey.estimate(videos)
    if not as_json:
        _print_videos_survey(videos, survey, estimated)
    told = {"survey": survey.to_json(), "estimate": estimated.to_json()}
    number = len(survey.wanted)
    if not number:
        if as_json:
            print_json(told | {"sent": 0})
        else:
            good("nothing to do: no video in scope lacks a result")
        return
    dollars = "an unknown price" if estimated.dollars is None else f"about ${estimated.dollars:,.2f}"
    _ask(f"Analyze {shown_number(number, 'video')}, for {dollars}?", told, is_yes=is_yes, as_json=as_json)
    with display().step("Sending messages") as step:
        sent, left = start_videos(stack, videos, survey.wanted, lambda done: step.progress(done, number))
        step.done(shown_number(sent, "video"))
    if as_json:
        print_json(told | {"sent": sent, "changed": left})
        return
    good(f"{shown_number(sent, 'video')} to be analyzed. To see how they are: batch-vision status")
    if left:
        say(f"- {left} left: analyzed again, or being analyzed, since they were looked at")


def _print_videos_survey(videos: Videos, survey: VideosSurvey, estimated: VideosEstimate) -> None:
    counts = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in survey.counts.items() if number)
    gib = sum(one.size_bytes for one in survey.wanted) / 1024**3
    lines = {
        "looked at": f"{shown_number(survey.listed, 'object')}" + (f" ({counts})" if counts else ""),
        "videos to analyze": f"{len(survey.wanted):,}, {gib:,.2f} GiB",
    }
    if survey.left_out:
        lines["left out"] = _counted_words(survey.left_out)
    if survey.wanted:
        about = f", {len(survey.unknown):,} of them estimated by their size" if survey.unknown else ""
        minutes = "not known" if estimated.minutes is None else f"{estimated.minutes:,} for each analysis{about}"
        lines["minutes"] = minutes
        lines |= {name: f"${dollars:,.2f}" for name, dollars in estimated.analyses_dollars.items()}
    if survey.wanted and estimated.dollars is not None:
        lines["in all"] = f"about ${estimated.dollars:,.2f}"
    if survey.wanted and estimated.days is not None:
        lines["time"] = f"{shown_number(estimated.days, 'day')} at {videos.max_minutes_per_day:,} minutes a day"
    print_lines(lines)


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
        f"Start a backfill of {shown_number(survey.images, 'image')}, for {_price(stack, estimated)}?",
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
        return estimate_backfill_hosted(
            survey.images, survey.looks, survey.listed, stack.capacity, stack.unit_hour_dollars
        )
    # More than the default of them have no more of the quota.
    useful = min(at_a_time, stack.backfill_max_concurrency)
    pace = stack.backfill_calls_per_second
    return estimate_backfill_managed(survey.images, survey.looks, survey.listed, stack.analyses, pace and pace * useful)


def _price(stack: Stack, estimated: BackfillEstimate) -> str:
    dollars = f"at most ${estimated.dollars:,.2f}"
    return f"{dollars} and what conversions take" if stack.converts_images else dollars


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
    if stack.videos and stack.videos.bucket_name == stack.images_bucket_name:
        lines["videos"] = "left out; to have them analyzed: batch-vision backfill --videos"
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
    lines["in all"] = _price(stack, estimated)
    if stack.converts_images:
        lines["conversions"] = "nobody knows how many; docs/cost.md has what an image takes that is converted"
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
    is_done = True
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
        told = {"concurrency": concurrency, "map_runs": number or 0}
        is_done = number is not None
        said = f"backfill {job} works on {shown_number(concurrency, 'chunk')} at a time from now on"
        if not is_done:
            said = (
                f"backfill {job} does not run now, so nothing is changed: {concurrency} at a time counts from"
                f" --resume on: batch-vision backfill --resume --concurrency {concurrency} --job {job}"
            )
    if as_json:
        print_json(backfills.look(stack, job).to_json() | told)
    elif is_done:
        good(said)
    else:
        say(f"- {said}")


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


@click.command()
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
        f"Delete {orphans} and analyze {shown_number(survey.images, 'image')}, for {_price(stack, estimated)}?",
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
