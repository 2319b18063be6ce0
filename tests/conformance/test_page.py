"""The page at `/` in a browser: it answers by itself and on a click, loads nothing from elsewhere, and fits a phone.

With UPDATE_SCREENSHOTS=1 the default rows' pages are drawn into docs/screenshots/.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.conformance.served import Served
from tests.pages import PHONE, check_looks, check_own, look

SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
LARGEST = 60_000  # bytes of a screenshot


@pytest.mark.variants_on_local
def test_the_page_answers_and_complains_of_nothing(served: Served, browser: Browser) -> None:
    row, size = served.row, {"width": 1280, "height": 800}
    with look(browser, served.url, row.page.shown, size, reduced_motion="reduce") as found:
        expect(found.page.locator("#pattern")).to_have_text(row.pattern.replace("_", " "))
        expect(found.page.get_by_role("status")).to_have_text("ready")
        if row.page.sample:
            found.page.get_by_role("button", name=row.page.sample, exact=True).click()
            expect(found.page.locator(row.page.shown).first).to_contain_text(row.page.answer)
        check_looks(found.page)
        check_own(found, served.url)
        if os.environ.get("UPDATE_SCREENSHOTS") and row.variant is None and served.stack.runtime == "local":
            draw(found.page, row.pattern)


def draw(page: Page, pattern: str) -> None:
    """Writes what the window shows, with fewer colours until it is small enough."""
    with Image.open(io.BytesIO(page.screenshot())) as shown:
        for colours in (256, 128, 64, 32):
            stream = io.BytesIO()
            shown.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
            if len(stream.getvalue()) <= LARGEST:
                break
        else:
            raise AssertionError(f"the page of {pattern} takes {len(stream.getvalue())} bytes, more than {LARGEST}")
    SCREENSHOTS.mkdir(exist_ok=True)
    (SCREENSHOTS / f"{pattern}.png").write_bytes(stream.getvalue())


@pytest.mark.once_per_pattern
def test_the_page_fits_a_phone_in_the_dark(served: Served, browser: Browser) -> None:
    how = {"color_scheme": "dark", "reduced_motion": "reduce"}
    with look(browser, served.url, served.row.page.shown, PHONE, **how) as found:
        check_looks(found.page)
