"""How fast the planner of a backfill is and what it holds in memory: the real one over boto3, without a network."""

from __future__ import annotations

import gzip
import io
import json
import multiprocessing
import resource
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from batch_vision.core.backfills import Job, Kind, Source, list_key
from batch_vision.core.times import to_text
from batch_vision.images.planning import Planner
from batch_vision.images.settings import PlanBackfillSettings
from batch_vision.operator.prices import S3_READ_DOLLARS, S3_WRITE_DOLLARS
from benchmarks.report import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (100_000, 1_000_000)
_PAGE = 1000
_CHUNK_IMAGES = 1000
_UPLOADED_AT = datetime(2026, 1, 1, tzinfo=UTC)
_DONE_AT = _UPLOADED_AT + timedelta(days=1)
_FIELDS = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "StorageClass", "EncryptionStatus")
_ROW = '"images","{}","v","true","false","200000","STANDARD","SSE-S3"\n'
_SETTINGS = PlanBackfillSettings(
    images_bucket_name="images",
    source_prefixes=("",),
    image_suffixes=(".jpg",),
    final_bucket_name="final",
    settings_fingerprint="f1",
    chunk_images=_CHUNK_IMAGES,
    queue_url="queue",
    starts_model=False,
)


def _key(number: int) -> str:
    return f"line-3/2026-01-01/camera-7/{number:012d}.jpg"


class GeneratedS3:
    """Answers requests of a boto3 client as S3 would, for a bucket of so many images.

    Parameters
    ----------
    done_percent
        How many of the images have a result, spread evenly.
    """

    def __init__(self, size: int, done_percent: int) -> None:
        self._size = size
        self._done_percent = done_percent
        self._objects: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.client = boto3.client(
            "s3",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )
        self.client.meta.events.register("before-send.s3", self._answer)

    def put(self, key: str, body: bytes) -> None:
        self._objects[key] = body

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        url = urlsplit(request.url)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        bucket, _, key = unquote(url.path).removeprefix("/").partition("/")
        if "list-type" in asked:
            self.requests["LIST"] += 1
            return response(self._listing(bucket, asked))
        self.requests[request.method] += 1
        if request.method == "PUT":
            return response(b"", ETag='"e"')
        body = self._objects.get(key)
        if body is None:
            return response(b"<Error><Code>NoSuchKey</Code></Error>", status=404)
        return response(b"" if request.method == "HEAD" else body, ETag='"e"', **{"Content-Length": str(len(body))})

    def _listing(self, bucket: str, asked: dict[str, str]) -> bytes:
        is_results = bucket == "final"
        begin = int(asked.get("continuation-token", 0))
        numbers = range(begin, min(begin + _PAGE, self._size))
        end = begin + _PAGE
        if is_results:
            numbers = range(begin, min(begin + _PAGE * 100 // max(1, self._done_percent), self._size))
            end = numbers.stop
        entry = (
            "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{:032x}&quot;</ETag><Size>200000</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        ).format
        if is_results:
            entries = [
                entry(f"results/{_key(number)}.json", to_text(_DONE_AT), number)
                for number in numbers
                if number % 100 < self._done_percent
            ]
        else:
            entries = [entry(_key(number), to_text(_UPLOADED_AT), number) for number in numbers]
        is_cut = end < self._size
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if is_cut else ""
        return (
            f"<ListBucketResult><IsTruncated>{str(is_cut).lower()}</IsTruncated><EncodingType>url</EncodingType>{token}"
            f"{''.join(entries)}</ListBucketResult>"
        ).encode()


class _Body(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        while chunk := self.read(65536):
            yield chunk


def response(body: bytes, status: int = 200, **headers: str) -> AWSResponse:
    """Return what S3 answers."""
    # What is read from it in parts is read from `raw`.
    return AWSResponse("https://s3", status, headers, _Body(body))


def _job(kind: Kind, size: int, s3: GeneratedS3) -> Job:
    """Return a job, with the files of its list in place, of 100,000 rows each."""
    if kind is Kind.LISTING:
        return Job(id="job", created_at="")
    files = []
    for number in range(0, size, 100_000):
        keys = (_key(n) for n in range(number, min(size, number + 100_000)))
        is_inventory = kind is Kind.INVENTORY
        files.append(list_key("job", number, ".csv.gz" if is_inventory else ".csv"))
        text = "".join(_ROW.format(key) if is_inventory else f"images,{key}\r\n" for key in keys).encode()
        s3.put(files[-1], gzip.compress(text, 1) if is_inventory else text)
    return Job(id="job", created_at="", source=Source(kind, name="list", fields=_FIELDS, files=tuple(files)))


def _measure(kind: Kind, size: int, done_percent: int, answers: Any) -> None:
    """Plan in this process, and put what it took into the queue."""
    s3 = GeneratedS3(size, done_percent)
    job = _job(kind, size, s3)
    before_kb, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    planner = Planner(_SETTINGS, s3.client, None, job, float("inf"))  # type: ignore[arg-type]  # nothing is sent
    planner.go_on()
    seconds = time.process_time() - began
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put((seconds, (peak_kb - before_kb) / 1024, dict(s3.requests), json.loads(planner.plan.body(""))["counts"]))


def _measured(kind: Kind, size: int, done_percent: int) -> Any:
    context = multiprocessing.get_context("spawn")  # its memory is its own
    answers = context.Queue()
    process = context.Process(target=_measure, args=(kind, size, done_percent, answers))
    process.start()
    found = answers.get(timeout=900)
    process.join()
    return found


def _dollars(requests: dict[str, int]) -> float:
    return (requests.get("LIST", 0) + requests.get("PUT", 0)) * S3_WRITE_DOLLARS + sum(
        requests.get(method, 0) for method in ("GET", "HEAD")
    ) * S3_READ_DOLLARS


def run(quick: bool = False) -> Result:
    """Measure each source and size."""
    rows: list[dict[str, Any]] = []
    growth: dict[str, float] = {}
    done_dollars = 0.0
    sizes = (10_000, 20_000) if quick else SIZES
    for name, kind, done_percent in (
        ("listing, nothing done", Kind.LISTING, 0),
        ("listing, all done", Kind.LISTING, 100),
        ("inventory", Kind.INVENTORY, 0),
        ("CSV", Kind.CSV, 0),
    ):
        of_key = []
        for size in sizes:
            seconds, more_mb, requests, counts = _measured(kind, size, done_percent)
            of_key.append(seconds / size)
            dollars = _dollars(requests)
            rows.append(
                {
                    "source": name,
                    "keys": size,
                    "planned": counts.get("planned", 0),
                    "keys a second": round(size / seconds),
                    "memory above the start, MB": round(more_mb),
                    "requests": sum(requests.values()),
                    "dollars": round(dollars, 4),
                }
            )
            if done_percent == 100:
                done_dollars = dollars
        growth[name] = of_key[1] / of_key[0]
    result = Result("Planning a backfill", rows)
    worst = max(growth.values())
    result.target(f"time for a key at {sizes[1]:,} keys, of that at {sizes[0]:,}", round(worst, 2), is_met=worst <= 1.1)
    result.target(
        "dollars for a bucket of 1,000,000 keys that is done", round(done_dollars, 4), is_met=done_dollars < 0.05
    )
    most_mb = max(row["memory above the start, MB"] for row in rows)
    result.target("memory above the start of the planner, MB", most_mb, is_met=most_mb <= 100)
    result.notes += [
        "Processor time of the planner with boto3, which reads S3's XML; S3's own answers come without a network.",
        "A list is read twice, once to check it. Its files are held by the benchmark and not counted.",
    ]
    return result
