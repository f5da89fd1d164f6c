"""The user's own file of variables: what is read of it, and what it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local import environment
from local.config import REPOSITORY
from local.emulator.models import MODELS
from local.environment import MODULE_ARGUMENTS, choose, differences
from local.errors import LocalError
from local.tfvars import Tfvars, merged, read_tfvars

DEFAULT = "rekognition_custom_labels"
OTHER = "lookout_for_vision"

HCL = """
# A comment, and values of every type.
name_prefix = "weld-seams"
max_inference_units = 2
schedule_enabled = false
schedule_expression = null
tags = {
  Project = "weld ${"$"}{seams}"
}
alert_email_addresses = ["a@example.com", "b@example.com"]
rekognition_custom_labels = { project_arn = "arn:p", project_version_arn = "arn:v" }
owner = "somebody"
"""
VALUES = {
    "name_prefix": "weld-seams",
    "max_inference_units": 2,
    "schedule_enabled": False,
    "schedule_expression": None,
    "tags": {"Project": "weld ${seams}"},
    "alert_email_addresses": ["a@example.com", "b@example.com"],
    "rekognition_custom_labels": {"project_arn": "arn:p", "project_version_arn": "arn:v"},
}


def tfvars(**values: Any) -> Tfvars:
    return Tfvars(Path("my.tfvars"), values)


@pytest.mark.parametrize("name", ["my own.tfvars", "my.tfvars.json"])
def test_a_file_is_read_in_both_languages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TF_VAR_name_prefix", "production")
    path = tmp_path / name
    path.write_text(json.dumps(VALUES | {"owner": "somebody"}) if name.endswith("json") else HCL)
    found = read_tfvars(path)
    assert found.values == VALUES
    assert found.unknown == ("owner",)


def test_a_path_that_is_relative_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.tfvars").write_text('name_prefix = "here"\n')
    monkeypatch.chdir(tmp_path)
    assert read_tfvars(Path("my.tfvars")).values == {"name_prefix": "here"}


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "terraform").glob("*.tfvars.example")), ids=lambda path: path.name
)
def test_the_examples_of_the_module_can_be_read(path: Path) -> None:
    found = read_tfvars(path)
    assert found.values["backend"] in MODELS or found.values["videos"]
    assert found.unknown == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name_prefix = \n", ["Invalid expression"]),
        ("name_prefix = other\n", ["Variables not allowed"]),
        ('name_prefix = "a"\nname_prefix = "b"\n', ["Attribute redefined"]),
    ],
)
def test_a_file_that_terraform_cannot_read_is_named_with_its_words(
    tmp_path: Path, content: str, words: list[str]
) -> None:
    path = tmp_path / "my.tfvars"
    path.write_text(content)
    with pytest.raises(LocalError) as caught:
        read_tfvars(path)
    for word in (f"TFVARS={path} cannot be read", *words):
        assert word in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"TFVARS=.*nowhere does not exist.*rekognition\.tfvars\.example"):
        read_tfvars(tmp_path / "nowhere")
    with pytest.raises(LocalError, match="is not a file"):
        read_tfvars(tmp_path)


@pytest.mark.parametrize(
    ("in_file", "chosen", "used"),
    [(None, None, DEFAULT), (OTHER, None, OTHER), (None, OTHER, OTHER), (OTHER, OTHER, OTHER)],
)
def test_which_model_service_is_used(in_file: str | None, chosen: str | None, used: str) -> None:
    values = {"backend": in_file} if in_file else {}
    assert tfvars(**values).backend(chosen, MODELS, DEFAULT) == used


def test_two_model_services_at_once_are_refused() -> None:
    with pytest.raises(LocalError, match=f'my.tfvars: backend is "{OTHER}".*BACKEND={DEFAULT}'):
        tfvars(backend=OTHER).backend(DEFAULT, MODELS, DEFAULT)
    with pytest.raises(LocalError, match=f'my.tfvars: backend is "abacus". Use one of: {DEFAULT}'):
        tfvars(backend="abacus").backend(None, MODELS, DEFAULT)


def test_values_go_on_top_attribute_by_attribute() -> None:
    own = {"timings": {"poll_seconds": 1, "stop_seconds": 2}, "force_destroy": True, "kept": 3}
    given = {"timings": {"stop_seconds": 9}, "force_destroy": False, "tags": {"a": "b"}, "kept": 3}
    assert merged(own, given) == {
        "timings": {"poll_seconds": 1, "stop_seconds": 9},
        "force_destroy": False,
        "tags": {"a": "b"},
        "kept": 3,
    }
    assert merged({"timings": {"a": 1}}, {"timings": None}) == {"timings": None}
    assert own["timings"] == {"poll_seconds": 1, "stop_seconds": 2}


def test_what_has_another_value_here_is_said_and_nothing_else() -> None:
    given = Tfvars(
        Path("my.tfvars"),
        {
            "name_prefix": "weld-seams",
            "backend": DEFAULT,
            DEFAULT: {"project_arn": "arn:p", "project_version_arn": "arn:v"},
            "schedule_enabled": True,
            "lambda_package_path": "ci/lambdas.zip",
            "converting_package_path": "ci/lambdas-converting.zip",
            "convert_images": True,
            "kms_key_arn": "arn:k",
            "monitoring": {"alarms": False, "log_queries": True},
        },
        ("owner",),
    )
    wanted = merged(merged(MODULE_ARGUMENTS, given.values) | choose(DEFAULT), environment.LOCAL_ARGUMENTS)
    said = differences(given, wanted | {"schedule_enabled": False, "convert_images": False})
    assert [line.partition(":")[0] for line in said] == [
        DEFAULT,
        "schedule_enabled",
        "lambda_package_path",
        "converting_package_path",
        "convert_images",
        "kms_key_arn",
        "monitoring",
        "owner",
    ]
    assert wanted["monitoring"] == {"alarms": False, "log_queries": False}
    # `make local-up` leaves the schedule to the user, and what is converted where CONVERT is not given.
    assert "schedule_enabled" not in " ".join(differences(given, wanted))
    assert "convert_images" not in " ".join(differences(given, wanted))
    assert differences(tfvars(kms_key_arn=None, schedule_enabled=False), {"schedule_enabled": False}) == []
