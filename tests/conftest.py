"""Settings that every test runs with."""

from __future__ import annotations

import os

import pytest

# Files are shared out among processes in this order, and a long one that begins late would be waited for alone.
LONGEST = ["faults_workflow", "lookout", "stack", "commands", "soak", "guard", "tool", "faults_images", "permissions"]

# Each process of pytest-xdist has an environment of its own: its folder under build/, and its ports.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    number = int(worker.removeprefix("gw"))
    os.environ["LOCAL_NAME"] = f"local-{worker}"
    for name, default in (("LOCALSTACK_PORT", 4566), ("EMULATOR_PORT", 4599)):
        os.environ[name] = str(int(os.environ.get(name) or default) + 100 * number)

# Read by powertools when it is imported; no test talks to AWS, whatever the user's own environment says.
os.environ["POWERTOOLS_METRICS_NAMESPACE"] = "batch-vision"
for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
    del os.environ[name]
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
