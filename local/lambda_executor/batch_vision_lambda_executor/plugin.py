"""The LocalStack side: plugs the sandbox in as a Lambda runtime executor."""

from __future__ import annotations

import logging
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localstack import config
from localstack.runtime import hooks
from localstack.services.lambda_.invocation.lambda_models import InvocationResult
from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin
from localstack.services.lambda_.invocation.runtime_executor import LambdaRuntimeException, RuntimeExecutor

from .runtime_api import Invocation
from .sandbox import FunctionConfiguration, Sandbox
from .settings import ExecutorSettings, SettingsError

if TYPE_CHECKING:
    from localstack.services.lambda_.invocation.lambda_models import FunctionVersion

LOG = logging.getLogger(__name__)

EXECUTOR_NAME = "subprocess"
RUNTIME = "python3.13"

# LocalStack gives up on an environment by itself after its own limit, with a message that says nothing of the cause.
_START_MARGIN_SECONDS = 5


def read_settings() -> ExecutorSettings:
    """Read the executor's settings from LocalStack's environment."""
    start_seconds = max(1, config.LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT - _START_MARGIN_SECONDS)
    return ExecutorSettings.from_environment(os.environ, start_seconds=start_seconds)


@hooks.on_infra_start()
def prepare_host_mode() -> None:
    """Check the settings when LocalStack starts, keep S3 data in its own temporary folder, and cache parsed JSONPaths.

    Nothing is done when LocalStack uses another executor.
    """
    if config.LAMBDA_RUNTIME_EXECUTOR != EXECUTOR_NAME:
        return
    try:
        read_settings()
    except SettingsError as error:
        raise SystemExit(f"ERROR: Lambda executor {EXECUTOR_NAME!r}: {error}") from error
    # A fixed folder, whatever TMPDIR says: two LocalStacks on a machine would share it.
    from localstack.services.s3 import provider

    provider.DEFAULT_S3_TMP_DIR = str(Path(tempfile.gettempdir()) / "s3")

    # The parser makes its tables anew for every path that a workflow evaluates: a third of LocalStack's work in a run.
    from localstack.services.stepfunctions.asl.utils import json_path

    json_path.parse = lru_cache(maxsize=1000)(json_path.parse)


class SubprocessRuntimeExecutor(RuntimeExecutor):
    """One execution environment of LocalStack's Lambda: a sandbox on this machine."""

    def __init__(self, id: str, function_version: FunctionVersion) -> None:
        super().__init__(id=id, function_version=function_version)
        self._sandbox: Sandbox | None = None

    def start(self, env_vars: dict[str, Any]) -> None:
        """Start the environment; a handler that cannot be loaded is reported by the invocation that follows."""
        settings = read_settings()
        version = self.function_version
        function = FunctionConfiguration(
            name=version.id.function_name,
            version=version.id.qualifier,
            handler=version.config.handler,
            task_root=version.config.code.get_unzipped_code_location(),
            timeout_seconds=version.config.timeout,
            memory_mb=version.config.memory_size,
            environment={
                **_aws_variables(env_vars),
                **settings.extra_environment,
                **(version.config.environment or {}),
            },
        )
        self._sandbox = Sandbox(function, settings)
        self._sandbox.start()

    def stop(self) -> None:
        """End the environment's processes and remove its folder."""
        if self._sandbox is not None:
            self._sandbox.stop()

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        """Run one event to its end."""
        if self._sandbox is None:
            raise LambdaRuntimeException(f"environment {self.id} has not been started")
        request_id = payload["invoke-id"]
        outcome = self._sandbox.invoke(
            Invocation(
                request_id=request_id,
                function_arn=payload["invoked-function-arn"],
                payload=payload["payload"].encode(),
                trace_id=payload.get("trace-id") or "",
            )
        )
        return InvocationResult(request_id, outcome.payload, is_error=outcome.is_error, logs=outcome.logs)

    def get_logs(self) -> str:
        """Everything the environment has logged so far."""
        return self._sandbox.output() if self._sandbox is not None else ""

    def get_address(self) -> str:
        """Where the environment runs: on this machine."""
        return "127.0.0.1"

    def get_endpoint_from_executor(self) -> str:
        """Where the environment finds LocalStack: on this machine."""
        return "127.0.0.1"

    def get_runtime_endpoint(self) -> str:
        """No address: only LocalStack's own init program would call it, and there is none."""
        return ""

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        """Unpack the deployment package; the function becomes `Failed` with the message of what is raised here."""
        if function_version.config.runtime != RUNTIME:
            raise LambdaRuntimeException(
                f"the local executor runs {RUNTIME} only, not {function_version.config.runtime}"
            )
        function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """Nothing to do: LocalStack removes the unpacked package itself."""


class SubprocessRuntimeExecutorPlugin(RuntimeExecutorPlugin):
    """Makes the executor known as LAMBDA_RUNTIME_EXECUTOR=subprocess."""

    name = EXECUTOR_NAME

    def load(self, *args: object, **kwargs: object) -> type[RuntimeExecutor]:
        """Return the class of the executor."""
        return SubprocessRuntimeExecutor


def _aws_variables(env_vars: dict[str, Any]) -> dict[str, str]:
    """Leave out what only LocalStack sets, and name the runtime as AWS does."""
    variables = {
        name: str(value)
        for name, value in env_vars.items()
        if not name.startswith("LOCALSTACK_") and name not in ("EDGE_PORT", "AWS_LAMBDA_FUNCTION_TIMEOUT")
    }
    variables["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{RUNTIME}"
    return variables
