"""The commands about what people say of predictions: review, corrections, manifest."""

from __future__ import annotations

import getpass
import os
import sys
import threading
import webbrowser
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from batch_vision.core.catalog import IMAGE
from batch_vision.core.corrections import Verdict
from batch_vision.core.manifests import LINE_BEGIN, Kind
from batch_vision.core.times import from_text, utc_now
from batch_vision.operator import manifests
from batch_vision.operator.command_line import check_confidences, check_span, display, json_option, on_stack, shown_time
from batch_vision.operator.corrections import look_at_images, read_all, read_corrections
from batch_vision.operator.errors import OperatorError, WrongInputError
from batch_vision.operator.parameters import FilePath, Number, Text
from batch_vision.operator.pictures import without_bombs
from batch_vision.operator.results import read_time
from batch_vision.operator.review.cards import Cards
from batch_vision.operator.review.journal import Journal
from batch_vision.operator.review.rows import row_of, sample
from batch_vision.operator.review.server import Server
from batch_vision.operator.review.session import Session
from batch_vision.operator.search.query import Order, Query
from batch_vision.operator.search.store import Store
from batch_vision.operator.text import FEW, good, print_json, say, say_few, shown_number
from batch_vision.operator.user_folders import state_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batch_vision.core.corrections import Correction
    from batch_vision.operator.corrections import Corrected
    from batch_vision.operator.review.rows import Row
    from batch_vision.operator.stack import Stack

_SHOWN_VERDICTS = [Verdict.RIGHT, Verdict.WRONG, Verdict.UNSURE]


def _choosing[F: Callable[..., Any]](command: F) -> F:
    """Add the options that choose among the corrections to a command."""
    command = click.option("--by", type=Text(), help="Only corrections made by this person.")(command)
    command = click.option("--label", "labels", type=Text(), multiple=True, help="Only images with this label.")(
        command
    )
    command = click.option("--prefix", type=Text(), help="Only keys that begin so.")(command)
    return click.option("--since", type=Text(), help="Only images judged since: 90m, 6h, 7d, or a time in UTC.")(
        command
    )


def _chosen(
    stack: Stack, since: str | None, prefix: str | None, labels: tuple[str, ...], by: str | None
) -> list[Correction]:
    """Return the corrections that count and are asked for, those of the same key together."""
    begin = since and read_time(since, "--since", utc_now())
    counting = read_corrections(stack.s3, stack.final_bucket_name).values()
    return sorted(
        (
            one
            for one in counting
            if one.key.startswith(prefix or "")
            and (not begin or from_text(one.at) >= begin)
            and (not labels or {*labels} & {*one.labels})
            and by in (None, one.by)
        ),
        key=lambda one: (one.key, one.at),
    )


@click.command()
@click.option("--label", "labels", type=Text(), multiple=True, help="Only images with a prediction of this name.")
@click.option(
    "--kind", type=Text(), help="Only images with a prediction of this kind: custom_label, label, moderation …"
)
@click.option("--model", type=Text(), help="Only images that the model with this id analyzed.")
@click.option("--prefix", type=Text(), help="Only keys that begin so.")
@click.option("--since", type=Text(), help="Only images finished since: 90m, 6h, 7d, or a time in UTC.")
@click.option("--until", type=Text(), help="Only images finished before this time; same formats as --since.")
@click.option("--min-confidence", type=Number(0, 100), help="Lowest confidence, in percent.")
@click.option(
    "--max-confidence", type=Number(0, 100), help="Highest confidence, in percent; such as 70, for the doubtful ones."
)
@click.option(
    "--sample",
    "sample_size",
    type=click.IntRange(0, 100_000),
    default=200,
    show_default=True,
    help="Also show this many random images of those that --max-confidence or --limit leaves out.",
)
@click.option(
    "--seed",
    type=Text(),
    default="1",
    show_default=True,
    help="Seed of the sample; the same seed gives the same images.",
)
@click.option(
    "--label-confidence",
    type=Number(0, 100),
    default=50,
    show_default=True,
    help="Predictions of at least this confidence are judged, in percent. If none reaches it, the best one is judged.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=100_000,
    show_default=True,
    help="Show at most this many images, besides the sample.",
)
@click.option("--by", type=Text(), help="Who judges [default: your name on this machine].")
@click.option("--port", type=click.IntRange(1, 65535), help="Local port of the page [default: one that is free].")
@click.option("--no-browser", is_flag=True, help="Print the address of the page, and open no browser.")
@on_stack
def review(
    stack: Stack,
    labels: tuple[str, ...],
    since: str | None,
    until: str | None,
    sample_size: int,
    seed: str,
    label_confidence: float,
    limit: int,
    by: str | None,
    port: int | None,
    *,
    no_browser: bool,
    **conditions: Any,
) -> None:
    """Judge predictions on a page of this machine, by sweeps over a grid of one label.

    The least confident images come first. Where --max-confidence or --limit leaves images out, a random sample of those
    is shown too: without it, what the model is confident and wrong about stays unseen. Click what is wrong, or type the
    number of its label, and accept the rest of the page with A; ? shows all keys. Nothing is deployed: the page is
    served on 127.0.0.1, for whoever has its address.

    Each judgement is on the disk before the page says "saved", and goes to corrections/ of the final bucket a few times
    a minute and at the end. Call it again to go on. Ctrl-C ends it.
    """
    check_confidences(conditions["min_confidence"], conditions["max_confidence"])
    now = utc_now()
    begin, end = (
        read_time(text, option, now) if text else None for text, option in ((since, "--since"), (until, "--until"))
    )
    check_span(begin, end)
    query = Query(any_of=labels, status="processed", media=IMAGE, since=begin, until=end, **conditions)
    with Journal(state_folder() / f"review-{stack.final_bucket_name}.jsonl") as journal:
        rows = _rows(stack, query, limit, sample_size, seed, label_confidence)
        if not rows:
            good("No image matches these options.")
            return
        with display().step("Reading corrections") as step:
            said = list(read_all(stack.s3, stack.final_bucket_name))
            step.done(shown_number(len(said), "correction"))
        session = Session(stack, rows, said, journal, by or _user())
        _serve(session, Cards(stack), port or 0, opens=not no_browser)


def _user() -> str:
    try:
        return getpass.getuser()
    except OSError as error:
        raise WrongInputError("This machine has no name for you. Say who judges: --by NAME") from error


def _rows(stack: Stack, query: Query, limit: int, sample_size: int, seed: str, label_confidence: float) -> list[Row]:
    """Return the images to judge, the least confident first, then those of the sample."""
    with Store(stack) as store, display().step("Reading the catalog") as step:
        store.refresh(step.progress)
        lines = {line["id"]: line for line in store.select(query, Order.LEAST_CONFIDENT, limit)}
        wanted = store.count(query) if len(lines) == limit else len(lines)
        chosen = []
        if sample_size and (query.max_confidence is not None or wanted > limit):
            every = store.select(replace(query, max_confidence=None), Order.NEWEST)
            chosen = sample((line for line in every if line["id"] not in lines), sample_size, seed)
        known = [line for line in (*lines.values(), *chosen) if line["etag"] or line["version_id"]]
        sampled = {line["id"] for line in chosen}
        rows = [row_of(line, label_confidence, is_sample=line["id"] in sampled) for line in known]
        step.done(shown_number(len(rows), "image"))
    if left := len(lines) + len(chosen) - len(known):
        say(
            f"{shown_number(left, 'image')} left out: an old line of the catalog does not say which upload it is of."
            " Analyze such images again to judge them: batch-vision backfill",
            err=True,
        )
    if wanted > limit:
        say(f"{limit:,} of {wanted:,} images are shown, the least confident ones: --limit shows more.", err=True)
    return sorted(rows, key=lambda row: -1.0 if row.confidence is None else row.confidence)


def _serve(session: Session, cards: Cards, port: int, *, opens: bool) -> None:
    """Serve the page until Ctrl-C, and bring what was judged to the bucket."""
    bucket = session.stack.final_bucket_name
    with without_bombs(), Server(session, cards, port) as server:
        threads = [
            threading.Thread(target=work, daemon=True)
            for work in (server.serve_forever, session.keep_sending, cards.prune)
        ]
        for thread in threads:
            thread.start()
        say(f"{shown_number(len(session.rows), 'image')} to judge at {server.url}")
        say("Ctrl-C ends it; what is judged is saved.")
        if opens and _has_screen():
            webbrowser.open(server.url)
        try:
            _wait()
        except KeyboardInterrupt:
            say("", err=True)  # after the ^C that the terminal shows
        server.shutdown()
    session.end()
    with display().step("Sending corrections to the bucket") as step:
        is_sent = session.send()
        step.done("all there" if is_sent else str(session.problem), is_good=is_sent)
    if is_sent:
        good(
            f"The review is over: {shown_number(session.judged, 'judgement')}, all of them in s3://{bucket}/corrections/"
        )
        return
    raise OperatorError(
        f"The review is over, and some judgements are on this machine only: {session.problem} They are not lost: call"
        " batch-vision review again when the bucket can be written."
    )


def _wait() -> None:
    """Wait for Ctrl-C."""
    threading.Event().wait()


def _has_screen() -> bool:
    """Return whether a browser would have a window: one of a terminal would be in the way."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@click.command()
@_choosing
@click.option(
    "--verdict", type=click.Choice([str(verdict) for verdict in _SHOWN_VERDICTS]), help="Only those with this verdict."
)
@json_option
@on_stack
def corrections(
    stack: Stack,
    since: str | None,
    prefix: str | None,
    labels: tuple[str, ...],
    by: str | None,
    verdict: str | None,
    *,
    as_json: bool,
) -> None:
    """List what people said of predictions.

    Of each upload the last correction is listed. An image that was replaced or deleted since it was judged is shown as
    such: what was said is not of the image that is there now.
    """
    chosen = [one for one in _chosen(stack, since, prefix, labels, by) if verdict in (None, one.verdict)]
    with display().step("Looking at the images") as step:
        found = list(look_at_images(stack, chosen, lambda done: step.progress(done, len(chosen))))
        step.done(shown_number(len(found), "correction"))
    if as_json:
        print_json([one.correction.to_line() | {"is_current": one.is_current} for one in found])
        return
    for one in found:
        say(_shown(one))
    counts = Counter(one.correction.verdict for one in found)
    told = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in _SHOWN_VERDICTS)
    replaced = sum(not one.is_current for one in found)
    say(
        f"{shown_number(len(found), 'correction')}: {told}"
        + (f"; {shown_number(replaced, 'image')} replaced or deleted since" if replaced else ""),
        err=True,
    )


def _shown(one: Corrected) -> str:
    correction = one.correction
    predicted, labels = (", ".join(names) or "-" for names in (correction.predicted, correction.labels))
    said = {Verdict.UNSURE: predicted, Verdict.RIGHT: labels}.get(correction.verdict, f"{predicted} -> {labels}")
    gone = "" if one.is_current else "  (replaced or deleted since)"
    at = shown_time(from_text(correction.at))
    return f"{at}  {correction.verdict:<6}  {said:<32}  {correction.by:<12}  {correction.key}{gone}"


@click.command()
@click.option("--out", type=FilePath(dir_okay=False), required=True, help="File of the training set.")
@click.option("--test-out", type=FilePath(dir_okay=False), help="File of the test set [default: test.manifest beside].")
@click.option(
    "--test-percent",
    type=Number(0, 90),
    default=20,
    show_default=True,
    help="Share of images for the test set. 0 writes no test set; Custom Labels then splits the training set.",
)
@click.option(
    "--kind",
    type=click.Choice([str(kind) for kind in Kind]),
    default=str(Kind.LABELS),
    show_default=True,
    help="Train a classification by labels, or the detection of objects by boxes.",
)
@_choosing
@json_option
@on_stack
def manifest(
    stack: Stack,
    out: Path,
    test_out: Path | None,
    test_percent: float,
    kind: str,
    since: str | None,
    prefix: str | None,
    labels: tuple[str, ...],
    by: str | None,
    *,
    as_json: bool,
) -> None:
    """Write a training manifest for Rekognition Custom Labels from the corrections.

    It has the images that were judged right or wrong, with the labels that a person said they have. Images that were
    replaced or deleted since, or have nothing to learn from, are left out and named. The same bytes are in one of the
    sets only, and always in the same one.

    Nothing is trained: put the files into S3, and create a data set of each in Custom Labels.
    """
    test_out = test_out or out.with_name("test.manifest")
    _check_paths(out, test_out if test_percent else None)
    chosen = _chosen(stack, since, prefix, labels, by)
    with display().step("Looking at the images") as step:
        made = manifests.make(stack, chosen, Kind(kind), test_percent, lambda done: step.progress(done, len(chosen)))
        step.done(shown_number(len(chosen), "correction"))
    sets = [("train", out, made.train)] + ([("test", test_out, made.test)] if made.test else [])
    for _, path, one in sets:
        path.write_text("".join(f"{line}\n" for line in one.lines), encoding="ascii")
    if as_json:
        told = {
            name: {"path": str(path), "images": len(one.lines), "images_by_label": one.images_by_label}
            for name, path, one in sets
        }
        print_json({"kind": kind, **told, "left_out": made.left_out})
        return
    for name, path, one in sets:
        counts = sorted(one.images_by_label.items(), key=lambda entry: -entry[1])
        shown = ", ".join(f"{label} {number:,}" for label, number in counts[:FEW])
        more = f" and {len(counts) - FEW} more labels" if len(counts) > FEW else ""
        good(f"{path}: {shown_number(len(one.lines), 'image')} to {name} with ({shown}{more})")
    for reason, keys in made.left_out.items():
        say(f"- Left out, {reason}: {shown_number(len(keys), 'image')}")
        say_few(keys)
    if not test_percent and test_out.exists():
        say(f"{test_out} is of an earlier manifest: do not use it with this one.", err=True)


def _check_paths(out: Path, test_out: Path | None) -> None:
    for option, path in (("--out", out), ("--test-out", test_out)):
        if path is None:
            continue
        if path.suffix != ".manifest":
            raise WrongInputError(f"{option} is {path}; Custom Labels wants a name that ends in .manifest. Change it.")
        if not path.parent.is_dir():
            raise WrongInputError(f"{option} is {path}, but there is no folder {path.parent}. Make it first.")
        if path.exists() and not _is_manifest(path):
            raise WrongInputError(f"{option} is {path}, a file that is no manifest. Give another path.")
    if out == test_out:
        raise WrongInputError(f"--out and the file of the test set are both {out}. Give --test-out another name.")


def _is_manifest(path: Path) -> bool:
    """Return whether a file is one that `manifest` wrote, or is empty."""
    with path.open("rb") as file:
        begin = file.read(len(LINE_BEGIN))
    return begin in (b"", LINE_BEGIN.encode())
