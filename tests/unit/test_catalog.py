"""What every reader of the catalog gets, whatever version of the code wrote it."""

from __future__ import annotations

from typing import Any

from batch_vision.backends.contracts import Kind
from batch_vision.core.catalog import LINE_VERSION, best, identity, order, ranked, tombstone, upgraded

OLD: dict[str, Any] = {
    "finished_at": "2026-11-20T08:00:00.000Z",
    "key": "a.jpg",
    "version_id": "v1",
    "size_bytes": 6,
    "status": "processed",
    "error_type": None,
    "image_key": "processed/a.jpg",
    "backend": "fake",
    "prediction": {"name": "crack", "confidence": 90.0},
    "anomaly": None,
    "attempts": 1,
    "duration_ms": 5,
}
NEW: dict[str, Any] = upgraded(OLD) | {"model": "m", "uploaded_at": "2026-11-20T07:00:00.000Z"}


def test_a_color_is_no_best_prediction_where_there_is_another_one() -> None:
    color = {"name": "tomato", "kind": Kind.COLOR, "confidence": 99.0}
    label = {"name": "car", "kind": Kind.LABEL, "confidence": 60.0}
    surer = label | {"name": "road", "confidence": 61.0}
    assert ranked([color, label, surer]) == [surer, label, color]
    assert best({"predictions": ranked([color])}) == color
    assert best({"predictions": []}) is None
    assert best(tombstone("a.jpg", "2026-11-20T08:00:00.000Z")) is None


def test_a_line_of_version_1_is_read_as_one_of_version_2() -> None:
    line = upgraded(OLD)
    crack = {"name": "crack", "kind": None, "confidence": 90.0}
    unknown = dict.fromkeys(("etag", "uploaded_at", "width", "height", "model"))
    kept = {name: value for name, value in OLD.items() if name != "prediction"}
    assert line == kept | unknown | {"schema_version": LINE_VERSION, "predictions": [crack], "throttles": 0}
    assert upgraded(line) is line
    assert upgraded(OLD | {"prediction": None})["predictions"] == []
    recorded_at = "2026-11-20T08:00:00.000Z"
    assert upgraded({"recorded_at": recorded_at, "key": "a", "status": "deleted"}) == tombstone("a", recorded_at)


def test_which_line_of_a_key_is_current() -> None:
    newest = NEW | {"uploaded_at": "2026-11-20T07:30:00.000Z"}
    late = NEW | {"finished_at": "2026-11-20T09:00:00.000Z"}  # an older upload that was analyzed after the newer one
    assert max([upgraded(OLD), newest, late], key=order) == newest
    stays = NEW | {"recorded_at": "2026-11-20T08:00:00.000Z", "fingerprint": "f"}
    gone = tombstone("a.jpg", "2026-11-20T08:00:01.000Z")
    assert max([stays | {"uploaded_at": "2026-11-21T08:00:00.000Z"}, gone], key=order) == gone


def test_which_lines_tell_the_same() -> None:
    assert identity(NEW) == identity(NEW | {"finished_at": "2026-11-20T09:00:00.000Z", "attempts": 0})
    assert len({identity(NEW), identity(NEW | {"model": "n"}), identity(NEW | {"version_id": "v2"})}) == 3
    stays = NEW | {"recorded_at": "2026-11-20T08:00:00.000Z", "fingerprint": "f"}
    others = [stays | {name: "other"} for name in ("recorded_at", "fingerprint", "finished_at", "status")]
    assert len({identity(stays), *map(identity, others), identity(tombstone("a.jpg", stays["recorded_at"]))}) == 6
