"""Asks for faults of the deployed Lambdas, and of the services of LocalStack."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from local import config
from local.lambda_executor.batch_vision_lambda_executor import faults
from local.lambda_executor.batch_vision_lambda_executor.faults import Fault

# As service_faults.py and mapping_transitions.py say, which only LocalStack's interpreter can import.
SERVICES_FILE_NAME = "services.json"
MAPPING_FILE_NAME = "mapping.json"
_numbers = itertools.count()


class LambdaFaults:
    """The faults that the functions of one LocalStack are to have."""

    def __init__(self, directory: Path = config.LOCAL_BUILD / "lambda-faults") -> None:
        self.directory = directory
        self._faults: list[Fault] = []
        self._refusals: list[dict[str, Any]] = []

    @classmethod
    def prepare(cls) -> Path:
        """Make the empty folder that LocalStack reads its faults from."""
        prepared = cls()
        prepared.directory.mkdir(parents=True, exist_ok=True)
        prepared.clear()
        return prepared.directory

    def inject(self, function: str, action: str, point: str, **options: Any) -> str:
        """Ask for a fault, see `Fault`, once if nothing is said; give the id to ask `hits` with."""
        if "probability" not in options:
            options.setdefault("count", 1)
        fault = Fault(f"{next(_numbers)}", function, action, point, **options)
        self._faults.append(fault)
        faults.write(self.directory, self._faults)
        return fault.id

    def refuse(self, operation: str, code: str, *, count: int = 1, status: int = 400, key: str = "") -> str:
        """Have a service of LocalStack refuse an operation, whoever asks; give the id to ask `hits` with."""
        named = {"id": f"{next(_numbers)}", "operation": operation, "key": key}
        refusal = named | {"code": code, "status": status, "count": count}
        self._refusals.append(refusal)
        self._write(SERVICES_FILE_NAME, self._refusals)
        return str(refusal["id"])

    def slow_mapping(self, transition_seconds: float) -> None:
        """Have event source mappings take so long from now on until they are enabled, or disabled."""
        self._write(MAPPING_FILE_NAME, {"transition_seconds": transition_seconds})

    def hits(self, fault_id: str) -> int:
        """How often a fault has happened."""
        return faults.hits(self.directory, fault_id)

    def clear(self) -> None:
        """Forget what was asked for, and what has happened."""
        self._faults.clear()
        self._refusals.clear()
        for path in self.directory.glob("*"):
            path.unlink()

    def _write(self, name: str, content: Any) -> None:
        """Write a file that LocalStack sees as a whole or not at all."""
        new = self.directory / f"{name}.new"
        new.write_text(json.dumps(content))
        new.replace(self.directory / name)
