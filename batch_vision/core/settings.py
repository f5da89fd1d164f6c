"""The environment of a function, read once into a frozen object of the function's own.

A function's settings are a frozen dataclass beside its code, which may be made of several. Each field is the variable
of the same name in capitals, and its annotation says how the text is read. Terraform gives each function the variables
of its own class and no others.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

from batch_vision.core.errors import SettingsError
from batch_vision.core.models import Model
from batch_vision.core.scope import Scope

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True)
class CallRate:
    """How fast one invocation asks a detector.

    Attributes
    ----------
    calls_per_second
        To begin with: it is found by what the service refuses.
    most_calls_per_second
        Never exceeded.
    """

    calls_per_second: float
    most_calls_per_second: float


def _text(text: str) -> str:
    if not text:
        raise ValueError("a non-empty text")
    return text


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise ValueError("a whole number of at least 1")
    return int(text)


def _yes_or_no(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _number(text: str, wanted: str, is_good: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not is_good(number):  # no comparison holds for NaN
        raise ValueError(wanted)
    return number


def _above_zero(text: str) -> float:
    return _number(text, "a number above 0", lambda number: 0 < number < math.inf)


def _dollars(text: str) -> float:
    return _number(text, "a number of dollars", lambda number: 0 <= number < math.inf)


def _percent(text: str) -> float:
    return _number(text, "a number from 0 to 100", lambda number: 0 <= number <= 100)


def _texts(text: str) -> tuple[str, ...]:
    value = _json(text)
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
        raise ValueError("a JSON list of at least one text")
    return tuple(value)


def _any_texts(text: str) -> tuple[str, ...]:
    value = _json(text)
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError("a JSON list of texts")
    return tuple(value)


def _json_object(text: str) -> dict[str, Any]:
    value = _json(text)
    if not isinstance(value, dict):
        raise ValueError("a JSON object")
    return value


def _rates(text: str) -> dict[str, CallRate]:
    try:
        rates = {name: CallRate(**rate) for name, rate in _json_object(text).items()}
        is_good = rates and all(
            0 < one.calls_per_second <= one.most_calls_per_second < math.inf for one in rates.values()
        )
    except TypeError:  # another object, or no number
        is_good = False
    if not is_good:
        raise ValueError(
            "a JSON object with calls_per_second, above 0, and most_calls_per_second, no less, for each detector"
        )
    return rates


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# What a field of a settings class is annotated with: the type of its value, and how its text is read.
Text = Annotated[str, _text]
Positive = Annotated[int, _positive]
YesOrNo = Annotated[bool, _yes_or_no]
AboveZero = Annotated[float, _above_zero]
Dollars = Annotated[float, _dollars]
Percent = Annotated[float, _percent]
Texts = Annotated[tuple[str, ...], _texts]
AnyTexts = Annotated[tuple[str, ...], _any_texts]
JsonObject = Annotated[Mapping[str, Any], _json_object]
Rates = Annotated[Mapping[str, CallRate], _rates]


def read_settings[S: DataclassInstance](cls: type[S], environment: Mapping[str, str]) -> S:
    """Read the settings of a function from its environment.

    A field whose type admits None is None where its variable is not set or empty.

    Raises
    ------
    SettingsError
        A variable is missing or wrong; the message names it, its value and the remedy.
    """
    hints = get_type_hints(cls, include_extras=True)
    return cls(**{field.name: _read(environment, field.name.upper(), hints[field.name]) for field in fields(cls)})


def settings_of[S: DataclassInstance](cls: type[S]) -> S:
    """Return the settings of this process, read on first use; raises as `read_settings`."""
    settings: S = _of_this_process(cls)
    return settings


@cache
def _of_this_process(cls: type[DataclassInstance]) -> Any:
    return read_settings(cls, os.environ)


def _read(environment: Mapping[str, str], name: str, hint: Any) -> Any:
    value = environment.get(name)
    is_optional = type(None) in get_args(hint)
    if is_optional and not value:
        return None
    kind = next(kind for kind in get_args(hint) if kind is not type(None)) if is_optional else hint
    (read,) = kind.__metadata__
    try:
        return read(value or "")
    except ValueError as wanted:
        found = "is not set" if value is None else f"is {value!r}"
        allowed = f"empty or {wanted}" if is_optional else wanted
        raise SettingsError(
            f"Environment variable {name} {found}; it must be {allowed}. Terraform sets it: apply the module again."
        ) from None


# Settings of several functions.


@dataclass(frozen=True)
class BucketSettings:
    """Where images wait.

    Attributes
    ----------
    source_bucket_name, source_prefixes
        Where images are uploaded. Each prefix is empty or a leading part of the keys. The first is where images are
        uploaded now, the others are where some may still wait.
    final_bucket_name
        Where images, results, catalog and run summaries go, and what is stuck is written down.
    """

    source_bucket_name: Text
    source_prefixes: Texts
    final_bucket_name: Text


@dataclass(frozen=True)
class ExistingBucketSettings:
    """An existing bucket, whose images stay in it.

    Attributes
    ----------
    images_bucket_name
        The bucket, of which nothing is written.
    source_prefixes, image_suffixes
        Which of its objects are images: see `Scope`.
    final_bucket_name
        Where results, catalog and work go.
    settings_fingerprint
        What tells results that are made with the model and settings of this deployment from others.
    """

    images_bucket_name: Text
    source_prefixes: Texts
    image_suffixes: AnyTexts
    final_bucket_name: Text
    settings_fingerprint: Text

    @property
    def scope(self) -> Scope:
        """Which objects of the bucket are images."""
        return Scope(self.source_prefixes, self.image_suffixes)


@dataclass(frozen=True)
class ModelSettings:
    """The model of the deployment.

    Attributes
    ----------
    backend, backend_settings
        The model service, and what its backend needs to know to find the model.
    """

    backend: Text
    backend_settings: JsonObject

    @property
    def model(self) -> Model:
        """The model that they name."""
        return Model.named(self.backend, self.backend_settings)
