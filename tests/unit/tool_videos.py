"""Videos of a stack as the operator's tool finds it, with objects as the functions leave them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import boto3

from batch_vision.core.in_place import upload_of
from batch_vision.core.times import to_text, utc_now
from batch_vision.core.video_plans import minutes_of
from batch_vision.core.videos import (
    ACTIVE,
    RESERVATIONS,
    WAITING,
    Analysis,
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
    {"name": "Cat", "kind": "label", "start_seconds": 1.0, "end_seconds": 2.0, "confidence": 91.25},
    {"name": "Cat", "kind": "label", "start_seconds": 3.0, "end_seconds": 3.5, "confidence": 55.5},
    {"name": "Dog", "kind": "label", "start_seconds": 0.5, "end_seconds": 1.5, "confidence": 70.0},
]


@dataclass
class DeployedVideos:
    """What Terraform would have made for videos, beside or instead of images."""

    deployed: Deployed
    bucket: str = VIDEOS
    has_images: bool = True
    records: dict[tuple[str, str], Record] = field(default_factory=dict)

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

    def plan(self, key: str, *, analyses: dict[str, Any] = ANALYSES, seconds: float = 90, **more: Any) -> Plan:
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
        told = {"day": day, "minutes": minutes, "jobs": {f"r{n}-1": {"record_id": f"r{n}"} for n in range(jobs)}}
        self.deployed.put(RESERVATIONS, json.dumps(told).encode(), FINAL)

    def finish(self, key: str, content: bytes = b"video", status: str = "processed", **more: Any) -> dict[str, Any]:
        """Leave the result of a video, its files and its line as the collecting function does."""
        version_id = self.put(key, content)
        plan = self.plan(key, **more.pop("plan", {}))
        assert plan.upload
        source = {"bucket": self.bucket, "key": key, "version_id": version_id, "etag": plan.upload.etag}
        source |= {"size_bytes": len(content), "last_modified": to_text(plan.upload.last_modified)}
        segments = more.pop("segments", SEGMENTS)
        analyses = {
            analysis: self._files(analysis, one.record_id, segments if analysis == "labels" else [])
            for analysis, one in plan.analyses.items()
        }
        error = more.pop("error", None)
        if status != "processed":
            analyses = {name: one | {"status": status, "files": {}, "error": error} for name, one in analyses.items()}
        best: dict[str, float] = {}
        for segment in segments:
            best[segment["name"]] = max(best.get(segment["name"], 0), segment["confidence"])
        predictions = [{"name": name, "kind": "label", "confidence": said} for name, said in best.items()]
        now = to_text(utc_now())[:19] + ".000Z"
        result = {
            "schema_version": 1,
            "media": "video",
            "status": status,
            "source": source,
            "video": {"duration_seconds": 4.0, "frame_rate": 10.0, "width": 320, "height": 240}
            | {"codec": "avc1", "container": "mp4"},
            "model": {"backend": "rekognition_video", "id": "labels 3.0, text 3.0"},
            "analyzed_at": now,
            "predictions": predictions if status == "processed" else [],
            "analyses": analyses,
            "error": error,
            "fingerprint": plan.fingerprint,
            "video_key": None,
        } | more
        if self.is_drop_off and status != "failed":
            result["video_key"] = f"videos/{status}/{key}"
            self.deployed.put(str(result["video_key"]), content, FINAL)
            self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=version_id)
        mark = {"batch-vision": "result", "upload": plan.upload.name, "fingerprint": plan.fingerprint}
        place = video_result_key(key)
        self.deployed.put(place, json.dumps(result).encode(), FINAL, Metadata=mark | {"status": status})
        self.deployed.write_lines(self.line(result, now, place))
        return result

    def line(self, result: dict[str, Any], now: str, place: str) -> dict[str, Any]:
        """Return the line of a result."""
        source = result["source"]
        return {
            "schema_version": 2,
            "media": "video",
            "finished_at": now,
            "recorded_at": now,
            "key": source["key"],
            "version_id": source["version_id"],
            "etag": source["etag"],
            "uploaded_at": source["last_modified"],
            "size_bytes": source["size_bytes"],
            "width": 320,
            "height": 240,
            "duration_seconds": 4.0,
            "status": result["status"],
            "error_type": result["error"] and result["error"]["type"],
            "backend": "rekognition_video",
            "model": result["model"]["id"],
            "predictions": result["predictions"],
            "anomaly": None,
            "attempts": 1,
            "throttles": 0,
            "duration_ms": 120,
            "result_key": place,
            "fingerprint": result["fingerprint"],
        }

    def _files(self, analysis: str, record_id: str, segments: list[dict[str, Any]]) -> dict[str, Any]:
        files = {}
        written = {
            "segments": ("json", json.dumps({"schema_version": 1, "analysis": analysis, "segments": segments})),
            "vtt": ("vtt", "WEBVTT\n"),
            "csv": ("csv", "name,start\n"),
            "detections": ("jsonl.gz", analysis),
        }
        for kind, (ending, text) in written.items():
            files[kind] = job_file(record_id, f"{analysis}.{ending}")
            self.deployed.put(files[kind], text.encode(), FINAL)
        return {
            "status": "done",
            "job_id": f"job-{analysis}",
            "attempt": 1,
            "minutes": 1,
            "model_version": "3.0",
            "detections": len(segments),
            "segments": len(segments),
            "segments_truncated": False,
            "files": files,
            "error": None,
        }
