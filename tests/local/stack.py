"""A deployed stack as the end-to-end tests use it, and the one check that every run must pass."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import jsonschema
from botocore.config import Config

import batch_vision.images
from batch_vision.aws.catalog import catalog_key
from batch_vision.aws.index import list_segments, parse_segment
from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from batch_vision.core.stuck import stuck_key
from batch_vision.core.times import utc_now
from local import config
from local.emulator.models import HOSTED_MODELS, MODELS
from local.environment import OFF_STATUSES, Environment, choose, write_outputs
from local.terraform import Terraform
from tests.contract.cases import CASES
from tests.local.faults import LambdaFaults
from tests.local.waits import LOAD_SECONDS

SCHEMA = json.loads((Path(batch_vision.images.__file__).parent / "result.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())

LONGEST_RUN_SECONDS = 240 + LOAD_SECONDS
_POLL_SECONDS = 0.5
_PACKAGES = "functions/"  # what Terraform puts into the final bucket, which no test looks at or empties


@dataclass(frozen=True)
class Words:
    """How a service calls what a test asks of the emulator, whatever the backend."""

    describe: str
    start: str
    stop: str
    detect: str
    throttled: str
    busy: str
    quota: str
    not_found: str
    internal_error: str
    failed: str
    starting: str
    running: str
    stopping: str
    stopped: str
    training: str


def words_of(backend: str) -> Words:
    """What the service of a backend calls things, by its contract case."""
    case = CASES[backend]
    hosting = case.lifecycle
    assert hosting is not None
    return Words(
        describe=hosting.describe,
        start=hosting.start,
        stop=hosting.stop,
        detect=case.detector.detect,
        throttled=case.code(hosting.describe, errors.ThrottledError),
        busy=case.code(hosting.start, errors.ModelBusyError),
        quota=case.code(hosting.start, errors.ModelQuotaError),
        not_found=case.code(hosting.describe, errors.ModelNotFoundError),
        internal_error=case.code(hosting.describe, errors.ServiceUnavailableError),
        failed=hosting.status(ModelState.FAILED),
        starting=hosting.status(ModelState.STARTING),
        running=hosting.status(ModelState.RUNNING),
        stopping=hosting.status(ModelState.STOPPING),
        stopped=hosting.stopped,
        training=hosting.status(ModelState.NOT_TRAINED),
    )


def messages_of(sqs: Any, url: str) -> dict[str, int]:
    """How many messages a queue has: under an empty name those to take, and ``NotVisible`` and ``Delayed`` ones."""
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    prefix = "ApproximateNumberOfMessages"
    return {name.removeprefix(prefix): int(text) for name, text in attributes.items() if name.startswith(prefix)}


def sqs_record(message_id: str, body: str, receive_count: int | str) -> dict[str, Any]:
    """A message as Lambda hands it to a function."""
    attributes = {"ApproximateReceiveCount": str(receive_count)}
    return {"messageId": message_id, "body": body, "attributes": attributes, "eventSource": "aws:sqs"}


@dataclass(frozen=True)
class Upload:
    """One uploaded object version."""

    key: str
    version_id: str
    sha256: str


@dataclass
class Stack:
    """The stack, and every upload that a test made."""

    environment: Environment
    arguments: dict[str, Any] = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)
    is_changed: bool = False  # whether other arguments of the module are applied than these
    is_destroyed: bool = False

    def __post_init__(self) -> None:
        self.s3 = self.environment.client("s3")
        self.sqs = self.environment.client("sqs")
        self.workflow = self.environment.client("stepfunctions")
        self.functions = self.environment.client("lambda")
        self.emulator = self.environment.emulator
        self.lambda_faults = LambdaFaults()
        self.source = self.environment.bucket_name
        self.final = self.environment.output("final_bucket_name")
        self.queue_url = self.environment.output("queue_url")
        self.dead_letter_queue_url = self.environment.output("dead_letter_queue_url")
        has_runs = self.environment.has("state_machine_arn")
        self.state_machine_arn = self.environment.output("state_machine_arn") if has_runs else ""
        self.mapping_uuid = self.environment.output("event_source_mapping_uuid")

    @property
    def words(self) -> Words:
        """The words of the service in use."""
        return words_of(self.environment.backend)

    # What a test does.

    def inject(self, operation: str, error: str, **bound: float) -> None:
        """Ask the emulator for a fault, in the `Words` of any service."""
        self.emulator.inject(getattr(self.words, operation), getattr(self.words, error), **bound)

    def force_status(self, status: str) -> None:
        """Put the model in use into a state, in the `Words` of any service."""
        self.emulator.force_status(getattr(self.words, status), MODELS[self.environment.backend].arn)

    def upload(self, key: str, content: bytes, **request: Any) -> Upload:
        version_id = self.s3.put_object(Bucket=self.source, Key=key, Body=content, **request)["VersionId"]
        upload = Upload(key, version_id, hashlib.sha256(content).hexdigest())
        self.uploads.append(upload)
        return upload

    def event_of(self, upload: Upload) -> str:
        """The message that S3 sends for an upload."""
        described = {"key": quote_plus(upload.key), "versionId": upload.version_id, "size": 1, "eTag": "e"}
        record = {"eventName": "ObjectCreated:Put", "eventTime": "2026-11-20T08:00:00.000Z"}
        return json.dumps({"Records": [record | {"s3": {"bucket": {"name": self.source}, "object": described}}]})

    def analyze(self, upload: Upload, *, receive_count: int = 1) -> dict[str, Any]:
        """Hand the message of an upload to the analyzing function, as SQS would; give the function's answer or error.

        LocalStack has one poller for a queue: this is how several deliveries are made at once, or without waiting.
        """
        return self.deliver(sqs_record("1", self.event_of(upload), receive_count))

    def deliver(self, *records: dict[str, Any]) -> dict[str, Any]:
        """Hand a batch of messages to the analyzing function, as SQS would; give the function's answer or error."""
        name = self.environment.output("analyze_images_function_name")
        answer = self.functions.invoke(FunctionName=name, Payload=json.dumps({"Records": records}))
        said: dict[str, Any] = json.loads(answer["Payload"].read())
        return said

    def start(self, **request: Any) -> str:
        return str(self.workflow.start_execution(stateMachineArn=self.state_machine_arn, **request)["executionArn"])

    def wait(self, execution_arn: str) -> dict[str, Any]:
        deadline = time.monotonic() + LONGEST_RUN_SECONDS
        while True:
            described: dict[str, Any] = self.workflow.describe_execution(executionArn=execution_arn)
            if described["status"] != "RUNNING":
                return described
            assert time.monotonic() < deadline, f"still running: {self.states(execution_arn)[-5:]}"
            time.sleep(_POLL_SECONDS)

    def run(self) -> dict[str, Any]:
        return self.wait(self.start())

    def switch(self, backend: str) -> None:
        """Go over to another backend as users do: `terraform apply -var-file=<backend>.tfvars.json`."""
        terraform = Terraform()
        chosen = terraform.directory / f"{backend}.tfvars.json"
        # A run that began before may have to stop a model of the former service.
        former = {"former_settings": {"backends": [self.environment.backend]}}
        self.arguments = self.arguments | former
        chosen.write_text(json.dumps(dict.fromkeys(MODELS) | choose(backend) | former))
        terraform.apply(options=[f"-var-file={chosen.name}"])
        self.environment = dataclasses.replace(self.environment, backend=backend)
        terraform.write_root(self.arguments | choose(backend))

    def use(self, backend: str, arguments: dict[str, Any]) -> None:
        """Empty the stack, and apply a backend and arguments that are to hold from now on, where they are others."""
        self.reset(applies=False)
        if self.is_changed or (backend, arguments) != (self.environment.backend, self.arguments):
            self.environment = dataclasses.replace(self.environment, backend=backend)
            self.arguments = arguments
            self.apply("-refresh=false")

    def apply(self, *options: str, **arguments: Any) -> None:
        """Apply again, with some of the module's arguments changed."""
        terraform = Terraform()
        terraform.write_root(self.arguments | choose(self.environment.backend) | arguments)
        self.is_changed = bool(arguments)
        terraform.apply(options=options)

    def read_outputs(self) -> None:
        """Read the outputs anew after an apply that has changed them, for the tool as well."""
        self.environment = dataclasses.replace(self.environment, outputs=Terraform().outputs())
        write_outputs(self.environment.outputs)
        self.mapping_uuid = self.environment.output("event_source_mapping_uuid")

    @contextmanager
    def definition(self, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """Run something with a changed definition of the workflow, as an apply or an editor would leave it."""
        deployed = self.workflow.describe_state_machine(stateMachineArn=self.state_machine_arn)["definition"]
        changed = json.loads(deployed)
        change(changed)
        self.workflow.update_state_machine(stateMachineArn=self.state_machine_arn, definition=json.dumps(changed))
        try:
            yield
        finally:
            self.workflow.update_state_machine(stateMachineArn=self.state_machine_arn, definition=deployed)

    @contextmanager
    def time_to_analyze(self, seconds: int) -> Iterator[None]:
        """Run something with another timeout of the analyzing function, within the visibility timeout of its queue."""
        name = self.environment.output("analyze_images_function_name")
        deployed = self.functions.get_function_configuration(FunctionName=name)["Timeout"]
        try:
            self._set_timeout(name, seconds)
            yield
        finally:
            self._set_timeout(name, deployed)

    def _set_timeout(self, function_name: str, seconds: int) -> None:
        self.functions.update_function_configuration(FunctionName=function_name, Timeout=seconds)
        self.functions.get_waiter("function_updated_v2").wait(FunctionName=function_name)

    def schedule(self, rule: str, expression: str) -> None:
        """Make a rule anew with a schedule: LocalStack goes on with each that a rule has had, until it is deleted."""
        events = self.environment.client("events")
        described = events.describe_rule(Name=rule)
        targets = events.list_targets_by_rule(Rule=rule)["Targets"]
        events.remove_targets(Rule=rule, Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=rule)
        events.put_rule(Name=rule, ScheduleExpression=expression, Description=described["Description"])
        events.put_targets(Rule=rule, Targets=targets)

    @contextmanager
    def bounds(self, **seconds: float) -> Iterator[None]:
        """Run something with other bounds in the deployed workflow, for the executions that begin meanwhile."""

        def change(node: Any) -> None:
            for name, value in node.items() if isinstance(node, dict) else enumerate(node):
                if name in seconds:
                    node[name] = seconds[name]
                elif isinstance(value, dict | list):
                    change(value)

        with self.definition(change):
            yield

    def planned_actions(self, *, backend: str, **arguments: Any) -> dict[str, list[str]]:
        """What an apply with other arguments would do to each resource that it would touch, by its address."""
        terraform = Terraform()
        try:
            terraform.write_root(self.arguments | choose(backend) | arguments)
            planned = terraform.run("plan", "-input=false", "-no-color", "-out=changed.tfplan")
            assert planned.returncode == 0, planned.stderr
            shown = json.loads(terraform.run("show", "-json", "changed.tfplan").stdout)
        finally:
            terraform.write_root(self.arguments | choose(self.environment.backend))
        return {
            change["address"].removeprefix("module.batch_vision."): change["change"]["actions"]
            for change in shown["resource_changes"]
            if change["mode"] == "managed" and change["change"]["actions"] != ["no-op"]
        }

    def reset(self, *, applies: bool = True) -> None:
        """Forget everything of the test before: its arguments, objects, messages, counters and faults."""
        if self.is_changed and applies:
            self.apply("-refresh=false")
        self.uploads.clear()
        for bucket in (self.source, self.final):
            for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
                for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
                    if not entry["Key"].startswith(_PACKAGES):
                        self.s3.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
        for url in (self.queue_url, self.dead_letter_queue_url):
            self.sqs.purge_queue(QueueUrl=url)
        self.emulator.reset()
        self.lambda_faults.clear()

    # What a test asks.

    def states(self, execution_arn: str) -> list[str]:
        """The names of the states that an execution entered, in order."""
        pages = self.workflow.get_paginator("get_execution_history").paginate(executionArn=execution_arn)
        events = [event for page in pages for event in page["events"]]
        return [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]

    def following_state(self, name: str, asked: dict[str, Any]) -> str:
        """The state that follows a state of the deployed workflow for some input; it is run alone."""
        # Without the prefix that the client would put before the host's name, which is an address here.
        client = boto3.client(
            "stepfunctions", endpoint_url=config.LOCALSTACK_URL, config=Config(inject_host_prefix=False)
        )
        machine = client.describe_state_machine(stateMachineArn=self.state_machine_arn)
        states = json.loads(machine["definition"])["States"]
        states |= states["ProcessBacklog"]["Branches"][0]["States"]
        answer = client.test_state(
            definition=json.dumps(states[name]), roleArn=machine["roleArn"], input=json.dumps(asked)
        )
        return str(answer["nextState"])

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        listed = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return [key for key in listed if not key.startswith(_PACKAGES)]

    def messages(self, url: str | None = None) -> dict[str, int]:
        return messages_of(self.sqs, url or self.queue_url)

    def stuck(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The entry of every upload that was given up, by its key and version."""
        entries = (self.read_json(key) for key in self.keys(self.final, "stuck/"))
        return {(entry["source"]["key"], entry["source"]["version_id"]): entry for entry in entries}

    def read_json(self, key: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.s3.get_object(Bucket=self.final, Key=key)["Body"].read())
        return content

    def catalog(self) -> list[dict[str, Any]]:
        bodies = (
            self.s3.get_object(Bucket=self.final, Key=key)["Body"].read().decode()
            for key in self.keys(self.final, "catalog/")
        )
        # Not `splitlines`: a key may hold U+2028 and other characters that it takes for the end of a line.
        return [json.loads(line) for body in bodies for line in body.split("\n") if line]

    def age_catalog(self) -> None:
        """Make the catalog one of the day before yesterday, so that compaction need not wait for anything."""
        begin = utc_now() - timedelta(days=2)
        for number, key in enumerate(self.keys(self.final, "catalog/")):
            aged = catalog_key(begin + timedelta(milliseconds=number), "aged")
            self.s3.copy_object(Bucket=self.final, Key=aged, CopySource={"Bucket": self.final, "Key": key})
            self.s3.delete_object(Bucket=self.final, Key=key)

    def compact(self) -> list[dict[str, Any]]:
        """Call the function that makes the index, and return the lines of all segments."""
        name = f"{self.arguments['name_prefix']}-compact-catalog"
        answer = self.functions.invoke(FunctionName=name, Payload=b"{}")
        said = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, said
        assert said["is_done"]
        keys = [entry["Key"] for entry in list_segments(self.s3, self.final)]
        return [
            json.loads(text)
            for key in keys
            for text in parse_segment(self.s3.get_object(Bucket=self.final, Key=key)["Body"], key)[1]
        ]

    def results(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Every result in the final bucket, by the upload it is of; overwritten ones count, for they are kept."""
        found = defaultdict(list)
        for entry in self._versions(self.final):
            if entry["Key"].startswith(("processed/", "rejected/")) and entry["Key"].endswith(".json"):
                answer = self.s3.get_object(Bucket=self.final, Key=entry["Key"], VersionId=entry["VersionId"])
                if answer["Metadata"].get("batch-vision") == "result":
                    result = json.loads(answer["Body"].read())
                    assert entry["Key"] == f"{result['image_key']}.json"
                    found[result["source"]["key"], result["source"]["version_id"]].append(result)
        return dict(found)

    def waiting(self) -> set[tuple[str, str]]:
        """Every upload that is still in the source bucket."""
        return {(entry["Key"], entry["VersionId"]) for entry in self._versions(self.source)}

    def check(self, *, left: int = 0) -> None:
        """Check what must hold after any run: `check_each`, and `check_nothing_runs`."""
        self.check_each(left=left)
        self.check_nothing_runs()

    def check_each(self, *, left: int = 0) -> None:
        """Check every upload, and every object.

        Each upload is exactly one of processed, rejected and still in the source bucket, with the same bytes;
        nothing in the final bucket is none of these; every result is as the schema says.

        Parameters
        ----------
        left
            How many uploads are to be still in the source bucket.
        """
        waiting = self.waiting()
        images = defaultdict(set)
        for entry in self._versions(self.final):
            content = self.s3.get_object(Bucket=self.final, Key=entry["Key"], VersionId=entry["VersionId"])["Body"]
            images[entry["Key"]].add(hashlib.sha256(content.read()).hexdigest())
        results = self.results()
        current = set()
        for upload in self.uploads:
            identity = (upload.key, upload.version_id)
            places = {result["image_key"] for result in results.get(identity, [])}
            assert len(places) + (identity in waiting) == 1, f"{upload.key!r}: {places}, waiting {identity in waiting}"
            for result in results.get(identity, []):
                VALIDATOR.validate(result)
                assert upload.sha256 in images[result["image_key"]], f"{upload.key!r} has not its bytes"
                current |= {result["image_key"], f"{result['image_key']}.json", result["mask_key"]}
        stuck = {stuck_key(upload.key, upload.version_id) for upload in self.uploads}
        assert set(results) | waiting == {(upload.key, upload.version_id) for upload in self.uploads}
        for key in self.keys(self.final):
            assert (
                key in current
                or key.startswith(("catalog/", "corrections/", "index/", "runs/"))
                or key == "current-run.json"
                or (key.startswith("stuck/") and key in stuck)
            ), f"{key!r} belongs to no upload"
        assert len(waiting) == left

    def check_nothing_runs(self, *, refused_calls_allowed: bool = False) -> None:
        """Check that the model is stopped, the mapping disabled, nothing in flight, and no letter dead."""
        for used in HOSTED_MODELS.values():  # the one in use, and the one that may have been before
            model = self.emulator.model(used.arn)
            assert model["status"] in OFF_STATUSES, model
            assert refused_calls_allowed or model["not_running_calls"] == 0, (
                "images were sent to a model that was not running"
            )
        assert self.emulator.state()["endpoint_configurations"] == []
        assert self.mapping_state() == "Disabled"
        assert self.messages()["NotVisible"] == 0
        assert sum(self.messages(self.dead_letter_queue_url).values()) == 0

    def mapping_state(self) -> str:
        return str(self.functions.get_event_source_mapping(UUID=self.mapping_uuid)["State"])

    def _versions(self, bucket: str) -> list[dict[str, Any]]:
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
        return [entry for page in pages for entry in page.get("Versions", [])]
