"""The page of a service that needs an API key: it asks for the key, sends it, and shows it nowhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, expect

from patterns.web_single import demo
from runtimes.base import Stack
from tests.conftest import Start
from tests.pages import ITS_ENTRY, KEY, check_looks, give_key


@pytest.fixture(scope="module")
def stack(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    keys = tmp_path_factory.mktemp("secrets") / "keys"
    keys.write_text(ITS_ENTRY)
    return start_for_module("web_single", API_KEYS_FILE=str(keys))


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """The page, while it asks for a key."""
    with browser.new_context(base_url=stack.url()) as context:
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_label("API key")).to_be_focused()
        yield page


def expect_answer(page: Page) -> None:
    expect(page.locator("#answer .verdict strong")).to_have_text("setosa")
    expect(page.get_by_label("API key")).to_have_count(0)


def test_the_page_asks_until_the_key_is_right_and_polls_meanwhile(page: Page) -> None:
    expect(page.locator("form.key")).to_contain_text("This service needs an API key.")
    check_looks(page)
    with page.expect_response("**/readyz"):  # a second poll: the first came before the question
        expect(page.locator("#health")).to_have_text("ready")
    give_key(page, "key with spaces")
    expect(page.locator("#key:invalid")).to_be_focused()
    give_key(page, "w" * 40)
    expect(page.locator("form.key")).to_contain_text("not known here")
    give_key(page, f" {KEY} ")
    expect_answer(page)


def test_every_request_carries_the_key_and_no_address_does(page: Page) -> None:
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request))
    give_key(page)
    expect_answer(page)
    page.get_by_role("button", name="virginica").click()
    expect(page.locator("#answer .verdict strong")).to_have_text("virginica")
    keyed = {one.url.rpartition("/")[2] for one in sent if one.headers.get("authorization") == f"Bearer {KEY}"}
    assert keyed >= {"metadata", "predict"}
    assert [one.url for one in sent if KEY in one.url] == []
    assert KEY not in page.url
    assert KEY not in page.content()
    assert 'Authorization: Bearer $API_KEY"' in (page.locator("#curl").text_content() or "")


def test_the_key_is_kept_in_this_tab_alone(page: Page) -> None:
    give_key(page)
    expect_answer(page)
    page.reload()
    expect_answer(page)
    assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
    with page.context.new_page() as other:
        other.goto("/")
        expect(other.get_by_label("API key")).to_be_visible()


def test_the_api_documentation_asks_for_the_key_and_shares_that_of_the_page(browser: Browser, stack: Stack) -> None:
    with browser.new_context(base_url=stack.url()) as context:
        page = context.new_page()
        asked: list[str] = []

        def give(dialog: Dialog) -> None:
            asked.append(dialog.message)
            dialog.accept(KEY)

        page.on("dialog", give)
        page.goto("/docs")
        expect(page.get_by_text("/predict", exact=True)).to_be_visible()
        assert ["needs an API key" in message for message in asked] == [True]
        page.goto("/")
        expect_answer(page)


def test_the_links_of_the_page_work_with_the_key(page: Page) -> None:
    give_key(page)
    expect_answer(page)
    for name in ("API documentation", "Metrics"):
        link = page.get_by_role("link", name=name)
        assert page.request.get(str(link.evaluate("link => link.href"))).ok
    page.get_by_role("link", name="Metadata").click()
    expect(page.locator("body")).to_contain_text('"pattern": "web_single"')


def test_the_demo_takes_the_key_from_the_environment_and_asks_for_one(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="the service asks for an API key; run this again with API_KEY=KEY"):
        demo.main(stack.url())
    monkeypatch.setenv("API_KEY", "another")
    with pytest.raises(SystemExit, match="the service does not take the key in API_KEY"):
        demo.main(stack.url())
    monkeypatch.setenv("API_KEY", KEY)
    demo.main(stack.url())
    shown = capsys.readouterr().out
    assert '-H "Authorization: Bearer $API_KEY"' in shown
    assert KEY not in shown
