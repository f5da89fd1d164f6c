"""What can be set about the emulated service, at start-up and while it runs."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from local.emulator.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


# The default quotas of us-east-1, us-west-2 and eu-west-1 (Rekognition, Endpoints and quotas).
CALLS_PER_SECOND = {
    "DetectLabels": 50.0,
    "DetectText": 50.0,
    "DetectFaces": 100.0,
    "DetectModerationLabels": 50.0,
    "RecognizeCelebrities": 50.0,
    "DetectProtectiveEquipment": 5.0,
}
ABOVE_ZERO = ("transactions_per_second_per_unit", "video_samples_per_second")
_DAY_SECONDS = 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """The times, rates and billing rule of every emulated model, and what the jobs of videos go by.

    Attributes
    ----------
    start_seconds
        Time from the start call until the model runs. AWS takes 10 to 30 minutes.
    stop_seconds
        Time from the stop call until the model has stopped.
    transactions_per_second_per_unit
        Detect calls a second that one inference unit admits; beyond it calls are refused.
    latency_ms
        Shortest time that an admitted detect call takes, in milliseconds.
    bill_starting
        Whether the time spent starting is billed too. AWS does not say whether it bills it.
    calls_per_second
        Calls a second that each image API of Rekognition admits; beyond it calls are refused. A change names the
        operations that change.
    stop_while_starting_is_invalid
        Whether StopProjectVersion of a model that is STARTING is refused with InvalidParameterException instead of
        ResourceInUseException. Rekognition declares both, and its guide does not say when it answers which.
    video_base_seconds, video_seconds_per_minute
        How long a job of a video takes: so many seconds, and so many more for each minute of the video. Jobs that were
        started keep the end that they had.
    video_job_limit
        Jobs of videos that the account may have open at once, whatever their analysis.
    foreign_jobs
        How many of them other applications have open.
    video_limit_before_token
        Whether a Start is refused at the limit even if its token is that of an earlier one. AWS does not say it.
    video_token_seconds, video_results_seconds, video_page_token_seconds
        How long a client request token is known, a job's results are kept after its end, and the token of a next page
        holds.
    video_samples_per_second
        How often a video is looked at. A video of few seconds has tens of thousands of detections if this is large.
    video_max_bytes
        Largest accepted size of a video, in bytes.
    """

    start_seconds: float = 5.0
    stop_seconds: float = 2.0
    transactions_per_second_per_unit: float = 5.0
    latency_ms: float = 100.0
    bill_starting: bool = False
    stop_while_starting_is_invalid: bool = False
    calls_per_second: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(CALLS_PER_SECOND))
    video_base_seconds: float = 1.0
    video_seconds_per_minute: float = 5.0
    video_job_limit: int = 20
    foreign_jobs: int = 0
    video_limit_before_token: bool = False
    video_token_seconds: float = 7 * _DAY_SECONDS
    video_results_seconds: float = 7 * _DAY_SECONDS
    video_page_token_seconds: float = _DAY_SECONDS
    video_samples_per_second: float = 2.0
    video_max_bytes: int = 10 * 1024**3

    def updated(self, changes: Mapping[str, Any]) -> Settings:
        """Return these settings with some changed.

        Raises
        ------
        ConfigurationError
            If a key is unknown or a value is of the wrong type or out of range.
        """
        allowed = {field.name: field.type for field in dataclasses.fields(self)}
        for key, value in changes.items():
            if key not in allowed:
                raise ConfigurationError(f"unknown setting {key!r}: use one of {', '.join(allowed)}")
            if allowed[key] == "bool":
                if not isinstance(value, bool):
                    raise ConfigurationError(f"setting {key} is {value!r}: use true or false")
            elif key == "calls_per_second":
                self._check_rates(value)
            elif not _is_number(value):
                raise ConfigurationError(f"setting {key} is {value!r}: use a number of 0 or more")
            elif allowed[key] == "int" and not float(value).is_integer():
                raise ConfigurationError(f"setting {key} is {value!r}: use a whole number of 0 or more")
            elif key in ABOVE_ZERO and value == 0:
                raise ConfigurationError(f"setting {key} is 0: use a number above 0")
        rates = {**self.calls_per_second, **changes.get("calls_per_second", {})}
        return dataclasses.replace(self, **{**changes, "calls_per_second": rates})

    def _check_rates(self, rates: object) -> None:
        if not isinstance(rates, dict):
            raise ConfigurationError(
                f'setting calls_per_second is {rates!r}: use an object such as {{"DetectLabels": 5}}'
            )
        for operation, rate in rates.items():
            if operation not in self.calls_per_second:
                raise ConfigurationError(
                    f"setting calls_per_second names {operation!r}: use one of {', '.join(self.calls_per_second)}"
                )
            if not _is_number(rate) or rate == 0:
                raise ConfigurationError(f"setting calls_per_second of {operation} is {rate!r}: use a number above 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
