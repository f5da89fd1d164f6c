"""Lists of objects that somebody else wrote: S3 Inventory, and CSV lists as S3 Batch Operations takes them.

Keys are URL-encoded in both (S3 user guide, "Amazon S3 Inventory list"; "Specifying a manifest"). A row only says which
key to look at: an inventory is a day old or more, and eventually consistent.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from batch_vision.core.events import UNKNOWN_SIZE_BYTES
from batch_vision.core.names import KEY_LIMIT_BYTES
from batch_vision.core.scope import Scope, Storage, reason_of, why_out_of_scope, why_unreadable
from batch_vision.core.times import from_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

_ARCHIVE_TIERS = {"ARCHIVE": "ARCHIVE_ACCESS", "DEEP_ARCHIVE": "DEEP_ARCHIVE_ACCESS"}
_CUSTOMER_KEY = "SSE-C"


# What reading a file raises that was cut off, or is none.
DAMAGES = (EOFError, UnicodeDecodeError, csv.Error, gzip.BadGzipFile, zlib.error)


class ListError(ValueError):
    """A list cannot be read; the message names the place, what stands there and the remedy."""


@dataclass(frozen=True, slots=True)
class Row:
    """An object that a list names.

    Attributes
    ----------
    size_bytes
        `UNKNOWN_SIZE_BYTES` where the list does not tell.
    modified_at
        None where the list does not tell.
    is_current
        Whether it is the current object of its key, as far as the list tells: no older version, no delete marker.
    """

    key: str
    size_bytes: int = UNKNOWN_SIZE_BYTES
    modified_at: datetime | None = None
    storage: Storage = field(default_factory=Storage)
    is_current: bool = True

    def why_left_out(self, scope: Scope, now: datetime) -> str | None:
        """Return the reason for which the object is not looked at, as far as the list tells; None where it is."""
        if not self.is_current:
            return "not_current"
        if reason := why_out_of_scope(self.key, self.size_bytes, scope):
            return reason
        refusal = why_unreadable(self.storage, now)
        return reason_of(refusal) if refusal else None


@dataclass(frozen=True, slots=True)
class Inventory:
    """The manifest of an inventory.

    Attributes
    ----------
    bucket
        Of which it is the inventory.
    fields
        The columns of its files.
    files
        The keys of its files, gzipped CSV without a header, in the bucket of the manifest.
    """

    bucket: str
    fields: tuple[str, ...]
    files: tuple[str, ...]

    @classmethod
    def from_manifest(cls, body: bytes) -> Inventory:
        """Read ``manifest.json``.

        Raises
        ------
        ListError
            It is none, or its files are in a form that is not read.
        """
        try:
            manifest: dict[str, Any] = json.loads(body)
            form, schema = manifest["fileFormat"], manifest["fileSchema"]
            bucket, files = manifest["sourceBucket"], [entry["key"] for entry in manifest["files"]]
            texts = (form, schema, bucket, *files)
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise ListError(
                "The object is no manifest.json of S3 Inventory. Give the one beside the folder data/ of the inventory."
            ) from error
        if not all(isinstance(text, str) for text in texts):
            raise ListError("The object is no manifest.json of S3 Inventory: a name in it is no text.")
        if form != "CSV":
            raise ListError(
                f"The inventory's files are {form}. Have it written as CSV, or turn them into CSV with Athena (the"
                " manual says how)."
            )
        fields = tuple(field.strip() for field in schema.split(","))
        if missing := {"Bucket", "Key"} - set(fields):
            raise ListError(f"The inventory has no column {', '.join(sorted(missing))}.")
        return cls(bucket, fields, tuple(files))

    def rows(self, lines: Iterable[str], name: str) -> Iterator[Row]:
        """Yield the rows of one file.

        Parameters
        ----------
        name
            Of the file, for messages.

        Raises
        ------
        ListError
            A line is not as the manifest says.
        """
        for number, values in enumerate(csv.reader(lines), start=1):
            where = f"{name}, line {number}"
            if len(values) != len(self.fields):
                raise ListError(
                    f"{where}: {len(values)} columns, and the manifest names {len(self.fields)}. The file is damaged:"
                    " take another inventory."
                )
            yield _row(dict(zip(self.fields, values, strict=True)), self.bucket, where)


def _row(told: dict[str, str], bucket: str, where: str) -> Row:
    if told["Bucket"] != bucket:
        raise ListError(f"{where}: bucket {told['Bucket']!r}, and the inventory is of {bucket!r}.")
    try:
        size = told.get("Size", "")
        modified = told.get("LastModifiedDate", "")
        return Row(
            key=_key(told["Key"]),
            size_bytes=int(size) if size else UNKNOWN_SIZE_BYTES,
            modified_at=from_text(modified) if modified else None,
            storage=Storage(
                storage_class=told.get("StorageClass", ""),
                archive_tier=_ARCHIVE_TIERS.get(told.get("IntelligentTieringAccessTier", ""), ""),
                has_customer_key=told.get("EncryptionStatus") == _CUSTOMER_KEY,
            ),
            is_current=told.get("IsLatest", "true") == "true" and told.get("IsDeleteMarker", "false") != "true",
        )
    except ValueError as error:
        raise ListError(f"{where}: {error}.") from error


def csv_rows(lines: Iterable[str], bucket: str, name: str) -> Iterator[Row]:
    """Yield the rows of a CSV list: ``bucket,key`` or ``bucket,key,version``, without a header.

    A version is not looked at: what is analyzed is the current object of a key.

    Raises
    ------
    ListError
        A line is no row, or of another bucket.
    """
    for number, values in enumerate(csv.reader(lines), start=1):
        where = f"{name}, line {number}"
        if not values:
            raise ListError(f"{where} is empty. Take it out.")
        if len(values) not in (2, 3):
            raise ListError(
                f"{where}: {len(values)} columns. Write bucket,key or bucket,key,version, keys URL-encoded."
            )
        if values[0] != bucket:
            raise ListError(f"{where}: bucket {values[0]!r}. The list is to name objects of {bucket!r} only.")
        try:
            yield Row(_key(values[1]))
        except ValueError as error:
            raise ListError(f"{where}: {error}.") from error


def read_rows(body: Any, bucket: str, name: str, inventory: Inventory | None, *, is_gzip: bool) -> Iterator[Row]:
    """Yield the rows of a file of a list, which is never in memory as a whole.

    Parameters
    ----------
    body
        A binary file, or what a GetObject answers.
    name
        Of the file, for messages.
    inventory
        What the manifest says; None for a CSV list.

    Raises
    ------
    ListError
        A line is no row, or of another bucket.
    Exception
        One of `DAMAGES`: the file is damaged.
    """
    content = gzip.GzipFile(fileobj=body) if is_gzip else body
    lines = io.TextIOWrapper(io.BufferedReader(content), encoding="utf-8", newline="")
    yield from inventory.rows(lines, name) if inventory else csv_rows(lines, bucket, name)


def _key(encoded: str) -> str:
    key = unquote_plus(encoded, errors="strict")
    if not 1 <= len(key.encode()) <= KEY_LIMIT_BYTES:
        raise ValueError(
            f"the key {key[:100]!r} has {len(key.encode()):,} bytes, and keys have 1 to {KEY_LIMIT_BYTES:,}"
        )
    return key
