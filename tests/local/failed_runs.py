"""What an operator sees of a run that failed, and how long it may have taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local import config
from tests.local.waits import LOAD_SECONDS

if TYPE_CHECKING:
    from datetime import datetime

    from tests.local.stack import Stack

# What a run takes beside the waiting that a test is about: the start and stop of the emulated model (3 s), polls of a
# second, batches that are still in flight (analyze_timeout_seconds), cold starts, and whatever else the machine does.
OVERHEAD_SECONDS = 30 + LOAD_SECONDS

# What follows a state only when that has failed: the close, or where that failed itself, the next of it.
AFTER_AN_ERROR = ("Close", "SummarizeRun")


def check_failed(
    stack: Stack,
    described: dict[str, Any],
    name: str,
    *words: str,
    step: str,
    within_seconds: float,
    since: datetime | None = None,
) -> None:
    """Check the execution's error, cause and step, the summary, the log line and the metric, and the time it took.

    Parameters
    ----------
    name, words
        The error, and what its message must hold.
    step
        The state in which it failed.
    within_seconds
        The bound that the run is held to, from its start or from `since`, with `OVERHEAD_SECONDS` added.
    """
    assert (described["status"], described["error"]) == ("FAILED", name)
    assert all(word in described["cause"] for word in words), described["cause"]
    states = stack.states(described["executionArn"])
    assert states[len(states) - states[::-1].index(step)] in AFTER_AN_ERROR, states
    took = described["stopDate"] - (since or described["startDate"])
    assert took.total_seconds() < within_seconds + OVERHEAD_SECONDS
    summary = stack.read_json(f"runs/{described['name']}.json")
    assert (summary["outcome"], summary["error"]) == ("failed", {"type": name, "message": described["cause"]})
    log = (config.LOGS / "lambda" / f"{stack.arguments['name_prefix']}-summarize-run.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (told,) = [
        n for n, line in enumerate(lines) if (line.get("message"), line.get("run_id")) == ("run", described["name"])
    ]
    assert lines[told]["error"] == summary["error"]
    # The metrics of an invocation follow its lines.
    assert next(line["RunsFailed"] for line in lines[told:] if "RunsFailed" in line) == [1.0]
