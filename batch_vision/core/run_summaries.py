"""Where the summaries of runs are, one object for each."""

from __future__ import annotations

PREFIX = "runs/"


def summary_key(run_id: str) -> str:
    """Return the key of a run's summary in the final bucket."""
    return f"{PREFIX}{run_id}.json"
