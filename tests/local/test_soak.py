"""A short soak, and that a soak can fail. The long one is `make soak`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from batch_vision.operator.display import Display
from local import environment
from tests.local import soak
from tests.local.stack import Stack
from tests.local.test_stack import picture

pytestmark = [pytest.mark.local, pytest.mark.matrix, pytest.mark.timeout(900)]

SEED = 20261121


@pytest.fixture(scope="module")
def soaked(alone: None) -> Iterator[Stack]:
    """A stack of its own: LocalStack takes no other schedule for a rule that has one."""
    running = soak.up(Display())
    try:
        yield Stack(running, dict(soak.ARGUMENTS))
    finally:
        environment.down()


@pytest.fixture
def stack(soaked: Stack) -> Stack:
    soaked.reset(applies=False)
    return soaked


@pytest.mark.fault("Soak: all of these together, over several scheduled runs, drawn from a seed")
def test_two_hundred_images_with_every_fault(stack: Stack) -> None:
    stack.emulator.set(transactions_per_second_per_unit=50)
    report = soak.Soak(stack, SEED, 200, waves=3).run(420, lambda *_: None)
    soak.save(report)
    assert report.is_good, report
    assert (report.images_lost, report.images_doubled, report.runs_that_left_the_model_on) == (0, 0, 0)
    assert report.images_processed + report.images_rejected == report.uploads > 200
    assert report.scheduled_runs >= 2
    assert sum(count for name, count in report.faults.items() if " die " in name) > 0
    assert report.faults["DetectCustomLabels:ProvisionedThroughputExceededException"] > 20


def test_a_soak_tells_what_is_lost_doubled_or_left_on(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accounts of a run that went well, and then of the same with each of the three promises broken by hand."""
    uploads = [stack.upload(f"{name}.png", picture(number)) for number, name in enumerate(("lost", "doubled", "good"))]
    assert stack.run()["status"] == "SUCCEEDED"

    def account() -> soak.Report:
        accounted = soak.Soak(stack, SEED, len(uploads))
        accounted._look_for_what_nobody_owns()
        accounted._look_for_what_nobody_owns()
        accounted._account()
        return accounted.report

    monkeypatch.setattr(soak, "REACTION_SECONDS", 0)
    report = account()
    assert (report.images_lost, report.images_doubled, report.runs_that_left_the_model_on) == (0, 0, 0)
    assert report.images_processed == 3

    for entry in stack._versions(stack.final):
        if entry["Key"].startswith("processed/lost.png"):
            stack.s3.delete_object(Bucket=stack.final, Key=entry["Key"], VersionId=entry["VersionId"])
    result = stack.read_json("processed/doubled.png.json")
    stack.s3.put_object(
        Bucket=stack.final,
        Key="processed/again.png.json",
        Body=json.dumps(result | {"image_key": "processed/again.png"}),
        Metadata={"batch-vision": "result"},
    )
    stack.force_status("running")
    report = account()
    stack.force_status("stopped")
    assert (report.images_lost, report.images_doubled, report.runs_that_left_the_model_on) == (1, 1, 1)
    assert any("'lost.png'" in problem for problem in report.problems)
    assert not report.is_good
