"""Videos of a stack as the operator's tool finds it, with objects as the functions leave them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import boto3

from batch_vision.core.in_place import upload_of
from batch_vision.core.times import utc_now
from batch_vision.core.video_plans import minutes_of, records_of
from batch_vision.core.video_reservations import Reservations, Reserved
from batch_vision.core.video_results import make_result, place_of, video_line
from batch_vision.core.videos import (
    ACTIVE,
    RESERVATIONS,
    WAITING,
    Analysis,
    Fault,
    Plan,
    Record,
    State,
    Upload,
    VideoMetadata,
    job_file,
    plan_key,
    record_id_of,
    record_key,
    video_result_key,
)
from tests.unit.tool_stack import ACCOUNT_ID, FINAL, NAME, REGION, Deployed, _package

VIDEOS = f"{NAME}-videos-{ACCOUNT_ID}-{REGION}"
CLIPS = "clips-of-others"
ANALYSES: dict[str, Any] = {"labels": {"min_confidence_percent": 60}, "text": {}}
SUFFIXES = [".mp4", ".mov", ".m4v", ".avi"]
SEGMENTS = [
    {"name": "Cat", "kind": "label", "parents": [], "start_seconds": 1.0, "end_seconds": 2.0, "confidence": 91.25},
    {"name": "Cat", "kind": "label", "parents": [], "start_seconds": 3.0, "end_seconds": 3.5, "confidence": 55.5},
    {"name": "Dog", "kind": "label", "parents": [], "start_seconds": 0.5, "end_seconds": 1.5, "confidence": 70.0},
]


@dataclass
class DeployedVideos:
    """What Terraform would have made for videos, beside or instead of images."""

    deployed: Deployed
    bucket: str = VIDEOS
    has_images: bool = True

    def __post_init__(self) -> None:
        self.s3, sqs, functions = self.deployed.s3, self.deployed.sqs, self.deployed.functions
        if self.bucket != self.deployed.bucket:
            self.s3.create_bucket(Bucket=self.bucket)
            self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        names = ["videos", "videos-dead-letter", *([] if self.is_drop_off else ["video-rule-dead-letter"])]
        urls = {name: sqs.create_queue(QueueName=f"{NAME}-{name}")["QueueUrl"] for name in names}
        self.queue_url, self.dead_letter_queue_url = urls["videos"], urls["videos-dead-letter"]
        role = boto3.client("iam").get_role(RoleName="r")["Role"]["Arn"]
        told = {
            "register-videos": {
                "VIDEOS_BUCKET_NAME": self.bucket,
                "VIDEO_PREFIX": "",
                "VIDEO_SUFFIXES": json.dumps(SUFFIXES),
                "VIDEO_ANALYSES": json.dumps(ANALYSES),
            },
            "dispatch-videos": {"MAX_CONCURRENT_JOBS": "3", "MAX_MINUTES_PER_DAY": "600"},
        }
        for name, variables in told.items():
            functions.create_function(
                FunctionName=f"{NAME}-{name}",
                Runtime="python3.13",
                Role=role,
                Handler="a.b",
                Code={"ZipFile": _package()},
                Environment={"Variables": variables},
            )
        other = sqs.create_queue(QueueName=f"{NAME}-other-videos")["QueueUrl"]  # moto would take the messages
        asked: Any = {"QueueUrl": other, "AttributeNames": ["QueueArn"]}
        arn = sqs.get_queue_attributes(**asked)["Attributes"]["QueueArn"]
        self.mapping_uuid = functions.create_event_source_mapping(
            EventSourceArn=arn, FunctionName=f"{NAME}-register-videos", Enabled=True
        )["UUID"]
        outputs = {"videos_bucket_name": self.bucket, "dispatch_videos_function_name": f"{NAME}-dispatch-videos"}
        if not self.has_images:
            functions.delete_function(FunctionName=f"{NAME}-analyze-images")
            self.deployed.outputs = {"final_bucket_name": FINAL}
        self.deployed.write_outputs(self.deployed.outputs | outputs)

    @property
    def is_drop_off(self) -> bool:
        return self.bucket == VIDEOS

    def put(self, key: str, content: bytes = b"video") -> str:
        return self.deployed.put(key, content, self.bucket)

    def plan(self, key: str, *, analyses: dict[str, Any] = ANALYSES, seconds: float | None = 90, **more: Any) -> Plan:
        """Leave the plan of the current upload of a key."""
        head = self.s3.head_object(Bucket=self.bucket, Key=key)
        etag, at, version_id = head["ETag"].strip('"'), head["LastModified"], head["VersionId"]
        name = upload_of(version_id, etag, at, head["ContentLength"])
        generation = more.pop("generation", 1)
        plan = Plan(
            bucket=self.bucket,
            key=key,
            generation=generation,
            upload=Upload(name, version_id, etag, at, head["ContentLength"]),
            video=VideoMetadata(duration_seconds=seconds, codec="avc1", width=320, height=240, container="mp4"),
            analyses={
                analysis: Analysis(record_id_of(self.bucket, key, name, analysis, settings, generation), settings)
                for analysis, settings in analyses.items()
            },
            ended_at=utc_now(),
        )
        plan = replace(plan, **more)
        self.deployed.put(plan_key(self.bucket, key), json.dumps(plan.to_json()).encode(), FINAL)
        return plan

    def read_plan(self, key: str) -> Plan:
        return Plan.from_json(json.loads(self.deployed.read(FINAL, plan_key(self.bucket, key))))

    def record(self, plan: Plan, analysis: str, state: State, **more: Any) -> Record:
        """Leave a record and its markers."""
        assert plan.upload
        record = Record(
            record_id=plan.analyses[analysis].record_id,
            bucket=self.bucket,
            key=plan.key,
            upload=plan.upload.name,
            uploaded_at=plan.upload.last_modified,
            analysis=analysis,
            generation=plan.generation,
            request={},
            minutes=minutes_of(plan.video.duration_seconds),
            video=plan.video,
            due_at=more.pop("due_at", datetime(2026, 11, 20, 8, tzinfo=UTC)),
            state=state,
            **more,
        )
        due = f"{record.due_at:%Y%m%dT%H%M%SZ}"
        self.deployed.put(f"{WAITING}{due}-{record.record_id}", b"", FINAL)
        self.deployed.put(record_key(record.record_id), json.dumps(record.to_json()).encode(), FINAL)
        if state != State.WAITING:
            self.deployed.put(f"{ACTIVE}{record.record_id}", b"", FINAL)
        return record

    def reserve(self, day: str, minutes: int, jobs: int) -> None:
        reserved = {f"r{n}-1": Reserved(f"r{n}", 1, day, n) for n in range(jobs)}
        told = Reservations(day, minutes, reserved, jobs).to_json()
        self.deployed.put(RESERVATIONS, json.dumps(told).encode(), FINAL)

    def finish(
        self,
        key: str,
        content: bytes = b"video",
        status: str = "processed",
        error: dict[str, str] | None = None,
        segments: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Leave the result of a video, its files and its line as the collecting function does."""
        version_id = self.put(key, content)
        plan = self.plan(key, seconds=4)
        state = {"processed": State.DONE, "rejected": State.REJECTED, "failed": State.FAILED}[status]
        records = [
            replace(record, state=state, job_id=f"job-{record.analysis}", error=Fault(**error) if error else None)
            for record in records_of(plan, lambda *_: {}, utc_now())
        ]
        told = SEGMENTS if segments is None else segments
        answers = {one.analysis: self._files(one, told if one.analysis == "labels" else []) for one in records}
        place = place_of(plan, records) if self.is_drop_off else None
        now = utc_now().replace(microsecond=0)
        result = make_result(plan, records, answers if status == "processed" else {}, now, place)
        result["fingerprint"] = plan.fingerprint
        if place:
            self.deployed.put(place, content, FINAL)
            self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=version_id)
        mark = {"batch-vision": "result", "upload": str(plan.is_of), "fingerprint": plan.fingerprint, "status": status}
        self.deployed.put(video_result_key(key), json.dumps(result).encode(), FINAL, Metadata=mark)
        self.deployed.write_lines(video_line(result, now))
        return result

    def _files(self, record: Record, segments: list[dict[str, Any]]) -> dict[str, Any]:
        """Leave the files of a job, and return the one that has the segments."""
        answer = {
            "schema_version": 1,
            "analysis": record.analysis,
            "model_version": "3.0",
            "detections": len(segments),
            "truncated": False,
            "segments": segments,
        }
        written = {"json": json.dumps(answer), "vtt": "WEBVTT\n", "csv": "name,start\n", "jsonl.gz": record.analysis}
        for ending, text in written.items():
            self.deployed.put(job_file(record.record_id, f"{record.analysis}.{ending}"), text.encode(), FINAL)
        return answer
