"""Each key of both listings is told once and rightly, however often the join is interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from batch_vision.core.joining import Join, Listed, Position, State

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
# Few characters, and those around the dot of the suffix, so that keys begin one another.
KEYS = st.text("a-./jsonü", min_size=1, max_size=6)
SECONDS = st.integers(0, 3)
BUCKETS = st.dictionaries(KEYS, SECONDS, max_size=30)


def listing(seconds: Mapping[str, int], suffix: str = "") -> Callable[[str], Iterable[Listed]]:
    """List as S3 does: in the order of the names' bytes, after a key."""

    def place(key: str) -> bytes:
        return f"{key}{suffix}".encode()

    def after(key: str) -> Iterable[Listed]:
        keys = sorted(seconds, key=place)
        rest = [one for one in keys if not key or place(one) > place(key)]
        return (Listed(one, BEGIN + timedelta(seconds=seconds[one])) for one in rest)

    return after


def join(
    objects: Mapping[str, int], results: Mapping[str, int], since: int | None = None, position: Position | None = None
) -> Join:
    settings_since = None if since is None else BEGIN + timedelta(seconds=since)
    return Join(listing(objects), listing(results, ".json"), settings_since, position)


def told(a_join: Iterable[tuple[State, Listed]]) -> list[tuple[State, str]]:
    return [(state, one.key) for state, one in a_join]


@given(BUCKETS, st.data())
def test_each_key_is_told_once_and_as_a_look_at_both_would(objects: dict[str, int], data: st.DataObject) -> None:
    names = st.sampled_from(sorted(objects)) if objects else st.nothing()
    results = data.draw(st.dictionaries(names | KEYS, SECONDS, max_size=30))
    since = data.draw(st.none() | SECONDS)
    found = told(join(objects, results, since))
    assert sorted(key for _, key in found) == sorted(objects.keys() | results.keys())
    for state, key in found:
        if key not in objects:
            assert state is State.ORPHANED
        elif key not in results:
            assert state is State.MISSING
        elif results[key] < objects[key]:
            assert state is State.STALE
        elif since is not None and results[key] < since:
            assert state is State.OUTDATED
        else:
            assert state is (State.DOUBTFUL if results[key] == objects[key] else State.DONE)


@given(BUCKETS, BUCKETS, st.data())
def test_one_that_was_interrupted_goes_on_where_it_was(
    objects: dict[str, int], results: dict[str, int], data: st.DataObject
) -> None:
    whole = told(join(objects, results))
    taken: list[tuple[State, str]] = []
    position = None
    while len(taken) < len(whole):
        part = join(objects, results, position=position)
        taken += told(islice(part, data.draw(st.integers(1, 10))))
        position = Position.from_json(json.loads(json.dumps(part.position.to_json())))
    assert taken == whole


@given(BUCKETS, BUCKETS)
def test_what_is_held_back_is_a_chain_of_keys_that_begin_one_another(
    objects: dict[str, int], results: dict[str, int]
) -> None:
    a_join = join(objects, results)
    for _ in a_join:
        keys = [one.key for one in a_join.position.held]
        # The last one was taken when the one before it was told of: it need not begin with it.
        assert all(longer.startswith(shorter) for shorter, longer in pairwise(keys))


def test_a_key_without_room_for_the_name_is_not_known() -> None:
    long = "x" * 1020
    assert told(join({long: 0, "y": 0}, {"y": 1})) == [(State.UNKNOWN, long), (State.DONE, "y")]


@given(BUCKETS, st.integers(0, 30))
def test_a_result_that_was_written_meanwhile_is_no_orphan(objects: dict[str, int], number: int) -> None:
    part = join(objects, {})
    taken = [one.key for _, one in islice(part, number)]
    rest = told(join(objects, dict.fromkeys(taken, 9), position=part.position))
    assert [state for state, _ in rest] == [State.MISSING] * (len(objects) - len(taken))
