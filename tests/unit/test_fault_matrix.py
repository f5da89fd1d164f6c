"""docs/reliability.md, its rows and the tests that show them cannot drift apart."""

from __future__ import annotations

import pytest

from tests import fault_matrix
from tests.fault_matrix import ROWS, required, shown


def test_every_row_is_shown_by_a_test_and_every_mark_names_a_row() -> None:
    assert set(shown()) == required()


def test_the_document_is_what_would_be_written() -> None:
    assert fault_matrix.DOCUMENT.read_text() == fault_matrix.document(), "run: python -m tests.fault_matrix"


def test_a_row_without_a_test_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROWS, "Starting", ROWS["Starting"] | {"an earthquake": "nothing"})
    assert required() - set(shown()) == {"Starting: an earthquake"}
