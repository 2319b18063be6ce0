"""What was exported from a table is asked by its columns: by the page and by the demo, as the manifest names them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from patterns.web_single import demo
from patterns.web_single.api import Settings, create_process
from tests.exporters.exporting import exported
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import served

TOYS = "tests.exporters.toys_sklearn"
TABLE = 'sex,fare\nmale,30\nfemale,7.5\n"other, ""none""",8\nfemale,50\n'


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a model that was exported from a table of texts and numbers."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "table.csv").write_text(TABLE)
    version = exported(folder, "sklearn", f"{TOYS}:passengers", "passengers", "table.csv")
    settings = {"model": "passengers", "model_repository": version.parents[1], "grpc_port": 0}
    app = create_process(Settings.model_validate(settings), CapturedLog().logs).app
    with served(app) as running:
        wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 200, "readiness")
        yield running.url


def predicted(url: str, **row: object) -> str:
    """What the page shows for a row."""
    answer = httpx.post(f"{url}/predict", json={"instances": [row]}).raise_for_status().json()["predictions"][0]
    return f"{answer['label']} {answer['probabilities'][answer['label']] * 100:.1f} %"


def test_the_page_has_a_field_for_each_column_and_sends_its_value(browser: Browser, url: str) -> None:
    with browser.new_page(base_url=url) as page:
        page.goto("/")
        verdict = page.locator("#answer .verdict")
        expect(page.get_by_label("Sex", exact=True)).to_have_value("male")
        expect(page.get_by_label("Fare", exact=True)).to_have_value("30")
        expect(verdict).to_have_text(predicted(url, sex="male", fare=30))
        page.get_by_role("button", name="Row 3").click()
        expect(page.get_by_label("Sex", exact=True)).to_have_value('other, "none"')
        page.get_by_label("Sex", exact=True).fill("female")
        page.get_by_label("Fare", exact=True).fill("60")
        expect(verdict).to_have_text(predicted(url, sex="female", fare=60))
        expect(page.get_by_role("alert")).to_be_empty()


def test_rows_of_the_page_keep_text_in_quotes_and_text_of_digits(browser: Browser, url: str) -> None:
    with browser.new_page(base_url=url) as page:
        page.goto("/")
        page.get_by_text("Several rows in one request").click()
        rows = page.get_by_label("Rows, as CSV")
        expect(rows).to_have_value('sex,fare\nmale,30\nfemale,7.5\n"other, ""none""",8')
        rows.fill('fare,sex\n8,"other, ""none"""\n7.5,01067')
        expect(page.locator("#answer .verdict")).to_be_visible()
        with page.expect_request("**/predict") as asked:
            page.get_by_role("button", name="Predict all rows").click()
        sent = json.loads(asked.value.post_data or "")
        assert sent == {"instances": [{"fare": 8, "sex": 'other, "none"'}, {"fare": 7.5, "sex": "01067"}]}


def test_the_demo_sends_named_rows_and_prints_them(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(url)
    shown = capsys.readouterr().out
    assert "female" in shown
    assert "instances[0].sex expected text, got 5" in shown
    assert f"{url}/predict -H" in shown
    assert '{"instances": [{"sex": "male", "fare": 30.0}]}' in shown


def test_a_refused_request_ends_the_demo_with_its_reason(url: str) -> None:
    with pytest.raises(SystemExit, match="answered 400: instances: expected 1 to 10000 rows, got 0"):
        demo._answered(f"{url}/predict", {"instances": []})


def test_the_page_reads_examples_in_every_form_of_the_manifest(browser: Browser, url: str) -> None:
    city = {"name": "city", "datatype": "BYTES", "shape": [-1, 1]}
    sizes = {"name": "sizes", "datatype": "FP32", "shape": [-1, 2], "features": [{"name": "a"}, {"name": "b"}]}
    forms: list[dict[str, object]] = [
        {"features": ["Wien", 1, 2]},
        {"features": {"b": 2, "city": "Wien", "a": 1}},
        {"inputs": {"sizes": [[1, 2]], "city": [["Wien"]]}},
        {"features": ["Wien"]},
        {"photo": "x.jpg"},
    ]
    with browser.new_page(base_url=url) as page:
        page.goto("/")
        script = """([inputs, examples]) => import('/page/parts.js').then(({columns, row}) =>
            examples.map((one) => row(one, columns(inputs)) ?? null))"""
        assert page.evaluate(script, [[city, sizes], forms]) == [["Wien", 1, 2]] * 3 + [None] * 2
        assert page.evaluate(script, [[city, {**sizes, "features": []}], forms[:1]]) == [None]


def test_a_misspelt_key_of_a_request_is_not_read_as_no_rows(url: str) -> None:
    answer = httpx.post(f"{url}/predict", json={"instance": []})
    assert (answer.status_code, answer.json()["errors"]) == (400, [{"field": "instances", "reason": "is missing"}])
