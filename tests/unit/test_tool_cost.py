from __future__ import annotations

import json
import re
import time
from dataclasses import fields

import pytest
from click.testing import CliRunner

from batch_vision.operator import prices
from batch_vision.operator.cli import main
from batch_vision.operator.cost import (
    FAST_OVERHEAD_SECONDS,
    OVERHEAD_MAPPING_SECONDS,
    OVERHEAD_SECONDS,
    TRANSITIONS_PER_RUN,
    Deployment,
    estimate,
    estimate_managed,
    runs_per_day,
)
from batch_vision.operator.prices import (
    INFERENCE_UNIT_HOUR_DOLLARS,
    SAGEMAKER_INSTANCE_HOUR_DOLLARS,
    STATE_TRANSITION_DOLLARS,
)
from benchmarks.simulation import World, bill, one_batch, terraform_defaults
from local.config import REPOSITORY


def cost(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["cost", *words])
    return result.exit_code, result.stdout, result.stderr


def test_the_day_of_the_readme() -> None:
    """24 batches of 10 minutes: 4 hours, $16; $32 to $64 with starts of 10 to 30 minutes; $96 always on."""
    for minutes, dollars in ((10, 32), (30, 64)):
        day = estimate(
            4 * 3600 * 5,
            24,
            images_per_second_per_unit=5,
            inference_units=1,
            start_minutes=minutes,
            overhead_minutes=0,
        )
        assert day.analyzing_hours == pytest.approx(4)
        assert day.model_dollars == pytest.approx(16)
        assert day.model_with_starts_dollars == pytest.approx(dollars)
        assert day.always_on_dollars == 96


def test_more_units_take_less_time_and_cost_the_same_but_for_starts() -> None:
    def day(units: int) -> tuple[float, float, float]:
        found = estimate(
            18000, 1, images_per_second_per_unit=5, inference_units=units, start_minutes=15, overhead_minutes=0
        )
        return found.analyzing_hours, found.model_dollars, found.model_with_starts_dollars

    assert day(1) == (1, 4, 5)
    assert day(2) == (0.5, 4, 6)


def test_runs_that_find_nothing_cost_no_model() -> None:
    found = estimate(3, 24, images_per_second_per_unit=5, inference_units=1, start_minutes=15, overhead_minutes=2)
    assert found.runs_per_day == 3


def test_a_run_chooses_its_units() -> None:
    def units(images: int) -> int:
        found = estimate(
            images, 1, images_per_second_per_unit=5, inference_units=None, start_minutes=15, overhead_minutes=2
        )
        return found.inference_units

    assert [units(images) for images in (18_000, 18_001, 1_000_000)] == [1, 2, 5]


def test_what_outlasts_the_drain_takes_further_runs() -> None:
    """A unit analyzes 108,000 images in drain_timeout_seconds (6 hours)."""
    for images, runs in ((108_000, 1), (108_001, 2), (216_001, 3)):
        found = estimate(
            images, 1, images_per_second_per_unit=5, inference_units=1, start_minutes=15, overhead_minutes=2
        )
        assert found.runs_per_day == runs


def test_any_number_of_images_is_answered_at_once() -> None:
    began = time.process_time()
    status, _, said = cost("--images-per-day", "999999999999")
    assert time.process_time() - began < 5
    assert (status, "smaller --images-per-day" in said) == (1, True), said


def test_always_on_has_the_units_that_the_images_need() -> None:
    found = estimate(
        1_000_000, 1, images_per_second_per_unit=5, inference_units=3, start_minutes=15, overhead_minutes=2
    )
    assert found.always_on_dollars == 3 * 24 * INFERENCE_UNIT_HOUR_DOLLARS


@pytest.mark.parametrize(
    ("schedule", "ticks"), [("rate(1 hour)", 24), ("rate(30 minutes)", 48), ("rate(1 day)", 1), ("rate(2 days)", 0.5)]
)
def test_schedules(schedule: str, ticks: float) -> None:
    assert runs_per_day(schedule) == ticks


def test_the_command() -> None:
    status, printed, _ = cost("--images-per-day", "18000")
    assert status == 0
    for text in (
        "runs a day        24",
        "1.00 hours a day with 1 inference unit",
        "$96.00 a day",
        "if starts are billed",
    ):
        assert text in printed, printed
    status, printed, _ = cost("--images-per-day", "18000", "--runs-per-day", "200")
    assert "run less often" in printed
    status, printed, _ = cost("--images-per-day", "18000", "--schedule", "rate(1 day)", "--json")
    found = json.loads(printed)
    assert found["overhead_minutes"] == pytest.approx(OVERHEAD_SECONDS / 60, abs=0.1)
    assert found["model_dollars"] == pytest.approx(4 + found["overhead_minutes"] / 60 * 4, rel=0.001)
    status, printed, _ = cost("--images-per-day", "18000", "--runs-per-day", "1", "--overhead-minutes", "2", "--json")
    assert json.loads(printed)["model_dollars"] == pytest.approx(4 + 2 / 60 * 4, rel=0.001)


def test_the_price_of_a_unit_is_that_of_an_instance_or_the_one_that_is_given() -> None:
    words = ("--images-per-day", "18000", "--runs-per-day", "1", "--overhead-minutes", "0", "--json")
    for more, dollars in ((("--instance-type", "ml.g5.xlarge"), 1.408), (("--unit-hour-dollars", "2.5"), 2.5)):
        found = json.loads(cost(*words, *more)[1])
        assert found["model_dollars"] == pytest.approx(dollars)
        assert found["always_on_dollars"] == pytest.approx(24 * dollars)


def test_terraform_has_the_same_prices_of_instances() -> None:
    backends = (REPOSITORY / "terraform" / "backends.tf").read_text()
    (entries,) = re.findall(r"^  sagemaker_prices = \{\n(.*?)^  \}", backends, re.DOTALL | re.MULTILINE)
    told = re.findall(r'^ +"([a-z0-9.]+)" += ([0-9.]+)$', entries, re.MULTILINE)
    assert {name: float(dollars) for name, dollars in told} == SAGEMAKER_INSTANCE_HOUR_DOLLARS


@pytest.mark.parametrize(
    ("words", "exit_status", "message"),
    [
        ([], 2, "--images-per-day"),
        (["--images-per-day", "0"], 2, "--images-per-day"),
        (["--images-per-day", "many"], 2, "'many' is not a valid integer"),
        (["--images-per-day", "5", "--schedule", "cron(0 1 * * ? *)"], 2, "give --runs-per-day instead"),
        *(
            (["--images-per-day", "5", "--schedule", rate], 2, f"--schedule is '{rate}'" if rate else "it is empty")
            for rate in (
                "",
                "rate(0 hours)",
                "rate(1 hours)",
                "rate(2 hour)",
                "rate(02 hours)",
                f"rate({10**400} days)",
            )
        ),
        *(
            (["--images-per-day", "5", option, value], 2, option)
            for option in ("--start-minutes", "--overhead-minutes", "--images-per-second", "--runs-per-day")
            for value in ("nan", "inf", "-inf", "-1", "1e308", "")
        ),
        *((["--images-per-day", "5", option, "0"], 2, option) for option in ("--images-per-second", "--runs-per-day")),
        (["--images-per-day", "5", "--runs-per-day", "1e-300"], 2, "--runs-per-day"),
        (["--images-per-day", str(10**400)], 2, "--images-per-day"),
        (["--images-per-day", "5", "--inference-units", str(10**400)], 2, "--inference-units"),
        (["--images-per-day", "5", "--schedule", "", "--runs-per-day", "1"], 2, "--schedule"),
        (["--images-per-day", "5", "--schedule", "rate(1 day)", "--runs-per-day", "1"], 2, "Leave one of them out"),
        (
            ["--images-per-day", "5", "--instance-type", "ml.m5.large", "--unit-hour-dollars", "1"],
            2,
            "Both --instance-type and --unit-hour-dollars are given",
        ),
        (["--images-per-day", "5", "--analysis", "text", "--instance-type", "ml.m5.large"], 2, "never started"),
        (["--video-minutes-per-day", "5", "--video-analysis", "text", "--schedule", "rate(1 hour)"], 2, "about images"),
        (["--video-minutes-per-day", "5", "--video-analysis", "text", "--analysis", "text"], 2, "about images"),
        (["--images-per-day", "5", "--instance-type", "m5.large"], 2, "--instance-type"),
        (["--images-per-day", "1000000", "--inference-units", "1"], 1, "Give at least --inference-units 3"),
    ],
)
def test_wrong_input_is_named(words: list[str], exit_status: int, message: str) -> None:
    status, _, said = cost(*words)
    assert (status, message in said) == (exit_status, True), said


def test_the_help_is_readable() -> None:
    printed = CliRunner().invoke(main, ["cost", "--help"]).output
    assert "\\b" not in printed
    assert "\n  dollars    = " in printed


def test_the_defaults_are_those_of_the_module() -> None:
    defaults = terraform_defaults()
    for field in fields(Deployment):
        assert defaults[field.name] == getattr(Deployment(), field.name), field.name


@pytest.mark.parametrize("images", [1, 1_000, 18_000, 90_000])
@pytest.mark.parametrize(
    ("mapping_seconds", "overhead_seconds"), [(OVERHEAD_MAPPING_SECONDS, OVERHEAD_SECONDS), (5, FAST_OVERHEAD_SECONDS)]
)
def test_an_estimate_is_what_a_simulated_run_costs(images: int, mapping_seconds: int, overhead_seconds: int) -> None:
    """Not more than 15 seconds of overhead too many. Where the workflow changes, the constants of `cost` follow it."""
    run = one_batch(images, World(mapping_seconds=mapping_seconds))
    found = estimate(
        images,
        1,
        images_per_second_per_unit=5,
        inference_units=None,
        start_minutes=15,
        overhead_minutes=overhead_seconds / 60,
    )
    assert found.inference_units == run.inference_units
    simulated = run.running_seconds + run.stopping_seconds - found.analyzing_hours * 3600
    assert simulated <= overhead_seconds <= simulated + 15
    others = bill([run]).others
    assert 0.98 * others <= found.other_dollars <= others * 1.2 + TRANSITIONS_PER_RUN * STATE_TRANSITION_DOLLARS


# A managed model.


def test_a_managed_model_is_paid_for_by_image_and_analysis() -> None:
    """A million calls of group 2 cost $1,000, the next four millions $0.80 for a thousand."""
    month = estimate_managed(100_000, ("labels", "text", "image_properties"), is_in_place=False)
    assert month.images_per_month == 3_000_000
    # 6,000,000 calls: 1,000,000 + 4,000,000 + 1,000,000 of the tiers.
    assert month.analyses_dollars["labels"] + month.analyses_dollars["text"] == pytest.approx(1000 + 3200 + 600)
    assert month.analyses_dollars["image_properties"] == pytest.approx(750 + 1200)
    assert month.calls_per_image == 2  # labels and image properties are one


@pytest.mark.parametrize(
    ("analyses", "calls", "dollars"),
    [
        (("labels",), 1, 30.0),
        (("image_properties",), 1, 22.5),
        (("faces", "celebrities", "protective_equipment"), 3, 90),
    ],
)
def test_what_each_analysis_costs(analyses: tuple[str, ...], calls: int, dollars: float) -> None:
    month = estimate_managed(1000, analyses, is_in_place=False)
    assert (month.calls_per_image, sum(month.analyses_dollars.values())) == (calls, pytest.approx(dollars))


def test_an_image_that_stays_is_looked_at_and_not_copied() -> None:
    moved, stays = (estimate_managed(1000, ("labels",), is_in_place=is_in_place) for is_in_place in (False, True))
    assert (moved.s3_reads_per_image, moved.s3_writes_per_image) == (0, 3)
    assert (stays.s3_reads_per_image, stays.s3_writes_per_image) == (4, 2)
    per_image = prices.S3_WRITE_DOLLARS - 4 * prices.S3_READ_DOLLARS - prices.EVENT_DOLLARS
    assert moved.requests_dollars - stays.requests_dollars == pytest.approx(30_000 * per_image)


def test_the_last_tiers() -> None:
    assert prices.tiered_dollars(36_000_000, prices.GROUP_2_TIERS) == pytest.approx(1000 + 3200 + 18000 + 250)


def test_the_cost_of_a_managed_model_is_shown() -> None:
    status, printed, _ = cost("--images-per-day", "50000", "--analysis", "labels", "--analysis", "protective_equipment")
    assert status == 0
    for text in ("1,500,000", "protective equipment  $", "2 calls of the model", "not certain"):
        assert text in printed
    status, printed, _ = cost("--images-per-day", "10", "--analysis", "labels", "--existing-bucket", "--json")
    assert json.loads(printed)["analyses_dollars"] == {"labels": 0.3}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--analysis", "labels", "--inference-units", "2"], "--inference-units"),
        (["--analysis", "labels", "--schedule", "rate(1 hour)"], "--schedule"),
        (["--existing-bucket"], "--analysis"),
        (["--analysis", "smiles"], "labels"),
    ],
)
def test_options_of_the_other_kind_of_model(words: list[str], named: str) -> None:
    status, printed, said = cost("--images-per-day", "10", *words)
    assert (status, printed) == (2, "")
    assert named in said
