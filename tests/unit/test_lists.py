from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_vision.core.events import UNKNOWN_SIZE_BYTES
from batch_vision.core.lists import Inventory, ListError, Row, csv_rows
from batch_vision.core.scope import Storage

SCHEMA = (
    "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass, EncryptionStatus,"
    " IntelligentTieringAccessTier"
)
MANIFEST: dict[str, Any] = {
    "sourceBucket": "photos",
    "destinationBucket": "arn:aws:s3:::inventories",
    "version": "2016-11-30",
    "creationTimestamp": "1795600000000",
    "fileFormat": "CSV",
    "fileSchema": SCHEMA,
    "files": [{"key": "photos/all/data/1.csv.gz", "size": 100, "MD5checksum": "f" * 32}],
}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100)


def manifest(**changes: Any) -> bytes:
    return json.dumps(MANIFEST | changes).encode()


def written(*rows: list[str]) -> io.StringIO:
    """A file as AWS writes it: every value in quotes."""
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    file.seek(0)
    return file


def test_a_manifest_names_bucket_columns_and_files() -> None:
    inventory = Inventory.from_manifest(manifest())
    assert (inventory.bucket, inventory.files) == ("photos", ("photos/all/data/1.csv.gz",))
    assert inventory.fields[:2] == ("Bucket", "Key")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no manifest.json of S3 Inventory"),
        (b"[]", "no manifest.json of S3 Inventory"),
        (b"[" * 20_000, "no manifest.json of S3 Inventory"),
        (manifest(files=[{}]), "no manifest.json of S3 Inventory"),
        (manifest(sourceBucket=3), "a name in it is no text"),
        (manifest(fileFormat="ORC"), "files are ORC. Have it written as CSV"),
        (manifest(fileSchema="Bucket, Size"), "no column Key"),
    ],
)
def test_what_is_no_manifest_is_said_with_the_remedy(body: bytes, message: str) -> None:
    with pytest.raises(ListError, match=message):
        Inventory.from_manifest(body)


def test_the_columns_that_an_inventory_has_are_honoured() -> None:
    inventory = Inventory.from_manifest(manifest())
    begin = ["photos", "a+b%2Bc.jpg", "v1"]
    end = ["15", "2026-11-20T08:00:00.000Z", "e"]
    rows = [
        *inventory.rows(
            written(
                [*begin, "true", "false", *end, "STANDARD", "SSE-S3", ""],
                [*begin, "false", "false", *end, "STANDARD", "SSE-S3", ""],
                [*begin, "true", "true", "", end[1], "", "", "", ""],
                [*begin, "true", "false", *end, "GLACIER", "SSE-C", ""],
                [*begin, "true", "false", *end, "INTELLIGENT_TIERING", "SSE-KMS", "DEEP_ARCHIVE"],
            ),
            "1.csv.gz",
        )
    ]
    at = datetime(2026, 11, 20, 8, tzinfo=UTC)
    key = "a b+c.jpg"
    assert rows == [
        Row(key, 15, at, Storage("STANDARD")),
        Row(key, 15, at, Storage("STANDARD"), is_current=False),
        Row(key, UNKNOWN_SIZE_BYTES, at, Storage(), is_current=False),
        Row(key, 15, at, Storage("GLACIER", has_customer_key=True)),
        Row(key, 15, at, Storage("INTELLIGENT_TIERING", "DEEP_ARCHIVE_ACCESS")),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["photos", "a.jpg"], "1.csv.gz, line 1: 2 columns, and the manifest names 3"),
        (["others", "a.jpg", "1"], "line 1: bucket 'others', and the inventory is of 'photos'"),
        (["photos", "a.jpg", "many"], "line 1: invalid literal"),
        (["photos", "%FF.jpg", "1"], "line 1: 'utf-8' codec"),
        (["photos", "", "1"], "line 1: the key '' has 0 bytes"),
    ],
)
def test_a_row_that_is_not_as_the_manifest_says_is_named(values: list[str], message: str) -> None:
    inventory = Inventory.from_manifest(manifest(fileSchema="Bucket, Key, Size"))
    with pytest.raises(ListError, match=message):
        list(inventory.rows(written(values), "1.csv.gz"))


@given(st.lists(NAMES, max_size=5))
def test_a_list_names_every_key_whatever_its_characters(keys: list[str]) -> None:
    lines = written(*(["photos", quote_plus(key), *(["v"] if number % 2 else [])] for number, key in enumerate(keys)))
    assert [row.key for row in csv_rows(lines, "photos", "list.csv")] == keys


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("\n", "list.csv, line 1 is empty. Take it out"),
        ("photos\n", "line 1: 1 columns. Write bucket,key or bucket,key,version"),
        ("photos,a,b,c\n", "line 1: 4 columns"),
        ("others,a.jpg\n", "line 1: bucket 'others'. The list is to name objects of 'photos' only"),
        ("photos,%FF\n", "line 1: 'utf-8' codec"),
        (f"photos,{'x' * 1025}\n", "has 1,025 bytes"),
    ],
)
def test_a_line_that_is_no_row_is_named_with_the_remedy(line: str, message: str) -> None:
    with pytest.raises(ListError, match=message):
        list(csv_rows(io.StringIO(line), "photos", "list.csv"))
