"""What a user sees while a command works: live on a terminal, a line for each step elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from batch_vision.operator.text import marks, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

_LINE_EVERY_SECONDS = 10.0


class Step:
    """One thing that is being done."""

    def __init__(self, display: Display, title: str, live: Progress | None, task: TaskID | None) -> None:
        self._display, self._title, self._live, self._task = display, title, live, task
        self._began = self._said = time.monotonic()
        self.result = ""
        self.is_good = True

    def progress(self, done: int, total: int, now: str = "") -> None:
        """Say how far it is, and what is happening now."""
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=done, total=total or None, now=_plain(now))
            for task in self._live.tasks:
                task.finished_time = None  # when all images are done the model is yet to be stopped: the clock goes on
        elif time.monotonic() - self._said >= _LINE_EVERY_SECONDS:
            self._said = time.monotonic()
            self._display.say(f"  {self._title}: {done} of {total} {now}")

    def done(self, result: str, *, is_good: bool = True) -> None:
        """Say what came of it."""
        self.result = result
        self.is_good = is_good

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self._began


def _whole() -> Column:
    return Column(no_wrap=True, overflow="fold")


def _plain(text: str) -> str:
    """Return a text as it is shown: a key may hold what a terminal obeys, or what rich takes for markup."""
    return escape(visible(text))


class Display:
    """Writes to the terminal, or to whatever takes the output."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(soft_wrap=True)

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(_plain(text), highlight=False)

    def mark(self, text: str, *, is_good: bool) -> None:
        """Print one line behind a mark that says whether it is well."""
        well, bad = marks(self.console.file)
        mark = f"[green]{well}[/green]" if is_good else f"[red]{bad}[/red]"
        self.console.print(f"{mark} {_plain(text)}", highlight=False)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a step while its block runs, and one line for it afterwards."""
        if self.console.is_terminal:
            live = Progress(
                SpinnerColumn("line" if self.console.options.ascii_only else "dots"),
                TextColumn("{task.description}", table_column=_whole()),
                BarColumn(bar_width=16, table_column=_whole()),
                MofNCompleteColumn(table_column=_whole()),
                TimeElapsedColumn(table_column=_whole()),
                # What is left of the line; the rest of a narrow terminal is for how far it is.
                TextColumn("[dim]{task.fields[now]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
                console=self.console,
                transient=True,
                expand=True,
            )
            with live:
                step = Step(self, title, live, live.add_task(title, total=None, now=""))
                yield step
        else:
            step = Step(self, title, None, None)
            yield step
        self.mark(f"{title} {step.seconds:.0f} s  {step.result}", is_good=step.is_good)
