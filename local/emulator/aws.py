"""Clients of the AWS services beside the emulator."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config

from local.config import REGION


def client_at(endpoint_url: str, service: Any, **config: Any) -> Any:
    """Return a client of a service at a local address.

    Parameters
    ----------
    config
        What else `botocore.config.Config` is to have.
    """
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the local service takes any
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            proxies={},  # a local address, whatever proxy the environment names
            retries={"mode": "standard", "total_max_attempts": 3},
            **config,
        ),
    )
