"""What the last runs show of the model's throughput."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from batch_vision.core.settings import Settings
from batch_vision.runs.last_runs import KEY, learn, read_learned
from batch_vision.runs.throughput import learned, measurement

SUMMARY = {
    "run_id": "r1",
    "images_processed": 1000,
    "inference_units": 2,
    "images_per_second_per_unit": 7.5,
    "throttles": 10,
}


def shown(settings: Settings, *rates: float) -> list[dict[str, Any]]:
    found = [measurement(SUMMARY | {"images_per_second_per_unit": rate}, settings) for rate in rates]
    return [one for one in found if one]


@pytest.mark.parametrize(
    ("changes", "is_telling"),
    [
        ({}, True),
        ({"images_processed": 499}, False),
        ({"images_per_second_per_unit": None}, False),
        ({"throttles": 0}, True),  # more than the 5 of the settings: it can do no less
        ({"throttles": 0, "images_per_second_per_unit": 3.0}, False),  # too little to do, perhaps
        ({"throttles": 9, "images_per_second_per_unit": 3.0}, True),
        ({"inference_units": 6}, False),  # 45 of the 50 images a second of the account
    ],
)
def test_which_runs_show_anything(settings: Settings, changes: dict[str, Any], *, is_telling: bool) -> None:
    assert (measurement(SUMMARY | changes, settings) is not None) == is_telling


def test_the_median_counts_within_a_range_of_what_was_configured(settings: Settings) -> None:
    assert learned([], settings) == 5
    assert learned(shown(settings, 4, 7, 21), settings) == 7
    assert learned(shown(settings, 22), settings) == 20
    assert learned(shown(settings, 0.1), settings) == 1.25


def test_another_model_has_another_throughput(settings: Settings) -> None:
    other = replace(settings, backend_settings={"project_version_arn": "another"})
    assert learned(shown(other, 7), settings) == 5


def test_the_last_five_runs_are_kept(s3: Any, settings: Settings) -> None:
    assert read_learned(s3, settings) == 5
    for number in range(7):
        learn(s3, settings, SUMMARY | {"run_id": f"r{number}", "images_per_second_per_unit": 6.0 + number})
        learn(s3, settings, SUMMARY | {"run_id": f"r{number}", "images_processed": 3})
    learn(s3, settings, SUMMARY | {"run_id": "r6", "images_per_second_per_unit": 12.0})  # the step is tried again
    kept = json.loads(s3.get_object(Bucket="final", Key=KEY)["Body"].read())
    assert [run["run_id"] for run in kept] == ["r2", "r3", "r4", "r5", "r6"]
    assert read_learned(s3, settings) == 10


@pytest.mark.parametrize("content", [b"{", b"7", b'[{"run_id": "r"}]', b"\xff"])
def test_what_cannot_be_read_stops_no_run(s3: Any, settings: Settings, content: bytes) -> None:
    s3.put_object(Bucket="final", Key=KEY, Body=content)
    assert read_learned(s3, settings) == 5
    learn(s3, settings, SUMMARY)
    assert read_learned(s3, settings) == 7.5
    missing = replace(settings, final_bucket_name="missing")
    assert read_learned(s3, missing) == 5
    learn(s3, missing, SUMMARY)
