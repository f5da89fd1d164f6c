"""The drawing of the workflow: it is of today's definition, and it holds every state and every arrow."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from local import workflow_diagram
from local.errors import LocalError
from local.workflow_diagram import BEGIN, DEFINITION, DOCUMENT, END, condition, draw, put
from tests.unit.test_workflow import followers, states

WORKFLOW = json.loads(DEFINITION.read_text())


def test_the_document_shows_the_workflow_of_today() -> None:
    document = DOCUMENT.read_text()
    assert put(document, draw(WORKFLOW)) == document, "draw it again: python -m local draw-workflow"


def test_a_change_of_the_workflow_changes_the_drawing() -> None:
    changed = json.loads(DEFINITION.read_text())
    changed["States"]["Close"]["Next"] = "SummarizeRun"
    document = DOCUMENT.read_text()
    assert put(document, draw(changed)) != document


def test_every_state_and_every_arrow_is_drawn() -> None:
    drawing = draw(WORKFLOW).partition("```mermaid")[2].partition("```")[0]
    arrows = set(re.findall(r'^ +(\w+) -\.?->(?:\|".*?"\|)? (\w+)$', drawing, re.MULTILINE))
    assert arrows == {(name, follower) for name, state in states(WORKFLOW) for follower in followers(state)}
    for name, _ in states(WORKFLOW):
        assert f'"{name}"' in drawing


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"Variable": "$.a.b", "NumericGreaterThan": 0}, "a.b > 0"),
        ({"Variable": "$.a", "NumericLessThanEqualsPath": "$.b"}, "a ≤ b"),
        ({"Variable": "$.a", "StringEquals": "x"}, "a = x"),
        ({"Variable": "$.a", "BooleanEquals": True}, "a = true"),
        ({"Variable": "$.a", "IsNull": False}, "a is not null"),
        ({"Not": {"Variable": "$.a", "IsPresent": True}}, "not (a is present)"),
        ({"Or": [{"Variable": "$.a", "IsNull": True}, {"Variable": "$.b", "NumericEquals": 1}]}, "a is null or b = 1"),
    ],
)
def test_conditions(rule: dict[str, Any], text: str) -> None:
    assert condition(rule | {"Next": "There"}) == text


def test_a_comparison_that_it_does_not_know_is_named() -> None:
    with pytest.raises(LocalError, match="StringMatches"):
        condition({"Variable": "$.a", "StringMatches": "x*"})


def test_a_document_without_the_place_for_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", BEGIN, END, f"{END}\n{BEGIN}"):
        with pytest.raises(LocalError, match=rf"{workflow_diagram.DOCUMENT.name} lacks the lines"):
            put(text, "x")
