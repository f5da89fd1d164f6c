"""What an image and a run cost: requests counted at the wire, and the bill of whole batches."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import time
import uuid
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from threading import RLock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from batch_vision.operator.cost import (
    S3_WRITES_PER_BATCH,
    S3_WRITES_PER_IMAGE,
    SQS_REQUESTS_PER_BATCH,
    SQS_REQUESTS_PER_IMAGE,
)
from benchmarks.report import Result
from benchmarks.simulation import (
    SAMPLE_IMAGE_SECONDS,
    Arrival,
    Simulation,
    World,
    bill,
    function_environment,
    public_sample,
    terraform_defaults,
)
from local.config import PROJECT_ARN, PROJECT_VERSION_ARN, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCHES = (1_000, 100_000, 1_000_000)
_SAMPLES = REPOSITORY / "local" / "samples"
_FREE = {"DeleteObject"}


class Context:
    """What Lambda gives a handler."""

    function_name = "analyze-images"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:analyze-images"

    def __init__(self, timeout_seconds: float = 60) -> None:
        self._deadline = time.monotonic() + timeout_seconds
        self.aws_request_id = str(uuid.uuid4())

    def get_remaining_time_in_millis(self) -> int:
        return int((self._deadline - time.monotonic()) * 1000)


def count_requests(batches: int = 3) -> dict[str, float]:
    """Return the requests of the real handler for an image, by operation, at full batches.

    S3 is moto's, the model is the emulator's with more throughput than is asked for. Runs in a process of its own.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_count, batches).result()


def _count(batches: int) -> dict[str, float]:
    size = int(terraform_defaults()["batch_size"])
    model = json.dumps({"project_arn": PROJECT_ARN, "project_version_arn": PROJECT_VERSION_ARN})
    os.environ.update(
        function_environment(terraform_defaults(), BACKEND_SETTINGS=model)
        | {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        | {
            "POWERTOOLS_METRICS_NAMESPACE": "BatchVision",
            "POWERTOOLS_SERVICE_NAME": "bench",
            "POWERTOOLS_LOG_LEVEL": "ERROR",
        }
    )
    import boto3
    from moto import mock_aws
    from moto.core.botocore_stubber import BotocoreStubber

    from local.emulator.labelled import learn_folder
    from local.emulator.objects import S3ObjectReader
    from local.emulator.server import Emulator, EmulatorServer
    from local.emulator.settings import Settings

    answer, lock = BotocoreStubber.process_request, RLock()

    def alone(self: BotocoreStubber, request: Any) -> Any:
        with lock:  # moto's state does not bear threads
            return answer(self, request)

    BotocoreStubber.process_request = alone  # type: ignore[method-assign]
    with mock_aws():
        s3 = boto3.client("s3")
        for bucket in ("source", "final"):
            s3.create_bucket(Bucket=bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        fast = Settings(start_seconds=0, stop_seconds=0, transactions_per_second_per_unit=1000, latency_ms=0)
        with EmulatorServer(Emulator(learn_folder(_SAMPLES / "labelled"), S3ObjectReader(s3), settings=fast)) as client:
            os.environ["AWS_ENDPOINT_URL_REKOGNITION"] = client.url
            boto3.client("rekognition").start_project_version(
                ProjectVersionArn=PROJECT_VERSION_ARN, MinInferenceUnits=1
            )
            from batch_vision.images import batch as module
            from lambdas.analyze_images.handler import handler

            requests: Counter[str] = Counter()
            content = (_SAMPLES / "pile" / "part-01.jpg").read_bytes()
            events = [_event(s3, size, content, batch) for batch in range(batches)]
            with contextlib.redirect_stdout(io.StringIO()):
                handler(events[0], Context())  # makes the clients
                asked = [detector._client for detector in module.detectors()._by_name.values()]
                _count_of((module.clients.s3(), *asked), requests)
                for event in events[1:]:
                    failed = handler(event, Context())["batchItemFailures"]
                    if failed:
                        raise RuntimeError(f"{len(failed)} images of {size} failed.")
    images = (batches - 1) * size
    return {name: count / images for name, count in sorted(requests.items())}


def _count_of(clients: Iterable[Any], requests: Counter[str]) -> None:
    def count(request: Any, operation_name: str, **_: Any) -> None:
        requests[operation_name] += 1

    for client in clients:
        client.meta.events.register("request-created", count)


def _event(s3: Any, size: int, content: bytes, batch: int) -> dict[str, Any]:
    records = []
    for number in range(size):
        key = f"{batch}/{number}.jpg"
        version = s3.put_object(Bucket="source", Key=key, Body=content)["VersionId"]
        described = {"key": quote_plus(key), "versionId": version, "size": len(content), "eTag": "e"}
        record = {"eventName": "ObjectCreated:Put", "eventTime": "2026-01-01T00:00:00.000Z"}
        body = json.dumps({"Records": [record | {"s3": {"bucket": {"name": "source"}, "object": described}}]})
        records.append(
            {
                "messageId": key,
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
                "eventSource": "aws:sqs",
            }
        )
    return {"Records": records}


def run(quick: bool = False) -> Result:
    """Count the requests of an image, and add up the bill of batches."""
    found = count_requests(2 if quick else 6)
    size = int(terraform_defaults()["batch_size"])
    polled = {"ReceiveMessage + DeleteMessageBatch": SQS_REQUESTS_PER_BATCH / size}
    ours = sum(count for name, count in found.items() if name not in _FREE) + sum(polled.values())
    rows = []
    world = World()
    for images in BATCHES[:1] if quick else BATCHES:
        runs = Simulation([Arrival(0, images)], world).run_until_empty(3600)
        own = bill(runs)
        sample = bill([public_sample(images, world)], batch_size=1)
        rows.append(
            {
                "images": images,
                "runs": len(runs),
                "transitions": sum(run.transitions for run in runs),
                "GB-seconds / image": sum(run.invocation_seconds for run in runs)
                * terraform_defaults()["analyze_memory_mb"]
                / 1024
                / images,
                "model, $": own.model,
                "starts, if billed, $": own.starts,
                "all else, $": own.others,
                "sample: model, $": sample.model,
                "sample: starts, $": sample.starts,
                "sample: all else, $": sample.others,
                "sample / ours, with starts": (sample.model + sample.starts + sample.others)
                / (own.model + own.starts + own.others),
            }
        )
    result = Result("The bill of a batch: ours, simulated with the module's defaults, beside the public sample's", rows)
    text = ", ".join(f"{name} {count:g}" for name, count in (found | polled).items())
    result.target(f"at most 5 billable requests of ours for an image ({text})", ours, is_met=ours <= 5)
    wrote = sum(found.get(name, 0) for name in ("PutObject", "CopyObject"))
    counted = S3_WRITES_PER_IMAGE + S3_WRITES_PER_BATCH / size
    result.target("the simulation's S3 writes are those counted", wrote, is_met=abs(wrote - counted) < 1e-9)
    result.notes += [
        f"Counted at the wire, {size} images a batch. Deleting from S3 is free. Besides these, S3 itself sends"
        f" {SQS_REQUESTS_PER_IMAGE} message for an image, and Rekognition reads the image from S3: with both, "
        f"{ours + SQS_REQUESTS_PER_IMAGE + 1:g}.",
        "Lambda time is that of simulated invocations, which wait for the model's throughput; the sample's is"
        f" {SAMPLE_IMAGE_SECONDS:g} s an image. Prices: batch_vision/operator/prices.py.",
    ]
    return result
