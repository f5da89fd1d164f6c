"""The summary of a run: what it counts, what it costs, and the mail about it."""

from __future__ import annotations

import copy
import io
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from botocore.exceptions import ClientError

import batch_vision.runs
from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key, read_lines
from batch_vision.core.errors import AccessDeniedError, ServiceUnavailableError, ThrottledError
from batch_vision.core.settings import read_settings
from batch_vision.core.stuck import stuck_key
from batch_vision.core.times import from_text
from batch_vision.runs.notices import facts, subject
from batch_vision.runs.settings import SummarizeRunSettings
from batch_vision.runs.summary import count_left, summarize
from lambdas.summarize_run import handler as module
from tests.unit.tool_stack import ENVIRONMENT

SCHEMA = json.loads((Path(batch_vision.runs.__file__).parent / "summary.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())

ENDED = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "run": {
        "id": "r1",
        "execution_arn": "arn:aws:states:us-east-1:111122223333:execution:welds:r1",
        "started_at": "2026-11-20T08:00:00.000Z",
    },
    "backlog": {"images": 4},
    "started": {"at": "2026-11-20T08:00:05.000Z"},
    "processed": {
        "model": {
            "requested_at": "2026-11-20T08:00:10.000Z",
            "running_at": "2026-11-20T08:15:10.000Z",
            "inference_units": 2,
        },
        "drain": {"checked_at": "2026-11-20T08:20:10.000Z"},
        "requeue": {"requeued_images": 1},
    },
    "stopping": {"at": "2026-11-20T08:20:20.000Z"},
    "stop": {"stopped_at": "2026-11-20T08:25:10.000Z"},
    "error": None,
}
FAILED = EVENT | {"processed": None, "error": {"Error": "NoProgressError", "Cause": '{"errorMessage": "stuck"}'}}


@pytest.fixture
def settings() -> SummarizeRunSettings:
    return read_settings(SummarizeRunSettings, ENVIRONMENT)


def line(key: str, status: str = "processed", **other: Any) -> dict[str, Any]:
    return {
        "key": key,
        "version_id": "v",
        "status": status,
        "error_type": None,
        "attempts": 1,
        "throttles": 0,
        "duration_ms": 100,
        "finished_at": "2026-11-20T08:16:00.000Z",
    } | other


LINES = [
    line("a.png", attempts=4, throttles=2),
    line("a.png"),  # delivered twice
    line("b.png", duration_ms=900, attempts=2),
    line("c.txt", "rejected", error_type="InvalidImageFormatError", attempts=0),
]


def summed_up(event: dict[str, Any], settings: SummarizeRunSettings, **changes: Any) -> dict[str, Any]:
    summary = summarize(event, LINES, (3, 2), replace(settings, **changes), ENDED)
    VALIDATOR.validate(summary)
    return summary


def test_what_a_unit_did_is_between_the_first_and_the_last_image(settings: SummarizeRunSettings) -> None:
    """Rejected files that the model was not asked about do not count."""
    times = [f"2026-11-20T08:16:{second:02d}.000Z" for second in range(0, 50, 10)]
    lines = [line(f"{at}.png", finished_at=at) for at in times]
    lines.append(line("c.txt", "rejected", attempts=0, finished_at="2026-11-20T08:19:00.000Z"))
    for event, found in ((EVENT, 0.05), (FAILED, None)):
        assert summarize(event, lines, (0, 0), settings, ENDED)["images_per_second_per_unit"] == found
    assert summarize(EVENT, lines[:1], (0, 0), settings, ENDED)["images_per_second_per_unit"] is None


def test_counts_are_of_uploads_and_efforts_are_of_all_tries(settings: SummarizeRunSettings) -> None:
    summary = summed_up(EVENT, settings)
    assert (summary["images_processed"], summary["images_rejected"]) == (2, 1)
    assert summary["rejected_by_reason"] == {"InvalidImageFormatError": 1}
    assert (summary["retries"], summary["throttles"]) == (4, 2)
    assert (summary["images_left"], summary["images_stuck"]) == (3, 2)
    assert summary["slowest_image"] == {"key": "b.png", "version_id": "v", "duration_ms": 900, "attempts": 2}
    assert (summary["outcome"], summary["end_reason"], summary["error"]) == ("succeeded", "drained", None)


def test_times_and_cost(settings: SummarizeRunSettings) -> None:
    summary = summed_up(EVENT, settings, schedule_period_seconds=7200, inference_unit_hour_dollars=4.0)
    seconds = {name: summary[f"{name}_seconds"] for name in ("start", "drain", "stop", "model_on")}
    assert seconds == {"start": 900, "drain": 300, "stop": 290, "model_on": 1500}
    assert summary["cost_dollars"] == pytest.approx(2 * 1500 / 3600 * 4)
    assert (summary["always_on_seconds"], summary["always_on_cost_dollars"]) == (7200, 16)


@pytest.mark.parametrize("period", [None, 60])
def test_the_period_of_the_comparison_is_no_shorter_than_the_run(
    settings: SummarizeRunSettings, period: int | None
) -> None:
    assert summed_up(EVENT, settings, schedule_period_seconds=period)["always_on_seconds"] == 1800


def test_a_run_that_failed_costs_no_more_than_is_said(settings: SummarizeRunSettings) -> None:
    summary = summed_up(FAILED, settings)
    assert (summary["outcome"], summary["end_reason"]) == ("failed", "NoProgressError")
    assert summary["error"] == {"type": "NoProgressError", "message": "stuck"}
    assert (summary["inference_units"], summary["drain_seconds"]) == (None, None)
    assert summary["model_on_seconds"] == 1505
    # Three units at most, for what is known of the time.
    assert summary["cost_dollars"] == pytest.approx(3 * 1505 / 3600 * 4)


def test_a_model_that_was_not_seen_to_stop_has_no_known_cost(settings: SummarizeRunSettings) -> None:
    summary = summed_up(FAILED | {"stop": None}, settings)
    assert (summary["cost_dollars"], summary["model_on_seconds"], summary["stop_seconds"]) == (None, None, None)
    assert "Cost:      not known: the model was not seen to stop" in facts(summary)


def test_a_run_that_never_tried_to_start_costs_nothing(settings: SummarizeRunSettings) -> None:
    summary = summed_up(FAILED | {"started": {"at": None}}, settings)
    assert (summary["cost_dollars"], summary["model_on_seconds"]) == (0, None)
    assert "Model on:  not started" in facts(summary)


def test_images_that_are_left_are_counted_to_a_bound(settings: SummarizeRunSettings) -> None:
    asked = 0

    class Endless:
        def get_paginator(self, _: str) -> Any:
            return self

        def paginate(self, **request: str) -> Any:
            nonlocal asked
            if request["Bucket"] == "final":
                yield {"KeyCount": 0}
                return
            while True:
                asked += 1
                yield {"Contents": [{"Key": "a", "Size": 1, "LastModified": ENDED}] * 1000}

    assert count_left(Endless(), settings) == (100_000, 0)  # type: ignore[arg-type]
    assert asked <= 101


def test_what_is_stuck_is_counted_apart_and_a_folder_is_no_image(s3: Any, settings: SummarizeRunSettings) -> None:
    for key in ("folder/", "waits.png", "deleted.png"):
        s3.put_object(Bucket="source", Key=key, Body=b"")
    s3.delete_object(Bucket="source", Key="deleted.png")
    assert count_left(s3, settings) == (1, 0)
    version = s3.put_object(Bucket="source", Key="stuck.png", Body=b"x")["VersionId"]
    assert count_left(s3, settings) == (2, 0)
    s3.put_object(Bucket="final", Key=stuck_key("stuck.png", version), Body=b"{}")
    assert count_left(s3, settings) == (1, 1)


def test_stuck_images_are_in_the_notice_and_an_older_summary_has_none(settings: SummarizeRunSettings) -> None:
    summary = summed_up(EVENT, settings)
    (told,) = [fact for fact in facts(summary) if fact.startswith("Stuck:")]
    assert "2" in told
    assert "batch-vision retry" in told
    del summary["images_stuck"]
    assert not [fact for fact in facts(summary) if fact.startswith("Stuck:")]


def test_a_run_of_a_million_images_is_summed_up_in_little_memory(settings: SummarizeRunSettings) -> None:
    """A lean digest for each upload, measured on 50,000 images: less than 200 bytes each."""
    lines = (
        line(f"line-3/{number}/{'x' * 100}.png", version_id="v" * 32, throttles=number % 2) for number in range(50_000)
    )
    tracemalloc.start()
    try:
        summary = summarize(EVENT, lines, (0, 0), settings, ENDED)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (summary["images_processed"], summary["throttles"]) == (50_000, 25_000)
    assert peak_bytes < 200 * 50_000


def test_no_more_than_a_window_of_the_catalog_is_read_ahead() -> None:
    asked: list[str] = []

    def get_object(*, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        asked.append(Key)
        return {"Body": io.BytesIO(json.dumps({"key": Key}).encode())}

    keys = [f"{number:05d}" for number in range(2_000)]
    lines = read_lines(SimpleNamespace(get_object=get_object), "final", keys)  # type: ignore[arg-type]
    first = next(lines)
    assert len(asked) <= 256
    assert [first["key"], *(line["key"] for line in lines)] == keys
    assert sorted(asked) == keys


def test_the_last_line_of_an_upload_says_how_it_ended(settings: SummarizeRunSettings) -> None:
    lines = [line("a.png", "rejected", error_type="InvalidImageError"), line("a.png"), line("a.png", version_id="w")]
    summary = summarize(EVENT, lines, (0, 0), settings, ENDED)
    assert (summary["images_processed"], summary["images_rejected"]) == (2, 0)


@pytest.mark.parametrize("operation", ["list_objects_v2", "get_object", "put_object"])
@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("AccessDenied", 403, AccessDeniedError),
        ("SlowDown", 503, ThrottledError),
        ("InternalError", 500, ServiceUnavailableError),
    ],
)
def test_what_s3_refuses_has_a_name(
    s3: Any,
    topic: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    code: str,
    status: int,
    error: type[Exception],
) -> None:
    s3.put_object(Bucket="final", Key=catalog_key(from_text("2026-11-20T08:16:00Z"), "new"), Body=json.dumps(LINES[0]))

    def refuse(**_: Any) -> Any:
        raise ClientError(
            {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
            operation,
        )

    if operation == "list_objects_v2":
        monkeypatch.setattr(s3, "get_paginator", lambda _: SimpleNamespace(paginate=refuse))
    else:
        monkeypatch.setattr(s3, operation, refuse)
    with pytest.raises(error):
        module.handler(copy.deepcopy(EVENT), CONTEXT)
    assert topic == []


@pytest.fixture
def topic(s3: Any, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    published: list[dict[str, str]] = []
    tell(SUCCESS_TOPIC_ARN="arn:topic")
    monkeypatch.setattr(clients, "s3", lambda: s3)
    monkeypatch.setattr(clients, "sns", lambda: SimpleNamespace(publish=lambda **request: published.append(request)))
    monkeypatch.setattr(module.metrics, "service", "welds")
    return published


CONTEXT: Any = SimpleNamespace(function_name="f", memory_limit_in_mb=1, invoked_function_arn="arn", aws_request_id="id")


def test_the_handler_writes_counts_and_tells(
    s3: Any, topic: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    body = "\n".join(json.dumps(one) for one in LINES)
    s3.put_object(
        Bucket="final", Key=catalog_key(from_text("2026-11-20T07:59:00Z"), "old"), Body=body.replace(".", "_")
    )
    s3.put_object(Bucket="final", Key=catalog_key(from_text("2026-11-20T08:16:00Z"), "new"), Body=body)
    s3.put_object(Bucket="source", Key="later.png", Body=b"x")
    summary = module.handler(copy.deepcopy(EVENT), CONTEXT)["summary"]
    assert json.loads(s3.get_object(Bucket="final", Key="runs/r1.json")["Body"].read()) == summary
    VALIDATOR.validate(summary)
    assert (summary["images_processed"], summary["images_rejected"], summary["images_left"]) == (2, 1, 1)
    (emf,) = [json.loads(text) for text in capsys.readouterr().out.splitlines() if '"_aws"' in text]
    assert (emf["ModelOnSeconds"], emf["RunThrottles"], emf["RunsFailed"]) == ([1500], [2], [0])
    assert emf["RejectedPercent"] == [pytest.approx(100 / 3)]
    (told,) = topic
    assert (told["TopicArn"], told["Subject"]) == ("arn:topic", "welds: 2 images processed")
    assert told["Message"].startswith("Nothing to do: ")
    assert "Left:      1" in told["Message"].splitlines()


def test_a_run_that_is_summed_up_again_is_told_of_once(s3: Any, topic: list[dict[str, str]]) -> None:
    """The answer was lost: the summary is written anew, and nobody gets a second mail."""
    module.handler(copy.deepcopy(EVENT), CONTEXT)
    s3.put_object(Bucket="source", Key="later.png", Body=b"x")
    again = module.handler(copy.deepcopy(EVENT), CONTEXT)["summary"]
    assert again["images_left"] == 1
    assert json.loads(s3.get_object(Bucket="final", Key="runs/r1.json")["Body"].read()) == again
    assert len(topic) == 1


def test_of_a_failed_run_the_watchdog_tells(topic: list[dict[str, str]]) -> None:
    assert module.handler(copy.deepcopy(FAILED), CONTEXT)["summary"]["outcome"] == "failed"
    assert topic == []


def test_a_subject_is_what_sns_takes() -> None:
    assert subject("é" * 300) == "?" * 99
