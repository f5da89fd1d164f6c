"""One logger and one set of metrics for all functions. Log lines carry keys and outcomes, never image content."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics

logger = Logger(utc=True)
metrics = Metrics()
