"""How the tool finds a stack, and what it says when it does not."""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner

from batch_vision.operator.cli import main
from batch_vision.operator.errors import UnreachableError
from batch_vision.operator.stack import find_by_name, find_by_outputs
from local.config import REPOSITORY
from tests.unit.tool_stack import ACCOUNT_ID, FINAL, NAME, REGION, Deployed

COMMANDS = {
    "status": [],
    "retry": [],
    "run": [],
    "stop": [],
    "results": [],
    "report": [],
    "upload": [str(REPOSITORY / "local" / "samples" / "pile")],
}


def invoke(*words: str, **env: str | None) -> tuple[int, str, str]:
    result = CliRunner(env=env).invoke(main, [*words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_stack_is_the_same_by_outputs_and_by_name(deployed: Deployed) -> None:
    by_outputs = find_by_outputs(deployed.outputs_file)
    assert by_outputs == find_by_name(NAME)
    assert (by_outputs.name, by_outputs.region, by_outputs.analyze_timeout_seconds) == (NAME, REGION, 2)
    assert by_outputs.model.backend == "rekognition_custom_labels"


def test_other_outputs_of_a_root_configuration_do_not_matter(deployed: Deployed) -> None:
    deployed.write_outputs(deployed.outputs | {"vpc_id": "x", "subnets": ["a"]})
    assert find_by_outputs(deployed.outputs_file).name == NAME


def test_the_region_is_that_of_the_outputs(deployed: Deployed) -> None:
    with pytest.raises(UnreachableError, match="Region eu-west-1"):
        find_by_outputs(written(deployed, final_bucket_name=FINAL.replace(REGION, "eu-west-1")))


@pytest.mark.parametrize(("command", "words"), COMMANDS.items())
def test_every_command_says_that_there_is_no_such_stack(deployed: Deployed, command: str, words: list[str]) -> None:
    status, printed, said = invoke(command, *words, "--stack", "nowhere")
    assert (status, printed) == (3, "")
    assert f"no such stack (--stack nowhere) in account {ACCOUNT_ID}, Region {REGION}" in said
    assert "AWS_PROFILE" in said


@pytest.mark.parametrize(("command", "words"), COMMANDS.items())
def test_every_command_says_that_credentials_are_missing(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers
    status, printed, said = invoke(command, *words, "--outputs", str(deployed.outputs_file))
    assert (status, printed) == (3, "")
    assert "There are no AWS credentials" in said


@pytest.mark.parametrize(("command", "words"), COMMANDS.items())
def test_every_command_refuses_a_name_that_no_stack_can_have(command: str, words: list[str]) -> None:
    status, printed, said = invoke(command, *words, "--stack", "My_Stack")
    assert (status, printed) == (2, "")
    assert "--stack is 'My_Stack'" in said


def test_no_region(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    status, _, said = invoke("status", "--stack", NAME)
    assert (status, "Set AWS_REGION" in said) == (3, True)
    monkeypatch.setenv("AWS_REGION", REGION)
    assert find_by_name(NAME).region == REGION


def test_the_region_that_is_set_comes_before_that_of_the_profile(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the AWS CLI and Terraform have it."""
    (tmp_path / "config").write_text("[default]\nregion = eu-central-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", REGION)
    assert find_by_name(NAME).region == REGION


def test_no_network(deployed: Deployed) -> None:
    status, _, said = invoke("status", "--stack", NAME, AWS_ENDPOINT_URL_STS="http://127.0.0.1:9")
    assert (status, "AWS does not answer" in said) == (3, True)


def test_a_profile_that_is_not_there(deployed: Deployed) -> None:
    status, _, said = invoke("status", "--stack", NAME, AWS_PROFILE="nobody")
    assert (status, "nobody" in said) == (3, True)


def written(deployed: Deployed, **changes: str | None) -> Path:
    deployed.write_outputs({name: value for name, value in (deployed.outputs | changes).items() if value is not None})
    return deployed.outputs_file


@pytest.mark.parametrize(
    ("changes", "exit_status", "message"),
    [
        ({"queue_url": None}, 2, "lacks queue_url"),
        ({"queue_url": None, "final_bucket_name": ""}, 2, "lacks final_bucket_name, queue_url"),
        ({"state_machine_arn": None, "source_bucket_name": None}, 2, "lacks source_bucket_name, state_machine_arn"),
        ({"final_bucket_name": "nonsense"}, 2, "final_bucket_name is 'nonsense'"),
        (
            {"final_bucket_name": FINAL.replace(ACCOUNT_ID, "999999999999")},
            3,
            f"of a stack in account 999999999999, and your credentials are of account {ACCOUNT_ID}",
        ),
        ({"analyze_images_function_name": "gone"}, 3, "has no function gone"),
    ],
)
def test_wrong_outputs(deployed: Deployed, changes: dict[str, str | None], exit_status: int, message: str) -> None:
    status, _, said = invoke("status", "--outputs", str(written(deployed, **changes)))
    assert (status, message in said) == (exit_status, True), said


@pytest.mark.parametrize(("content", "message"), [("{", "is not JSON"), ("[]", "is not a JSON object")])
def test_a_file_that_is_no_outputs(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "o").write_text(content)
    status, _, said = invoke("status", "--outputs", str(tmp_path / "o"))
    assert (status, message in said) == (2, True), said
    assert "terraform output -json" in said


def test_no_outputs_and_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, said = invoke("status")
    assert (status, "Which stack?" in said) == (2, True)
    status, _, said = invoke("status", "--outputs", "nowhere.json")
    assert (status, "--outputs nowhere.json cannot be read" in said) == (2, True)


def test_an_option_says_more_than_the_environment(deployed: Deployed, tmp_path: Path) -> None:
    outputs = str(deployed.outputs_file)
    assert invoke("status", "--outputs", outputs, BATCH_VISION_STACK="other")[0] == 0
    assert invoke("status", "--stack", NAME, BATCH_VISION_OUTPUTS="/nowhere")[0] == 0
    assert invoke("status", BATCH_VISION_STACK=NAME)[0] == 0
    for env in ({}, {"BATCH_VISION_STACK": NAME, "BATCH_VISION_OUTPUTS": outputs}):
        words = [] if env else ["--outputs", outputs, "--stack", NAME]
        status, _, said = invoke("status", *words, **env)
        assert (status, "Both --outputs and --stack" in said) == (2, True)


def test_a_function_of_something_else(deployed: Deployed) -> None:
    deployed.functions.update_function_configuration(
        FunctionName=f"{NAME}-analyze-images", Environment={"Variables": {}}
    )
    status, _, said = invoke("status", "--stack", NAME)
    assert (status, "none of a batch-vision stack" in said) == (3, True)


def test_json_is_one_document(deployed: Deployed, tmp_path: Path) -> None:
    report = ["report", "--out", str(tmp_path / "report.html")]
    for words in (["status"], ["retry"], ["retry", "--rejected"], ["run"], ["stop"], ["results"], report):
        result = deployed.call(*words, "--json")
        assert result.exit_code == 0, (words, result.output)
        json.loads(result.stdout)
