"""Each part of the benchmark works, at its smallest; figures are for `make bench`."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks import (
    cold_start,
    convert,
    cost,
    growth,
    managed_pace,
    model_on,
    poller,
    report,
    search,
    summary,
    video_collect,
)
from benchmarks.growth import LexicalS3
from local.config import REPOSITORY
from local.localstack import LAMBDA_PYTHON


def test_model_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_on, "saturated_share", lambda: 1.0)
    result = model_on.simulated(quick=True)
    assert [row["images"] for row in result.rows] == [1, 100, 1000]
    assert all(row["model on / ideal"] >= 1 for row in result.rows)
    assert all(target["is_met"] for target in result.targets), result.targets


def test_managed_pace() -> None:
    result = managed_pace.run(quick=True)
    assert [row["invocations"] for row in result.rows] == [2, 5, 10, 2, 3, 6, 3, 4, 7]
    assert all(row["of the allowed throughput used"] > 0.9 for row in result.rows)


def test_growth() -> None:
    result = growth.run(quick=True)
    assert all(target["is_met"] for target in result.targets), result.targets
    assert result.rows[-1]["drain: requests"] == 4  # what waits, what is stuck, dead letters, what was finished


def test_what_converting_takes_is_measured_in_its_own_process() -> None:
    result = convert.run(quick=True)
    (row,) = result.rows
    assert all(target["is_met"] for target in result.targets), result.targets
    assert row["peak memory of the child, MB"] > 50
    assert 0 < row["converted, MB"] < 4.2


def test_a_summary_is_measured_and_exact() -> None:
    result = summary.run(quick=True)
    assert all(target["is_met"] for target in result.targets), result.targets
    assert result.rows[0]["catalog objects"] == 200


def test_the_summary_is_measured_against_what_the_function_has() -> None:
    text = "".join(path.read_text() for path in sorted((REPOSITORY / "terraform").glob("*.tf")))
    assert re.search(rf"memory_mb += {summary.MEMORY_MB}\n", text)
    assert re.search(rf"summarize_timeout_seconds += {summary.TIMEOUT_SECONDS}\n", text)


def test_the_requests_of_an_image_are_counted_at_the_wire() -> None:
    found = cost.count_requests(2)
    assert found["DetectCustomLabels"] == 1
    assert found["CopyObject"] == 1
    assert found["PutObject"] == pytest.approx(1.1)


@pytest.mark.skipif(not LAMBDA_PYTHON.exists(), reason="the environment of the Lambda runtime is not installed")
def test_cold_start() -> None:
    (row,) = cold_start.run(quick=True).rows
    assert row["import + first call / boto3 + clients"] > row["import / boto3 + clients"] > 0


def test_the_s3_of_the_benchmark_lists_as_s3_does() -> None:
    s3 = LexicalS3({"bucket": [f"a/{number:04d}" for number in range(2500)] + ["b"]})
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix="a/"))
    assert [page["KeyCount"] for page in pages] == [1000, 1000, 500]
    after = s3.list_objects_v2("bucket", Prefix="a/", StartAfter="a/2400", MaxKeys=1)
    assert [entry["Key"] for entry in after["Contents"]] == ["a/2401"]
    assert s3.list_objects_v2("bucket", Prefix="c")["KeyCount"] == 0
    assert s3.requests["ListObjectsV2"] == 5


class Queue:
    """Ten messages, and what was deleted of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting = list(range(10))
        self.deleted: list[str] = []

    def receive_message(self, MaxNumberOfMessages: int, **_: Any) -> dict[str, Any]:
        with self.lock:
            taken, self.waiting = self.waiting[:MaxNumberOfMessages], self.waiting[MaxNumberOfMessages:]
        if not taken:
            time.sleep(0.01)
        attributes = {"ApproximateReceiveCount": "1"}
        return {
            "Messages": [
                {"MessageId": f"m{n}", "ReceiptHandle": f"r{n}", "Body": "", "Attributes": attributes} for n in taken
            ]
        }

    def delete_message_batch(self, Entries: list[dict[str, str]], **_: Any) -> None:
        self.deleted += [entry["ReceiptHandle"] for entry in Entries]


class Process:
    """An execution environment that leaves one message and fails on another's batch."""

    running = most = 0
    lock = threading.Lock()

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, work: Any, *arguments: Any) -> Any:
        class Done:
            def result(self) -> Any:
                if work is not poller.invoke:
                    return None
                with Process.lock:
                    Process.running += 1
                    Process.most = max(Process.most, Process.running)
                time.sleep(0.05)
                with Process.lock:
                    Process.running -= 1
                ids = [record["messageId"] for record in arguments[0]["Records"]]
                if "m9" in ids:
                    raise RuntimeError("crashed")
                return {"failed": [name for name in ids if name == "m1"], "seconds": 0.05}

        return Done()

    def shutdown(self) -> None:
        pass


def test_the_poller_polls_as_lambda_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "ProcessPoolExecutor", Process)
    queue = Queue()
    started = poller.Poller(queue, "url", {}, max_concurrency=2, batch_size=3, timeout_seconds=60)
    with started:
        deadline = time.monotonic() + 60
        while queue.waiting and time.monotonic() < deadline:
            time.sleep(0.01)
    # One was named as failed, and the batch of the last one crashed: they stay for their visibility timeout.
    assert started.polled.messages == 10
    assert "r1" not in queue.deleted
    assert "r9" not in queue.deleted
    assert len(queue.deleted) == 10 - started.polled.left
    assert started.polled.errors == ["RuntimeError('crashed')"]
    assert Process.most == 2


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(command, "BUILD", tmp_path)
    done = CliRunner().invoke(command.main, ["--only", "model_on", "--quick"])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "bench" / "model_on.json").read_text())
    assert found["machine"]["cpu_count"]
    assert found["rows"][0]["images"] == 1
    assert "there is no part 'speed'" in CliRunner().invoke(command.main, ["--only", "speed"]).output


def test_a_result_is_shown_with_its_goals() -> None:
    result = report.Result("title", [{"a": 1, "b": 0.5}], ["a note"])
    result.target("goal", 2.0, is_met=False)
    shown = io.StringIO()
    result.show(Console(file=shown, width=100))
    for text in ("title", "0.500", "✗ goal: 2.000", "a note"):
        assert text in shown.getvalue()


def test_the_figures_are_put_into_the_docs(tmp_path: Any) -> None:
    page, folder = tmp_path / "cost.md", tmp_path / "bench"
    others = "### S\n\nkept\n\n### T\n\nold\n"
    page.write_text(f"before {command.BEGIN_MARK} old\n{others}{command.END_MARK} after")
    folder.mkdir()
    content = {"machine": {"cpu_count": 2}, "title": "T", "rows": [{"a": 1}], "notes": [], "targets": []}
    (folder / "growth.json").write_text(json.dumps(content))
    command.write_docs(page, folder, ["growth", "missing"])
    written = page.read_text()
    assert written.startswith("before ")
    assert written.endswith(" after")
    assert "| a |\n| --- |\n| 1 |" in written
    assert "cpu count 2" in written
    assert "old" not in written
    assert written.count("### T") == 1
    assert "### S\n\nkept\n\n### T" in written, "a part that was not measured stays as it was"


def test_the_docs_have_a_place_for_the_figures() -> None:
    text = command.DOCS.read_text()
    assert text.index(command.BEGIN_MARK) < text.index(command.END_MARK)


def test_collecting_is_measured_and_loses_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"collector": video_collect.collect_here, "list": video_collect.list_here}
    monkeypatch.setattr(
        video_collect,
        "_measured",
        lambda way, number, folder: ways[way](number, folder) | {"mb": 1.0, "cpu": 1.0},
    )
    monkeypatch.setattr(video_collect, "_ROUNDS", 1)
    result = video_collect.run(quick=True)
    assert all(target["is_met"] for target in result.targets), result.targets
    assert result.rows[0]["pages"] == 3
    assert result.rows[0]["stored, MB"] < result.rows[0]["list and json.dumps: stored, MB"] / 5


def test_searching_is_measured_and_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (segments := tmp_path / "segments").mkdir()
    search.write_segments(segments, 500)
    search.measure_here(segments)
    found = json.loads(capsys.readouterr().out)
    assert found["lines"] == 500
    assert 0 < found["found"] < 100
