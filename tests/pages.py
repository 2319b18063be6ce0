"""What the tests of the patterns' pages share: how a page is looked at, and what has to hold of every one."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOW_CONTRAST = (Path(__file__).with_name("low_contrast.js")).read_text()
UNNAMED = """[...document.querySelectorAll("input, textarea, select, button")].filter((one) => !one.labels?.length
    && !one.ariaLabel && !one.textContent && !one.querySelector("img[alt]")).map((one) => one.outerHTML)"""

KEY = "k" * 40
ITS_ENTRY = f"ada:{hashlib.sha256(KEY.encode()).hexdigest()}"  # of API_KEYS

in_both_looks = pytest.mark.parametrize(
    ("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop, light", "phone, dark"]
)


class Look:
    """A page at `/` once `shown`, a selector, is on it; what it has loaded, and what the browser complained of."""

    def __init__(self, page: Page, shown: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.urls: list[str] = []
        page.on("console", lambda one: self.complaints.append(f"{one.location['url']}: {one.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.urls.append(request.url))
        page.goto("/")
        expect(page.locator(shown).first).to_be_visible()


@contextmanager
def look(browser: Browser, url: str, shown: str, size: dict[str, int] = DESKTOP, **how: Any) -> Iterator[Look]:
    """Opens a service's page in a window of its own, `how` as `Browser.new_page` has it."""
    with browser.new_page(base_url=url, viewport=size, **how) as page:  # type: ignore[arg-type]
        yield Look(page, shown)


def check_looks(page: Page) -> None:
    """It is no wider than its window, every text can be read, and every control has a name."""
    size = page.viewport_size
    assert size
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert page.evaluate(LOW_CONTRAST) == []
    assert page.evaluate(UNNAMED) == []


def check_own(found: Look, url: str) -> None:
    """Nothing came from elsewhere than `url`, and nothing complained."""
    assert found.complaints == []
    assert [one for one in found.urls if not one.startswith((f"{url}/", "blob:", "data:"))] == []


def give_key(page: Page, key: str = KEY) -> None:
    """Answers a page that asks for an API key."""
    page.get_by_label("API key").fill(key)
    page.get_by_label("API key").press("Enter")


def curl_words(line: Locator) -> list[str]:
    """A curl line as a shell reads it."""
    return shlex.split((line.text_content() or "").replace("\\\n", ""))
