"""The fault matrix, its tests and its document say the same."""

from __future__ import annotations

import re

from local.config import REPOSITORY
from tests import fault_matrix


def test_every_fault_has_a_test() -> None:
    marked = fault_matrix.marked_tests()
    assert [row for row in fault_matrix.required_rows() if row not in marked] == []


def test_every_mark_names_a_fault() -> None:
    assert set(fault_matrix.marked_tests()) - set(fault_matrix.required_rows()) == set()


def test_the_document_is_what_the_tests_say() -> None:
    said = fault_matrix.DOCUMENT.read_text()
    assert said == fault_matrix.document(), "run: build/venvs/dev/bin/python -m tests.fault_matrix"


def test_the_two_test_commands_leave_out_no_test_and_ci_runs_both() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    recipes = dict(re.findall(r"^(local-test|fault-test):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE))
    chosen = {
        target: re.findall(r'\$\(call pytest,\d\) -m ("[^"]+"|\S+)', recipe) for target, recipe in recipes.items()
    }
    assert chosen == {"local-test": ['"not matrix"'], "fault-test": ["matrix"]}
    called = re.findall(r"^make (\S+)$", (REPOSITORY / ".ci" / "run").read_text(), re.MULTILINE)
    assert called == ["local-test", "fault-test"]
