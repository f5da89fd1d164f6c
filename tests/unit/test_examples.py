"""The examples as a user copies them: planned with the real Terraform against a mocked provider."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from fnmatch import fnmatchcase
from typing import Any

import pytest

from local import config
from local.config import REPOSITORY
from local.package import PACKAGE, make_package
from local.terraform import EXAMPLES, Terraform

NAMES = [folder.name for folder in sorted(EXAMPLES.iterdir()) if folder.is_dir()]

BOUNDARY = "arn:aws:iam::111122223333:policy/developers"

# Where each type of resource names the key that encrypts it.
KEY_ATTRIBUTES = {
    "aws_cloudwatch_log_group": "kms_key_id",
    "aws_lambda_function": "kms_key_arn",
    "aws_s3_bucket_server_side_encryption_configuration": "kms_master_key_id",
    "aws_sns_topic": "kms_master_key_id",
    "aws_sqs_queue": "kms_master_key_id",
}

# What a resource is called in its account and Region, the first one that it has.
NAME_ATTRIBUTES = ("bucket", "function_name", "alarm_name", "dashboard_name", "name")


def lock_hashes(folder: str) -> set[str]:
    return set(re.findall(r'"((?:zh|h1):[^"]+)"', (REPOSITORY / folder / ".terraform.lock.hcl").read_text()))


@pytest.mark.parametrize("folder", [f"examples/{name}" for name in NAMES] + ["local/terraform"])
def test_a_lock_file_knows_the_provider_of_every_platform(folder: str) -> None:
    """The hashes of the release's 15 archives, as those of the module; a lock made from a mirror has one."""
    assert lock_hashes(folder) == lock_hashes("terraform")
    assert len([text for text in lock_hashes(folder) if text.startswith("zh:")]) == 15


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_complete(name: str) -> None:
    for part in ("README.md", "main.tf", "outputs.tf", "terraform.tfvars.example", "variables.tf", "versions.tf"):
        assert (EXAMPLES / name / part).is_file(), part
    main = (EXAMPLES / name / "main.tf").read_text()
    assert 'provider "aws"' in main
    assert 'source = "../../terraform"' in re.sub(" +", " ", main)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_example_makes_by_itself_is_scanned(name: str) -> None:
    makes = any(re.search(r"^resource ", path.read_text(), re.M) for path in (EXAMPLES / name).glob("*.tf"))
    is_scanned = f"- examples/{name}\n" not in (REPOSITORY / ".checkov.yaml").read_text()
    assert is_scanned == makes


def is_known_to_unsettle_plans(provider_version: str) -> bool:
    """Whether each plan of this version would change the buckets' encryption again (provider issue 47320)."""
    return (6, 22) <= tuple(int(part) for part in provider_version.split(".")[:2]) < (6, 40)


@pytest.mark.parametrize("folder", ["terraform", *(f"examples/{name}" for name in NAMES), "local/terraform"])
def test_no_lock_file_has_a_provider_whose_plans_never_settle(folder: str) -> None:
    (version,) = re.findall(r'^  version += "([^"]+)"', (REPOSITORY / folder / ".terraform.lock.hcl").read_text(), re.M)
    assert not is_known_to_unsettle_plans(version)


def test_those_versions_are_known_by_their_numbers() -> None:
    versions = ["5.100.0", "6.21.0", "6.22.0", "6.39.1", "6.40.0"]
    assert [version for version in versions if is_known_to_unsettle_plans(version)] == ["6.22.0", "6.39.1"]
    assert "6.22 to 6.39" in (REPOSITORY / "docs" / "upgrading.md").read_text()


def test_the_minimal_example_starts_as_many_units_as_its_readme_says() -> None:
    (said,) = re.findall(r"at most (\d+) inference unit", (EXAMPLES / "minimal" / "README.md").read_text())
    environments = [
        change["change"]["after"]["environment"][0]["variables"]
        for change in planned("minimal")
        if change["type"] == "aws_lambda_function"
    ]
    assert {each["MAX_INFERENCE_UNITS"] for each in environments if "MAX_INFERENCE_UNITS" in each} == {said}


@pytest.fixture(scope="module")
def complete_plan() -> list[dict[str, Any]]:
    return planned("complete", f"-var=permissions_boundary_arn={BOUNDARY}")


def planned(name: str, *options: str) -> list[dict[str, Any]]:
    """What an example would make, as planned by its own test."""
    if not PACKAGE.exists():
        make_package()
    folder = EXAMPLES / name
    terraform = Terraform(folder, data_directory=config.LOCAL_BUILD / "terraform-examples" / folder.name)
    terraform.init()
    options = (f"-var-file={folder / 'terraform.tfvars.example'}", *options)
    finished = terraform.run("test", "-json", "-verbose", *options)
    assert finished.returncode == 0, finished.stdout[-2000:]
    for line in finished.stdout.splitlines():
        event = json.loads(line)
        if event["type"] == "test_plan":
            changes: list[dict[str, Any]] = event["test_plan"]["resource_changes"]
            return [change for change in changes if change["mode"] == "managed"]
    raise AssertionError("no plan")


def names_by_model(plan: list[dict[str, Any]]) -> dict[str, dict[str, set[str]]]:
    """The names that are known before an apply: by model, then by type of resource."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for change in plan:
        if not (match := re.match(r'module\.batch_vision\["([^"]+)"\]', change["address"])):
            continue
        after = change["change"]["after"]
        name = next((after[attribute] for attribute in NAME_ATTRIBUTES if after.get(attribute)), None)
        if name:
            found[match[1]][change["type"]].add(name)
    return found


def test_two_deployments_in_one_account_share_no_name(complete_plan: list[dict[str, Any]]) -> None:
    names = names_by_model(complete_plan)
    assert set(names) == {"weld-seams", "bottle-caps"}
    one, other = names["weld-seams"], names["bottle-caps"]
    assert set(one) == set(other)
    # Each type that has names of its own, or the test would see nothing.
    assert set(one) >= {
        "aws_cloudwatch_event_rule",
        "aws_cloudwatch_log_group",
        "aws_iam_role",
        "aws_lambda_function",
        "aws_s3_bucket",
        "aws_sfn_state_machine",
        "aws_sqs_queue",
    }
    for kind, taken in one.items():
        assert not taken & other[kind], f"both deployments have a {kind} named {taken & other[kind]}"
        assert all("weld-seams" in name for name in taken), f"a {kind} does not say whose it is: {taken}"


def test_the_key_of_the_example_admits_every_log_group_and_source_bucket(complete_plan: list[dict[str, Any]]) -> None:
    """What tests/plan.tftest.hcl of the example finds in the key's policy, against what the module makes."""
    admitted = [
        pattern
        for model in ("weld-seams", "bottle-caps")
        for pattern in (f"/aws/lambda/vision-{model}-*", f"/aws/vendedlogs/states/vision-{model}")
    ]
    groups = [c["change"]["after"]["name"] for c in complete_plan if c["type"] == "aws_cloudwatch_log_group"]
    assert len(groups) >= 14
    assert [name for name in groups if not any(fnmatchcase(name, pattern) for pattern in admitted)] == []
    buckets = {c["change"]["after"]["bucket"] for c in complete_plan if c["type"] == "aws_s3_bucket"}
    assert buckets >= {f"vision-{model}-source-111122223333-us-east-1" for model in ("weld-seams", "bottle-caps")}


def test_every_role_has_the_path_and_the_boundary(complete_plan: list[dict[str, Any]]) -> None:
    roles = [change["change"]["after"] for change in complete_plan if change["type"] == "aws_iam_role"]
    assert len(roles) >= 16
    assert {(role["path"], role["permissions_boundary"]) for role in roles} == {("/vision/", BOUNDARY)}


@pytest.mark.parametrize("kind", KEY_ATTRIBUTES)
def test_the_key_of_the_example_reaches(complete_plan: list[dict[str, Any]], kind: str) -> None:
    """Everything of the module that can hold what images say; the key has no ARN before the apply."""
    changes = [change["change"] for change in complete_plan if change["type"] == kind]
    assert changes or kind == "aws_sns_topic"
    for change in changes:
        assert f'"{KEY_ATTRIBUTES[kind]}": true' in json.dumps(change["after_unknown"]), change["after"]


def test_every_log_group_has_a_retention(complete_plan: list[dict[str, Any]]) -> None:
    groups = [change["change"]["after"] for change in complete_plan if change["type"] == "aws_cloudwatch_log_group"]
    assert {group["retention_in_days"] for group in groups} == {400}
