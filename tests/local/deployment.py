"""The stack of a test process: applied once, by a process of its own, while tests that need none go on.

The apply mostly waits: LocalStack and the emulator take two seconds to start, and the provider then waits a minute for
what is consistent at once here. A process and not a thread, for unit tests change what both would share.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from batch_vision.operator.display import Display
from local import config, environment
from local.environment import EMULATOR_SETTINGS, MODULE_ARGUMENTS, Environment
from local.errors import LocalError
from local.images_bucket import ImagesBucket
from tests.local import permissions
from tests.local.faults import LambdaFaults
from tests.local.stack import Stack

LABELLED = config.REPOSITORY / "local" / "samples" / "labelled"
BACKEND = "rekognition_custom_labels"

# LocalStack takes rate(1 hour) for every full hour: a tick in the middle of a test that did not ask for it.
HALF_A_DAY_AWAY = f"cron(0 {(datetime.now(UTC).hour + 12) % 24} * * ? *)"

# Waits and bounds as short as the tests can bear, through the variables that users have too.
ARGUMENTS = MODULE_ARGUMENTS | {
    "name_prefix": "e2e",
    "schedule_expression": HALF_A_DAY_AWAY,
    "guard_schedule_expression": HALF_A_DAY_AWAY,
    "analyze_timeout_seconds": 10,
    # A child of a Map works on 32 images at a time, which LocalStack takes long for when it is busy.
    "backfill_timeout_seconds": 30,
    "start_timeout_seconds": 20,
    "stop_timeout_seconds": 60,
    # Far above what a redelivery and a slow start take together: a test that wants a stall shortens it for itself.
    "stall_timeout_seconds": 300,
    "drain_poll_seconds": 1,
    "drain_timeout_seconds": 600,
    "success_notifications_enabled": True,
    "images_per_second_per_unit": 40,  # for one poller, as in MODULE_ARGUMENTS
}
TIMES = EMULATOR_SETTINGS | {
    "start_seconds": 2,
    "stop_seconds": 1,
    "latency_ms": 20,
    "transactions_per_second_per_unit": 20,
}

_READY = "the stack is ready"
_END_SECONDS = 90


class Deployment:
    """The stack of this process.

    Attributes
    ----------
    is_used
        Whether a test has had the stack that there is now.
    refused
        What AWS would have refused of all that the stacks did that are no more.
    """

    def __init__(self) -> None:
        self.is_used = False
        self.refused: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._stack: Stack | None = None

    def begin(self) -> None:
        """Begin to apply the stack, if that was not begun yet."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.local.deployment"],
                cwd=config.REPOSITORY,
                stdin=subprocess.PIPE,  # its end is the end of this process, however that ends
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert self._process.stdin is not None
            # Its own ones would differ from these when the hour changes meanwhile.
            print(json.dumps(ARGUMENTS), file=self._process.stdin, flush=True)

    def stack(self) -> Stack:
        """Return the stack, as soon as it is applied; a new one if a test has destroyed the last."""
        if self._stack is not None and self._stack.is_destroyed:
            self.end()
        if self._stack is None:
            self.begin()
            assert self._process is not None
            assert self._process.stdout is not None
            printed = []
            for line in self._process.stdout:
                if line.strip() == _READY:
                    break
                printed.append(line)
            else:
                self.end()
                raise LocalError(f"the stack of the tests could not be applied:\n{''.join(printed)}")
            outputs = json.loads(environment.OUTPUTS_FILE.read_text())
            self._stack = Stack(Environment(outputs, BACKEND), ARGUMENTS)
        return self._stack

    def end(self) -> None:
        """Take down what there is, so that nothing of this process's environment runs."""
        if self._process is None:
            return
        if self._stack is not None:
            self.refused += permissions.refused_calls()
        self._process.terminate()
        try:
            self._process.communicate(timeout=_END_SECONDS)
        finally:
            self._process.kill()
            self._process, self._stack, self.is_used = None, None, False


DEPLOYMENT = Deployment()


@contextmanager
def recorded(
    backend: str,
    arguments: Mapping[str, Any],
    emulator_settings: Mapping[str, Any],
    images_bucket: ImagesBucket | None = None,
) -> Iterator[Environment]:
    """Apply a stack whose functions a test can break and whose calls are recorded, and end it."""
    permissions.RECORDED_CALLS.parent.mkdir(parents=True, exist_ok=True)
    permissions.RECORDED_CALLS.unlink(missing_ok=True)
    environment.down()  # a process that a test before has killed may still be ending
    running = environment.up(
        Display(),
        LABELLED,
        backend=backend,
        dies_with_parent=True,
        arguments=arguments,
        emulator_settings=emulator_settings,
        localstack_settings={
            "BATCH_VISION_LAMBDA_FAULTS": str(LambdaFaults.prepare()),
            "BATCH_VISION_RECORD_CALLS": str(permissions.RECORDED_CALLS),
        },
        emulator_options=[f"--record-calls={permissions.RECORDED_CALLS}"],
        images_bucket=images_bucket,
    )
    try:
        yield running
    finally:
        environment.down()


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Apply the stack with the arguments on standard input, say so, and keep it until that ends or somebody says so."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with recorded(BACKEND, json.loads(sys.stdin.readline()), TIMES):
            print(_READY, flush=True)
            sys.stdin.read()
    except LocalError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
