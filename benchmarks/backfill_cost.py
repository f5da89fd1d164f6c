"""What a backfill costs besides the model, and how long it takes, beside other ways to the same: by formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_vision.operator.cost import S3_READS_PER_IMAGE_IN_PLACE, S3_WRITES_PER_IMAGE_IN_PLACE, dollars_by_analysis
from batch_vision.operator.prices import (
    LAMBDA_REQUEST_DOLLARS,
    S3_READ_DOLLARS,
    S3_WRITE_DOLLARS,
    STATE_TRANSITION_DOLLARS,
)
from benchmarks.report import Result

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (10**6, 10**8, 10**9)
_CALLS_PER_SECOND = 40  # 80% of 50
_CHUNK_IMAGES = 1000
# Transitions of a child that needs one call, and of one that has a single image: the state, the choice, the end.
_TRANSITIONS_OF_CHILD = 3
# S3 price list, us-east-1: S3 Batch Operations, a job and a million objects.
_BATCH_OPERATIONS_JOB_DOLLARS = 0.25
_BATCH_OPERATIONS_OBJECT_DOLLARS = 1 / 10**6
_SECONDS_OF_A_DAY = 86400


def _ours(images: int) -> float:
    """Both listings, the chunks (put, listed, read), and a child for each."""
    chunks = images / _CHUNK_IMAGES
    writes = 2 * images / 1000 + chunks + chunks / 1000
    return writes * S3_WRITE_DOLLARS + chunks * (
        S3_READ_DOLLARS + LAMBDA_REQUEST_DOLLARS + _TRANSITIONS_OF_CHILD * STATE_TRANSITION_DOLLARS
    )


def _map_over_images(images: int) -> float:
    return images * (_TRANSITIONS_OF_CHILD * STATE_TRANSITION_DOLLARS + LAMBDA_REQUEST_DOLLARS)


def _batch_operations(images: int) -> float:
    return _BATCH_OPERATIONS_JOB_DOLLARS + images * (_BATCH_OPERATIONS_OBJECT_DOLLARS + LAMBDA_REQUEST_DOLLARS)


WAYS: dict[str, Callable[[int], float]] = {
    "batch-vision: a child for 1,000 keys": _ours,
    "Distributed Map: a child for each image": _map_over_images,
    "S3 Batch Operations: a call for each image": _batch_operations,
}


def run(quick: bool = False) -> Result:
    """Work the formulas out."""
    del quick
    rows: list[dict[str, Any]] = []
    for images in SIZES:
        for name, dollars in WAYS.items():
            rows.append(
                {
                    "images": images,
                    "way": name,
                    "engine, dollars": round(dollars(images), 2),
                    "days": round(images / _CALLS_PER_SECOND / _SECONDS_OF_A_DAY, 1),
                    "model, dollars": round(sum(dollars_by_analysis({"labels": images}).values())),
                    "results and looks, dollars": round(
                        images
                        * (
                            S3_WRITES_PER_IMAGE_IN_PLACE * S3_WRITE_DOLLARS
                            + S3_READS_PER_IMAGE_IN_PLACE * S3_READ_DOLLARS
                        ),
                        2,
                    ),
                }
            )
    result = Result("A backfill beside other ways", rows)
    result.notes += [
        "By formula, with the prices of us-east-1, November 2026; one analysis, and a quota of 50 calls a second, of"
        " which the backfill has 80%. The quota decides how long it takes, not the engine.",
        "The time of Lambda, or of containers, for which the model is waited for is the same for all and left out.",
        "A queue forgets a message after 14 days: at this quota it can hold 48 million images. Chunks in S3 wait.",
        "AWS Batch, with a job for each image, submits 50 of them in a second (ASFHyP3/hyp3, issue 1272), and pays for"
        " the start of each container.",
    ]
    return result
