"""Errors of the local commands: their message is all that a user gets to see."""

from __future__ import annotations


class LocalError(Exception):
    """Something that keeps the local environment from working.

    The message names the thing, the value found and what to do about it.
    """
