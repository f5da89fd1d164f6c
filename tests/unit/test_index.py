"""The index of the catalog: what compaction makes of it, what it costs, and what is left by a call that dies."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batch_vision.aws import clients
from batch_vision.aws.catalog import catalog_key, write_lines
from batch_vision.aws.index import (
    list_segments,
    move_cursor,
    parse_segment,
    put_segment,
    read_header,
    read_index,
)
from batch_vision.core import index
from batch_vision.core.catalog import tombstone, upgraded
from batch_vision.core.errors import CatalogDamagedError, IndexDamagedError
from batch_vision.core.index import CURSOR, Cursor, Header, segment_key
from batch_vision.runs import compacting
from batch_vision.runs.compacting import compact
from lambdas.compact_catalog import handler as module
from tests.unit.fake_s3 import FakeS3, refused
from tests.unit.index_model import DELETED, Rules, explore
from tests.unit.test_analyze_handler import Context
from tests.unit.test_catalog import NEW, OLD

BEGIN = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def read_segment(s3: Any, bucket: str, key: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in parse_segment(s3.get_object(Bucket=bucket, Key=key)["Body"], key)[1]]


@pytest.mark.fault("Compaction: two calls at once")
@pytest.mark.fault("Compaction: a function that hangs writes to the catalog late")
def test_no_line_is_lost_or_doubled_however_calls_interleave() -> None:
    states, ends, wrong = explore(Rules())
    assert wrong == set()
    assert states > 40_000
    assert ends > 500


@pytest.mark.fault("Compaction: somebody deletes the index, or parts of it")
def test_no_line_is_lost_however_the_index_is_deleted() -> None:
    states, ends, wrong = explore(Rules(), DELETED)
    assert wrong == set()
    assert states > 1_000
    assert ends > 50


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        (Rules(behind=timedelta(0)), "lost"),
        (Rules(moves_on_condition=False), "gone back"),
        (Rules(puts_on_condition=False), "doubled"),
        (Rules(name_of=lambda _first_key, last_key: segment_key(last_key)), "not all at the end"),
    ],
)
def test_the_model_finds_what_is_wrong(rules: Rules, wrong: str) -> None:
    assert explore(rules)[2] == {wrong}


def test_the_model_finds_that_a_cursor_is_not_to_be_believed() -> None:
    assert explore(Rules(is_true=lambda _cursor, _there: True), DELETED)[2] == {"lost"}


class World:
    def __init__(self) -> None:
        self.s3 = FakeS3()
        self.limits = index.Limits()

    def write(self, moment: datetime, *lines: dict[str, Any], name: str = "r") -> str:
        key = catalog_key(moment, name)
        write_lines(self.s3, "final", key, lines)  # type: ignore[arg-type]
        return key

    def compact(self, now: datetime = NOW, left: Callable[[], float] = lambda: 300.0) -> dict[str, Any]:
        return compact(self.s3, "final", now, left, self.limits)  # type: ignore[arg-type]

    def segments(self) -> list[str]:
        return [entry["Key"] for entry in list_segments(self.s3, "final")]  # type: ignore[arg-type]

    def lines(self) -> list[dict[str, Any]]:
        return [line for key in self.segments() for line in read_segment(self.s3, "final", key)]  # type: ignore[arg-type]

    def header(self, key: str) -> Header | None:
        return read_header(self.s3, "final", key)  # type: ignore[arg-type]

    def cursor(self) -> str:
        return read_index(self.s3, "final").cursor.last_key  # type: ignore[arg-type]


@pytest.fixture
def world() -> World:
    return World()


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def test_segments_have_the_lines_of_the_catalog_in_its_order_and_the_form_of_now(world: World) -> None:
    odd = NEW | {"key": "a\u2028b\n\x1b[31m<script>+%2B.jpg"}
    first = world.write(BEGIN, odd, NEW | {"key": "b"})
    last = world.write(BEGIN + minutes(1), OLD)
    night = world.write(BEGIN + timedelta(hours=17), tombstone("b", "2026-11-21T01:00:00.000Z"))
    # Of today: too few objects for a segment.
    world.write(NOW - minutes(20), NEW)
    answer = world.compact()
    assert world.segments() == [segment_key(first)]
    assert segment_key(first) == "index/dt=2026-11-20/20261120T080000.000Z-r.jsonl.gz"
    assert world.header(segment_key(first)) == Header(first, last, 3)
    assert world.lines() == [odd, NEW | {"key": "b"}, upgraded(OLD)]
    assert answer == {"segments": 1, "lines": 3, "is_done": True, "last_key": last}
    assert world.cursor() == last
    packed = world.s3.get_object("final", segment_key(first))["Body"].read()
    assert json.loads(gzip.decompress(packed).split(b"\n")[0])["index_version"] == 1
    assert world.compact(NOW + timedelta(days=1))["segments"] == 1
    assert world.segments()[1] == segment_key(night)
    assert len(world.lines()) == 5


@pytest.mark.fault("Compaction: a function that hangs writes to the catalog late")
def test_what_is_written_lately_and_what_is_of_somebody_else_waits(world: World) -> None:
    world.limits = index.Limits(few_objects=2)
    world.s3.upload("final", "catalog/", b"")
    world.s3.upload("final", "catalog/dt=2026-11-21/note.txt", b"not ours")
    world.write(NOW - minutes(30), NEW)
    assert world.compact() | {"last_key": ""} == {"segments": 0, "lines": 0, "is_done": True, "last_key": ""}
    settled = world.write(NOW - minutes(16.01), NEW | {"key": "b"})
    world.write(NOW - minutes(15.9), NEW | {"key": "c"})
    assert world.compact()["last_key"] == settled
    assert [line["key"] for line in world.lines()] == ["a.jpg", "b"]


def test_a_segment_has_so_many_lines_and_no_more(world: World) -> None:
    world.limits = index.Limits(most_lines=5)
    keys = [world.write(BEGIN + minutes(number), NEW, NEW, name=str(number)) for number in range(4)]
    large = world.write(BEGIN + minutes(9), *[NEW] * 9)
    assert world.compact()["segments"] == 3
    headers = [world.header(key) for key in world.segments()]
    assert headers == [Header(keys[0], keys[1], 4), Header(keys[2], keys[3], 4), Header(large, large, 9)]


def test_a_call_whose_time_is_up_leaves_the_rest_to_the_next_one(world: World) -> None:
    for number in range(3):
        world.write(BEGIN + minutes(number), NEW | {"key": str(number)})
    left = iter([300.0, 20.0, 20.0])
    answer = world.compact(left=lambda: next(left))
    assert (answer["segments"], answer["lines"], answer["is_done"]) == (1, 1, False)
    assert world.compact(left=lambda: 20.0)["segments"] == 0
    assert world.compact() | {"last_key": ""} == {"segments": 1, "lines": 2, "is_done": True, "last_key": ""}
    assert [line["key"] for line in world.lines()] == ["0", "1", "2"]


@pytest.mark.fault("Compaction: it dies between a segment and the cursor")
def test_a_call_that_dies_before_it_moves_the_cursor_is_gone_on_from(world: World, monkeypatch: Any) -> None:
    last = world.write(BEGIN, NEW)
    real = world.s3.put_object

    def die(**request: Any) -> Any:
        if request["Key"] == CURSOR:
            raise refused("InternalError", 500, "", "PutObject")
        return real(**request)

    monkeypatch.setattr(world.s3, "put_object", die)
    with pytest.raises(ClientError):
        world.compact()
    monkeypatch.undo()
    assert (len(world.segments()), world.cursor()) == (1, "")
    world.s3.requests.clear()
    assert world.compact() == {"segments": 0, "lines": 0, "is_done": True, "last_key": last}
    assert world.cursor() == last
    assert not any(key.startswith("catalog/dt=") for _, _, key in world.s3.requests), "no line is read again"


@pytest.mark.fault("Compaction: two calls at once")
def test_a_slower_call_goes_on_from_where_the_segment_of_a_faster_one_ends(world: World, monkeypatch: Any) -> None:
    keys = [world.write(BEGIN + minutes(number), NEW | {"key": str(number)}) for number in range(3)]
    real, left = compacting.put_segment, iter([300.0, 20.0, 20.0])

    def be_slower(*request: Any) -> bool:
        monkeypatch.undo()
        world.compact(left=lambda: next(left))  # of one object
        assert world.cursor() == keys[0]
        return bool(real(*request))

    monkeypatch.setattr(compacting, "put_segment", be_slower)
    assert world.compact() == {"segments": 1, "lines": 2, "is_done": True, "last_key": keys[2]}
    assert [line["key"] for line in world.lines()] == ["0", "1", "2"]


def test_the_cursor_is_moved_only_by_who_knows_where_it_is(world: World) -> None:
    first, last = world.write(BEGIN, NEW), world.write(BEGIN + minutes(1), NEW)
    world.compact()
    for etag in ("", '"another"'):
        move_cursor(world.s3, "final", Cursor(first), etag)  # type: ignore[arg-type]
        assert world.cursor() == last


@pytest.mark.fault("Compaction: somebody deletes the index, or parts of it")
def test_an_index_that_is_half_deleted_is_made_anew_with_what_is_left(world: World) -> None:
    world.limits = index.Limits(most_lines=2)
    for number in range(6):
        world.write(BEGIN + minutes(number), NEW | {"key": str(number)})
    world.compact()
    first, second, third = world.segments()
    for gone in ([CURSOR, first], [first], [second, third]):
        for key in gone:
            world.s3.remove("final", key)
        assert world.compact()["segments"] == len({*gone} - {CURSOR})
        assert world.segments() == [first, second, third]
        assert [line["key"] for line in world.lines()] == [*"012345"]


def test_a_million_images_cost_less_than_six_cents_of_requests(world: World) -> None:
    """Once, where a batch of ten images is a catalog object. Prices of us-east-1: docs/cost.md."""
    world.limits = index.Limits(most_lines=10_000)
    line = json.dumps(NEW).encode() + b"\n"
    for number in range(2000):
        world.s3.upload("final", catalog_key(BEGIN + timedelta(seconds=number), "r"), 10 * line)
    assert world.compact()["lines"] == 20_000
    asked = Counter(operation for operation, _, _ in world.s3.requests)
    dollars = (0.4 * asked.pop("GetObject") + 5 * (asked.pop("ListObjectsV2") + asked.pop("PutObject"))) / 1e6
    assert not asked
    assert 0.04 < dollars * 1e6 / 20_000 < 0.05  # and less in segments of ten times as many lines
    world.s3.requests.clear()
    world.compact()
    assert len(world.s3.requests) == 3, "a call that finds nothing new"


def test_only_the_beginning_of_a_segment_is_read_for_its_header(s3: Any) -> None:
    header = Header(catalog_key(BEGIN, "a"), catalog_key(BEGIN, "b"), 2)
    lines = b"".join(json.dumps(NEW | {"key": str(number)}).encode() + b"\n" for number in range(2))
    packed = gzip.compress(lines, compresslevel=0) + gzip.compress(b"", 0) * 1000
    assert put_segment(s3, "final", header, packed)
    assert not put_segment(s3, "final", header, b"")
    asked: list[dict[str, Any]] = []
    s3.meta.events.register("before-parameter-build.s3.GetObject", lambda params, **_: asked.append(dict(params)))
    assert read_header(s3, "final", segment_key(header.first_key)) == header
    assert read_header(s3, "final", segment_key(header.last_key)) is None
    assert asked[0]["Range"] == "bytes=0-8191"
    assert [line["key"] for line in read_segment(s3, "final", segment_key(header.first_key))] == ["0", "1"]


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        b"",
        gzip.compress(b'{"index_version": 2}\n'),
        gzip.compress(b"[]\n"),
        gzip.compress(b'{"index_version": 1, "first_key": "a", "last_key": "b", "lines": 2}\n' + b"{"),
        gzip.compress(b'{"index_version": 1, "first_key": "a", "last_key": "b", "lines": 1}\n'),
        gzip.compress(b'{"index_version": 1, "first_key": "a", "last_key": "b", "lines": 0}\n')[:-4],
    ],
    ids=str.split("plain empty version list broken-line line-missing cut-off"),
)
def test_what_is_no_segment_is_named_with_the_remedy(content: bytes) -> None:
    with pytest.raises(IndexDamagedError, match=r"'index/x'.*delete all objects under index/"):
        list(parse_segment(io.BytesIO(content), "index/x")[1])


@pytest.mark.fault("Compaction: an object of the catalog or of the index is damaged")
def test_damaged_objects_are_named(world: World) -> None:
    bad = catalog_key(BEGIN, "bad")
    world.s3.upload("final", bad, b'{"broken\n')
    with pytest.raises(CatalogDamagedError, match=f"{bad}.*broken.*Delete"):
        world.compact()
    world.s3.upload("final", CURSOR, b"{}")
    with pytest.raises(IndexDamagedError, match=r"index/cursor\.json is b'{}'"):
        world.compact()


class Patient(Context):
    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 300_000


def test_the_function(s3: Any, tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    tell()
    monkeypatch.setattr(clients, "s3", lambda: s3)
    write_lines(s3, "final", catalog_key(BEGIN, "r"), [NEW])
    assert module.handler({"anything": 1}, Patient()) | {"last_key": ""} == {
        "segments": 1, "lines": 1, "is_done": True, "last_key": "",
    }  # fmt: skip
