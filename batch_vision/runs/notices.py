"""What mails about a run have in common: plain text in short lines. The first line of each is what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_SUBJECT = 99  # SNS takes fewer than 100 ASCII characters, which begin with a letter or digit


def subject(text: str) -> str:
    """Make a subject that SNS takes."""
    return text.encode("ascii", "replace").decode()[:_MAX_SUBJECT]


def facts(summary: Mapping[str, Any]) -> list[str]:
    """Return what a summary says, a line for each thing; one of an older version has no stuck images."""
    reasons = ", ".join(f"{name} {number}" for name, number in summary["rejected_by_reason"].items())
    cost, on = summary["cost_dollars"], summary["model_on_seconds"]
    slowest = summary["slowest_image"]
    return [
        f"Run:       {summary['run_id']}",
        f"Started:   {summary['started_at']}",
        f"Ended:     {summary['ended_at']} ({summary['end_reason']})",
        f"Processed: {summary['images_processed']} of about {summary['images_found']}",
        f"Rejected:  {summary['images_rejected']}{f' ({reasons})' if reasons else ''}",
        f"Left:      {summary['images_left']}",
        *([f"Stuck:     {stuck}, until: batch-vision retry"] if (stuck := summary.get("images_stuck")) else []),
        f"Retries:   {summary['retries']}, of all tries throttled {summary['throttles']}",
        f"Model on:  {f'{on:.0f} s' if on is not None else _not_known(summary)}",
        f"Cost:      {'not known: the model was not seen to stop' if cost is None else f'up to ${cost:.2f}'}",
        f"Always on: ${summary['always_on_cost_dollars']:.2f} for {summary['always_on_seconds'] / 60:.0f} min",
        *([f"Slowest:   {slowest['duration_ms']} ms, {slowest['key']!a}"] if slowest else []),
    ]


def _not_known(summary: Mapping[str, Any]) -> str:
    return "not known" if summary["model_requested_at"] else "not started"
