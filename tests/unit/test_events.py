from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from batch_vision.core.events import UNKNOWN_SIZE_BYTES, message_for, parse_message

NAMES = ["café.jpg", "a+b.jpg", "R&D 50%.png", "a b/c+d (1).JPG", "日本/x.png", "100%25.jpeg", "x=1&y=2.png", "~.jpg"]


def record(
    key: str = "a.jpg", bucket: str = "source", event: str = "ObjectCreated:Put", **extra: Any
) -> dict[str, Any]:
    described = {"key": key, "size": 5, "eTag": "abc", "versionId": "v1"} | extra
    return {
        "eventName": event,
        "eventTime": "2026-11-20T08:00:00.123Z",
        "s3": {"bucket": {"name": bucket}, "object": described},
    }


def body(*records: Any) -> str:
    return json.dumps({"Records": list(records)})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encode", [quote_plus, quote], ids=["AWS", "LocalStack"])
def test_peer_failing_keys_decoded_with_replace(name: str, encode: Any) -> None:
    """Peers decode keys with replace("+", " "): such names are never found."""
    images, problems = parse_message(body(record(encode(name))), "source")
    assert [image.key for image in images] == [name]
    assert problems == []


def test_peer_failing_only_the_first_record_is_read() -> None:
    images, _ = parse_message(body(*(record(f"{i}.jpg") for i in range(10))), "source")
    assert [image.key for image in images] == [f"{i}.jpg" for i in range(10)]


def test_peer_failing_the_test_event_of_a_deployment_is_an_image() -> None:
    text = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "source"})
    assert parse_message(text, "source") == ([], [])


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".PnG", "", ".txt"])
def test_peer_failing_suffixes_are_ignored(suffix: str) -> None:
    """Whether it is an image is for its bytes to say, not for its name."""
    images, _ = parse_message(body(record(f"a{suffix}")), "source")
    assert [image.key for image in images] == [f"a{suffix}"]


def test_a_record_is_read_whole() -> None:
    (image,), _ = parse_message(body(record()), "source")
    assert (image.bucket, image.version_id, image.etag, image.size_bytes) == ("source", "v1", "abc", 5)
    assert image.uploaded_at.isoformat() == "2026-11-20T08:00:00.123000+00:00"


def test_other_buckets_and_other_events_are_left_out() -> None:
    records = [record(bucket="other"), record(event="ObjectRemoved:Delete"), record(key="mine.jpg")]
    images, problems = parse_message(body(*records), "source")
    assert [image.key for image in images] == ["mine.jpg"]
    assert problems == []


@pytest.mark.parametrize(
    "text",
    ["", "hello", "[]", "3", '{"a": 1}', '{"Records": 5}', "null", "[" * 20_000, '{"Records":' * 20_000, "9" * 5000],
)
def test_rubbish_is_a_problem_and_no_error(text: str) -> None:
    images, problems = parse_message(text, "source")
    assert images == []
    assert len(problems) == 1


@pytest.mark.parametrize(
    "bad",
    [
        *(7, None, [], {}, record(key="%ff"), record(key="\ud800"), record(key=""), record(key="x" * 1025)),
        *(record(size=size) for size in ("much", 1e999, float("nan"), True, None, -2, 1.5)),
        *(record() | {"eventTime": text} for text in ("yesterday", 5, None, "0001-01-01T00:00:00+14:00")),
        *(record(versionId=5), record(eTag=[]), record(key=None), record() | {"s3": 1}, record() | {"eventName": {}}),
    ],
)
def test_a_bad_record_hides_no_good_one(bad: Any) -> None:
    images, problems = parse_message(body(bad, record("good.jpg")), "source")
    assert [image.key for image in images] == ["good.jpg"]
    assert len(problems) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_message_of_ours_reads_back(name: str) -> None:
    (image,), _ = parse_message(body(record(quote_plus(name))), "source")
    assert parse_message(message_for([image]), "source") == ([image], [])
    assert parse_message(message_for([image]), "source")[0][0].is_resent


def test_a_record_without_a_size_is_read_and_looked_up_later() -> None:
    without = record()
    del without["s3"]["object"]["size"]
    (image,), problems = parse_message(body(without), "source")
    assert (image.size_bytes, image.is_resent, problems) == (UNKNOWN_SIZE_BYTES, False, [])
    assert parse_message(message_for([image]), "source") == ([image], [])
