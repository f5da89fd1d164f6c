"""Results by what was said of them, and by time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch_vision.aws.catalog import catalog_key
from batch_vision.core.times import to_text, utc_now
from batch_vision.operator import catalog
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.results import read_time
from tests.unit.tool_stack import FINAL, LINE, SUMMARY, Deployed

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


@pytest.fixture
def filled(deployed: Deployed) -> Deployed:
    """Five results of now, one of yesterday, one of last week."""
    hour = timedelta(hours=1)
    crack, stain = LINE["predictions"][0], {"name": "stain", "kind": "custom_label", "confidence": 40.0}
    deployed.catalog(to_text(utc_now() - 200 * hour), {"key": "week.png", "predictions": [crack]})
    deployed.catalog(to_text(utc_now() - 30 * hour), {"key": "day.png", "predictions": [crack]})
    deployed.catalog(to_text(utc_now() - 2 * hour), {"key": "crack.png", "predictions": [crack]})
    deployed.catalog(
        to_text(utc_now()),
        {"key": "stain.png", "predictions": [stain]},
        {"key": "none.png", "predictions": []},
        {"key": "bad.png", "status": "rejected", "error_type": "ImageTooLargeError", "predictions": []},
        {"key": "odd.png", "predictions": [], "anomaly": {"is_anomalous": True, "confidence": 77.0}},
    )
    return deployed


def keys(deployed: Deployed, *words: str) -> list[str]:
    return [line["key"] for line in deployed.json("results", *words)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["crack.png", "stain.png", "none.png", "bad.png", "odd.png"]),
        (["--since", "2d"], ["day.png", "crack.png", "stain.png", "none.png", "bad.png", "odd.png"]),
        (["--since", "2d", "--until", "1h"], ["day.png", "crack.png"]),
        (["--since", "2w", "--label", "crack"], ["week.png", "day.png", "crack.png"]),
        (["--status", "rejected"], ["bad.png"]),
        (["--status", "processed", "--label", "crack"], ["crack.png"]),
        (["--min-confidence", "50"], ["crack.png", "odd.png"]),
        (["--max-confidence", "50"], ["stain.png"]),
        (["--min-confidence", "91.25", "--max-confidence", "91.25"], ["crack.png"]),
        (["--anomalous"], ["odd.png"]),
        (["--normal"], []),
        (["--label", "rust"], []),
    ],
)
def test_filters(filled: Deployed, words: list[str], expected: list[str]) -> None:
    assert keys(filled, *words) == expected


def test_the_past_is_not_listed(filled: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the objects of the span are read, however many there are before and after it."""
    read = []
    stack = filled.stack()
    real = stack.s3.get_object
    monkeypatch.setattr(stack.s3, "get_object", lambda **request: read.append(request["Key"]) or real(**request))
    until = utc_now() - timedelta(hours=1)
    lines = list(catalog.lines_between(stack.s3, FINAL, until - timedelta(hours=2), until))
    assert [line["key"] for line in lines] == ["crack.png"]
    assert len(read) == 1


def test_a_batch_that_was_written_after_the_span_has_images_of_it(deployed: Deployed) -> None:
    finished = utc_now() - timedelta(hours=2)
    deployed.catalog(to_text(finished + timedelta(minutes=5)), {"key": "a.png", "finished_at": to_text(finished)})
    words = ["--since", to_text(finished - timedelta(seconds=1)), "--until", to_text(finished + timedelta(seconds=1))]
    assert keys(deployed, *words) == ["a.png"]


def test_an_image_that_was_analyzed_twice_is_shown_once(deployed: Deployed) -> None:
    for _ in range(2):
        deployed.catalog(to_text(utc_now()), {"key": "a.png"})
    assert keys(deployed) == ["a.png"]


def test_a_key_that_looks_like_the_end_of_a_line(deployed: Deployed) -> None:
    line = LINE | {"finished_at": to_text(utc_now()), "key": "a\u2028b\x85c.png"}
    content = json.dumps(line, ensure_ascii=False).encode()  # as the analyzing function writes it
    deployed.put(catalog_key(utc_now(), "b"), content, FINAL)
    assert keys(deployed) == ["a\u2028b\x85c.png"]


def test_the_list_for_people(filled: Deployed) -> None:
    result = filled.call("results", "--since", "3h")
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert [part for part in lines[0].split() if part][2:] == ["processed", "crack", "91.2%", "crack.png"]
    assert "ImageTooLargeError" in lines[3]
    assert "anomalous" in lines[4]
    assert "5 results finished from" in result.stderr


def test_the_results_of_a_run(deployed: Deployed) -> None:
    deployed.catalog("2026-11-20T07:59:00.000Z", {"key": "before.png"})
    deployed.catalog("2026-11-20T08:10:00.000Z", {"key": "in.png"})
    deployed.catalog("2026-11-20T08:31:00.000Z", {"key": "after.png"})
    deployed.put("runs/r.json", json.dumps(SUMMARY).encode(), FINAL)
    assert keys(deployed, "--run", "r") == ["in.png"]
    result = deployed.call("results", "--run", "never")
    assert (result.exit_code, "--run is 'never'" in result.stderr) == (2, True)


def place(deployed: Deployed, key: str, version_id: str = "v1", **more: Any) -> None:
    deployed.put(f"processed/{key}", b"picture", FINAL)
    deployed.put_result(
        {"image_key": f"processed/{key}", "source": {"version_id": version_id}, "mask_key": None} | more
    )
    deployed.catalog(to_text(utc_now()), {"key": key, "image_key": f"processed/{key}"})


def test_download(deployed: Deployed, tmp_path: Path) -> None:
    place(deployed, "line 1/é.png", mask_key="processed/line 1/é.png.mask.png")
    deployed.put("processed/line 1/é.png.mask.png", b"mask", FINAL)
    place(deployed, "newer.png", version_id="v2")
    place(deployed, "../../out.png")
    deployed.catalog(to_text(utc_now()), {"key": "gone.png", "image_key": "processed/gone.png"})
    out = tmp_path / "out"
    result = deployed.call("results", "--download", str(out))
    assert result.exit_code == 0, result.output
    assert "2 images with their results" in result.stdout
    assert "2 are no longer in" in result.stdout
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    expected = {f"processed/line 1/é.png{suffix}" for suffix in ("", ".json", ".mask.png")}
    assert found == expected | {f"processed/%2E%2E/%2E%2E/out.png{suffix}" for suffix in ("", ".json")}
    assert (out / "processed/line 1/é.png").read_bytes() == b"picture"
    answer = deployed.json("results", "--download", str(out))
    assert (answer["images"], answer["replaced"], answer["renamed"]) == (2, ["newer.png", "gone.png"], [])


def test_download_to_a_file_is_refused(deployed: Deployed, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    assert deployed.call("results", "--download", str(tmp_path / "f")).exit_code == 2


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", NOW - timedelta(minutes=90)),
        ("6h", NOW - timedelta(hours=6)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-11-19", NOW.replace(day=19, hour=0)),
        ("2026-11-19T06:30", NOW.replace(day=19, hour=6, minute=30)),
        ("2026-11-19T06:30:00Z", NOW.replace(day=19, hour=6, minute=30)),
        ("2026-11-19T07:30:00+01:00", NOW.replace(day=19, hour=6, minute=30)),
    ],
)
def test_times(text: str, moment: datetime) -> None:
    assert read_time(text, "--since", NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "5", "5 h", "", "99999999999d", "2026-13-01"])
def test_a_wrong_time_is_named(text: str) -> None:
    with pytest.raises(WrongInputError, match=r"--since is .*Give how long ago"):
        read_time(text, "--since", NOW)


def test_a_span_that_ends_before_it_begins(deployed: Deployed) -> None:
    result = deployed.call("results", "--since", "1h", "--until", "2h")
    assert (result.exit_code, "is after --until" in result.stderr) == (2, True)
