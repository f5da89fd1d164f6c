"""Text for people, on whatever takes it: a terminal, a file in an old encoding, a log."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from batch_vision.core.text import visible as visible

if TYPE_CHECKING:
    from typing import IO

FEW = 5  # of many, as examples


def shown_number(number: int, noun: str) -> str:
    """Write a number of things for people."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def prepare_streams() -> None:
    """Let no character that a stream's encoding lacks end a command: it is written out instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def marks(stream: IO[str]) -> tuple[str, str]:
    """Return the marks of what is well and of what is not, as the stream can show them."""
    try:
        "✓✗".encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return "+", "x"
    return "✓", "✗"


def say(text: str, *, err: bool = False) -> None:
    """Print one line."""
    click.echo(visible(text), err=err)


def print_json(document: Any) -> None:
    """Print a document for scripts; in ASCII, which every encoding has and no terminal obeys."""
    click.echo(json.dumps(document, indent=2))


def print_lines(lines: dict[str, str]) -> None:
    """Print what things are, one under the other."""
    width = max(18, *(len(name) + 2 for name in lines))
    for name, text in lines.items():
        say(f"{name:<{width}}{text}")


def good(text: str) -> None:
    """Print that something is well."""
    click.echo(f"{click.style(marks(sys.stdout)[0], fg='green')} {visible(text)}")


def bad(problem: str, remedy: str) -> None:
    """Print what is wrong, and what to do."""
    click.echo(f"{click.style(marks(sys.stdout)[1], fg='red')} {visible(problem)}\n  {visible(remedy)}")


def say_few(keys: list[str]) -> None:
    """Print the first of some keys, and how many more there are."""
    for key in keys[:FEW]:
        say(f"    {key}")
    if len(keys) > FEW:
        say(f"    and {len(keys) - FEW} more (--json lists all)")
