from __future__ import annotations

from datetime import UTC, datetime

import pytest

from batch_vision.aws.catalog import catalog_key
from batch_vision.core.events import SourceImage
from batch_vision.core.names import names_for, same_names_lock
from tests.unit.conftest import NOW


def image(key: str, version: str = "v1") -> SourceImage:
    return SourceImage("source", key, version, "", 1, NOW)


@pytest.mark.parametrize("key", ["a.jpg", "a b/c+d (1).JPG", "日本/x.png", "no-suffix", "folder/", "a.json"])
def test_the_usual_name_is_the_key(key: str) -> None:
    assert names_for(image(key))[0] == key


@pytest.mark.parametrize(
    "key", ["a" * 1024, "é" * 512, "x" * 1020 + ".jpg", "日" * 341 + "a", "d/" * 512, "." + "s" * 1023]
)
def test_names_with_all_that_is_put_around_them_fit_into_s3(key: str) -> None:
    assert len(key.encode()) == 1024
    for name in names_for(image(key)):
        for place in (f"processed/{name}", f"rejected/{name}.json", f"processed/{name}.mask.png"):
            assert len(place.encode()) <= 1024


def test_long_names_stay_apart_and_keep_their_suffix() -> None:
    first, second = "x" * 1019 + "1.jpg", "x" * 1019 + "2.jpg"
    assert names_for(image(first))[0] != names_for(image(second))[0]
    assert names_for(image(first))[0].endswith(".jpg")


def test_the_other_name_is_of_one_upload_only() -> None:
    assert names_for(image("a.jpg", "v1"))[1] != names_for(image("a.jpg", "v2"))[1]
    assert names_for(image("a.jpg", "v1")) == names_for(image("a.jpg", "v1"))


def test_keys_whose_names_could_collide_share_a_lock() -> None:
    assert same_names_lock("a") == same_names_lock("a.json") == same_names_lock("a.json.json")
    assert same_names_lock("a") == same_names_lock("a.mask.png") == same_names_lock("a.json.mask.png.json")
    assert same_names_lock("a") != same_names_lock("b")


def test_catalog_keys_sort_by_time_across_hours_and_days() -> None:
    times = [datetime(2026, 1, day, hour, 59, 59, 999000, UTC) for day in (9, 10) for hour in (0, 9, 10, 23)]
    keys = [catalog_key(moment, "id") for moment in times]
    assert keys == sorted(keys)
    assert keys[0] == "catalog/dt=2026-01-09/hour=00/20260109T005959.999Z-id.jsonl"
    assert all(catalog_key(moment) < key for moment, key in zip(times, keys, strict=True))
