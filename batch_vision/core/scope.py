"""Which objects of an existing bucket are images to analyze, told alike to events, planners, sweep and tests.

What is out of scope has no result. What is in scope and cannot be read has one that says so: an image that was archived
after it was analyzed keeps its result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from os.path import commonprefix
from typing import TYPE_CHECKING

from batch_vision.core import errors
from batch_vision.core.events import UNKNOWN_SIZE_BYTES
from batch_vision.core.names import is_folder_marker

if TYPE_CHECKING:
    from datetime import datetime

# Why a result is left alone that has no object in scope.
RESULT_OUT_OF_SCOPE = "result_out_of_scope"
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})  # GLACIER_IR is read like any other class


@dataclass(frozen=True)
class Scope:
    """The keys of an existing bucket that are images.

    Attributes
    ----------
    prefixes
        Leading parts of the keys, of which one must match; an empty one matches all.
    suffixes
        Ends of the keys in lower case, of which one must match, whatever the case of the key. None of them: all do.
    """

    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]


class OutOfScope(StrEnum):
    """Why an object is no image to analyze."""

    PREFIX = "prefix"
    SUFFIX = "suffix"
    FOLDER_MARKER = "folder_marker"


def why_out_of_scope(key: str, size_bytes: int, scope: Scope) -> OutOfScope | None:
    """Return why an object has no result; None where it is to have one.

    What the model can never take, such as what is too large, is in scope: it is rejected.
    """
    if not key.startswith(scope.prefixes):
        return OutOfScope.PREFIX
    if is_folder_marker(key, size_bytes):
        return OutOfScope.FOLDER_MARKER
    if scope.suffixes and not key.lower().endswith(scope.suffixes):
        return OutOfScope.SUFFIX
    return None


def is_of_other_scope(key: str, scope: Scope) -> bool:
    """Return whether a result is of a key that would have none now, whatever its object: it was paid for, and stays."""
    return why_out_of_scope(key, UNKNOWN_SIZE_BYTES, scope) is not None


def prefix_to_list(prefix: str, scope: Scope) -> str:
    """Return the longest prefix that all keys share which begin with a prefix and may be in scope."""
    shared = [max(prefix, one, key=len) for one in scope.prefixes if one.startswith(prefix) or prefix.startswith(one)]
    return commonprefix(shared) if shared else prefix  # noqa: RUF071 - a prefix may end within a name


@dataclass(frozen=True, slots=True)
class Storage:
    """How an object is stored, as a HEAD, a listing or an inventory tells it.

    Attributes
    ----------
    storage_class
        Empty for STANDARD, which a HEAD does not name.
    archive_tier
        The archive access tier of an object in INTELLIGENT_TIERING; empty where it is in none.
    restored_until
        Until when there is a copy to read of what is archived; None for none.
    has_customer_key
        Whether it is encrypted with a key that only its uploader has (SSE-C).
    """

    storage_class: str = ""
    archive_tier: str = ""
    restored_until: datetime | None = None
    has_customer_key: bool = False


def why_unreadable(storage: Storage, now: datetime) -> type[errors.StorageRefusedError] | None:
    """Return the error for what nobody can read, so that no call is made for it; None where it may be readable.

    Storage classes: S3 user guide, "Understanding and managing Amazon S3 storage classes".
    """
    if storage.has_customer_key:
        return errors.ImageEncryptedError
    is_archived = storage.storage_class in _ARCHIVES or storage.archive_tier
    if is_archived and not (storage.restored_until and storage.restored_until > now):
        return errors.ImageArchivedError
    return None


def reason_of(refusal: type[errors.StorageRefusedError]) -> str:
    """Return what is counted of objects that are left out because nobody can read them; see `why_unreadable`."""
    return {errors.ImageArchivedError: "archived", errors.ImageEncryptedError: "customer_key"}[refusal]
