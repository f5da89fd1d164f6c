"""The page of a review with many images, in a browser: how soon it shows the first one, and how soon it obeys a key."""

from __future__ import annotations

import io
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from playwright.sync_api import sync_playwright

from batch_vision.operator.review.cards import Cards
from batch_vision.operator.review.journal import Journal
from batch_vision.operator.review.rows import row_of
from batch_vision.operator.review.server import Server
from batch_vision.operator.review.session import Session
from benchmarks.report import Result
from local.config import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZES = (10_000, 100_000)
_BUCKET = "final"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PATIENCE_MS = 120_000
_PRESSES = 40
# From the event of a key to the frame that shows what it did.
_PRESS = """key => new Promise(resolve => {
  const target = document.activeElement, began = performance.now();
  const code = /[0-9]/.test(key) ? "Digit" + key : "";
  target.dispatchEvent(new KeyboardEvent("keydown", {key, code, bubbles: true}));
  requestAnimationFrame(() => { const channel = new MessageChannel();
    channel.port1.onmessage = () => resolve(performance.now() - began); channel.port2.postMessage(0); });
})"""


def _line(number: int) -> dict[str, Any]:
    names = ("crack", "stain", "normal", "scratch")
    return {
        "key": f"line-{number % 7}/2026-01-{1 + number % 28:02}/camera-7/{number:012d}.jpg",
        "version_id": f"{number:032d}",
        "etag": f"{number:032x}",
        "size_bytes": 100_000,
        "image_key": f"processed/{number}.jpg",
        "model": "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1767225600000",
        "finished_at": f"2026-01-{1 + number % 28:02}T00:00:00.000Z",
        "predictions": [
            {"name": names[number % 3], "kind": "custom_label", "confidence": 30 + number * 7919 % 7000 / 100},
            {"name": names[3], "kind": "custom_label", "confidence": 5.0},
        ],
        "anomaly": None,
    }


class _Bucket:
    """All of S3 that a card needs: each image is the same picture."""

    def __init__(self) -> None:
        self._picture = next((REPOSITORY / "local" / "samples" / "labelled" / "crack").glob("*.jpg")).read_bytes()

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:
        body = self._picture
        if Key.endswith(".json"):
            image_key = Key.removesuffix(".json")
            number = int(Path(image_key).stem)
            body = json.dumps({"source": {"version_id": f"{number:032d}"}, "image_key": image_key}).encode()
        return {"Body": io.BytesIO(body), "Metadata": {"batch-vision": "result"}, "VersionId": "v"}


def measure(images: int, browser: Any) -> dict[str, Any]:
    """Open a review of so many images, and press keys."""
    rows = sorted((row_of(_line(number), 50) for number in range(images)), key=lambda row: row.confidence or 0)
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        undo.enter_context(mock.patch.dict(os.environ, XDG_CACHE_HOME=str(folder)))
        stack: Any = SimpleNamespace(s3=_Bucket(), final_bucket_name=_BUCKET, name="bench")
        journal = undo.enter_context(Journal(folder / "journal.jsonl"))
        server = undo.enter_context(Server(Session(stack, rows, [], journal, "bench"), Cards(stack)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        undo.callback(server.shutdown)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        undo.callback(page.close)
        page.set_default_timeout(_PATIENCE_MS)
        began = time.perf_counter()
        page.goto(server.url)
        page.wait_for_selector(".card img[src]")
        first = time.perf_counter() - began
        page.wait_for_selector("body[data-ready]")
        whole = time.perf_counter() - began
        move, judge = _presses(page, "ArrowRight"), _presses(page, "2")
        accept = _presses(page, "a", 10)
        return {
            "images": images,
            "first picture, s": first,
            "all rows, s": whole,
            "cards": page.locator(".card").count(),
            "elements": page.evaluate("document.querySelectorAll('*').length"),
            "arrow, ms": move,
            "label, ms": judge,
            "accept a page, ms": accept,
        }


def _presses(page: Page, key: str, number: int = _PRESSES) -> float:
    times = []
    for _ in range(number):
        times.append(page.evaluate(_PRESS, key))
        page.wait_for_timeout(20)
    return statistics.median(times)


def run(quick: bool = False) -> Result:
    """Measure each size."""
    path = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if path is None:
        raise SystemExit(f"benchmark: review needs a browser, one of {', '.join(_BROWSERS)} on the PATH")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        rows = [measure(images, browser) for images in ((1_000,) if quick else SIZES)]
        browser.close()
    result = Result("The page of a review, in Chromium without a screen", rows)
    last = rows[-1]
    result.target("60 cards in the document", last["cards"], is_met=last["cards"] == 60)
    first = last["first picture, s"]
    result.target("the first picture within 1 s", first, is_met=first < 1)
    slowest = max(last[name] for name in ("arrow, ms", "label, ms", "accept a page, ms"))
    result.target("a key within 50 ms", slowest, is_met=slowest < 50)
    result.notes.append(
        "Server, a made-up S3 and browser share this machine. A key takes from its event to the frame that shows what"
        " it did, as the median of all presses; labels and accepted pages are saved meanwhile."
    )
    return result
