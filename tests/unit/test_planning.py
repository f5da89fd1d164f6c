"""A backfill's plan: what is to be looked at is in chunks, whoever dies meanwhile; of a wrong list nothing is."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_vision.aws import clients
from batch_vision.core import errors
from batch_vision.core.backfills import (
    Job,
    Kind,
    Left,
    Plan,
    Source,
    concurrency_body,
    concurrency_key,
    goes_on,
    job_key,
    list_key,
    plan_key,
    summary_key,
)
from batch_vision.core.chunks import Chunk, chunks_prefix
from batch_vision.core.lists import ListError
from batch_vision.core.names import result_key
from batch_vision.core.scope import Scope, prefix_to_list
from batch_vision.core.settings import read_settings
from batch_vision.images import planning
from batch_vision.images.planning import Planner
from batch_vision.images.settings import PlanBackfillSettings
from tests.unit.fake_s3 import FakeS3
from tests.unit.test_in_place import DiedError
from tests.unit.tool_stack import ENVIRONMENT

SETTINGS = replace(read_settings(PlanBackfillSettings, ENVIRONMENT), chunk_images=3)
JOB = Job(id="j1", created_at="2026-11-20T08:00:00.000Z")


@dataclass
class World:
    """An existing bucket, the final one, and the queue of its events.

    Attributes
    ----------
    dies_before
        Which request to S3 is the last thing that the planner wants to do; 0 for none.
    """

    s3: Any = field(default_factory=lambda: FakeS3("final"))
    sent: list[str] = field(default_factory=list)
    dies_before: int = 0

    def __post_init__(self) -> None:
        self.put("final", "settings/f1.json", b"{}")

    def __getattr__(self, name: str) -> Any:
        target = getattr(self.s3, name)
        if name in ("exceptions", "get_paginator"):
            return target

        def asked(**request: Any) -> Any:
            self.dies_before -= 1
            if self.dies_before == 0:
                raise DiedError
            return target(**request)

        return asked

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        assert QueueUrl == SETTINGS.queue_url
        self.sent += [json.loads(entry["MessageBody"])["detail"]["object"]["key"] for entry in Entries]
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}

    def put(self, bucket: str, key: str, body: bytes = b"content", **told: Any) -> None:
        self.s3.upload(bucket, key, body, **({"told": told} if told else {}))
        self.s3.let_pass(2)

    def finish(self, *keys: str) -> None:
        """Write results, as a worker does."""
        for key in keys:
            self.put("final", result_key(key), json.dumps({"source": {"key": key}}).encode())

    def plan(self, job: Job = JOB, seconds: float = 60, settings: PlanBackfillSettings = SETTINGS) -> Plan:
        """Let the planner have a call."""
        client: Any = self
        planner = Planner(settings, client, client, job, time.monotonic() + seconds)
        planner.go_on()
        return planner.plan

    def chunks(self, job: str = "j1") -> dict[str, Chunk]:
        places = [key for key in self.s3.keys("final") if key.startswith(chunks_prefix(job))]
        return {key: Chunk.from_body(self.s3.current("final", key).body) for key in places}

    def planned(self, job: str = "j1") -> list[str]:
        return [key for chunk in self.chunks(job).values() for key in chunk.keys]

    def work_off(self, job: str = "j1") -> None:
        for place, chunk in self.chunks(job).items():
            self.finish(*chunk.keys)
            self.s3.remove("final", place)


@pytest.fixture
def world() -> World:
    return World()


def mixed(world: World) -> None:
    """One of each kind."""
    world.put("final", "results/outdated.jpg.json")
    world.put("images", "replaced.jpg")
    world.finish("replaced.jpg", "orphan.jpg", "orphan" + "x" * 1015 + ".jpg")
    for key in ("new.jpg", "new-1.jpg", "NEW.JPG", "done.jpg", "x" * 1020 + ".jpg", "notes.txt"):
        world.put("images", key)
    world.put("images", "folder.jpg/", b"")
    world.put("images", "frozen.jpg", StorageClass="DEEP_ARCHIVE")
    world.put("images", "replaced.jpg", b"newer")
    world.finish("done.jpg")


# Listings.


@pytest.mark.parametrize("starts_model", [False, True])
def test_a_result_of_the_second_of_its_image_starts_no_model(world: World, starts_model: bool) -> None:
    """Only a look tells whether it is of that image: that of a worker, or of the function of live events."""
    for key in ("a.jpg", "same.jpg", "z.jpg"):
        world.put("images", key)
    world.finish("same.jpg")
    image, result = world.s3.current("images", "same.jpg"), world.s3.current("final", "results/same.jpg.json")
    image.last_modified = result.last_modified
    plan = world.plan(settings=replace(SETTINGS, starts_model=starts_model))
    assert plan.counts["doubtful"] == 1
    if starts_model:
        assert (world.planned(), world.sent) == (["a.jpg", "z.jpg"], ["same.jpg"])
    else:
        assert (world.planned(), world.sent) == (["a.jpg", "same.jpg", "z.jpg"], [])


def test_what_a_listing_shows_to_be_out_of_date_is_planned(world: World) -> None:
    world.put("images", "outdated.jpg")
    world.finish("outdated.jpg")
    world.s3.let_pass(60)
    world.put("final", "settings/f1.json")
    mixed(world)
    world.s3.objects["final"]["results/outdated.jpg.json"].pop()
    plan = world.plan()
    long = "x" * 1020 + ".jpg"
    assert sorted(world.planned()) == sorted(["NEW.JPG", "new-1.jpg", "new.jpg", "outdated.jpg", "replaced.jpg", long])
    assert {chunk.fingerprint for chunk in world.chunks().values()} == {"f1"}
    assert max(len(chunk.keys) for chunk in world.chunks().values()) == 3
    assert dict(plan.counts) == {
        "listed": 10,
        "planned": 6,
        "chunks": 2,
        "done": 1,
        "missing": 5,  # one of them is archived, and one has a key without room for the name
        "outdated": 1,
        "stale": 1,
        "orphaned": 1,
    }
    assert dict(plan.left_out) == {"suffix": 1, "folder_marker": 1, "archived": 1}
    assert world.sent == []
    assert world.s3.keys("images") == sorted(world.s3.objects["images"]), "the bucket is as it was"


def test_a_second_plan_of_a_bucket_that_is_done_has_nothing_and_costs_two_listings(world: World) -> None:
    for number in range(19):
        world.put("images", f"{number}.jpg")
    world.put("images", "x" * 1020 + ".jpg")
    world.plan()
    world.work_off()
    world.s3.requests.clear()
    second = replace(JOB, id="j2")
    assert world.plan(second).counts == {"listed": 20, "done": 20}
    assert world.chunks("j2") == {}
    asked = [request[:2] for request in world.s3.requests]
    assert asked.count(("ListObjectsV2", "images")) == asked.count(("ListObjectsV2", "final")) == 1
    assert sorted(set(asked)) == [
        ("GetObject", "final"),
        ("HeadObject", "final"),
        ("ListObjectsV2", "final"),
        ("ListObjectsV2", "images"),
        ("PutObject", "final"),
    ]
    assert len(asked) == 6, "one more for the key without room for the name"


def test_a_deep_one_plans_what_is_done_too(world: World) -> None:
    mixed(world)
    world.plan(replace(JOB, is_deep=True))
    assert set(world.planned()) >= {"done.jpg", "new.jpg"}
    assert "frozen.jpg" not in world.planned()


def test_only_a_sweep_tells_of_orphans(world: World) -> None:
    mixed(world)
    world.plan()
    assert world.sent == []
    world.finish("of another scope.txt")
    plan = world.plan(replace(JOB, id="j2", removes_orphans=True))
    assert plan.left_out["result_out_of_scope"] == 1
    assert sorted(world.sent) == ["orphan.jpg", "orphan" + "x" * 1015 + ".jpg", "outdated.jpg"]


def test_a_prefix_is_all_that_is_listed(world: World) -> None:
    for key in ("a/1.jpg", "b/1.jpg", "b/2.jpg"):
        world.put("images", key)
    world.finish("a/2.jpg", "b/2.jpg")
    assert world.plan(replace(JOB, source=Source(prefix="b/"), removes_orphans=True)).counts["listed"] == 2
    assert (world.planned(), world.sent) == (["b/1.jpg"], [])
    # Of a deployment that looks at a prefix only, nothing else is listed either.
    settings = replace(SETTINGS, source_prefixes=("b/",))
    assert world.plan(replace(JOB, id="j2"), settings=settings).counts["listed"] == 2


@pytest.mark.parametrize(
    ("prefix", "prefixes", "listed"),
    [
        ("", ("",), ""),
        ("a/", ("",), "a/"),
        ("", ("in/2026/", "in/2027/"), "in/202"),
        ("in/", ("in/2026/", "out/"), "in/2026/"),
        ("in/2026/11", ("in/",), "in/2026/11"),
        ("other/", ("in/",), "other/"),
    ],
)
def test_as_little_as_possible_is_listed(prefix: str, prefixes: tuple[str, ...], listed: str) -> None:
    assert prefix_to_list(prefix, Scope(prefixes, ())) == listed


def test_an_empty_bucket_is_planned_at_once(world: World) -> None:
    assert world.plan().phase == "done"
    assert world.chunks() == {}


# Calls that end, in time or not.


def calls_until_done(world: World, job: Job) -> int:
    """Have calls without time until all is planned."""
    return 1 + sum(1 for _ in iter(lambda: world.plan(job, seconds=-1).phase, "done"))


def test_a_call_without_time_goes_one_key_further(world: World) -> None:
    mixed(world)
    assert calls_until_done(world, JOB) > 8
    other = World()
    mixed(other)
    other.plan()
    assert sorted(world.planned()) == sorted(other.planned())
    told, at_once = (json.loads(one.s3.current("final", plan_key("j1")).body)["counts"] for one in (world, other))
    assert told | {"chunks": 0} == at_once | {"chunks": 0}


@pytest.mark.fault("Backfill: the planner dies before any request, workers go on and keys come meanwhile")
@pytest.mark.parametrize("checkpoint_seconds", [-1.0, 60.0])
def test_a_planner_that_dies_loses_no_key(monkeypatch: pytest.MonkeyPatch, checkpoint_seconds: float) -> None:
    monkeypatch.setattr(planning, "_CHECKPOINT_SECONDS", checkpoint_seconds)
    deaths = 0
    for request in itertools.count(1):
        world = World()
        keys = {f"{number:02}.jpg" for number in range(11)}
        for key in sorted(keys):
            world.put("images", key)
        world.dies_before = request
        try:
            world.plan()
        except DiedError:
            deaths += 1
        else:
            break
        planned = set(world.planned())
        world.work_off()
        for key in ("00-new.jpg", "05-new.jpg", "99-new.jpg"):
            world.put("images", key)
        world.dies_before = 0
        assert world.plan().phase == "done"
        # What came before the place where it went on has an event of its own.
        assert planned | set(world.planned()) >= keys
        world.work_off()
        assert world.plan(replace(JOB, id="j2")).counts["missing"] in (0, 1, 2, 3)
    assert deaths > 4


def test_of_two_planners_at_once_one_leaves_it_to_the_other(world: World) -> None:
    for number in range(9):
        world.put("images", f"{number}.jpg")
    world.plan(seconds=-1)
    client: Any = world
    slow = Planner(SETTINGS, client, client, JOB, time.monotonic() + 60)
    assert world.plan().phase == "done"
    with pytest.raises(errors.ServiceUnavailableError, match="Another call is planning"):
        slow.go_on()
    assert set(world.planned()) == {f"{number}.jpg" for number in range(9)}
    assert world.plan().phase == "done"


# Lists.


def inventory(world: World, *files: list[dict[str, str]], job: Job = JOB) -> Job:
    """Put an inventory where the tool copies it to, as AWS writes it."""
    fields = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "StorageClass", "EncryptionStatus")
    defaults = dict(zip(fields, ("images", "", "v", "true", "false", "7", "STANDARD", "SSE-S3"), strict=True))
    places = []
    for number, rows in enumerate(files):
        text = io.StringIO(newline="")
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows((defaults | row).values() for row in rows)
        places.append(list_key(job.id, number, ".csv.gz"))
        world.put("final", places[-1], gzip.compress(text.getvalue().encode()))
    source = Source(Kind.INVENTORY, name="s3://lists/manifest.json", fields=fields, files=tuple(places))
    return replace(job, source=source)


def csv_list(world: World, *lines: str, job: Job = JOB) -> Job:
    place = list_key(job.id, 0, ".csv")
    world.put("final", place, "".join(f"{line}\r\n" for line in lines).encode())
    return replace(job, source=Source(Kind.CSV, name="keys.csv", files=(place,)))


ODD_KEYS = ['a b/ü,"1".jpg', "plus+and%20.JPG", "line\nbreak.jpg", "日本.jpg"]


def test_an_inventory_is_planned_by_what_it_says_of_each_object(world: World) -> None:
    named: list[dict[str, str]] = [{"Key": quote_plus(key)} for key in ODD_KEYS]
    left_out = [
        {"Key": "old.jpg", "IsLatest": "false"},
        {"Key": "gone.jpg", "IsDeleteMarker": "true"},
        {"Key": "frozen.jpg", "StorageClass": "GLACIER"},
        {"Key": "theirs.jpg", "EncryptionStatus": "SSE-C"},
        {"Key": "notes.txt"},
    ]
    plan = world.plan(inventory(world, named, [], left_out))
    assert sorted(world.planned()) == sorted(ODD_KEYS)
    assert dict(plan.left_out) == {"not_current": 2, "archived": 1, "customer_key": 1, "suffix": 1}
    assert (plan.counts["listed"], plan.counts["planned"]) == (9, 4)


def test_a_csv_list_is_planned(world: World) -> None:
    plan = world.plan(csv_list(world, *(f"images,{quote_plus(key)}" for key in ODD_KEYS), "images,v.jpg,version"))
    assert sorted(world.planned()) == sorted([*ODD_KEYS, "v.jpg"])
    assert plan.counts["chunks"] == 2


def test_a_list_goes_on_where_a_call_ended(world: World) -> None:
    job = inventory(world, [{"Key": f"{n}.jpg"} for n in range(5)], [{"Key": f"{n}.jpg"} for n in range(5, 9)])
    assert calls_until_done(world, job) > 18, "a row of each phase by a call"
    assert sorted(world.planned()) == [f"{n}.jpg" for n in range(9)]


def damage(world: World, job: Job, number: int = -1) -> None:
    place = job.source.files[number]
    body = world.s3.current("final", place).body
    world.put("final", place, body[: len(body) // 2])


@pytest.mark.fault("Backfill: a list that is damaged, incomplete or of something else")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda world: csv_list(world, "images,1.jpg", "other,2.jpg"), "line 2: bucket 'other'"),
        (lambda world: csv_list(world, "images,1.jpg", "", "images,2.jpg"), "line 2 is empty"),
        (lambda world: csv_list(world, "images,1.jpg", "2.jpg"), "line 2: 1 columns"),
        (lambda world: csv_list(world, "images,1.jpg", "images,%FF.jpg"), "line 2"),
        (lambda world: inventory(world, [{"Key": "1.jpg"}], [{"Key": "2.jpg", "Bucket": "other"}]), "bucket 'other'"),
        (lambda world: inventory(world, [{"Key": "1.jpg"}], [{"Key": "2.jpg", "Size": "big"}]), "line 1"),
    ],
)
def test_of_a_list_that_is_wrong_nothing_is_planned(world: World, make: Callable[[World], Job], message: str) -> None:
    with pytest.raises(ListError, match=message):
        world.plan(make(world))
    assert world.chunks() == {}


def test_of_a_list_that_is_damaged_nothing_is_planned(world: World) -> None:
    job = inventory(world, [{"Key": "1.jpg"}], [{"Key": f"{n}.jpg"} for n in range(100)])
    damage(world, job)
    with pytest.raises(ListError, match=r"00001\.csv\.gz of s3://lists/manifest\.json is damaged"):
        world.plan(job)
    world.s3.remove("final", job.source.files[1])
    with pytest.raises(ListError, match=r"There is no file .*00001\.csv\.gz"):
        world.plan(job)
    assert world.chunks() == {}


# The steps of the workflow.


@pytest.fixture
def steps(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(clients, "s3", lambda: world)
    monkeypatch.setattr(clients, "sqs", lambda: world)
    return world


REQUEST = {"source": {"kind": "listing", "prefix": ""}, "deep": False, "removes_orphans": True}


def test_a_scheduled_job_is_written_down_once(steps: World) -> None:
    steps.put("images", "a.jpg")
    answers = [planning.plan_backfill({"job": "tick", "request": REQUEST}, lambda: 60) for _ in range(2)]
    assert answers == [{"is_done": True, "planned_images": 1, "planned_chunks": 1}] * 2
    job = json.loads(steps.s3.current("final", job_key("tick")).body)
    assert (job["job"], job["removes_orphans"], job["source"]) == ("tick", True, {"kind": "listing", "prefix": ""})
    assert len(steps.s3.objects["final"][job_key("tick")]) == 1


@pytest.mark.parametrize("body", [None, b"{}", b"[", b'{"job": "j1", "created_at": "", "source": {"kind": "parquet"}}'])
def test_a_job_that_is_not_there_or_none_is_named(steps: World, body: bytes | None) -> None:
    if body is not None:
        steps.put("final", job_key("j1"), body)
    with pytest.raises(errors.BackfillNotFoundError, match=r"jobs/j1/job\.json"):
        planning.plan_backfill({"job": "j1"}, lambda: 60)


def test_a_wrong_list_has_the_name_that_the_workflow_ends_with(steps: World) -> None:
    job = csv_list(steps, "wrong")
    steps.put("final", job_key("j1"), json.dumps(job.to_json()).encode())
    with pytest.raises(errors.BackfillListError, match="line 1"):
        planning.plan_backfill({"job": "j1"}, lambda: 60)


def count(world: World, *, left: Any = None, error: Any = None, works_off: bool = True) -> tuple[dict[str, Any], Any]:
    told = {"job": "j1", "execution": "j1-2", "left": left, "error": error, "works_off": works_off}
    answer = planning.count_backfill(told | {"max_concurrency": 3})
    summary = world.s3.current("final", summary_key("j1"))
    return answer, summary and json.loads(summary.body)


def test_chunks_are_mapped_while_that_helps(steps: World) -> None:
    for number in range(7):
        steps.put("images", f"{number}.jpg")
    steps.plan()
    first, summary = count(steps)
    assert (first["left_images"], first["left_chunks"], first["rounds"], first["goes_on"]) == (7, 3, 0, True)
    assert summary is None
    steps.s3.remove("final", next(iter(steps.chunks())))
    second, _ = count(steps, left=first)
    assert (second["left_images"], second["goes_on"]) == (4, True)
    third, summary = count(steps, left=second)
    assert (third["goes_on"], third["is_incomplete"], summary["outcome"], summary["left_images"]) == (
        False, True, "incomplete", 4,
    )  # fmt: skip
    steps.work_off()
    last, summary = count(steps, left=second)
    assert (last["is_incomplete"], summary["outcome"], summary["counts"]["planned"]) == (False, "succeeded", 7)


@pytest.mark.parametrize(
    ("body", "used"),
    [
        (concurrency_body("j1-2", 8), 8),
        (concurrency_body("j1-1", 8), 3),  # of an execution that was paused
        (concurrency_body("j1-2", 0), 1),
        (b'{"execution": "j1-2"}', 3),
        (b"[", 3),
        (None, 3),
    ],
)
def test_a_round_works_on_as_many_chunks_as_was_said_since(steps: World, body: bytes | None, used: int) -> None:
    steps.put("images", "a.jpg")
    steps.plan()
    if body is not None:
        steps.put("final", concurrency_key("j1"), body)
    answer, _ = count(steps)
    assert (answer["goes_on"], answer["max_concurrency"]) == (True, used)


def test_a_hosted_model_has_its_chunks_worked_off_by_runs(steps: World) -> None:
    steps.put("images", "a.jpg")
    steps.plan()
    answer, summary = count(steps, works_off=False)
    assert (answer["goes_on"], answer["is_incomplete"], summary["outcome"]) == (False, False, "planned")


def test_a_plan_that_failed_is_summed_up_by_its_error(steps: World) -> None:
    cause = json.dumps({"errorMessage": "line 1: no", "errorType": "BackfillListError"})
    answer, summary = count(steps, error={"Error": "BackfillListError", "Cause": cause})
    assert (summary["outcome"], answer["goes_on"]) == ("failed", False)
    assert summary["error"] == answer["error"] == {"type": "BackfillListError", "message": "line 1: no"}
    answer, _ = count(steps, error={"Error": "States.Timeout", "Cause": "text"})
    assert answer["error"] == {"type": "BackfillError", "message": "States.Timeout: text"}


@pytest.mark.parametrize(
    ("left", "before", "goes"),
    [
        (Left(0, 0), None, False),
        (Left(9, 1), None, True),
        (Left(9, 1, 1), Left(9, 1), False),
        (Left(8, 1, 1), Left(9, 1), True),
        (Left(9, 9, 1), Left(9, 1), True),  # taken apart
        (Left(1, 1, 5), Left(9, 1, 4), False),
    ],
)
def test_how_long_a_backfill_goes_on(left: Left, before: Left | None, goes: bool) -> None:
    assert goes_on(left, before) is goes


@given(st.sampled_from(Kind), st.text(), st.lists(st.text()), st.booleans(), st.booleans())
def test_a_job_is_read_as_it_was_written(kind: Kind, name: str, files: list[str], deep: bool, orphans: bool) -> None:
    source = Source(prefix=name) if kind is Kind.LISTING else Source(kind, name=name, files=tuple(files))
    job = Job(id="j", created_at="t", source=source, is_deep=deep, removes_orphans=orphans)
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job
