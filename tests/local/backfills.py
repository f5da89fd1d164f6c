"""Backfills as an operator asks for them, in the tests of existing buckets."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote_plus

from batch_vision.core.chunks import chunks_prefix, images_in
from tests.local import shapes, test_tool
from tests.local.stack import Stack
from tests.local.waits import wait_until

_FIELDS = (
    "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass, EncryptionStatus"
)


@contextmanager
def untold(stack: Stack, changes: int, function: str = "analyze-images") -> Iterator[None]:
    """Change the bucket so many times; what S3 tells of that is lost, so nobody has looked at any of it.

    Parameters
    ----------
    function
        The one that looks at changes.
    """
    name = f"{stack.arguments['name_prefix']}-{function}"
    (mapping,) = stack.functions.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    queue_url = stack.sqs.get_queue_url(QueueName=mapping["EventSourceArn"].rpartition(":")[2])["QueueUrl"]
    with shapes.paused(stack, mapping["UUID"]):
        # A poll that is under way takes a message all the same, until its time is over.
        time.sleep(mapping["MaximumBatchingWindowInSeconds"] + 1)
        yield
        wait_until(lambda: stack.messages(queue_url)[""] == changes, 60, "each change is on the queue")
        stack.sqs.purge_queue(QueueUrl=queue_url)


def call(*words: str, status: int = 0) -> str:
    """Let the tool do something; return what it printed."""
    ended, printed, said = test_tool.call(*words)
    assert ended == status, printed + said
    return printed + said


def read(*words: str, status: int = 0) -> dict[str, Any]:
    """Let the tool print JSON."""
    ended, printed, said = test_tool.call(*words, "--json")
    assert ended == status, printed + said
    return dict(json.loads(printed))


def backfill(*words: str) -> dict[str, Any]:
    """Have a backfill done, and return its summary."""
    call("backfill", "--yes", "--watch", *words)
    return dict(read("backfill", "--status")["summary"])


def sweep() -> dict[str, Any]:
    """Have what a sweep finds mended, and return the summary."""
    call("sweep", "--apply", "--yes")
    call("backfill", "--status", "--watch")
    return dict(read("backfill", "--status")["summary"])


def waiting(stack: Stack, job: str) -> int:
    """How many images the chunks of a job hold."""
    return sum(images_in(key) or 0 for key in stack.keys(stack.final, chunks_prefix(job)))


def executions(stack: Stack) -> list[dict[str, Any]]:
    """The executions of the backfill's state machine, the newest first."""
    arn = stack.environment.output("backfill_state_machine_arn")
    return list(stack.workflow.list_executions(stateMachineArn=arn)["executions"])


def put_inventory(stack: Stack, bucket: str, folder: str, listed: Mapping[str, Mapping[str, str]]) -> str:
    """Write an inventory of a bucket as AWS does, two files and their manifest; return the manifest's address.

    Parameters
    ----------
    listed
        What is special of each key.
    """
    names = [name.strip() for name in _FIELDS.split(",")]
    usual = ("", "", "", "true", "false", "7", "2026-11-01T00:00:00.000Z", "e", "STANDARD", "SSE-S3")
    rows = [
        list((dict(zip(names, usual, strict=True)) | {"Bucket": bucket, "Key": quote_plus(key)} | told).values())
        for key, told in listed.items()
    ]
    files = []
    for number, part in enumerate((rows[::2], rows[1::2])):
        text = io.StringIO(newline="")
        csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(part)
        key = f"{folder}/data/{number}.csv.gz"
        body = gzip.compress(text.getvalue().encode())
        stack.s3.put_object(Bucket=stack.final, Key=key, Body=body)
        files.append({"key": key, "size": len(body), "MD5checksum": "0" * 32})
    manifest = {
        "sourceBucket": bucket,
        "destinationBucket": f"arn:aws:s3:::{stack.final}",
        "version": "2016-11-30",
        "creationTimestamp": "1795600000000",
        "fileFormat": "CSV",
        "fileSchema": _FIELDS,
        "files": files,
    }
    place = f"{folder}/manifest.json"
    stack.s3.put_object(Bucket=stack.final, Key=place, Body=json.dumps(manifest).encode())
    return f"s3://{stack.final}/{place}"


def job_of(said: str) -> str:
    """The name of the job that the tool speaks of."""
    found = re.search(r"\d{8}T\d{6}Z-[0-9a-f]{6}", said)
    assert found, said
    return found[0]


def wait_for_results(stack: Stack, folder: str) -> None:
    """Wait until some images of a folder are done."""
    wait_until(lambda: len(stack.keys(stack.final, f"results/{folder}")) > 20, 120, "the backfill is at work")
