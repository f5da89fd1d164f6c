"""Whether check, drain and summarize grow with what waits, or with the past: requests, and time as a ratio."""

from __future__ import annotations

import io
import json
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3
from moto import mock_aws

from batch_vision.aws.catalog import catalog_key
from batch_vision.core.settings import read_settings
from batch_vision.core.times import to_text, utc_now
from batch_vision.runs import reporting, steps
from benchmarks.report import Result
from benchmarks.simulation import function_environment, terraform_defaults
from lambdas.check_backlog import handler as check_backlog
from lambdas.summarize_run import handler as summarize_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZES = (100, 10_000, 1_000_000)
_MOTO_SIZE = 1_000
_OF_THE_RUN = 10  # catalog objects that the run itself has written
_MOST_LEFT_PAGES = 100  # that summarize counts, after a run that left images
_REPEATS = 15
_UPLOADED_AT = datetime(2026, 1, 1, tzinfo=UTC)
_LEFT = "summarize, all left"
_LINE = {"key": "a", "version_id": "1", "status": "processed", "error_type": None, "attempts": 1, "duration_ms": 500}
_LINE |= {"finished_at": "2026-01-01T00:00:00.000Z"}


class LexicalS3:
    """An S3 of sorted keys, which lists in pages of 1,000 as S3 does; all objects are alike.

    moto needs minutes for a million objects, and looks at all of them for each listing.
    """

    def __init__(self, buckets: dict[str, list[str]]) -> None:
        self._buckets = {name: sorted(keys) for name, keys in buckets.items()}
        self.requests: Counter[str] = Counter()

    def list_objects_v2(
        self, Bucket: str, Prefix: str = "", StartAfter: str = "", MaxKeys: int = 1000, ContinuationToken: str = ""
    ) -> dict[str, Any]:
        self.requests["ListObjectsV2"] += 1
        keys = self._buckets[Bucket]
        begin = max(bisect_left(keys, Prefix), bisect_right(keys, max(StartAfter, ContinuationToken)))
        page = keys[begin : begin + min(MaxKeys, 1000)]
        page = [key for key in page if key.startswith(Prefix)]
        end = begin + len(page)
        contents = [{"Key": key, "Size": 1, "LastModified": _UPLOADED_AT} for key in page]
        is_cut = bool(page) and end < len(keys) and keys[end].startswith(Prefix)
        answer: dict[str, Any] = {"KeyCount": len(page), "Contents": contents, "IsTruncated": is_cut}
        if is_cut:
            answer["NextContinuationToken"] = page[-1]
        return answer

    def get_paginator(self, _name: str) -> Any:
        def paginate(**request: Any) -> Iterator[dict[str, Any]]:
            token = ""
            while True:
                page = self.list_objects_v2(**request, ContinuationToken=token)
                yield page
                if not (token := page.get("NextContinuationToken", "")):
                    return

        return SimpleNamespace(paginate=paginate)

    def get_object(self, **_: Any) -> dict[str, Any]:
        self.requests["GetObject"] += 1
        return {"Body": io.BytesIO(json.dumps(_LINE).encode())}

    def put_object(self, **_: Any) -> None:
        self.requests["PutObject"] += 1


class _Sqs:
    def __init__(self, requests: Counter[str]) -> None:
        self._requests = requests

    def get_queue_attributes(self, AttributeNames: list[str], **_: Any) -> dict[str, Any]:
        self._requests["GetQueueAttributes"] += 1
        return {"Attributes": dict.fromkeys(AttributeNames, "1")}


def _keys(size: int, now: datetime) -> dict[str, list[str]]:
    """Name as many waiting images, and as many finished ones with their catalog, as there are to be."""
    past = [catalog_key(now - timedelta(hours=2, seconds=number), str(number)) for number in range(size)]
    own = [catalog_key(now - timedelta(seconds=30 + number), str(number)) for number in range(_OF_THE_RUN)]
    done = [f"processed/{number:07d}.jpg" for number in range(size)]
    return {"source": [f"{number:07d}.jpg" for number in range(size)], "final": past + own + done}


def _calls(now: datetime) -> dict[str, Callable[[], Any]]:
    ago = to_text(now - timedelta(seconds=60))
    previous = {"started_at": ago, "progressed_at": ago, "checked_at": ago, "idle_checks": 0}
    previous |= {"images": 1, "short_waits": 0, "state": "waiting", "stalled_checks": 0, "restarts": 0}
    check = {
        "run": {"id": "run", "backend": "rekognition_custom_labels", "backend_settings": {}},
        "queue_url": "queue",
        "execution_input": {"source": "aws.events"},  # what the schedule gives
    }
    variables = terraform_defaults()
    drain = check | {
        "previous": previous,
        "model": {"requested_at": ago, "running_at": ago, "images_per_second": variables["images_per_second_per_unit"]},
        "stall_timeout_seconds": variables["stall_timeout_seconds"],
        "drain_timeout_seconds": variables["drain_timeout_seconds"],
        "poll_seconds": variables["drain_poll_seconds"],
    }
    model = {"requested_at": ago, "running_at": ago, "inference_units": 1}
    run = {
        "run": {"id": "run", "execution_arn": "arn", "started_at": ago},
        "backlog": {"images": 1},
        "started": {"at": ago},
        "processed": {"model": model, "drain": {"checked_at": to_text(now)}, "requeue": {"requeued_images": 0}},
        "stopping": {"at": ago},
        "stop": {"stopped_at": to_text(now)},
        "error": None,
    }
    context = SimpleNamespace(
        function_name="f", memory_limit_in_mb=512, invoked_function_arn="arn", aws_request_id="request"
    )
    numbers = count()

    def summarize() -> Any:  # each a run of its own, for a summary that is there takes one request more
        return summarize_run.handler(run | {"run": run["run"] | {"id": f"run-{next(numbers)}"}}, context)

    return {
        "check": lambda: check_backlog.handler(check, context),
        "drain": lambda: check_backlog.handler(drain, context),
        "summarize": summarize,
        _LEFT: summarize,
    }


def _measured(s3: Any, sqs: Any, requests: Counter[str], now: datetime) -> dict[str, tuple[int, float]]:
    """Return the requests of each call, and the least CPU time of some."""
    environment = function_environment(terraform_defaults())
    clients = SimpleNamespace(s3=lambda: s3, sqs=lambda: sqs)
    found = {}
    with (
        patch.object(steps, "clients", clients),
        patch.object(steps, "settings_of", lambda cls: read_settings(cls, environment)),
        patch.object(steps, "check_unchanged", lambda *_: None),
        patch.object(reporting, "clients", clients),
        patch.object(check_backlog.logger, "info"),
        patch.object(summarize_run.logger, "info"),
        patch("sys.stdout", io.StringIO()),  # the metrics
    ):
        for name, call in _calls(now).items():
            times = []
            requests.clear()
            left = environment | ({"SOURCE_PREFIXES": '["drained/"]'} if name == "summarize" else {})
            for _ in range(_REPEATS):
                with patch.object(reporting, "settings_of", lambda cls, left=left: read_settings(cls, left)):
                    began = time.process_time()
                    call()
                    times.append(time.process_time() - began)
            found[name] = (requests.total() // _REPEATS, min(times))
    return found


def _on_moto(now: datetime) -> dict[str, tuple[int, float]]:
    requests: Counter[str] = Counter()

    def count_request(request: Any, operation_name: str, **_: Any) -> None:
        requests[operation_name] += 1

    with mock_aws():
        s3, sqs = boto3.client("s3", region_name="us-east-1"), boto3.client("sqs", region_name="us-east-1")
        sqs.create_queue(QueueName="queue")
        for bucket, keys in _keys(_MOTO_SIZE, now).items():
            s3.create_bucket(Bucket=bucket)
            for key in keys:
                s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(_LINE).encode())
        for client in (s3, sqs):
            client.meta.events.register("request-created", count_request)
        return _measured(s3, sqs, requests, now)


def run(quick: bool = False) -> Result:
    """Measure each size."""
    now = utc_now().astimezone(UTC)
    rows: list[dict[str, Any]] = []
    first: dict[str, tuple[int, float]] = {}
    for size in SIZES[:2] if quick else SIZES:
        s3 = LexicalS3(_keys(size, now))
        found = _measured(s3, _Sqs(s3.requests), s3.requests, now)
        first = first or found
        row: dict[str, Any] = {"objects waiting, and in the past": size}
        for name, (requests, seconds) in found.items():
            row[f"{name}: requests"] = requests
            row[f"{name}: time / smallest"] = seconds / first[name][1]
        rows.append(row)
    result = Result("Requests and time of check, drain and summarize", rows)
    for name in first:
        counts = {row[f"{name}: requests"] for row in rows}
        if name == _LEFT:
            most = first["summarize"][0] + _MOST_LEFT_PAGES - 1
            goal = f"{name}: no more requests than {_MOST_LEFT_PAGES} pages of what is left"
            result.target(goal, max(counts), is_met=max(counts) <= most)
            continue
        result.target(f"{name}: as many requests whatever waits or is past", sorted(counts), is_met=len(counts) == 1)
    if not quick:
        moto = {name: requests for name, (requests, _) in _on_moto(now).items()}
        ours = {name: requests for name, (requests, _) in first.items()}
        result.target(f"the same requests on moto's S3 ({_MOTO_SIZE:,} objects)", moto, is_met=moto == ours)
    result.notes.append(
        "Time is CPU time, the least of some calls."
        " The S3 of this part is the benchmark's own: sorted keys, in pages of 1,000. The check reads one page of"
        " the source bucket, up to 1,000 objects, however many wait: the step in time after 100. Summarize"
        f" reads the {_OF_THE_RUN} catalog objects of the run itself; after a run that left images, it counts these up"
        " to 100,000."
    )
    return result
