"""What the functions log and count: every field, no image content, and what queries and alarms make of it."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key
from batch_vision.backends.contracts import ModelState
from batch_vision.core import errors
from batch_vision.core.events import SourceImage
from batch_vision.core.observability import logger, metrics
from batch_vision.core.times import from_text
from batch_vision.images import batch as analysis
from batch_vision.images.final import FinalBucket
from batch_vision.runs import steps, watchdog
from batch_vision.runs.closing import Bounds
from lambdas.analyze_images import handler as analyze_images
from lambdas.check_backlog import handler as check_backlog
from lambdas.close_run import handler as close_run
from lambdas.compact_catalog import handler as compact_catalog
from lambdas.enable_mapping import handler as enable_mapping
from lambdas.guard_model import handler as guard_model
from lambdas.requeue_images import handler as requeue_images
from lambdas.start_model import handler as start_model
from lambdas.summarize_run import handler as summarize_run
from local.config import REPOSITORY
from tests.unit.conftest import DETECTION, FakeBackend, detectors_of
from tests.unit.test_analyze_handler import Context, message
from tests.unit.test_closing import FakeFunctions
from tests.unit.test_guard import EVENT as TICK
from tests.unit.test_guard import MACHINE, FakeTopic, FakeWorkflow
from tests.unit.test_summary import EVENT as ENDED
from tests.unit.test_summary import FAILED
from tests.unit.test_summary import line as catalog_line

pytestmark = pytest.mark.timeout(300)

CONTENT = b"\x89PNG secret pixels of a customer"
RUN = {"run": {"id": "r1", "execution_arn": "arn:r1", "backend": "fake", "backend_settings": {}}}

# On every line, by powertools: https://docs.aws.amazon.com/powertools/python/latest/core/logger/#standard-structured-keys
STANDARD = {"level", "location", "message", "timestamp", "service"}
CONTEXT = {"cold_start", "function_name", "function_memory_size", "function_arn", "function_request_id"}
EXCEPTION = {"exception", "exception_name", "stack_trace"}

ABOUT = {"run_id", "key", "version_id"}
COUNTS = {
    *("ImagesProcessed", "ImagesRejected", "ImagesGone", "ImagesStuck", "ImagesTakenBack"),
    *("DetectRetries", "DetectThrottles", "MessagesSentAnew"),
}
BACKLOG = {"images", "messages", "state", "started_at", "progressed_at", "checked_at", "idle_checks"}
BACKLOG |= {"stalled_checks", "restarts"}

# What each line may have besides; each of these is on one of the lines that the tests make.
FIELDS: dict[tuple[str, str], set[str]] = {
    ("analyze-images", "image"): ABOUT | {"outcome", "error_type", "attempts", "throttles", "duration_ms"},
    ("analyze-images", "image left for redelivery"): ABOUT | {"error"} | EXCEPTION,
    ("analyze-images", "image given up"): ABOUT | {"error"},
    ("analyze-images", "image waits for the model"): ABOUT | {"error"},
    ("analyze-images", "message not sent anew"): {"run_id", "images"} | EXCEPTION,
    ("analyze-images", "unreadable message"): {"run_id", "message_id", "problem"},
    ("analyze-images", "catalog not written"): {"run_id", "images"} | EXCEPTION,
    ("analyze-images", "current run not read"): {"error"},
    ("analyze-images", "batch"): {"run_id", "messages", "failed", "MessagesLeftForRedelivery"} | COUNTS,
    ("check-backlog", "backlog"): {"run_id", "held", "model_wanted_at", "wait_seconds", "short_waits"} | BACKLOG,
    ("close-run", "close"): {
        *("run_id", "requested_at", "mapping_state", "mapping_disabled_at", "model_status", "stopped_at", "in_flight"),
        *("is_closed", "wait_seconds"),
    },
    ("close-run", "current run not closed"): EXCEPTION,
    ("compact-catalog", "compaction"): {"segments", "lines", "is_done", "last_key"},
    ("enable-mapping", "mapping"): {"run_id", "state", "is_enabled", "requested_at", "wait_seconds"},
    ("requeue-images", "requeue"): {"run_id", "requeued_images", "given_up_images", "is_done"},
    ("requeue-images", "dead letter not read"): {"problems"},
    ("start-model", "model"): {
        *("run_id", "status", "is_running", "inference_units", "images_per_second"),
        *("max_concurrency", "wait_seconds", "requested_at", "asked_at", "running_at", "restarts"),
    },
    ("summarize-run", "run"): set(
        json.loads((REPOSITORY / "batch_vision/runs/summary.schema.json").read_text())["required"]
    ),
    ("summarize-run", "the notice was not sent"): EXCEPTION,
    ("guard-model", "guard"): {
        *("run_id", "task", "live_executions", "stopped_executions", "stopped_models", "is_mapping_disabled"),
        *("left_on", "refused", "is_model_on", "is_model_unowned"),
    },
    ("guard-model", "no summary"): {"key", "error"},
    ("guard-model", "the alert was not sent"): EXCEPTION,
}


class Patient(Context):
    """With time for several looks."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 900_000


@dataclass
class Printed:
    """What the functions printed: their log lines by function, their metrics, and all of it as text."""

    lines: dict[str, list[dict[str, Any]]]
    metrics: list[dict[str, Any]]
    text: str

    def values(self, functions: set[str], path: str) -> list[Any]:
        """Every value that a field has in the lines of some functions; a dot leads into it."""
        found: list[Any] = []
        for line in (line for function in functions for line in self.lines[function]):
            value: Any = line
            for part in path.split("."):
                if isinstance(value, list) and part.isdigit() and int(part) < len(value):
                    value = value[int(part)]
                elif isinstance(value, dict) and part in value:
                    value = value[part]
                else:
                    break
            else:
                found.append(value)
        return found


@pytest.fixture
def printed(
    s3: Any,
    upload: Callable[..., SourceImage],
    tell: Callable[..., None],
    planned: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Printed:
    """Call every function, in good and bad ways, with the names that Terraform gives the metrics."""
    topic, workflow, functions = FakeTopic(), FakeWorkflow(), FakeFunctions()
    backend = FakeBackend()
    model = FakeBackend([ModelState.RUNNING])
    tell(SUCCESS_TOPIC_ARN="arn:topic")
    sqs = boto3.client("sqs")
    queue_url, dead_url = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("images", "dead"))
    for name, client in {"s3": s3, "sqs": sqs, "sns": topic, "stepfunctions": workflow, "functions": functions}.items():
        monkeypatch.setattr(clients, name, lambda client=client: client)
    for module in (steps, watchdog):
        monkeypatch.setattr(module, "lifecycle_of", lambda _: model)
    monkeypatch.setattr(steps, "check_unchanged", lambda *_: None)
    monkeypatch.setattr(analysis, "detectors", lambda: detectors_of(backend))
    environment = variables(planned)
    monkeypatch.setattr(metrics, "service", environment["POWERTOOLS_SERVICE_NAME"])
    monkeypatch.setattr(metrics, "namespace", environment["POWERTOOLS_METRICS_NAMESPACE"])
    stream = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    lines: dict[str, list[dict[str, Any]]] = {}
    text = ""

    def call(function: str, module: Any, event: dict[str, Any], context: Any = Context) -> None:
        nonlocal text
        stream.seek(0)
        stream.truncate()
        with suppress(errors.BatchVisionError):
            module.handler(copy.deepcopy(event), context)
        lines.setdefault(function, []).extend(json.loads(line) for line in stream.getvalue().splitlines())
        text += stream.getvalue()

    start = RUN | {"backlog_images": 3, "previous": None, "drain": None, "timeout_seconds": 60, "poll_seconds": 30}
    call("analyze-images", analyze_images, {"Records": [message("early", body="early")]})  # before a run
    call("start-model", start_model, start)

    def answer(image: Any) -> Any:
        if image.key == "denied.png":
            raise errors.AccessDeniedError("not authorized")
        if image.key == "early.png":
            raise errors.ModelNotReadyError("off")
        if image.key == "odd.png":
            raise RuntimeError("odd")
        if image.key == "corrupt.png":
            raise errors.InvalidImageFormatError("never")
        return DETECTION

    backend.detections = [answer]
    images = [upload(f"{name}.png", CONTENT) for name in ("good", "denied", "odd", "corrupt", "gone")]
    s3.delete_object(Bucket="source", Key="gone.png", VersionId=images[-1].version_id)
    backend.detections = [lambda image: gone() if image.key == "gone.png" else answer(image)]
    batch = {"Records": [message("all", *images), message("rubbish", body="rubbish")]}
    call("analyze-images", analyze_images, batch)
    call("analyze-images", analyze_images, {"Records": [message("last", images[1], received=5)]})
    taken_back = upload("taken back.png", CONTENT)
    s3.delete_object(Bucket="source", Key="taken back.png")
    folder = message("folder", upload("folder/", b""))
    call("analyze-images", analyze_images, {"Records": [message("taken back", taken_back), folder]})
    early = upload("early.png", CONTENT)
    tell(QUEUE_URL="https://sqs.us-east-1.amazonaws.com/123456789012/gone")  # it cannot be sent anew
    call("analyze-images", analyze_images, {"Records": [message("early", early)]})
    with monkeypatch.context() as broken:
        broken.setattr(FinalBucket, "write_catalog", refuse_catalog)
        call("analyze-images", analyze_images, {"Records": [message("again", upload("other.png", CONTENT))]})
    tell(SUCCESS_TOPIC_ARN="arn:topic")
    at = "2026-11-20T08:00:00.000Z"
    drain = {"drain_timeout_seconds": 600, "stall_timeout_seconds": 60, "poll_seconds": 30, "previous": None}
    drain |= {"model": {"requested_at": at, "running_at": at, "images_per_second": 5}}
    backlog = RUN | {"execution_input": {}, "queue_url": queue_url}
    call("check-backlog", check_backlog, backlog)
    tell(SUCCESS_TOPIC_ARN="arn:topic", START_BACKLOG_IMAGES="9", START_MAX_AGE_SECONDS="9000000000")
    call("check-backlog", check_backlog, backlog | {"execution_input": {"source": "aws.events"}})
    call("check-backlog", check_backlog, backlog | drain)
    mapping = RUN | {"event_source_mapping_uuid": "uuid", "max_concurrency": 2, "previous": None}
    call("enable-mapping", enable_mapping, mapping | {"timeout_seconds": 60, "poll_seconds": 5})
    sqs.send_message(QueueUrl=dead_url, MessageBody="rubbish")
    queues = {"queue_url": queue_url, "dead_letter_queue_url": dead_url, "requeued_before": 0}
    call("requeue-images", requeue_images, RUN | queues)
    bounds = dict.fromkeys(Bounds.__slots__, 60)
    close = RUN | bounds | {"event_source_mapping_uuid": "uuid", "queue_url": queue_url}
    close |= {"previous": {"requested_at": None}}
    call("close-run", close_run, close)
    model.states = [ModelState.STOPPED]
    call("close-run", close_run, close)
    with monkeypatch.context() as broken:
        call("start-model", start_model, start)
        broken.setattr(s3, "put_object", refuse)
        call("close-run", close_run, close)
    model.states = [ModelState.RUNNING]
    done = [
        catalog_line(name, finished_at=f"2026-11-20T08:16:0{second}.000Z") for second, name in enumerate(("x", "y"))
    ]
    body = "\n".join(json.dumps(one) for one in done)
    s3.put_object(Bucket="final", Key=catalog_key(from_text("2026-11-20T08:16:00Z"), "done"), Body=body)
    call("summarize-run", summarize_run, ENDED)
    call("compact-catalog", compact_catalog, {}, Patient)
    topic.error = ClientError({"Error": {"Code": "AuthorizationError"}}, "Publish")
    call("summarize-run", summarize_run, ENDED | {"run": ENDED["run"] | {"id": "r2"}})
    call("summarize-run", summarize_run, FAILED)
    # Twice for each look: the deployment's model and that of the run are one here.
    model.states = [*[ModelState.RUNNING] * 4, ModelState.STOPPED]
    call("guard-model", guard_model, TICK, Patient)  # stops it
    ended = TICK | {"task": "execution_ended", "execution_arn": f"{MACHINE}:gone", "execution_status": "FAILED"}
    call("guard-model", guard_model, ended, Patient)
    model.states, model.stop_error = [ModelState.RUNNING], errors.ModelBusyError("not now")
    workflow.lists = [["live"]]
    call("guard-model", guard_model, TICK | {"task": "shut_down"})
    out = capsys.readouterr().out
    return Printed(lines, [json.loads(line) for line in out.splitlines() if '"_aws"' in line], text + out)


def variables(planned: list[dict[str, Any]]) -> dict[str, str]:
    """The variables of powertools that Terraform gives every function."""
    functions = [resource["values"] for resource in planned if resource["type"] == "aws_lambda_function"]
    (first, *others) = [
        {name: text for name, text in function["environment"][0]["variables"].items() if name.startswith("POWERTOOLS_")}
        for function in functions
    ]
    assert first
    assert all(other == first for other in others)
    return first


def refuse(**_: Any) -> None:
    raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")


def refuse_catalog(*_: Any) -> None:
    raise errors.ServiceUnavailableError("no")


def gone() -> None:
    raise errors.ImageGoneError("gone")


def test_every_line_has_the_fields_that_are_said_of_it_and_no_other(printed: Printed) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for function, lines in printed.lines.items():
        for line in lines:
            assert set(line) >= STANDARD | CONTEXT, line
            found.setdefault((function, line["message"]), set()).update(set(line) - STANDARD - CONTEXT)
    assert found == FIELDS


def test_every_line_of_an_image_tells_run_key_version_and_outcome(printed: Printed) -> None:
    images = [line for line in printed.lines["analyze-images"] if line["message"] == "image"]
    assert {(line["run_id"], line["key"], line["outcome"], line.get("error_type")) for line in images} == {
        ("r1", "good.png", "processed", None),
        ("r1", "corrupt.png", "rejected", "InvalidImageFormatError"),
        ("r1", "gone.png", "gone", None),
        ("r1", "other.png", "processed", None),
        ("r1", "denied.png", "stuck", "AccessDeniedError"),
        ("r1", "taken back.png", "taken_back", None),
        ("r1", "folder/", "folder_marker", None),
    }
    left = [line for line in printed.lines["analyze-images"] if line["message"] == "image left for redelivery"]
    assert {(line["run_id"], line["key"]) for line in left} == {("r1", "denied.png"), ("r1", "odd.png")}
    assert all(line["version_id"] for line in images + left)


def test_a_run_that_is_not_known_is_left_out(printed: Printed) -> None:
    first = printed.lines["analyze-images"][0]
    assert (first["message"], first["level"]) == ("current run not read", "WARNING")
    assert "run_id" not in printed.lines["analyze-images"][1]  # powertools leaves out what is None


def test_no_line_holds_image_content(printed: Printed) -> None:
    for secret in ("secret pixels", base64.b64encode(CONTENT).decode(), CONTENT.hex(), repr(CONTENT)[2:-1]):
        assert secret not in printed.text
    assert "crack" not in printed.text  # nor what the model said of it


# Queries.

WORDS = {
    *("fields", "filter", "stats", "sort", "limit", "by", "as", "and", "or", "not", "in", "like", "asc", "desc"),
    *("count", "sum", "latest", "bin", "ispresent"),
}
OF_CLOUDWATCH = {"@timestamp", "@message", "@log"}  # Logs user guide, Supported logs and discovered fields
FUNCTIONS = {"analyze-images", "check-backlog", "close-run", "enable-mapping", "requeue-images", "start-model"}
FUNCTIONS |= {"compact-catalog", "summarize-run"}


@pytest.fixture
def queries(planned: list[dict[str, Any]]) -> dict[str, tuple[set[str], str]]:
    """Functions and text of each query."""
    return {
        resource["index"]: (
            {name.removeprefix("/aws/lambda/batch-vision-") for name in resource["values"]["log_group_names"]},
            resource["values"]["query_string"],
        )
        for resource in planned
        if resource["type"] == "aws_cloudwatch_query_definition"
    }


def test_queries_ask_for_fields_and_values_that_are_logged(
    queries: dict[str, tuple[set[str], str]], printed: Printed
) -> None:
    assert len(queries) == 8
    for name, (functions, text) in queries.items():
        assert functions <= FUNCTIONS | {"guard-model"}, name
        for field, value in re.findall(r'([\w.]+) !?= "([^"]*)"', text):
            if not value.startswith("PUT THE "):
                assert value in printed.values(functions, field), f"{name}: no line has {field} {value!r}"
        bare = re.sub(r'"[^"]*"|/[^/\n]*/', " ", text)
        made = set(re.findall(r"\bas (\w+)", bare))
        asked = set(re.findall(r"(?<![\w.])@?[A-Za-z_][\w.]*", bare)) - WORDS - made
        assert asked, name
        for field in asked:
            assert field in OF_CLOUDWATCH or printed.values(functions, field), f"{name}: no line has {field}"


def test_the_errors_query_finds_what_the_functions_warn_of(
    queries: dict[str, tuple[set[str], str]], printed: Printed
) -> None:
    functions, text = queries["errors"]
    assert functions == FUNCTIONS | {"guard-model"}
    asked = set(re.findall(r'"([A-Z]+)"', text))
    bad = {line["level"] for lines in printed.lines.values() for line in lines} - {"INFO"}
    assert bad == {"WARNING", "ERROR"} <= asked


# Alarms and the dashboard.

# Amazon SQS developer guide, Available CloudWatch metrics; Step Functions developer guide, Monitoring metrics using
# CloudWatch; Lambda developer guide, Types of metrics for functions.
OF_AWS = {
    ("AWS/SQS", "QueueName"): {
        *("ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"),
        "ApproximateNumberOfMessagesNotVisible",
    },
    ("AWS/States", "StateMachineArn"): {
        *("ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"),
    },
    ("AWS/Lambda", "FunctionName"): {"Errors", "Throttles"},
}


def counted(printed: Printed) -> dict[tuple[str, str], set[str]]:
    """The names of the metrics that the functions wrote, by namespace and dimension, as CloudWatch reads them."""
    found: dict[tuple[str, str], set[str]] = {}
    for entry in printed.metrics:
        (directive,) = entry["_aws"]["CloudWatchMetrics"]
        ((dimension,),) = directive["Dimensions"]
        assert entry[dimension] == "batch-vision"
        names = {metric["Name"] for metric in directive["Metrics"]}
        assert names <= set(entry)
        found.setdefault((directive["Namespace"], dimension), set()).update(names)
    return found


def test_alarms_and_dashboard_look_at_metrics_that_there_are(planned: list[dict[str, Any]], printed: Printed) -> None:
    metrics_of = OF_AWS | counted(printed)
    values = {
        "QueueName": {item["values"]["name"] for item in planned if item["type"] == "aws_sqs_queue"},
        "FunctionName": {item["values"]["function_name"] for item in planned if item["type"] == "aws_lambda_function"},
        "StateMachineArn": {item["values"]["arn"] for item in planned if item["type"] == "aws_sfn_state_machine"},
        "service": {"batch-vision"},
    }
    asked = []
    for resource in planned:
        if resource["type"] == "aws_cloudwatch_metric_alarm":
            alarm = resource["values"]
            ((dimension, value),) = alarm["dimensions"].items()
            asked.append((resource["index"], alarm["namespace"], alarm["metric_name"], dimension, value))
            # CloudWatch API, PutMetricAlarm: within a day, or within seven with periods of an hour or more.
            longest = 7 * 86400 if alarm["period"] >= 3600 else 86400
            assert alarm["period"] * alarm["evaluation_periods"] <= longest, resource["index"]
            assert alarm["period"] % 60 == 0, resource["index"]
        if resource["type"] == "aws_cloudwatch_dashboard":
            for widget in json.loads(resource["values"]["dashboard_body"])["widgets"]:
                asked += [("dashboard", *metric[:4]) for metric in widget["properties"]["metrics"]]
    assert len(asked) > 12
    for about, namespace, name, dimension, value in asked:
        assert name in metrics_of.get((namespace, dimension), set()), (about, namespace, name, dimension)
        assert value in values[dimension], (about, dimension, value)
