"""What a chunk of a backfill costs beside its images, and how much of the backfill's share of the quota is used.

The real function that works chunks off, over boto3; S3 and the model answer without a network, after the time that they
usually take where that matters.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest import mock

from batch_vision.aws import clients
from batch_vision.backends.contracts import Detection
from batch_vision.core.chunks import Chunk, chunk_key
from batch_vision.core.observability import logger
from batch_vision.images import working_off
from batch_vision.images.chunk import ASKING_SHARE
from batch_vision.images.detectors import Detectors
from batch_vision.images.keys import Keys
from batch_vision.images.pace import Pace
from batch_vision.images.settings import WorkOffChunkSettings
from batch_vision.operator.cost import S3_READS_PER_IMAGE_IN_PLACE, S3_WRITES_PER_IMAGE_IN_PLACE
from benchmarks.cost import Context
from benchmarks.planning import GeneratedS3, response
from benchmarks.report import Result
from benchmarks.simulation import function_environment, terraform_defaults

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

    from batch_vision.backends.contracts import ReadableImage

SIZES = (100, 1000)
_TIMES = 3  # the least of so many, for other work of the machine only adds
_SHARE_PER_SECOND = 40.0  # 80% of 50
_MODEL_SECONDS, _S3_SECONDS = 0.4, 0.03
_TIMEOUT_SECONDS = 300.0
_REQUESTS_OF_IMAGE = S3_READS_PER_IMAGE_IN_PLACE + S3_WRITES_PER_IMAGE_IN_PLACE
_UPLOADED_AT = "Thu, 01 Jan 2026 00:00:00 GMT"


class Images(GeneratedS3):
    """An S3 that has every image and no result.

    Parameters
    ----------
    seconds
        How long it takes to answer.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(0, 0)
        self._seconds = seconds

    def _answer(self, request: Any, **more: Any) -> AWSResponse:
        time.sleep(self._seconds)
        is_image = request.method == "HEAD" and "/images/" in request.url
        if not is_image and request.method != "DELETE":
            return super()._answer(request, **more)
        self.requests[request.method] += 1
        told = {"ETag": '"e"', "Last-Modified": _UPLOADED_AT, "Content-Length": "200000"}
        return response(b"", **told) if is_image else response(b"", status=204)


class Model:
    """Says nothing of any image."""

    model_id = "fake"

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    def detect(self, _: ReadableImage) -> Detection:
        time.sleep(self._seconds)
        return Detection()


def _keys(images: int, chunk: int) -> tuple[str, ...]:
    return tuple(f"line-3/2026-01-01/camera-7/{chunk:02d}-{number:010d}.jpg" for number in range(images))


def _detectors(model: Model, per_second: float) -> Detectors:
    return Detectors("fake", {"fake": model}, {"fake": Pace(per_second, per_second)})  # type: ignore[dict-item]


def _work_off(s3: Images, detectors: Detectors, images: int, chunks: int = 1) -> None:
    """Let the function work off chunks, one after the other."""
    with (
        mock.patch.object(clients, "s3", return_value=s3.client),
        mock.patch.object(working_off, "detectors", return_value=detectors),
    ):
        for number in range(chunks):
            chunk = Chunk("f1", _keys(images, number))
            key = chunk_key("job", "1", chunk)
            s3.put(key, chunk.body())
            answer: dict[str, Any] = {}
            while answer.get("left", 1):
                answer = working_off.work_off_chunk({"chunk": key, "previous": answer}, Context(_TIMEOUT_SECONDS))  # type: ignore[arg-type]


def _images_alone(s3: Images, detectors: Detectors, images: int, settings: WorkOffChunkSettings) -> None:
    """Do what the function does about each image, and nothing else."""
    keys = Keys(settings, s3.client, detectors, time.monotonic() + _TIMEOUT_SECONDS * ASKING_SHARE)
    with ThreadPoolExecutor(clients.MAX_CONNECTIONS) as pool:
        list(pool.map(lambda key: keys.update(key, "f1"), _keys(images, 0)))


def measure(images: int) -> dict[str, Any]:
    """Work a chunk off, and its images without one."""
    settings = working_off.settings_of(WorkOffChunkSettings)
    alone, together, requests = [], [], 0
    for _ in range(_TIMES):
        for found, work in (
            (alone, lambda s3: _images_alone(s3, _detectors(Model(), 1e9), images, settings)),
            (together, lambda s3: _work_off(s3, _detectors(Model(), 1e9), images)),
        ):
            s3 = Images()
            began = time.process_time()
            work(s3)
            found.append(time.process_time() - began)
            requests = s3.requests.total()
    return {
        "images of the chunk": images,
        "requests / image": requests / images,
        "more requests / image": requests / images - _REQUESTS_OF_IMAGE,
        "CPU ms / image": 1000 * min(together) / images,
        "more CPU ms / image": 1000 * max(0.0, min(together) - min(alone)) / images,
    }


def share_used(images: int, chunks: int) -> float:
    """Work chunks off at the pace of a backfill, and return how much of it is used from the first call to the last."""
    began = time.monotonic()
    _work_off(Images(_S3_SECONDS), _detectors(Model(_MODEL_SECONDS), _SHARE_PER_SECOND), images, chunks)
    # Its first calls make up for a second in which there was no work.
    return images * chunks / (time.monotonic() - began + 1) / _SHARE_PER_SECOND


def run(quick: bool = False) -> Result:
    """Measure chunks of two sizes, and some in a row at the pace of a backfill."""
    told = function_environment(
        terraform_defaults(),
        IMAGES_BUCKET_NAME="images",
        SOURCE_PREFIXES='[""]',
        IMAGE_SUFFIXES='[".jpg"]',
        FINAL_BUCKET_NAME="final",
        SETTINGS_FINGERPRINT="f1",
        POWERTOOLS_METRICS_DISABLED="true",
    )
    logger.setLevel("CRITICAL")
    with mock.patch.dict(os.environ, told):
        rows = [measure(images) for images in ((100,) if quick else SIZES)]
        used = share_used(*((40, 1) if quick else (1000, 3)))
    result = Result("A chunk of a backfill", rows)
    result.target(
        "more requests for each image of a full chunk",
        rows[-1]["more requests / image"],
        is_met=rows[-1]["more requests / image"] <= 5 / rows[-1]["images of the chunk"],
    )
    result.target("at least 95% of the backfill's own share used", used, is_met=used >= 0.95)
    result.notes += [
        f"Beside the {_REQUESTS_OF_IMAGE} requests of an image (three looks and the result), the chunk is read and"
        " deleted, and the catalog's lines and a word to the function of live events are written. CPU time is the least"
        f" of {_TIMES}, beside that of the same images without a chunk.",
        f"The share: chunks of 1,000 images, one after the other, at {_SHARE_PER_SECOND:g} calls a second, 80% of a"
        f" quota of 50, with {_MODEL_SECONDS:g} s for a call of the model and {_S3_SECONDS:g} s for a request of S3.",
    ]
    return result
