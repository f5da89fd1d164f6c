"""Waiting for a condition, on a machine that may be busy with something else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# What a machine that is kept busy adds to anything. A bound is there so that a test ends, and says what it waited for;
# with this added it tells seconds from the hours of a schedule, and not a quick machine from a slow one.
LOAD_SECONDS = 120


def wait_until(
    condition: Callable[[], Any], seconds: float = 0, what: str | Callable[[], object] = "waited for"
) -> float:
    """Wait for something that takes `seconds` on an idle machine, and give the seconds that it took.

    Parameters
    ----------
    what
        What is waited for, or tells how it is when the time is over.
    """
    began = asked = time.monotonic()
    while not condition():
        now = time.monotonic()
        if now - began >= seconds + LOAD_SECONDS:
            raise AssertionError(f"not within {seconds + LOAD_SECONDS} s: {what() if callable(what) else what}")
        # A look at many objects keeps a core busy, which what is waited for needs too.
        time.sleep(min(5.0, max(0.2, 3 * (now - asked))))
        asked = time.monotonic()
    return time.monotonic() - began
