"""What converting an image takes: the real converter and its child process, in a fresh process for each picture."""

from __future__ import annotations

import io
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.processes import run_for_json
from benchmarks.report import Result

# Of phones and of cameras.
MEGAPIXELS = (12, 24, 48, 100)
DEFAULT_MB = 512
MOST_GROWTH = 1.3

# What a function is given when less is too little: one vCPU is at 1,769 MB, and the last is the most of a new account.
_MEMORIES_MB = (DEFAULT_MB, 1024, 1769, 3008)
_VCPU_MB = 1769
_MOST_SECONDS = 600
_ROUNDS = 2


class _Files:
    """An S3 whose keys are paths."""

    def get_object(self, Key: str, Range: str = "", **_: Any) -> dict[str, Any]:
        from botocore.response import StreamingBody

        path = Path(Key)
        if not Range:
            return {"Body": StreamingBody(path.open("rb"), path.stat().st_size)}
        with path.open("rb") as file:
            content = file.read(int(Range.rpartition("-")[2]) + 1)
        return {"Body": StreamingBody(io.BytesIO(content), len(content))}


def convert(path: Path, memory_mb: int) -> bytes:
    """Convert a picture for Custom Labels, in a function of so much memory; return what the model is asked about.

    Raises
    ------
    PermanentImageError
        It cannot be converted.
    """
    from batch_vision.backends.rekognition_custom_labels import LIMITS, NAME
    from batch_vision.core.errors import PermanentImageError
    from batch_vision.images.converting import Converter
    from batch_vision.images.source import StoredImage

    image = StoredImage(_Files(), "bucket", str(path), "version", path.stat().st_size)  # type: ignore[arg-type]
    prepared = Converter(memory_mb * 1024**2).prepare(image, {NAME: LIMITS}, time.monotonic() + _MOST_SECONDS)
    answer = prepared.images[NAME]
    if isinstance(answer, PermanentImageError):
        raise answer
    return answer.read_bytes()


def measure_here(path: Path, memory_mb: int) -> None:
    """Convert a picture, and print what that took."""
    from batch_vision.core.errors import PermanentImageError

    began = time.perf_counter()
    try:
        content = convert(path, memory_mb)
    except PermanentImageError as error:
        print(json.dumps({"refused": str(error)}))
        return
    wall = time.perf_counter() - began
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = time.process_time() + child.ru_utime + child.ru_stime
    print(json.dumps({"cpu": cpu, "wall": wall, "mb": child.ru_maxrss * 1024 / 1e6, "bytes": len(content)}))


def _measured(path: Path, memory_mb: int) -> dict[str, Any]:
    found: dict[str, Any] = run_for_json([sys.executable, "-m", "benchmarks.convert", path, str(memory_mb)])
    return found


def measure(path: Path) -> dict[str, Any] | str:
    """Measure a picture with the least memory that is enough, of some rounds; or say why there is nothing."""
    for memory_mb in _MEMORIES_MB:
        first = _measured(path, memory_mb)
        if not first.get("mb", 1):  # there was no child: the model takes it as it is
            return "as it is"
        if "refused" not in first:
            every = [first, *(_measured(path, memory_mb) for _ in range(_ROUNDS - 1))]
            least = {name: min(one[name] for one in every) for name in ("cpu", "wall", "mb", "bytes")}
            return least | {"memory_mb": memory_mb}
    return "rejected"


def run(quick: bool = False) -> Result:
    """Measure each format at each size."""
    import numpy as np

    from benchmarks import pictures
    from local.samples.draw_samples import draw_part

    part, _ = draw_part("stain", np.random.default_rng(1))
    rows = []
    for megapixels in MEGAPIXELS[1:2] if quick else MEGAPIXELS:
        picture = pictures.grained(pictures.enlarged(part, megapixels * 1e6))
        for form in ["JPEG"] if quick else pictures.FORMS:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "picture")
                pictures.save(picture, form, path, orientation=6)
                rows.append(_row(form, megapixels, path, rows))
    rows.sort(key=lambda row: row["format"])
    return _result(rows)


def _row(form: str, megapixels: int, path: Path, before: list[dict[str, Any]]) -> dict[str, Any]:
    """Measure a picture; ``before`` has the smaller ones of its format."""
    from batch_vision.operator.prices import LAMBDA_GB_SECOND_DOLLARS

    found = measure(path)
    row = {"format": form, "megapixels": megapixels, "MB": path.stat().st_size / 1e6}
    if isinstance(found, str):
        return row | dict.fromkeys(_COLUMNS, "-") | {_MEMORY: found}
    smallest = next((one for one in before if one["format"] == form and one[_CPU] != "-"), None)
    growth = found["cpu"] / megapixels / (smallest[_CPU] / smallest["megapixels"]) if smallest else 1.0
    vcpu_seconds_gb = found["cpu"] * _VCPU_MB / 1024
    values = (
        found["memory_mb"],
        found["cpu"],
        growth,
        found["wall"],
        found["mb"],
        found["bytes"] / 1e6,
        found["cpu"] * max(1.0, _VCPU_MB / found["memory_mb"]),
        1000 * vcpu_seconds_gb * LAMBDA_GB_SECOND_DOLLARS,
    )
    return row | dict(zip(_COLUMNS, values, strict=True))


_CPU = "CPU time, s"
_MEMORY = "function's memory, MB"
_GROWTH = "CPU time of a megapixel / of the smallest's"
_COLUMNS = (
    _MEMORY,
    _CPU,
    _GROWTH,
    "wall time here, s",
    "peak memory of the child, MB",
    "converted, MB",
    "seconds of that function",
    "1,000 images, dollars",
)


def _result(rows: list[dict[str, Any]]) -> Result:
    result = Result("Converting an image for Custom Labels, by format and size", rows)
    (largest,) = (
        row for row in rows if row["format"] == "JPEG" and row["megapixels"] == max(one["megapixels"] for one in rows)
    )
    goal = f"a JPEG of {largest['megapixels']} megapixels is converted with {DEFAULT_MB} MB"
    result.target(goal, largest[_MEMORY], is_met=largest[_MEMORY] == DEFAULT_MB)
    growth = max(row[_GROWTH] for row in rows if row[_GROWTH] != "-")
    result.target("CPU time grows as the megapixels do: times linear", growth, is_met=growth <= MOST_GROWTH)
    memories = ", ".join(f"{memory:,}" for memory in _MEMORIES_MB)
    result.notes.append(
        f"A drawn sample, enlarged, with the grain of a camera, lying on its side; the least of {_ROUNDS}. The memory"
        f" is the least of {memories} MB with which it is converted. CPU time is that of the function and of its child,"
        " imports included. By AWS's documentation a function has as much of a vCPU as its memory is of"
        f" {_VCPU_MB:,} MB, so it takes that much longer, and costs the same with each memory below that: Lambda's"
        " price for x86_64, without the call of the model."
    )
    return result


if __name__ == "__main__":
    measure_here(Path(sys.argv[1]), int(sys.argv[2]))
