"""Errors of the tool: the message is all that a user gets to see, and the class is the exit status."""

from __future__ import annotations

from typing import ClassVar


class OperatorError(Exception):
    """Something keeps a command from its end.

    The message names the thing, the value found and what to do about it.
    """

    exit_status: ClassVar[int] = 1


class WrongInputError(OperatorError):
    """An argument, or a file that one names, is wrong or missing."""

    exit_status = 2


class UnreachableError(OperatorError):
    """No credentials, no Region, no permission, no network, or no stack of that name."""

    exit_status = 3
