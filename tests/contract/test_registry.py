"""Everything that names backends names the same ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from batch_vision.backends.registry import BACKENDS
from local.config import REPOSITORY
from local.emulator.models import MODELS
from tests.contract.cases import CASES

TERRAFORM = REPOSITORY / "terraform"
# Terraform has no entry for it yet.
PENDING = {"rekognition"}


def test_everything_names_the_same_backends() -> None:
    """The registry, Terraform's map, its allowed values, variables and examples, local running, and the suites."""
    backends = (TERRAFORM / "backends.tf").read_text()
    (entries,) = re.findall(r"^  backends = \{\n(.*?)^  \}", backends, re.DOTALL | re.MULTILINE)
    in_map = set(re.findall(r"^    (\w+) = \{\n      settings = var\.(\w+) == null \? null : ", entries, re.MULTILINE))
    assert {name for name, _ in in_map} == set(re.findall(r"^    (\w+) =", entries, re.MULTILINE))
    assert all(name == variable for name, variable in in_map)

    variables = (TERRAFORM / "variables.tf").read_text()
    (chosen,) = re.findall(r'^variable "backend" \{\n(.*?)^\}', variables, re.DOTALL | re.MULTILINE)
    assert "contains(keys(local.backends), var.backend)" in chosen
    declared = set(re.findall(r'^variable "(\w+)" \{', variables, re.MULTILINE))
    examples = {
        name
        for path in TERRAFORM.glob("*.tfvars.example")
        for name in re.findall(r'^backend = "(\w+)"$', path.read_text(), re.MULTILINE)
    }

    names = {name for name, _ in in_map}
    assert names | PENDING == set(BACKENDS) == set(CASES) == set(MODELS)
    assert names == examples
    assert names <= declared
    assert all(name in chosen for name in names), "the description of `backend` leaves one out"
    composed = (REPOSITORY / "docker-compose.localstack.yml").read_text()
    assert set(re.findall(r"-e (AWS_ENDPOINT_URL_\w+)=", composed)) == {model.endpoint for model in MODELS.values()}


@pytest.mark.parametrize(("name", "backend"), BACKENDS.items())
def test_each_lifecycle_is_registered_under_its_own_name_and_each_backend_has_its_case(name: str, backend: Any) -> None:
    assert (backend.lifecycle is None) == (CASES[name].lifecycle is None)
    assert backend.lifecycle is None or backend.lifecycle.name == name


@pytest.mark.parametrize("name", set(BACKENDS) - PENDING)
def test_terraform_gives_each_backend_the_settings_that_it_reads(name: str) -> None:
    """`test_lifecycles.py` shows that each of them is needed."""
    backends = (TERRAFORM / "backends.tf").read_text()
    (entry,) = re.findall(rf"^    {name} = .*?tomap\(\{{\n(.*?)\}}\)", backends, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"^ +(\w+) +=", entry, re.MULTILINE)) == set(MODELS[name].argument)
