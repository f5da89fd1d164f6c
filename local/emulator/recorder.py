"""Records who asked the emulator for what, for the tests that hold the roles' policies to it."""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any

from local.config import ACCOUNT_ID, REGION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from werkzeug.wrappers import Request

    from local.emulator.answers import Call

_CREDENTIAL = re.compile(r"Credential=([^/]+)/")


class CallRecorder:
    """Appends a line of JSON for each call, in the form of the recorder in LocalStack (see `lambda_executor`).

    Parameters
    ----------
    path
        The file; other processes may append to it too.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def record(self, request: Request, call: Call, status: int) -> None:
        """Append a call that was answered."""
        signed_by = _CREDENTIAL.search(request.headers.get("Authorization", ""))
        line = {
            "at": time.time(),
            "access_key_id": signed_by and signed_by[1],
            "service": call.service,
            "operation": call.operation,
            "region": REGION,
            "account_id": ACCOUNT_ID,
            "parameters": _without_bytes(call.parameters),
            "status": status,
        }
        os.write(self._file, (json.dumps(line) + "\n").encode())


def _without_bytes(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a call without the bytes of an image: no permission goes by them."""
    image = parameters.get("Image")
    is_sent = isinstance(image, dict) and "Bytes" in image
    return {**parameters, "Image": {"Bytes": ""}} if is_sent else dict(parameters)
