"""Uploads the user's images to the source bucket, and downloads the results."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_vision.operator.folders import upload_files
from local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.environment import Environment

_PARALLEL = 8


def check_out(folder: Path) -> None:
    """Check that results can go to a folder; raises `LocalError` when it is a file or holds something."""
    if folder.exists() and not folder.is_dir():
        raise LocalError(f"OUT={folder} is not a folder. Give the path of a folder for the results.")
    if folder.is_dir() and any(folder.iterdir()):
        raise LocalError(f"OUT={folder} is not empty. Empty it, or give another folder for the results.")


def upload(environment: Environment, images: Mapping[str, Path], progress: Callable[[int, int, str], None]) -> None:
    """Upload all images, several at a time."""
    done = count(1)
    upload_files(
        environment.client("s3"),
        environment.output("source_bucket_name"),
        images,
        ends=lambda key: progress(next(done), len(images), key),
    )


@dataclass
class Results:
    """What came back."""

    results: list[dict[str, Any]] = field(default_factory=list)

    def count(self, status: str) -> int:
        """Count the images that ended so."""
        return sum(result["status"] == status for result in self.results)

    def top_labels(self) -> dict[str, str]:
        """Return the label of each processed image that has one: its most confident prediction."""
        return {
            result["source"]["key"]: max(result["predictions"], key=lambda label: label["confidence"])["name"]
            for result in self.results
            if result["predictions"]
        }

    def by_label(self) -> Counter[str]:
        """Count the processed images by label."""
        labels = self.top_labels()
        processed = [result["source"]["key"] for result in self.results if result["status"] == "processed"]
        return Counter(labels.get(key, "(no label)") for key in processed)

    def by_reason(self) -> Counter[str]:
        """Count the rejected images by reason."""
        return Counter(result["error"]["type"] for result in self.results if result["error"])

    def anomalous(self) -> int | None:
        """Count the images with an anomaly; None where the model does not look for any."""
        verdicts = [result["anomaly"]["is_anomalous"] for result in self.results if result["anomaly"]]
        return sum(verdicts) if verdicts else None

    def agreement(self, labels: list[str]) -> tuple[int, int]:
        """Count the processed images whose folder is named as a label, and of those the ones given that label."""
        top = self.top_labels()
        folders = {
            result["source"]["key"]: Path(result["source"]["key"]).parent.name
            for result in self.results
            if result["status"] == "processed"
        }
        named = {key: folder for key, folder in folders.items() if folder in labels}
        return sum(top.get(key) == folder for key, folder in named.items()), len(named)


def download(environment: Environment, folder: Path, progress: Callable[[int, int, str], None]) -> Results:
    """Fetch everything of the final bucket and read the results among it."""
    s3, bucket = environment.client("s3"), environment.output("final_bucket_name")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    results = Results()

    def fetch(key: str) -> dict[str, Any] | None:
        target = folder / key
        if not target.resolve().is_relative_to(folder.resolve()):
            raise LocalError(f"The key {key!r} leads out of {folder}; fetch it by hand.")
        target.parent.mkdir(parents=True, exist_ok=True)
        answer = s3.get_object(Bucket=bucket, Key=key)
        content = answer["Body"].read()
        target.write_bytes(content)
        return json.loads(content) if answer["Metadata"].get("batch-vision") == "result" else None

    with ThreadPoolExecutor(_PARALLEL) as pool:
        for done, (key, result) in enumerate(zip(keys, pool.map(fetch, keys), strict=True), start=1):
            if result:
                results.results.append(result)
            progress(done, len(keys), key)
    return results
