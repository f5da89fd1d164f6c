from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from batch_vision.core.joining import Listed, State, in_order_of_results, join

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
# Few characters, and those around the dot of the suffix, so that keys begin one another.
KEYS = st.sets(st.text("a-./jsonü", min_size=1, max_size=8), max_size=30)
SECONDS = st.integers(0, 3)


def listed(seconds: dict[str, int], suffix: str = "") -> list[Listed]:
    """A listing as S3 gives it: in the order of the names' bytes."""
    return [
        Listed(key, BEGIN + timedelta(seconds=seconds[key]))
        for key in sorted(seconds, key=lambda key: f"{key}{suffix}".encode())
    ]


@given(KEYS)
def test_keys_come_in_the_order_of_their_results(keys: set[str]) -> None:
    found = [one.key for one in in_order_of_results(listed(dict.fromkeys(keys, 0)))]
    assert found == sorted(keys, key=lambda key: f"{key}.json".encode())


@given(st.dictionaries(st.text("a-./jsonü", min_size=1, max_size=6), SECONDS, max_size=30), st.data())
def test_each_key_is_told_once_and_as_a_look_at_both_would(objects: dict[str, int], data: st.DataObject) -> None:
    names = st.sampled_from(sorted(objects)) if objects else st.nothing()
    results = data.draw(st.dictionaries(names | st.text("ab", min_size=1, max_size=4), SECONDS, max_size=30))
    since = data.draw(st.none() | SECONDS)
    told = list(
        join(listed(objects), listed(results, ".json"), None if since is None else BEGIN + timedelta(seconds=since))
    )
    assert sorted(key for _, key in told) == sorted(objects.keys() | results.keys())
    for state, key in told:
        if key not in objects:
            assert state is State.ORPHAN
        elif key not in results:
            assert state is State.MISSING
        elif results[key] <= objects[key]:
            assert state is State.STALE
        else:
            assert state is (State.OUTDATED if since is not None and results[key] < since else State.DONE)


def test_a_key_without_room_for_the_name_is_not_known() -> None:
    long = "x" * 1020
    assert list(join(listed({long: 0, "y": 0}), listed({"y": 1}, ".json"), None)) == [
        (State.UNKNOWN, long),
        (State.DONE, "y"),
    ]
