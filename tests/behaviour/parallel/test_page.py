"""The page of parallel, in a real browser: every predictor's answer as it comes, the whole, and who is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from runtimes.base import Stack
from tests.asking.parallel import CLASSIFIERS, ROWS, instances, predicted
from tests.conftest import Start
from tests.pages import ITS_ENTRY, check_looks, check_own, curl_words, give_key, in_both_looks, look
from tests.stand_in import StandIn, proxy_over

FIRST = ".verdict"
EVERYONE = (*CLASSIFIERS, "petal_width")


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("parallel")


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    with look(browser, stack.url(), FIRST) as found:
        yield found.page


def lane(page: Page, name: str) -> Any:
    return page.locator(f"#lanes li[data-name={name}]")


def test_it_asks_by_itself_and_shows_every_answer_and_the_whole(page: Page, stack: Stack) -> None:
    answer = predicted(stack, ROWS[0], aggregate="all")
    said = answer["predictions"][0]
    share = f"{said['probabilities'][said['label']] * 100:.1f} %"
    expect(page.locator(".verdict")).to_have_text(f"{said['label']} {share}")
    for name in CLASSIFIERS:
        (own,) = answer["answers"][name]
        expect(lane(page, name)).to_contain_text(f"{own['label']} {own['probabilities'][own['label']] * 100:.1f} %")
    expect(lane(page, "petal_width")).to_contain_text(f"{answer['answers']['petal_width'][0]['value']:.4g} cm")
    for name in EVERYONE:
        expect(lane(page, name).locator("b")).to_have_text(re.compile(r"^[\d.]+ ms$"))
    expect(page.locator("#answer")).to_contain_text("Answered by iris/1, iris_rf/1, iris_mlp/1, petal_width/1")


def test_another_way_to_make_one_answer_is_asked_for(page: Page, stack: Stack) -> None:
    page.get_by_role("button", name="models disagree").click()
    page.get_by_label("Combine answers by").select_option("vote")
    (said,) = predicted(stack, ROWS[2], aggregate="vote")["predictions"]
    expect(page.locator(".verdict")).to_have_text(f"{said['label']} {said['votes'][said['label']]} of 3 votes")
    expect(page.locator(".bars li.first b")).to_have_text(f"{said['votes'][said['label']] / 3:.1%}".replace("%", " %"))
    page.get_by_label("Combine answers by").select_option("best")
    (said,) = predicted(stack, ROWS[2], aggregate="best")["predictions"]
    expect(page.locator(".verdict")).to_contain_text(f"from {said['by']}")


def test_a_moved_slider_asks_again_and_a_refusal_names_the_field(page: Page, stack: Stack) -> None:
    page.get_by_label("Petal length, slider").fill("5.1")
    (said,) = predicted(stack, [5.1, 3.5, 5.1, 0.2])["predictions"]
    expect(page.locator(".verdict strong")).to_have_text(said["label"])
    page.get_by_label("Sepal width cm").fill("")
    expect(page.get_by_role("alert").locator("li code")).to_have_text("instances[0].sepal_width")
    page.get_by_label("Sepal width cm").fill("3.0")
    expect(page.get_by_role("alert")).to_be_empty()


def test_items_without_a_store_are_refused_in_words(page: Page) -> None:
    page.get_by_text("By item id").click()
    page.get_by_role("button", name="Predict these items").click()
    expect(page.get_by_role("alert")).to_contain_text("no feature store")


def test_the_curl_line_asks_the_same(page: Page) -> None:
    words = curl_words(page.locator("#curl"))
    assert words[2].endswith("/predict/stream")
    assert json.loads(words[-1]) == {"instances": instances(ROWS[0]), "aggregate": "mean"}
    assert httpx.post(words[2], json=json.loads(words[-1])).status_code == 200


def test_who_is_missing_is_said_and_a_key_is_sent_where_one_is_needed(browser: Browser) -> None:
    well, odd = StandIn("well"), StandIn("odd", status=500)
    proxy = proxy_over(well, odd, STRATEGY="partial", API_KEYS=ITS_ENTRY)
    with proxy as url, browser.new_page(base_url=url) as page:
        page.goto("/")
        give_key(page)
        expect(lane(page, "odd")).to_contain_text("missing")
        expect(page.locator("#answer .warning")).to_contain_text("odd is missing: predictor odd answered 500")
        well.status = 500
        page.get_by_role("button", name="virginica").click()
        for name in ("well", "odd"):
            expect(page.get_by_role("alert")).to_contain_text(f"predictor {name} answered 500")
    for one in (well, odd):
        one.close()


@in_both_looks
def test_it_fits_is_readable_and_complains_of_nothing(
    browser: Browser, stack: Stack, size: dict[str, int], scheme: str
) -> None:
    with look(browser, stack.url(), FIRST, size, color_scheme=scheme) as found:
        found.page.get_by_text("By item id").click()
        found.page.get_by_text("The same with curl").click()
        check_looks(found.page)
        check_own(found, stack.url())
