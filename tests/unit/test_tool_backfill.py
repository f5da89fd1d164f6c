"""`batch-vision backfill` and `sweep`. moto executes nothing, so the tests do what the functions do."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from click.testing import CliRunner

from batch_vision.core.backfills import (
    Job,
    Phase,
    Plan,
    cancelled_key,
    concurrency_key,
    concurrency_of,
    job_key,
    plan_key,
    summary_key,
)
from batch_vision.core.chunks import Chunk, chunk_key
from batch_vision.core.in_place import upload_of
from batch_vision.core.names import result_key
from batch_vision.core.times import to_text, utc_now
from batch_vision.operator import backfill, backfill_commands, command_line, lists, survey
from batch_vision.operator.backfill import action_of
from batch_vision.operator.cli import main
from batch_vision.operator.cost import estimate_backfill_managed
from batch_vision.operator.errors import WrongInputError
from tests.unit.test_tool_odd_values import ODD, check
from tests.unit.tool_stack import FINAL, FINGERPRINT, IMAGES, NAME, Deployed

type Deploy = Callable[..., Deployed]
SLEEP = "batch_vision.operator.backfill.time.sleep"
LONG = "d/" * 500 + "long-name-that-leaves-no-room.jpg"


@pytest.fixture
def in_place(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """A managed model and an existing bucket."""
    monkeypatch.setattr(backfill, "_PLANNER_SECONDS", 0)
    return deploy(is_hosted=False, is_drop_off=False)


@pytest.fixture
def hosted(deploy: Deploy) -> Deployed:
    """A hosted model and an existing bucket."""
    return deploy(is_drop_off=False)


@pytest.fixture
def mixed(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """One key of each kind. S3 tells times in whole seconds, so the settings are of before, and results of after."""
    old, new = utc_now() - timedelta(days=2), utc_now() + timedelta(days=1)
    monkeypatch.setattr(survey, "deployed_at", lambda *_: utc_now() - timedelta(days=1))
    for key in ("done.jpg", "missing.jpg", "stale.jpg", "outdated.jpg", "a-b.jpg", "a.jpg"):
        in_place.put(key)
    in_place.put("frozen.jpg", StorageClass="GLACIER")
    results = {"done.jpg": new, "stale.jpg": old, "outdated.jpg": old, "orphan.jpg": new, "a-b.jpg": new, "a.jpg": new}
    for key in results:
        in_place.put(f"results/{key}.json", b"{}", FINAL)
    date(monkeypatch, results | {"older": old})
    return in_place


def date(monkeypatch: pytest.MonkeyPatch, results: dict[str, Any]) -> None:
    """Have results written, and objects put, at other times than now."""
    list_results, list_images = survey.list_results, survey.list_images
    monkeypatch.setattr(
        survey,
        "list_results",
        lambda *of: [survey.Listed(one.key, results.get(one.key, one.modified_at)) for one in list_results(*of)],
    )
    long_ago = utc_now() - timedelta(days=3)
    monkeypatch.setattr(
        survey,
        "list_images",
        lambda *of: [
            survey.Listed(one.key, utc_now() if one.key == "stale.jpg" else long_ago, one.storage_class, one.left_out)
            for one in list_images(*of)
        ],
    )


def at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have images and results listed with one time, as of one second."""
    tomorrow = utc_now() + timedelta(days=1)
    for name in ("list_images", "list_results"):
        listed = getattr(survey, name)
        monkeypatch.setattr(
            survey, name, lambda *of, listed=listed: [replace(one, modified_at=tomorrow) for one in listed(*of)]
        )


def jobs(deployed: Deployed) -> list[dict[str, Any]]:
    keys = [key for key in deployed.keys(FINAL) if key.startswith("jobs/") and key.endswith("/job.json")]
    return [json.loads(deployed.read(FINAL, key)) for key in keys]


def executions(deployed: Deployed) -> list[dict[str, Any]]:
    listed = deployed.workflow.list_executions(stateMachineArn=deployed.backfill_state_machine_arn)["executions"]
    described = [deployed.workflow.describe_execution(executionArn=entry["executionArn"]) for entry in listed]
    return [
        {"name": entry["name"], "status": entry["status"], "input": json.loads(entry["input"])} for entry in described
    ]


def started(deployed: Deployed, *words: str) -> str:
    """Start a backfill of one image, and return its job."""
    deployed.put("one.jpg")
    result = deployed.call("backfill", "--yes", *words)
    assert result.exit_code == 0, result.output
    return str(jobs(deployed)[-1]["job"])


def plan(deployed: Deployed, job: str, phase: Phase = Phase.DONE, *chunks: Chunk, **counts: int) -> None:
    """Do what the planner does."""
    told = Plan(phase)
    told.counts.update(
        {"listed": 5, "planned": sum(len(chunk.keys) for chunk in chunks), "chunks": len(chunks)} | counts
    )
    told.left_out["suffix"] = 2
    for number, chunk in enumerate(chunks):
        deployed.put(chunk_key(job, str(number), chunk), chunk.body(), FINAL)
    deployed.put(plan_key(job), told.body(to_text(utc_now())), FINAL)


def end(deployed: Deployed, job: str, outcome: str, status: str = "SUCCEEDED", **more: Any) -> None:
    """Do what the count does at the end."""
    for entry in executions(deployed):
        if entry["name"].startswith(job):
            arn = deployed.backfill_state_machine_arn.replace("stateMachine", "execution") + f":{entry['name']}"
            deployed.end(arn, status)
    summary = {"job": job, "outcome": outcome, "counts": {}, "left_images": 0, "left_chunks": 0, "error": None} | more
    deployed.put(summary_key(job), json.dumps(summary).encode(), FINAL)


def refused(deployed: Deployed, *words: str, status: int = 2) -> str:
    before = deployed.keys(FINAL)
    result = deployed.call(*words)
    check(result, statuses=(status,))
    assert deployed.keys(FINAL) == before, "nothing is written"
    return str(result.stderr)


# What is asked for.


@pytest.mark.parametrize(
    ("given", "action"),
    [
        ("", "start"),
        ("yes", "start"),
        ("watch", "start"),
        ("prefix deep concurrency watch", "start"),
        ("concurrency yes", "start"),
        ("concurrency watch", "start"),
        ("concurrency", "concurrency"),
        ("concurrency job", "concurrency"),
        ("status", "status"),
        ("status watch job", "status"),
        ("resume concurrency watch", "resume"),
        ("cancel job", "cancel"),
        ("pause", "pause"),
    ],
)
def test_what_the_options_ask_for(given: str, action: str) -> None:
    assert action_of(given.split()) == action


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("status pause", "--status and --pause"),
        ("pause resume cancel", "--pause and --resume"),
        ("status deep", "--status and --deep"),
        ("pause watch", "--pause and --watch"),
        ("cancel concurrency", "--cancel and --concurrency"),
        ("resume yes", "--resume and --yes"),
        ("status prefix", "--status and --prefix"),
        ("prefix list", "--prefix and --list"),
        ("inventory list", "--inventory and --list"),
        ("inventory deep", "--inventory and --deep"),
        ("job", "--job"),
        ("job yes", "--job"),
    ],
)
def test_options_that_exclude_one_another(given: str, named: str) -> None:
    with pytest.raises(WrongInputError, match=named):
        action_of(given.split())


@pytest.mark.parametrize("words", [["backfill"], ["backfill", "--status"], ["sweep"], ["sweep", "--apply", "--yes"]])
@pytest.mark.parametrize("is_hosted", [True, False])
def test_a_drop_off_bucket_has_no_backfill(deploy: Deploy, words: list[str], is_hosted: bool) -> None:
    assert "images_bucket_name" in refused(deploy(is_hosted=is_hosted), *words)


@pytest.mark.parametrize("words", [["backfill"], ["backfill", "--status"], ["sweep"]])
def test_a_stack_that_is_older_than_backfills(in_place: Deployed, words: list[str]) -> None:
    in_place.workflow.delete_state_machine(stateMachineArn=in_place.backfill_state_machine_arn)
    assert f"no state machine {NAME}-backfill" in refused(in_place, *words, status=1)
    assert in_place.call("status").exit_code == 0


def test_outputs_that_are_not_passed_on_are_derived(in_place: Deployed) -> None:
    in_place.write_outputs({name: value for name, value in in_place.outputs.items() if "backfill" not in name})
    assert in_place.call("sweep").exit_code == 0


@pytest.mark.parametrize(("command", "option"), [
    *(("backfill", f"--{name}") for name in ("prefix", "inventory", "list", "concurrency", "job", "poll-seconds")),
    ("backfill", "--status --job"), ("sweep", "--prefix"),
])  # fmt: skip
def test_odd_values(in_place: Deployed, command: str, option: str) -> None:
    for value in ODD:
        *before, last = option.split()
        check(in_place.call(command, *before, f"{last}={value}"))
    assert jobs(in_place) == []


@pytest.mark.parametrize("number", ["0", "-1", "1001", "x"])
def test_a_concurrency_out_of_range(in_place: Deployed, number: str) -> None:
    assert "--concurrency" in refused(in_place, "backfill", "--concurrency", number)


def test_the_concurrency_of_a_hosted_model_is_that_of_its_runs(hosted: Deployed) -> None:
    assert "max_concurrency" in refused(hosted, "backfill", "--yes", "--concurrency", "2")


# Listings.


def test_the_estimate_of_a_bucket(mixed: Deployed) -> None:
    result = mixed.call("backfill", "--yes")
    assert result.exit_code == 0, result.output
    assert "3 (1 missing, 1 stale, 1 outdated)" in result.stdout
    assert "1 archived" in result.stdout
    assert "6 of the model" in result.stdout
    assert "6 at $0.001 ($0.01)" in result.stdout
    (job,) = jobs(mixed)
    assert job == {
        "schema_version": 1,
        "job": job["job"],
        "created_at": job["created_at"],
        "source": {"kind": "listing", "prefix": ""},
        "deep": False,
        "removes_orphans": False,
    }
    (execution,) = executions(mixed)
    assert execution == {
        "name": f"{job['job']}-1",
        "status": "RUNNING",
        "input": {"job": job["job"], "max_concurrency": 3},
    }
    assert f"Started: backfill {job['job']}" in result.stdout


def test_a_deep_backfill_looks_at_what_seems_done(mixed: Deployed) -> None:
    result = mixed.call("backfill", "--yes", "--deep", "--concurrency", "2")
    assert "3 results more, closely" in result.stdout
    assert jobs(mixed)[0]["deep"] is True
    assert executions(mixed)[0]["input"]["max_concurrency"] == 2


def test_more_at_a_time_than_the_quota_has_use_for(in_place: Deployed) -> None:
    in_place.put("a.jpg")
    shown = in_place.call("backfill", "--yes", "--concurrency", "9").stdout
    assert "More than 3 at a time have no more of the quota" in shown


def test_a_prefix(in_place: Deployed) -> None:
    in_place.configure(SOURCE_PREFIXES='["in/"]', IMAGE_SUFFIXES='[".jpg"]')
    for key in ("in/a/1.JPG", "in/a/notes.txt", "in/b/2.jpg"):
        in_place.put(key)
    in_place.put("in/a/", b"")
    assert "'in/' (source_prefix)" in refused(in_place, "backfill", "--yes", "--prefix", "out/")
    result = in_place.call("backfill", "--yes", "--prefix", "in/a/")
    assert "1 (1 missing" in result.stdout
    assert "1 folder_marker, 1 suffix" in result.stdout
    assert jobs(in_place)[0]["source"] == {"kind": "listing", "prefix": "in/a/"}


def test_nothing_to_do_starts_nothing(in_place: Deployed) -> None:
    result = in_place.call("backfill")
    assert (result.exit_code, "nothing to do" in result.stdout) == (0, True)
    assert in_place.json("backfill")["job"] is None
    assert jobs(in_place) == executions(in_place) == []


def test_the_hours_are_those_of_the_quota() -> None:
    """4 a second each, 3 at a time."""
    found = estimate_backfill_managed(43200, 0, 43200, ["labels", "text", "image_properties"], 12.0)
    assert found.hours == 1
    assert found.calls == 86400
    assert found.analyses_dollars == {"labels": 43.2, "image_properties": 32.4, "text": 43.2}
    tiers = estimate_backfill_managed(3_000_000, 0, 0, ["labels", "text"], None)
    assert [(tier.images, tier.price_dollars) for tier in tiers.tiers] == [
        (1_000_000, 0.001), (4_000_000, 0.0008), (1_000_000, 0.0006),
    ]  # fmt: skip
    assert tiers.hours is None
    assert sum(tier.dollars for tier in tiers.tiers) == pytest.approx(sum(tiers.analyses_dollars.values()))


def test_the_quota_is_that_of_the_stack(in_place: Deployed) -> None:
    paces = {"DetectLabels": {"calls_per_second": 4, "most_calls_per_second": 4}, "DetectText": {}}
    in_place.configure(PACES=json.dumps(paces))
    assert in_place.stack().backfill_calls_per_second == 4
    for odd in ("[]", '{"DetectLabels": 3}', "x"):
        in_place.configure(PACES=odd)
        assert in_place.stack().backfill_calls_per_second is None
        in_place.put("a.jpg")
        assert "time " not in in_place.call("backfill").stdout


def test_a_hosted_model_is_paid_for_by_the_hour(hosted: Deployed) -> None:
    hosted.put("a.jpg")
    result = hosted.call("backfill", "--yes")
    assert result.exit_code == 0, result.output
    assert "if starts are billed" in result.stdout
    assert "hours with the units that a run starts" in result.stdout
    assert executions(hosted)[0]["input"]["max_concurrency"] == 1


# The question.


def test_without_a_terminal_there_is_no_question(in_place: Deployed) -> None:
    in_place.put("a.jpg")
    assert "--yes" in refused(in_place, "backfill")
    result = in_place.call("backfill", "--json")
    assert (result.exit_code, json.loads(result.stdout)["estimate"]["images"]) == (2, 1)
    assert executions(in_place) == []


@pytest.mark.parametrize(("said", "status"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_the_question(in_place: Deployed, monkeypatch: pytest.MonkeyPatch, said: str, status: int) -> None:
    monkeypatch.setattr(backfill_commands, "has_terminal", lambda: True)
    in_place.put("a.jpg")
    words = ["backfill", "--outputs", str(in_place.outputs_file)]
    result = CliRunner().invoke(main, words, input=said)
    assert result.exit_code == status, result.output
    assert "Start a backfill of 1 image, for at most $" in result.stderr
    assert len(executions(in_place)) == (status == 0)


def test_conversions_are_not_within_what_it_costs_at_most(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill_commands, "has_terminal", lambda: True)
    in_place.put("a.jpg")
    for converts in ("false", "true"):
        in_place.configure(CONVERT_IMAGES=converts)
        result = in_place.call("backfill")
        assert (
            ("conversions" in result.stdout) == ("and what conversions take?" in result.stderr) == (converts == "true")
        )


def test_one_at_a_time(in_place: Deployed) -> None:
    job = started(in_place)
    for words in (["backfill", "--yes"], ["sweep", "--apply", "--yes"], ["backfill", "--resume"]):
        told = refused(in_place, *words, status=1)
        assert job in told
        assert "--status" in told
        assert "--pause" in told
        assert "--cancel" in told


# Lists.


def inventory(deployed: Deployed, *files: str, bucket: str = IMAGES, schema: str = "Bucket, Key, Size") -> str:
    keys = []
    for number, content in enumerate(files):
        deployed.put(f"inv/data/{number}.csv.gz", gzip.compress(content.encode()), IMAGES)
        keys.append({"key": f"inv/data/{number}.csv.gz"})
    manifest = {"sourceBucket": bucket, "fileFormat": "CSV", "fileSchema": schema, "files": keys}
    deployed.put("inv/manifest.json", json.dumps(manifest).encode(), IMAGES)
    return f"s3://{IMAGES}/inv/manifest.json"


def test_an_inventory(in_place: Deployed) -> None:
    in_place.configure(IMAGE_SUFFIXES='[".jpg"]')
    url = inventory(in_place, f"{IMAGES},a%20b.jpg,5\n{IMAGES},c.txt,5\n", f"{IMAGES},d.jpg,5\n")
    result = in_place.call("backfill", "--inventory", url, "--yes")
    assert result.exit_code == 0, result.output
    assert "at most 2:" in result.stdout
    assert "1 suffix" in result.stdout
    (job,) = jobs(in_place)
    files = [f"jobs/{job['job']}/lists/{number:05}.csv.gz" for number in range(2)]
    fields = ["Bucket", "Key", "Size"]
    assert job["source"] == {"kind": "inventory", "manifest": url, "fields": fields, "files": files}
    assert gzip.decompress(in_place.read(FINAL, files[1])) == f"{IMAGES},d.jpg,5\n".encode()


def test_a_list_of_this_machine(in_place: Deployed, tmp_path: Path) -> None:
    path = tmp_path / "keys.csv"
    path.write_text(f"{IMAGES},a.jpg\n{IMAGES},b.jpg,v1\n")
    assert in_place.call("backfill", "--list", str(path), "--yes").exit_code == 0
    (job,) = jobs(in_place)
    assert job["source"] == {"kind": "csv", "list": str(path), "files": [f"jobs/{job['job']}/lists/00000.csv"]}
    assert in_place.read(FINAL, job["source"]["files"][0]) == path.read_bytes()


def test_a_list_in_s3(in_place: Deployed) -> None:
    in_place.put("lists/keys.csv", f"{IMAGES},a.jpg\n".encode(), IMAGES)
    assert in_place.call("backfill", "--list", f"s3://{IMAGES}/lists/keys.csv", "--yes").exit_code == 0
    (job,) = jobs(in_place)
    assert in_place.read(FINAL, job["source"]["files"][0]) == f"{IMAGES},a.jpg\n".encode()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"photos-of-others,a.jpg\n\nphotos-of-others,b.jpg\n", "line 2 is empty"),
        (b"photos-of-others,a.jpg\nother,b.jpg\n", "line 2: bucket 'other'"),
        (b"photos-of-others\n", "line 1: 1 columns"),
        (b"photos-of-others,\n", "line 1: "),
        (b"photos-of-others,a.jpg\n\xff\xfe\n", "after line"),
        (b"photos-of-others,%ff\n", "line 1: "),
        (b'photos-of-others,"' + b"x" * 200_000 + b'"\n', "after line 0"),
    ],
)
@pytest.mark.parametrize("is_local", [True, False])
def test_a_list_that_is_wrong(in_place: Deployed, tmp_path: Path, content: bytes, named: str, is_local: bool) -> None:
    name = str(tmp_path / "keys.csv") if is_local else f"s3://{IMAGES}/keys.csv"
    (tmp_path / "keys.csv").write_bytes(content)
    in_place.put("keys.csv", content, IMAGES)
    told = refused(in_place, "backfill", "--yes", "--list", name)
    assert named in told
    assert "keys.csv" in told


def test_an_inventory_that_is_damaged(in_place: Deployed) -> None:
    url = inventory(in_place, f"{IMAGES},a.jpg,5\n" * 3)
    whole = in_place.read(IMAGES, "inv/data/0.csv.gz")
    for content in (whole[:-9], b"no gzip", whole[:12] + b"\0\0\0" + whole[15:]):
        in_place.put("inv/data/0.csv.gz", content, IMAGES)
        assert "inv/data/0.csv.gz, after line" in refused(in_place, "backfill", "--yes", "--inventory", url)
    in_place.put("inv/data/0.csv.gz", gzip.compress(f"{IMAGES},a.jpg\n".encode()), IMAGES)
    assert "inv/data/0.csv.gz, line 1: 2 columns" in refused(in_place, "backfill", "--yes", "--inventory", url)


def test_an_inventory_without_one_of_its_files(in_place: Deployed) -> None:
    url = inventory(in_place, f"{IMAGES},a.jpg,5\n", f"{IMAGES},b.jpg,5\n")
    in_place.s3.delete_object(Bucket=IMAGES, Key="inv/data/1.csv.gz")
    assert f"no object s3://{IMAGES}/inv/data/1.csv.gz" in refused(in_place, "backfill", "--yes", "--inventory", url)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"bucket": "other"}, "of bucket 'other'"),
        ({"schema": "Bucket, Size"}, "no column Key"),
    ],
)
def test_an_inventory_that_is_another_one(in_place: Deployed, change: dict[str, str], named: str) -> None:
    assert named in refused(in_place, "backfill", "--yes", "--inventory", inventory(in_place, **change))


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("manifest.json", "no URL of an object"),
        (f"s3://{IMAGES}/none.json", "no such object"),
        ("s3://no-such-bucket-there-is/x.json", "no such object"),
        (f"s3://{IMAGES}/keys.csv", "no manifest.json"),
    ],
)
def test_no_inventory(in_place: Deployed, url: str, named: str) -> None:
    in_place.put("keys.csv", b"photos-of-others,a.jpg\n", IMAGES)
    assert named in refused(in_place, "backfill", "--yes", "--inventory", url)


@pytest.mark.parametrize("name", ["none.csv", "/", "s3://x", f"s3://{IMAGES}/none.csv"])
def test_no_list(in_place: Deployed, name: str) -> None:
    assert "--list" in refused(in_place, "backfill", "--yes", "--list", name)


def test_a_list_that_is_replaced_while_it_is_read(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    in_place.put("keys.csv", b"photos-of-others,a.jpg\n", IMAGES)
    read = lists.survey_list

    def read_and_replace(*given: Any) -> Any:
        answer = read(*given)
        in_place.put("keys.csv", b"other,a.jpg\n", IMAGES)
        return answer

    monkeypatch.setattr(backfill_commands, "survey_list", read_and_replace)
    result = in_place.call("backfill", "--yes", "--list", f"s3://{IMAGES}/keys.csv")
    check(result, statuses=(2, 3))
    assert jobs(in_place) == executions(in_place) == []


# How it is.


def test_no_backfill_yet(in_place: Deployed) -> None:
    for action in ("--status", "--pause", "--resume", "--cancel", "--concurrency=3"):
        assert "No backfill of stack pile is under way or paused. To start one" in refused(in_place, "backfill", action)
    assert "no backfill of that name. It has none yet" in refused(in_place, "backfill", "--status", "--job", "x")


def test_status(in_place: Deployed) -> None:
    job = started(in_place)
    plan(in_place, job, Phase.DONE, Chunk(FINGERPRINT, ("a", "b")), Chunk(FINGERPRINT, ("c",)), missing=2, stale=1)
    found = in_place.json("backfill", "--status")
    assert (found["job"], found["state"], found["phase"]) == (job, "running", "done")
    assert (found["left_images"], found["left_chunks"]) == (3, 2)
    assert found["counts"]["planned"] == 3
    assert found["counts"]["left_out"] == {"suffix": 2}
    shown = in_place.call("backfill", "--status")
    assert (shown.exit_code, "3 images in 2 chunks" in shown.stdout) == (0, True)
    assert "5 (2 missing, 1 stale)" in shown.stdout
    assert "the whole bucket" in shown.stdout
    line = in_place.call("status").stdout
    assert f"running, 3 images left  ({job})" in line
    assert in_place.json("status")["backfill"]["job"] == job


def test_a_name_that_is_none(in_place: Deployed) -> None:
    job = started(in_place)
    assert job in refused(in_place, "backfill", "--status", "--job", "other")


@pytest.mark.parametrize(
    ("outcome", "status", "is_good"),
    [("succeeded", "SUCCEEDED", True), ("planned", "SUCCEEDED", True), ("incomplete", "FAILED", False),
     ("failed", "FAILED", False)],
)  # fmt: skip
def test_status_of_one_that_is_over(in_place: Deployed, outcome: str, status: str, is_good: bool) -> None:
    job = started(in_place)
    end(
        in_place,
        job,
        outcome,
        status,
        error={"type": "BackfillListError", "message": "line 3"} if not is_good else None,
    )
    result = in_place.call("backfill", "--status")
    assert result.exit_code == (not is_good), result.output
    assert is_good or f"--resume --job {job}" in result.stdout
    assert is_good or "BackfillListError: line 3" in result.stdout
    assert in_place.json("backfill", "--status")["summary"]["outcome"] == outcome
    line = in_place.call("status")
    assert line.exit_code == 0
    assert (job in line.stdout) is not is_good
    for action in ("--pause", "--cancel"):
        assert f"--job {job}" in refused(in_place, "backfill", action)


def test_one_that_ended_badly_long_ago_is_not_told(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    job = started(in_place)
    end(in_place, job, "failed", "FAILED")
    monkeypatch.setattr(backfill, "LATELY", timedelta(0))
    assert in_place.json("status")["backfill"] is None


def test_one_that_ended_without_a_summary(in_place: Deployed) -> None:
    job = started(in_place)
    arn = in_place.backfill_state_machine_arn.replace("stateMachine", "execution") + f":{job}-1"
    in_place.end(arn, "FAILED", error="States.Runtime", cause="no path")
    result = in_place.call("backfill", "--status")
    assert (result.exit_code, "broken off: States.Runtime: no path" in result.stdout) == (1, True)


def test_the_job_of_a_scheduled_sweep_has_the_name_of_its_execution(in_place: Deployed) -> None:
    request = {"source": {"kind": "listing", "prefix": ""}, "deep": False, "removes_orphans": True}
    in_place.workflow.start_execution(
        stateMachineArn=in_place.backfill_state_machine_arn, name="sweep_1", input=json.dumps({"request": request})
    )
    written = Job.from_json({"job": "sweep_1", "created_at": "2026-11-20T08:00:00.000Z"} | request)
    in_place.put(job_key("sweep_1"), json.dumps(written.to_json()).encode(), FINAL)
    assert in_place.json("backfill", "--status")["job"] == "sweep_1"
    assert in_place.call("backfill", "--pause").exit_code == 0
    assert in_place.call("backfill", "--resume").exit_code == 0
    assert [entry["name"] for entry in executions(in_place)] == ["sweep_1-1", "sweep_1"]


# What is done to it.


def test_pause_and_resume(in_place: Deployed) -> None:
    job = started(in_place)
    chunk = Chunk(FINGERPRINT, ("a", "b"))
    plan(in_place, job, Phase.DONE, chunk)
    result = in_place.call("backfill", "--pause")
    assert (result.exit_code, f"--resume --job {job}" in result.stdout) == (0, True)
    assert executions(in_place)[0]["status"] == "ABORTED"
    assert chunk_key(job, "0", chunk) in in_place.keys(FINAL)
    assert in_place.json("backfill", "--status")["state"] == "paused"
    assert "nothing to pause" in refused(in_place, "backfill", "--pause", status=1)
    assert in_place.call("backfill", "--resume", "--concurrency", "2").exit_code == 0
    by_name = {entry["name"]: entry for entry in executions(in_place)}
    assert by_name[f"{job}-2"] == {
        "name": f"{job}-2", "status": "RUNNING", "input": {"job": job, "max_concurrency": 2},
    }  # fmt: skip
    assert in_place.call("backfill", "--pause").exit_code == 0
    assert in_place.json("backfill", "--resume")["state"] == "running"
    assert len(executions(in_place)) == 3


def test_it_is_resumed_when_the_calls_of_before_are_over(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step Functions does not end a function that it has called, and both would pay for the same images."""
    started(in_place)
    seconds = in_place.functions.get_function_configuration(FunctionName=f"{NAME}-work-off-chunk")["Timeout"]
    slept: list[float] = []
    monkeypatch.setattr(SLEEP, slept.append)
    in_place.call("backfill", "--pause")
    said = in_place.call("backfill", "--resume").stdout
    assert len(slept) == 1
    assert 0 < slept[0] <= seconds
    assert "waiting for calls that were under way" in said
    in_place.call("backfill", "--pause")
    monkeypatch.setattr(backfill, "utc_now", lambda: utc_now() + timedelta(seconds=seconds))
    assert "waiting" not in in_place.call("backfill", "--resume").stdout
    assert len(slept) == 1


def test_with_a_hosted_model_no_call_works_on_a_chunk_of_a_paused_backfill(hosted: Deployed) -> None:
    started(hosted)
    hosted.call("backfill", "--pause")
    assert "waiting" not in hosted.call("backfill", "--resume").stdout


def test_one_that_failed_is_resumed_by_its_name(in_place: Deployed) -> None:
    job = started(in_place)
    end(in_place, job, "incomplete", "FAILED")
    assert f"--job {job}" in refused(in_place, "backfill", "--resume")
    assert in_place.json("backfill", "--resume", "--job", job)["state"] == "running"
    assert in_place.json("backfill", "--status")["job"] == job


@pytest.mark.parametrize("outcome", ["succeeded", "planned", "cancelled"])
def test_what_has_nothing_to_resume(in_place: Deployed, outcome: str) -> None:
    job = started(in_place)
    end(in_place, job, outcome)
    assert f"Backfill {job}" in refused(in_place, "backfill", "--resume", "--job", job, status=1)


def test_cancel(in_place: Deployed) -> None:
    job = started(in_place)
    other = Chunk(FINGERPRINT, ("z",))
    in_place.put(chunk_key("other", "0", other), other.body(), FINAL)
    plan(in_place, job, Phase.DONE, Chunk(FINGERPRINT, ("a", "b")), Chunk(FINGERPRINT, ("c",)))
    result = in_place.call("backfill", "--cancel")
    assert (result.exit_code, "3 images given up" in result.stdout) == (0, True)
    assert [key for key in in_place.keys(FINAL) if key.startswith("work/")] == [chunk_key("other", "0", other)]
    assert cancelled_key(job) in in_place.keys(FINAL)
    summary = json.loads(in_place.read(FINAL, summary_key(job)))
    assert (summary["outcome"], summary["left_images"], summary["left_chunks"]) == ("cancelled", 3, 2)
    assert (summary["job"], summary["source"], summary["counts"]["planned"]) == (
        job,
        {"kind": "listing", "prefix": ""},
        3,
    )
    assert executions(in_place)[0]["status"] == "ABORTED"
    assert in_place.json("backfill", "--status")["state"] == "cancelled"
    assert "is over (cancelled)" in refused(in_place, "backfill", "--cancel", "--job", job, status=1)
    assert "was cancelled" in refused(in_place, "backfill", "--resume", "--job", job, status=1)


def test_a_paused_one_is_cancelled(in_place: Deployed) -> None:
    job = started(in_place)
    plan(in_place, job, Phase.DONE, Chunk(FINGERPRINT, ("a",)))
    in_place.call("backfill", "--pause")
    assert in_place.json("backfill", "--cancel")["images_given_up"] == 1


def test_a_planner_that_is_at_work_is_fenced_off(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    job = started(in_place)
    plan(in_place, job, Phase.PLAN, Chunk(FINGERPRINT, ("a",)))
    before = in_place.s3.head_object(Bucket=FINAL, Key=plan_key(job))["ETag"]
    late = Chunk(FINGERPRINT, ("b", "c"))

    def planner_goes_on(_: float) -> None:
        in_place.put(chunk_key(job, "9", late), late.body(), FINAL)
        with pytest.raises(ClientError, match="PreconditionFailed"):
            in_place.s3.put_object(Bucket=FINAL, Key=plan_key(job), Body=b"{}", IfMatch=before)

    monkeypatch.setattr(SLEEP, planner_goes_on)
    assert in_place.json("backfill", "--cancel")["images_given_up"] == 3
    assert [key for key in in_place.keys(FINAL) if key.startswith("work/")] == []


def test_the_summary_of_one_that_was_over_is_kept(in_place: Deployed) -> None:
    job = started(in_place)
    plan(in_place, job, Phase.DONE, Chunk(FINGERPRINT, ("a",)))
    end(in_place, job, "incomplete", "FAILED")
    assert in_place.call("backfill", "--cancel", "--job", job).exit_code == 0
    assert json.loads(in_place.read(FINAL, summary_key(job)))["outcome"] == "incomplete"
    assert [key for key in in_place.keys(FINAL) if key.startswith("work/")] == []


def test_concurrency_in_flight(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    job = started(in_place)
    asked: list[Any] = []
    runs: list[Any] = []
    call = vars(BaseClient)["_make_api_call"]

    def call_step_functions(self: Any, operation: str, parameters: Any) -> Any:
        if operation == "ListMapRuns":
            assert parameters["executionArn"].endswith(f":{job}-1")
            return {"mapRuns": runs}
        if operation == "UpdateMapRun":
            asked.append(parameters)
            return {}
        return call(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", call_step_functions)
    # While it is planned there is no round yet.
    assert "6 chunks at a time from now on" in in_place.call("backfill", "--concurrency", "6").stdout
    assert (asked, concurrency_of(in_place.read(FINAL, concurrency_key(job)), f"{job}-1")) == ([], 6)
    runs += [{"mapRunArn": "now"}, {"mapRunArn": "before", "stopDate": utc_now()}]
    assert in_place.json("backfill", "--concurrency", "7")["map_runs"] == 1
    assert asked == [{"mapRunArn": "now", "maxConcurrency": 7}]
    assert concurrency_of(in_place.read(FINAL, concurrency_key(job)), f"{job}-1") == 7
    assert in_place.call("backfill", "--pause").exit_code == 0
    result = in_place.call("backfill", "--concurrency", "8")
    assert result.exit_code == 0, result.output
    assert "nothing is changed: 8 at a time counts from --resume on: batch-vision backfill --resume" in result.stdout
    assert concurrency_of(in_place.read(FINAL, concurrency_key(job)), f"{job}-1") == 7


# Watching.


def test_watch(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    job = started(in_place)
    shown: list[str] = []
    first = Chunk(FINGERPRINT, tuple(map(str, range(100))))
    second = Chunk(FINGERPRINT, ("x",))
    steps: Iterator[Callable[[], Any]] = iter([
        lambda: plan(in_place, job, Phase.PLAN, first),
        lambda: plan(in_place, job, Phase.DONE, first, second),
        lambda: in_place.s3.delete_object(Bucket=FINAL, Key=chunk_key(job, "0", first)),
        lambda: end(in_place, job, "incomplete", "FAILED"),
    ])  # fmt: skip
    monkeypatch.setattr(SLEEP, lambda _: next(steps)())
    ended = backfill.watch(in_place.stack(), job, lambda now: shown.append(f"{now.done}/{now.planned} {now}"), 1)
    assert ended.state == "incomplete"
    assert shown[0].startswith("0/0 starting")
    assert "planning, 5 looked at" in shown[1]
    assert "analyzing images, 101 planned, 101 left" in shown[2]
    assert shown[3].startswith("100/101 analyzing images, 101 planned, 1 left")
    assert "cost up to $0.20" in shown[3]
    result = in_place.call("backfill", "--status", "--watch")
    assert (result.exit_code, "incomplete" in result.output) == (1, True)


def test_ctrl_c_ends_the_watching_only(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    job = started(in_place)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SLEEP, interrupt)
    result = in_place.call("backfill", "--status", "--watch")
    assert result.exit_code == command_line.INTERRUPTED_STATUS
    assert f"backfill {job} goes on" in result.stderr
    assert "--status --watch" in result.stderr
    assert executions(in_place)[0]["status"] == "RUNNING"


def test_a_start_that_is_watched(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    in_place.put("a.jpg")
    monkeypatch.setattr(SLEEP, lambda _: end(in_place, jobs(in_place)[0]["job"], "succeeded"))
    result = in_place.call("backfill", "--yes", "--watch")
    assert (result.exit_code, "the backfill is done" in result.stdout) == (0, True)


def test_a_hosted_model_leaves_the_rest_to_its_runs(hosted: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    hosted.put("a.jpg")

    def end_planned(_: float) -> None:
        job = jobs(hosted)[0]["job"]
        plan(hosted, job, Phase.DONE, Chunk(FINGERPRINT, ("a.jpg",)))
        end(hosted, job, "planned")

    monkeypatch.setattr(SLEEP, end_planned)
    result = hosted.call("backfill", "--yes", "--watch")
    assert (result.exit_code, "batch-vision run --watch" in result.stdout) == (0, True), result.output


# Sweep.


def test_sweep(mixed: Deployed) -> None:
    before = mixed.keys(FINAL)
    result = mixed.call("sweep")
    assert result.exit_code == 1
    for state in ("missing", "stale", "outdated", "orphaned"):
        assert f"{state:<10}1" in result.stdout
    assert "    orphan.jpg" in result.stdout
    assert "sweep --apply" in result.stdout
    found = mixed.json("sweep")
    assert found["examples"]["missing"] == ["missing.jpg"]
    assert (found["listed"], found["left_out"], found["job"]) == (7, {"archived": 1}, None)
    assert mixed.keys(FINAL) == before


def test_sweep_that_is_applied(mixed: Deployed) -> None:
    assert "no terminal" in refused(mixed, "sweep", "--apply")
    assert "--yes is for --apply" in refused(mixed, "sweep", "--yes")
    result = mixed.call("sweep", "--apply", "--yes")
    assert result.exit_code == 0, result.output
    (job,) = jobs(mixed)
    assert (job["removes_orphans"], job["source"]) == (True, {"kind": "listing", "prefix": ""})
    assert len(executions(mixed)) == 1


def test_sweep_that_is_applied_for_scripts(mixed: Deployed) -> None:
    answer = mixed.json("sweep", "--apply", "--yes")
    assert (answer["job"], answer["orphaned"]) == (jobs(mixed)[0]["job"], 1)


@pytest.mark.parametrize("words", [[], ["--apply"], ["--apply", "--yes"], ["--prefix", "a"]])
def test_sweep_that_finds_nothing(in_place: Deployed, words: list[str]) -> None:
    result = in_place.call("sweep", *words)
    assert (result.exit_code, "agree" in result.stdout) == (0, True)
    assert jobs(in_place) == []


@pytest.mark.parametrize("is_versioned", [True, False])
def test_a_result_of_the_second_of_its_upload_is_not_stale(
    deploy: Deploy, is_versioned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_one_moment(monkeypatch)
    deployed = deploy(is_hosted=False, is_drop_off=False)
    if not is_versioned:
        deployed.s3.delete_bucket(Bucket=IMAGES)
        deployed.s3.create_bucket(Bucket=IMAGES)
    deployed.s3.put_object(Bucket=IMAGES, Key="a.jpg", Body=b"image")
    head = deployed.s3.head_object(Bucket=IMAGES, Key="a.jpg")
    upload = upload_of(head.get("VersionId", "null"), head["ETag"].strip('"'), head["LastModified"], 5)
    for told, exit_status, state in (
        ({"upload": upload, "fingerprint": FINGERPRINT}, 0, ""),
        ({"upload": upload, "fingerprint": "another"}, 1, "outdated"),
        ({"upload": "another", "fingerprint": FINGERPRINT}, 1, "stale"),
        ({}, 1, "stale"),
    ):
        deployed.put("results/a.jpg.json", b"{}", FINAL, Metadata=told)
        result = deployed.call("sweep")
        assert result.exit_code == exit_status, result.output
        assert not state or f"{state:<10}1" in result.stdout


def test_results_that_have_hashes_for_names(in_place: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    in_place.put(LONG)
    assert in_place.json("sweep")["missing"] == 1
    name = result_key(LONG)
    assert name.startswith("results-long/")
    body = json.dumps({"source": {"key": LONG}}).encode()
    in_place.put(name, body, FINAL)
    in_place.put("results-long/rubbish.json", b"[]", FINAL)
    at_one_moment(monkeypatch)
    assert in_place.json("sweep")["stale"] == 1
    date(monkeypatch, {})
    assert in_place.call("sweep").exit_code == 0
    in_place.s3.delete_object(Bucket=IMAGES, Key=LONG)
    assert in_place.json("sweep")["examples"]["orphaned"] == [LONG]
    assert in_place.json("sweep", "--prefix", "other/")["orphaned"] == 0
