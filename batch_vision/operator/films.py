"""Videos on a page: a player, and a lane for each label, whose segments lead to their place in the video."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from batch_vision.aws.objects import found
from batch_vision.operator.cost import paid_minutes
from batch_vision.operator.paths import plain_path
from batch_vision.operator.results import files_of, place_of, renamed_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batch_vision.operator.stack import Stack

MOST_LANES = 40
_MOST_SEGMENTS = 1000  # of a video: a page may have hundreds of them
# Beside the page, where it is on a disk or is served, or picked by its reader.
MEDIA_POLICY = "; media-src 'self' file: blob:"


@dataclass(frozen=True, slots=True)
class Lane:
    """Where in a video something was seen.

    Attributes
    ----------
    segments
        Start and end in seconds, and the highest confidence in percent, in order of time.
    """

    name: str
    kind: str
    segments: list[tuple[float, float, float]]

    @property
    def confidence(self) -> float:
        """The highest confidence of its segments."""
        return max(confidence for _, _, confidence in self.segments)

    @property
    def seconds(self) -> float:
        """How long it is seen in all."""
        return sum(end - start for start, end, _ in self.segments)


@dataclass(frozen=True, slots=True)
class Film:
    """A video as the page shows it.

    Attributes
    ----------
    seconds
        How long it is, at least so long that all lanes fit.
    url
        Where the page plays it from; None where its reader picks the file.
    facts
        What is known of the file, for people.
    lanes
        The most confident first.
    segments_left
        Segments that the page has no room for.
    minutes
        That were paid for at most, by analysis.
    """

    seconds: float
    url: str | None
    facts: str
    lanes: list[Lane] = field(default_factory=list)
    segments_left: int = 0
    minutes: Mapping[str, int] = field(default_factory=dict)

    @property
    def predictions(self) -> list[dict[str, Any]]:
        """What the lanes say, as predictions of an image."""
        return [
            {"name": lane.name, "kind": lane.kind, "confidence": lane.confidence, "bounding_box": None}
            for lane in self.lanes
        ]


@dataclass(frozen=True, slots=True)
class Films:
    """Where videos are on this disk, under their keys, and where the page is that plays them.

    Attributes
    ----------
    folder
        None for none.
    page_folder
        The folder of the page.
    """

    folder: Path | None = None
    page_folder: Path | None = None

    def url_of(self, line: dict[str, Any]) -> str | None:
        """Return where the page finds the video of a catalog line; None where it is not in the folder."""
        if self.folder is None or self.page_folder is None:
            return None
        for name in (plain_path(place_of(line)), renamed_path(line)):
            path = self.folder / name
            try:
                is_there = path.is_file()
            except OSError:  # no name of a file
                is_there = False
            if is_there:
                return _url(path, self.page_folder)
        return None


def _url(path: Path, page_folder: Path) -> str:
    try:
        relative = os.path.relpath(path, page_folder)
    except ValueError:  # on another drive
        return path.resolve().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def make_film(stack: Stack, result: dict[str, Any], url: str | None) -> Film:
    """Read the segments of a video's result."""
    by_name: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for _, kind, key in files_of(result):
        if kind != "segments":
            continue
        for segment in _segments(stack, key):
            times = (segment["start_seconds"], segment["end_seconds"], segment["confidence"])
            by_name.setdefault((segment["name"], segment["kind"]), []).append(times)
    lanes = [Lane(name, kind, sorted(segments)) for (name, kind), segments in by_name.items()]
    lanes.sort(key=lambda lane: (-lane.confidence, -lane.seconds, lane.name))
    shown, room = [], _MOST_SEGMENTS
    for lane in lanes[:MOST_LANES]:
        if len(lane.segments) <= room:
            shown.append(lane)
            room -= len(lane.segments)
    last = max((end for lane in shown for _, end, _ in lane.segments), default=0.0)
    told = result.get("video") or {}
    return Film(
        seconds=max(float(told.get("duration_seconds") or 0.0), last, 0.001),
        url=url,
        facts=_facts(told),
        lanes=shown,
        segments_left=sum(len(lane.segments) for lane in lanes) - (_MOST_SEGMENTS - room),
        minutes=paid_minutes(result),
    )


def _segments(stack: Stack, key: str) -> list[dict[str, Any]]:
    answer = found(stack.s3.get_object, Bucket=stack.final_bucket_name, Key=key)
    return list(json.loads(answer["Body"].read())["segments"]) if answer else []


def _facts(told: Mapping[str, Any]) -> str:
    seconds, width, height = told.get("duration_seconds"), told.get("width"), told.get("height")
    return ", ".join(
        [
            *([clock(seconds)] if seconds else []),
            *([f"{width} × {height}"] if width and height else []),
            *(str(told[name]) for name in ("codec", "container") if told.get(name)),
        ]
    )


def clock(seconds: float) -> str:
    """Write a place in a video for people, such as ``1:02:03.4``."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    shown = f"{rest // 10:02}.{rest % 10}"
    return f"{hours}:{minutes:02}:{shown}" if hours else f"{minutes}:{shown}"
