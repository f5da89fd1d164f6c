"""Videos on the report: a click on a segment leads to its place in the video, in a real browser."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page

from tests.unit.test_tool_report import HOSTILE
from tests.unit.test_tool_report import Page as Parsed
from tests.unit.tool_stack import Deployed
from tests.unit.tool_videos import SEGMENTS, DeployedVideos

SECONDS = 4


def playable(path: Path) -> bytes:
    """Sound that every browser plays, H.264 or not, whatever its name says: that it was sought can be seen."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(4000)
        file.writeframes(bytes([128]) * 4000 * SECONDS)
    return path.read_bytes()


@pytest.fixture
def videos(deployed: Deployed) -> DeployedVideos:
    videos = DeployedVideos(deployed)
    hostile = [segment | {"name": HOSTILE} for segment in SEGMENTS[:1]]
    videos.finish("line 3/é%2F belt.mp4")
    videos.finish(f"{HOSTILE}.mp4", segments=hostile)
    videos.finish("bad.mp4", status="rejected", error={"type": "InvalidVideoFormatError", "message": HOSTILE})
    return videos


def write(videos: DeployedVideos, out: Path, *words: str) -> Path:
    result = videos.deployed.call("report", "--out", str(out), *words)
    assert result.exit_code == 0, result.output
    return out


def opened(context: BrowserContext, path: Path) -> tuple[Page, list[str]]:
    """Open a page, and return what it says on the console."""
    said: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: dialog.dismiss() or said.append(dialog.message))
    page.goto(path.as_uri())
    return page, said


def sought(video: Locator, act: Callable[[], None]) -> float:
    """Do something that has a video seek, and return where the browser says that it is then."""
    video.evaluate(
        "video => { window.sought = new Promise("
        "done => video.addEventListener('seeked', () => done(video.currentTime), { once: true })) }"
    )
    act()
    return float(video.page.evaluate("window.sought"))


def test_nothing_from_outside_becomes_markup(videos: DeployedVideos, tmp_path: Path) -> None:
    html = write(videos, tmp_path / "report.html").read_text()
    page = Parsed(html)
    assert len(page.all("script")) == 1
    assert {key for has in page.all("rect") for key in has} <= {
        *("class", "role", "tabindex", "x", "y", "width", "height", "aria-label"),
        *("data-start", "data-end", "data-confidence", "fill"),
    }
    assert len(page.all("video")) == len(page.all("li", "video")) == 3
    assert all("src" not in has for has in page.all("video"))
    for text in ("0:04.0, 320 × 240, avc1, mp4", "Cost of labels of videos, at most", "$0.30"):
        assert text in page.text
    assert "media-src" in html


def test_a_page_without_videos_says_nothing_of_them(deployed: Deployed, tmp_path: Path) -> None:
    deployed.call("report", "--out", str(tmp_path / "report.html"))
    html = (tmp_path / "report.html").read_text()
    assert "media-src" not in html
    assert "<video" not in html


def test_a_click_on_a_segment_seeks(videos: DeployedVideos, context: BrowserContext, tmp_path: Path) -> None:
    sound = playable(tmp_path / "sound.wav")
    folder = tmp_path / "my videos"
    for name in ("line 3/é%252F belt.mp4", "bad.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(sound)
    (tmp_path / "pages").mkdir()
    page, said = opened(context, write(videos, tmp_path / "pages/report.html", "--videos", str(folder)))
    card = page.locator(".card.video", has_text="belt")
    video = card.locator("video")
    assert video.get_attribute("src") == "../my%20videos/line%203/%C3%A9%25252F%20belt.mp4"
    video.evaluate("video => new Promise(done => video.readyState ? done() : (video.onloadedmetadata = done))")
    cat = card.locator(".lanes li", has_text="Cat")
    assert sought(video, cat.locator("rect").nth(1).click) == 3
    # By keyboard: the first segment of a lane has the focus, and the arrows lead to the others.
    cat.locator("rect").first.focus()
    assert sought(video, lambda: page.keyboard.press("Enter")) == 1
    page.keyboard.press("ArrowRight")
    assert sought(video, lambda: page.keyboard.press(" ")) == 3
    assert cat.locator("rect.now").count() == 1
    # Confidence.
    card.locator("input[type=range]").fill("60")
    assert (card.locator(".lanes li:visible").count(), cat.locator("rect:visible").count()) == (2, 1)
    card.locator("input[type=range]").fill("80")
    assert card.locator(".lanes li:visible").count() == 1
    assert said == []


def test_whoever_reads_the_page_picks_the_file(videos: DeployedVideos, context: BrowserContext, tmp_path: Path) -> None:
    sound = tmp_path / "any name.mp4"
    playable(sound)
    page, said = opened(context, write(videos, tmp_path / "report.html"))
    card = page.locator(".card.video", has_text="belt")
    video = card.locator("video")
    assert not video.is_visible()
    card.locator("rect").first.click()  # before there is a file: it starts there
    card.locator("input[type=file]").set_input_files(sound)
    video.evaluate("video => new Promise(done => video.readyState ? done() : (video.onloadedmetadata = done))")
    assert video.is_visible()
    assert sought(video, card.locator(".lanes li", has_text="Dog").locator("rect").click) == 0.5
    assert said == []
