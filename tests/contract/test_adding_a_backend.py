"""The worked example of docs/adding-a-backend.md, run as it stands there."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from batch_vision.backends import registry
from batch_vision.backends.contracts import Detector, Lifecycle, ModelState
from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.models import Model
from batch_vision.images.analysis import analyze
from batch_vision.images.detectors import Detectors
from batch_vision.images.final import FinalBucket
from batch_vision.images.pace import Pace
from batch_vision.images.source import SourceBucket
from batch_vision.runs import closing
from batch_vision.runs.start import ensure_running
from local.config import REPOSITORY
from local.terraform import Terraform
from tests.contract.cases import CASES
from tests.contract.test_detectors import FINAL_BUCKET, VALIDATOR
from tests.contract.world import BUCKET, CAPACITY, NOW, Converted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAME = "lambda_model"
MODEL = Model.named(NAME, {"function_name": "inspect-welds", "alias": "live"})
EXAMPLE = "lambda-model.tfvars.example"
TEXT = (REPOSITORY / "docs" / "adding-a-backend.md").read_text()
BLOCKS = {
    (language, path): block
    for language, path, block in re.findall(r"^```(\w+)\n# (\S+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
}


class FakeLambda:
    """As much of Lambda as the example calls."""

    def __init__(self) -> None:
        self.units = 0
        self.ready = True
        self.starts = 0
        self.answer: dict[str, Any] = {"labels": [{"name": "crack", "score": 0.75}]}
        self.failure: str | None = None
        self.asked: list[dict[str, Any]] = []

    def _check(self, arguments: dict[str, Any]) -> None:
        assert (arguments["FunctionName"], arguments["Qualifier"]) == ("inspect-welds", "live")
        if self.failure:
            raise ClientError({"Error": {"Code": self.failure, "Message": "words"}}, "Operation")

    def get_provisioned_concurrency_config(self, **arguments: Any) -> dict[str, Any]:
        self._check(arguments)
        if not self.units:
            code = "ProvisionedConcurrencyConfigNotFoundException"
            raise ClientError({"Error": {"Code": code, "Message": "none"}}, "GetProvisionedConcurrencyConfig")
        status = "READY" if self.ready else "IN_PROGRESS"
        return {"Status": status, "RequestedProvisionedConcurrentExecutions": self.units}

    def put_provisioned_concurrency_config(self, **arguments: Any) -> None:
        self._check(arguments)
        self.units = arguments["ProvisionedConcurrentExecutions"]
        self.starts += 1

    def delete_provisioned_concurrency_config(self, **arguments: Any) -> None:
        self._check(arguments)
        self.units = 0

    def invoke(self, **arguments: Any) -> dict[str, Any]:
        self._check(arguments)
        self.asked.append(json.loads(arguments["Payload"]))
        answer = {"Payload": io.BytesIO(json.dumps(self.answer).encode())}
        return answer | ({"FunctionError": "Unhandled"} if "errorType" in self.answer else {})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeLambda:
    fake = FakeLambda()
    real = boto3.client
    monkeypatch.setattr(boto3, "client", lambda name, **more: fake if name == "lambda" else real(name, **more))
    return fake


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(f"batch_vision.backends.{NAME}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    code = compile(BLOCKS["python", f"batch_vision/backends/{NAME}.py"], "docs/adding-a-backend.md", "exec")
    exec(code, module.__dict__)
    return module


@pytest.fixture
def registered(example: ModuleType, service: FakeLambda, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, registered by the document's own line."""
    text = Path(registry.__file__).read_text()
    (line,) = BLOCKS["python", "batch_vision/backends/registry.py"].splitlines()
    names = vars(registry) | {NAME: example}
    exec(text[text.index("BACKENDS = {") :].replace("BACKENDS = {", f"BACKENDS = {{\n{line}", 1), names)
    assert set(names["BACKENDS"]) == {*registry.BACKENDS, NAME}
    monkeypatch.setattr(registry, "BACKENDS", names["BACKENDS"])


@pytest.fixture
def detector(registered: None) -> Detector:
    return registry.make_detectors(MODEL, None)[NAME]


@pytest.fixture
def lifecycle(registered: None) -> Lifecycle:
    return registry.make_lifecycle(MODEL)


def test_the_document_names_the_files_that_there_are() -> None:
    assert set(BLOCKS) == {
        ("python", f"batch_vision/backends/{NAME}.py"),
        ("python", "batch_vision/backends/registry.py"),
        ("hcl", "terraform/backends.tf"),
        ("hcl", "terraform/variables.tf"),
        ("hcl", f"terraform/{EXAMPLE}"),
    }
    places = re.findall(r"`((?:lambdas|terraform|tests|local|batch_vision)/[^`<>]+)`", TEXT)
    wanted = {place for place in places if NAME not in place and EXAMPLE not in place}
    assert [place for place in wanted if not (REPOSITORY / place).exists()] == []
    assert NAME not in {*registry.BACKENDS, *CASES}


def test_it_goes_through_the_workflow_unchanged(
    detector: Detector, lifecycle: Lifecycle, service: FakeLambda, s3: S3Client
) -> None:
    service.ready = False
    step = ensure_running(lifecycle, CAPACITY, 250, None, 600, NOW)
    step = ensure_running(lifecycle, CAPACITY, 250, step, 600, NOW)
    assert not step["is_running"]
    service.ready = True
    step = ensure_running(lifecycle, CAPACITY, 250, step, 600, NOW)
    assert (step["is_running"], step["inference_units"], service.starts) == (True, 3, 1)

    s3.create_bucket(Bucket=FINAL_BUCKET)
    source = SourceBucket(s3)
    final = FinalBucket(s3, FINAL_BUCKET, source)
    answer = s3.put_object(Bucket=BUCKET, Key="a.jpg", Body=b"picture")
    image = SourceImage(BUCKET, "a.jpg", answer["VersionId"], "e", 7, NOW)
    detectors = Detectors(NAME, {NAME: detector}, {NAME: Pace(1000, 8000)})
    outcome = analyze(image, detectors, source, final, is_redelivery=False, deadline=time.monotonic() + 60)
    VALIDATOR.validate(outcome.result)
    assert outcome.result is not None
    assert outcome.result["model"] == {"backend": NAME, "id": "inspect-welds:live"}
    crack = {"name": "crack", "kind": "custom_label", "confidence": 75.0, "bounding_box": None}
    assert outcome.result["predictions"] == [crack]
    assert service.asked == [{"bucket": BUCKET, "key": "a.jpg", "version_id": answer["VersionId"]}]

    closing.stop(lifecycle)
    assert closing.stop(lifecycle).is_off
    assert lifecycle.describe().state is ModelState.STOPPED


def test_an_image_that_was_converted_is_sent(detector: Detector, service: FakeLambda) -> None:
    detector.detect(Converted(b"picture"))
    assert service.asked == [{"content": base64.b64encode(b"picture").decode()}]
    detector.detect(Converted(bytes(detector.limits.max_sent_bytes)))
    assert len(json.dumps(service.asked[-1])) < 6_000_000  # the most that Lambda takes


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("TooManyRequestsException", errors.ThrottledError),
        ("ServiceException", errors.ServiceUnavailableError),
        ("AccessDeniedException", errors.AccessDeniedError),
        ("ResourceNotFoundException", errors.ModelNotFoundError),
        ("ResourceConflictException", errors.ModelBusyError),
        ("Newfangled", errors.ModelError),
    ],
)
def test_it_translates_errors(lifecycle: Lifecycle, service: FakeLambda, code: str, error: type[Exception]) -> None:
    service.failure = code
    for call in (lifecycle.describe, lifecycle.stop, lambda: lifecycle.start(1)):
        with pytest.raises(error, match="words"):
            call()


@pytest.mark.parametrize(
    ("kind", "error"), [("BadImage", errors.InvalidImageError), ("MemoryError", errors.ServiceUnavailableError)]
)
def test_only_one_error_blames_the_image(
    detector: Detector, service: FakeLambda, s3: S3Client, kind: str, error: type[Exception]
) -> None:
    service.answer = {"errorType": kind, "errorMessage": "words"}
    answer = s3.put_object(Bucket=BUCKET, Key="a.jpg", Body=b"picture")
    image = SourceBucket(s3).stored(SourceImage(BUCKET, "a.jpg", answer["VersionId"], "e", 7, NOW))
    with pytest.raises(error, match="words"):
        detector.detect(image)


def test_a_missing_setting_is_named(registered: None) -> None:
    less = Model.named(NAME, {"function_name": "f"})
    for make in (registry.make_lifecycle, lambda model: registry.make_detectors(model, None)):
        with pytest.raises(errors.SettingsError, match="alias"):
            make(less)


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
def test_its_terraform_is_valid_and_the_choice_follows(tmp_path: Path) -> None:
    """Into a copy of the module go the document's lines and no others; Terraform's own tests choose the backend."""
    module = tmp_path / "terraform"
    shutil.copytree(REPOSITORY / "terraform", module, ignore=shutil.ignore_patterns(".terraform", "*.tftest.hcl"))
    shutil.copy(REPOSITORY / "state_machine.asl.json", tmp_path)
    backends = module / "backends.tf"
    entries = re.compile(r"^(  backends = \{\n.*?)^  \}", re.DOTALL | re.MULTILINE)
    entry = BLOCKS["hcl", "terraform/backends.tf"]
    backends.write_text(entries.sub(lambda found: f"{found[1]}\n{entry}  }}", backends.read_text(), count=1))
    with (module / "variables.tf").open("a") as variables:
        variables.write("\n" + BLOCKS["hcl", "terraform/variables.tf"])
    (module / EXAMPLE).write_text(BLOCKS["hcl", f"terraform/{EXAMPLE}"])
    (module / "tests" / "example.tftest.hcl").write_text(TERRAFORM_TEST)
    terraform = Terraform(module, data_directory=tmp_path / "data")
    assert terraform.run("fmt", "-check", "-diff").stdout == ""
    terraform.init()
    finished = terraform.run("test", "-no-color")
    assert finished.returncode == 0, finished.stdout + finished.stderr


TERRAFORM_TEST = """
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"
  backend             = "lambda_model"
}

run "read_example" {
  module {
    source = "./tests/fixtures/example"
  }

  variables {
    example = "lambda-model"
  }
}

run "chosen" {
  command = plan

  variables {
    backend      = run.read_example.values.backend
    lambda_model = run.read_example.values.lambda_model
  }

  assert {
    condition = (
      local.backend.settings == tomap({ function_name = "inspect-welds", alias = "live" })
      && local.mapping_function_statements.close_run.StopModel.resources
      == ["arn:aws:lambda:us-east-1:111122223333:function:inspect-welds:live"]
      && contains(local.stop_former_models.actions, "lambda:DeleteProvisionedConcurrencyConfig")
      && contains(local.stop_former_models.resources, "arn:aws:lambda:us-east-1:111122223333:function:*")
      && contains(local.stop_former_models.actions, "rekognition:StopProjectVersion")
    )
    error_message = jsonencode(local.backend)
  }
}

run "not_set" {
  command = plan

  expect_failures = [var.backend]
}
"""
