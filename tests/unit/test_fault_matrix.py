"""The fault matrix, its tests and its document say the same."""

from __future__ import annotations

from tests import fault_matrix


def test_every_fault_has_a_test() -> None:
    assert [row for row in fault_matrix.required_rows() if row not in fault_matrix.marked_tests()] == []


def test_every_mark_names_a_fault() -> None:
    assert set(fault_matrix.marked_tests()) - set(fault_matrix.required_rows()) == set()


def test_the_document_is_what_the_tests_say() -> None:
    said = fault_matrix.DOCUMENT.read_text()
    assert said == fault_matrix.document(), "run: build/venvs/dev/bin/python -m tests.fault_matrix"
