"""From detections, one for each moment of a video, to segments: from when to when something was to be seen.

The detections of one pass, in the order of time, are enough. Only what has not ended is held, and the segments that
are kept; both are bounded, and can be written down and taken up again.
"""

from __future__ import annotations

import heapq
import re
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from batch_vision.core.text import csv_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MOST_SEGMENTS = 10_000
MOST_PREDICTIONS = 1000
GAP_MS = 1000  # what is seen again within it was never away: some models look at two frames a second
_SHORTEST_CUE_MS = 500  # what was seen at one moment only is shown for so long

_COLUMNS = ("name", "kind", "parents", "start_seconds", "end_seconds", "confidence", "detections")
# What ends a line or nothing that can be seen: a cue of a WebVTT file ends at an empty line.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Sighting(NamedTuple):
    """A detection, in the form common to all analyses.

    Attributes
    ----------
    kind
        ``label``, ``moderation``, ``face``, ``celebrity`` or ``text``.
    parents
        Names of what it is a kind of.
    box
        Where in the picture; None where the service does not tell. In the form of a result.
    """

    name: str
    kind: str
    parents: tuple[str, ...]
    at_ms: int
    confidence: float
    box: Mapping[str, float] | None = None


class _Segment:
    """What is seen without a gap, and the best sighting of it."""

    __slots__ = ("best", "detections", "end_ms", "start_ms")

    def __init__(self, best: Sighting, start_ms: int, end_ms: int, detections: int) -> None:
        self.best = best
        self.start_ms, self.end_ms = start_ms, end_ms
        self.detections = detections

    def add(self, sighting: Sighting) -> None:
        self.start_ms = min(self.start_ms, sighting.at_ms)
        self.end_ms = max(self.end_ms, sighting.at_ms)
        self.detections += 1
        if sighting.confidence > self.best.confidence:
            self.best = sighting

    def is_near(self, at_ms: int) -> bool:
        return self.start_ms - GAP_MS <= at_ms <= self.end_ms + GAP_MS

    @property
    def weight(self) -> tuple[Any, ...]:
        """Of two segments, the one with the greater weight is kept: no two have the same."""
        best = self.best
        return (self.detections, best.confidence, -self.start_ms, best.kind, best.name, self.end_ms)

    def to_state(self) -> list[Any]:
        return [*self.best, self.start_ms, self.end_ms, self.detections]

    @classmethod
    def from_state(cls, state: list[Any]) -> Self:
        name, kind, parents, at_ms, confidence, box, *rest = state
        return cls(Sighting(name, kind, tuple(parents), at_ms, confidence, box), *rest)

    def as_json(self) -> dict[str, Any]:
        best = self.best
        return {
            "name": best.name,
            "kind": best.kind,
            "parents": list(best.parents),
            "start_seconds": self.start_ms / 1000,
            "end_seconds": self.end_ms / 1000,
            "confidence": best.confidence,
            "detections": self.detections,
            "bounding_box": best.box,
        }


class Segments:
    """Segments of the sightings that are added, of each kind and name apart.

    Of more than `MOST_SEGMENTS`, those with the most detections are kept: a text that one frame was misread for goes
    before one that stood there.

    Parameters
    ----------
    most
        That are kept.
    """

    def __init__(self, most: int = MOST_SEGMENTS) -> None:
        self._most = most
        self._open: dict[tuple[str, str], _Segment] = {}
        self._kept: list[tuple[tuple[Any, ...], int, _Segment]] = []  # a heap; the number tells two alike apart
        self._numbers = count()
        self._swept_ms = 0
        self.is_truncated = False

    def add(self, sighting: Sighting) -> None:
        """Take the next sighting; those of one moment in any order."""
        self._sweep(sighting.at_ms)
        identity = (sighting.kind, sighting.name)
        segment = self._open.get(identity)
        if segment and segment.is_near(sighting.at_ms):
            segment.add(sighting)
            return
        if segment:
            self._keep(segment)
        self._open[identity] = _Segment(sighting, sighting.at_ms, sighting.at_ms, 1)

    def finish(self) -> list[dict[str, Any]]:
        """Return all that are kept in the order of their start, as they stand in the file of an analysis."""
        for segment in self._open.values():
            self._keep(segment)
        self._open.clear()
        order = sorted((kept.start_ms, kept.end_ms, kept.best.kind, kept.best.name, n) for _, n, kept in self._kept)
        by_number = {number: kept for _, number, kept in self._kept}
        return [by_number[number].as_json() for *_, number in order]

    def to_state(self) -> dict[str, Any]:
        """Return what a later invocation needs to go on, ready for JSON."""
        return {
            "open": [segment.to_state() for segment in self._open.values()],
            "kept": [segment.to_state() for _, _, segment in self._kept],
            "swept_ms": self._swept_ms,
            "is_truncated": self.is_truncated,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], most: int = MOST_SEGMENTS) -> Self:
        """Go on where `to_state` was called."""
        segments = cls(most)
        for segment in map(_Segment.from_state, state["open"]):
            segments._open[segment.best.kind, segment.best.name] = segment
        for segment in map(_Segment.from_state, state["kept"]):
            segments._keep(segment)
        segments._swept_ms = state["swept_ms"]
        segments.is_truncated = state["is_truncated"]
        return segments

    def _sweep(self, now_ms: int) -> None:
        """Close what was seen last too long ago, now and then: the memory of names is bounded by what one sees."""
        if now_ms - self._swept_ms <= GAP_MS:
            return
        self._swept_ms = now_ms
        over = [identity for identity, segment in self._open.items() if segment.end_ms + GAP_MS < now_ms]
        for identity in over:
            self._keep(self._open.pop(identity))

    def _keep(self, segment: _Segment) -> None:
        entry = (segment.weight, next(self._numbers), segment)
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)
            self.is_truncated = True


def predictions_of(segments: Iterable[Mapping[str, Any]], most: int = MOST_PREDICTIONS) -> list[dict[str, Any]]:
    """Return each name once with its highest confidence, the best first, as it stands in the result of a video.

    Parameters
    ----------
    segments
        Of all analyses, as `Segments.finish` returns them.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for segment in segments:
        start, end = segment["start_seconds"], segment["end_seconds"]
        known = found.setdefault(
            (segment["kind"], segment["name"]),
            {
                "name": segment["name"],
                "kind": segment["kind"],
                "confidence": segment["confidence"],
                **({"parents": segment["parents"]} if segment["parents"] else {}),
                "seconds": 0.0,
                "first_start_seconds": start,
            },
        )
        known["confidence"] = max(known["confidence"], segment["confidence"])
        known["seconds"] = round(known["seconds"] + end - start, 3)
        known["first_start_seconds"] = min(known["first_start_seconds"], start)
    best_first = sorted(found.values(), key=lambda one: (-one["confidence"], -one["seconds"], one["kind"], one["name"]))
    return best_first[:most]


def to_vtt(segments: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write segments as a WebVTT file (W3C, "WebVTT: The Web Video Text Tracks Format"), one cue for each.

    A name may hold anything: it is one line of text, without markup.
    """
    yield "WEBVTT\n"
    for segment in segments:
        start_ms = round(segment["start_seconds"] * 1000)
        end_ms = max(round(segment["end_seconds"] * 1000), start_ms + _SHORTEST_CUE_MS)
        name = _INVISIBLE.sub(" ", segment["name"]).strip() or "-"
        escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        yield f"\n{_stamp(start_ms)} --> {_stamp(end_ms)}\n{escaped} {segment['confidence']:.1f}%\n"


def to_csv(segments: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write segments as CSV, one line for each; names as neither a terminal nor a spreadsheet obeys them."""
    yield csv_line(_COLUMNS)
    for segment in segments:
        told = dict(segment) | {"parents": "; ".join(segment["parents"])}
        yield csv_line([told[name] for name in _COLUMNS])


def _stamp(at_ms: int) -> str:
    seconds, milliseconds = divmod(at_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
