"""A backfill and live events share what a deployment may ask of a managed model."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from batch_vision.aws import clients
from batch_vision.core.backfills import ASKING, asking_body, is_asking
from batch_vision.core.times import utc_now
from batch_vision.images import sharing, updating
from batch_vision.images.detectors import Detectors
from batch_vision.images.pace import Pace
from batch_vision.images.sharing import BackfillWatch, tell_of_backfill
from benchmarks.managed_pace import Clock
from tests.unit.conftest import FakeBackend
from tests.unit.fake_s3 import FakeS3, refused
from tests.unit.test_analyze_handler import Context
from tests.unit.tool_stack import ENVIRONMENT


@pytest.fixture
def s3() -> Any:
    return FakeS3("final")


def test_live_events_have_their_share_while_a_backfill_asks_and_all_of_it_again_after(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, pace, context = Clock(), Pace(10, 10), Context()
    watch = BackfillWatch(s3, ENVIRONMENT["FINAL_BUCKET_NAME"], clock)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(clients, "s3", lambda: s3)
    monkeypatch.setattr(clients, "sqs", lambda: None)
    monkeypatch.setattr(updating, "detectors", lambda: Detectors("fake", {"fake": FakeBackend()}, {"fake": pace}))
    monkeypatch.setattr(updating, "backfill_watch", lambda: watch)

    def pace_after(seconds: float) -> float:
        clock.now += seconds
        updating.update_results({"Records": []}, context)
        return pace.calls_per_second

    assert pace_after(0) == 10
    tell_of_backfill(s3, ENVIRONMENT["FINAL_BUCKET_NAME"], 180)
    assert pace_after(59) == 10, "a look once in a minute"
    assert pace_after(1) == pytest.approx(2)
    assert [operation for operation, _, key in s3.requests if key == ASKING] == ["GetObject", "PutObject", "GetObject"]
    monkeypatch.setattr(sharing, "utc_now", lambda: utc_now() + timedelta(seconds=181))
    assert pace_after(60) == pytest.approx(10), "it was paused, or died"


def test_what_cannot_be_read_or_written_holds_up_no_image(s3: Any) -> None:
    clock = Clock()
    watch = BackfillWatch(s3, "final", clock)
    tell_of_backfill(s3, "final", 180)
    assert watch.is_asking()
    clock.now = 60

    def refuse(*_: Any, **__: Any) -> Any:
        raise refused("AccessDenied", 403, "", "GetObject")

    s3.get_object = s3.put_object = refuse
    assert watch.is_asking(), "as before"
    tell_of_backfill(s3, "final", 180)


@pytest.mark.parametrize(
    "body", [b"", b"[" * 100_000, b"[]", b"7", b"{}", b'{"asks_until": 7}', b'{"asks_until": "x"}']
)
def test_what_is_no_such_object_says_no(body: bytes) -> None:
    assert not is_asking(body, utc_now())
    assert is_asking(asking_body(utc_now() + timedelta(seconds=5)), utc_now())
