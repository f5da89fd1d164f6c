"""Hosted models: their life, their throughput, their counters and their answers."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Any

from local.emulator.errors import NotRunningError, ThroughputExceededError
from local.emulator.images import decode
from local.emulator.lifecycle import Lifecycle, StatusNames
from local.emulator.throttle import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batch_vision.core.image_limits import ImageLimits
    from local.emulator.pixel_model import Analysis, PixelModel
    from local.emulator.settings import Settings

# A decoded image may take 64 MiB and the analysis a core: more at once would not be faster, only larger.
CONCURRENT_ANALYSES = 2
# What a JPEG may be decoded down to; well above what the model looks at.
DECODED_SIDE_PX = 512


@dataclasses.dataclass(frozen=True)
class Timing:
    """The clock in seconds and the sleep that everything goes by; tests bring their own."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class SettingsHolder:
    """The settings of this moment, and the ones to go back to."""

    def __init__(self, initial: Settings) -> None:
        self._initial = initial
        self.current = initial

    def reset(self) -> None:
        """Go back to the settings of the start-up."""
        self.current = self._initial


class HostedModel:
    """One model of one service; safe for use by several threads at once.

    Attributes
    ----------
    detect_calls
        Calls that were admitted. Refused ones are counted apart, so that no call counts twice.
    throttled_calls
        Calls refused because too many came in.
    not_running_calls
        Calls refused because the model was not running.
    """

    def __init__(self, names: StatusNames, pixel_model: PixelModel, settings: SettingsHolder, timing: Timing) -> None:
        self.pixel_model = pixel_model
        self._settings = settings
        self._timing = timing
        self._lock = threading.RLock()
        self._lifecycle = Lifecycle(names, timing.clock, lambda: settings.current)
        self._bucket = TokenBucket(timing.clock)
        self._slots = threading.BoundedSemaphore(CONCURRENT_ANALYSES)
        self.detect_calls = self.throttled_calls = self.not_running_calls = 0

    @property
    def settings(self) -> Settings:
        """The settings of this moment."""
        return self._settings.current

    @contextlib.contextmanager
    def lifecycle(self) -> Iterator[Lifecycle]:
        """Lock the model's lifecycle for one thread, and yield it."""
        with self._lock:
            self._lifecycle.catch_up()
            yield self._lifecycle

    def start(self, units: int, max_units: int | None, *, fails: bool) -> str:
        """Begin to start; see `Lifecycle.start`."""
        with self.lifecycle() as life:
            status = life.start(units, max_units, fails=fails)
            self._bucket.refill()
            return status

    def stop(self) -> str:
        """Begin to stop; see `Lifecycle.stop`."""
        with self.lifecycle() as life:
            return life.stop()

    def admit(self) -> float:
        """Count one detect call and let it in; return the time of admission in seconds.

        Raises
        ------
        NotRunningError
            If the model is not running.
        ThroughputExceededError
            If its inference units cannot take the call now.
        """
        with self.lifecycle() as life:
            if life.status != life.names.running:
                self.not_running_calls += 1
                raise NotRunningError(life.status)
            units = life.inference_units or 1
            if not self._bucket.try_take(units * self.settings.transactions_per_second_per_unit):
                self.throttled_calls += 1
                raise ThroughputExceededError(f"{units} inference units cannot take more calls now")
            self.detect_calls += 1
            return self._timing.clock()

    def analyse(self, content: bytes, limits: ImageLimits) -> Analysis:
        """Check, decode and analyse an encoded image; see `images.decode` for the errors."""
        with self._slots:
            return self.pixel_model.analyse(decode(content, limits, scaled_to_px=DECODED_SIDE_PX))

    def wait_out(self, admitted_at_seconds: float) -> None:
        """Sleep for what is left of the latency that the settings ask for."""
        wait_out(self._timing, admitted_at_seconds, self.settings.latency_ms)

    def reset(self) -> None:
        """Go back to a model that was never started, with all counters at zero."""
        with self._lock:
            self._lifecycle.reset()
            self._bucket.refill()
            self.detect_calls = self.throttled_calls = self.not_running_calls = 0

    def describe(self) -> dict[str, Any]:
        """Return the state of the model as plain data."""
        with self.lifecycle() as life:
            return {
                "status": life.status,
                "inference_units": life.inference_units,
                "starts": life.starts,
                "stops": life.stops,
                "billed_unit_seconds": round(life.billed_unit_seconds, 3),
                "detect_calls": self.detect_calls,
                "throttled_calls": self.throttled_calls,
                "not_running_calls": self.not_running_calls,
                "labels": list(self.pixel_model.labels),
            }


def wait_out(timing: Timing, admitted_at_seconds: float, latency_ms: float) -> None:
    """Sleep for what is left of a latency since a call was admitted."""
    remaining_seconds = admitted_at_seconds + latency_ms / 1000.0 - timing.clock()
    if remaining_seconds > 0:
        timing.sleep(remaining_seconds)


def change_settings(holder: SettingsHolder, models: Mapping[str, HostedModel], changes: Mapping[str, Any]) -> Settings:
    """Change settings for all models from this moment on; see `Settings.updated` for the error."""
    changed = holder.current.updated(changes)
    with contextlib.ExitStack() as all_models:
        # What is past was under the old settings, so every model catches up first.
        for model in models.values():
            all_models.enter_context(model.lifecycle())
        holder.current = changed
    return changed
