"""Records who asked the emulator for what, for the tests that hold the roles' policies to it."""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from local.config import ACCOUNT_ID, REGION

if TYPE_CHECKING:
    from pathlib import Path

    from werkzeug.wrappers import Request

_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_LOOKOUT_PATH = re.compile(r"/2020-11-20/projects/([^/]+)/models/([^/]+)(?:/(start|stop|detect))?")
_LOOKOUT_OPERATIONS = {None: "DescribeModel", "start": "StartModel", "stop": "StopModel", "detect": "DetectAnomalies"}


class CallRecorder:
    """Appends a line of JSON for each call, in the form of the recorder in LocalStack (see `lambda_executor`).

    Parameters
    ----------
    path
        The file; other processes may append to it too.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def record(self, request: Request, path: str, body: bytes, status: int) -> None:
        """Append a call that was answered.

        Parameters
        ----------
        path
            Its path as it came, still percent-encoded and without its query.
        """
        signed_by = _CREDENTIAL.search(request.headers.get("Authorization", ""))
        parameters: dict[str, Any]
        if match := _LOOKOUT_PATH.fullmatch(path):
            service, operation = "lookoutvision", _LOOKOUT_OPERATIONS[match[3]]
            parameters = {"ProjectName": unquote(match[1]), "ModelVersion": unquote(match[2])}
        else:
            service, operation = "rekognition", request.headers.get("X-Amz-Target", "").rpartition(".")[2]
            parameters = json.loads(body or b"{}")
        line = {
            "at": time.time(),
            "access_key_id": signed_by and signed_by[1],
            "service": service,
            "operation": operation,
            "region": REGION,
            "account_id": ACCOUNT_ID,
            "parameters": parameters,
            "status": status,
        }
        os.write(self._file, (json.dumps(line) + "\n").encode())
