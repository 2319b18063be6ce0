"""The page at `/`, in a real browser against a running web_single."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, expect

from runtimes.base import Stack
from tests.conftest import Start
from tests.pages import DESKTOP, LOW_CONTRAST, in_both_looks

PAGE_BYTES = 31_000


@pytest.fixture
def stack(start_shared: Start) -> Stack:
    return start_shared("web_single")


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """The page, opened at desktop width, with its first answer on it."""
    with browser.new_page(base_url=stack.url(), viewport=DESKTOP) as page:  # type: ignore[arg-type]
        open_page(page)
        yield page


def open_page(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#request-id")).to_be_visible()


def metadata(stack: Stack) -> dict[str, Any]:
    return dict(httpx.get(f"{stack.url()}/metadata").raise_for_status().json())


def predicted(stack: Stack, **changes: float) -> dict[str, Any]:
    """What the service itself answers for the first example, with some values changed."""
    model = metadata(stack)["model"]
    names = [feature["name"] for feature in model["inputs"][0]["features"]]
    instance = dict(zip(names, model["examples"][0]["features"], strict=True)) | changes
    answer = httpx.post(f"{stack.url()}/predict", json={"instances": [instance]}).raise_for_status().json()
    prediction: dict[str, Any] = answer["predictions"][0]
    return prediction


def expect_answer(page: Page, prediction: dict[str, Any]) -> None:
    label = prediction["label"]
    share = f"{prediction['probabilities'][label] * 100:.1f} %"
    expect(page.locator("#answer .verdict")).to_have_text(f"{label} {share}")


def requests_to(page: Page, path: str) -> list[Request]:
    """A list that grows with each request that the page makes to `path` from now on."""
    seen: list[Request] = []
    page.on("request", lambda request: seen.append(request) if urlsplit(request.url).path == path else None)
    return seen


def test_page_answers_the_first_example_by_itself(page: Page, stack: Stack) -> None:
    told, model = metadata(stack), metadata(stack)["model"]
    expect(page.locator("#pattern")).to_have_text("web single")
    expect(page.locator("#service")).to_contain_text(told["release"])
    expect(page.locator("#about")).not_to_be_empty()
    expect_answer(page, predicted(stack))
    expect(page.locator("#answer")).to_contain_text(f"Correct answer of this example: {model['examples'][0]['answer']}")
    expect(page.locator("#answer")).to_contain_text(f"{model['name']} version {model['version']}")
    for label, share in predicted(stack)["probabilities"].items():
        expect(page.locator("#answer .bars li", has_text=label)).to_contain_text(f"{share * 100:.1f} %")


def test_page_tells_what_the_model_is(page: Page, stack: Stack) -> None:
    model = metadata(stack)["model"]
    facts = page.locator("#model")
    for text in (model["title"], model["description"], model["sha256"][:12], *model["licence"].values()):
        expect(facts).to_contain_text(text.strip())
    for name in model["metrics"]:
        expect(facts).to_contain_text(name.replace("_", " "))
    for name in ("API documentation", "Metrics", "Metadata"):
        link = page.get_by_role("link", name=name)
        assert page.request.get(str(link.evaluate("link => link.href"))).ok


def test_page_shows_each_stage_that_the_server_timed(page: Page) -> None:
    with page.expect_response("**/predict") as answered:
        page.get_by_role("button", name="virginica").click()
    headers = answered.value.headers
    expect(page.locator("#request-id")).to_have_text(headers["x-request-id"])
    names = [entry.split(";")[0].replace("_", " ") for entry in headers["server-timing"].split(", ")]
    assert names.pop() == "total"
    expect(page.locator(".spans li > span:first-child")).to_have_text(["round trip", "server", *names, "other"])
    expect(page.locator(".spans b")).to_have_text([re.compile(r"^\d[\d.]* ms$")] * (len(names) + 3))


def test_stages_are_read_out_of_any_server_timing_header(page: Page) -> None:
    header = 'parse;dur=0.5, data_base;desc="first, \\"then\\"; done";dur=2,miss, model;dur=1;desc=run'
    stages = page.evaluate("header => import('/page/parts.js').then(({timings}) => timings(header))", header)
    read = [(stage["label"], stage["duration"]) for stage in stages]
    assert read == [("parse", 0.5), ('first, "then"; done', 2), ("miss", 0), ("run", 1)]


def test_moved_slider_asks_again(page: Page, stack: Stack) -> None:
    page.get_by_label("Petal length, slider").fill("5.1")
    expect(page.get_by_label("Petal length cm")).to_have_value("5.1")
    expect_answer(page, predicted(stack, petal_length=5.1))
    expect(page.locator("#answer")).not_to_contain_text("Correct answer")
    expect(page.get_by_role("button", pressed=True)).to_have_count(0)


def test_dragged_slider_asks_a_few_times_only_and_ends_on_the_last_value(page: Page, stack: Stack) -> None:
    asked = requests_to(page, "/predict")
    page.get_by_label("Petal width, slider").evaluate(
        """slider => { for (let i = 0; i <= 100; i++) {
            slider.value = 0.1 + 0.024 * i; slider.dispatchEvent(new Event("input", {bubbles: true})); } }"""
    )
    expect_answer(page, predicted(stack, petal_width=2.5))
    assert len(asked) <= 2


def test_value_out_of_the_training_range_is_answered_with_a_warning(page: Page) -> None:
    page.get_by_label("Petal length cm").fill("9.5")
    expect(page.locator("#answer .warning")).to_contain_text("petal_length")
    expect(page.locator(".field[data-state=warning]")).to_have_count(1)
    page.get_by_role("button", name="versicolor").click()
    expect(page.locator(".warning")).to_have_count(0)
    expect(page.locator(".field[data-state=warning]")).to_have_count(0)


def test_refusal_names_the_field_and_is_gone_once_it_is_mended(page: Page) -> None:
    box = page.get_by_label("Sepal width cm")
    box.fill("")
    refusal = page.get_by_role("alert")
    expect(refusal).to_contain_text("400")
    expect(refusal.locator("li code")).to_have_text("instances[0].sepal_width")
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#sepal_width-hint")).not_to_be_empty()
    box.fill("3.0")
    expect(refusal).to_be_empty()
    expect(box).to_have_attribute("aria-invalid", "false")


@pytest.mark.parametrize(
    "rows",
    [
        "5.1,3.5,1.4,0.2\n6.3,3.3,6.0,2.5\n",
        "petal_width;petal_length;sepal_width;sepal_length\r\n0.2;1.4;3.5;5.1\r\n2.5;6.0;3.3;6.3",
    ],
    ids=["in the model's order", "in the header's order"],
)
def test_pasted_rows_are_answered_in_one_call(page: Page, rows: str) -> None:
    asked = requests_to(page, "/predict")
    page.get_by_text("Several rows in one request").click()
    page.get_by_label("Rows, as CSV").fill(rows)
    page.get_by_role("button", name="Predict all rows").click()
    expect(page.locator("tbody tr td:nth-child(3)")).to_have_text(["setosa", "virginica"])
    assert len(asked) == 1


def test_markup_and_quotes_in_a_row_stay_text_everywhere(page: Page) -> None:
    page.get_by_text("Several rows in one request").click()
    page.get_by_label("Rows, as CSV").fill("5.1,3.5,1.4,it's <img src=x onerror=alert(1)>")
    page.get_by_role("button", name="Predict all rows").click()
    expect(page.get_by_role("alert").locator("li code")).to_have_text("instances[0].petal_width")
    expect(page.locator("img")).to_have_count(0)
    _, sent = shell_request(page)
    assert sent["instances"][0]["petal_width"] == "it's <img src=x onerror=alert(1)>"


def shell_request(page: Page) -> tuple[str, dict[str, Any]]:
    """URL and body of the curl line, read as a shell reads it."""
    words = shlex.split((page.locator("#curl").text_content() or "").replace("\\\n", ""))
    assert words[:2] == ["curl", "-sS"]
    assert words[3:6] == ["-H", "Content-Type: application/json", "-d"]
    return words[2], json.loads(words[6])


def test_copied_curl_line_asks_the_same(page: Page, stack: Stack) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#curl").text_content()
    url, body = shell_request(page)
    answer = httpx.post(url, json=body).raise_for_status().json()
    assert answer["predictions"] == [predicted(stack)]


def test_page_can_be_used_by_keyboard_alone(page: Page, stack: Stack) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="setosa")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#answer .verdict strong")).to_have_text("versicolor")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_label("Sepal length, slider")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.get_by_label("Sepal length cm")).to_have_value("4.3")
    expect_answer(page, predicted(stack, sepal_length=4.3, sepal_width=3.2, petal_length=4.5, petal_width=1.5))


@in_both_looks
def test_page_fits_and_is_readable(browser: Browser, stack: Stack, size: dict[str, int], scheme: Any) -> None:
    with browser.new_page(base_url=stack.url(), viewport=size, color_scheme=scheme) as page:  # type: ignore[arg-type]
        open_page(page)
        page.get_by_label("Petal length cm").fill("9.5")
        expect(page.locator("#answer .warning")).to_be_visible()
        page.get_by_text("Several rows in one request").click()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        assert page.evaluate(LOW_CONTRAST) == []


def test_health_dot_tells_when_the_service_stops_answering(browser: Browser, start_own: Start) -> None:
    stack = start_own("web_single")
    with browser.new_page(base_url=stack.url()) as page:
        open_page(page)
        health, look_again = page.locator("#health"), "window.dispatchEvent(new Event('visibilitychange'))"
        expect(health).to_have_text("ready")
        stack.freeze("api")
        page.evaluate(look_again)
        expect(health).to_have_text("unreachable")
        stack.thaw("api")
        page.evaluate(look_again)
        expect(health).to_have_text("ready")


def test_hidden_page_leaves_the_service_alone(browser: Browser, stack: Stack) -> None:
    with browser.new_page(base_url=stack.url()) as page:
        page.clock.install()
        open_page(page)
        expect(page.locator("#health")).to_have_text("ready")
        asked = requests_to(page, "/readyz")
        with page.expect_response("**/readyz"):
            page.clock.run_for(10_000)
        page.evaluate(
            """() => { Object.defineProperty(document, "hidden", {value: true, configurable: true});
                document.dispatchEvent(new Event("visibilitychange", {bubbles: true})); }"""
        )
        before = len(asked)
        page.clock.run_for(300_000)
        assert len(asked) == before


def test_page_loads_little_from_nowhere_else_and_runs_no_other_script(browser: Browser, stack: Stack) -> None:
    with browser.new_page(base_url=stack.url()) as page:
        complaints: list[str] = []
        sizes: dict[str, int] = {}
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda response: sizes.update({response.url: len(response.body())}))
        open_page(page)
        assert complaints == []
        assert all(url.startswith(f"{stack.url()}/") for url in sizes)
        assert sum(size for url, size in sizes.items() if re.fullmatch("/|/page/.*", urlsplit(url).path)) < PAGE_BYTES
        page.evaluate(
            """() => document.body.append(
                Object.assign(document.createElement("script"), {textContent: "window.ran = true"}))"""
        )
        assert page.evaluate("window.ran") is None


def test_regressor_answers_with_its_value_and_unit(browser: Browser, start_own: Start) -> None:
    stack = start_own("web_single", MODEL="petal_width")
    with browser.new_page(base_url=stack.url()) as page:
        open_page(page)
        expect(page.locator("#answer .verdict")).to_have_text(f"{predicted(stack)['value']:.4g} cm")
        expect(page.locator("#answer")).to_contain_text("Correct answer of this example: 0.2 cm")
        expect(page.locator(".bars")).to_have_count(0)


def test_model_without_named_features_is_asked_for_tensors(browser: Browser, start_own: Start) -> None:
    stack = start_own("web_single", MODEL="imagenet_lite0")
    with browser.new_page(base_url=stack.url()) as page:
        page.goto("/")
        body = page.get_by_label("Request, as JSON")
        expect(body).to_have_value(re.compile(f'"name": "{metadata(stack)["model"]["inputs"][0]["name"]}"'))
        page.get_by_role("button", name="Infer").click()
        expect(page.get_by_role("alert")).to_contain_text("400")
