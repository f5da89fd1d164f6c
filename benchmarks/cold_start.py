"""What a cold start costs: fresh processes with what the Lambda runtime has, beside boto3 and its clients alone."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from batch_vision.core.index import CURSOR
from benchmarks.processes import run_for_json
from benchmarks.report import Result
from benchmarks.simulation import function_environment, terraform_defaults
from local.config import PROJECT_ARN, PROJECT_VERSION_ARN
from local.localstack import LAMBDA_PYTHON
from local.package import CONVERTING_PACKAGE, PACKAGE, make_converting_package, make_package

_REPEATS = 15
_ZIP_LIMIT_BYTES = 3_200_000
_COLD_LIMIT = 1.3

# The clients that each function makes for its first call, as the baseline makes them.
CLIENTS = {
    "analyze_images": ["rekognition", "rekognition", "s3"],
    "check_backlog": ["s3", "sqs"],
    "guard_model": ["lambda", "rekognition", "rekognition", "stepfunctions"],
    "requeue_images": ["s3", "sqs"],
    "compact_catalog": ["s3"],
    "close_run": ["lambda", "rekognition", "rekognition", "s3", "sqs"],
    "enable_mapping": ["lambda"],
    "start_model": ["rekognition", "rekognition", "s3"],
    "summarize_run": ["s3"],
}

# Not ru_maxrss: a process inherits that from the one that started it.
_PEAK = """
def peak_kib():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"): return int(line.split()[1])
"""
_BASELINE = """
import time; began = time.perf_counter()
import boto3
for name in {clients!r}: boto3.client(name)
ended = time.perf_counter()
import json
print(json.dumps({{"import": ended - began, "both": ended - began, "cpu": time.process_time(), "kib": peak_kib()}}))
"""
_FUNCTION = """
import time; began = time.perf_counter()
import sys; sys.path.insert(0, {root!r})
import importlib
module = importlib.import_module("lambdas.{name}.handler")
imported = time.perf_counter()
class Context:
    function_name, memory_limit_in_mb, invoked_function_arn, aws_request_id = "f", 512, "arn", "request"
    def get_remaining_time_in_millis(self): return 60000
event = {event!r}
begun = time.perf_counter()
module.handler(event, Context())
ended = time.perf_counter()
import json
both = imported - began + ended - begun
print(json.dumps({{"import": imported - began, "both": both, "cpu": time.process_time(), "kib": peak_kib()}}))
"""


def _events() -> dict[str, dict[str, Any]]:
    """Return an event for the first call of each function, as short as its calls are."""
    backend_settings = {"project_arn": PROJECT_ARN, "project_version_arn": PROJECT_VERSION_ARN}
    run = {"id": "run", "execution_arn": "arn", "backend": "rekognition_custom_labels"}
    run |= {"backend_settings": backend_settings}
    queues = {"queue_url": "http://127.0.0.1/queue", "dead_letter_queue_url": "http://127.0.0.1/dead"}
    step = {"run": run, **queues, "previous": None, "timeout_seconds": 60, "poll_seconds": 30}
    step |= {"event_source_mapping_uuid": "uuid"}
    bounds = ("mapping_timeout", "stop_timeout", "in_flight_timeout", "mapping_poll", "model_poll")
    record = {
        "messageId": "1",
        "body": json.dumps({"Event": "s3:TestEvent"}),
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSource": "aws:sqs",
    }
    at = "2026-01-01T00:00:00.000Z"
    return {
        "analyze_images": {"Records": [record]},
        "check_backlog": step | {"execution_input": {}},
        "compact_catalog": {},
        "close_run": step | {f"{name}_seconds": 60 for name in bounds} | {"previous": {"requested_at": None}},
        "enable_mapping": step | {"max_concurrency": 2},
        "requeue_images": step | {"requeued_before": 0},
        "start_model": step | {"backlog_images": 1, "drain": None},
        "summarize_run": {
            "run": {"id": "run", "execution_arn": "arn", "started_at": at},
            "backlog": {"images": 1},
            "started": {"at": at},
            "processed": None,
            "stopping": {"at": at},
            "stop": {"stopped_at": at},
            "error": None,
        },
    }


class _Answers(BaseHTTPRequestHandler):
    """Just enough of each service for a first call: an empty bucket, an empty queue, a stopped model."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = self.headers.get("X-Amz-Target", "")
        body = b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>"
        if target.endswith("DescribeProjectVersions"):
            version = {"ProjectVersionArn": PROJECT_VERSION_ARN, "Status": "STOPPED"}
            body = json.dumps({"ProjectVersionDescriptions": [version]}).encode()
        elif target:
            body = b'{"Attributes": {"ApproximateNumberOfMessages": "0"}}'
        is_missing = self.path.endswith(CURSOR)
        if is_missing:
            body = b"<Error><Code>NoSuchKey</Code></Error>"
        self.send_response(404 if is_missing else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - named by http.server

    def log_message(self, *_: Any) -> None:
        pass


def _measure(code: str, environment: dict[str, str], folder: Path) -> dict[str, float]:
    # As on Lambda: what the package brings no compiled modules for is compiled in each new process.
    found: dict[str, float] = run_for_json([LAMBDA_PYTHON, "-B", "-c", _PEAK + code], environment, folder)
    return found


def run(quick: bool = False) -> Result:
    """Alternate functions and their baselines, each in a fresh process, and take medians."""
    package = PACKAGE if quick and PACKAGE.exists() else make_package()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(package).extractall(folder)
            settings = json.dumps({"project_arn": PROJECT_ARN, "project_version_arn": PROJECT_VERSION_ARN})
            environment = function_environment(terraform_defaults(), BACKEND_SETTINGS=settings) | {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "POWERTOOLS_METRICS_NAMESPACE": "BatchVision",
                "POWERTOOLS_SERVICE_NAME": "bench",
                "PATH": os.environ.get("PATH", ""),
            }
            events = _events()
            for name in ["analyze_images"] if quick else events:
                codes = (
                    _BASELINE.format(clients=CLIENTS[name]),
                    _FUNCTION.format(root=folder, name=name, event=events[name]),
                )
                found: tuple[list[dict[str, float]], ...] = ([], [])
                for _ in range(1 if quick else _REPEATS):
                    for code, times in zip(codes, found, strict=True):
                        times.append(_measure(code, environment, Path(folder)))
                base, own = ({key: median(one[key] for one in times) for key in times[0]} for times in found)
                rows.append(
                    {
                        "function": name,
                        "import / boto3 + clients": own["import"] / base["both"],
                        "import + first call / boto3 + clients": own["both"] / base["both"],
                        "the same, CPU time": own["cpu"] / base["cpu"],
                        "peak memory, MiB": own["kib"] / 1024,
                        "peak memory / boto3 + clients": own["kib"] / base["kib"],
                    }
                )
    finally:
        server.shutdown()
        server.server_close()
    result = Result("Cold start, in fresh processes", rows)
    ratio = rows[0]["import + first call / boto3 + clients"]
    goal = f"cold start of analyze_images at most {_COLD_LIMIT} x importing boto3 and creating its clients alone"
    result.target(goal, ratio, is_met=ratio <= _COLD_LIMIT)
    size = package.stat().st_size
    result.target("zip of at most 3.2 MB", f"{size:,} bytes", is_met=size <= _ZIP_LIMIT_BYTES)
    converting = CONVERTING_PACKAGE if quick and CONVERTING_PACKAGE.exists() else make_converting_package()
    result.notes.append(
        f"Median of {_REPEATS}, alternated; CPU time is that of the whole process, which a busy machine changes less."
        " The first call of analyze_images is S3's test event: it makes every client"
        " and calls none; the others call a server on this machine once or twice, which boto3 alone does not."
        " guard_model waits for what it stops, and is left out. The zip is that of all functions but those that ask the"
        f" model where convert_images is true, whose own has {converting.stat().st_size:,} bytes."
    )
    return result
