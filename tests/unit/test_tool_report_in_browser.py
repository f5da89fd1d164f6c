"""The report in a real browser, without a screen: it opens, it is used by keyboard, and nothing is in the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.unit.conftest import PATIENCE_MS
from tests.unit.test_tool_report import BOX, HOSTILE, encoded, label, place, run
from tests.unit.tool_stack import Deployed

PHONE = {"width": 360, "height": 740}


@pytest.fixture
def path(deployed: Deployed, tmp_path: Path) -> Path:
    """Two labels, a verdict, a rejected image, and names that would be markup."""
    run(deployed)
    place(deployed, "line 1/a.png", encoded(), predictions=[label("crack", 91.25, BOX), label("stain", 12.5)])
    place(deployed, "line 2/b.png", encoded(), predictions=[label("stain", 60.0)])
    place(deployed, "line 2/c.png", encoded(), anomaly={"is_anomalous": True, "confidence": 97.5})
    place(deployed, HOSTILE, encoded(), predictions=[label(HOSTILE, 50.0, BOX)])
    place(deployed, "x" * 900, b"", status="rejected", error={"type": "BadError", "message": HOSTILE})
    out = tmp_path / "report.html"
    result = deployed.call("report", "--run", "r", "--out", str(out))
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def page(context: BrowserContext, path: Path) -> Iterator[Page]:
    """The page, which must have said nothing and asked for nothing when the test is over."""
    said, asked = [], []
    opened = context.new_page()
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(path.as_uri())
    yield opened
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


def shown(page: Page) -> list[str]:
    return [text[:12] for text in page.locator(".card:visible h3").all_text_contents()]


def tab_to(page: Page, name: str) -> None:
    """Go on with the Tab key until an element has the focus."""
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name || document.activeElement.textContent") == name:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    pytest.fail(f"the Tab key does not come to {name}")


HOSTILE_SHOWN = "\"'><script>al"
ALL = ["x" * 12, "line 1/a.png", "line 2/b.png", "line 2/c.png", HOSTILE_SHOWN[:12]]


def test_everything_is_there(page: Page) -> None:
    assert shown(page) == ALL
    assert page.locator("#shown").text_content() == "5 of 5 shown"
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    box, picture = page.locator(".boxes").first.bounding_box(), page.locator(".picture img").first.bounding_box()
    assert box == picture
    drawn = page.locator(".boxes .c0, .boxes .c1").locator("visible=true").first.bounding_box()
    assert drawn
    assert box
    assert drawn["x"] == pytest.approx(box["x"] + box["width"] / 4, abs=4)
    assert drawn["y"] == pytest.approx(box["y"] + box["height"] / 2, abs=4)


def test_filters_by_keyboard(page: Page) -> None:
    tab_to(page, "status")
    page.keyboard.press("r")  # the first option that begins so
    assert shown(page) == ALL[:1]
    page.keyboard.press("Home")
    assert shown(page) == ALL
    tab_to(page, "label")
    page.keyboard.press("c")
    assert shown(page) == ["line 1/a.png"]
    page.keyboard.press("ArrowDown")
    assert shown(page) == ["line 2/b.png"]
    assert page.locator("#shown").text_content() == "1 of 5 shown"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    assert shown(page) == ALL[4:]
    page.keyboard.press("Home")
    tab_to(page, "verdict")
    page.keyboard.press("a")  # "all" begins so too
    page.keyboard.press("ArrowDown")
    assert shown(page) == ["line 2/c.png"]
    page.keyboard.press("Home")
    tab_to(page, "key")
    page.keyboard.type("LINE 2")
    page.keyboard.press("Enter")
    assert shown(page) == ["line 2/b.png", "line 2/c.png"]
    tab_to(page, "marks")
    page.keyboard.press("Space")
    assert page.locator(".boxes:visible").count() == 0
    tab_to(page, "Show all")
    page.keyboard.press("Enter")
    expect(page.locator("#shown")).to_have_text("5 of 5 shown")
    assert page.locator(".boxes:visible").count() == 2


def test_dark_and_light(context: BrowserContext, path: Path) -> None:
    page = context.new_page()
    page.goto(path.as_uri())
    brightness = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours = [
            page.evaluate(f"getComputedStyle(document.body).{name}.match(/\\d+/g).slice(0, 3).map(Number)")
            for name in ("backgroundColor", "color")
        ]
        brightness.append([sum(colour) for colour in colours])
    (light_back, light_text), (dark_back, dark_text) = brightness
    assert light_back > 600 > 200 > light_text
    assert dark_back < 200 < 600 < dark_text


def test_on_a_phone_nothing_is_wider_than_the_screen(context: BrowserContext, path: Path) -> None:
    page = context.new_page()
    page.set_viewport_size(PHONE)
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    sizes = page.evaluate(
        "[...document.querySelectorAll('p, dd, dt, li, th, td, label, h3')].map("
        "element => parseFloat(getComputedStyle(element).fontSize))"
    )
    assert min(sizes) >= 12


def test_without_scripts_all_is_shown(browser: Browser, path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(path.as_uri())
    assert shown(page) == ALL
    assert not page.locator("#filters").is_visible()
    context.close()
