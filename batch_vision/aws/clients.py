"""AWS clients, one of each in a process. Endpoints and credentials come from the ordinary AWS environment."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

MAX_CONNECTIONS = 32

# Explicit, because botocore's default mode and number of attempts changed between releases.
RETRYING = Config(
    retries={"mode": "standard", "total_max_attempts": 5},
    connect_timeout=5,
    read_timeout=20,
    max_pool_connections=MAX_CONNECTIONS,
)

# For calls whose repetition batch-vision decides itself (it knows how much time the invocation has left).
NOT_RETRYING = RETRYING.merge(
    Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=3, read_timeout=10)
)

# One request copies up to 5 GiB, and S3 may say nothing before it has.
COPYING = RETRYING.merge(Config(read_timeout=300))


@cache
def s3() -> S3Client:
    """Return the S3 client of this process."""
    return boto3.client("s3", config=RETRYING)


@cache
def s3_for_copies() -> S3Client:
    """Return the client of this process for copies of large objects."""
    return boto3.client("s3", config=COPYING)


@cache
def sqs() -> SQSClient:
    """Return the SQS client of this process."""
    return boto3.client("sqs", config=RETRYING)


@cache
def stepfunctions() -> SFNClient:
    """Return the Step Functions client of this process."""
    return boto3.client("stepfunctions", config=RETRYING)


@cache
def functions() -> LambdaClient:
    """Return the Lambda client of this process."""
    return boto3.client("lambda", config=RETRYING)


@cache
def sns() -> SNSClient:
    """Return the SNS client of this process."""
    return boto3.client("sns", config=RETRYING)
