"""`batch-vision search`: what it prints in each form, what it compares, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch_vision.core.corrections import Correction, Verdict, counting
from batch_vision.operator.corrections import write_corrections
from batch_vision.operator.search.comparing import Flip, Score, compare
from tests.unit.test_search_store import HOSTILE, A, B, dropped, said
from tests.unit.test_tool_report import encoded, place
from tests.unit.test_tool_report import label as predicted
from tests.unit.tool_stack import Deployed

MORNING = "2026-11-20T08:30:00.000Z"
LATER = "2026-11-20T09:00:00.000Z"


@pytest.fixture
def filled(deployed: Deployed) -> Deployed:
    anomaly = {"is_anomalous": True, "confidence": 88.0}
    deployed.catalog(
        MORNING,
        dropped("line 1/a.jpg", finished="08:01", predictions=[said("crack", 95), said("stain", 40)]),
        dropped(HOSTILE, finished="08:02", predictions=[said("stain", 70.5), said("=1+1", 30)], model=B),
        dropped("c.jpg", finished="08:03", status="rejected", predictions=[], error_type="InvalidImageError"),
        dropped("=cmd|' /C calc'!A0", finished="08:04", predictions=[], anomaly=anomaly),
    )
    return deployed


def test_every_form_of_the_answer(filled: Deployed) -> None:
    result = filled.call("search")
    assert result.exit_code == 0, result.output
    rows = result.stdout.split("\n")
    assert [row[:31] for row in rows[:4]] == [f"2026-11-20 08:0{minute}:00Z  {status:<9}" for minute, status in (
        (4, "processed"), (3, "rejected"), (2, "processed"), (1, "processed"))]  # fmt: skip
    assert "anomalous 88.0%" in rows[0]
    assert "InvalidImageError" in rows[1]
    assert "stain 70.5%, =1+1 30.0%" in rows[2]
    assert rows[2].endswith("line 1/\\u2028\\x1b[31m\\n<script>\\u202e%+.jpg")
    assert "4 of 4 lines, newest first" in result.stderr

    options = ("search", "--label", "crack", "--label", "stain", "--order", "least-confident")
    found = filled.json(*options, "--limit", "1")
    assert (found["found"], [line["key"] for line in found["lines"]]) == (2, [HOSTILE])
    assert found["lines"][0]["predictions"][0] == said("stain", 70.5)
    assert "id" not in found["lines"][0]

    text = filled.call("search", "--csv").stdout
    table = list(csv.DictReader(io.StringIO(text)))
    assert [row["key"][:5] for row in table] == ["'=cmd", "c.jpg", "line ", "line "]
    assert (table[2]["labels"], table[2]["model"], table[3]["confidence"]) == ("stain 70.5; =1+1 30", B, "95.0")
    assert not set("\x1b\u2028\u202e") & set(text)

    assert filled.json("search", "--facets", "--status", "processed")["facets"]["label"] == {
        "stain": 2, "crack": 1, "=1+1": 1}  # fmt: skip
    assert "           2  stain" in filled.call("search", "--facets").stdout
    assert "label,'=1+1,1" in filled.call("search", "--facets", "--csv").stdout.split("\n")


def test_conditions_are_those_of_the_options(filled: Deployed) -> None:
    def keys(*words: str) -> list[str]:
        return [line["key"][:6] for line in filled.json("search", *words)["lines"]]

    both = ("--label", "crack", "--label", "stain")
    assert keys(*both, "--all") == ["line 1"]
    assert keys(*both, "--not-label", "crack", "--kind", "custom_label") == ["line 1"]
    assert keys("--min-confidence", "88", "--max-confidence", "90", "--anomalous") == ["=cmd|'"]
    assert keys("--model", "del/b", "--prefix", "line 1/\u2028") == ["line 1"]
    assert keys("--since", "2026-11-20T08:03", "--until", "2026-11-20T08:03", "--status", "rejected") == ["c.jpg"]
    filled.catalog("2026-11-20T08:40:00.000Z", dropped("c.jpg", "08:20", "08:30"))
    assert len(keys()) == 4
    assert keys("--history", "--order", "oldest")[2:] == ["c.jpg", "=cmd|'", "c.jpg"]


REFUSED = {
    "--min-confidence 9 --max-confidence 8": "Exchange them",
    "--status deleted": "Add --history",
    "--since 1h --until 2h": "is after --until",
    "--csv --json": "Both --csv and --json",
    "--facets --report x.html": "Both --report and --facets",
    "--compare a b --csv": "--compare has no CSV",
    "--compare a b --label crack": "Leave out the conditions",
    "--compare a b --order oldest": "Leave out the conditions",
    "--report no-folder/x.html": "there is no folder no-folder",
    "--model model/c": "--model 'model/c' matches no model. Give one of: model/a, model/b.",
    "--model model": "--model 'model' matches several models.",
    "--compare /a model/a": "names one model twice",
}


def test_what_cannot_be_asked(filled: Deployed) -> None:
    for words, text in REFUSED.items():
        result = filled.call("search", *words.split())
        assert (result.exit_code, text in result.stderr) == (2, True), (words, result.stderr)


def test_a_page_of_what_was_found(deployed: Deployed, tmp_path: Path) -> None:
    for number, confidence in enumerate((60.0, 95.0, 80.0)):
        place(deployed, f"{number}.png", encoded((8, 8)), predictions=[predicted("crack", confidence)])
    place(deployed, "bad", b"", status="rejected", error={"type": "BadError", "message": "no image"})
    out = tmp_path / "found.html"
    words = ("search", "--label", "crack", "--order", "least-confident", "--limit", "2", "--report", str(out))
    result = deployed.call(*words)
    assert result.exit_code == 0, result.output
    page = out.read_text()
    assert page.index(">0.png</h3>") < page.index(">2.png</h3>")
    assert ">1.png</h3>" not in page
    assert "any of crack; least confident first" in page
    assert "2 of 3 images are shown: the first ones in the order of the search" in page
    out.write_text("mine")
    assert "--report is" in deployed.call(*words).stderr


# Two models side by side.


def judged(key: str, version: str, verdict: str, *labels: str) -> Correction:
    return Correction(key, version, "e-08:00", f"processed/{key}", A, (), Verdict(verdict), labels, None, "me", MORNING)


def test_two_models_side_by_side(deployed: Deployed) -> None:
    crack, stain = [said("crack", 90)], [said("stain", 80), said("dirt", 20)]

    def both(key: str, of_a: list[Any], of_b: list[Any], **more: Any) -> list[dict[str, Any]]:
        return [dropped(key, predictions=of_a), dropped(key, finished="09:00", predictions=of_b, model=B) | more]

    deployed.catalog(
        MORNING,
        *both("same.jpg", crack, crack),
        *both("flip.jpg", crack, stain),
        # The same bytes, uploaded again for the other model; and other bytes.
        *both("again.jpg", stain, crack, version_id="v2", uploaded_at="2026-11-20T08:50:00.000Z"),
        *both("other.jpg", stain, crack, version_id="v2", etag="e2", uploaded_at="2026-11-20T08:50:00.000Z"),
        *both("refused.jpg", crack, [], status="rejected", error_type="BadError"),
        dropped("alone.jpg"),
    )
    write_corrections(
        deployed.s3,
        deployed.outputs["final_bucket_name"],
        [
            judged("flip.jpg", "v-08:00", "wrong", "stain"),
            judged("again.jpg", "v2", "right", "crack", "dirt"),
            judged("same.jpg", "v-08:00", "unsure"),
        ],
    )
    found = deployed.json("search", "--compare", A, B)
    assert (found["compared"], found["flipped"], found["corrected"]) == (4, 3, 2)
    assert {(pair["a"], pair["b"]) for pair in found["pairs"]} == {
        ("crack", "stain"), ("stain", "crack"), ("crack", "(rejected)")}  # fmt: skip
    assert found["labels"] == {
        "crack": {"a": {"right": 0, "missed": 1, "wrong": 1}, "b": {"right": 1, "missed": 0, "wrong": 0}},
        "dirt": {"a": {"right": 0, "missed": 1, "wrong": 0}, "b": {"right": 0, "missed": 1, "wrong": 0}},
        "stain": {"a": {"right": 0, "missed": 1, "wrong": 1}, "b": {"right": 1, "missed": 0, "wrong": 0}},
    }
    assert [flip["labels"] for flip in found["flips"]] == [["crack", "dirt"], ["stain"], None]
    text = deployed.call("search", "--compare", "/a", "/b", "--limit", "1")
    assert "again.jpg  (is crack, dirt)" in text.stdout
    assert "1 of 3 flipped images are shown" in text.stderr


def test_verdicts_are_compared_too() -> None:
    normal, odd = ({"is_anomalous": is_odd, "confidence": 60.0} for is_odd in (False, True))
    lines = [dropped(predictions=[], anomaly=normal), dropped(predictions=[], anomaly=odd, model=B)]
    found = compare([(lines[1], lines)], (A, B), {}, None)
    assert found.to_json()["pairs"] == [{"a": "normal", "b": "anomalous", "images": 1}]
    assert json.dumps(found.to_json())
    judgement = judged("a.jpg", "v-08:00", "right", "anomalous")
    found = compare([(lines[1], lines)], (A, B), {judgement.upload: judgement}, None)
    assert found.scores == {"anomalous": (Score(missed=1), Score(right=1)), "normal": (Score(wrong=1), Score())}


def test_texts_and_faces_are_no_answers() -> None:
    lines = [
        dropped(predictions=[said("AB 12", 99, "text"), said("face", 98, "face"), said(name, 90)], model=model)
        for name, model in (("crack", A), ("stain", B))
    ]
    judgement = judged("a.jpg", "v-08:00", "right", "crack")
    found = compare([(lines[1], lines)], (A, B), {judgement.upload: judgement}, None)
    assert found.flips == [Flip("a.jpg", ("crack", "stain"), (90.0, 90.0), ("crack",))]
    assert found.scores == {"crack": (Score(right=1), Score(missed=1)), "stain": (Score(), Score(wrong=1))}


def test_the_newer_of_two_corrections_is_the_truth() -> None:
    """Of the same bytes, that were uploaded twice."""
    lines = [dropped(version_id="v1"), dropped(version_id="v2", model=B)]
    old, new = judged("a.jpg", "v1", "right", "crack"), replace(judged("a.jpg", "v2", "wrong", "stain"), at=LATER)
    for one, other in ((old, new), (replace(new, version_id="v1"), replace(old, version_id="v2"))):
        found = compare([(lines[1], lines)], (A, B), counting((one, other)), None)
        assert found.scores["stain"] == (Score(missed=1), Score(missed=1))
