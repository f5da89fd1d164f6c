"""docs/search.md: the tables of DuckDB and Athena have the columns that the lines of the catalog have."""

from __future__ import annotations

import re
from typing import Any

from batch_vision.core.catalog import line_of, tombstone
from batch_vision.core.index import SEGMENTS, Header
from benchmarks import duck
from local.config import REPOSITORY
from tests.unit.tool_stack import IN_PLACE_LINE, LINE

TEXT = (REPOSITORY / "docs" / "search.md").read_text()
# What a value of a line is called there.
ATHENA = {str: ("string",), int: ("int", "bigint"), float: ("double",), bool: ("boolean",)}
DUCKDB = {str: ("VARCHAR",), int: ("INTEGER", "BIGINT"), float: ("DOUBLE",), bool: ("BOOLEAN",)}

ANOMALY = {"is_anomalous": True, "confidence": 97.5}
RESULT: dict[str, Any] = {
    "analyzed_at": "2026-11-20T08:00:00.000Z", "status": "processed", "anomaly": ANOMALY, "width": 1, "height": 1,
    "source": {"key": "a", "version_id": "v", "etag": "e", "uploaded_at": "2026-11-20T07:00:00.000Z", "size_bytes": 5},
    "error": {"type": "BadError"}, "model": {"backend": "b", "id": "m"},
    "predictions": [{"name": "crack", "kind": "label", "confidence": 97.5, "bounding_box": None}],
}  # fmt: skip


def whole_line() -> dict[str, Any]:
    """All that a line may have, of either kind of bucket, of an image or a video."""
    places = dict.fromkeys(("image_key", "result_key", "recorded_at", "fingerprint", "media"), "x")
    return line_of(RESULT, attempts=1, throttles=0, duration_ms=9) | places | {"duration_seconds": 4.5}


def test_a_whole_line_has_all_that_lines_have() -> None:
    of_video = {"media", "duration_seconds"}
    assert set(whole_line()) == {*LINE, *IN_PLACE_LINE, *tombstone("a", "t"), "finished_at", "recorded_at"} | of_video


def test_athena() -> None:
    (table,) = re.findall(r"CREATE EXTERNAL TABLE \w+ \(\n(.*?)\n\)\n", TEXT, re.DOTALL)
    columns = dict(re.findall(r"^  `(\w+)` (\S+?),?$", table, re.MULTILINE))
    assert columns.keys() == whole_line().keys()
    for name, value in whole_line().items():
        match columns[name]:
            case str(told) if told.startswith("array<struct<"):
                assert struct(told.removeprefix("array<struct<").removesuffix(">>"), ":", ATHENA, value[0])
            case str(told) if told.startswith("struct<"):
                assert struct(told.removeprefix("struct<").removesuffix(">"), ":", ATHENA, value)
            case told:
                assert told in ATHENA[type(value)], name
    # The folder of a day, as the segments have it; a header is no line.
    assert SEGMENTS == "index/dt="
    assert "'s3://FINAL_BUCKET/index/dt=${dt}/'" in TEXT
    assert "schema_version" not in Header("a", "b", 1).as_json()


def test_duckdb() -> None:
    (told,) = re.findall(r"columns = \{\n(.*?)\n  \}\)", TEXT, re.DOTALL)
    columns = dict(re.findall(r"(\w+): '([^']+)'", told))
    assert columns.keys() == whole_line().keys()
    for name, value in whole_line().items():
        match columns[name]:
            case str(column) if column.startswith("STRUCT("):
                inner = value[0] if isinstance(value, list) else value
                assert struct(column.removeprefix("STRUCT(").removesuffix("[]").removesuffix(")"), " ", DUCKDB, inner)
                assert column.endswith("[]") == isinstance(value, list)
            case column:
                assert column in DUCKDB[type(value)], name


def test_the_benchmark_asks_what_the_manual_shows() -> None:
    views, wanted = duck.statements()
    assert [views.count(f"CREATE VIEW {name} AS") for name in ("lines", "current")] == [1, 1]
    assert "SEGMENTS*" in re.sub(duck.PLACE, "read_json('SEGMENTS*'", views)
    assert ("FROM current" in wanted, "LIMIT 200" in wanted) == (True, True)


def struct(told: str, between: str, types: dict[type, tuple[str, ...]], value: dict[str, Any]) -> bool:
    columns = dict(re.split(between, column.strip()) for column in told.split(","))
    return columns.keys() == value.keys() and all(columns[name] in types[type(value[name])] for name in value)
