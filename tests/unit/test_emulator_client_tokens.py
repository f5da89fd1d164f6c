"""How long, and between whom, a client token of the emulated Lookout for Vision holds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from local.config import LOOKOUT_MODEL_ARN, LOOKOUT_MODEL_VERSION, LOOKOUT_PROJECT_NAME
from local.emulator.faults import FaultPlan
from local.emulator.hosting import HostedModel, SettingsHolder, Timing
from local.emulator.lookout_for_vision import LookoutForVision, injectable_errors, service_model, status_names
from local.emulator.settings import Settings

BASE = f"/2020-11-20/projects/{LOOKOUT_PROJECT_NAME}/models/{LOOKOUT_MODEL_VERSION}"
HOUR_SECONDS = 3600


class Bench:
    """The service without a server, and a clock that the test turns."""

    def __init__(self) -> None:
        self.now_seconds = 0.0
        timing = Timing(lambda: self.now_seconds, lambda _: None)
        settings = SettingsHolder(Settings(start_seconds=0, stop_seconds=0))
        nothing_learned: Any = SimpleNamespace(labels=())
        self.model = HostedModel(status_names(service_model()), nothing_learned, settings, timing)
        faults = FaultPlan(injectable_errors(service_model()))
        self.service = LookoutForVision({LOOKOUT_MODEL_ARN: self.model}, faults, timing)

    def start(self, token: str) -> int:
        headers = {"x-amzn-client-token": token}
        return self.service.answer("POST", f"{BASE}/start", headers, b'{"MinInferenceUnits": 1}').status

    def stop(self) -> int:
        return self.service.answer("POST", f"{BASE}/stop", {}, b"").status


def test_token_holds_for_eight_hours() -> None:
    bench = Bench()
    assert (bench.start("a"), bench.stop()) == (202, 202)
    bench.now_seconds += 8 * HOUR_SECONDS - 1
    assert bench.start("a") == 202
    assert bench.model.describe()["status"] == "TRAINED"
    bench.now_seconds += 1
    assert bench.start("a") == 202
    state = bench.model.describe()
    assert (state["status"], state["starts"]) == ("HOSTED", 2)


def test_repetition_does_not_prolong_a_token() -> None:
    bench = Bench()
    bench.start("a")
    bench.stop()
    for _ in range(8):
        bench.now_seconds += HOUR_SECONDS
        bench.start("a")
    assert bench.model.describe()["starts"] == 2


def test_calls_at_once_with_one_token_start_once() -> None:
    bench = Bench()
    together = threading.Barrier(8)

    def start(_: int) -> int:
        together.wait()
        return bench.start("a")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(start, range(8))) == {202}
    assert bench.model.describe()["starts"] == 1
