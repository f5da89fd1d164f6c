"""The fault matrix: which faults must be shown, and which tests show them.

`python -m tests.fault_matrix` writes the table into docs/reliability.md.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from pathlib import Path

from local.config import REPOSITORY

TESTS = REPOSITORY / "tests"
ROWS_FILE = TESTS / "fault_matrix.toml"
DOCUMENT = REPOSITORY / "docs" / "reliability.md"
BEGIN = "<!-- Made by `python -m tests.fault_matrix`; a test holds it to the marks of the tests. -->\n"
END = "<!-- The end of what is made. -->\n"


def required_rows() -> dict[str, str]:
    """What must happen at each fault, by `Group: fault`, in the order of the file."""
    groups = tomllib.loads(ROWS_FILE.read_text())
    return {f"{group}: {fault}": then for group, faults in groups.items() for fault, then in faults.items()}


def _marks(function: ast.FunctionDef) -> list[str]:
    calls = [node for decorator in function.decorator_list for node in ast.walk(decorator)]
    return [
        ast.literal_eval(call.args[0])
        for call in calls
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.fault"
    ]


def marked_tests() -> dict[str, list[tuple[Path, str]]]:
    """The tests that are marked with each fault, as file and name."""
    found = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                for row in _marks(node):
                    found[row].append((path.relative_to(REPOSITORY), node.name))
    return dict(found)


def table() -> str:
    """The table, as Markdown."""
    marked = marked_tests()
    lines = ["| fault | what must happen | shown by |", "| --- | --- | --- |"]
    group = ""
    for row, then in required_rows().items():
        of, fault = row.split(": ", 1)
        if of != group:
            group = of
            lines.append(f"| **{group}** | | |")
        tests = "<br>".join(f"[`{name}`](../{path})" for path, name in marked.get(row, []))
        lines.append(f"| {fault} | {then} | {tests} |")
    return "\n".join(lines) + "\n"


def document() -> str:
    """The document with the table as it is now."""
    before, rest = DOCUMENT.read_text().split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    DOCUMENT.write_text(document())
