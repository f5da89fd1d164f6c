"""What a search asks for: conditions on the lines of the catalog, and an order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Order(StrEnum):
    """In which order lines come; those that lack what they are ordered by come last."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LEAST_CONFIDENT = "least-confident"
    MOST_CONFIDENT = "most-confident"
    SMALLEST_MARGIN = "smallest-margin"  # of the best prediction to the second one of its kind


@dataclass(frozen=True, slots=True)
class Query:
    """Which lines are wanted; None, or nothing in a tuple, is no condition.

    Attributes
    ----------
    any_of, all_of
        Names of predictions: one of them, or each of them, is wanted.
    none_of
        Names that no prediction of the line may have, whatever its kind and confidence.
    min_confidence, max_confidence
        In percent, both included. Of the wanted names, where some are; else of a prediction of the kind, where one is
        wanted; else of the most confident prediction, or of the verdict of a line without predictions.
    kind
        Of the predictions that are wanted; without names, of any prediction.
    model
        The id of the model that the line is of.
    prefix
        What the key begins with.
    media
        image or video.
    status
        processed, rejected, failed or, in the history of an existing bucket, deleted.
    is_anomalous
        The verdict of a model that looks for anomalies.
    since, until
        When the image was finished, or its result recorded in or deleted from an existing bucket; both included.
    is_history
        All lines, once each, instead of the current one of each key that is not deleted.
    """

    any_of: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    min_confidence: float | None = None
    max_confidence: float | None = None
    kind: str | None = None
    model: str | None = None
    prefix: str | None = None
    media: str | None = None
    status: str | None = None
    is_anomalous: bool | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_history: bool = False
