"""The page at `/`, in a real browser: a picked page is shown upright, with its boxes and its text drawn on it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from runtimes.base import Stack
from tests.asking.serial import ROOT, SAMPLES, STAGES, read, sample
from tests.conftest import Start
from tests.pages import curl_words, look

FIRST = ".lines tbody tr"


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("serial")


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    with look(browser, stack.url(), FIRST, reduced_motion="reduce") as found:
        yield found.page


def pick(page: Page, name: str) -> None:
    with page.expect_response("**/read"):
        page.get_by_role("button", name=name, exact=True).click()


def test_a_box_is_drawn_around_every_line_where_the_service_says(page: Page, stack: Stack) -> None:
    pick(page, "Invoice turned")
    reading = read(stack.url(), sample("invoice_turned.jpg"))
    expect(page.locator(".sheet rect")).to_have_count(len(reading["lines"]))
    sheet = page.locator(".sheet canvas").bounding_box()
    assert sheet
    scale = sheet["width"] / reading["width"]
    assert sheet["height"] == pytest.approx(reading["height"] * scale, abs=2)
    for index in (0, len(reading["lines"]) - 1):
        left, top, right, bottom = reading["lines"][index]["box"]
        drawn = page.locator(".sheet rect").nth(index).bounding_box()
        assert drawn
        assert drawn["x"] - sheet["x"] == pytest.approx(left * scale, abs=3)
        assert drawn["y"] - sheet["y"] == pytest.approx(top * scale, abs=3)
        assert drawn["width"] == pytest.approx((right - left) * scale, abs=5)
        assert drawn["height"] == pytest.approx((bottom - top) * scale, abs=5)


def test_the_text_is_drawn_and_listed(page: Page, stack: Stack) -> None:
    pick(page, "Page")
    lines = read(stack.url(), sample("page.jpg"))["lines"]
    expect(page.locator(".sheet text")).to_have_text([line["text"] for line in lines])
    expect(page.locator(".lines tbody td:first-child")).to_have_text([line["text"] for line in lines])
    again = sum(line["read_by"] == "recognition-heavy" for line in lines)
    expect(page.locator(".sheet rect.again")).to_have_count(again)


def test_a_turned_page_is_shown_upright(page: Page) -> None:
    corner = "canvas => [...canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 20, 9, 9).data]"
    pick(page, "Invoice")
    upright = page.locator(".sheet canvas").evaluate(corner)
    pick(page, "Invoice turned")
    expect(page.locator("#answer .verdict")).to_contain_text("rotated by 90°")
    turned = page.locator(".sheet canvas").evaluate(corner)
    assert max(abs(one - other) for one, other in zip(upright, turned, strict=True)) < 60


def test_each_stage_is_shown_with_its_time_and_can_be_looked_at(page: Page) -> None:
    pick(page, "Page")
    stages = page.locator(".stages button")
    expect(stages).to_have_text([re.compile(rf"{stage.replace('-', ', ')}.* ms$") for stage in STAGES])
    sheet = page.locator(".sheet")
    expect(sheet).to_have_attribute("data-stage", STAGES[-1])
    stages.nth(0).click()
    expect(page.locator(".sheet svg")).to_be_hidden()
    stages.nth(1).click()
    expect(page.locator(".sheet rect").first).to_be_visible()
    expect(page.locator(".sheet text").first).to_be_hidden()
    stages.nth(2).click()
    expect(page.locator(".sheet text").first).to_be_visible()


def test_a_picture_of_ones_own_is_read(page: Page, stack: Stack) -> None:
    with page.expect_response("**/read"):
        page.get_by_label("Your own page").set_input_files(SAMPLES / "page.jpg")
    lines = read(stack.url(), sample("page.jpg"))["lines"]
    expect(page.locator(".sheet rect")).to_have_count(len(lines))
    expect(page.locator(".samples [aria-pressed=true]")).to_have_count(0)


def test_a_file_that_is_no_picture_is_refused_with_the_reason(page: Page) -> None:
    page.get_by_label("Your own page").set_input_files(
        {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no picture at all"}
    )
    expect(page.get_by_role("alert")).to_contain_text("415")
    expect(page.get_by_role("alert").locator("li code")).to_have_text("picture")


def test_the_curl_line_can_be_pasted_in_a_checkout(page: Page, stack: Stack) -> None:
    pick(page, "Page")
    expect(page.locator("#curl")).to_contain_text("/page.jpg")
    words = curl_words(page.locator("#curl"))
    assert words[2] == f"{stack.url()}/read"
    assert (ROOT / words[-1].removeprefix("@")).read_bytes() == sample("page.jpg")
