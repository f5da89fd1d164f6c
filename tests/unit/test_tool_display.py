from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from batch_vision.operator.display import Display

NOW = "analyzing images, model RUNNING, cost so far $0.0043"


@pytest.mark.parametrize("width", [60, 80, 160])
def test_how_far_it_is_shows_on_a_narrow_terminal_too(width: int) -> None:
    written = io.StringIO()
    display = Display(Console(file=written, force_terminal=True, width=width, soft_wrap=True))
    with display.step("Running the workflow") as step:
        step.progress(3, 12, NOW)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
    line = next(line for line in re.split(r"[\r\n]", plain) if "3/12" in line)
    assert "Running the workflow" in line
    assert "0:00:0" in line
    assert ("analyzing" in line) == (width >= 80)
    assert len(line) <= width
    assert (NOW in line) == (width == 160)


def test_elsewhere_each_step_is_a_line() -> None:
    written = io.StringIO()
    display = Display(Console(file=written, soft_wrap=True))
    with display.step("Uploading") as step:
        step.progress(1, 2, "a.jpg")
        step.done("2 files")
    with display.step("Running") as step:
        step.done("FAILED", is_good=False)
    assert written.getvalue().splitlines() == ["✓ Uploading 0 s  2 files", "✗ Running 0 s  FAILED"]


def test_the_clock_goes_on_when_all_images_are_done() -> None:
    """The model is yet to be stopped."""
    written = io.StringIO()
    display = Display(Console(file=written, force_terminal=True, width=160, soft_wrap=True))
    with display.step("Running") as step:
        step.progress(2, 2, "stopping the model")
        time.sleep(1.3)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
    lines = [line for line in re.split(r"[\r\n]", plain) if "2/2" in line]
    assert re.search(r"0:0\d:0[1-9]", lines[-1])
