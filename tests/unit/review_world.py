"""A review of made-up images, with its server, for tests of the page and of what the page asks."""

from __future__ import annotations

import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image, ImageDraw

from batch_vision.operator.corrections import read_all
from batch_vision.operator.review.cards import Cards
from batch_vision.operator.review.journal import Journal
from batch_vision.operator.review.rows import Row, row_of
from batch_vision.operator.review.server import Server
from batch_vision.operator.review.session import Session

FINAL = "final"
HOSTILE = "\"'><script>alert(1)</script>\n&amp;\u2028\u202e{{7*7}}%2B+"
BOX = {"left": 0.25, "top": 0.5, "width": 0.25, "height": 0.25}


class FinalBucket:
    """All of a stack that a review needs."""

    def __init__(self, s3: Any, name: str = FINAL) -> None:
        self.s3, self.name = s3, name

    def stack(self) -> Any:
        return SimpleNamespace(s3=self.s3, final_bucket_name=self.name, name="pile")

    def listed(self) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def place(self, one: dict[str, Any], content: bytes, **more: Any) -> dict[str, Any]:
        """Leave an image and its result as the analyzing function does."""
        result = {
            "schema_version": 2,
            "status": "processed",
            "source": {name: one[name] for name in ("key", "version_id", "etag", "size_bytes")} | {"bucket": "source"},
            "predictions": [said | {"bounding_box": BOX} for said in one["predictions"]],
            "anomaly": one["anomaly"],
            "model": {"backend": "rekognition_custom_labels", "id": one["model"]},
            "image_key": one["image_key"],
            "mask_key": None,
        } | more
        self.s3.put_object(Bucket=self.name, Key=one["image_key"], Body=content)
        mark = {"batch-vision": "result"}
        self.s3.put_object(Bucket=self.name, Key=f"{one['image_key']}.json", Body=json.dumps(result), Metadata=mark)
        return result


def line(number: int, *said: tuple[str, float], key: str = "", **more: Any) -> dict[str, Any]:
    """A line of the catalog, of version 2."""
    key = key or f"line {number % 3}/{number:06}.png"
    return {
        "schema_version": 2,
        "key": key,
        "version_id": f"v{number}",
        "etag": f"e{number}",
        "size_bytes": 1000,
        "status": "processed",
        "image_key": f"processed/{key}",
        "model": "arn:aws:rekognition:us-east-1:123456789012:project/p/version/v/1",
        "finished_at": f"2026-11-{20 + number % 3:02}T08:00:00.000Z",
        "predictions": [{"name": name, "kind": "custom_label", "confidence": percent} for name, percent in said],
        "anomaly": None,
    } | more


def drawn(colour: str, size: tuple[int, int] = (320, 200), form: str = "PNG", **options: Any) -> bytes:
    """A picture with something in it."""
    picture = Image.new("RGB", size, colour)
    ImageDraw.Draw(picture).ellipse((size[0] // 4, size[1] // 2, size[0] // 2, 3 * size[1] // 4), fill="black")
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


@contextmanager
def reviewing(stack: Any, rows: list[Row], journal: Path, by: str = "ann", *, sends: bool = True) -> Iterator[Server]:
    """Serve a review as the command does; without `sends` it ends as if it was killed."""
    with Journal(journal) as opened:
        session = Session(stack, rows, read_all(stack.s3, stack.final_bucket_name), opened, by)
        with Server(session, Cards(stack)) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()
        if sends:
            assert session.send(), session.problem


def ask(server: Server, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Ask the server as the page does; a header that is empty is left out."""
    sent = {"Authorization": f"Bearer {server.token}"} | {
        name.replace("_", "-"): text for name, text in headers.items()
    }
    if body is not None:
        sent.setdefault("Content-Type", "application/json")
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.server_port}{path}",
        data=None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={name: text for name, text in sent.items() if text},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            content, status, kind = answer.read(), answer.status, answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        content, status, kind = error.read(), error.code, error.headers["Content-Type"]
    return status, json.loads(content) if kind == "application/json" else content


def rows_of(lines: list[dict[str, Any]]) -> list[Row]:
    """The rows of lines, the least confident first."""
    rows = [row_of(one, 50) for one in lines]
    return sorted(rows, key=lambda row: row.confidence or 0)
