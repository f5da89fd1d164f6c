"""What AWS asks for: the one place with prices. US East (N. Virginia), price lists of 2026-11-20.

Sources: the pricing pages of Amazon Rekognition (Custom Labels, inference), AWS Step Functions, AWS Lambda,
Amazon SQS and Amazon S3. Other Regions differ a little. Deleting from S3 is free. Lambda's is the price of x86_64;
arm64, the module's default, is a fifth cheaper.
"""

from __future__ import annotations

import math

INFERENCE_UNIT_HOUR_DOLLARS = 4.00  # of Rekognition Custom Labels
STATE_TRANSITION_DOLLARS = 0.025 / 1000
S3_WRITE_DOLLARS = 0.005 / 1000  # PUT, COPY, LIST
S3_READ_DOLLARS = 0.0004 / 1000
SQS_REQUEST_DOLLARS = 0.40 / 1e6
LAMBDA_REQUEST_DOLLARS = 0.20 / 1e6
LAMBDA_GB_SECOND_DOLLARS = 0.0000166667
EVENT_DOLLARS = 1.00 / 1e6  # that S3 sends to EventBridge and a rule takes

# The image APIs of Rekognition (group 2), by images of a month, each call for an image counted; and the image
# properties of DetectLabels, which are counted by themselves. The tiers above 1,000,000 are from price lists that
# others have copied, and that above 35,000,000 images is not certain at all.
GROUP_2_TIERS = ((1_000_000, 0.001), (4_000_000, 0.0008), (30_000_000, 0.0006), (math.inf, 0.00025))
IMAGE_PROPERTIES_TIERS = ((1_000_000, 0.00075), (math.inf, 0.0006))

# The stored-video APIs of Rekognition, for a minute of video and one analysis. Of 2026-11 and from copies of the price
# list; whether a job that fails is billed, nobody tells.
VIDEO_MINUTE_DOLLARS = 0.10

# An instance that hosts a model of SageMaker, for an hour: from price lists that others have copied, where several
# agree. Terraform has the same, for the summaries of runs (terraform/backends.tf).
SAGEMAKER_INSTANCE_HOUR_DOLLARS = {
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.m5.4xlarge": 0.922,
    "ml.c5.large": 0.102,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.c5.4xlarge": 0.816,
    "ml.g4dn.xlarge": 0.736,
    "ml.g5.xlarge": 1.408,
    "ml.g5.2xlarge": 1.515,
    "ml.g5.4xlarge": 2.03,
    "ml.g5.12xlarge": 7.09,
    "ml.g6.xlarge": 1.127,
}

# Backends whose service AWS sells no more, and why.
ENDED = {"lookout_for_vision": "AWS ended Lookout for Vision on 2025-10-31"}


def tiered_dollars(images: float, tiers: tuple[tuple[float, float], ...]) -> float:
    """Return the price of the images of a month.

    Parameters
    ----------
    tiers
        How many images have a price, and that price of one, the first images first.
    """
    return sum(number * price for number, price in split_by_tier(images, tiers))


def split_by_tier(images: float, tiers: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Return how many of a month's images have which price, the first images first; see `tiered_dollars`."""
    split = []
    for size, price in tiers:
        split.append((min(images, size), price))
        images = max(0.0, images - size)
    return [(number, price) for number, price in split if number]


def model_dollars(unit_seconds: float, unit_hour_dollars: float = INFERENCE_UNIT_HOUR_DOLLARS) -> float:
    """Return the price of inference-unit seconds in dollars: of Rekognition Custom Labels, if nothing else is said."""
    return unit_seconds / 3600 * unit_hour_dollars


def in_words(unit_seconds: float, backend: str, unit_hour_dollars: float = INFERENCE_UNIT_HOUR_DOLLARS) -> str:
    """Say what inference-unit seconds cost; for a service that has ended, what they cost with Rekognition."""
    price = f"${model_dollars(unit_seconds, unit_hour_dollars):.4f}"
    return f"{price} with Rekognition ({ENDED[backend]})" if backend in ENDED else price
