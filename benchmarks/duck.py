"""The search of the manual in DuckDB, on one core; run by the Python of an environment of its own, with nothing else.

The statements are those of docs/search.md, so what is measured is what the manual shows.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs" / "search.md"
PLACE = r"read_json\('[^']+'"  # of the segments, in the manual
_REPETITIONS = 5
_BY_LABEL = (
    "SELECT said.name, count(DISTINCT key) FROM (SELECT key, unnest(predictions) AS said FROM current) GROUP BY 1"
)


def statements() -> tuple[str, str]:
    """Return what makes the views of the manual, and its filter."""
    blocks = re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return next(block for block in blocks if "read_json" in block), next(block for block in blocks if "LIMIT" in block)


def measure(segments: Path, catalog: Path) -> dict[str, dict[str, float]]:
    """Ask the segments, the objects of a catalog, and one Parquet file.

    Returns
    -------
    dict
        Of each, how many milliseconds of CPU the filter and the counts by label took, and what they found.
    """
    import duckdb  # which nobody needs for the statements

    views, wanted = statements()
    answer = {}
    places = {"the segments": segments / "*.jsonl.gz", "the catalog": catalog / "*" / "*.jsonl"}
    parquet = segments.parent / "current.parquet"
    for name, place in places.items():
        with duckdb.connect(config={"threads": 1}) as database:
            database.execute(re.sub(PLACE, f"read_json('{place}'", views))
            answer[name] = _ask(database, wanted, 1)
            if not parquet.exists():
                database.execute(f"COPY (SELECT * FROM current) TO '{parquet}' (FORMAT parquet)")
    with duckdb.connect(config={"threads": 1}) as database:
        database.execute(f"CREATE VIEW current AS SELECT * FROM '{parquet}'")
        answer["Parquet"] = _ask(database, wanted, _REPETITIONS)
    return answer


def _ask(database: Any, wanted: str, repetitions: int) -> dict[str, float]:
    answer = {}
    for name, sql in (("filter", wanted), ("labels", _BY_LABEL)):
        times = []
        for _ in range(repetitions):
            began = time.process_time()
            rows = database.execute(sql).fetchall()
            times.append(1000 * (time.process_time() - began))
        answer |= {name: min(times), f"{name} found": len(rows)}
    return answer


if __name__ == "__main__":
    print(json.dumps(measure(*map(Path, sys.argv[1:]))))
