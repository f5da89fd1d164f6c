"""Metrics of the calls of a service that has several operations: they are refused and priced apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from batch_vision.core.observability import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batch_vision.images.detectors import Calls


def tell_calls(operations: Iterable[str], calls: Sequence[Calls], results: Sequence[Mapping[str, Any]]) -> None:
    """Write the metrics of each operation.

    Parameters
    ----------
    calls
        What each image of the batch has cost.
    results
        The result JSON of each image that was finished.
    """
    for operation in operations:
        count = {
            "CallsMade": sum(one.made[operation] for one in calls),
            "CallsThrottled": sum(one.throttled[operation] for one in calls),
            "ImagesRefused": sum(
                result["status"] == "rejected" or operation in result.get("errors", {}) for result in results
            ),
        }
        apart = EphemeralMetrics(namespace=metrics.namespace, service=metrics.service)
        apart.add_dimension("operation", operation)
        for name, value in count.items():
            apart.add_metric(name, MetricUnit.Count, value)
        apart.flush_metrics()
