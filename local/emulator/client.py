"""A client of the emulator's control interface, for the local commands and the tests."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, cast

from local.config import PROJECT_VERSION_ARN
from local.emulator.errors import EmulatorError


class EmulatorRequestError(EmulatorError):
    """The emulator refused a control request, or could not be reached."""


class EmulatorClient:
    """Controls a running emulator and reads its state.

    Parameters
    ----------
    url
        Where it serves, such as `http://127.0.0.1:4599`.
    timeout_seconds
        How long to wait for one answer.
    """

    def __init__(self, url: str, timeout_seconds: float = 10.0) -> None:
        self.url = url
        self._timeout_seconds = timeout_seconds

    def is_ready(self) -> bool:
        """Return whether the emulator answers."""
        try:
            return self._call("GET", "health").get("status") == "ready"
        except EmulatorRequestError:
            return False

    def state(self) -> dict[str, Any]:
        """Return the settings, models by ARN, the counters of the image APIs, the jobs of videos and the faults."""
        return self._call("GET", "state")

    def model(self, model_arn: str = PROJECT_VERSION_ARN) -> dict[str, Any]:
        """Return the state of one model: its status, counters and billed_unit_seconds."""
        return cast("dict[str, Any]", self.state()["models"][model_arn])

    def operation(self, name: str) -> dict[str, Any]:
        """Return the counters of one of Rekognition's image APIs: calls, throttled, images."""
        return cast("dict[str, Any]", self.state()["operations"][name])

    def videos(self) -> dict[str, Any]:
        """Return the jobs of videos and their counters, after all whose time has come were announced."""
        return cast("dict[str, Any]", self.state()["videos"])

    def set(self, **settings: float | bool | dict[str, float]) -> dict[str, Any]:
        """Change some settings, see `local.emulator.settings.Settings`, and return all."""
        return self._call("PUT", "settings", settings)

    def inject(
        self,
        operation: str,
        error: str,
        *,
        count: int | None = None,
        probability: float | None = None,
        seed: int | None = None,
    ) -> dict[str, Any]:
        """Make an operation fail: the next `count` calls (1 if nothing is said), or each with a probability.

        What can go wrong, `error`, and what the seed does is said in `local.emulator.faults`.
        """
        fault = {"operation": operation, "error": error, "count": count, "probability": probability, "seed": seed}
        return self._call("POST", "faults", {key: value for key, value in fault.items() if value is not None})

    def clear_faults(self) -> None:
        """Forget the faults that have not happened yet."""
        self._call("DELETE", "faults")

    def force_status(self, status: str, model_arn: str = PROJECT_VERSION_ARN) -> dict[str, Any]:
        """Put a model into any status of its service."""
        return self._call("PUT", "models", {"model_arn": model_arn, "status": status})

    def reset(self) -> dict[str, Any]:
        """Go back to the state of the start-up: models, counters, faults and settings."""
        return self._call("POST", "reset")

    def _call(self, method: str, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the address is the user's own
            f"{self.url}/_emulator/{path}",
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with _opener.open(request, timeout=self._timeout_seconds) as answer:
                return cast("dict[str, Any]", json.load(answer))
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise EmulatorRequestError(f"{method} {path} was refused with {error.code}: {text}") from error
        except OSError as error:
            raise EmulatorRequestError(f"the emulator at {self.url} cannot be reached: {error}") from error


# The emulator is on this machine: a proxy of the environment must not come between.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
