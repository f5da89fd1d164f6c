"""What collecting the answers of a job takes: the real collector in a fresh process, and the pages of the service.

Beside it, what public samples do: all pages in a list, and that as one JSON.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import run_for_json
from benchmarks.report import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch_vision.backends.rekognition_video import RekognitionVideos

# Six hours of two looks a second and ten labels each, and a tenth of that.
SIZES = (43_200, 432_000)
MOST_MB = 128.0
MOST_GROWTH = 1.2
MOST_LOAD_RATIO = 2.0

_PAGE_DETECTIONS = 1000
_LABELS_AT_ONCE = 10
_MOMENT_MS = 500
_SCENE_MOMENTS = 40
_NAMES = [f"{what} {number}" for what in ("Person", "Vehicle", "Animal", "Building", "Tool") for number in range(40)]
_ROUNDS = 2


def labels(number: int) -> Iterator[str]:
    """Return the labels of a video as the service writes them: of a scene, ten that come and go."""
    chance = random.Random(number)
    shown: list[str] = []
    for at in range(number):
        moment, place = divmod(at, _LABELS_AT_ONCE)
        if moment % _SCENE_MOMENTS == 0 and place == 0:
            shown = chance.sample(_NAMES, _LABELS_AT_ONCE)
        instance = (
            f'{{"BoundingBox":{{"Width":0.{chance.randrange(10**9):09},"Height":0.{chance.randrange(10**9):09},'
            f'"Left":0.{chance.randrange(10**9):09},"Top":0.{chance.randrange(10**9):09}}},"Confidence":91.{at:06}}}'
        )
        name = shown[place]
        yield (
            f'{{"Timestamp":{moment * _MOMENT_MS},"Label":{{"Name":"{name}","Confidence":'
            f'{50 + chance.random() * 50:.12f},"Instances":[{instance if place < 2 else ""}],"Parents":'
            f'[{{"Name":"{name.partition(" ")[0]}"}}],"Aliases":[],"Categories":[{{"Name":"Everyday Objects"}}]}}}}'
        )


def pages(number: int) -> Iterator[bytes]:
    """Return the answers of the service."""
    found, last = labels(number), -(-number // _PAGE_DETECTIONS)
    for page in range(1, last + 1):
        listed = ",".join(label for _, label in zip(range(_PAGE_DETECTIONS), found, strict=False))
        token = f',"NextToken":"{page}"' if page < last else ""
        yield (
            f'{{"JobStatus":"SUCCEEDED","LabelModelVersion":"3.0","VideoMetadata":{{"DurationMillis":21600000,'
            f'"FrameRate":25.0,"Codec":"h264","Format":"QuickTime / MOV","FrameHeight":720,"FrameWidth":1280}},'
            f'"Labels":[{listed}]{token}}}'
        ).encode()


class Body:
    """What the network gives back."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> list[bytes]:
        return [self._content]


class Sink:
    """A final bucket on the disk, in which no more is held than in a network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put_object(self, Key: str, Body: bytes, **_: Any) -> dict[str, Any]:
        return self._append(Key, Body, mode="wb")

    def create_multipart_upload(self, **_: Any) -> dict[str, Any]:
        return {"UploadId": "upload"}

    def upload_part(self, Key: str, Body: bytes, **_: Any) -> dict[str, Any]:
        return self._append(Key, Body, mode="ab")

    def complete_multipart_upload(self, **_: Any) -> None:
        pass

    def delete_object(self, Key: str, **_: Any) -> None:
        (self._folder / Key.rpartition("/")[2]).unlink(missing_ok=True)

    def get_object(self, Key: str, **_: Any) -> Any:
        from botocore.exceptions import ClientError

        path = self._folder / Key.rpartition("/")[2]
        if not path.exists():
            raise ClientError({"ResponseMetadata": {"HTTPStatusCode": 404}}, "GetObject")  # type: ignore[typeddict-item]
        return {"Body": path.open("rb")}

    def _append(self, key: str, body: bytes, mode: str) -> dict[str, Any]:
        with (self._folder / key.rpartition("/")[2]).open(mode) as file:
            file.write(body)
        return {"ETag": "etag"}


def _service(number: int) -> RekognitionVideos:
    """Return the real client, to which these pages come."""
    import boto3
    from botocore.awsrequest import AWSResponse

    from batch_vision.aws.clients import RETRYING
    from batch_vision.backends.rekognition_video import RekognitionVideos

    client = boto3.client("rekognition", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b", config=RETRYING)
    answers = pages(number)

    def answer(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, 200, {}, Body(next(answers)))

    client.meta.events.register("before-send.rekognition", answer)
    return RekognitionVideos(client, client)


def collect_here(number: int, folder: Path) -> dict[str, Any]:
    """Collect with the real collector, in two invocations: the first one's time is over after half of the pages."""
    from batch_vision.core.videos import Record, VideoMetadata
    from batch_vision.videos.collecting import collect

    at = datetime(2026, 1, 1, tzinfo=UTC)
    record = Record(
        record_id="r" * 40,
        bucket="films",
        key="a.mp4",
        upload="v",
        uploaded_at=at,
        analysis="labels",
        generation=1,
        request={},
        minutes=360,
        video=VideoMetadata(),
        due_at=at,
        job_id="job",
    )
    service, s3 = _service(number), Sink(folder)
    looks = iter([0.0] * (number // _PAGE_DETECTIONS // 2))
    began = time.process_time()
    first = collect(record, service, s3, "final", 1.0, clock=lambda: next(looks, 1.0))  # type: ignore[arg-type]
    assert first is None
    collected = collect(record, service, s3, "final", float("inf"))  # type: ignore[arg-type]
    assert collected
    return {"cpu": time.process_time() - began, "detections": collected.detections, "segments": collected.segments}


def list_here(number: int, folder: Path) -> dict[str, Any]:
    """Collect as public samples do."""
    service = _service(number)
    began = time.process_time()
    listed: list[Any] = []
    token = None
    while True:
        page = service.page("labels", "job", token)
        listed += page.detections
        token = page.next_token
        if token is None:
            break
    (folder / "all.json").write_bytes(json.dumps(listed).encode())
    return {"cpu": time.process_time() - began, "detections": len(listed)}


def measure_here(way: str, number: int, folder: Path) -> None:
    """Collect in one way, and print what that took."""
    began = time.process_time()
    for _ in pages(number):
        pass
    pages_alone = time.process_time() - began
    found = collect_here(number, folder) if way == "collector" else list_here(number, folder)
    # Not ru_maxrss: a process inherits that from the one that started it.
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    # Writing the pages is the service's work.
    print(json.dumps(found | {"cpu": found["cpu"] - pages_alone, "mb": peak * 1024 / 1e6}))


def _measured(way: str, number: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = run_for_json([sys.executable, "-m", "benchmarks.video_collect", way, str(number), folder])
    return found


def measure(number: int) -> dict[str, Any]:
    """Measure a video of so many labels, each way in processes of its own, one after the other: the least CPU time."""
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            ours.append(_measured("collector", number, Path(name)))
            stored = Path(name, "labels.jsonl.gz")
            size_mb = stored.stat().st_size / 1e6
            with gzip.open(stored) as file:
                lines = sum(1 for _ in file)
            theirs.append(_measured("list", number, Path(name)))
            whole_mb = Path(name, "all.json").stat().st_size / 1e6
    cpu, cpu_of_list = (min(one["cpu"] for one in found) for found in (ours, theirs))
    return {
        "labels": number,
        "pages": -(-number // _PAGE_DETECTIONS),
        "segments": ours[0]["segments"],
        "CPU time, s": cpu,
        "list and json.dumps: CPU time, s": cpu_of_list,
        "of that": cpu / cpu_of_list,
        "peak memory, MB": max(one["mb"] for one in ours),
        "list and json.dumps: peak memory, MB": max(one["mb"] for one in theirs),
        "stored, MB": size_mb,
        "list and json.dumps: stored, MB": whole_mb,
        "all are there": lines == number == ours[0]["detections"],
    }


def run(quick: bool = False) -> Result:
    """Measure each size."""
    rows = [measure(number) for number in ((3_000,) if quick else SIZES)]
    result = Result("Videos: collecting the labels of a job, the real collector and pages of the service", rows)
    largest = rows[-1]
    memory = max(row["peak memory, MB"] for row in rows)
    result.target(f"under {MOST_MB:g} MB of memory", memory, is_met=memory < MOST_MB)
    ratio = largest["of that"]
    result.target(
        f"at most {MOST_LOAD_RATIO:g} times the CPU time of a list and json.dumps, which neither compress nor merge",
        ratio,
        is_met=ratio <= MOST_LOAD_RATIO,
    )
    if len(rows) > 1:
        growth = largest["CPU time, s"] / rows[0]["CPU time, s"] / (largest["labels"] / rows[0]["labels"])
        result.target("CPU time grows as the labels do: times linear", growth, is_met=growth <= MOST_GROWTH)
    are_there = all(row["all are there"] for row in rows)
    result.target("no label is lost", are_there, is_met=are_there)
    result.notes.append(
        "432,000 labels are a video of six hours, looked at twice a second with ten labels each, in scenes of 20 s. The"
        " collector is interrupted after half of the pages and goes on there."
        " Both ways read the pages with boto3, whose part is most of the CPU time; writing the pages, the service's"
        f" work, is not counted. CPU time is the least of {_ROUNDS}."
    )
    return result


if __name__ == "__main__":
    measure_here(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
