"""Holds requests and answers to a service model of botocore."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

if TYPE_CHECKING:
    from collections.abc import Iterator

INTEGER_TYPES = ("integer", "long", "short", "byte")
NUMBER_TYPES = ("float", "double")


class SerializationError(ValueError):
    """A request holds a value of the wrong JSON type."""


def parse(value: Any, shape: Shape, where: str = "request") -> Any:
    """Turn the JSON of a request into Python values, leaving out unknown members and nulls.

    Raises
    ------
    SerializationError
        If a value is of another type than the model says.
    """
    if isinstance(shape, StructureShape):
        if not isinstance(value, dict):
            raise SerializationError(f"{where} is not an object")
        return {
            name: parse(value[name], member, name)
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        if not isinstance(value, list):
            raise SerializationError(f"{where} is not a list")
        return [parse(item, shape.member, where) for item in value]
    if shape.type_name == "blob":
        if not isinstance(value, str):
            raise SerializationError(f"{where} is not a base64 string")
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise SerializationError(f"{where} is not base64: {error}") from error
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        **dict.fromkeys(INTEGER_TYPES, is_number and float(value).is_integer()),
        **dict.fromkeys(NUMBER_TYPES, is_number),
    }
    if not fits.get(shape.type_name, False):
        raise SerializationError(f"{where} is not a {shape.type_name}")
    return int(value) if shape.type_name in INTEGER_TYPES else value


def violations(value: Any, shape: Shape, path: str = "") -> Iterator[str]:
    """Describe each constraint of the model that a parsed value breaks, in the words of the AWS services."""
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            member_path = f"{path}.{_wire_name(name)}" if path else _wire_name(name)
            if name in value:
                yield from violations(value[name], member, member_path)
            elif name in shape.required_members:
                yield f"Value at '{member_path}' failed to satisfy constraint: Member must not be null"
        return
    shown = "" if isinstance(value, bytes) else f" '{value}'"
    broken = [
        f"Value{shown} at '{path}' failed to satisfy constraint: Member must {constraint}"
        for constraint in _broken_constraints(value, shape)
    ]
    yield from broken
    if isinstance(shape, ListShape):
        for number, item in enumerate(value, start=1):
            yield from violations(item, shape.member, f"{path}.{number}.member")


def render(value: Any, shape: Shape) -> Any:
    """Turn an answer into JSON values as the model says.

    Raises
    ------
    TypeError
        If the answer holds a member that the model lacks, or a value of the wrong type.
    """
    if isinstance(shape, StructureShape):
        unknown = set(value) - set(shape.members)
        if unknown:
            raise TypeError(f"{shape.name} has no member {sorted(unknown)[0]}")
        return {name: render(item, shape.members[name]) for name, item in value.items() if item is not None}
    if isinstance(shape, ListShape):
        return [render(item, shape.member) for item in value]
    if isinstance(shape, MapShape):
        return {key: render(item, shape.value) for key, item in value.items()}
    if shape.type_name == "timestamp":
        if not isinstance(value, datetime):
            raise TypeError(f"{shape.name} is not a time: {value!r}")
        return round(value.timestamp(), 3)
    types: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "blob": (bytes,),
        "boolean": (bool,),
        **dict.fromkeys(INTEGER_TYPES, (int,)),
        **dict.fromkeys(NUMBER_TYPES, (int, float)),
    }
    if not isinstance(value, types.get(shape.type_name, ())):
        raise TypeError(f"{shape.name} is not a {shape.type_name}: {value!r}")
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _broken_constraints(value: Any, shape: Shape) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    measured = "value" if isinstance(value, int | float) else "length"
    size = value if measured == "value" else len(value)
    if least is not None and size < least:
        yield f"have {measured} greater than or equal to {least}"
    if most is not None and size > most:
        yield f"have {measured} less than or equal to {most}"
    pattern = shape.metadata.get("pattern")
    if pattern is not None and re.fullmatch(pattern, value, re.ASCII) is None:
        yield f"satisfy regular expression pattern: {pattern}"
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield f"satisfy enum value set: [{', '.join(allowed)}]"


def _wire_name(name: str) -> str:
    return name[0].lower() + name[1:]
