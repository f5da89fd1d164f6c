"""What AWS asks for: the one place with prices. US East (N. Virginia), price lists of 2026-11-20.

Sources: the pricing pages of Amazon Rekognition (Custom Labels, inference), AWS Step Functions, AWS Lambda,
Amazon SQS and Amazon S3. Other Regions differ a little.
"""

from __future__ import annotations

INFERENCE_UNIT_HOUR_DOLLARS = 4.00
STATE_TRANSITION_DOLLARS = 0.025 / 1000
S3_WRITE_DOLLARS = 0.005 / 1000


def model_dollars(unit_seconds: float) -> float:
    """Give the price of inference-unit seconds, in dollars."""
    return unit_seconds / 3600 * INFERENCE_UNIT_HOUR_DOLLARS
