"""A stack as the operator's tool finds it: moto's services, and the emulator's model."""

from __future__ import annotations

import io
import json
import time
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import boto3
from click.testing import CliRunner, Result
from moto.stepfunctions.models import stepfunctions_backends

from batch_vision.aws.catalog import catalog_key
from batch_vision.core.times import from_text, to_text, utc_now
from batch_vision.images.settings import AnalyzeImagesSettings, RequeueImagesSettings, WorkOffChunkSettings
from batch_vision.operator.cli import main
from batch_vision.operator.stack import Stack, find_by_name
from batch_vision.runs.settings import CheckBacklogSettings, StartModelSettings, SummarizeRunSettings
from local.config import PROJECT_ARN, PROJECT_VERSION_ARN
from local.emulator.client import EmulatorClient

ENVIRONMENT = {
    "SOURCE_BUCKET_NAME": "source",
    "SOURCE_PREFIXES": '[""]',
    "FINAL_BUCKET_NAME": "final",
    "IMAGES_BUCKET_NAME": "images",
    "IMAGE_SUFFIXES": '[".jpg"]',
    "SETTINGS_FINGERPRINT": "f1",
    "BACKEND": "rekognition_custom_labels",
    "BACKEND_SETTINGS": (
        '{"project_arn": "arn:aws:rekognition:us-east-1:123456789012:project/p/1",'
        ' "project_version_arn": "arn:aws:rekognition:us-east-1:123456789012:project/p/version/v/2"}'
    ),
    "MIN_CONFIDENCE_PERCENT": "",
    "START_BACKLOG_IMAGES": "1",
    "MIN_INFERENCE_UNITS": "1",
    "MAX_INFERENCE_UNITS": "3",
    "TARGET_DRAIN_SECONDS": "20",
    "IMAGES_PER_SECOND_PER_UNIT": "5",
    "ACCOUNT_IMAGES_PER_SECOND": "50",
    "MAX_CONCURRENCY": "20",
    "BATCH_SIZE": "10",
    "LIVE_SHARE_PERCENT": "20",
    "PACES": '{"rekognition_custom_labels": {"calls_per_second": 2.5, "most_calls_per_second": 20}}',
    "CONVERT_IMAGES": "false",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/images-dead-letter",
    "REQUEUE_AFTER_SECONDS": "720",
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/images",
    "MAX_RECEIVE_COUNT": "5",
    "CHUNK_IMAGES": "1000",
    "STARTS_MODEL": "false",
    "IMAGE_LATENCY_SECONDS": "1",
    "REQUEUE_LIMIT_IMAGES": "1000",
    "INFERENCE_UNIT_HOUR_DOLLARS": "4",
    "VIDEOS_BUCKET_NAME": "videos",
    "VIDEO_PREFIX": "",
    "VIDEO_SUFFIXES": '[".mp4"]',
    "VIDEO_ANALYSES": '{"labels": {}}',
    "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:pile-video-jobs",
    "NOTIFICATION_ROLE_ARN": "arn:aws:iam::123456789012:role/pile-video-jobs",
    "HINT_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/video-hints",
    "COLLECT_FUNCTION_NAME": "pile-collect-videos",
    "MAX_CONCURRENT_JOBS": "20",
    "MAX_MINUTES_PER_DAY": "600",
}

# Those whose environment the tool reads.
FUNCTIONS = {
    "analyze-images": AnalyzeImagesSettings,
    "check-backlog": CheckBacklogSettings,
    "start-model": StartModelSettings,
    "requeue-images": RequeueImagesSettings,
    "work-off-chunk": WorkOffChunkSettings,
    "summarize-run": SummarizeRunSettings,
}
# Of the function that analyzes the images of an existing bucket.
IN_PLACE_VARIABLES = (
    "IMAGES_BUCKET_NAME",
    "SOURCE_PREFIXES",
    "IMAGE_SUFFIXES",
    "FINAL_BUCKET_NAME",
    "SETTINGS_FINGERPRINT",
    "QUEUE_URL",
    "MAX_RECEIVE_COUNT",
    "BACKEND",
    "BACKEND_SETTINGS",
    "MIN_CONFIDENCE_PERCENT",
    "CONVERT_IMAGES",
)
FINGERPRINT = "f" * 64

ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
NAME = "pile"
SOURCE = f"{NAME}-source-{ACCOUNT_ID}-{REGION}"
IMAGES = "photos-of-others"
FINAL = f"{NAME}-final-{ACCOUNT_ID}-{REGION}"


@dataclass
class Deployed:
    """What Terraform would have made, under the same names."""

    emulator: EmulatorClient
    outputs_file: Path
    is_hosted: bool = True
    is_drop_off: bool = True

    def __post_init__(self) -> None:
        self.s3, self.sqs = boto3.client("s3"), boto3.client("sqs")
        self.functions, self.workflow = boto3.client("lambda"), boto3.client("stepfunctions")
        self.bucket = SOURCE if self.is_drop_off else IMAGES
        for bucket in (self.bucket, FINAL):
            self.s3.create_bucket(Bucket=bucket)
            self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        queue = "chunks" if self.is_hosted and not self.is_drop_off else "images"
        self.queue_url = self.sqs.create_queue(QueueName=f"{NAME}-{queue}")["QueueUrl"]
        self.dead_letter_queue_url = self.sqs.create_queue(QueueName=f"{NAME}-{queue}-dead-letter")["QueueUrl"]
        if not self.is_drop_off:
            queues = ["rule-dead-letter", *(["images", "images-dead-letter"] if self.is_hosted else [])]
            self.other_queues = {name: self.sqs.create_queue(QueueName=f"{NAME}-{name}")["QueueUrl"] for name in queues}
            self.put(f"settings/{FINGERPRINT}.json", b"{}", FINAL)
            self.send_events(is_on=True)
        role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        for function in self.function_names:
            self.functions.create_function(
                FunctionName=f"{NAME}-{function}",
                Runtime="python3.13",
                Role=role,
                Handler="a.b",
                Timeout=2,
                Code={"ZipFile": _package()},
                Environment={"Variables": self.environment(function)},
            )
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["QueueArn"])["Attributes"]
        self.mapping_uuid = self.functions.create_event_source_mapping(
            EventSourceArn=attributes["QueueArn"], FunctionName=f"{NAME}-analyze-images", Enabled=not self.is_hosted
        )["UUID"]
        if self.is_hosted and not self.is_drop_off:
            # Not the queue itself, whose messages moto would take.
            other_url = self.sqs.create_queue(QueueName=f"{NAME}-other")["QueueUrl"]
            asked = {"QueueUrl": other_url, "AttributeNames": ["QueueArn"]}
            queue_arn = self.sqs.get_queue_attributes(**asked)["Attributes"]["QueueArn"]
            self.collecting_uuid = self.functions.create_event_source_mapping(
                EventSourceArn=queue_arn, FunctionName=f"{NAME}-collect-changes", Enabled=True
            )["UUID"]
        # As Terraform prints them: without those that are null.
        self.outputs = {
            "source_bucket_name" if self.is_drop_off else "images_bucket_name": self.bucket,
            "final_bucket_name": FINAL,
            "queue_url": self.queue_url,
            "dead_letter_queue_url": self.dead_letter_queue_url,
            "event_source_mapping_uuid": self.mapping_uuid,
            "analyze_images_function_name": f"{NAME}-analyze-images",
        }
        if self.is_hosted:
            self.make_runs(role)
        if not self.is_drop_off:
            self.make_backfills(role)
        self.write_outputs(self.outputs)

    def make_runs(self, role: str) -> None:
        definition = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
        self.state_machine_arn = self.workflow.create_state_machine(name=NAME, definition=definition, roleArn=role)[
            "stateMachineArn"
        ]
        boto3.client("events").put_rule(Name=f"{NAME}-schedule", ScheduleExpression="rate(1 hour)")
        self.outputs |= {"state_machine_arn": self.state_machine_arn, "schedule_rule_name": f"{NAME}-schedule"}

    def make_backfills(self, role: str) -> None:
        default = {"default": {"max_concurrency": None if self.is_hosted else 3}}
        initialize = {"Type": "Pass", "Parameters": default, "End": True}
        definition = json.dumps({"StartAt": "Initialize", "States": {"Initialize": initialize}})
        self.backfill_state_machine_arn = self.workflow.create_state_machine(
            name=f"{NAME}-backfill", definition=definition, roleArn=role
        )["stateMachineArn"]
        self.outputs["backfill_state_machine_arn"] = self.backfill_state_machine_arn

    @property
    def function_names(self) -> list[str]:
        """The functions whose environment the tool reads."""
        if self.is_hosted:
            collecting = [] if self.is_drop_off else ["collect-changes"]
            return ["analyze-images", "check-backlog", "start-model", "summarize-run", *collecting]
        return ["analyze-images", "requeue-images" if self.is_drop_off else "work-off-chunk"]

    def send_events(self, *, is_on: bool) -> None:
        """Have an existing bucket send its events to EventBridge, or not."""
        configuration: Any = {"EventBridgeConfiguration": {}} if is_on else {}
        self.s3.put_bucket_notification_configuration(Bucket=IMAGES, NotificationConfiguration=configuration)

    def environment(self, function: str, **changes: str) -> dict[str, str]:
        """Return the variables of a function: as Terraform gives them, those of its settings and no others."""
        settings: dict[str, Any] = {"project_arn": PROJECT_ARN, "project_version_arn": PROJECT_VERSION_ARN}
        backend = ENVIRONMENT["BACKEND"]
        if not self.is_hosted:
            backend, settings = "rekognition", {"analyses": ["labels", "text"]}
        variables = ENVIRONMENT | {"FINAL_BUCKET_NAME": FINAL, "BACKEND": backend}
        variables |= {"BACKEND_SETTINGS": json.dumps(settings), "SOURCE_BUCKET_NAME": self.bucket}
        if not self.is_drop_off and function in ("analyze-images", "collect-changes"):
            names = {*IN_PLACE_VARIABLES}
            variables |= {"IMAGES_BUCKET_NAME": IMAGES, "SETTINGS_FINGERPRINT": FINGERPRINT, "IMAGE_SUFFIXES": "[]"}
        else:
            names = {field.name.upper() for field in fields(FUNCTIONS[function])}
        variables |= changes
        return {name: text for name, text in variables.items() if name in names}

    def configure(self, **changes: str) -> None:
        """Change the environment of the deployed functions."""
        for function in self.function_names:
            self.functions.update_function_configuration(
                FunctionName=f"{NAME}-{function}", Environment={"Variables": self.environment(function, **changes)}
            )

    def write_outputs(self, outputs: dict[str, Any]) -> None:
        self.outputs_file.write_text(json.dumps({name: {"value": value} for name, value in outputs.items()}))

    def stack(self) -> Stack:
        return find_by_name(NAME)

    def call(self, *words: str, env: dict[str, str | None] | None = None) -> Result:
        """Call the tool as a user does; `--outputs` is given."""
        return CliRunner(env=env).invoke(main, [*words, "--outputs", str(self.outputs_file)])

    def json(self, *words: str) -> Any:
        result = self.call(*words, "--json")
        assert result.exit_code in (0, 1), result.output
        return json.loads(result.stdout)

    # What is in it.

    def put(self, key: str, content: bytes = b"image", bucket: str = "", **more: Any) -> str:
        bucket = bucket or self.bucket
        return str(self.s3.put_object(Bucket=bucket, Key=key, Body=content, **more)["VersionId"])

    def keys(self, bucket: str) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def versions(self, bucket: str) -> list[tuple[str, str]]:
        answer = self.s3.list_object_versions(Bucket=bucket)
        assert not answer.get("DeleteMarkers")
        return [(entry["Key"], entry["VersionId"]) for entry in answer.get("Versions", [])]

    def read(self, bucket: str, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def catalog(self, finished_at: str, *lines: dict[str, Any]) -> None:
        """Write a catalog object as a batch does."""
        written = [{"finished_at": finished_at} | LINE | line for line in lines]
        body = "".join(f"{json.dumps(line)}\n" for line in written)
        self.put(catalog_key(from_text(finished_at), f"batch-{time.monotonic_ns()}"), body.encode(), FINAL)

    def in_place(self, key: str, recorded_at: str = "", **line: Any) -> dict[str, Any]:
        """Leave a result of an image of an existing bucket, and its line, as the updating function does."""
        recorded_at = recorded_at or to_text(utc_now())[:19] + ".000Z"
        head = self.s3.head_object(Bucket=IMAGES, Key=key)
        written = IN_PLACE_LINE | {"key": key, "result_key": f"results/{key}.json", "version_id": head["VersionId"]}
        written |= {"finished_at": recorded_at, "recorded_at": recorded_at} | line
        source = {"bucket": IMAGES, "key": key, "version_id": written["version_id"], "etag": head["ETag"].strip('"')}
        error = {"type": written["error_type"], "message": "S3 refused it", "remedy": "Restore the object."}
        said = written["predictions"] and not written["error_type"]
        instances = [{"confidence": 90.0, "bounding_box": {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4}}]
        cat = {"name": "Cat", "kind": "label", "confidence": 91.25, "bounding_box": None, "parents": ["Animal"]}
        result = {
            "schema_version": 2,
            "status": written["status"],
            "source": source | {"size_bytes": head["ContentLength"], "last_modified": recorded_at},
            "model": {"backend": "rekognition", "id": "DetectLabels"},
            "analyzed_at": recorded_at,
            "predictions": [cat | {"instances": instances}] if said else [],
            "anomaly": None,
            "error": error if written["error_type"] else None,
            "errors": {},
            "raw": {},
            "fingerprint": written["fingerprint"],
            "nonce": "n",
        }
        mark = {"batch-vision": "result", "upload": written["version_id"], "fingerprint": written["fingerprint"]}
        mark["status"] = written["status"]
        self.put(written["result_key"], json.dumps(result).encode(), FINAL, Metadata=mark)
        self.write_lines(written)
        return written

    def write_lines(self, *lines: dict[str, Any]) -> None:
        """Write a catalog object with the lines of an existing bucket."""
        body = "".join(f"{json.dumps(line)}\n" for line in lines)
        key = catalog_key(from_text(lines[0]["recorded_at"]), f"batch-{time.monotonic_ns()}")
        self.put(key, body.encode(), FINAL)

    def reject(self, key: str, content: bytes = b"broken", **source: Any) -> dict[str, Any]:
        """Leave a rejected image as the analyzing function does, and give its result."""
        result = {
            "status": "rejected",
            "source": {
                "bucket": SOURCE,
                "key": key,
                "version_id": "gone-version",
                "etag": "e",
                "size_bytes": len(content),
                "uploaded_at": to_text(utc_now()),
            }
            | source,
            "error": {"type": "InvalidImageFormatError", "message": "no image"},
            "image_key": f"rejected/{key}",
        }
        self.put(f"rejected/{key}", content, FINAL, ContentType="image/png", Metadata={"camera": "7"})
        self.put_result(result)
        return result

    def put_result(self, result: dict[str, Any]) -> str:
        return self.put(
            f"{result['image_key']}.json", json.dumps(result).encode(), FINAL, Metadata={"batch-vision": "result"}
        )

    def counts(self, url: str) -> int:
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(number) for number in attributes.values())

    def mapping_state(self) -> str:
        return str(self.functions.get_event_source_mapping(UUID=self.mapping_uuid)["State"])

    def execution(self, status: str = "RUNNING", **more: Any) -> str:
        """Have an execution that ended so; moto executes nothing."""
        arn = self.workflow.start_execution(stateMachineArn=self.state_machine_arn)["executionArn"]
        self.end(arn, status, **more)
        return arn

    def end(self, arn: str, status: str, **more: Any) -> None:
        machines = stepfunctions_backends[ACCOUNT_ID][REGION].state_machines
        execution: Any = next(e for machine in machines for e in machine.executions if e.execution_arn == arn)
        execution.status = status
        if status != "RUNNING":
            execution.stop_date = execution.start_date
        for name, value in more.items():
            setattr(execution, name, value)

    def model_status(self) -> str:
        return str(self.emulator.model(PROJECT_VERSION_ARN)["status"])

    def start_model(self) -> None:
        boto3.client("rekognition").start_project_version(ProjectVersionArn=PROJECT_VERSION_ARN, MinInferenceUnits=2)


LINE = {
    "schema_version": 2,
    "key": "a.png",
    "version_id": "v1",
    "etag": "e",
    "uploaded_at": "2026-11-20T07:59:00.000Z",
    "size_bytes": 5,
    "width": 640,
    "height": 480,
    "status": "processed",
    "error_type": None,
    "image_key": "processed/a.png",
    "backend": "rekognition_custom_labels",
    "model": "crack-model",
    "predictions": [{"name": "crack", "kind": "custom_label", "confidence": 91.25}],
    "anomaly": None,
    "attempts": 1,
    "throttles": 0,
    "duration_ms": 120,
}

IN_PLACE_LINE = {name: value for name, value in LINE.items() if name != "image_key"} | {
    "result_key": "results/a.png.json",
    "fingerprint": FINGERPRINT,
    "predictions": [{"name": "Cat", "kind": "label", "confidence": 91.25}],
}

SUMMARY = {
    "run_id": "r",
    "started_at": "2026-11-20T08:00:00.000Z",
    "ended_at": "2026-11-20T08:30:00.000Z",
    "outcome": "succeeded",
    "error": None,
    "images_processed": 11,
    "images_rejected": 1,
    "rejected_by_reason": {"InvalidImageFormatError": 1},
    "inference_units": 2,
    "model_on_seconds": 900.0,
}


def _package() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as package:
        package.writestr("a.py", "")
    return content.getvalue()
