"""What each function is told: its own settings, and nothing else."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from batch_vision.backends.registry import lifecycle_of, make_detectors, make_lifecycle
from batch_vision.core.capacity import calls_per_second_per_invocation
from batch_vision.core.errors import BackendChangedError, SettingsError
from batch_vision.core.models import Model, check_unchanged
from batch_vision.core.settings import read_settings
from batch_vision.images.settings import (
    AnalyzeChunkSettings,
    AnalyzeImagesSettings,
    CollectChangesSettings,
    CountBackfillSettings,
    PlanBackfillSettings,
    RequeueImagesSettings,
    RequeueOverdueSettings,
    SendChunksSettings,
    UpdateResultsSettings,
    WorkOffChunkSettings,
)
from batch_vision.runs.settings import (
    CheckBacklogSettings,
    CheckChunksSettings,
    CloseRunSettings,
    CompactCatalogSettings,
    GuardModelSettings,
    StartModelSettings,
    SummarizeChunksSettings,
    SummarizeRunSettings,
)
from batch_vision.videos.settings import CollectVideosSettings, DispatchVideosSettings, RegisterVideosSettings
from benchmarks.simulation import function_environment, terraform_defaults
from local.config import REPOSITORY
from tests.unit.tool_stack import ENVIRONMENT

SETTINGS: dict[str, Any] = {
    "analyze_chunk": AnalyzeChunkSettings,
    "analyze_images": AnalyzeImagesSettings,
    "check_backlog": CheckBacklogSettings,
    "check_chunks": CheckChunksSettings,
    "close_run": CloseRunSettings,
    "collect_and_move_video": CollectVideosSettings,
    "collect_changes": CollectChangesSettings,
    "collect_video": CollectVideosSettings,
    "compact_catalog": CompactCatalogSettings,
    "count_backfill": CountBackfillSettings,
    "dispatch_videos": DispatchVideosSettings,
    "enable_mapping": None,
    "guard_model": GuardModelSettings,
    "plan_backfill": PlanBackfillSettings,
    "register_videos": RegisterVideosSettings,
    "requeue_images": RequeueImagesSettings,
    "requeue_overdue": RequeueOverdueSettings,
    "send_chunks": SendChunksSettings,
    "start_model": StartModelSettings,
    "summarize_chunks": SummarizeChunksSettings,
    "summarize_run": SummarizeRunSettings,
    "update_results": UpdateResultsSettings,
    "work_off_chunk": WorkOffChunkSettings,
}
# Handlers that only a hosted model on a drop-off bucket has, which is what `planned` is of.
OF_A_DROP_OFF_BUCKET = {"check_backlog", "requeue_images", "summarize_run"}


def variables(cls: Any) -> set[str]:
    return {field.name.upper() for field in dataclasses.fields(cls)} if cls else set()


def test_every_function_is_told_its_settings_and_nothing_else(
    planned_shapes: dict[str, list[dict[str, Any]]], planned_videos: dict[str, list[dict[str, Any]]]
) -> None:
    """As Terraform makes it, in every shape but the one of the next test; what it makes can be read."""
    assert set(SETTINGS) == {path.parent.name for path in (REPOSITORY / "lambdas").glob("*/handler.py")}
    told = [
        (f"{shape}: {resource['address']}", resource["values"])
        for shape, resources in (planned_shapes | planned_videos).items()
        for resource in resources
        if resource["type"] == "aws_lambda_function"
    ]
    handlers = {values["handler"].split(".")[1] for _, values in told}
    assert handlers | OF_A_DROP_OFF_BUCKET == set(SETTINGS)
    for where, values in told:
        cls = SETTINGS[values["handler"].split(".")[1]]
        environment = values["environment"][0]["variables"]
        own = {name: text for name, text in environment.items() if not name.startswith("POWERTOOLS_")}
        assert set(own) == variables(cls), where
        if cls:
            read_settings(cls, own)


def test_every_function_of_a_run_is_told_its_settings_and_nothing_else(planned: list[dict[str, Any]]) -> None:
    """Of a hosted model on a drop-off bucket."""
    told = {
        resource["values"]["handler"].split(".")[1]: resource["values"]["environment"][0]["variables"]
        for resource in planned
        if resource["type"] == "aws_lambda_function"
    }
    assert set(told) > OF_A_DROP_OFF_BUCKET
    for function, environment in told.items():
        own = {name: text for name, text in environment.items() if not name.startswith("POWERTOOLS_")}
        assert set(own) == variables(SETTINGS[function]), function
        if SETTINGS[function]:
            read_settings(SETTINGS[function], own)


def test_terraform_and_the_capacity_mean_the_same_pace(planned: list[dict[str, Any]]) -> None:
    """The concurrency of a run is chosen for the pace that each invocation is told."""
    (told,) = (
        resource["values"]["environment"][0]["variables"]
        for resource in planned
        if resource["type"] == "aws_lambda_function" and "analyze_images" in resource["values"]["handler"]
    )
    (pace,) = json.loads(told["PACES"]).values()
    per_second = terraform_defaults()["images_per_second_per_unit"]
    assert pace["calls_per_second"] == calls_per_second_per_invocation(per_second)
    assert pace["most_calls_per_second"] == 8 * pace["calls_per_second"]
    assert json.loads(function_environment(terraform_defaults())["PACES"]) == json.loads(told["PACES"])


def test_reads_every_kind_of_variable() -> None:
    changes = {"MIN_CONFIDENCE_PERCENT": "62.5", "SOURCE_PREFIXES": '["in/", "old/"]', "SUCCESS_TOPIC_ARN": ""}
    analyzing = read_settings(AnalyzeImagesSettings, ENVIRONMENT | changes)
    assert (analyzing.min_confidence_percent, analyzing.max_receive_count) == (62.5, 5)
    assert analyzing.model == NOW
    summarizing = read_settings(SummarizeRunSettings, ENVIRONMENT | changes)
    assert (summarizing.source_prefixes, summarizing.success_topic_arn) == (("in/", "old/"), None)
    assert summarizing.inference_unit_hour_dollars == 4.0
    assert read_settings(AnalyzeImagesSettings, ENVIRONMENT).min_confidence_percent is None


@pytest.mark.parametrize("cls", [cls for cls in SETTINGS.values() if cls])
def test_is_frozen(cls: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_settings(cls, ENVIRONMENT).final_bucket_name = "other"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOURCE_BUCKET_NAME", None),
        ("FINAL_BUCKET_NAME", ""),
        ("BACKEND", None),
        ("START_BACKLOG_IMAGES", "0"),
        ("START_MAX_AGE_SECONDS", "0"),
        ("MIN_INFERENCE_UNITS", "0"),
        ("MAX_INFERENCE_UNITS", "two"),
        ("MAX_INFERENCE_UNITS", "²"),
        ("TARGET_DRAIN_SECONDS", "-1"),
        ("IMAGES_PER_SECOND_PER_UNIT", "0"),
        ("ACCOUNT_IMAGES_PER_SECOND", "inf"),
        ("IMAGE_LATENCY_SECONDS", None),
        ("REQUEUE_LIMIT_IMAGES", "1.5"),
        ("INFERENCE_UNIT_HOUR_DOLLARS", "four"),
        ("INFERENCE_UNIT_HOUR_DOLLARS", "-1"),
        ("INFERENCE_UNIT_HOUR_DOLLARS", "inf"),
        ("SCHEDULE_PERIOD_SECONDS", "1 hour"),
        ("MIN_CONFIDENCE_PERCENT", "101"),
        ("MIN_CONFIDENCE_PERCENT", "nan"),
        ("MIN_CONFIDENCE_PERCENT", "half"),
        ("SOURCE_PREFIXES", "[]"),
        ("BACKEND_SETTINGS", "{"),
        ("BACKEND_SETTINGS", "[" * 100_000),
        ("BACKEND_SETTINGS", "[]"),
        ("PACES", None),
        ("PACES", "{}"),
        ("PACES", "[]"),
        ("PACES", '{"m": 1}'),
        ("PACES", '{"m": {"calls_per_second": 1}}'),
        ("PACES", '{"m": {"calls_per_second": "1", "most_calls_per_second": 2}}'),
        ("PACES", '{"m": {"calls_per_second": 0, "most_calls_per_second": 2}}'),
        ("PACES", '{"m": {"calls_per_second": 3, "most_calls_per_second": 2}}'),
        ("PACES", '{"m": {"calls_per_second": 1, "most_calls_per_second": Infinity}}'),
    ],
)
def test_names_the_variable_its_value_and_the_remedy(name: str, value: str | None) -> None:
    environment = {key: text for key, text in ENVIRONMENT.items() if key != name}
    if value is not None:
        environment[name] = value
    readers = [cls for cls in SETTINGS.values() if name in variables(cls)]
    assert readers
    for cls in readers:
        with pytest.raises(SettingsError) as caught:
            read_settings(cls, environment)
        message = str(caught.value)
        assert name in message
        assert "is not set" in message if value is None else repr(value) in message
        assert "must be" in message


OLD = Model.named("lookout_for_vision", {"project_name": "p", "model_version": "1"})
NOW = Model.named("rekognition_custom_labels", json.loads(ENVIRONMENT["BACKEND_SETTINGS"]))


@pytest.mark.parametrize("make", [make_lifecycle, lambda model: make_detectors(model, None)])
def test_an_unknown_backend_is_named_with_those_there_are(make: Any) -> None:
    with pytest.raises(SettingsError, match=r"BACKEND is 'abacus'.*rekognition_custom_labels"):
        make(Model.named("abacus", {}))


@pytest.mark.parametrize("make", [make_lifecycle, lambda model: make_detectors(model, None)])
@pytest.mark.parametrize("wrong", [{}, {"project_version_arn": 1}])
def test_a_missing_backend_setting_is_named(make: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"BACKEND_SETTINGS lacks 'project_version_arn'"):
        make(Model.named("rekognition_custom_labels", {"project_arn": "a"} | wrong))


def test_a_model_that_is_always_there_has_no_lifecycle() -> None:
    model = Model.named("rekognition", {"analyses": ["text", "faces"]})
    assert list(make_detectors(model, None)) == ["DetectText", "DetectFaces"]
    with pytest.raises(SettingsError, match="rekognition"):
        make_lifecycle(model)


def test_a_run_keeps_the_model_that_it_was_begun_with() -> None:
    assert lifecycle_of(OLD).name == "lookout_for_vision"
    assert lifecycle_of(NOW).model_id.endswith("version/v/2")
    assert lifecycle_of(NOW) is lifecycle_of(NOW)


def test_a_run_notices_that_the_deployment_has_another_model() -> None:
    check_unchanged(NOW, NOW)
    for model in (OLD, Model(NOW.backend, NOW.settings.replace("version/v/2", "version/w/3"))):
        with pytest.raises(BackendChangedError, match=r"was changed from .* during the run"):
            check_unchanged(NOW, model)
