"""The page at `/`: photos to pick or to bring, the likeliest classes, the stages, and the hand-over as a job."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from runtimes.base import Stack
from tests.asking.synchronous import CAT, COFFEE, PHOTOS, ROOT, SAMPLES, post, shares
from tests.conftest import Start
from tests.pages import check_looks, check_own, curl_words, in_both_looks, look

FIRST = "#answer .verdict"


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("synchronous")


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    with look(browser, stack.url(), FIRST) as found:
        yield found.page


def pick(page: Page, photo: str) -> None:
    page.get_by_role("group", name="Photos").get_by_role("button", name=photo).click()


def test_the_first_photo_is_asked_about_by_itself(page: Page, stack: Stack) -> None:
    expect(page.locator("#pattern")).to_have_text("synchronous")
    expect(page.locator("#about")).not_to_be_empty()
    expect(page.get_by_role("group", name="Photos").get_by_role("button")).to_have_count(len(PHOTOS))
    expect(page.locator("#answer .verdict strong")).to_have_text("tripod")
    expect(page.locator("#answer")).to_contain_text("Correct answer of this example: tripod")
    expect(page.locator("#answer")).to_contain_text("imagenet_lite0 version 1")
    assert page.get_by_alt_text("The photo that was sent").evaluate("image => image.naturalWidth") > 100


def test_the_five_likeliest_are_bars(page: Page, stack: Stack, http: httpx.Client) -> None:
    pick(page, "coffee")
    expect(page.locator("#answer .verdict strong")).to_have_text("espresso")
    rows = page.locator("#answer .bars li")
    expect(rows).to_have_count(5)
    for label, share in shares(post(http, stack.url(), COFFEE)).items():
        expect(rows.filter(has_text=label).first).to_contain_text(f"{share * 100:.1f} %")


def test_each_stage_is_shown(page: Page) -> None:
    shown = page.locator(".spans li > span:first-child")
    expect(shown).to_have_text(["round trip", "server", "decode", "prepare", "queue", "infer", "postprocess", "other"])


def test_a_photo_of_ones_own_is_answered(page: Page) -> None:
    page.get_by_label("Or your own").set_input_files(SAMPLES / "rocket.jpg")
    expect(page.locator("#answer .verdict strong")).to_have_text("missile")
    expect(page.get_by_role("group", name="Photos").get_by_role("button", pressed=True)).to_have_count(0)


def test_a_file_that_is_no_picture_is_refused_with_the_reason(page: Page) -> None:
    broken = {"name": "half.jpg", "mimeType": "image/jpeg", "buffer": CAT[:5000]}
    page.get_by_label("Or your own").set_input_files(broken)  # type: ignore[arg-type]
    refusal = page.get_by_role("alert")
    expect(refusal).to_contain_text("400")
    expect(refusal).to_contain_text("cut short")
    pick(page, "coffee")
    expect(refusal).to_be_empty()
    expect(page.locator("#answer .verdict strong")).to_have_text("espresso")


def test_who_does_not_wait_sees_the_hand_over_and_then_the_answer(page: Page) -> None:
    with page.expect_response("**/classify?top=5") as handed, page.expect_response("**/jobs/*") as fetched:
        page.get_by_role("group", name="Wait at most").get_by_role("button", name="do not wait").click()
    assert handed.value.status == 202
    assert handed.value.request.headers["prefer"] == "respond-async, wait=0"
    assert handed.value.headers["location"] in fetched.value.url
    expect(page.locator("#job")).to_contain_text(f"Result of job {handed.value.json()['id']}")
    expect(page.locator("#job")).to_contain_text("infer")
    expect(page.locator("#answer .verdict strong")).to_have_text("tripod")
    expect(page.locator("#curl")).to_contain_text("-H 'Prefer: respond-async, wait=0'")


def test_the_curl_line_sends_the_same_file(page: Page, stack: Stack) -> None:
    pick(page, "coffee")
    expect(page.locator("#curl")).to_contain_text("coffee.jpg")
    *words, file = curl_words(page.locator("#curl"))
    assert words[:3] == ["curl", "-sS", f"{stack.url()}/classify?top=5"]
    assert words[3:] == ["-H", "Content-Type: image/jpeg", "--data-binary"]
    assert (ROOT / file.removeprefix("@")).read_bytes() == COFFEE


def test_a_file_of_ones_own_is_sent_from_where_it_is(page: Page) -> None:
    page.get_by_label("Or your own").set_input_files(SAMPLES / "rocket.jpg")
    expect(page.locator("#answer .verdict strong")).to_have_text("missile")
    assert curl_words(page.locator("#curl"))[-1] == "@rocket.jpg"


@in_both_looks
def test_the_page_fits_and_is_readable(browser: Browser, stack: Stack, size: dict[str, int], scheme: str) -> None:
    with look(browser, stack.url(), FIRST, size, color_scheme=scheme) as found:
        found.page.get_by_role("button", name="do not wait").click()
        expect(found.page.locator("#job")).to_contain_text("Result of job")
        check_looks(found.page)
        check_own(found, stack.url())
