"""Makes LocalStack's own services refuse the calls that a test names.

The tests write `services.json` into the folder that they name in `BATCH_VISION_LAMBDA_FAULTS`: a list of objects with
the fields of `Refusal`. What is written counts at once; how often it happened is counted in that folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from localstack.aws import handlers
from localstack.aws.api import CommonServiceException
from localstack.runtime import hooks

from batch_vision_lambda_executor.settings import FAULTS_VARIABLE

if TYPE_CHECKING:
    from localstack.aws.api import RequestContext
    from localstack.aws.chain import HandlerChain
    from localstack.http import Response

FILE_NAME = "services.json"


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A call that is refused.

    Attributes
    ----------
    id
        Tells it from the others; part of a file's name.
    operation
        As AWS names it, such as `UpdateEventSourceMapping`.
    code, status
        What it is refused with.
    count
        How often.
    key
        Regular expression that is found in the key of the object that the operation names; any if it is empty.
    """

    id: str
    operation: str
    code: str
    status: int
    count: int
    key: str = ""


@hooks.on_infra_start()
def refuse_calls() -> None:
    """Refuse the calls that the folder's file names, when the variable names a folder."""
    if directory := os.environ.get(FAULTS_VARIABLE):
        handlers.serve_custom_service_request_handlers.append(CallRefuser(Path(directory)))


class CallRefuser:
    """Refuses what the file of a folder says."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __call__(self, chain: HandlerChain, context: RequestContext, response: Response) -> None:
        """Look at a call before a service does."""
        if context.operation is None or not (self._directory / FILE_NAME).exists():
            return
        for fields in json.loads((self._directory / FILE_NAME).read_text()):
            refusal = Refusal(**fields)
            key = str((context.service_request or {}).get("Key", ""))
            is_meant = refusal.operation == context.operation.name and re.search(refusal.key, key)
            if is_meant and self._is_due(refusal):
                raise CommonServiceException(refusal.code, "injected by a test", refusal.status)

    def _is_due(self, refusal: Refusal) -> bool:
        for number in range(refusal.count):
            try:
                os.close(os.open(self._directory / f"hit-{refusal.id}-{number}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return True
        return False
