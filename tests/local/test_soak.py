"""A short soak, and that a soak can fail. The long one is `make soak`."""

from __future__ import annotations

import pytest

from tests.local import soak
from tests.local.stack import Stack

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

BACKEND = soak.BACKEND
FILE_ARGUMENTS = soak.ARGUMENTS
SEED = 20261121


@pytest.mark.fault("Soak: all of these together, over several scheduled runs, drawn from a seed")
def test_two_hundred_images_with_every_fault(applied: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    stack = applied
    stack.emulator.set(transactions_per_second_per_unit=50)
    report = soak.Soak(stack, SEED, 200, waves=2).run(420, lambda *_: None)
    soak.save(report)
    assert report.is_good, report
    assert (report.images_lost, report.images_doubled, report.runs_that_left_the_model_on) == (0, 0, 0)
    assert report.images_processed + report.images_rejected == report.uploads > 200
    assert sum(count for name, count in report.faults.items() if " die " in name) > 0
    assert report.faults["DetectCustomLabels:ProvisionedThroughputExceededException"] > 20
