"""What a part of the benchmark gives back, and how it is shown."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Result:
    """The figures of one part.

    Attributes
    ----------
    rows
        One mapping from column to value for each row; all have the same columns.
    notes
        What must be known to read the figures.
    targets
        For each goal: what was wanted, what was found, and whether it is met.
    """

    title: str
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    targets: list[dict[str, Any]] = field(default_factory=list)

    def target(self, goal: str, found: Any, *, is_met: bool) -> None:
        """Hold a figure against what it is to be."""
        self.targets.append({"goal": goal, "found": found, "is_met": is_met})

    def show(self, console: Console) -> None:
        """Print the table, the goals and the notes."""
        table = Table(title=self.title, title_justify="left", title_style="bold")
        for name in self.rows[0]:
            table.add_column(name, justify="left" if isinstance(self.rows[0][name], str) else "right")
        for row in self.rows:
            table.add_row(*(_shown(value) for value in row.values()))
        console.print(table)
        for target in self.targets:
            mark = "[green]✓[/green]" if target["is_met"] else "[red]✗[/red]"
            console.print(f"{mark} {target['goal']}: {_shown(target['found'])}", highlight=False)
        for note in self.notes:
            console.print(f"  {note}", highlight=False, style="dim")
        console.print()

    def to_markdown(self) -> str:
        """Return the same as a section of Markdown."""
        names = list(self.rows[0])
        lines = [f"### {self.title}", "", "| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
        lines += ["| " + " | ".join(_shown(value) for value in row.values()) + " |" for row in self.rows]
        lines += [
            "",
            *(f"- {'Met' if t['is_met'] else '**Not met**'}: {t['goal']}: {_shown(t['found'])}." for t in self.targets),
        ]
        return "\n".join([*lines, "", *self.notes, ""])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def machine() -> dict[str, Any]:
    """Name the machine that the figures are of, and how busy it was."""
    model = "unknown"
    memory_bytes = 0
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu_count": os.cpu_count(),
        "cpu_model": model,
        "memory_gib": round(memory_bytes / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_of_a_minute": round(os.getloadavg()[0], 1),
    }
