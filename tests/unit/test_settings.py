from __future__ import annotations

import dataclasses
import json

import pytest

from batch_vision.backends import registry
from batch_vision.backends.registry import backend_of, check_unchanged, make_backend
from batch_vision.core.errors import BackendChangedError, SettingsError
from batch_vision.core.models import Model
from batch_vision.core.settings import Settings
from tests.unit.tool_stack import ENVIRONMENT


def test_reads_every_variable() -> None:
    settings = Settings.from_environment(
        ENVIRONMENT | {"MIN_CONFIDENCE_PERCENT": "62.5", "SOURCE_PREFIXES": '["in/", "old/"]'}
    )
    assert settings.min_confidence_percent == 62.5
    assert (settings.source_prefix, settings.source_prefixes) == ("in/", ("in/", "old/"))
    assert settings.max_inference_units == 3
    assert settings.backend_settings["project_arn"].endswith("project/p/1")


def test_is_frozen(settings: Settings) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.backend = "other"  # type: ignore[misc]


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
        ("BACKEND_SETTINGS", "{"),
        ("BACKEND_SETTINGS", "[]"),
        ("BACKEND_SETTINGS", '{"project_arn": 1}'),
    ],
)
def test_names_the_variable_its_value_and_the_remedy(name: str, value: str | None) -> None:
    environment = {key: text for key, text in ENVIRONMENT.items() if key != name}
    if value is not None:
        environment[name] = value
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    message = str(caught.value)
    assert name in message
    assert "is not set" in message if value is None else repr(value) in message
    assert "must be" in message


def test_an_unknown_backend_is_named_with_those_there_are(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"BACKEND is 'abacus'.*rekognition_custom_labels"):
        make_backend(dataclasses.replace(settings, backend="abacus"))


def test_a_missing_backend_setting_is_named(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"BACKEND_SETTINGS lacks 'project_version_arn'"):
        make_backend(dataclasses.replace(settings, backend_settings={"project_arn": "a"}))


OLD = Model.named("lookout_for_vision", {"project_name": "p", "model_version": "1"})
NOW = Model.named("rekognition_custom_labels", json.loads(ENVIRONMENT["BACKEND_SETTINGS"]))


def test_a_run_keeps_the_model_that_it_was_begun_with(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "settings", lambda: settings)
    assert backend_of(OLD).name == "lookout_for_vision"
    assert backend_of(NOW).model_id.endswith("version/v/2")


def test_a_run_notices_that_the_deployment_has_another_model(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "settings", lambda: settings)
    check_unchanged(NOW)
    for model in (OLD, Model(NOW.backend, NOW.settings.replace("version/v/2", "version/w/3"))):
        with pytest.raises(BackendChangedError, match=r"was changed from .* during the run"):
            check_unchanged(model)
