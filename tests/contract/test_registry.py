"""Everything that names backends names the same ones."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.session import get_session

from batch_vision.backends.registry import BACKENDS
from batch_vision.backends.rekognition import OPERATIONS
from local.config import REPOSITORY
from local.emulator.models import MODELS
from tests.contract.cases import CASES

TERRAFORM = REPOSITORY / "terraform"


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
    assert names == set(BACKENDS) == set(CASES) == set(MODELS)
    assert names == examples
    assert names <= declared
    assert all(name in chosen for name in names), "the description of `backend` leaves one out"
    composed = (REPOSITORY / "docker-compose.localstack.yml").read_text()
    assert set(re.findall(r"-e (AWS_ENDPOINT_URL_\w+)=", composed)) == {
        endpoint for model in MODELS.values() for endpoint in model.endpoints
    }


@pytest.mark.parametrize(("name", "backend"), BACKENDS.items())
def test_each_lifecycle_is_registered_under_its_own_name_and_each_backend_has_its_case(name: str, backend: Any) -> None:
    assert (backend.lifecycle is None) == (CASES[name].lifecycle is None)
    assert backend.lifecycle is None or backend.lifecycle.name == name


@pytest.mark.parametrize("name", [name for name, backend in BACKENDS.items() if backend.lifecycle])
def test_terraform_gives_each_backend_the_settings_that_it_reads(name: str) -> None:
    """`test_lifecycles.py` shows that each of them is needed."""
    backends = (TERRAFORM / "backends.tf").read_text()
    (entry,) = re.findall(rf"^    {name} = .*?tomap\(\{{\n(.*?)\}}\)", backends, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"^ +(\w+) +=", entry, re.MULTILINE)) == set(CASES[name].settings or MODELS[name].argument)


def test_terraform_and_the_backend_know_the_same_analyses_and_operations() -> None:
    backends = (TERRAFORM / "backends.tf").read_text()
    (entries,) = re.findall(r"^  rekognition_operation_of = \{\n(.*?)^  \}", backends, re.DOTALL | re.MULTILINE)
    told = dict(re.findall(r'^ +(\w+) += "(\w+)"$', entries, re.MULTILINE))
    assert told == {analysis: cls.operation for analysis, cls in OPERATIONS.items()}


def test_terraform_names_what_the_service_takes() -> None:
    """The values that the API of the service lists: attributes of faces, and equipment."""
    service = get_session().get_service_model("rekognition")
    variables = (TERRAFORM / "variables.tf").read_text()
    (attributes,) = re.findall(r"rekognition_face_attributes = \[(.*?)\]", variables, re.DOTALL)
    assert set(re.findall(r'"(\w+)"', attributes)) == set(service.shape_for("Attribute").enum)
    equipment = set(re.findall(r'"(FACE_COVER|HAND_COVER|HEAD_COVER|[A-Z]+_COVER)"', variables))
    assert equipment == set(service.shape_for("ProtectiveEquipmentType").enum)
