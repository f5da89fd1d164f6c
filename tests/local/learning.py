"""What stands for the training of a model: the emulator learns from the images that a manifest names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local import environment
from local.processes import find_background
from tests.local import permissions
from tests.local.deployment import LABELLED, TIMES

_STOP_SECONDS = 10


def labelled_folder(s3: Any, manifest: Path, folder: Path) -> Path:
    """Download the images of a manifest of labels into a folder, one subfolder for each label."""
    for number, line in enumerate(manifest.read_text().splitlines()):
        one = json.loads(line)
        place = urlsplit(one["source-ref"])
        path = folder / one["batch-vision-0-metadata"]["class-name"] / f"{number}{Path(place.path).suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(place.netloc, place.path.removeprefix("/"), str(path))
    return folder


@contextmanager
def trained(labelled: Path, arns: Sequence[str]) -> Iterator[None]:
    """Have the models of the emulator learned from a folder, and afterwards that of the tests from the samples."""
    _restart(labelled, [f"--project-version-arn={arn}" for arn in arns])
    try:
        yield
    finally:
        _restart(LABELLED, [])


def _restart(labelled: Path, options: list[str]) -> None:
    running = find_background(environment.EMULATOR_PID_FILE)
    assert running
    running.stop(_STOP_SECONDS)
    recorded = f"--record-calls={permissions.RECORDED_CALLS}"
    environment._start_emulator(labelled, TIMES, True, [recorded, *options])
