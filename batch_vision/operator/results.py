"""The results of a span of time: chosen by what the catalog says of them, listed or downloaded."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from batch_vision.core.run_summaries import summary_key
from batch_vision.core.times import from_text
from batch_vision.operator.catalog import images_between
from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.objects import read_result, read_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from batch_vision.operator.stack import Stack

_PARALLEL = 16
_GROUP = 1000
_AGO = re.compile(r"(\d+)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which results are wanted; None is no condition.

    Attributes
    ----------
    label
        Name of the most confident prediction.
    min_confidence, max_confidence
        Of that prediction, in percent; of the verdict where there is no prediction.
    is_anomalous
        The verdict of a model that looks for anomalies.
    """

    status: str | None = None
    label: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    is_anomalous: bool | None = None

    def matches(self, line: dict[str, Any]) -> bool:
        """Tell whether a line of the catalog is wanted."""
        if self.status and line["status"] != self.status:
            return False
        if self.label and (line["prediction"] or {}).get("name") != self.label:
            return False
        if self.is_anomalous is not None and (line["anomaly"] or {}).get("is_anomalous") is not self.is_anomalous:
            return False
        if self.min_confidence is None and self.max_confidence is None:
            return True
        confidence = confidence_of(line)
        lowest, highest = self.min_confidence or 0.0, 100.0 if self.max_confidence is None else self.max_confidence
        return confidence is not None and lowest <= confidence <= highest


def confidence_of(line: dict[str, Any]) -> float | None:
    """Give the confidence of a line's prediction, or of its verdict, in percent."""
    said = line["prediction"] or line["anomaly"]
    return float(said["confidence"]) if said else None


def read_time(text: str, option: str, now: datetime) -> datetime:
    """Read a time: ISO 8601 in UTC, or how long ago, such as ``90m``, ``6h``, ``7d`` or ``2w``.

    Raises
    ------
    WrongInputError
        It is neither.
    """
    if match := _AGO.fullmatch(text):
        try:
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        except OverflowError:
            pass
    else:
        try:
            return from_text(text)
        except ValueError:
            pass
    raise WrongInputError(
        f"{option} is {text!r}. Give how long ago, such as 90m, 6h, 7d or 2w, or a time in UTC, such as"
        " 2026-11-20T08:00."
    )


def summary_of_run(stack: Stack, run_id: str) -> dict[str, Any]:
    """Give the summary of a run.

    Raises
    ------
    WrongInputError
        There is no summary of such a run.
    """
    summary = read_summary(stack.s3, stack.final_bucket_name, run_id)
    if summary is None:
        raise WrongInputError(
            f"--run is {run_id!r}, and {stack.final_bucket_name} has no summary {summary_key(run_id)}."
            " `batch-vision status --runs 20` shows the ids of runs; one that found nothing to do, or was aborted,"
            " has no summary."
        )
    return summary


def span_of_run(summary: dict[str, Any]) -> tuple[datetime, datetime]:
    """Give when a run began and ended."""
    return from_text(summary["started_at"]), from_text(summary["ended_at"])


def select(stack: Stack, since: datetime, until: datetime, wanted: Filter) -> Iterator[dict[str, Any]]:
    """Give the catalog lines of the wanted images, the oldest first."""
    lines = images_between(stack.s3, stack.final_bucket_name, since, until)
    return (line for line in lines if wanted.matches(line))


@dataclass
class Downloaded:
    """What was fetched.

    Attributes
    ----------
    replaced
        Keys whose place was taken by a newer upload since: its result is another one.
    failed
        Keys that could not be written to the folder, and why.
    """

    images: int
    replaced: list[str]
    failed: dict[str, str]


def download(
    stack: Stack, lines: Iterable[dict[str, Any]], folder: Path, progress: Callable[[int], None]
) -> Downloaded:
    """Fetch the image, the result and the mask of each line into a folder, under their keys."""
    answer = Downloaded(0, [], {})
    done = 0
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for group in batched(lines, _GROUP, strict=False):
            for line, outcome in zip(group, pool.map(lambda line: _fetch(stack, line, folder), group), strict=True):
                done += 1
                if outcome is None:
                    answer.images += 1
                elif outcome == _REPLACED:
                    answer.replaced.append(line["key"])
                else:
                    answer.failed[line["key"]] = outcome
                progress(done)
    return answer


_REPLACED = "replaced"


def _fetch(stack: Stack, line: dict[str, Any], folder: Path) -> str | None:
    """Fetch what belongs to an image; None when all is there, else why not."""
    place = line["image_key"]
    result = read_result(stack.s3, stack.final_bucket_name, f"{place}.json")
    if result is None or result[0]["source"]["version_id"] != line["version_id"]:
        return _REPLACED
    keys = [place, f"{place}.json", *([result[0]["mask_key"]] if result[0].get("mask_key") else [])]
    for key in keys:
        target = folder / key
        if not target.resolve().is_relative_to(folder.resolve()):
            return f"the key leads out of {folder}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.s3.download_file(stack.final_bucket_name, key, str(target))
        except OSError as error:
            return f"{target} cannot be written ({error.strerror})"
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise
            return "it is being moved or was deleted"
    return None
