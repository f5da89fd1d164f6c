"""Segments of a video, and the files that are made of them."""

from __future__ import annotations

import csv
import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_vision.core.segments import GAP_MS, Segments, Sighting, predictions_of, to_csv, to_vtt

BOX = {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4}
HOSTILE = [
    "=HYPERLINK(1)",
    "a\n\n00:00:00.000 --> 00:01:00.000\nforged",
    "a\r\rNOTE x",
    "<script>alert(1)</script> & <b>",
    "\x1b[2J\u2028\u2029\x00\x85",
    '"quoted", with; signs',
    "half \ud83d of a pair",
    "部品",
]


def label(name: str, at_ms: int, confidence: float = 90.0, kind: str = "label") -> Sighting:
    return Sighting(name, kind, (), at_ms, confidence)


def found(*sightings: Sighting, most: int = 100) -> list[dict[str, Any]]:
    segments = Segments(most)
    for sighting in sightings:
        segments.add(sighting)
    return segments.finish()


def test_what_is_seen_again_within_a_second_was_never_away() -> None:
    assert [(one["name"], one["start_seconds"], one["end_seconds"], one["detections"]) for one in found(
        label("dog", 0), label("cat", 0), label("dog", 500), label("dog", 1500), label("dog", 2501), label("cat", 9000)
    )] == [("cat", 0, 0, 1), ("dog", 0, 1.5, 3), ("dog", 2.501, 2.501, 1), ("cat", 9, 9, 1)]  # fmt: skip


def test_a_segment_has_its_highest_confidence_and_the_box_and_parents_of_that() -> None:
    (segment,) = found(
        Sighting("dog", "label", ("pet",), 0, 60.0, {"left": 0.0, "top": 0.0, "width": 1.0, "height": 1.0}),
        Sighting("dog", "label", ("pet", "animal"), 500, 99.5, BOX),
        Sighting("dog", "label", (), 1000, 99.4),
    )
    assert segment == {
        "name": "dog",
        "kind": "label",
        "parents": ["pet", "animal"],
        "start_seconds": 0.0,
        "end_seconds": 1.0,
        "confidence": 99.5,
        "detections": 3,
        "bounding_box": BOX,
    }


def test_the_same_name_of_two_kinds_is_two_things() -> None:
    assert len(found(label("smoking", 0), label("smoking", 0, kind="moderation"))) == 2


def test_peer_failing_a_video_of_five_seconds_or_without_anything_has_no_segments() -> None:
    assert len(found(*(label("dog", at_ms) for at_ms in range(0, 5000, 500)))) == 1
    assert found() == []
    assert list(to_vtt([])) == ["WEBVTT\n"]
    assert list(to_csv([])) == ["name,kind,parents,start_seconds,end_seconds,confidence,detections\n"]


def test_of_too_many_those_with_the_most_detections_are_kept() -> None:
    noise = [label(f"noise {number}", 10_000 * number) for number in range(500)]
    sign = [label("EXIT", 4_000_000 + 500 * number) for number in range(9)]
    segments = Segments(10)
    for sighting in sorted(noise + sign, key=lambda one: one.at_ms):
        segments.add(sighting)
        assert len(segments._open) <= 3
    kept = segments.finish()
    assert len(kept) == 10
    assert "EXIT" in [one["name"] for one in kept]
    assert segments.is_truncated
    assert [one["start_seconds"] for one in kept] == sorted(one["start_seconds"] for one in kept)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_segments_are_the_same_wherever_the_work_was_interrupted(data: st.DataObject) -> None:
    chance = random.Random(data.draw(st.integers(0, 10**6)))
    at_ms, sightings = 0, []
    for _ in range(80):
        at_ms += chance.choice([0, 0, 250, 500, 999, 1000, 1001, 5000])
        sightings.append(label(chance.choice("abc"), at_ms, chance.randrange(100)))
    most = data.draw(st.sampled_from([3, 100]))
    whole, parts = Segments(most), Segments(most)
    for number, sighting in enumerate(sightings):
        whole.add(sighting)
        parts.add(sighting)
        if number % 7 == 0:
            parts = Segments.from_state(json.loads(json.dumps(parts.to_state())), most)
    kept = whole.finish()
    assert parts.finish() == kept
    assert parts.is_truncated == whole.is_truncated
    if not whole.is_truncated:
        assert sum(one["detections"] for one in kept) == len(sightings)
    for name in "abc":
        times = [(one["start_seconds"], one["end_seconds"]) for one in kept if one["name"] == name]
        gaps = [after[0] - before[1] for before, after in pairwise(times)]
        assert all(gap > GAP_MS / 1000 for gap in gaps)


def test_each_name_is_one_prediction_the_best_first() -> None:
    segments = found(
        *(label("dog", at_ms, 80 + at_ms / 1000) for at_ms in (0, 1000, 7000, 8000)),
        label("cat", 9000, 99.0),
        Sighting("ant", "label", ("insect",), 9000, 5.0),
    )
    assert predictions_of(segments) == [
        {"name": "cat", "kind": "label", "confidence": 99.0, "seconds": 0.0, "first_start_seconds": 9.0},
        {"name": "dog", "kind": "label", "confidence": 88.0, "seconds": 2.0, "first_start_seconds": 0.0},
        {
            "name": "ant",
            "kind": "label",
            "confidence": 5.0,
            "parents": ["insect"],
            "seconds": 0.0,
            "first_start_seconds": 9.0,
        },
    ]
    assert [one["name"] for one in predictions_of(segments, most=1)] == ["cat"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_cue_of_one_line(name: str) -> None:
    text = "".join(to_vtt(found(label(name, 3_725_004), label("next", 3_726_000))))
    head, *cues = text.split("\n\n")
    assert head == "WEBVTT"
    assert len(cues) == 2
    time, told, *rest = cues[0].split("\n")
    assert time == "01:02:05.004 --> 01:02:05.504"
    assert rest == []
    assert "-->" not in told
    assert "<" not in told
    assert told.isprintable() or "\ud83d" in told


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_harmless_line_of_csv(name: str) -> None:
    text = "".join(to_csv(found(Sighting(name, "text", ("a", "b"), 0, 90.0))))
    head, row = csv.reader(text.splitlines())
    assert len(text.splitlines()) == 2
    assert not row[0].startswith(("=", "+", "-", "@"))
    assert row[0].isprintable()
    assert row[1:] == ["text", "a; b", "0.0", "0.0", "90.0", "1"]
    assert len(head) == len(row)
