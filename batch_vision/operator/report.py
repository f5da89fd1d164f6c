"""A report: one HTML page of what was done in a run, or in a span of time, that needs nothing beside itself.

But for videos: they are too large for a page. It plays them from a folder, or those that its reader picks.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from batch_vision.aws.objects import found, list_entries
from batch_vision.core.backfills import SUMMARIES
from batch_vision.core.catalog import VIDEO, best, margin_of, media_of, moment_of, verdict_of
from batch_vision.core.run_summaries import PREFIX
from batch_vision.core.times import from_text, to_text, utc_now
from batch_vision.operator.catalog import finished_at
from batch_vision.operator.cost import dollars_by_analysis, video_dollars
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.films import MEDIA_POLICY, MOST_LANES, Film, Films, clock, make_film
from batch_vision.operator.objects import image_place, marked_boxes, read_result
from batch_vision.operator.pages import content_hash, template
from batch_vision.operator.pictures import (
    MOST_BYTES,
    UNREADABLE,
    data_uri,
    make_mask,
    make_thumbnail,
    room_for,
    without_bombs,
)
from batch_vision.operator.prices import ENDED, model_dollars
from batch_vision.operator.results import confidence_of, is_of_line
from batch_vision.operator.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from batch_vision.operator.stack import Stack

_PARALLEL = 4  # each may hold a large decoded image
_BARS = 60
_COLOURS = 8
_MOST_RUNS = 100
_MOST_FOLDERS = 100
_HEX = re.compile(r"#[0-9A-Fa-f]{6}")  # as Rekognition writes a color


@dataclass
class Picture:
    """A finished image as the page shows it.

    Attributes
    ----------
    predictions
        As the result has them, the most confident first: name, kind (none in schema version 1), confidence in percent,
        bounding box in ratios of the sides or None, parents, instances, attributes.
    errors
        Why analyses refused the image while others answered, by analysis.
    remedy
        What to do about an image that failed.
    converted
        What the model was asked about in its place; empty where that was the image itself.
    thumbnail, mask
        Data URIs; None when there is nothing to show, and then ``missing`` says why.
    film
        Of a video.
    """

    key: str
    status: str
    finished_at: str
    label: str
    confidence: float | None
    verdict: str
    reason: str
    model: str = ""
    message: str = ""
    remedy: str = ""
    converted: str = ""
    errors: dict[str, dict[str, str]] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    thumbnail: str | None = None
    size: tuple[int, int] = (0, 0)
    mask: str | None = None
    missing: str = ""
    film: Film | None = None

    @property
    def boxes(self) -> list[tuple[str, dict[str, float]]]:
        """The names and boxes of predictions and of their instances."""
        return marked_boxes(self.predictions)

    @property
    def kinds(self) -> list[str]:
        """The kinds of predictions, as the first of each come."""
        return list(dict.fromkeys(said["kind"] for said in self.predictions if said.get("kind")))

    @property
    def labels(self) -> dict[str, float | None]:
        """The names of all predictions, with the highest confidence of each."""
        said: dict[str, float | None] = {}
        for one in self.predictions:
            said.setdefault(one["name"], one["confidence"])
        return said or ({self.label: self.confidence} if self.label else {})

    @property
    def margin(self) -> float | None:
        """By how much the best prediction is more confident than the second one of its kind."""
        return margin_of(self.predictions)

    @property
    def folder(self) -> str:
        """The first folder of the key; empty where it is in none."""
        return "".join(self.key.partition("/")[:2]) if "/" in self.key else ""


@dataclass
class Tally:
    """What the catalog says of all images, and the lines of those that are shown.

    Attributes
    ----------
    is_in_order
        Whether the first lines are shown, whatever their status is.
    videos
        The statuses of videos; those of images are in ``statuses``.
    """

    most_shown: int
    is_in_order: bool = False
    videos: Counter[str] = field(default_factory=Counter)
    finished: array[float] = field(default_factory=lambda: array("d"))
    statuses: Counter[str] = field(default_factory=lambda: Counter(processed=0, rejected=0, failed=0))
    labels: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    _unprocessed: list[dict[str, Any]] = field(default_factory=list)
    _processed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, line: dict[str, Any]) -> None:
        """Count one image or video."""
        self.finished.append(finished_at(line).timestamp())
        (self.videos if media_of(line) == VIDEO else self.statuses)[line["status"]] += 1
        is_processed = line["status"] == "processed"
        if not is_processed:
            self.reasons[line["error_type"] or "unknown"] += 1
        elif said := best(line):
            self.labels[said["name"]] += 1
        if verdict := verdict_of(line["anomaly"]):
            self.verdicts[verdict] += 1
        first = self._processed if is_processed or self.is_in_order else self._unprocessed
        if len(first) < self.most_shown:
            first.append(line)

    @property
    def nouns(self) -> str:
        """What was counted, for people."""
        if not self.videos:
            return "images"
        return "images and videos" if self.statuses.total() else "videos"

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Rejected and failed images first, in half of the places or in those that are left; then the oldest first."""
        places = max(self.most_shown // 2, self.most_shown - len(self._processed))
        chosen = self._unprocessed[:places]
        return chosen + self._processed[: self.most_shown - len(chosen)]


@dataclass(frozen=True)
class Report:
    """The page, and what a script wants to know of it."""

    html: str
    images: int
    shown: int
    nouns: str = "images"


def make_report(
    stack: Stack,
    lines: Iterable[dict[str, Any]],
    begin: datetime,
    end: datetime,
    summaries: list[dict[str, Any]],
    backfills: list[dict[str, Any]],
    *,
    max_images: int,
    is_run: bool,
    search: str = "",
    films: Films | None = None,
    progress: Callable[[int, int], None],
) -> Report:
    """Make the page.

    Parameters
    ----------
    lines
        The catalog lines of the images and videos, the oldest first, or in the order of a search; read once.
    summaries
        Of the runs, the newest first.
    backfills
        The summaries of the backfills, the newest first.
    max_images
        Pictures beyond these are counted, not shown.
    is_run
        Whether the time is that of one run, whose summary is the only one.
    search
        What was searched for, of a page of what was found; empty for a page of a run or a time.
    films
        Where videos are that the page plays; None for nowhere.
    progress
        Told how many pictures are made, of how many.
    """
    tally = Tally(max_images, is_in_order=bool(search))
    for line in lines:
        tally.add(line)
    pictures = _pictures(stack, tally.shown, films or Films(), progress)
    of_videos = [picture.film for picture in pictures if picture.film]
    minutes: Counter[str] = Counter()
    for film in of_videos:
        minutes.update(film.minutes)
    colours = {name: number % _COLOURS for number, name in enumerate(sorted(_names(pictures)))}
    page = {
        "stack": {"name": stack.name, "account_id": stack.account_id, "region": stack.region},
        "backend": stack.model.backend,
        "ended": ENDED.get(stack.model.backend, ""),
        "search": search,
        "begin": to_text(begin),
        "end": to_text(end),
        "made_at": to_text(utc_now()),
        "images": len(tally.finished),
        "nouns": tally.nouns,
        "videos_shown": len(of_videos),
        "videos_dollars": {} if search else video_dollars(minutes),
        "tally": tally,
        "counts": {"label": tally.labels, "verdict": tally.verdicts, "reason": tally.reasons},
        "pictures": pictures,
        "colours": colours,
        "run": summaries[0] if is_run else None,
        "runs": [_run(summary) for summary in summaries[:_MOST_RUNS]],
        "runs_left": max(0, len(summaries) - _MOST_RUNS),
        "backfills": [_backfill(summary) for summary in backfills[:_MOST_RUNS]],
        "backfills_left": max(0, len(backfills) - _MOST_RUNS),
        "cost_dollars": sum(_dollars(summary) or 0.0 for summary in summaries),
        "analyses_dollars": {}
        if search
        else dollars_by_analysis(dict.fromkeys(stack.analyses, tally.statuses["processed"])),
        "model_on_seconds": sum(summary.get("model_on_seconds") or 0.0 for summary in summaries),
        "chart": _chart(tally.finished, (begin, end) if is_run else None, summaries if is_run else []),
        "options": _options(pictures),
    }
    return Report(_render(page, plays=bool(of_videos)), len(tally.finished), len(pictures), tally.nouns)


def _options(pictures: list[Picture]) -> dict[str, list[str]]:
    """Return what the pictures can be filtered by; what all of them are, or each is alone, needs no filter."""
    options = {
        "status": {picture.status for picture in pictures},
        "label": {name for picture in pictures for name in picture.labels},
        "verdict": {picture.verdict for picture in pictures if picture.verdict},
        "kind": {kind for picture in pictures for kind in picture.kinds},
    }
    models, folders = ({getattr(picture, name) for picture in pictures} - {""} for name in ("model", "folder"))
    options["model"] = models if len(models) > 1 else set()
    options["folder"] = folders if 1 < len(folders) <= _MOST_FOLDERS else set()
    return {name: sorted(values) for name, values in options.items()}


# What a page begins with, after its first tags.
_MARK = b'<meta name="generator" content="batch-vision">'


def check_replaceable(path: Path, option: str) -> None:
    """Check that a page may be written to a path.

    Raises
    ------
    WrongInputError
        A file is there that is no report.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        begin = file.read(1000)
    if begin and _MARK not in begin:
        raise WrongInputError(f"{option} is {path}, a file that is no report of batch-vision. Give another path.")


def summaries_between(stack: Stack, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Read the summaries of the runs that ended in a span of time, the newest first."""
    return sorted(_read_between(stack, PREFIX, since, until), key=lambda run: str(run["started_at"]), reverse=True)


def backfills_between(stack: Stack, since: datetime, until: datetime) -> list[dict[str, Any]]:
    """Read the summaries of the backfills that ended in a span of time, the newest first."""
    return sorted(_read_between(stack, SUMMARIES, since, until), key=lambda job: str(job["ended_at"]), reverse=True)


def _read_between(stack: Stack, prefix: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
    since = since.replace(microsecond=0)  # as S3 tells times
    keys = [
        entry["Key"]
        for entry in list_entries(stack.s3, stack.final_bucket_name, prefix)
        if since <= entry["LastModified"] <= until and entry["Key"].endswith(".json")
    ]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        answers = pool.map(lambda key: found(stack.s3.get_object, Bucket=stack.final_bucket_name, Key=key), keys)
        return [json.loads(answer["Body"].read()) for answer in answers if answer]


# The pictures.


def _names(pictures: list[Picture]) -> set[str]:
    return {prediction["name"] for picture in pictures for prediction in picture.predictions}


def _pictures(
    stack: Stack, lines: list[dict[str, Any]], films: Films, progress: Callable[[int, int], None]
) -> list[Picture]:
    answer = []
    with without_bombs(), ThreadPoolExecutor(_PARALLEL) as pool:
        try:
            for picture in pool.map(lambda line: _picture(stack, line, films), lines):
                answer.append(picture)
                progress(len(answer), len(lines))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return answer


def _picture(stack: Stack, line: dict[str, Any], films: Films) -> Picture:
    picture = Picture(
        key=line["key"],
        status=line["status"],
        finished_at=moment_of(line),
        label=(best(line) or {}).get("name") or "",
        confidence=confidence_of(line),
        verdict=verdict_of(line["anomaly"]),
        reason=line["error_type"] or "",
        model=line["model"] or "",
    )
    s3, bucket = stack.s3, stack.final_bucket_name
    answer = read_result(s3, bucket, line.get("result_key") or f"{line['image_key']}.json")
    if answer is None or not is_of_line(answer[0], line):
        picture.missing = "uploaded and analyzed again, retried or deleted, since"
        return picture
    result = answer[0]
    error = result.get("error") or {}
    picture.message, picture.remedy = error.get("message", ""), error.get("remedy", "")
    picture.errors = result.get("errors") or {}
    picture.converted = _conversion(result.get("converted"))
    picture.predictions = sorted(result.get("predictions") or [], key=lambda said: -said["confidence"])
    if media_of(line) == VIDEO:
        picture.film = make_film(stack, result, films.url_of(line))
        failures = {name: one["error"] for name, one in result["analyses"].items() if one.get("error")}
        # What they all say is the error of the video.
        picture.errors = {name: failure for name, failure in failures.items() if failure != result.get("error")}
        picture.predictions = picture.film.predictions or picture.predictions[:MOST_LANES]
        return picture
    if line["size_bytes"] > MOST_BYTES:
        picture.missing = f"not shown: {line['size_bytes'] / 1024**2:,.0f} MiB"
        return picture
    if picture.status == "failed":
        picture.missing = "not shown: the image failed"
        return picture
    image = found(s3.get_object, **image_place(bucket, result))
    if image is None:
        picture.missing = "the image is no longer in its bucket"
        return picture
    try:
        with room_for(line["size_bytes"]):
            thumbnail, picture.size, _ = make_thumbnail(image["Body"].read())
        picture.thumbnail = data_uri(thumbnail)
    except UNREADABLE:
        picture.missing = "no picture that can be shown"
        return picture
    if mask_key := result.get("mask_key"):
        mask = found(s3.get_object, Bucket=bucket, Key=mask_key)
        try:
            picture.mask = mask and data_uri(make_mask(mask["Body"].read()))
        except UNREADABLE:
            picture.missing = "its mask cannot be shown"
    return picture


def _conversion(converted: Mapping[str, Any] | None) -> str:
    """Say from what an image was converted for the model, to what, and why; nothing where it was not."""
    if not converted:
        return ""
    sides = {end: f"{converted[f'{end}_width']:,} × {converted[f'{end}_height']:,}" for end in ("from", "to")}
    formats = f"{converted['from_format']}, {sides['from']}, to {converted['to_format']}, {sides['to']}"
    return f"Converted for the model: {formats} pixels. {converted['reason']}"


# The runs.


def _dollars(summary: dict[str, Any]) -> float | None:
    """Return what the model cost at most; None when it was not on, or the stop was not confirmed."""
    if (told := summary.get("cost_dollars")) is not None:
        return float(told)
    seconds = summary.get("model_on_seconds")
    return None if seconds is None else model_dollars(seconds * (summary.get("inference_units") or 1))


def _run(summary: dict[str, Any]) -> dict[str, Any]:
    duration = from_text(summary["ended_at"]) - from_text(summary["started_at"])
    return summary | {"duration_seconds": duration.total_seconds(), "dollars": _dollars(summary)}


def _backfill(summary: dict[str, Any]) -> dict[str, Any]:
    """Return what the page tells of a backfill; one that was cut off may lack what was asked for."""
    counts, source = summary["counts"], summary.get("source", {})
    return {
        "job": summary["job"],
        "ended_at": summary["ended_at"],
        "outcome": summary["outcome"],
        "error": summary["error"],
        "source": source.get("manifest") or source.get("list") or source.get("prefix") or "the whole bucket",
        "listed": counts.get("listed", 0),
        "planned": counts.get("planned", 0),
        "left_out": sum(counts["left_out"].values()),
        "left": summary["left_images"],
    }


def _chart(
    finished: array[float], span: tuple[datetime, datetime] | None, summaries: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the shapes of the plots, in units of 1000 x 100: progress as a line, throughput as bars."""
    if not finished:
        return None
    begin, end = (moment.timestamp() for moment in span) if span else (finished[0], finished[-1])
    times = sorted(finished)
    begin, end = min(begin, times[0]), max(end, times[-1], begin + 1.0)
    seconds = end - begin
    bar_seconds = seconds / _BARS
    bars = Counter(min(int((moment - begin) / bar_seconds), _BARS - 1) for moment in times)
    highest = max(bars.values())
    # No more points than bars have: a run may have half a million images.
    points, done = ["0,100"], 0
    for number in range(_BARS):
        done += bars[number]
        points.append(f"{(number + 1) * 1000 / _BARS:.1f},{100 - 100 * done / len(times):.2f}")
    per = 60 if highest / bar_seconds < 1 else 1
    return {
        "begin": _time(begin),
        "end": _time(end),
        "seconds": seconds,
        "points": " ".join(points),
        "bars": [(1000 * number / _BARS, 1000 / _BARS, 100 * bars[number] / highest) for number in sorted(bars)],
        "bar_seconds": bar_seconds,
        "highest": highest / bar_seconds * per,
        "unit": "second" if per == 1 else "minute",
        "bands": [band for summary in summaries for band in _bands(summary, begin, seconds)],
    }


def _bands(summary: dict[str, Any], begin: float, seconds: float) -> list[dict[str, Any]]:
    """Return when the model was starting, and when it was on, as parts of the chart's width."""
    at = [summary.get(f"model_{name}_at") for name in ("requested", "running", "stopped")]
    answer = []
    for name, since, until in (("starting", at[0], at[1]), ("on", at[1], at[2])):
        if since and until:
            left, right = ((from_text(moment).timestamp() - begin) / seconds * 1000 for moment in (since, until))
            answer.append({"name": name, "left": left, "width": right - left})
    return answer


def _time(seconds: float) -> str:
    return to_text(datetime.fromtimestamp(seconds, UTC))


# The page.


def shown_time(text: str) -> str:
    """Write a time for people, in UTC."""
    return f"{text[:19].replace('T', ' ')}Z"


def shown_seconds(seconds: float) -> str:
    """Write a duration for people."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _render(page: dict[str, Any], *, plays: bool) -> str:
    # Everything is escaped, but for the style and the script, which are our own; `finalize` sees values before that.
    environment = Environment(
        loader=PackageLoader("batch_vision.operator"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["hex_color"] = lambda value: isinstance(value, str) and bool(_HEX.fullmatch(value))
    environment.filters |= {"time": shown_time, "seconds": shown_seconds, "json": json.dumps, "clock": clock}
    style, script = template("report.css"), template("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {content_hash(style)}; script-src {content_hash(script)};"
        f" base-uri 'none'; form-action 'none'{MEDIA_POLICY if plays else ''}"
    )
    return environment.get_template("report.html").render(page, style=style, script=script, policy=policy)
