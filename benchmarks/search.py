"""What searching the results costs: the store of `batch-vision search`, filled and asked in a fresh process.

Beside it DuckDB is asked the same, of a Parquet file, of the segments of the index, and of the catalog's own objects.

A search is measured as the user waits for it, on a folder of the disk that this machine has. The lines are those of a
pile with few labels: 20 of them, one to three an image, 48 days, seven folders, two models, one upload in a hundred
replaced.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from batch_vision.core.index import LIMITS, Header
from batch_vision.core.times import to_text
from benchmarks.processes import run_for_json
from benchmarks.report import Result
from local.config import BUILD

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (100_000, 1_000_000)
_DAYS = 48
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_LABELS = [
    *("crack", "stain", "scratch", "dent", "rust", "hole", "fold", "burr", "chip", "smear"),
    *("bubble", "warp", "tear", "streak", "pit", "blister", "gouge", "spot", "flake", "normal"),
]
_ARN = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.2026-01-01T00.00.00/{}"
_ROWS = 200
_OBJECT_LINES = 10
_OF_A_FOLDER = 1000
DUCKDB_PYTHON = BUILD / "venvs" / "bench" / "bin" / "python"
_REPETITIONS = 5

MOST_LOAD_RATIO = 4.0
MOST_FILTER_MS = 50.0
MOST_FACETS_MS = 300.0
MOST_MB = 300.0
MOST_GROWTH = 1.5


def write_segments(folder: Path, images: int) -> None:
    """Write the index of a pile."""
    chance = random.Random(images)
    for begin in range(0, images, LIMITS.most_lines):
        number = min(LIMITS.most_lines, images - begin)
        with gzip.open(folder / f"{begin:012}.jsonl.gz", "wt", encoding="utf-8", compresslevel=6) as file:
            file.write(json.dumps(Header("a", "b", number).as_json()) + "\n")
            file.writelines(json.dumps(_line(image, images, chance)) + "\n" for image in range(begin, begin + number))


def _line(image: int, images: int, chance: random.Random) -> dict[str, Any]:
    of_key = chance.randrange(image + 1) if chance.random() < 0.01 else image
    key = f"line-{of_key % 7}/2026-01-01/camera-{of_key % 11}/{of_key:012d}.jpg"
    at = to_text(_BEGIN + timedelta(days=_DAYS * image / images))
    is_rejected = chance.random() < 0.01
    status = "rejected" if is_rejected else "processed"
    names = [] if is_rejected else chance.sample(_LABELS, chance.randint(1, 3))
    confidences = sorted((round(chance.uniform(20, 100), 4) for _ in names), reverse=True)
    return {
        "schema_version": 2,
        "finished_at": at,
        "key": key,
        "version_id": f"{chance.getrandbits(128):032x}",
        "etag": f"{chance.getrandbits(128):032x}",
        "uploaded_at": at,
        "size_bytes": chance.randrange(10**6),
        "width": 640,
        "height": 480,
        "status": status,
        "error_type": "InvalidImageFormatError" if is_rejected else None,
        "image_key": f"{status}/{key}",
        "backend": "rekognition_custom_labels",
        "model": _ARN.format(2 * image // images),
        "predictions": [
            {"name": name, "kind": "custom_label", "confidence": confidence}
            for name, confidence in zip(names, confidences, strict=True)
        ],
        "anomaly": None,
        "attempts": 1,
        "throttles": 0,
        "duration_ms": chance.randrange(2000),
    }


def write_catalog(folder: Path, segments: Path) -> None:
    """Write the lines of an index as the catalog has them: an object for each ten images."""
    number = 0
    for path in sorted(segments.iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            next(file)  # the header
            for lines in batched(file, _OBJECT_LINES, strict=False):
                place = folder / f"{number // _OF_A_FOLDER:03}" / f"{number:07}.jsonl"
                place.parent.mkdir(exist_ok=True, parents=True)
                place.write_text("".join(lines), encoding="utf-8")
                number += 1


class Bucket:
    """A final bucket that has an index and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_object(self, Bucket: str, Key: str, **_: Any) -> dict[str, Any]:
        if Key.endswith("cursor.json"):
            segments = [(entry["Key"], entry["ETag"]) for entry in self.paginate("index/")[0]["Contents"]]
            cursor = {"index_version": 1, "last_key": "catalog/dt=9", "segments": segments}
            return {"Body": io.BytesIO(json.dumps(cursor).encode()), "ETag": "e"}
        return {"Body": (self._folder / Key.rpartition("/")[2]).open("rb"), "ETag": "e"}

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, Prefix: str, **_: Any) -> list[dict[str, Any]]:
        names = sorted(path.name for path in self._folder.iterdir()) if Prefix.startswith("index/") else []
        return [{"Contents": [{"Key": f"index/dt=2026-01-01/{name}", "ETag": "e"} for name in names]}]


def measure_here(folder: Path) -> None:
    """Fill a store from a folder of segments, ask it, and print what that took."""
    from batch_vision.operator.search.query import Order, Query
    from batch_vision.operator.search.store import Store

    began = time.process_time()
    for path in sorted(folder.iterdir()):
        with gzip.open(path) as file:
            for line in file:
                json.loads(line)
    bare = time.process_time() - began

    stack: Any = SimpleNamespace(name="bench", final_bucket_name="bench", identity="uuid", s3=Bucket(folder))
    began = time.process_time()
    with Store(stack) as store:
        store.refresh()
        load = time.process_time() - began
        crack = Query(any_of=("crack",), min_confidence=80)
        below = Query(any_of=("crack",), prefix="line-3/2026-01-01/camera-5/")
        times = {
            "filter, newest": _milliseconds(lambda: list(store.select(crack, Order.NEWEST, _ROWS))),
            "filter, least confident": _milliseconds(lambda: list(store.select(crack, Order.LEAST_CONFIDENT, _ROWS))),
            "filter below a folder, newest": _milliseconds(lambda: list(store.select(below, Order.NEWEST, _ROWS))),
            "facets of the filter": _milliseconds(lambda: store.facets(crack)),
            "facets of a label": _milliseconds(lambda: store.facets(Query(any_of=("crack",)))),
            "facets from 30% on": _milliseconds(lambda: store.facets(Query(min_confidence=30))),
            "facets since the 11th day": _milliseconds(lambda: store.facets(Query(since=_BEGIN + timedelta(days=10)))),
            "facets of all": _milliseconds(lambda: store.facets(Query())),
        }
        size = sum(path.stat().st_size for path in store.folder.glob("catalog.sqlite*"))
        lines, found = store.count(Query(is_history=True)), store.count(crack)
    began = time.process_time()
    with Store(stack) as store:
        store.refresh()
    again = time.process_time() - began
    # Not ru_maxrss: a process inherits that from the one that started it.
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    found_all = {"bare": bare, "load": load, "again": again, "times": times, "mb": peak * 1024 / 1e6, "lines": lines}
    print(json.dumps(found_all | {"found": found, "size": size}))


def _milliseconds(call: Callable[[], Any]) -> float:
    """Return the CPU time of a call, the least of some."""
    least = float("inf")
    for _ in range(_REPETITIONS):
        began = time.process_time()
        call()
        least = min(least, time.process_time() - began)
    return 1000 * least


def measure(images: int) -> dict[str, Any]:
    """Measure a pile of so many lines in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        segments = Path(name, "segments")
        segments.mkdir()
        write_segments(segments, images)
        found = _call(sys.executable, "benchmarks.search", segments, cache=name)
        shutil.rmtree(Path(name, "batch-vision"))
        write_catalog(Path(name, "catalog"), segments)
        other = _call(DUCKDB_PYTHON, "benchmarks.duck", segments, Path(name, "catalog"), cache=name)
    # Its filter is by confidence too.
    own = {"filter": found["times"]["filter, least confident"], "labels": found["times"]["facets of all"]}
    for of in other.values():
        if (of["filter found"], of["labels found"]) != (min(_ROWS, found["found"]), len(_LABELS)):
            raise RuntimeError(f"DuckDB finds something else: {other}")
    return {
        "lines": images,
        "first load, s": found["load"],
        "gzip and json alone, s": found["bare"],
        "of that": found["load"] / found["bare"],
        **{f"{name}, ms": value for name, value in found["times"].items()},
        **{f"filter: DuckDB on {place} / ours": of["filter"] / own["filter"] for place, of in other.items()},
        "counts by label: DuckDB on Parquet / ours": other["Parquet"]["labels"] / own["labels"],
        "nothing new, ms": 1000 * found["again"],
        "peak memory, MB": found["mb"],
        "on disk, MB": found["size"] / 1e6,
        "found": found["found"],
        "all are there": found["lines"] == images,
    }


def _call(python: str | Path, module: str, *arguments: Path, cache: str) -> Any:
    return run_for_json([python, "-m", module, *map(str, arguments)], os.environ | {"XDG_CACHE_HOME": cache})


def run(quick: bool = False) -> Result:
    """Measure each size."""
    if not DUCKDB_PYTHON.exists():
        raise SystemExit(
            "benchmark: search is measured beside DuckDB; to install it: make build/venvs/bench/.installed"
        )
    rows = [measure(images) for images in ((2_000,) if quick else SIZES)]
    result = Result("Searching all results: the store of batch-vision search", rows)
    largest = rows[-1]
    ratio = max(row["of that"] for row in rows)
    result.target(f"first load at most {MOST_LOAD_RATIO:g} times gzip and json", ratio, is_met=ratio <= MOST_LOAD_RATIO)
    filters = max(value for name, value in largest.items() if name.startswith("filter") and name.endswith("ms"))
    goal = f"a filter with order and {_ROWS} rows in {MOST_FILTER_MS:g} ms"
    result.target(goal, filters, is_met=filters <= MOST_FILTER_MS)
    facets = max(value for name, value in largest.items() if name.startswith("facets"))
    result.target(f"facets in {MOST_FACETS_MS:g} ms", facets, is_met=facets <= MOST_FACETS_MS)
    memory = max(row["peak memory, MB"] for row in rows)
    result.target(f"under {MOST_MB:g} MB of memory", memory, is_met=memory < MOST_MB)
    if len(rows) > 1:
        growth = largest["first load, s"] / rows[0]["first load, s"] / (largest["lines"] / rows[0]["lines"])
        result.target("the load grows as the lines do: times linear", growth, is_met=growth <= MOST_GROWTH)
    result.target(
        "no line is lost", all(row["all are there"] for row in rows), is_met=all(r["all are there"] for r in rows)
    )
    result.notes.append(
        "Time is CPU time, of searches the least of some. The filter is one of 20 labels from 80% on, 2.4% of the"
        " lines; a label alone is a tenth of them. DuckDB has one thread and the statements of docs/search.md. It reads"
        " the current lines from one Parquet file that was made of them, or all lines from the segments, or from the"
        f" catalog's own objects of {_OBJECT_LINES} lines. Counts by label are one of our seven facets."
    )
    return result


if __name__ == "__main__":
    measure_here(Path(sys.argv[1]))
