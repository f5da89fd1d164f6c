"""The report: what is on the page, what is counted, what is cut, and that nothing from outside becomes markup."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batch_vision.core.backfills import Job, Left, Plan, Source, summary_key, summary_of
from batch_vision.core.catalog import ranked
from local.config import LOOKOUT_MODEL_ARN
from tests.unit.tool_stack import FINAL, SUMMARY, Deployed

BEGIN, MIDDLE = "2026-11-20T08:10:00.000Z", "2026-11-20T08:20:00.000Z"
BOX = {"left": 0.25, "top": 0.5, "width": 0.25, "height": 0.125}
HOSTILE = "\"'><script>alert(1)</script>\n&amp;\u2028\u202e{{7*7}}"


def encoded(size: tuple[int, int] = (640, 400), form: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, "navy").save(content, form, **options)
    return content.getvalue()


def place(deployed: Deployed, key: str, content: bytes, finished_at: str = BEGIN, **more: Any) -> None:
    """Leave an image and its result as the analyzing function does; `more` is of the result."""
    status = more.get("status", "processed")
    result = {
        "status": status,
        "source": {"key": key, "version_id": "v1"},
        "predictions": [],
        "anomaly": None,
        "error": None,
        "image_key": f"{status}/{key}",
        "mask_key": None,
    } | more
    deployed.put(result["image_key"], content, FINAL)
    deployed.put_result(result)
    line = {
        "key": key,
        "status": status,
        "size_bytes": len(content),
        "error_type": (result["error"] or {}).get("type"),
        "image_key": result["image_key"],
        "predictions": ranked(result["predictions"]),
        "anomaly": result["anomaly"],
    }
    deployed.catalog(finished_at, line)


def label(name: str, confidence: float, box: dict[str, float] | None = None) -> dict[str, Any]:
    return {"name": name, "confidence": confidence, "bounding_box": box}


class Page(HTMLParser):
    """The page as a browser takes it: tags with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.html = html
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, name: str = "") -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a kind, or of those with a class."""
        return [
            has for kind, has in self.tags if kind == tag and (not name or name in (has.get("class") or "").split())
        ]


def report(deployed: Deployed, tmp_path: Path, *words: str) -> Page:
    out = tmp_path / "report.html"
    result = deployed.call("report", "--out", str(out), *words)
    assert result.exit_code == 0, result.output
    return Page(out.read_text())


def run(deployed: Deployed, **more: Any) -> None:
    deployed.put("runs/r.json", json.dumps(SUMMARY | more).encode(), FINAL)


@pytest.fixture
def filled(deployed: Deployed) -> Deployed:
    run(deployed)
    place(deployed, "a.png", encoded(), predictions=[label("crack", 91.25, BOX), label("stain", 12.5)])
    place(deployed, "é/b.png", encoded(), MIDDLE, predictions=[label("stain", 60.0)])
    error = {"type": "ImageTooLargeError", "message": "it is too large"}
    place(deployed, "c.txt", b"no picture", MIDDLE, status="rejected", error=error)
    place(deployed, "before.png", encoded(), "2026-11-20T07:59:00.000Z")
    return deployed


def test_a_run(filled: Deployed, tmp_path: Path) -> None:
    page = report(filled, tmp_path, "--run", "r")
    assert [("rejected" in (has["class"] or ""), has["data-label"]) for has in page.all("li", "card")] == [
        (True, ""),
        (False, "1 2 "),
        (False, "2 "),
    ]
    for text in ("é/b.png", "91.2%", "12.5%", "ImageTooLargeError", "it is too large", "no picture that can be shown"):
        assert text in page.text
    assert "before.png" not in page.text
    (box,) = page.all("rect", "c0")
    assert (box["x"], box["y"], box["width"], box["height"]) == ("0.25", "0.5", "0.25", "0.125")
    assert re.search(r"Duration\s*30 min", page.text)
    # 900 seconds of 2 inference units at $4.00 an hour
    assert re.search(r"Model cost, at most\s*\$2\.00", page.text)
    orders = ["", "oldest", "newest", "least", "margin"]
    assert [has["value"] for has in page.all("option")] == ["", "1", "2", "", "1", "2", *orders]
    (_, card, _) = page.all("li", "card")
    assert (card["data-confidences"], card["data-confidence"], card["data-margin"]) == ("91.25 12.5", "91.25", "78.75")
    assert page.all("p", "bad") == []


def test_thumbnails_are_small_and_in_the_page(filled: Deployed, tmp_path: Path) -> None:
    page = report(filled, tmp_path, "--run", "r")
    sources = [has["src"] or "" for has in page.all("img")]
    assert len(sources) == 2
    for source in sources:
        assert source.startswith("data:image/webp;base64,")
        image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        assert (image.format, image.size) == ("WEBP", (320, 200))


def test_nothing_is_asked_of_a_network(filled: Deployed, tmp_path: Path) -> None:
    page = report(filled, tmp_path, "--run", "r")
    assert not re.search(r"(src|href|url|action|@import)\W{0,3}(https?:)?//", page.html)
    assert not page.all("link")
    assert "default-src 'none'" in (page.all("meta")[1]["content"] or "")


def test_nothing_from_outside_becomes_markup(deployed: Deployed, tmp_path: Path) -> None:
    run(deployed, outcome="failed", error={"type": HOSTILE, "message": HOSTILE}, more={HOSTILE: [HOSTILE]})
    calm = report(deployed, tmp_path, "--run", "r")
    place(deployed, HOSTILE, encoded(), predictions=[label(HOSTILE, 50.0, BOX)])
    error = {"type": HOSTILE, "message": HOSTILE}
    place(deployed, f"x{HOSTILE}", b"", status="rejected", error=error)
    page = report(deployed, tmp_path, "--run", "r")
    for each in (calm, page):
        assert len(each.all("script")) == 1
        assert "<script>alert" not in each.html
    known = {"class", "src", "width", "height", "alt", "decoding"}
    assert all(set(has) <= known for has in page.all("img"))
    assert page.all("img")[0]["alt"] == "\"'><script>alert(1)</script>\\n&amp;\\u2028\\u202e{{7*7}}"
    assert not re.search("[\u2028\u202e]", page.html)


def test_a_name_that_no_file_can_hold(deployed: Deployed, tmp_path: Path) -> None:
    """JSON can say half of a surrogate pair, which UTF-8 cannot."""
    run(deployed)
    deployed.put(
        "catalog/dt=2026-11-20/hour=08/20261120T081000.000Z-b.jsonl",
        json.dumps(
            {
                "finished_at": BEGIN, "key": "a.png", "version_id": "v", "size_bytes": 1, "status": "processed",
                "error_type": None, "image_key": "processed/a.png", "prediction": label("\ud800", 5.0), "anomaly": None,
            }
        ).encode(),
        FINAL,
    )  # fmt: skip
    assert "\\ud800" in report(deployed, tmp_path, "--run", "r").text


def test_more_images_than_may_be_shown(deployed: Deployed, tmp_path: Path) -> None:
    run(deployed)
    for number in range(6):
        place(deployed, f"{number}.png", encoded((8, 8)), f"2026-11-20T08:1{number}:00.000Z")
    error = {"type": "InvalidImageFormatError", "message": "no image"}
    for number in range(3):
        place(deployed, f"bad-{number}", b"", status="rejected", error=error)
    page = report(deployed, tmp_path, "--run", "r", "--max-images", "4")
    shown = re.findall(r'<h3 class="name">(.*?)</h3>', page.html)
    assert shown == ["bad-0", "bad-1", "0.png", "1.png"]
    assert "4 of 9 images are shown" in page.text
    assert re.search(r"InvalidImageFormatError\s*3", page.text)
    out = str(tmp_path / "none.html")
    answer = deployed.json("report", "--run", "r", "--max-images", "0", "--out", out)
    size = Path(out).stat().st_size
    assert answer == {"path": out, "images": 9, "shown": 0, "size_bytes": size}
    assert "0 of 9 images are shown" in Path(out).read_text()


def test_a_verdict_and_its_mask(deployed: Deployed, tmp_path: Path) -> None:
    run(deployed)
    mask = Image.new("RGB", (640, 400), "white")
    mask.paste((35, 164, 54), (0, 0, 320, 400))
    content = io.BytesIO()
    mask.save(content, "PNG")
    deployed.put("processed/a.png.mask.png", content.getvalue(), FINAL)
    anomaly = {"is_anomalous": True, "confidence": 97.5}
    place(deployed, "a.png", encoded(), anomaly=anomaly, mask_key="processed/a.png.mask.png")
    place(deployed, "b.png", encoded(), anomaly={"is_anomalous": False, "confidence": 88.0})
    place(deployed, "c.png", encoded(), anomaly=anomaly, mask_key="processed/gone.mask.png")
    page = report(deployed, tmp_path, "--run", "r")
    assert [has["data-verdict"] for has in page.all("li", "card")] == ["1", "2", "1"]
    assert re.search(r"anomalous\s*97\.5%", page.text)
    (shown,) = page.all("img", "mask")
    image = Image.open(io.BytesIO(base64.b64decode((shown["src"] or "").partition(",")[2])))
    assert image.size == (320, 200)
    assert (image.getpixel((10, 100)), image.getpixel((300, 100))[3]) == ((35, 164, 54, 255), 0)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: b"", "no picture"),
        (lambda: b"text", "no picture"),
        (lambda: encoded()[:200], "no picture"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
        (lambda: encoded((16000, 16000), "PNG"), "no picture"),  # 768 MB when decoded
    ],
    ids=["empty", "text", "cut off", "PostScript", "bomb"],
)
def test_a_picture_that_cannot_be_shown(
    deployed: Deployed, tmp_path: Path, make: Callable[[], bytes], why: str
) -> None:
    run(deployed)
    place(deployed, "a.png", make())
    page = report(deployed, tmp_path, "--run", "r")
    assert (page.all("img"), why in page.text) == ([], True)


def test_a_picture_of_too_many_bytes(deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(deployed)
    place(deployed, "a.png", b"\0" * (2 * 1024**2 + 1))
    monkeypatch.setattr("batch_vision.operator.report.MOST_BYTES", 2 * 1024**2)
    page = report(deployed, tmp_path, "--run", "r")
    assert (page.all("img"), "not shown: 2 MiB" in page.text) == ([], True)


def test_a_picture_that_was_converted(deployed: Deployed, tmp_path: Path) -> None:
    """The page shows the original upright, with the boxes of what the model saw, and says what that was."""
    run(deployed)
    exif = Image.Exif()
    exif[0x0112] = 6
    converted = {
        "from_format": "WEBP", "from_width": 300, "from_height": 5000, "to_format": "JPEG", "to_width": 246,
        "to_height": 4096, "to_bytes": 9, "reason": "It is neither a PNG nor a JPEG.", "detectors": ["a"],
    }  # fmt: skip
    content = encoded((600, 300), "WEBP", exif=exif)
    place(deployed, "a.webp", content, converted=converted, predictions=[label("crack", 50.0, BOX)])
    page = report(deployed, tmp_path, "--run", "r")
    (image,) = page.all("img")
    assert (image["width"], image["height"]) == ("160", "320")
    assert "Converted for the model: WEBP, 300 × 5,000, to JPEG, 246 × 4,096 pixels. It is neither" in page.text
    assert len(page.all("rect")) > 0


def test_pictures_lie_as_they_are_seen(deployed: Deployed, tmp_path: Path) -> None:
    """The boxes of a photograph that was taken upright are those of the upright picture."""
    run(deployed)
    exif = Image.Exif()
    exif[0x0112] = 6
    place(deployed, "a.jpg", encoded((600, 300), "JPEG", exif=exif))
    (image,) = report(deployed, tmp_path, "--run", "r").all("img")
    assert (image["width"], image["height"]) == ("160", "320")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_has_a_thumbnail(deployed: Deployed, tmp_path: Path, mode: str) -> None:
    run(deployed)
    content = io.BytesIO()
    Image.new(mode, (40, 20)).save(content, "TIFF" if mode == "CMYK" else "PNG")
    place(deployed, "a", content.getvalue())
    assert len(report(deployed, tmp_path, "--run", "r").all("img")) == 1


def test_a_service_that_has_ended_has_no_price_of_its_own(deployed: Deployed, tmp_path: Path) -> None:
    settings = {"project_name": "batch-vision", "model_version": "1", "model_arn": LOOKOUT_MODEL_ARN}
    deployed.configure(BACKEND="lookout_for_vision", BACKEND_SETTINGS=json.dumps(settings))
    run(deployed)
    page = report(deployed, tmp_path, "--run", "r")
    assert re.search(r"Model cost with Rekognition, at most\s*\$2\.00", page.text)
    assert "AWS ended Lookout for Vision on 2025-10-31" in page.text


def test_an_image_that_was_analyzed_again(deployed: Deployed, tmp_path: Path) -> None:
    run(deployed)
    place(deployed, "a.png", encoded(), source={"key": "a.png", "version_id": "v2"}, predictions=[label("crack", 9.0)])
    page = report(deployed, tmp_path, "--run", "r")
    assert "uploaded and analyzed again" in page.text
    assert re.search(r"crack\s+9\.0%", page.text)
    assert page.all("img") == []


def test_the_plots(deployed: Deployed, tmp_path: Path) -> None:
    """30 minutes in 60 bars of 30 s: three images in the first of minute 10, one in minute 29."""
    model = {
        "model_requested_at": "2026-11-20T08:00:00.000Z",
        "model_running_at": "2026-11-20T08:06:00.000Z",
        "model_stopped_at": "2026-11-20T08:30:00.000Z",
    }
    run(deployed, **model)
    for key in "abc":
        place(deployed, key, b"", BEGIN)
    place(deployed, "d", b"", "2026-11-20T08:29:50.000Z")
    page = report(deployed, tmp_path, "--run", "r")
    plotted = [(float(has["x"] or 0), float(has["height"] or 0)) for has in page.all("rect", "bar") if "x" in has]
    assert plotted == [pytest.approx((1000 * 20 / 60, 100)), pytest.approx((1000 * 59 / 60, 100 / 3))]
    points = [tuple(map(float, point.split(","))) for point in (page.all("polyline")[0]["points"] or "").split()]
    assert [points[number][1] for number in (0, 20, 21, 59, 60)] == [100, 100, 25, 25, 0]
    assert "up to 6.0; each bar is 30 s" in page.text
    (starting, *_), (on, *_) = page.all("rect", "band-starting"), page.all("rect", "band-on")
    assert [float(band[name] or 0) for band in (starting, on) for name in ("x", "width")] == [0, 200, 200, 800]


def test_a_span_of_time_with_its_runs(deployed: Deployed, tmp_path: Path) -> None:
    run(deployed)
    deployed.put("runs/s.json", json.dumps(SUMMARY | {"run_id": "s", "model_on_seconds": None}).encode(), FINAL)
    page = report(deployed, tmp_path, "--since", "1h")
    assert "Runs that ended in this time" in page.text
    assert re.search(r"Runs\s*2", page.text)
    assert re.search(r"Model cost, at most\s*\$2\.00", page.text)
    assert "No image was finished in this time." in page.text
    assert page.all("svg") == []


def test_a_summary_with_fields_of_another_version(deployed: Deployed, tmp_path: Path) -> None:
    """Fields that are there are shown whatever they are; those that are not are not missed."""
    old = {name: SUMMARY[name] for name in ("run_id", "started_at", "ended_at", "outcome")}
    old |= {"start_seconds": 3.5, "cost_dollars": 0.25, "always_on_cost_dollars": 4.0, "images_left": 7}
    old |= {"slowest_image": {"key": "a.png", "duration_ms": 9}, "images_processed": 0, "images_rejected": 0}
    deployed.put("runs/r.json", json.dumps(old).encode(), FINAL)
    page = report(deployed, tmp_path, "--run", "r")
    assert '{"key": "a.png", "duration_ms": 9}' in page.text
    for text in (
        r"Start\s*3\.5 s",
        r"at most\s*\$0\.2500",
        r"would be\s*\$4\.0000",
        r"Images left\s*7",
        r"image: a\.png",
    ):
        assert re.search(text, page.text), text
    assert "Runs that" in report(deployed, tmp_path, "--since", "1h").text


def test_wrong_input_is_named_before_anything_is_read(deployed: Deployed, tmp_path: Path) -> None:
    result = deployed.call("report", "--run", "r", "--out", str(tmp_path / "no" / "r.html"))
    assert (result.exit_code, "there is no folder" in result.stderr) == (2, True)
    assert deployed.call("report", "--run", "r", "--out", str(tmp_path)).exit_code == 2
    result = deployed.call("report", "--run", "never", "--out", str(tmp_path / "r.html"))
    assert (result.exit_code, "--run is 'never'" in result.stderr) == (2, True)
    assert deployed.call("report", "--max-images", "-1").exit_code == 2
    result = deployed.call("report", "--since", "1h", "--until", "2h")
    assert (result.exit_code, "is after --until" in result.stderr) == (2, True)
    assert list(tmp_path.glob("*.html")) == []


def test_backfills_of_the_time_are_listed(filled: Deployed, tmp_path: Path) -> None:
    job = Job(id="20261120T080000Z-0a1b2c", created_at=BEGIN, source=Source(prefix=HOSTILE))
    plan = Plan(counts=Counter(listed=1200, planned=1100), left_out=Counter(archived=7, suffix=2))
    error = {"type": "BackfillIncompleteError", "message": "3 images are left"}
    ended = summary_of(job.id, job.to_json(), plan, Left(3, 1), outcome="failed", ended_at=MIDDLE, error=error)
    filled.put(summary_key(job.id), ended, FINAL)
    # A job whose file somebody removed.
    bare = summary_of("20261120T090000Z-0a1b2c", None, Plan(), Left(0, 0), outcome="cancelled", ended_at=BEGIN)
    filled.put(summary_key("20261120T090000Z-0a1b2c"), bare, FINAL)

    page = report(filled, tmp_path, "--since", BEGIN)

    assert "Backfills that ended in this time" in page.text
    for cell in ("1,200", "1,100", "9", "3"):
        assert f'<td class="number">{cell}</td>' in page.html
    assert "failed BackfillIncompleteError</td>" in page.html
    assert '<td>cancelled</td><td class="name">the whole bucket</td>' in page.html
    assert job.id in page.text
    assert "<script>alert" not in page.html
    assert "Backfills" not in report(filled, tmp_path, "--run", "r").text
