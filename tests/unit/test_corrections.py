"""Corrections and manifests as pure functions: which correction counts, and every rule of Custom Labels."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_vision.core import manifests
from batch_vision.core.corrections import (
    Box,
    Correction,
    Verdict,
    box_line,
    box_within,
    counting,
    judged_labels,
    read_line,
)
from batch_vision.core.manifests import Example, Kind, is_test, left_out_because, make_manifest, problems

AT = "2026-11-25T22:00:0{}.000Z"
HOSTILE = "a\n\u2028\x1b[31m\u202e<script>+%20.jpg"


def said(verdict: str, by: str = "ann", second: int = 0, **more: Any) -> Correction:
    line = {
        "schema_version": 1,
        "key": HOSTILE,
        "version_id": "v1",
        "etag": "e1",
        "result": f"processed/{HOSTILE}",
        "model": "arn",
        "predicted": ["crack"],
        "verdict": verdict,
        "labels": ["crack"],
        "boxes": None,
        "by": by,
        "at": AT.format(second),
    } | more
    return read_line(line)


def test_a_line_is_read_as_it_was_written() -> None:
    box = {"name": "crack", "left": 0.5, "top": 0.5, "width": 0.5, "height": 0.1}
    correction = said("wrong", boxes=[box], fingerprint="f")
    assert correction.boxes == (Box("crack", 0.5, 0.5, 0.5, 0.1),)
    assert read_line(json.loads(json.dumps(correction.to_line()))) == correction


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema_version": 2}, "schema_version is 2"),
        ({"key": ""}, "key is ''"),
        ({"verdict": "maybe"}, "verdict is 'maybe'"),
        ({"labels": "crack"}, "labels is 'crack'"),
        ({"labels": ["x" * 257]}, "labels holds"),
        ({"version_id": None, "etag": None}, "neither version_id nor etag"),
        ({"at": "yesterday"}, "yesterday"),
        ({"labels": ["\ud800"]}, "labels holds"),
        ({"by": "\udfff"}, "and no text"),
        ({"boxes": [{"name": "a", "left": 0.1, "top": 0, "width": 0.2, "height": 1}]}, "of 'a', which labels lacks"),
        ({"boxes": [{"name": "a", "left": 0.9, "top": 0, "width": 0.2, "height": 1}]}, "outside of the image"),
        ({"boxes": [{"name": "a", "left": float("nan"), "top": 0, "width": 0.2, "height": 1}]}, "no ratios"),
    ],
)
def test_what_is_no_correction_is_refused_by_name(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_line(said("right").to_line() | change)


def test_the_last_of_each_person_counts_and_of_these_the_last() -> None:
    def verdict(*corrections: Correction) -> str | None:
        found = counting(corrections)
        return str(found[HOSTILE, "e1"].verdict) if found else None

    assert verdict(said("right", second=1), said("wrong", second=2)) == "wrong"
    assert verdict(said("wrong", second=2), said("right", second=1)) == "wrong"  # whatever object comes first
    assert verdict(said("right", second=1), said("unsure", second=1)) == "unsure"  # the same time: the later line
    assert verdict(said("right", "ann", 2), said("wrong", "bob", 1)) == "right"
    # Of a person who withdraws nothing is left, not even what she said before; what others said is.
    assert verdict(said("right", "ann", 1), said("wrong", "bob", 0), said("withdrawn", "ann", 2)) == "wrong"
    assert verdict(said("right"), said("withdrawn", second=1)) is None
    # The same bytes uploaded again are one upload; an old line of the catalog knows its version only.
    assert verdict(said("right", second=1), said("wrong", second=2, version_id="v2")) == "wrong"
    assert said("right", etag=None).upload == (HOSTILE, "v1")
    other = said("right", version_id=None, etag="e2")
    assert set(counting([said("right"), other])) == {(HOSTILE, "e1"), (HOSTILE, "e2")}


@given(*[st.floats(-1, 2)] * 2, *[st.floats(0, 2)] * 2)
def test_a_box_of_a_model_is_cut_to_its_image(left: float, top: float, width: float, height: float) -> None:
    box = box_within("crack", {"left": left, "top": top, "width": width, "height": height})
    if box is not None:  # it is one that a correction may have
        assert said("wrong", boxes=[box_line(box)]).boxes == (box,)


def test_what_of_a_model_s_box_is_left() -> None:
    sides = {"left": -0.25, "top": 0.5, "width": 0.5, "height": 0.75}
    assert box_within("crack", sides) == Box("crack", 0.0, 0.5, 0.25, 0.5)
    assert box_within("crack", sides | {"left": -0.5}) is None


def one(name: str, confidence: float, kind: str | None = "custom_label") -> dict[str, Any]:
    return {"name": name, "kind": kind, "confidence": confidence}


def test_the_labels_that_are_judged() -> None:
    two = [one("crack", 90), one("stain", 20), one("#ff0000", 80, "color"), one("EXIT", 99, "text")]
    assert judged_labels(two, None, 50) == ("crack",)
    assert judged_labels(two, None, 20) == ("crack", "stain")
    assert judged_labels(two, None, 95) == ("crack",)  # at least the first one
    assert judged_labels([one("red", 80, "color")], None, 50) == ()
    assert judged_labels([one("a", 60, None), one("a", 55, None)], None, 50) == ("a",)
    assert judged_labels([], {"is_anomalous": False}, 50) == ("normal",)
    assert judged_labels([one("scratch", 30, "anomaly")], {"is_anomalous": True}, 50) == ("anomalous",)


# Manifests.


def example(key: str, *labels: str, etag: str = "", boxes: tuple[Box, ...] = (), bucket: str = "final") -> Example:
    return Example(bucket, key, etag or key, labels, AT.format(0), boxes, 640, 480)


def test_a_line_of_a_classification() -> None:
    (line,) = make_manifest([example(HOSTILE, "crack", "stain")], Kind.LABELS).lines
    assert line.isascii()
    assert len(line.splitlines()) == 1
    about = {
        "confidence": 1,
        "type": "groundtruth/image-classification",
        "human-annotated": "yes",
        "creation-date": "2026-11-25T22:00:00.000",
        "job-name": "batch-vision",
    }
    assert json.loads(line) == {
        "source-ref": f"s3://final/{HOSTILE}",
        "batch-vision-0": 1,
        "batch-vision-0-metadata": {"class-name": "crack"} | about,
        "batch-vision-1": 1,
        "batch-vision-1-metadata": {"class-name": "stain"} | about,
    }


def test_a_line_of_a_detection() -> None:
    boxes = (Box("stain", 0.25, 0.5, 0.5, 0.25), Box("crack", 0, 0, 0.0001, 1), Box("stain", 0.9999, 0.9, 0.0001, 0.1))
    (line,) = make_manifest([example("k", boxes=boxes)], Kind.BOXES).lines
    assert json.loads(line) == {
        "source-ref": "s3://final/k",
        "bounding-box": {
            "image_size": [{"width": 640, "height": 480, "depth": 3}],
            "annotations": [
                {"class_id": 0, "left": 160, "top": 240, "width": 320, "height": 120},
                {"class_id": 1, "left": 0, "top": 0, "width": 1, "height": 480},
                {"class_id": 0, "left": 639, "top": 432, "width": 1, "height": 48},
            ],
        },
        "bounding-box-metadata": {
            "objects": [{"confidence": 1}] * 3,
            "class-map": {"0": "stain", "1": "crack"},
            "type": "groundtruth/object-detection",
            "human-annotated": "yes",
            "creation-date": "2026-11-25T22:00:00.000",
            "job-name": "batch-vision",
        },
    }


RATIOS = st.floats(0, 1)


@given(RATIOS, RATIOS, st.floats(1e-9, 1), st.floats(1e-9, 1), st.integers(1, 5000), st.integers(1, 5000))
def test_a_box_is_within_its_image_and_never_empty(
    left: float, top: float, width: float, height: float, width_px: int, height_px: int
) -> None:
    shown = Example("b", "k", "e", (), AT.format(0), (Box("a", left, top, width, height),), width_px, height_px)
    (box,) = json.loads(make_manifest([shown], Kind.BOXES).lines[0])["bounding-box"]["annotations"]
    assert 0 <= box["left"] < box["left"] + box["width"] <= width_px
    assert 0 <= box["top"] < box["top"] + box["height"] <= height_px


def test_the_split_goes_by_the_bytes_alone() -> None:
    tests = [f"etag-{number}" for number in range(10_000) if is_test(f"etag-{number}", 20)]
    assert 1900 < len(tests) < 2100
    assert {etag for etag in tests if is_test(etag, 30)} == {
        *tests
    }  # a larger share takes no image out of the test set
    assert not any(is_test(etag, 0) for etag in tests)


def test_what_an_image_must_have() -> None:
    assert left_out_because(example("k", "crack"), Kind.LABELS) is None
    assert left_out_because(example("k"), Kind.LABELS) == "without a label"
    assert left_out_because(example("k", "crack"), Kind.BOXES) == "without a box"
    box = Box("a", 0, 0, 1, 1)
    assert left_out_because(example("k", boxes=(box,) * 50), Kind.BOXES) is None
    assert left_out_because(example("k", boxes=(box,) * 51), Kind.BOXES) == "with 51 boxes; 50 at most are taken"


def told(train: list[Example], test: list[Example] | None = None, kind: Kind = Kind.LABELS) -> str:
    made = [None if examples is None else make_manifest(examples, kind) for examples in (train, test)]
    assert made[0]
    buckets = (one.bucket for one in train + (test or []))
    return " ".join(problem for problem, remedy in problems(made[0], made[1], kind, buckets) if remedy)


def test_the_rules_for_the_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = example("1", "a"), example("2", "b"), example("3", "c")
    assert told([a, b]) == ""
    assert told([a, b], [example("4", "a")]) == ""
    assert "The test set has 1 of the 3 labels" in told([a, b, c], [example("4", "a")])
    assert "It lacks b, c" in told([a, b, c], [example("4", "a"), example("5", "z")])
    assert "No image is in the test set" in told([a, b], [])
    assert "No image is in the training set" in told([], [a])
    assert "has one label (a); Custom Labels needs 2" in told([a])
    assert told([example("1", boxes=(Box("a", 0, 0, 1, 1),))], kind=Kind.BOXES) == ""
    assert "several buckets (final, other)" in told([a, example("2", "b", bucket="other")])
    many = [example(str(number), f"label {number}") for number in range(251)]
    assert "has 251 labels; Custom Labels takes 250" in told(many)
    assert told(many[:250]) == ""
    monkeypatch.setattr(manifests, "MAX_LINES", 1)
    monkeypatch.setattr(manifests, "MAX_BYTES", 100)
    assert "has 2 images; Custom Labels takes 1" in told([a, b])
    assert "bytes; Custom Labels takes 100" in told([a, b])


def test_only_a_verdict_is_a_verdict() -> None:
    assert [*Verdict] == ["right", "wrong", "unsure", "withdrawn"]
