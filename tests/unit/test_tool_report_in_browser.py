"""The report in a real browser, without a screen: it opens, it is used by keyboard, and nothing is in the console."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from batch_vision.core.times import from_text, to_text
from batch_vision.operator import report
from batch_vision.operator.report import Picture, make_report
from tests.unit.conftest import PATIENCE_MS
from tests.unit.test_tool_report import BEGIN, BOX, HOSTILE, encoded, label, place, run
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
    assert page.locator("#shown").text_content() == "5 of 5 pictures"
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
    assert shown(page) == ["line 1/a.png", "line 2/b.png"]
    assert page.locator("#shown").text_content() == "2 of 5 pictures"
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
    expect(page.locator("#shown")).to_have_text("5 of 5 pictures")
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


# Many pictures: pages, orders, counts, a range of confidence, and an address that brings the view back.

MANY = 150


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures 0 to 149, each a minute younger: number % 100 percent sure, of a dent in each third, else of a hole."""
    moment = from_text(BEGIN)

    def picture(number: int) -> Picture:
        name, other = ("dent", "hole") if number % 3 == 0 else ("hole", HOSTILE)
        predictions = [label(name, number % 100 + 0.5), label(other, number % 100 / 2)]
        at = to_text(moment + timedelta(minutes=number))
        model = f"model/{number % 2}"
        key = f"line {number % 2}/{number:03}.png"
        return Picture(
            key, "processed", at, name, number % 100 + 0.5, "", "", model, predictions=predictions, missing="none"
        )

    made = [picture(number) for number in range(MANY)]
    lines: list[Any] = [
        {"key": one.key, "status": "processed", "finished_at": one.finished_at, "predictions": [], "anomaly": None}
        for one in made
    ]
    stack: Any = SimpleNamespace(
        name="pile", account_id="1", region="r", analyses=[], model=SimpleNamespace(backend="b")
    )
    out = tmp_path_factory.mktemp("many") / "report.html"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report, "_pictures", lambda stack, lines, films, progress: made)
        page = make_report(
            stack, lines, moment, moment, [], [], max_images=MANY, is_run=False, progress=lambda done, total: None
        )
    out.write_text(page.html)
    return out


def numbers(page: Page) -> list[int]:
    return [int(key[-7:-4]) for key in page.locator(".card h3").all_text_contents()]


def facet(page: Page, name: str) -> list[str]:
    return page.locator(f"select[name={name}] option").all_text_contents()


def test_pages_orders_counts_and_the_address(context: BrowserContext, many: Path) -> None:
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(many.as_uri())
    assert numbers(page) == list(range(60))
    assert facet(page, "label")[2:] == ["dent (50)", "hole (150)"]
    assert facet(page, "model") == ["all (150)", "model/0 (75)", "model/1 (75)"]
    forward = page.locator("form .pages button").last
    forward.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert numbers(page) == list(range(120, 150))
    assert page.locator("form .pages output").text_content() == "page 3 of 3"
    assert forward.is_disabled()

    page.select_option("select[name=order]", "newest")
    assert numbers(page)[:2] == [149, 148]  # on the first page again
    page.select_option("select[name=order]", "least")
    assert numbers(page)[:4] == [0, 100, 1, 101]
    page.select_option("select[name=label]", label="hole (150)")
    assert numbers(page)[:3] == [0, 100, 102]  # by the confidence of the hole, which is the second one of a dent
    page.select_option("select[name=folder]", label="line 0/ (75)")
    assert facet(page, "model") == ["all (75)", "model/0 (75)", "model/1 (0)"]
    assert facet(page, "label")[2:] == ["dent (25)", "hole (75)"]
    page.locator("input[name=from]").focus()
    for _ in range(90):
        page.keyboard.press("ArrowRight")
    assert page.locator("#range").text_content() == "90 to 100%"
    assert numbers(page) == [92, 94, 98]
    assert facet(page, "label")[2:] == ["dent (2)", "hole (3)"]
    page.locator("input[name=to]").focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#range").text_content() == "88 to 88%"  # one end takes the other along

    expect.set_options(timeout=PATIENCE_MS)
    expect(page).to_have_url(re.compile("to=88"))
    address = page.evaluate("location.href")
    again = context.new_page()
    again.goto(address)
    assert (numbers(again), again.locator("#range").text_content()) == (numbers(page), "88 to 88%")
    assert facet(again, "label") == facet(page, "label")
    again.evaluate("location.hash = 'order=newest&page=2&label=nothing&from=x'")
    expect(again.locator("form .pages output")).to_have_text("page 2 of 3")
    assert numbers(again)[0] == 89
    again.locator("button[type=reset]").click()
    expect(again.locator("#shown")).to_have_text("150 of 150 pictures")
    expect(again).to_have_url(many.as_uri())
    assert said == []


def test_a_hostile_label_comes_back_from_the_address(context: BrowserContext, many: Path) -> None:
    page = context.new_page()
    page.goto(many.as_uri())
    page.locator("select[name=label]").select_option(index=1)
    expect(page).to_have_url(re.compile("label="))
    found = page.locator("#shown").text_content()
    page.reload()
    assert (page.locator("#shown").text_content(), found) == ("100 of 150 pictures", "100 of 150 pictures")


def test_on_a_phone_the_pages_fit(context: BrowserContext, many: Path) -> None:
    page = context.new_page()
    page.set_viewport_size(PHONE)
    page.goto(many.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
