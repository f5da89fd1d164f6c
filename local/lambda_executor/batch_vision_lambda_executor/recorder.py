"""Records what each role asks of LocalStack, and what Terraform asks, for the tests that hold policies to it.

LocalStack checks no permissions, but it knows the caller: a function, the workflow, an EventBridge target and the
poller of an event source mapping each assume their role first, and sign with the keys of that session. Terraform's
provider names itself in the header `User-Agent`.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from localstack.aws import handlers
from localstack.runtime import hooks
from localstack.utils.aws.request_context import extract_access_key_id_from_auth_header

if TYPE_CHECKING:
    from localstack.aws.api import RequestContext
    from localstack.aws.chain import HandlerChain
    from localstack.http import Response

FILE_VARIABLE = "BATCH_VISION_RECORD_CALLS"

_TERRAFORM = "terraform-provider-aws"

_POLICY_OPERATIONS = ("PutRolePolicy", "DeleteRolePolicy")


@hooks.on_infra_start()
def record_calls() -> None:
    """Record from now on, when the variable names a file."""
    if path := os.environ.get(FILE_VARIABLE):
        handlers.run_custom_response_handlers.append(CallRecorder(path))


class CallRecorder:
    """Appends a line of JSON for each session of a role, each call of it or Terraform, and each change of a policy.

    Parameters
    ----------
    path
        The file; other processes may append to it too.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._session_keys: set[str] = set()

    def __call__(self, chain: HandlerChain, context: RequestContext, response: Response) -> None:
        """Look at a call after it was answered."""
        if context.operation is None:
            return
        operation = context.operation.name
        key = extract_access_key_id_from_auth_header(context.request.headers)
        parameters = context.service_request or {}
        if operation == "AssumeRole" and response.status_code == 200:
            session_key = context.service_response["Credentials"]["AccessKeyId"]
            self._session_keys.add(session_key)
            principal = (context.internal_request_params or {}).get("service_principal")
            self._write(access_key_id=session_key, assumed_role_arn=parameters["RoleArn"], principal=principal)
            return
        is_terraform = _TERRAFORM in context.request.headers.get("User-Agent", "")
        if key in self._session_keys or operation in _POLICY_OPERATIONS or is_terraform:
            self._write(
                access_key_id=key,
                is_terraform=is_terraform,
                service=context.service.service_name,
                operation=operation,
                region=context.region,
                account_id=context.account_id,
                parameters={name: value for name, value in parameters.items() if _is_plain(value)},
                status=response.status_code,
            )

    def _write(self, **record: Any) -> None:
        os.write(self._file, (json.dumps({"at": time.time(), **record}) + "\n").encode())


def _is_plain(value: Any) -> bool:
    """Whether a parameter names or counts something: texts, numbers and lists of texts."""
    return isinstance(value, str | int) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
