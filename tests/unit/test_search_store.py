"""The store of searches: what is current, what is found, and that nothing on the disk can make it wrong."""

from __future__ import annotations

import gzip
import json
import sqlite3
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batch_vision.aws.catalog import catalog_key
from batch_vision.aws.index import read_index
from batch_vision.core.catalog import tombstone
from batch_vision.core.errors import CatalogDamagedError, IndexDamagedError
from batch_vision.core.index import CURSOR, Header, Limits, segment_key
from batch_vision.core.times import from_text
from batch_vision.operator.errors import OperatorError, WrongInputError
from batch_vision.operator.search.query import Order, Query
from batch_vision.operator.search.store import Store
from tests.unit.fake_s3 import FakeS3

HOSTILE = "line 1/\u2028\x1b[31m\n<script>\u202e%+.jpg"
A, B = "model/a", "model/b"


def said(name: str, confidence: float, kind: str | None = "custom_label") -> dict[str, Any]:
    return {"name": name, "kind": kind, "confidence": confidence}


def dropped(key: str = "a.jpg", uploaded: str = "08:00", finished: str = "08:10", **more: Any) -> dict[str, Any]:
    """A line of a drop-off bucket; times are of one day."""
    return {
        "schema_version": 2, "finished_at": f"2026-11-20T{finished}:00.000Z", "key": key, "version_id": f"v-{uploaded}",
        "etag": f"e-{uploaded}", "uploaded_at": f"2026-11-20T{uploaded}:00.000Z", "size_bytes": 5, "width": 6,
        "height": 4, "status": "processed", "error_type": None, "image_key": f"processed/{key}", "backend": "b",
        "model": A, "predictions": [said("crack", 91.25)], "anomaly": None, "attempts": 1, "throttles": 0,
        "duration_ms": 9,
    } | more  # fmt: skip


def in_place(key: str = "a.jpg", recorded: str = "08:10", version: str | None = "v1", **more: Any) -> dict[str, Any]:
    """A line of an existing bucket."""
    line = dropped(key, finished=recorded) | {"version_id": version, "recorded_at": f"2026-11-20T{recorded}:00.000Z"}
    del line["image_key"]
    return line | {"result_key": f"results/{key}.json", "fingerprint": "f1"} | more


def deleted(key: str = "a.jpg", recorded: str = "08:20") -> dict[str, Any]:
    return tombstone(key, f"2026-11-20T{recorded}:00.000Z")


class Catalog:
    """The final bucket of a stack, and the stores of those who search it."""

    def __init__(self) -> None:
        self.s3 = FakeS3("final")
        self.stack: Any = SimpleNamespace(name="pile", final_bucket_name="final", identity="uuid-1", s3=self.s3)
        self._numbers = count()

    def write(self, *lines: dict[str, Any], at: str = "08:30") -> str:
        """Write a catalog object."""
        key = catalog_key(from_text(f"2026-11-20T{at}"), f"{next(self._numbers):04}")
        self.s3.upload("final", key, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode())
        return key

    def compact(self, *keys: str, cursor: bool = True) -> str:
        """Make a segment of catalog objects."""
        lines = [line for key in keys for line in self.current(key).decode().split("\n") if line]
        header = json.dumps(Header(keys[0], keys[-1], len(lines)).as_json())
        segment = segment_key(keys[0])
        self.s3.upload("final", segment, gzip.compress("".join(f"{one}\n" for one in (header, *lines)).encode()))
        if cursor:
            before = read_index(self.s3, "final").cursor.segments  # type: ignore[arg-type]
            told = {"last_key": keys[-1], "segments": [*before, (segment, self.etag(segment))]}
            self.s3.upload("final", CURSOR, json.dumps(told).encode())
        return segment

    def etag(self, key: str) -> str:
        stored = self.s3.current("final", key)
        assert stored
        return stored.etag

    def current(self, key: str) -> bytes:
        stored = self.s3.current("final", key)
        assert stored
        assert stored.body is not None
        return stored.body

    def open(self) -> Store:
        store = Store(self.stack)
        store.refresh()
        return store

    def lines(self, query: Query | None = None, order: Order = Order.OLDEST) -> list[dict[str, Any]]:
        with self.open() as store:
            return list(store.select(query or Query(), order))

    def keys(self, **query: Any) -> list[str]:
        return [line["key"] for line in self.lines(Query(**query))]

    def asked(self, operation: str, prefix: str) -> int:
        return sum((one, key[: len(prefix)]) == (operation, prefix) for one, _, key in self.s3.requests)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Catalog()


def only(lines: list[dict[str, Any]]) -> dict[str, Any]:
    (line,) = lines
    return line


# What is current.


@pytest.mark.parametrize("is_turned", [False, True], ids=["in order", "the other way round"])
@pytest.mark.parametrize(
    ("lines", "current"),
    [
        pytest.param(
            [
                dropped(predictions=[said("crack", 90)]),
                dropped(uploaded="08:05", finished="08:15", status="rejected", predictions=[], error_type="BadError"),
            ],
            1,
            id="rejected after processed",
        ),
        pytest.param(
            [dropped(uploaded="08:05", finished="08:15"), dropped(uploaded="08:00", finished="08:20")],
            0,
            id="an older upload analyzed later",
        ),
        pytest.param([in_place(), deleted()], None, id="deleted"),
        pytest.param([in_place(), deleted(), in_place(recorded="08:30")], 2, id="deleted and put there again"),
        pytest.param(
            [in_place(version="v1"), in_place(recorded="08:20", version="v2"), in_place(recorded="08:30")],
            2,
            id="the latest version removed, so the older one is there again",
        ),
        pytest.param(
            [in_place(version="v1"), deleted(), in_place(recorded="08:25", version="v3", etag="e-v1")],
            2,
            id="an older version restored as a new one",
        ),
        pytest.param(
            [dropped(model=A), dropped(finished="09:00", model=B)], 1, id="two models"
        ),
        pytest.param(
            [
                {"finished_at": "2026-11-20T09:00:00.000Z", "key": "a.jpg", "version_id": "v0", "status": "processed",
                 "size_bytes": 5, "error_type": None, "image_key": "processed/a.jpg", "backend": "b", "attempts": 1,
                 "prediction": {"name": "stain", "confidence": 60.0}, "anomaly": None, "duration_ms": 1},
                dropped(),
            ],
            1,
            id="a line of version 1, which tells no time of the upload",
        ),
    ],
)  # fmt: skip
def test_what_is_current(catalog: Catalog, lines: list[dict[str, Any]], current: int | None, is_turned: bool) -> None:
    """Whatever the order in which the lines came, in one refresh or one after the other."""
    for line in reversed(lines) if is_turned else lines:
        catalog.write(line)
        found = catalog.lines()
    wanted = [] if current is None else [lines[current]["finished_at"]]
    assert [line["finished_at"] for line in found] == wanted
    assert len(catalog.lines(Query(is_history=True))) == len(lines)
    catalog.stack.identity = "another"  # so that all is read at once
    assert catalog.lines() == found


def test_the_result_as_it_stands_decides_between_lines_of_one_second(catalog: Catalog) -> None:
    first, second = in_place(version="v1", etag="e1"), in_place(version="v2", etag="e2")
    mark = {"upload": "v1", "fingerprint": "f1", "status": "processed"}
    catalog.s3.upload("final", "results/a.jpg.json", b"{}", metadata=mark)
    catalog.write(first, second)
    assert only(catalog.lines())["version_id"] == "v1"
    catalog.write(deleted("b.jpg", "08:10"), in_place("b.jpg"))
    assert catalog.keys() == ["a.jpg"]  # there is no result of b.jpg


def test_doubled_lines_are_one(catalog: Catalog) -> None:
    again = dropped(finished="08:11")  # another attempt of the same upload: what was told first stays
    first = catalog.write(dropped(), dropped(), in_place("b.jpg"))
    catalog.write(again, in_place("b.jpg"), at="08:40")
    assert len(catalog.lines(Query(is_history=True))) == 2
    catalog.compact(first)
    with catalog.open() as store:
        assert store.count(Query(is_history=True)) == 2
        assert store.facets(Query())["label"] == {"crack": 2}


# What is read.


def test_segments_first_and_then_what_is_behind_the_cursor_and_nothing_twice(catalog: Catalog) -> None:
    compacted = [catalog.write(dropped(f"{number}.jpg"), at=f"08:3{number}") for number in range(3)]
    catalog.write(dropped("3.jpg"), at="08:50")
    catalog.compact(*compacted)
    assert catalog.keys() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert (catalog.asked("GetObject", "catalog/"), catalog.asked("GetObject", "index/dt=")) == (1, 1)
    catalog.s3.requests.clear()
    catalog.write(dropped("late.jpg"), at="08:40")  # of a function that hung
    assert len(catalog.keys()) == 5
    assert (catalog.asked("GetObject", "catalog/"), catalog.asked("GetObject", "index/dt=")) == (1, 0)


def test_a_segment_beyond_the_cursor_doubles_nothing(catalog: Catalog) -> None:
    key = catalog.write(dropped())
    catalog.compact(key, cursor=False)
    assert catalog.keys() == ["a.jpg"]
    with catalog.open() as store:
        assert store.count(Query(is_history=True)) == 1


def test_without_an_index_only_the_end_of_the_catalog_is_listed_again(catalog: Catalog) -> None:
    catalog.write(dropped("old.jpg"), at="01:00")
    catalog.write(dropped("new.jpg"), at="08:30")
    assert len(catalog.keys()) == 2
    catalog.write(dropped("too-old.jpg"), at="08:13")  # no function lives so long
    catalog.write(dropped("late.jpg"), at="08:15")
    assert sorted(catalog.keys()) == ["late.jpg", "new.jpg", "old.jpg"]


def test_keys_and_names_that_are_odd(catalog: Catalog) -> None:
    odd = dropped(HOSTILE, predictions=[said(HOSTILE, 80.0), said("\0", 5.0)])
    key = catalog.write(odd, dropped("b.jpg"))
    broken = json.dumps(dropped("c.jpg", predictions=[said("\ud800", 7.0)]))
    catalog.s3.upload("final", catalog_key(from_text("2026-11-20T08:41"), "x"), f"{broken}\n".encode())
    catalog.s3.upload("final", "catalog/notes.txt", b"not ours")
    catalog.compact(key)
    assert only(catalog.lines(Query(any_of=(HOSTILE,))))["key"] == HOSTILE
    assert catalog.keys(any_of=("\0",)) == [HOSTILE]
    assert catalog.keys(prefix="line 1/\u2028\x1b") == [HOSTILE]
    assert catalog.keys(any_of=("?",)) == ["c.jpg"]


def test_of_an_interrupted_load_nothing_is_lost(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    first = catalog.compact(catalog.write(dropped("1.jpg"), at="08:30"))
    second = catalog.compact(catalog.write(dropped("2.jpg"), at="08:31"))
    with monkeypatch.context() as patched:
        get = catalog.s3.get_object

        def interrupted(**request: Any) -> Any:
            if request["Key"] == second:
                raise KeyboardInterrupt
            return get(**request)

        patched.setattr(catalog.s3, "get_object", interrupted)
        patched.setattr("batch_vision.operator.search.store._PARALLEL", 1)
        with pytest.raises(KeyboardInterrupt), Store(catalog.stack) as store:
            store.refresh()
    catalog.s3.requests.clear()
    with catalog.open() as store:
        assert store.count(Query()) == 2
        assert store.notes == []
    assert catalog.asked("GetObject", first) == 0


def test_one_that_was_killed_while_it_was_made_is_made_anew(catalog: Catalog) -> None:
    segment = catalog.compact(catalog.write(dropped()))
    with catalog.open() as store:
        (store.folder / "unsafe").touch()
    catalog.s3.requests.clear()
    with catalog.open() as store:
        assert (store.count(Query()), len(store.notes)) == (1, 1)
        assert "when its process or the machine ended" in store.notes[0]
    assert catalog.asked("GetObject", segment) == 0  # its copy was whole


@pytest.mark.parametrize("kind", ["no database", "cut off", "broken inside", "older"])
def test_a_damaged_or_older_store_is_made_anew(catalog: Catalog, kind: str) -> None:
    catalog.compact(catalog.write(*(dropped(f"{number}.jpg") for number in range(300))))
    with catalog.open() as store:
        path = store.folder / "catalog.sqlite"
    content = path.read_bytes()
    match kind:
        case "no database":
            path.write_bytes(b"x" * 10_000)
        case "cut off":
            path.write_bytes(content[:8192])
        case "broken inside":
            path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        case "older":
            database = sqlite3.connect(path)
            database.execute("PRAGMA user_version = 0")
            database.close()
    with catalog.open() as store:
        assert store.count(Query()) == 300
        assert "made anew" in store.notes[0]


def test_a_damaged_copy_of_a_segment_is_copied_again(catalog: Catalog) -> None:
    with catalog.open() as store:
        folder = store.folder / "segments"
    segment = catalog.compact(catalog.write(dropped()))
    name = f"{catalog.etag(segment).strip('"')}-{segment.replace('/', '-')}"
    (folder / name).write_bytes(catalog.current(segment)[:-9])
    assert catalog.keys() == ["a.jpg"]


def test_an_index_that_was_deleted_and_made_anew(catalog: Catalog) -> None:
    """Its segments have the names of the old ones, and other ends; meanwhile there is none."""
    first = catalog.write(dropped("1.jpg"), at="08:30")
    segment = catalog.compact(first)
    assert catalog.keys() == ["1.jpg"]
    second = catalog.write(dropped("2.jpg"), at="08:40")
    for key in (CURSOR, segment):
        catalog.s3.remove("final", key)
    assert catalog.keys() == ["1.jpg", "2.jpg"]
    assert catalog.compact(first, second) == segment
    with catalog.open() as store:
        assert (store.count(Query(is_history=True)), store.notes) == (2, [])
    catalog.s3.remove("final", CURSOR)
    catalog.compact(first)
    with catalog.open() as store:
        assert [row["key"] for row in store.select(Query(), Order.OLDEST)] == ["1.jpg", "2.jpg"]
        assert "the index of the catalog was made anew" in store.notes[0]
        assert len(list((store.folder / "segments").iterdir())) == 1


def test_a_segment_that_is_deleted_while_it_is_read(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = catalog.compact(catalog.write(dropped()))
    get = catalog.s3.get_object

    def late(**request: Any) -> Any:
        if request["Key"] == segment:
            catalog.s3.remove("final", segment)
        return get(**request)

    monkeypatch.setattr(catalog.s3, "get_object", late)
    with pytest.raises(OperatorError, match=f"{segment} was deleted.*Search again"):
        catalog.open()
    assert catalog.keys() == ["a.jpg"]


def test_a_stack_that_was_made_again_has_a_store_of_its_own(catalog: Catalog) -> None:
    catalog.write(dropped())
    with catalog.open() as store:
        old = store.folder
    catalog.s3.objects.clear()
    catalog.stack.identity = "uuid-2"
    assert catalog.keys() == []
    assert not old.exists()


def test_too_many_lines_are_refused_before_they_are_copied(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = catalog.compact(catalog.write(*(dropped(f"{number}.jpg") for number in range(5))))
    monkeypatch.setattr("batch_vision.operator.search.store.LIMITS", Limits(most_lines=5))
    with pytest.raises(OperatorError, match=r"more than 4 lines.*docs/search.md"):
        Store(catalog.stack, most_lines=4).refresh()
    assert not list((Store(catalog.stack).folder / "segments").glob("*"))
    assert catalog.asked("GetObject", segment) == 1
    catalog.write(*(dropped(f"{number}.png") for number in range(5)), at="08:50")
    with pytest.raises(OperatorError, match="more than 9 lines"):
        Store(catalog.stack, most_lines=9).refresh()
    assert len(catalog.keys()) == 10


def test_a_folder_that_cannot_be_written(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(WrongInputError, match="XDG_CACHE_HOME"):
        catalog.open()


def test_searches_at_once_each_see_what_was_there_when_they_began(catalog: Catalog) -> None:
    """One waits for the other to read; and what is read later does not change what a search sees."""
    catalog.write(*(dropped(f"{number}.jpg") for number in range(50)))
    counts, failed = [], []

    def look() -> None:
        try:
            with catalog.open() as store:
                counts.append(store.count(Query()))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counts, failed) == ([50] * 4, [])
    with catalog.open() as first:
        catalog.write(dropped("more.jpg"), at="08:50")
        with catalog.open() as second:
            assert (first.count(Query()), second.count(Query())) == (50, 51)


@pytest.mark.parametrize("line", ['{"schema_version": 2,', '{"schema_version": 2, "key": "a"}', '{"key": 5}', "[]"])
@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_line_that_no_function_writes(catalog: Catalog, line: str, *, is_compacted: bool) -> None:
    good = catalog.write(dropped())
    key = catalog_key(from_text("2026-11-20T08:41"), "x")
    catalog.s3.upload("final", key, f"{line}\n".encode())
    named = f"'{catalog.compact(good, key)}'.*, line 3 " if is_compacted else f"'{key}'"
    with pytest.raises(IndexDamagedError if is_compacted else CatalogDamagedError, match=f"{named}.*[Dd]elete"):
        catalog.open()


@pytest.mark.parametrize("name", ["zzz", "20261120T080000.000Z", "20261120T110000.000Z-r", "20261120T106100.000Z-r"])
def test_what_is_put_into_the_catalog_by_hand_is_not_read(catalog: Catalog, name: str) -> None:
    catalog.write(dropped())
    catalog.s3.upload("final", f"catalog/dt=2026-11-20/hour=10/{name}.jsonl", b"not ours")
    assert [catalog.keys(), catalog.keys()] == [["a.jpg"]] * 2


def test_doubles_do_not_use_up_the_room(catalog: Catalog) -> None:
    same = [dropped(f"{number}.jpg") for number in range(5)]
    for number, at in enumerate(("08:40", "08:50", "08:55"), 6):
        catalog.write(*same, dropped(f"{number}.jpg"), at=at)
        with Store(catalog.stack, most_lines=13) as store:
            store.refresh()
            assert store.count(Query(is_history=True)) == number


def test_what_was_read_before_it_was_compacted_does_not_use_up_the_room_twice(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch_vision.operator.search.store.LIMITS", Limits(most_lines=5))

    def lines(most: int) -> int:
        with Store(catalog.stack, most_lines=most) as store:
            store.refresh()
            return store.count(Query(is_history=True))

    keys = [catalog.write(*(dropped(f"{at}/{number}") for number in range(5)), at=f"08:{at}") for at in (30, 40)]
    assert lines(10) == 10
    catalog.compact(keys[0])
    assert lines(10) == 10  # by the headers
    catalog.compact(keys[1])
    catalog.write(dropped("late"), at="08:50")
    assert lines(15) == 11  # by the lines
    with pytest.raises(OperatorError, match="more than 10 lines"):
        lines(10)


def test_only_the_user_may_read_the_store(catalog: Catalog) -> None:
    with catalog.open() as store:
        assert store.folder.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("is_new", [False, True])
def test_a_store_that_cannot_be_opened_is_not_deleted(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    if not is_new:
        catalog.write(dropped())
        assert catalog.keys() == ["a.jpg"]

    def refuse(*_: Any, **__: Any) -> None:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", refuse)
        with pytest.raises(WrongInputError, match="unable to open"):
            catalog.open()
    catalog.s3.requests.clear()
    with catalog.open() as store:
        assert store.notes == []
    assert catalog.asked("GetObject", "catalog/") == 0


# What is found.


@pytest.fixture
def pile(catalog: Catalog) -> Iterator[Store]:
    catalog.write(
        dropped("1/a.jpg", finished="08:01", predictions=[said("crack", 95), said("stain", 40)]),
        dropped("1/b.jpg", finished="08:02", predictions=[said("stain", 70), said("crack", 65)], model=B),
        dropped("2/c.jpg", finished="08:03", predictions=[said("crack", 99, "text"), said("crack", 10)]),
        dropped("2/d.jpg", finished="08:04", predictions=[], status="rejected", error_type="BadError"),
        dropped("e.jpg", finished="08:05", predictions=[], anomaly={"is_anomalous": True, "confidence": 88.0}),
        dropped("f.jpg", finished="08:06", predictions=[said("#ff0000", 30, "color"), said("#00ff00", 20, "color")]),
        dropped("1/a.jpg", uploaded="07:00", finished="08:07", predictions=[said("old", 50)]),
    )
    with catalog.open() as store:
        yield store


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, "abcdef"),
        ({"any_of": ("crack",)}, "abc"),
        ({"any_of": ("crack", "#ff0000", "nobody")}, "abcf"),
        ({"all_of": ("crack", "stain")}, "ab"),
        ({"all_of": ("crack", "nobody")}, ""),
        ({"any_of": ("crack",), "none_of": ("stain",)}, "c"),
        ({"none_of": ("stain", "#ff0000")}, "cde"),
        ({"any_of": ("crack",), "min_confidence": 65, "max_confidence": 95}, "ab"),
        ({"any_of": ("crack",), "kind": "custom_label", "max_confidence": 50}, "c"),
        ({"kind": "text"}, "c"),
        ({"kind": "custom_label", "max_confidence": 50}, "ac"),
        ({"min_confidence": 88}, "ace"),
        ({"max_confidence": 70}, "bf"),
        ({"model": B}, "b"),
        ({"prefix": "1/"}, "ab"),
        ({"prefix": "2/d"}, "d"),
        ({"prefix": "9"}, ""),
        ({"prefix": "9/a"}, ""),
        ({"prefix": "e"}, "e"),
        ({"prefix": "1/b", "any_of": ("crack",)}, "b"),
        ({"status": "rejected"}, "d"),
        ({"is_anomalous": True}, "e"),
        ({"is_anomalous": False}, ""),
        ({"since": from_text("2026-11-20T08:02"), "until": from_text("2026-11-20T08:04")}, "bcd"),
        ({"since": from_text("2026-11-20T08:02"), "min_confidence": 80}, "ce"),
        ({"since": from_text("2026-11-20T08:02"), "max_confidence": 98, "any_of": ("crack",)}, "b"),
        ({"until": from_text("2026-11-20T08:02"), "any_of": ("crack",), "model": A}, "a"),
        ({"is_history": True}, "abcdefa"),
        ({"is_history": True, "any_of": ("old",)}, "a"),
        ({"any_of": ("old",)}, ""),
    ],
)
@pytest.mark.parametrize("few", [0, 10_000], ids=["walked", "sorted"])
def test_conditions(pile: Store, monkeypatch: pytest.MonkeyPatch, query: dict[str, Any], names: str, few: int) -> None:
    """However they are asked of SQLite, and in whatever order; counts and facets agree with what is found."""
    for name in ("_FEW", "_MANY"):
        monkeypatch.setattr(f"batch_vision.operator.search.selecting.{name}", few)
    wanted = Query(**query)
    for order in Order:
        found = list(pile.select(wanted, order))
        assert sorted(row["key"][-5] for row in found) == sorted(names)
        assert list(pile.select(wanted, order, 2, 1)) == found[1:3]
    in_time = sorted(found, key=lambda row: row["finished_at"])
    assert list(pile.select(wanted, Order.OLDEST)) == in_time
    assert list(pile.select(wanted, Order.NEWEST)) == in_time[::-1]
    assert pile.count(wanted) == len(names)
    facets = pile.facets(wanted)
    assert sum(facets["status"].values()) == len(names)
    labels: dict[str, int] = {}
    for row in found:
        for name in {one["name"] for one in row["predictions"]}:
            labels[name] = labels.get(name, 0) + 1
    assert facets["label"] == labels


def test_orders_by_confidence_put_last_what_has_none(pile: Store) -> None:
    def keys(order: Order, **query: Any) -> str:
        return "".join(row["key"][-5] for row in pile.select(Query(**query), order))

    assert keys(Order.LEAST_CONFIDENT) == "fbeacd"
    assert keys(Order.MOST_CONFIDENT) == "caebfd"
    assert keys(Order.LEAST_CONFIDENT, any_of=("crack",)) == "bac"
    assert keys(Order.MOST_CONFIDENT, any_of=("crack", "stain")) == "cab"
    assert keys(Order.LEAST_CONFIDENT, all_of=("crack", "stain")) == "ba"
    assert keys(Order.SMALLEST_MARGIN)[:2] == "ba"


def test_facets_and_rows(pile: Store) -> None:
    assert pile.facets(Query(any_of=("crack",))) == {
        "label": {"crack": 3, "stain": 2},
        "kind": {"custom_label": 3, "text": 1},
        "status": {"processed": 3},
        "reason": {},
        "verdict": {},
        "model": {A: 2, B: 1},
        "media": {},
        "prefix": {"1/": 2, "2/": 1},
    }
    row = only(list(pile.select(Query(model=B), Order.NEWEST)))
    assert pile.row(row["id"]) == row
    assert pile.row(10**6) is None
    assert pile.models() == [A, B]


def test_folders_without_end_are_counted_together(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_vision.operator.search.schema._MOST_FOLDERS", 2)
    catalog.write(*(dropped(f"{number}/a.jpg") for number in range(5)))
    with catalog.open() as store:
        assert store.facets(Query())["prefix"] == {"…": 3, "0/": 1, "1/": 1}
        assert store.count(Query(prefix="4/")) == 1
        assert store.count(Query(prefix="…")) == 0


def test_a_prefix_of_some_folders(catalog: Catalog) -> None:
    catalog.write(dropped("10/a.jpg"), dropped("11/b.jpg", predictions=[said("stain", 50)]), dropped("2/1/c.jpg"))
    with catalog.open() as store:
        assert store.count(Query(prefix="1")) == 2
        facets = store.facets(Query(prefix="1"))
        assert (facets["prefix"], facets["label"]) == ({"10/": 1, "11/": 1}, {"crack": 1, "stain": 1})


@pytest.mark.parametrize("last", ["a", "\ud7ff", "\U0010ffff"])
def test_the_end_of_a_prefix(catalog: Catalog, last: str) -> None:
    after = chr(0xE000 if last == "\ud7ff" else min(ord(last) + 1, 0x10FFFF))
    keys = [f"x{last}", f"x{last}y", f"x{last}\U0010ffff", "y"]
    catalog.write(*(dropped(key) for key in [*keys, *([f"x{after}"] if last != "\U0010ffff" else [])]))
    assert sorted(catalog.keys(prefix=f"x{last}")) == sorted(keys[:3])
