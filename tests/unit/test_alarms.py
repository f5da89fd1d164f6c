"""The alarms that the module makes, and what the manual says of each."""

from __future__ import annotations

import re
from typing import Any

import pytest

from local.config import REPOSITORY

pytestmark = pytest.mark.timeout(300)

OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()


@pytest.fixture
def alarms(planned: list[dict[str, Any]]) -> dict[str, str]:
    """The description of each alarm, by its name without prefix."""
    return described(planned)


def described(resources: list[dict[str, Any]]) -> dict[str, str]:
    return {
        resource["index"]: resource["values"]["alarm_description"]
        for resource in resources
        if resource["type"] == "aws_cloudwatch_metric_alarm"
    }


def test_the_manual_has_a_section_for_each_alarm_and_for_no_other(alarms: dict[str, str]) -> None:
    chapter = OPERATIONS.split("## What to do when an alarm goes off\n")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^### (\S+)$", chapter, re.MULTILINE)) == sorted(alarms)


def test_the_manual_begins_with_what_the_alarm_says_first_and_has_its_command(alarms: dict[str, str]) -> None:
    for name, description in alarms.items():
        section = plain(OPERATIONS.split(f"### {name}\n")[1].split("\n##")[0])
        first_sentence = re.split(r"(?<=[a-z)])\. (?=[A-Z])", description)[0].rstrip(".")
        assert section.startswith(first_sentence), (name, first_sentence)
        commands = re.findall(r"batch-vision (?:run --watch|[a-z]+)", description)
        assert commands, f"{name} names no command"
        assert all(command in section for command in commands), name


def test_the_manual_has_a_row_for_each_alarm_that_only_existing_buckets_have(
    alarms: dict[str, str], planned_shapes: dict[str, list[dict[str, Any]]]
) -> None:
    others = described(planned_shapes["managed_drop_off"]).keys()
    existing = described(planned_shapes["managed_existing"]) | described(planned_shapes["hosted_existing"])
    table = OPERATIONS.split("Its alarms, beside those above:\n\n")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\S+)`.*? \| (.*) \|$", table, re.MULTILINE))
    wanted = existing.keys() - alarms.keys() - others
    assert sorted(rows) == sorted(name for name in wanted if not name.startswith("refused-calls-"))
    for name, row in rows.items():
        commands = re.findall(r"batch-vision [a-z]+", existing[name])
        assert all(command in row for command in commands), name


def test_the_manual_has_a_row_for_each_alarm_of_videos(planned_videos: dict[str, list[dict[str, Any]]]) -> None:
    table = OPERATIONS.split("The alarms of videos:\n\n")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\S+)`.*? \| (.*) \|$", table, re.MULTILINE))
    alarms = described(planned_videos["videos_in_the_images_bucket"])
    assert sorted(rows) == sorted(name for name in alarms if name.startswith("video-"))
    for name, row in rows.items():
        commands = re.findall(r"batch-vision [a-z]+", alarms[name])
        assert all(command in row for command in commands), name


def plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())
