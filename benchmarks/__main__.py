"""``make bench``: speed and cost, every figure a ratio within one run or a count."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING

import click
from rich.console import Console

from benchmarks.report import Result, machine
from local.config import BUILD, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOCS = REPOSITORY / "docs" / "cost.md"
BEGIN_MARK = "<!-- figures: make bench DOCS=1 -->"
END_MARK = "<!-- end of figures -->"


def parts() -> dict[str, Callable[[bool], Result]]:
    """Return the parts by name, in the order in which they run."""
    from benchmarks import (
        backfill_cost,
        chunks,
        cold_start,
        convert,
        convert_quality,
        cost,
        growth,
        managed_pace,
        managed_saturation,
        model_on,
        planning,
        review,
        saturation,
        search,
        summary,
        video_collect,
    )

    return {
        "saturation": saturation.run,  # first, for the next one takes what it found
        "managed_saturation": managed_saturation.run,
        "managed_pace": managed_pace.run,
        "model_on": model_on.simulated,
        "cost": cost.run,
        "growth": growth.run,
        "summary": summary.run,
        "search": search.run,
        "planning": planning.run,
        "chunks": chunks.run,
        "backfill_cost": backfill_cost.run,
        "review": review.run,
        "video_collect": video_collect.run,
        "convert": convert.run,
        "convert_quality": convert_quality.run,
        "cold_start": cold_start.run,
        "measured": model_on.measured,
    }


@click.command()
@click.option("--only", default="", help="Parts to run, with commas between them; all of them without it.")
@click.option("--docs", is_flag=True, help="Put the figures of all parts that were measured into docs/cost.md.")
@click.option("--quick", is_flag=True, help="The smallest size of each part: to see that it works.")
def main(only: str, *, docs: bool, quick: bool) -> None:
    """Measure speed and cost, print tables, and write build/bench/<part>.json."""
    known = parts()
    chosen = [name for name in only.replace(" ", "").split(",") if name] or list(known)
    if unknown := [name for name in chosen if name not in known]:
        sys.exit(f"benchmark: there is no part {unknown[0]!r}; use some of: {', '.join(known)}")
    console = Console(width=150)
    folder = BUILD / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    about = machine()
    console.print("  ".join(f"{name} {value}" for name, value in about.items()), highlight=False)
    console.print()
    for name in chosen:
        began = time.monotonic()
        result = known[name](quick)
        content = {
            "machine": machine(),
            "title": result.title,
            "rows": result.rows,
            "targets": result.targets,
            "notes": result.notes,
            "took_seconds": round(time.monotonic() - began, 1),
        }
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        result.show(console)
    if docs:
        write_docs(DOCS, folder, list(known))


def write_docs(page: Path, folder: Path, names: list[str]) -> None:
    """Put the figures of a folder between the two marks of a page; a part that it does not have stays as it was."""
    before, begin, rest = page.read_text().partition(BEGIN_MARK)
    written, end, after = rest.partition(END_MARK)
    parts_before = [part for part in re.split(r"^(?=### )", written, flags=re.MULTILINE) if part.startswith("### ")]
    sections = {part.partition("\n")[0]: part.strip() for part in parts_before}
    for name in names:
        if (file := folder / f"{name}.json").exists():
            found = json.loads(file.read_text())
            result = Result(found["title"], found["rows"], found["notes"], found["targets"])
            about = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found["machine"].items())
            sections[f"### {result.title}"] = f"{result.to_markdown()}\nMeasured on: {about}."
    page.write_text(before + begin + "\n\n" + "".join(f"{part}\n\n" for part in sections.values()) + end + after)


if __name__ == "__main__":
    main()
