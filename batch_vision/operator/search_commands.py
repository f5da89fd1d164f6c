"""The command that searches all results."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from batch_vision.core.catalog import DELETED, IMAGE, VERDICTS, VIDEO, best, media_of, moment_of, verdict_of
from batch_vision.core.text import csv_line
from batch_vision.core.times import utc_now
from batch_vision.operator.catalog import finished_at
from batch_vision.operator.command_line import (
    check_confidences,
    check_page,
    check_span,
    display,
    json_option,
    on_stack,
    shown_time,
    write_page,
)
from batch_vision.operator.corrections import read_corrections
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.parameters import FilePath, Number, Text
from batch_vision.operator.report import make_report
from batch_vision.operator.results import confidence_of, read_time
from batch_vision.operator.search.comparing import compare
from batch_vision.operator.search.query import Order, Query
from batch_vision.operator.search.store import Store
from batch_vision.operator.text import print_json, print_lines, say, shown_number, visible

if TYPE_CHECKING:
    from pathlib import Path

    from batch_vision.operator.search.comparing import Comparison
    from batch_vision.operator.stack import Stack

_FEW = 20
_SHOWN_PREDICTIONS = 3
_MOST_PICTURES = 5000
_STATUSES = ["processed", "rejected", "failed", "deleted"]
_COLUMNS = [
    *("finished_at", "status", "key", "version_id", "label", "kind", "confidence", "labels", "verdict", "error_type"),
    *("model", "width", "height", "size_bytes", "media", "duration_seconds"),
]


@click.command()
@click.option("--label", "labels", type=Text(), multiple=True, help="With a prediction of this name; may be repeated.")
@click.option(
    "--any/--all", "is_any", default=True, help="Require any of the --label names, or all of them  [default: any]"
)
@click.option(
    "--not-label",
    "none_of",
    type=Text(),
    multiple=True,
    help="Leave out images with a prediction of this name; may be repeated.",
)
@click.option(
    "--min-confidence",
    type=Number(0, 100),
    help="Lowest confidence, in percent. It applies to --label if given, else to --kind, else to the best prediction"
    " or the verdict.",
)
@click.option(
    "--max-confidence", type=Number(0, 100), help="Highest confidence, in percent; applies as --min-confidence does."
)
@click.option(
    "--kind",
    type=Text(),
    help="Kind of the prediction, for example label, text or face. With --label, the label must be of this kind.",
)
@click.option("--model", type=Text(), help="Of this model: its id, or a part of it that no other one has.")
@click.option("--prefix", type=Text(), help="With a key that begins so.")
@click.option("--media", type=click.Choice([IMAGE, VIDEO]), help="Only images, or only videos.")
@click.option("--since", type=Text(), help="Finished since: 90m, 6h, 7d, or a time in UTC.")
@click.option("--until", type=Text(), help="Only images finished before this time; same formats as --since.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only lines with this status. deleted needs --history.")
@click.option("--anomalous/--normal", "is_anomalous", default=None, help="With this verdict.")
@click.option(
    "--current/--history",
    "is_current",
    default=True,
    help="Each key as it is now, or all that was ever said of it  [default: current]",
)
@click.option(
    "--order",
    type=click.Choice([order.value for order in Order]),
    default=Order.NEWEST.value,
    show_default=True,
    help="Sort order. Confidence is that of --label if given. Margin is the gap between the two best predictions of the"
    " same kind.",
)
@click.option(
    "--limit", type=click.IntRange(0, 10**9), default=200, show_default=True, help="No more than these; 0 for all."
)
@click.option(
    "--facets",
    "is_facets",
    is_flag=True,
    help="Print counts by label, kind, status and so on instead of the lines.",
)
@click.option(
    "--compare",
    "models",
    type=Text(),
    nargs=2,
    metavar="MODEL_A MODEL_B",
    help="Compare two models on the images that both analyzed.",
)
@click.option("--report", "page", type=FilePath(dir_okay=False), help="Write a page of what is found, with pictures.")
@click.option("--csv", "as_csv", is_flag=True, help="Print it as CSV.")
@json_option
@on_stack
def search(
    stack: Stack,
    models: tuple[str, str] | None,
    page: Path | None,
    *,
    is_facets: bool,
    as_csv: bool,
    as_json: bool,
    limit: int,
    order: str,
    **conditions: Any,
) -> None:
    """Search all results, by what the models said.

    The catalog is copied to ~/.cache/batch-vision, or to the folder that XDG_CACHE_HOME names: all of it the first
    time, which takes some minutes for a million images, and what is new from then on. What was deleted, or replaced by
    a newer upload, is left out, unless --history asks for it. (Of a drop-off bucket the catalog tells
    nothing of deletions: what was deleted from the final bucket is still found.)

    --compare takes the images as they are now that both models analyzed, and no conditions. Each model's answer is its
    best label, plus every other label of at least 50%. Where somebody corrected images (batch-vision review),
    it counts for each label how often each model was right.
    """
    _check(models, page, as_csv=as_csv, as_json=as_json, is_facets=is_facets)
    query = _query(**conditions)
    if models and (query != Query() or order != Order.NEWEST.value):
        raise WrongInputError(
            "--compare takes all images that both models analyzed. Leave out the conditions, --history and --order."
        )
    with Store(stack) as store:
        with display().step("Reading the catalog") as step:
            store.refresh(step.progress)
            step.done("")
        for note in store.notes:
            say(note, err=True)
        known = store.models()
        if models:
            pair = (_model(models[0], "--compare", known), _model(models[1], "--compare", known))
            _compare(stack, store, pair, limit or None, as_json=as_json)
            return
        if query.model is not None:
            query = replace(query, model=_model(query.model, "--model", known))
        if page:
            _write_page(stack, store, query, Order(order), page, limit, as_json=as_json)
        elif is_facets:
            _print_facets(store, query, as_csv=as_csv, as_json=as_json)
        else:
            _print_rows(store, query, Order(order), limit, as_csv=as_csv, as_json=as_json)


def _check(models: Any, page: Path | None, *, as_csv: bool, as_json: bool, is_facets: bool) -> None:
    given = {"--compare": models, "--report": page, "--facets": is_facets}
    both = [name for name, value in given.items() if value]
    if len(both) > 1:
        raise WrongInputError(f"Both {both[0]} and {both[1]} are given, and each is another answer. Leave one out.")
    forms = [name for name, value in {"--csv": as_csv, "--json": as_json}.items() if value]
    if len(forms) > 1:
        raise WrongInputError("Both --csv and --json are given. Leave one of them out.")
    if as_csv and (page or models):
        raise WrongInputError(f"{both[0]} has no CSV. Leave --csv out, or take --json.")
    if page:
        check_page(page, "--report")


def _query(
    labels: tuple[str, ...],
    since: str | None,
    until: str | None,
    *,
    is_any: bool,
    is_current: bool,
    **conditions: Any,
) -> Query:
    check_confidences(conditions["min_confidence"], conditions["max_confidence"])
    if conditions["status"] == "deleted" and is_current:
        raise WrongInputError("--status is deleted, and what is deleted is not current. Add --history.")
    now = utc_now()
    begin, end = (
        read_time(since, "--since", now) if since else None,
        read_time(until, "--until", now) if until else None,
    )
    check_span(begin, end)
    return Query(
        any_of=labels if is_any else (),
        all_of=() if is_any else labels,
        since=begin,
        until=end,
        is_history=not is_current,
        **conditions,
    )


def _model(text: str, option: str, known: list[str]) -> str:
    """Return the id of a model that is named by a part of it."""
    if text in known:
        return text
    found = [model for model in known if text in model]
    if len(found) == 1:
        return found[0]
    names = ", ".join(found or known) or "none"
    which = "several models" if found else "no model"
    raise WrongInputError(f"{option} {text!r} matches {which}. Give one of: {names}.")


def _print_rows(store: Store, query: Query, order: Order, limit: int, *, as_csv: bool, as_json: bool) -> None:
    found = store.count(query)
    rows = store.select(query, order, limit or None)
    if as_json:
        # As they come, for there may be millions.
        click.echo(f'{{\n"found": {found},\n"lines": [', nl=False)
        for number, row in enumerate(rows):
            del row["id"]
            click.echo(f"{',' if number else ''}\n{json.dumps(row)}", nl=False)
        click.echo("\n]\n}")
    elif as_csv:
        click.echo(csv_line(_COLUMNS), nl=False)
        for row in rows:
            click.echo(csv_line(_cells(row)), nl=False)
    else:
        wanted = {*query.any_of, *query.all_of}
        for row in rows:
            say(_shown(row, wanted))
    if not as_json:
        shown = min(found, limit or found)
        more = " (--limit 0 for all)" if shown < found else ""
        say(f"{shown:,} of {shown_number(found, 'line')}{more}, {order.replace('-', ' ')} first", err=True)


def _shown(row: dict[str, Any], wanted: set[str]) -> str:
    predictions = row.get("predictions") or []
    chosen = [said for said in predictions if said["name"] in wanted] or predictions
    said = [f"{one['name']} {one['confidence']:.1f}%" for one in chosen[:_SHOWN_PREDICTIONS]]
    if len(predictions) > len(said):
        said.append(f"+{len(predictions) - len(said)}")
    if anomaly := row.get("anomaly"):
        said.insert(0, f"{verdict_of(anomaly)} {anomaly['confidence']:.1f}%")
    told = row.get("error_type") or ", ".join(said) or "-"
    return f"{shown_time(finished_at(row))}  {row['status']:<9}  {visible(told):<40}  {row['key']}"


def _cells(row: dict[str, Any]) -> list[Any]:
    predictions = row.get("predictions") or []
    first = best(row) or {}
    told = row | {
        "finished_at": moment_of(row),
        "label": first.get("name"),
        "kind": first.get("kind"),
        "confidence": confidence_of(row),
        "labels": "; ".join(f"{said['name']} {said['confidence']:g}" for said in predictions),
        "verdict": verdict_of(row.get("anomaly")) or None,
        "media": media_of(row),
    }
    return [told.get(name) for name in _COLUMNS]


def _print_facets(store: Store, query: Query, *, as_csv: bool, as_json: bool) -> None:
    found, facets = store.count(query), store.facets(query)
    if as_json:
        print_json({"found": found, "facets": facets})
        return
    if as_csv:
        click.echo(csv_line(("facet", "value", "lines")), nl=False)
        for name, counts in facets.items():
            for value, number in counts.items():
                click.echo(csv_line((name, value, number)), nl=False)
        return
    for name, counts in facets.items():
        if not counts:
            continue
        say(name)
        for value, number in [*counts.items()][:_FEW]:
            say(f"  {number:>12,}  {value}")
        if len(counts) > _FEW:
            say("                and more (--json lists the 100 most frequent)")
    say(shown_number(found, "line"), err=True)


def _compare(stack: Stack, store: Store, models: tuple[str, str], limit: int | None, *, as_json: bool) -> None:
    if models[0] == models[1]:
        raise WrongInputError(f"--compare names one model twice, {models[0]}. Give two.")
    corrections = read_corrections(stack.s3, stack.final_bucket_name)
    found = compare(store.by_key(models), models, corrections, limit)
    if as_json:
        print_json(found.to_json())
    else:
        _print_comparison(found)


def _print_comparison(found: Comparison) -> None:
    flipped = found.pairs.total()
    print_lines(
        {
            "A": found.models[0],
            "B": found.models[1],
            "compared": f"{shown_number(found.compared, 'image')}, {found.corrected:,} of them corrected",
            "flipped": f"{shown_number(flipped, 'image')}"
            + (f", {100 * flipped / found.compared:.1f}%" if found.compared else ""),
        }
    )
    for (a, b), number in found.pairs.most_common(_FEW):
        say(f"  {number:>12,}  {a} -> {b}")
    if found.scores:
        say(f"{'label':<30}  {'A: right missed wrong':>24}  {'B: right missed wrong':>24}")
        for name, scores in found.scores.items():
            numbers = ["".join(f"{number:>8,}" for number in score) for score in scores]
            say(f"{visible(name):<30}  {numbers[0]}  {numbers[1]}")
    for flip in found.flips:
        shown = [
            answer if confidence is None else f"{answer} {confidence:.1f}%"
            for answer, confidence in zip(flip.answers, flip.confidences, strict=True)
        ]
        truth = "" if flip.labels is None else f"  (is {', '.join(flip.labels) or 'without label'})"
        say(f"{visible(' -> '.join(shown)):<44}  {flip.key}{truth}")
    if len(found.flips) < flipped:
        say(f"{len(found.flips):,} of {flipped:,} flipped images are shown (--limit 0 for all)", err=True)


def _write_page(
    stack: Stack, store: Store, query: Query, order: Order, page: Path, limit: int, *, as_json: bool
) -> None:
    ends = [next(store.select(query, first, 1), None) for first in (Order.OLDEST, Order.NEWEST)]
    begin, end = (finished_at(row) if row else utc_now() for row in ends)
    write_page(
        page,
        lambda progress: make_report(
            stack,
            (row for row in store.select(query, order) if row["status"] != DELETED),
            query.since or begin,
            query.until or end,
            [],
            [],
            max_images=min(limit or _MOST_PICTURES, _MOST_PICTURES),
            is_run=False,
            search=_words(query, order),
            progress=progress,
        ),
        as_json=as_json,
    )


def _words(query: Query, order: Order) -> str:
    """Say what was searched for."""
    said = [
        *([f"any of {', '.join(query.any_of)}"] if query.any_of else []),
        *([f"all of {', '.join(query.all_of)}"] if query.all_of else []),
        *([f"none of {', '.join(query.none_of)}"] if query.none_of else []),
        *([f"at least {query.min_confidence:g}%"] if query.min_confidence is not None else []),
        *([f"at most {query.max_confidence:g}%"] if query.max_confidence is not None else []),
        *(
            f"{name} {value}"
            for name in ("kind", "model", "prefix", "media", "status")
            if (value := getattr(query, name))
        ),
        *([] if query.is_anomalous is None else [VERDICTS[query.is_anomalous]]),
        *(["with history"] if query.is_history else []),
    ]
    return f"{'; '.join(said) or 'all images'}; {order.replace('-', ' ')} first"
