"""The real LocalStack of the end-to-end tests: one for the whole session, ended with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from local import config
from local.localstack import start_localstack

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class LocalStackEndpoint:
    """What a test needs of LocalStack."""

    url: str

    def client(self, service: str, **options: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=config.REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, read_timeout=60),
            **options,
        )


@pytest.fixture(scope="session")
def localstack() -> Iterator[LocalStackEndpoint]:
    running = start_localstack(dies_with_parent=True)
    try:
        yield LocalStackEndpoint(running.url)
    finally:
        running.stop()
