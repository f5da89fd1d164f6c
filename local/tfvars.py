"""The user's own values of the module's variables, applied on top of what local running sets."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.errors import LocalError
from local.terraform import Terraform, check_version, problem_of, variable_names, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What no tfvars file holds.
_NOT_GIVEN = "batch-vision: not given"
_UNDECLARED = re.compile(r'does not declare a variable named "([^"]+)"')


@dataclass(frozen=True)
class Tfvars:
    """What a file of variables says.

    Parameters
    ----------
    path
        As the user gave it.
    values
        The values of variables that the module has; a null stands for the module's own default.
    unknown
        Names of variables that the module does not have, as many as Terraform names.
    """

    path: Path
    values: Mapping[str, Any]
    unknown: tuple[str, ...] = ()

    def backend(self, chosen: str | None, known: Iterable[str], default: str) -> str | None:
        """Return the model service to use: the one in the file, else the one that was chosen, else the default.

        None where the file says null: a deployment of videos only.

        Parameters
        ----------
        chosen
            The BACKEND that the user gave, or None.
        known
            The model services that run locally.

        Raises
        ------
        LocalError
            The file names one that does not run locally, or another one than BACKEND.
        """
        if "backend" in self.values and self.values["backend"] is None:
            if chosen is not None:
                raise LocalError(
                    f"TFVARS={self.path}: backend is null, for videos only, and BACKEND={chosen} was given. Leave one"
                    " of them out."
                )
            return None
        named = self.values.get("backend") or chosen or default
        if named not in known:
            raise LocalError(f'TFVARS={self.path}: backend is "{named}". Use one of: {", ".join(known)}.')
        if chosen not in (None, named):
            raise LocalError(
                f'TFVARS={self.path}: backend is "{named}", and BACKEND={chosen} was given. Leave one of them out.'
            )
        return str(named)


def read_tfvars(path: Path) -> Tfvars:
    """Read a file of variables, in HCL or JSON, by Terraform itself.

    Raises
    ------
    LocalError
        There is no such file, or Terraform cannot read it: its own message.
    """
    remedy = "Name a file of variables such as terraform/rekognition.tfvars.example."
    if not path.exists():
        raise LocalError(f"TFVARS={path} does not exist. {remedy}")
    if not path.is_file():
        raise LocalError(f"TFVARS={path} is not a file. {remedy}")
    check_version()
    names = variable_names()
    root = {
        "variable": {name: {"default": _NOT_GIVEN} for name in names},
        "output": {"given": {"value": {name: f"${{var.{name}}}" for name in names}}},
    }
    values: dict[str, Any] = {}
    unknown: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "main.tf.json", root)
        # Nothing but an output is applied: no provider is needed, and no account asked.
        arguments = ("apply", "-auto-approve", "-input=false", "-json", f"-var-file={path.resolve()}")
        for event in Terraform(Path(folder)).events(*arguments):
            if problem := problem_of(event):
                raise LocalError(f"TFVARS={path} cannot be read:\n{problem}")
            if event.get("type") == "diagnostic":
                unknown += _UNDECLARED.findall(event["diagnostic"].get("detail", ""))
            elif event.get("type") == "outputs":
                values = event["outputs"]["given"].get("value", {})
    given = {name: value for name, value in values.items() if value != _NOT_GIVEN}
    return Tfvars(path, given, tuple(unknown))


def merged(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of the module with others on top; of an object that both have, attribute by attribute."""
    result = dict(own)
    for name, value in given.items():
        both_are_objects = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = result[name] | value if both_are_objects else value
    return result
