"""What the end-to-end tests run on: a LocalStack alone, or the whole stack, one at a time on a machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config

from batch_vision.operator.display import Display
from local import config, environment
from local.environment import EMULATOR_SETTINGS, MODULE_ARGUMENTS
from local.localstack import start_localstack
from tests.local import permissions
from tests.local.faults import LambdaFaults
from tests.local.stack import Stack

LABELLED = config.REPOSITORY / "local" / "samples" / "labelled"

# LocalStack takes rate(1 hour) for every full hour: a tick in the middle of a test that did not ask for it.
HALF_A_DAY_AWAY = f"cron(0 {(datetime.now(UTC).hour + 12) % 24} * * ? *)"

# Waits and bounds as short as the tests can bear, through the variables that users have too.
ARGUMENTS = MODULE_ARGUMENTS | {
    "name_prefix": "e2e",
    "schedule_expression": HALF_A_DAY_AWAY,
    "guard_schedule_expression": HALF_A_DAY_AWAY,
    "analyze_timeout_seconds": 10,
    "start_timeout_seconds": 20,
    "stop_timeout_seconds": 60,
    "stall_timeout_seconds": 90,
    "drain_poll_seconds": 1,
    "drain_timeout_seconds": 600,
    "success_notifications_enabled": True,
    "images_per_second_per_unit": 40,  # for one poller, as in MODULE_ARGUMENTS
}
TIMES = EMULATOR_SETTINGS | {
    "start_seconds": 2,
    "stop_seconds": 1,
    "latency_ms": 20,
    "transactions_per_second_per_unit": 20,
}


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
def localstack() -> Iterator[LocalStackEndpoint]:
    running = start_localstack(dies_with_parent=True)
    try:
        yield LocalStackEndpoint(running.url)
    finally:
        running.stop()


@pytest.fixture(scope="module")
def applied(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, applied once for all tests of a file, with the backend and the arguments that the file names."""
    display = Display()
    arguments = ARGUMENTS | getattr(request.module, "FILE_ARGUMENTS", {})
    permissions.RECORDED_CALLS.parent.mkdir(parents=True, exist_ok=True)
    permissions.RECORDED_CALLS.unlink(missing_ok=True)
    running = environment.up(
        display,
        LABELLED,
        backend=request.module.BACKEND,
        dies_with_parent=True,
        arguments=arguments,
        emulator_settings=TIMES,
        localstack_settings={
            "BATCH_VISION_LAMBDA_FAULTS": str(LambdaFaults.prepare()),
            "BATCH_VISION_RECORD_CALLS": str(permissions.RECORDED_CALLS),
        },
        emulator_options=[f"--record-calls={permissions.RECORDED_CALLS}"],
    )
    try:
        yield Stack(running, arguments)
        refused = permissions.refused_calls()
    finally:
        environment.down()
    assert not refused, "AWS would have refused what LocalStack did:\n" + "\n".join(refused)


@pytest.fixture
def fresh_stack(applied: Stack) -> Stack:
    """The stack as the apply left it, with the message of the deployment; for the first test of a file only."""
    return applied


@pytest.fixture
def stack(applied: Stack) -> Stack:
    """The stack, with nothing in it."""
    applied.reset()
    return applied


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that tests have recorded as properties, also those of other worker processes."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, text in report.user_properties:
            if name == "table":
                terminalreporter.section("permissions of each role, and what needs them")
                terminalreporter.write(text)
