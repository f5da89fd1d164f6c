"""The promise of an existing bucket, looked at from outside with clients of S3: when all is quiet, every object in
scope has one result, of that very object, no other key has one, and the catalog tells the same."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import Any

from batch_vision.aws.objects import found
from batch_vision.core.catalog import IMAGE, media_of
from batch_vision.core.scope import Scope, why_out_of_scope

# By ETag.
_bodies: dict[str, bytes] = {}


def broken_promises(s3: Any, images_bucket: str, final_bucket: str, scope: Scope) -> list[str]:
    """Return a sentence for each thing that is not as it must be.

    Parameters
    ----------
    scope
        Which objects of the bucket are images.
    """
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=images_bucket)
    objects = {
        entry["Key"]: entry
        for page in pages
        for entry in page.get("Versions", [])
        if entry["IsLatest"] and not why_out_of_scope(entry["Key"], entry["Size"], scope)
    }
    results: dict[str, dict[str, Any]] = {}
    problems = []
    for prefix in ("results/", "results-long/"):
        for entry in listed(s3, final_bucket, prefix):
            body = _body(s3, final_bucket, entry)
            if body is None:
                continue  # deleted since it was listed: whoever waits asks again
            result = json.loads(body)
            key = result["source"]["key"]
            if entry["Key"] != _place(key):
                problems.append(f"{entry['Key']!r} is the result of {key!r}, whose place is another one")
            results[key] = result
    problems += [f"{key!r} has no result" for key in objects.keys() - results.keys()]
    problems += [f"{key!r} has a result and is not there" for key in results.keys() - objects.keys()]
    for key in objects.keys() & results.keys():
        told, is_there = results[key]["source"], _source_of(images_bucket, key, objects[key])
        told = told | {"last_modified": told["last_modified"][:19]}
        if told != is_there:
            problems.append(f"the result of {key!r} is of {told}, and {is_there} is there")
    return problems + wrong_lines(s3, final_bucket, results)


def wrong_lines(s3: Any, final_bucket: str, results: dict[str, dict[str, Any]], media: str = IMAGE) -> list[str]:
    """Return a sentence for each key of images, or of videos, of whose result the catalog tells something else."""
    lines = defaultdict(list)
    for entry in listed(s3, final_bucket, "catalog/"):
        body = _body(s3, final_bucket, entry) or b""
        for line in body.decode().split("\n"):
            if line and media_of(json.loads(line)) == media:
                lines[json.loads(line)["key"]].append(json.loads(line))
    problems = []
    for key in lines.keys() | results.keys():
        newest_at = max((line["recorded_at"] for line in lines[key]), default=None)
        # Of lines of one second, the one counts that tells what is there.
        newest = [(line["status"], line.get("finished_at")) for line in lines[key] if line["recorded_at"] == newest_at]
        there = (results[key]["status"], results[key]["analyzed_at"]) if key in results else ("deleted", None)
        if there not in newest:
            problems.append(f"the catalog says {newest} of {key!r}, and {there} is there")
    return problems


def _body(s3: Any, bucket: str, entry: dict[str, Any]) -> bytes | None:
    """Return what an object holds that was listed; None where it is gone.

    It is read once, for whoever waits looks again and again at thousands of objects. An ETag is the hash of a body.
    """
    if (body := _bodies.get(entry["ETag"])) is None:
        answer = found(s3.get_object, Bucket=bucket, Key=entry["Key"])
        if answer is None:
            return None
        body = _bodies[answer["ETag"]] = answer["Body"].read()
    return body


def _place(key: str) -> str:
    if len(key.encode()) <= 1011:
        return f"results/{key}.json"
    return f"results-long/{hashlib.sha256(key.encode()).hexdigest()}.json"


def _source_of(bucket: str, key: str, entry: dict[str, Any]) -> dict[str, Any]:
    version_id = entry["VersionId"]
    return {
        "bucket": bucket,
        "key": key,
        "version_id": None if version_id == "null" else version_id,
        "etag": entry["ETag"].strip('"'),
        "size_bytes": entry["Size"],
        "last_modified": entry["LastModified"].strftime("%Y-%m-%dT%H:%M:%S"),
    }


def listed(s3: Any, bucket: str, prefix: str) -> list[dict[str, Any]]:
    """Return all current objects under a prefix."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry for page in pages for entry in page.get("Contents", [])]
