"""The review in a real browser, without a screen: sweeps by mouse and keyboard, filters, saving, and its limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from moto import mock_aws
from playwright.sync_api import BrowserContext, Page, expect

from batch_vision.core.corrections import counting
from batch_vision.operator.corrections import read_all
from batch_vision.operator.review.rows import Row
from batch_vision.operator.review.server import Server
from tests.unit.review_world import BOX, FINAL, HOSTILE, FinalBucket, drawn, line, reviewing, rows_of

MANY = 100_000
FIRST_PICTURE_SECONDS = 30  # a generous bound, for a machine that is busy; `make bench ONLY=review` measures it


@pytest.fixture(scope="module")
def bucket() -> Iterator[FinalBucket]:
    """70 cracks of rising confidence, 5 stains and a hostile name; the first ones have pictures."""
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket=FINAL)
        s3.put_bucket_versioning(Bucket=FINAL, VersioningConfiguration={"Status": "Enabled"})
        made = FinalBucket(s3)
        for one in LINES[:8] + LINES[-1:]:
            made.place(one, drawn("silver"))
        yield made


LINES = [line(number, ("crack", 30 + number / 2), ("stain", 9.5)) for number in range(70)]
LINES += [line(number, ("stain", 50.0 + number - 70)) for number in range(70, 75)]
LINES += [line(99, (HOSTILE, 99.0), key=HOSTILE)]


@pytest.fixture
def journal(bucket: FinalBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where judgements are kept, with none of an earlier test in the bucket."""
    for key in bucket.listed():
        if key.startswith("corrections/"):
            bucket.s3.delete_object(Bucket=FINAL, Key=key)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "review.jsonl"


@pytest.fixture
def server(bucket: FinalBucket, journal: Path) -> Iterator[Server]:
    with reviewing(bucket.stack(), rows_of(LINES), journal) as running:
        yield running


type Open = Callable[[str], Page]


@pytest.fixture
def visit(context: BrowserContext) -> Iterator[Open]:
    """Open a review; its page must say nothing to the console, and ask nobody but its server."""
    said: list[str] = []
    asked: list[str] = []
    hosts: set[str] = set()

    def visited(url: str) -> Page:
        hosts.add(urlsplit(url).netloc)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        return page

    yield visited
    assert said == []
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == hosts


@pytest.fixture
def page(visit: Open, server: Server) -> Page:
    return visit(server.url)


def cards(page: Page) -> list[str]:
    """The labels of the cards that are shown."""
    return page.locator(".card:visible .said").all_text_contents()


def facet(page: Page, name: str) -> dict[str, str]:
    """The values of a facet and their counts."""
    buttons = page.locator(f"#facets button[data-facet={name}]")
    names, counts = (buttons.locator(part).all_text_contents() for part in (".name", ".count"))
    return dict(zip(names, counts, strict=True))


def said_of(bucket: FinalBucket, server: Server) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What the bucket has of each key, as soon as everything is saved."""
    deadline = time.monotonic() + 60
    while server.session.judged == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.session.send()
    counted = counting(read_all(bucket.s3, FINAL))
    return {one.key: (str(one.verdict), one.labels) for one in counted.values()}


def saved(page: Page) -> None:
    expect(page.locator("#saving")).to_contain_text("saved")


def test_a_sweep(page: Page, bucket: FinalBucket, server: Server) -> None:
    # The most frequent label, the least confident first.
    assert (len(cards(page)), cards(page)[:2]) == (60, ["crack 30%", "crack 31%"])
    assert "label=crack" in page.url
    page.locator(".card").nth(1).click()  # wrong
    page.keyboard.press("ArrowRight")
    page.keyboard.press("2")  # a stain; goes on to the next
    page.keyboard.press("u")
    page.keyboard.press("1")  # what the model says too
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+2")  # a stain too
    expect(page.locator(".card.wrong")).to_have_count(3)
    assert page.locator(".card.wrong .file").all_text_contents()[:2] == ["→ no label", "→ stain"]
    page.keyboard.press("a")
    expect(page.locator("#where")).to_contain_text("61–70 of 70")
    page.keyboard.press("z")  # the whole page, and back to it
    expect(page.locator("#where")).to_contain_text("55 to judge")
    page.keyboard.press("z")  # the last one before
    expect(page.locator(".card.wrong")).to_have_count(2)
    page.keyboard.press("a")
    expect(page.locator(".card:visible")).to_have_count(10)
    expect(page.locator("#facets button[data-value='not judged'] .count")).to_have_text("10")
    saved(page)
    said = said_of(bucket, server)
    assert said[LINES[1]["key"]] == ("wrong", ())
    assert said[LINES[2]["key"]] == ("wrong", ("stain",))
    assert said[LINES[3]["key"]] == ("unsure", ())
    assert len(said) == 60
    assert sum(one == ("right", ("crack",)) for one in said.values()) == 57


def test_filters_whose_counts_follow(page: Page) -> None:
    assert facet(page, "label") == {"crack": "70", "stain": "5", HOSTILE_SHOWN: "1"}
    assert facet(page, "folder")["line 0/"] == "24"  # of the cracks
    page.locator("#facets button[data-value=stain]").click()
    assert cards(page) == [f"stain {percent}%" for percent in range(50, 55)]
    assert facet(page, "folder")["line 0/"] == "1"
    assert facet(page, "label")["crack"] == "70"  # what another choice would show
    page.locator("#max").focus()
    for _ in range(48):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#range-shown")).to_have_text("0 to 52%")
    assert cards(page) == ["stain 50%", "stain 51%", "stain 52%"]
    assert facet(page, "label")["crack"] == "45"
    page.locator("#key").fill("000071")
    expect(page.locator(".card:visible")).to_have_count(1)
    page.locator("#all").click()
    expect(page.locator("#where")).to_contain_text("1–60 of 76")
    page.locator("#order").select_option("most")
    assert cards(page)[:2] == [f"{HOSTILE_SHOWN} 99%", "crack 65%"]
    page.locator("#order").select_option("margin")
    assert cards(page)[0] == "crack 30%"
    page.locator("#facets button[data-facet=judged][data-value=right]").click()
    expect(page.locator("#nothing")).to_be_visible()


HOSTILE_SHOWN = "\"'><script>alert(1)</script>\\u{a}&amp;\\u{2028}\\u{202e}{{7*7}}%2B+"


def test_an_address_restores_the_view(page: Page, visit: Open) -> None:
    page.locator("#order").select_option("most")
    page.locator("#next").click()
    page.locator("#max").fill("60")
    page.keyboard.press("Escape")
    expect(page.locator("#where")).to_contain_text("1–60 of 61")
    page.keyboard.press("n")
    expect(page.locator("#where")).to_contain_text("61–61 of 61")
    told = parse_qs(urlsplit(page.url).fragment)
    assert (told["label"], told["max"], told["order"], told["page"]) == (["crack"], ["60"], ["most"], ["1"])
    again = visit(page.url)
    assert again.locator("#where").text_content() == page.locator("#where").text_content()
    assert cards(again) == cards(page) == ["crack 30%"]
    assert again.locator("#order").input_value() == "most"


def test_after_a_kill_the_next_review_shows_what_was_judged(visit: Open, bucket: FinalBucket, journal: Path) -> None:
    with reviewing(bucket.stack(), rows_of(LINES), journal, sends=False) as first:
        page = visit(first.url)
        page.keyboard.press("2")
        page.keyboard.press("r")
        saved(page)
        page.close()
    with reviewing(bucket.stack(), rows_of(LINES), journal) as second:
        page = visit(second.url)
        assert page.locator(".card.wrong .file").all_text_contents() == ["→ stain"]
        assert page.locator(".card.right").count() == 1
        assert facet(page, "judged") == {"not judged": "68", "right": "1", "wrong": "1", "unsure": "0"}
        page.keyboard.press("a")
        saved(page)
        page.reload()
        page.wait_for_selector("body[data-ready]")
        page.keyboard.press("g")
        expect(page.locator("#where")).to_contain_text("61–70 of 70")
        page.close()


def test_what_cannot_be_saved_is_said_and_tried_again(
    context: BrowserContext, server: Server, bucket: FinalBucket
) -> None:
    page = context.new_page()  # whose console tells of the failed request
    page.goto(server.url)
    page.wait_for_selector("body[data-ready]")
    page.route("**/api/judgements", lambda route: route.abort())
    page.keyboard.press("2")
    expect(page.locator("#problem")).to_contain_text("Not saved yet")
    expect(page.locator("#saving")).to_have_text("saving 1 …")
    page.unroute("**/api/judgements")
    expect(page.locator("#problem")).to_be_hidden()
    saved(page)
    assert said_of(bucket, server) == {LINES[0]["key"]: ("wrong", ("stain",))}


def test_what_is_refused_is_named_and_keeps_back_nothing(
    context: BrowserContext, server: Server, bucket: FinalBucket
) -> None:
    page = context.new_page()  # whose console tells of the refused request
    page.goto(server.url)
    page.wait_for_selector("body[data-ready]")
    page.evaluate("judge([0, 1, 2].map((row) => ({ row, verdict: 'wrong', labels: [row === 1 ? '' : 'stain'] })))")
    expect(page.locator("#problem")).to_contain_text(f"Not saved: {LINES[1]['key']}: labels holds ''")
    saved(page)
    expect(page.locator(".card.wrong")).to_have_count(2)
    page.keyboard.press("u")
    saved(page)
    assert set(said_of(bucket, server)) == {LINES[0]["key"], LINES[2]["key"]}


def test_what_counts_is_shown_and_boxes_go_with_their_labels(visit: Open, bucket: FinalBucket, journal: Path) -> None:
    with reviewing(bucket.stack(), rows_of(LINES), journal, by="bob") as first:
        first.session.judge([{"row": 0, "verdict": "wrong", "labels": ["stain"], "boxes": None}])
    with reviewing(bucket.stack(), rows_of(LINES), journal) as second:
        page = visit(second.url)
        page.keyboard.press("r")
        expect(page.locator(".card.right")).to_have_count(1)
        page.keyboard.press("z")  # what bob said counts again
        expect(page.locator(".card.wrong .file")).to_have_text(["→ stain"])
        drawn_box = "[{ name: 'crack', left: 0, top: 0, width: 1, height: 1 }]"
        page.evaluate(
            f"judge([1, 2].map((row) => ({{ row, verdict: 'wrong', labels: ['crack'], boxes: {drawn_box} }})))"
        )
        page.keyboard.press("ArrowRight")
        page.keyboard.press("2")  # no crack any more
        page.keyboard.press("r")
        saved(page)
        page.close()
    found = {one.key: one for one in counting(read_all(bucket.s3, FINAL)).values()}
    first_box, second_box = (found[LINES[number]["key"]] for number in (1, 2))
    assert (found[LINES[0]["key"]].by, first_box.labels, first_box.boxes) == ("bob", ("stain",), None)
    assert (str(second_box.verdict), len(second_box.boxes or ())) == ("right", 1)


def test_marking_as_wrong_keeps_the_boxes_that_were_drawn(visit: Open, bucket: FinalBucket, journal: Path) -> None:
    with reviewing(bucket.stack(), rows_of([line(200, ("crack", 60.0), ("dent", 55.0))]), journal) as server:
        page = visit(f"{server.url}&label=crack")
        drawn_boxes = "['crack', 'dent'].map((name) => ({ name, left: 0, top: 0, width: 1, height: 1 }))"
        page.evaluate(f"judge([{{ ...asRight(0), boxes: {drawn_boxes} }}])")
        page.keyboard.press("x")  # no crack
        judged = "[rows[0][JUDGED][VERDICT], (rows[0][JUDGED][BOXES] ?? []).map(({ name }) => name)]"
        assert page.evaluate(judged) == ["wrong", ["dent"]]
        page.keyboard.press("x")  # it is one
        assert page.evaluate(judged) == ["right", ["crack", "dent"]]
        page.keyboard.press("x")
        page.keyboard.press("0")  # what is said later is not taken back, but cleared
        page.keyboard.press("x")
        assert page.evaluate("rows[0][JUDGED]") is None
        saved(page)
        page.close()


def test_a_label_that_is_named_as_images_without_one_are(visit: Open, bucket: FinalBucket, journal: Path) -> None:
    lines = [line(210, ("no label", 60.0)), line(211, ("no label", 61.0)), line(212)]
    with reviewing(bucket.stack(), rows_of(lines), journal) as server:
        page = visit(server.url)
        assert cards(page) == ["no label 60%", "no label 61%"]
        buttons = page.locator("#facets button[data-facet=label]")
        assert buttons.locator(".count").all_text_contents() == ["2", "1"]
        buttons.nth(1).click()
        assert cards(page) == ["no label"]
        again = visit(page.url)
        assert cards(again) == ["no label"]
        again.locator("#facets button[aria-pressed=true]").click()
        expect(again.locator(".card:visible")).to_have_count(3)
        again.close()
        page.close()


def test_order_and_range_are_of_the_chosen_label(visit: Open, bucket: FinalBucket, journal: Path) -> None:
    lines = [line(number, ("car", 99.0 - number), ("dent", 55.0 + number)) for number in range(3)]
    with reviewing(bucket.stack(), rows_of([*lines, line(4, ("dent", 57.5))]), journal) as server:
        page = visit(f"{server.url}&label=dent&min=56")
        assert [text.split("dent ")[1] for text in cards(page)] == ["56%", "57%", "58%"]
        assert facet(page, "label") == {"dent": "3", "car": "3"}
        page.close()


def test_a_page_without_the_token_says_so(context: BrowserContext, server: Server) -> None:
    page = context.new_page()
    page.goto(server.url.partition("#")[0])
    expect(page.locator("#problem")).to_contain_text("open the one that `batch-vision review` printed")
    assert page.locator(".card").count() == 0


def test_hostile_names_are_text(page: Page, bucket: FinalBucket, server: Server) -> None:
    page.locator("#facets button[data-facet=label]", has_text="alert(1)").click()
    assert cards(page) == [f"{HOSTILE_SHOWN} 99%"]
    page.keyboard.press("Space")
    expect(page.locator("#large-key")).to_have_text(HOSTILE_SHOWN)
    expect(page.locator("#full")).to_be_visible()
    page.locator("#large-result summary").click()
    expect(page.locator("#large-result pre")).to_contain_text("alert(1)")
    page.locator("#large").focus()
    page.keyboard.press("l")
    page.locator("#other-name").fill(HOSTILE_TYPED)
    page.keyboard.press("Enter")
    expect(page.locator("#large-state")).to_contain_text("wrong, says ann")
    assert "label=" in page.url
    saved(page)
    assert said_of(bucket, server) == {HOSTILE: ("wrong", (HOSTILE_TYPED,))}


HOSTILE_TYPED = "<img src=x onerror=alert(2)>"


def test_the_large_picture_and_its_boxes(page: Page, bucket: FinalBucket, server: Server) -> None:
    page.keyboard.press("Space")
    expect(page.locator("#full")).to_be_visible()
    expect(page.locator("#large-boxes .name")).to_have_text(["crack", "stain"])
    sheet = page.locator("#sheet").bounding_box()
    shown = page.locator("#full-boxes rect.hit").first.bounding_box()
    assert sheet
    assert shown
    assert shown["x"] == pytest.approx(sheet["x"] + BOX["left"] * sheet["width"], abs=3)
    assert shown["height"] == pytest.approx(BOX["height"] * sheet["height"], abs=3)
    page.locator("#large-boxes button").nth(1).click()  # the stain's
    page.mouse.move(sheet["x"] + 0.6 * sheet["width"], sheet["y"] + 0.1 * sheet["height"])
    page.mouse.down()
    page.mouse.move(sheet["x"] + 0.8 * sheet["width"], sheet["y"] + 0.3 * sheet["height"])
    page.mouse.up()
    expect(page.locator("#large-boxes .name")).to_have_text(["crack", "crack"])
    page.locator("#large-boxes li").nth(1).click()
    page.keyboard.press("2")  # the chosen box is a stain's
    expect(page.locator("#large-boxes .name")).to_have_text(["crack", "stain"])
    page.keyboard.press("ArrowRight")
    expect(page.locator("#large-key")).to_have_text(LINES[1]["key"])
    page.keyboard.press("u")
    page.keyboard.press("Space")
    expect(page.locator("#large")).to_be_hidden()
    saved(page)
    assert said_of(bucket, server)[LINES[0]["key"]] == ("wrong", ("crack", "stain"))
    (found,) = [one for one in counting(read_all(bucket.s3, FINAL)).values() if one.key == LINES[0]["key"]]
    assert found.boxes
    assert [box.name for box in found.boxes] == ["crack", "stain"]
    assert (found.boxes[1].left, found.boxes[1].width) == (pytest.approx(0.6, abs=0.02), pytest.approx(0.2, abs=0.02))


def test_on_a_phone_nothing_is_wider_than_the_screen(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.fixture(scope="module")
def many() -> list[Row]:
    lines: list[dict[str, Any]] = [line(number, ("crack", 20 + number * 70 / MANY)) for number in range(MANY)]
    lines[0] = LINES[0]  # which has a picture
    return rows_of([*LINES[:1], *lines[1:]])


def test_a_hundred_thousand_images(visit: Open, bucket: FinalBucket, journal: Path, many: list[Row]) -> None:
    rows = [one for one in many if one.key == LINES[0]["key"]] + [one for one in many if one.key != LINES[0]["key"]]
    with reviewing(bucket.stack(), rows, journal) as server:
        began = time.monotonic()
        page = visit(server.url)
        expect(page.locator(".card img").first).to_be_visible()
        assert time.monotonic() - began < FIRST_PICTURE_SECONDS
        assert page.locator(".card").count() == 60
        assert page.evaluate("document.querySelectorAll('*').length") < 1500
        expect(page.locator("#where")).to_contain_text("of 100,000")
        page.keyboard.press("a")
        expect(page.locator("#where")).to_contain_text("61–120 of 100,000")
        page.locator("#min").fill("80")
        expect(page.locator("#where")).to_contain_text("of 14,2")
        saved(page)
        page.close()
