"""The page at `/`, in a real browser: every kind of input can be tried, and shows where its time went."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from runtimes.base import Stack
from tests.asking.prep_pred import ROOT, SAMPLES, items, start_layout
from tests.conftest import Start
from tests.pages import PHONE, check_looks, curl_words, in_both_looks, look

FIRST = "#request-id"


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_layout(start_shared, None)


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """The page, opened at desktop width, with its first answer on it."""
    with look(browser, stack.url(), FIRST) as found:
        yield found.page


def choose(page: Page, model: str) -> None:
    page.get_by_role("group", name="Model").get_by_role("button", name=model).click()


def verdict(page: Page) -> Any:
    return expect(page.locator("#answer .verdict strong"))


def test_photos_are_shown_and_answered(page: Page) -> None:
    verdict(page).to_have_text("tripod")  # of the first sample, by itself
    photos = page.get_by_role("group", name="Real photos")
    expect(photos.get_by_role("img")).to_have_count(len(list(SAMPLES.glob("*.jpg"))))
    photos.get_by_role("button", name="coffee").click()
    verdict(page).to_have_text("espresso")
    expect(page.locator("#answer")).to_contain_text("Correct answer of this example: espresso")
    expect(page.locator("#answer .bars li")).to_have_count(5)
    assert page.locator("img.preview").evaluate("img => img.naturalWidth") == 600


def test_an_answer_that_comes_behind_a_newer_question_is_not_shown(page: Page) -> None:
    held: list[Route] = []
    page.route("**/predict/imagenet_lite0", lambda route: held.append(route), times=1)
    photos = page.get_by_role("group", name="Real photos")
    with page.expect_request("**/predict/imagenet_lite0"):
        photos.get_by_role("button", name="coffee").click()
    photos.get_by_role("button", name="chelsea").click()
    verdict(page).to_have_text("tiger cat")
    with page.expect_response("**/predict/imagenet_lite0") as late:
        held[0].continue_()
    late.value.finished()
    page.evaluate("() => new Promise(requestAnimationFrame)")
    verdict(page).to_have_text("tiger cat")


def test_why_it_is_not_ready_fits_a_phone(browser: Browser, stack: Stack) -> None:
    reasons = [
        f"predictor prep.{name} cannot answer: its name does not resolve" for name in ("iris", "penguins", "photo")
    ]
    with look(browser, stack.url(), FIRST, PHONE) as found:
        found.page.route("**/readyz", lambda route: route.fulfill(status=503, json={"reasons": reasons}))
        found.page.evaluate("window.dispatchEvent(new Event('online'))")
        expect(found.page.locator("#health")).to_contain_text(reasons[-1])
        assert found.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_a_visitors_own_picture_is_answered_or_refused_with_the_reason(page: Page, tmp_path: Path) -> None:
    page.get_by_label("Your own, JPEG or PNG").set_input_files(SAMPLES / "coffee.jpg")
    verdict(page).to_have_text("espresso")
    expect(page.locator("#answer")).to_contain_text("For your own input")
    (tmp_path / "cut.jpg").write_bytes((SAMPLES / "coffee.jpg").read_bytes()[:9000])
    page.get_by_label("Your own, JPEG or PNG").set_input_files(tmp_path / "cut.jpg")
    expect(page.get_by_role("alert")).to_contain_text("cut short")


def test_each_stage_that_the_server_timed_is_shown(page: Page) -> None:
    with page.expect_response("**/predict/imagenet_lite0") as answered:
        page.get_by_role("button", name="coffee").click()
    expect(page.locator("#request-id")).to_have_text(answered.value.headers["x-request-id"])
    names = ["round trip", "server", "prepare", "transfer", "predict", "other"]
    expect(page.locator(".spans li > span:first-child")).to_have_text(names)
    expect(page.locator(".spans b")).to_have_text([re.compile(r"^\d[\d.]* ms$")] * len(names))


def test_penguins_are_described_by_lists_and_numbers_some_left_open(page: Page) -> None:
    choose(page, "penguins")
    verdict(page).to_have_text("Adelie")
    page.get_by_role("button", name="Gentoo").click()
    verdict(page).to_have_text("Gentoo")
    expect(page.get_by_label("Island")).to_have_value("Biscoe")
    page.get_by_label("Bill depth mm").fill("")
    page.get_by_label("Sex").select_option("")
    verdict(page).to_have_text("Gentoo")
    expect(page.locator("#answer")).to_contain_text("For your own input")
    page.get_by_label("Island").select_option("Dream")
    page.get_by_label("Flipper length mm").fill("190")
    page.get_by_label("Body mass g").fill("3500")
    page.get_by_label("Bill length mm").fill("49")
    verdict(page).to_have_text("Chinstrap")


def test_a_missing_measurement_of_a_flower_is_refused_by_name(page: Page) -> None:
    choose(page, "iris standardised")
    verdict(page).to_have_text("setosa")
    page.get_by_label("Petal width").fill("")
    expect(page.get_by_role("alert")).to_contain_text("instances[0].petal_width")
    page.get_by_label("Petal width").fill("0.2")
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_text_is_told_by_its_language(page: Page) -> None:
    choose(page, "text language")
    text, truth = items("text_language")[0]
    expect(page.get_by_label("Text")).to_have_value(text)
    verdict(page).to_have_text(truth)
    page.get_by_label("Text").fill("Das Wetter ist heute besonders schön, wir gehen spazieren.")
    verdict(page).to_have_text("de")


def test_the_curl_line_can_be_pasted_in_a_checkout(page: Page, stack: Stack) -> None:
    verdict(page).to_have_text("tripod")
    words = curl_words(page.locator("#curl"))
    file = words.pop()
    assert words[:3] == ["curl", "-sS", f"{stack.url()}/predict/imagenet_lite0"]
    assert words[3:] == ["-H", "Content-Type: image/jpeg", "--data-binary"]
    assert (ROOT / file.removeprefix("@")).read_bytes() == (SAMPLES / "camera.jpg").read_bytes()


@in_both_looks
def test_page_fits_and_is_readable(browser: Browser, stack: Stack, size: dict[str, int], scheme: str) -> None:
    with look(browser, stack.url(), FIRST, size, color_scheme=scheme) as found:
        for model in ("imagenet lite0", "penguins", "text language"):
            choose(found.page, model)
            expect(found.page.locator("#answer .verdict")).to_be_visible()
            check_looks(found.page)


def test_the_samples_are_those_of_the_metadata(http: httpx.Client, stack: Stack) -> None:
    told = http.get(f"{stack.url()}/metadata").json()["samples"]
    assert told == sorted(path.name for path in SAMPLES.glob("*.jpg"))
    for name in told:
        answer = http.get(f"{stack.url()}/samples/{name}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
        assert answer.content == (SAMPLES / name).read_bytes()
