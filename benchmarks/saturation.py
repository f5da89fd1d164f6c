"""How much of the allowed throughput the analyzing function uses, with real concurrency.

S3 and SQS are LocalStack's, the model is the emulator's, the function runs the real handler, and the benchmark's own
poller feeds it (LocalStack has one poller for a queue).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import boto3
from botocore.config import Config

from batch_vision.core.capacity import CapacitySettings, concurrency_for
from batch_vision.core.settings import read_settings
from benchmarks.poller import Poller
from benchmarks.report import Result
from benchmarks.simulation import function_environment, terraform_defaults
from local.config import PROJECT_ARN, PROJECT_VERSION_ARN, REPOSITORY
from local.emulator.labelled import learn_folder
from local.emulator.objects import S3ObjectReader
from local.emulator.server import Emulator, EmulatorServer
from local.emulator.settings import Settings
from local.localstack import start_localstack

if TYPE_CHECKING:
    from collections.abc import Callable

CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
UNITS = (1, 2, 5)
# Two cores manage about 20 images a second through LocalStack: less is allowed, so that they are not the limit.
IMAGES_PER_SECOND_PER_UNIT = 2.0
LATENCY_MS = 400.0
SECONDS = 45  # of work, for each number of units
WARM_SECONDS = 4.0  # the first second's tokens, and the function's first calls
SAMPLES = REPOSITORY / "local" / "samples"


@dataclass
class Pile:
    """Images in a source bucket, with a message for each."""

    s3: Any
    sqs: Any
    source: str
    final: str
    queue_url: str

    @classmethod
    def make(cls, localstack_url: str, name: str, visibility_timeout_seconds: int) -> Pile:
        """Make buckets and a queue."""
        config = Config(s3={"addressing_style": "path"}, max_pool_connections=32)
        s3, sqs = (
            boto3.client(service, endpoint_url=localstack_url, config=config, **CREDENTIALS)  # type: ignore[call-overload]
            for service in ("s3", "sqs")
        )
        source, final = f"source-{name}", f"final-{name}"
        for bucket in (source, final):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        attributes = {"VisibilityTimeout": str(visibility_timeout_seconds)}
        queue_url = sqs.create_queue(QueueName=f"images-{name}", Attributes=attributes)["QueueUrl"]
        return cls(s3, sqs, source, final, queue_url)

    def fill(self, images: int) -> None:
        """Upload so many images, and send a message for each."""
        content = (SAMPLES / "pile" / "part-01.jpg").read_bytes()
        entries = [_entry(self.s3, self.source, f"{number:05d}.jpg", content) for number in range(images)]
        for begin in range(0, images, 10):
            self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries[begin : begin + 10])

    def watch(self, look: Callable[[], tuple[int, ...]], most_seconds: float) -> list[Sample]:
        """Look twice a second until all messages are taken, or for the most time; return what was seen."""
        samples: list[Sample] = []
        began = time.monotonic()
        while (now := time.monotonic() - began) < most_seconds:
            samples.append((now, self._visible(), look()))
            if samples[-1][1] == 0 and now > WARM_SECONDS:
                break
            time.sleep(0.5)
        return samples

    def count_left(self) -> int:
        """Count the images that are still in the source bucket."""
        return len(self._keys(self.source))

    def count_ended(self) -> int:
        """Count the images that were processed."""
        return sum(key.startswith("processed/") and key.endswith(".json") for key in self._keys(self.final))

    def _visible(self) -> int:
        name = "ApproximateNumberOfMessages"
        answer = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def _keys(self, bucket: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


# Seconds since the begin, messages that wait, and what was counted.
type Sample = tuple[float, int, tuple[int, ...]]


def window_of(samples: list[Sample]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the first and the last of the samples, without the waiting messages, between which there was work.

    From when it is warm until the last messages are taken: as long as there is more to do than is being done.
    """
    window = [(now, *counted) for now, waiting, counted in samples if now >= WARM_SECONDS and waiting > 0]
    if len(window) < 2:
        raise RuntimeError(f"The backlog was taken within {samples[-1][0]:.0f} s: give it more.")
    return window[0], window[-1]


def measure(units: int, localstack_url: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Feed the function a backlog of some seconds of work, and count what the emulator admits and refuses."""
    defaults = terraform_defaults()
    pile = Pile.make(localstack_url, str(units), int(6 * defaults["analyze_timeout_seconds"]))
    timeout_seconds = int(defaults["analyze_timeout_seconds"])
    # As the workflow sets it for that many units.
    concurrency = concurrency_for(units, read_settings(CapacitySettings, _environment(pile, units)))
    batch_size = int(defaults["batch_size"])
    images = int(units * IMAGES_PER_SECOND_PER_UNIT * (seconds + WARM_SECONDS)) + concurrency * batch_size
    pile.fill(images)
    settings = Settings(
        start_seconds=0,
        stop_seconds=0,
        transactions_per_second_per_unit=IMAGES_PER_SECOND_PER_UNIT,
        latency_ms=LATENCY_MS,
    )
    emulator = Emulator(learn_folder(SAMPLES / "labelled"), S3ObjectReader.at(localstack_url), settings=settings)
    with EmulatorServer(emulator) as model:
        _start(model.url, units)
        environment = _environment(pile, units) | endpoints(localstack_url, model.url)
        with Poller(
            pile.sqs,
            pile.queue_url,
            environment,
            max_concurrency=concurrency,
            batch_size=batch_size,
            timeout_seconds=timeout_seconds,
        ) as poller:
            samples = pile.watch(lambda: (model.model()["detect_calls"],), 3 * (seconds + WARM_SECONDS))
        state = model.model()
    (begin, admitted_before), (end, admitted) = window_of(samples)
    allowed = (end - begin) * units * IMAGES_PER_SECOND_PER_UNIT
    calls = state["detect_calls"] + state["throttled_calls"]
    return {
        "units": units,
        "concurrency": concurrency,
        "images": images,
        "of the allowed throughput used": (admitted - admitted_before) / allowed,
        "throttled calls, share": state["throttled_calls"] / calls,
        "calls / image": calls / images,
        "left for redelivery": poller.polled.left,
        "images lost": images - pile.count_ended() - pile.count_left(),
        "SQS requests / image": poller.polled.requests / max(1, poller.polled.messages),
        "GB-seconds / image": poller.polled.invocation_seconds * int(defaults["analyze_memory_mb"]) / 1024 / images,
        "errors": len(poller.polled.errors),
    }


def _environment(pile: Pile, units: int) -> dict[str, str]:
    model = json.dumps({"project_arn": PROJECT_ARN, "project_version_arn": PROJECT_VERSION_ARN})
    # What the user would set: the throughput of the model.
    told = {
        "IMAGES_PER_SECOND_PER_UNIT": str(IMAGES_PER_SECOND_PER_UNIT),
        "MIN_INFERENCE_UNITS": str(units),
        "MAX_INFERENCE_UNITS": str(units),
    }
    names = {"SOURCE_BUCKET_NAME": pile.source, "FINAL_BUCKET_NAME": pile.final, "BACKEND_SETTINGS": model}
    return function_environment(terraform_defaults(), **(told | names))


def endpoints(localstack_url: str, emulator_url: str) -> dict[str, str]:
    """Return where the function finds its services, and what keeps it quiet."""
    return {
        "AWS_ENDPOINT_URL": localstack_url,
        "AWS_ENDPOINT_URL_REKOGNITION": emulator_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "POWERTOOLS_METRICS_DISABLED": "true",
        "POWERTOOLS_METRICS_NAMESPACE": "BatchVision",
        "POWERTOOLS_SERVICE_NAME": "bench",
        "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    }


def _start(url: str, units: int) -> None:
    rekognition = boto3.client("rekognition", endpoint_url=url, **CREDENTIALS)  # type: ignore[call-overload]
    rekognition.start_project_version(ProjectVersionArn=PROJECT_VERSION_ARN, MinInferenceUnits=units)


def _entry(s3: Any, bucket: str, key: str, content: bytes) -> dict[str, str]:
    put = s3.put_object(Bucket=bucket, Key=key, Body=content)
    described = {
        "key": quote_plus(key),
        "versionId": put["VersionId"],
        "size": len(content),
        "eTag": put["ETag"].strip('"'),
    }
    record = {"eventName": "ObjectCreated:Put", "eventTime": "2026-01-01T00:00:00.000Z"}
    body = json.dumps({"Records": [record | {"s3": {"bucket": {"name": bucket}, "object": described}}]})
    return {"Id": key.partition(".")[0], "MessageBody": body}


def run(quick: bool = False) -> Result:
    """Measure 1, 2 and 5 units."""
    localstack = start_localstack(dies_with_parent=True)
    try:
        rows = [measure(units, localstack.url, 5 if quick else SECONDS) for units in (UNITS[:1] if quick else UNITS)]
    finally:
        localstack.stop()
    result = Result("Saturation: the real handler against the emulator, S3 and SQS of LocalStack", rows)
    used = min(row["of the allowed throughput used"] for row in rows)
    result.target("at least 95% of the allowed throughput used", used, is_met=used >= 0.95)
    throttled = max(row["throttled calls, share"] for row in rows)
    result.target("under 2% of calls throttled", throttled, is_met=throttled < 0.02)
    lost = sum(row["images lost"] for row in rows)
    result.target("images lost", lost, is_met=lost == 0)
    result.notes.append(
        f"{IMAGES_PER_SECOND_PER_UNIT:g} calls a second for a unit and {LATENCY_MS:g} ms for a call, instead of a"
        " service's 5 and less: so little that two cores, which also run S3 and SQS, are not the limit. Counted from"
        f" {WARM_SECONDS:g} s after the first message until the last is taken."
    )
    return result
