"""Uploads the user's images to their bucket, and downloads the results."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_vision.operator.folders import upload_files
from batch_vision.operator.paths import SUFFIXES, Places, other_path
from local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from local.environment import Environment

_PARALLEL = 8
# In a folder of results: a later run may replace what stands beside it.
_MARK = ".batch-vision-results"


def check_out(folder: Path, images: Path, *, is_replaced: bool = False) -> None:
    """Check that results can go to a folder, which is made if it is not there.

    Parameters
    ----------
    images
        The user's images, which are not to be touched.
    is_replaced
        Whether results of an earlier run may be there, which `clear_out` removes.

    Raises
    ------
    LocalError
        It is a file, holds something else or the images, or cannot be written.
    """
    if images.resolve().is_relative_to(folder.resolve()):
        raise LocalError(f"IMAGES={images} is in OUT={folder}. Give another folder for the results.")
    if folder.exists() and not folder.is_dir():
        raise LocalError(f"OUT={folder} is not a folder. Give the path of a folder for the results.")
    try:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if names - {_MARK} and not (is_replaced and _MARK in names):
            raise LocalError(f"OUT={folder} is not empty. Empty it, or give another folder for the results.")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MARK).touch()
    except OSError as error:
        raise LocalError(f"OUT={folder} cannot be written ({error.strerror}). Give another folder.") from error


def clear_out(folder: Path) -> None:
    """Remove the results of an earlier run from a folder that was checked."""
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / _MARK).touch()


def upload(
    environment: Environment,
    images: Mapping[str, Path],
    progress: Callable[[int, int, str], None],
    bucket_name: str | None = None,
) -> dict[str, str]:
    """Upload all images, or videos, several at a time, and return why each could not be that was not.

    Parameters
    ----------
    bucket_name
        None for the bucket of the images.
    """
    done, failed = count(1), {}

    def fails(key: str, problem: str) -> None:
        failed[key] = problem
        progress(next(done), len(images), key)

    upload_files(
        environment.client("s3"),
        bucket_name or environment.bucket_name,
        images,
        ends=lambda key: progress(next(done), len(images), key),
        fails=fails,
    )
    return failed


@dataclass
class Results:
    """What came back.

    Attributes
    ----------
    renamed
        The path of each key of the final bucket that could not be its own path.
    failed
        Why each key is not in the folder that is not.
    """

    results: list[dict[str, Any]] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

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

    def by_kind(self) -> Counter[str]:
        """Count the predictions by their kind."""
        return Counter(prediction["kind"] for result in self.results for prediction in result["predictions"])

    def refused_analyses(self) -> Counter[str]:
        """Count the analyses that refused an image which others did not."""
        return Counter(operation for result in self.results for operation in result["errors"])

    def by_label(self) -> Counter[str]:
        """Count the processed images by label."""
        labels = self.top_labels()
        processed = [result["source"]["key"] for result in self.results if result["status"] == "processed"]
        return Counter(labels.get(key, "(no label)") for key in processed)

    def by_reason(self, status: str) -> Counter[str]:
        """Count the images that ended so by reason."""
        return Counter(result["error"]["type"] for result in self.results if result["status"] == status)

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
    """Fetch everything of the final bucket but what is of videos, and read the results among it."""
    s3, bucket = environment.client("s3"), environment.output("final_bucket_name")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    entries = (entry["Key"] for page in pages for entry in page.get("Contents", []))
    keys = [key for key in entries if not key.startswith("videos/")]
    results = Results()
    paths = paths_for(keys)

    def fetch(key: str) -> dict[str, Any] | None:
        answer = s3.get_object(Bucket=bucket, Key=key)
        content = answer["Body"].read()
        path = folder / paths[key]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            results.failed[key] = f"{path} cannot be written ({error.strerror})"
        return json.loads(content) if answer["Metadata"].get("batch-vision") == "result" else None

    with ThreadPoolExecutor(_PARALLEL) as pool:
        for done, (key, result) in enumerate(zip(keys, pool.map(fetch, keys), strict=True), start=1):
            if result:
                results.results.append(result)
            progress(done, len(keys), key)
    results.renamed = {key: path for key, path in paths.items() if path != key and key not in results.failed}
    return results


def paths_for(keys: Sequence[str]) -> dict[str, str]:
    """Return the path of each object in the folder of results: what belongs to an image is beside it."""
    places, known, bases = Places(), set(keys), {}
    for key in sorted(keys):
        base = next((key.removesuffix(end) for end in SUFFIXES if key.endswith(end)), "")
        if base not in known:
            bases[key] = places.take(key) or other_path(key)
    return {key: bases.get(key) or _beside(key, bases) for key in keys}


def _beside(key: str, bases: Mapping[str, str]) -> str:
    end = next(end for end in SUFFIXES if key.endswith(end))
    base = key.removesuffix(end)
    return f"{bases.get(base) or _beside(base, bases)}{end}"
