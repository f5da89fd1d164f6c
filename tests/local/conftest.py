"""What the end-to-end tests run on: the stack of this process, or a LocalStack alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local import config
from local.localstack import start_localstack
from tests.local.deployment import ARGUMENTS, DEPLOYMENT, Deployment
from tests.local.stack import Stack


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


@pytest.fixture(scope="module")
def alone() -> None:
    """Nothing else runs in the environment of this process."""
    DEPLOYMENT.end()


@pytest.fixture(scope="module")
def localstack(alone: None) -> Iterator[LocalStackEndpoint]:
    running = start_localstack(dies_with_parent=True)
    try:
        yield LocalStackEndpoint(running.url)
    finally:
        running.stop()


@pytest.fixture(scope="session")
def deployment() -> Iterator[Deployment]:
    yield DEPLOYMENT
    DEPLOYMENT.end()
    assert not DEPLOYMENT.refused, "AWS would have refused what LocalStack did:\n" + "\n".join(DEPLOYMENT.refused)


@pytest.fixture(scope="module")
def applied(request: pytest.FixtureRequest, deployment: Deployment) -> Stack:
    """The stack of this process with the backend and the arguments that the file names, and nothing in it."""
    stack = deployment.stack()
    deployment.is_used = True
    stack.use(*_choice(request))
    return stack


@pytest.fixture
def stack(request: pytest.FixtureRequest, applied: Stack) -> Stack:
    """The same, whatever the test before has left."""
    applied.use(*_choice(request))
    return applied


@pytest.fixture
def last_stack(stack: Stack) -> Stack:
    """The stack for a test that destroys it."""
    stack.is_destroyed = True
    return stack


@pytest.fixture
def fresh_stack(deployment: Deployment) -> Stack:
    """The stack as the apply left it, with the message of the deployment."""
    if deployment.is_used:
        deployment.end()
    stack = deployment.stack()
    deployment.is_used = True
    return stack


def _choice(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.module.BACKEND, ARGUMENTS | getattr(request.module, "FILE_ARGUMENTS", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that tests have recorded as properties, also those of other worker processes."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, text in report.user_properties:
            if name == "table":
                terminalreporter.section("permissions of each role, and what needs them")
                terminalreporter.write(text)
