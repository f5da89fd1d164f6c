"""Draws the workflow from its definition, as a Mermaid flowchart and a table, into docs/architecture.md."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from local.config import REPOSITORY
from local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFINITION = REPOSITORY / "state_machine.asl.json"
DOCUMENT = REPOSITORY / "docs" / "architecture.md"
BEGIN = "<!-- Drawn from state_machine.asl.json by `python -m local draw-workflow`: do not edit. -->"
END = "<!-- End of what is drawn. -->"

_SHAPES = {"Choice": ('{"', '"}'), "Succeed": ('(["', '"])'), "Fail": ('[["', '"]]'), "Wait": ('{{"', '"}}')}
_COMPARISONS = {
    "Equals": "=",
    "LessThan": "<",
    "LessThanEquals": "≤",
    "GreaterThan": ">",
    "GreaterThanEquals": "≥",
}
_TYPED = re.compile(r"(?:Numeric|String|Timestamp|Boolean)(.*?)(?:Path)?")


def draw(definition: dict[str, Any]) -> str:
    """Return the section: the flowchart, and what each state says of itself."""
    lines = ["```mermaid", "flowchart TD", *_states(definition), "```", "", "| state | is | |", "| --- | --- | --- |"]
    lines += [
        f"| {name} | {_does(state)} | {state['Comment']} |" for name, state in _all(definition) if "Comment" in state
    ]
    return "\n".join(lines)


def put(document: str, section: str) -> str:
    """Put the section between its marks in the document.

    Raises
    ------
    LocalError
        The marks are not there.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LocalError(f"{DOCUMENT.name} lacks the lines {BEGIN!r} and {END!r}. Put them where the workflow belongs.")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def draw_into_document() -> None:
    """Draw the workflow of today."""
    section = draw(json.loads(DEFINITION.read_text()))
    DOCUMENT.write_text(put(DOCUMENT.read_text(), section))


def _all(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        for branch in state.get("Branches", []):
            yield from _all(branch)


def _states(machine: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    for name, state in machine["States"].items():
        if branches := state.get("Branches"):
            yield f'{indent}subgraph {name}["{name}"]'
            for branch in branches:
                yield from _states(branch, f"{indent}  ")
            yield f"{indent}end"
        else:
            left, right = _SHAPES.get(state["Type"], ('["', '"]'))
            yield f"{indent}{name}{left}{name}{right}"
        for target, label, arrow in _arrows(state):
            yield f"{indent}{name} {arrow}{f'|"{label}"|' if label else ''} {target}"


def _arrows(state: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    if "Next" in state:
        yield state["Next"], "", "-->"
    for choice in state.get("Choices", []):
        yield choice["Next"], _escaped(condition(choice)), "-->"
    if "Default" in state:
        yield state["Default"], "otherwise", "-->"
    for catch in state.get("Catch", []):
        errors = ["any error" if name == "States.ALL" else name for name in catch["ErrorEquals"]]
        yield catch["Next"], _escaped(", ".join(errors)), "-.->"


def condition(rule: dict[str, Any]) -> str:
    """Write the condition of a choice for people."""
    for key, word in (("And", " and "), ("Or", " or ")):
        if key in rule:
            return word.join(condition(part) for part in rule[key])
    if "Not" in rule:
        return f"not ({condition(rule['Not'])})"
    variable = _short(rule["Variable"])
    ((key, value),) = ((key, value) for key, value in rule.items() if key not in ("Variable", "Next", "Comment"))
    if key.startswith("Is"):
        words = re.sub("([A-Z])", r" \1", key.removeprefix("Is")).strip().lower()
        return f"{variable} {'is' if value else 'is not'} {words}"
    typed = _TYPED.fullmatch(key)
    if typed is None or typed[1] not in _COMPARISONS:
        raise LocalError(f"{DEFINITION.name} compares with {key}, which the drawing does not know: add it here.")
    shown = _short(value) if key.endswith("Path") else value if isinstance(value, str) else json.dumps(value)
    return f"{variable} {_COMPARISONS[typed[1]]} {shown}"


def _short(path: str) -> str:
    return path.removeprefix("$.")


def _escaped(text: str) -> str:
    text = re.sub(r"\$\{(.*?)\}", r"\1", text)
    return text.replace("&", "#amp;").replace("<", "#lt;").replace(">", "#gt;").replace('"', "#quot;")


def _does(state: dict[str, Any]) -> str:
    if state["Type"] != "Task":
        return str(state["Type"]).lower()
    resource = str(state["Resource"])
    if resource.startswith("${"):
        return f"function `{resource[2:-1].removesuffix('_function_arn')}`"
    return f"`{resource.partition('aws-sdk:')[2] or resource}`"
