import json
import sys
from pathlib import Path

import pytest

from local.lambda_executor.batch_vision_lambda_executor.settings import ExecutorSettings, SettingsError


def variables(**changes: str) -> dict[str, str]:
    return {
        "BATCH_VISION_LAMBDA_PYTHON": sys.executable,
        "BATCH_VISION_LAMBDA_LOG_DIRECTORY": "/logs",
        **changes,
    }


def test_reads_every_variable():
    extra = {"AWS_ENDPOINT_URL_REKOGNITION": "http://127.0.0.1:4599", "NAME": "é"}
    settings = ExecutorSettings.from_environment(
        variables(BATCH_VISION_LAMBDA_ENVIRONMENT=json.dumps(extra)), start_seconds=3.0
    )
    assert settings == ExecutorSettings(Path(sys.executable), Path("/logs"), extra, 3.0)


def test_a_folder_of_faults_only_when_there_is_one(tmp_path):
    assert ExecutorSettings.from_environment(variables()).fault_directory is None
    settings = ExecutorSettings.from_environment(variables(BATCH_VISION_LAMBDA_FAULTS=str(tmp_path)))
    assert settings.fault_directory == tmp_path


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_no_extra_variable(text):
    settings = ExecutorSettings.from_environment(variables(BATCH_VISION_LAMBDA_ENVIRONMENT=text))
    assert settings.extra_environment == {}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("BATCH_VISION_LAMBDA_ENVIRONMENT", "{not json", "not JSON"),
        ("BATCH_VISION_LAMBDA_ENVIRONMENT", '["A"]', "not a JSON object"),
        ("BATCH_VISION_LAMBDA_ENVIRONMENT", '{"PORT": 4599}', "'PORT' is not a string"),
        ("BATCH_VISION_LAMBDA_PYTHON", "", "is not set"),
        ("BATCH_VISION_LAMBDA_PYTHON", "python3", "not the absolute path of a program"),
        ("BATCH_VISION_LAMBDA_PYTHON", "/no/such/python", "not the absolute path of a program"),
        ("BATCH_VISION_LAMBDA_LOG_DIRECTORY", "", "is not set"),
        ("BATCH_VISION_LAMBDA_LOG_DIRECTORY", "logs", "not an absolute path"),
        ("BATCH_VISION_LAMBDA_FAULTS", "faults", "not the absolute path of a folder"),
        ("BATCH_VISION_LAMBDA_FAULTS", "/no/such/folder", "not the absolute path of a folder"),
    ],
)
def test_says_which_variable_is_wrong_and_why(name, value, reason):
    with pytest.raises(SettingsError) as caught:
        ExecutorSettings.from_environment(variables(**{name: value}))
    assert str(caught.value).startswith(name)
    assert reason in str(caught.value)
