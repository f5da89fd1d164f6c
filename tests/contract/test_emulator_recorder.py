"""The emulator's record of who asked for what, as botocore's clients ask."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.exceptions import ClientError

from local.config import (
    ADAPTER_ARN,
    LOOKOUT_MODEL_VERSION,
    LOOKOUT_PROJECT_NAME,
    PROJECT_ARN,
    PROJECT_VERSION_ARN,
    REGION,
)
from local.emulator.lookout_for_vision import SERVICE_MODELS
from local.emulator.recorder import CallRecorder
from local.emulator.server import Emulator, EmulatorServer

if TYPE_CHECKING:
    from pathlib import Path

    from local.emulator.pixel_model import PixelModel
    from tests.contract.conftest import BorrowedReader


def test_each_call_is_recorded_with_its_caller(
    tmp_path: Path, pixel_model: PixelModel, borrowed_reader: BorrowedReader
) -> None:
    file = tmp_path / "recorded-calls.jsonl"
    with EmulatorServer(Emulator(pixel_model, borrowed_reader, recorder=CallRecorder(file))) as emulator:
        keys = {"aws_access_key_id": "LSIA1", "aws_secret_access_key": "s", "region_name": REGION}
        labels = boto3.client("rekognition", endpoint_url=emulator.url, **keys)
        labels.describe_project_versions(ProjectArn=PROJECT_ARN)
        image: Any = {"S3Object": {"Bucket": "bucket", "Name": "é.png", "Version": "1"}}
        status = 200
        try:
            labels.detect_custom_labels(ProjectVersionArn=PROJECT_VERSION_ARN, Image=image)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        with contextlib.suppress(ClientError):
            labels.detect_text(Image={"Bytes": b"of a picture"})
        adapted = {"Image": image, "ProjectVersion": ADAPTER_ARN.replace("moderation.1", "moderation.9")}
        with contextlib.suppress(ClientError):
            labels.detect_moderation_labels(**adapted)
        pinned = {"S3Object": {"Bucket": "bucket", "Name": "v.mp4", "Version": "1"}}
        channel = {
            "SNSTopicArn": "arn:aws:sns:us-east-1:000000000000:jobs",
            "RoleArn": "arn:aws:iam::000000000000:role/tell",
        }
        started: Any = {"Video": pinned, "NotificationChannel": channel, "ClientRequestToken": "1"}
        emulator.inject("StartLabelDetection", "AccessDeniedException")
        for call, asked in ((labels.start_label_detection, started), (labels.get_label_detection, {"JobId": "1"})):
            with contextlib.suppress(ClientError):
                call(**asked)
        session = botocore.session.get_session()
        session.get_component("data_loader").search_paths.append(os.fspath(SERVICE_MODELS))
        anomalies = boto3.Session(botocore_session=session).client("lookoutvision", endpoint_url=emulator.url, **keys)
        model = {"ProjectName": LOOKOUT_PROJECT_NAME, "ModelVersion": LOOKOUT_MODEL_VERSION}
        anomalies.describe_model(**model)
        anomalies.start_model(**model, MinInferenceUnits=1)
        emulator.state()  # the control interface is no service
    calls = [json.loads(line) for line in file.read_text().splitlines()]
    assert {call["access_key_id"] for call in calls} == {"LSIA1"}
    assert [(f"{call['service']}:{call['operation']}", call["parameters"], call["status"]) for call in calls] == [
        ("rekognition:DescribeProjectVersions", {"ProjectArn": PROJECT_ARN}, 200),
        ("rekognition:DetectCustomLabels", {"ProjectVersionArn": PROJECT_VERSION_ARN, "Image": image}, status),
        ("rekognition:DetectText", {"Image": {"Bytes": ""}}, status),
        ("rekognition:DetectModerationLabels", adapted, status),
        ("rekognition:StartLabelDetection", started, 400),
        ("rekognition:GetLabelDetection", {"JobId": "1"}, 400),
        ("lookoutvision:DescribeModel", model, 200),
        ("lookoutvision:StartModel", model, 202),
    ]
    assert status != 200
