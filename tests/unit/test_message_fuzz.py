"""Whatever a message holds, its neighbours are analyzed and only it may come back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from batch_vision.core.events import SourceImage, parse_message
from lambdas.analyze_images.handler import handler
from tests.unit.conftest import FakeBackend
from tests.unit.test_analyze_handler import Context, Queue, backend, failures, message, queue

__all__ = ["backend", "queue"]  # fixtures

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.text(max_size=20) | st.sampled_from(["a.jpg", "folder/", "%ff", "+", "a" * 1025, "..", "../x", "\ud800"])


def either(right: Any) -> st.SearchStrategy[Any]:
    """The right thing, or anything."""
    return right | VALUES


RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "eventName": either(st.sampled_from(["ObjectCreated:Put", "s3:ObjectCreated:Copy", "ObjectRemoved:Delete"])),
        "eventTime": either(st.datetimes().map(str) | st.just("9999-12-31T23:59:59.999-14:00")),
        "eventSource": either(st.sampled_from(["aws:s3", "batch-vision:requeue"])),
        "s3": either(
            st.fixed_dictionaries(
                {
                    "bucket": either(st.fixed_dictionaries({"name": either(st.just("source"))})),
                    "object": either(
                        st.fixed_dictionaries(
                            {"key": either(KEYS)},
                            optional={
                                "size": either(st.integers(0, 10**30)),
                                "versionId": either(st.just("null")),
                                "eTag": either(st.text(max_size=5)),
                            },
                        )
                    ),
                }
            )
        ),
    },
)
BODIES = st.text() | VALUES.map(json.dumps) | st.lists(RECORDS, max_size=4).map(lambda it: json.dumps({"Records": it}))
GOOD = (
    '{"eventName": "ObjectCreated:Put", "eventTime": "2026-01-01", "s3": {"bucket": {"name": "source"}, "object": %s}}'
)


@settings(max_examples=1500, deadline=None)
@given(BODIES)
def test_no_body_makes_the_reading_fail(body: str) -> None:
    images, problems = parse_message(body, "source")
    assert all(1 <= len(image.key.encode()) <= 1024 and image.bucket == "source" for image in images)
    assert all(isinstance(problem, str) and len(problem) < 2000 for problem in problems)


class Unhurried(Context):
    """Time enough on a machine that has other work."""

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


@pytest.mark.timeout(300)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES)
@example('{"Records": [' + GOOD % '{"key": "a.jpg", "size": 1e999}' + "]}")
@example('{"Records": [' + GOOD % '{"key": "a.jpg", "size": Infinity}' + "]}")
@example('{"Records": [' + GOOD % '{"key": "a.jpg"}' + "]}")
@example('{"Records": ' + "[" * 20_000 + "]" * 20_000 + "}")
@example("[" * 20_000)
def test_no_body_touches_a_neighbour_or_leaves_the_handler_as_an_exception(
    backend: FakeBackend, queue: Queue, s3: Any, upload: Callable[..., SourceImage], body: str
) -> None:
    good = upload("good.jpg")
    answer = handler({"Records": [message("any", body=body), message("good", good)]}, Unhurried())  # type: ignore[arg-type]
    assert set(failures(answer)) <= {"any"}
    assert "good.jpg" not in [entry["Key"] for entry in s3.list_objects_v2(Bucket="source").get("Contents", [])]
    assert s3.head_object(Bucket="final", Key="processed/good.jpg.json")
