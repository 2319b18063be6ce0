"""A model without a recipe: it starts by its name, the page and the demo ask it, and what is wrong with it is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from patterns.web_single import demo
from runtimes.base import Stack
from runtimes.errors import ModelNotLoaded, UnknownName
from tests.behaviour.web_single.own_models import write_mixed
from tests.conftest import Start
from tests.support import ROOT, eventually

NAME = "mixed"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_mixed(root, NAME)
    return root


@pytest.fixture(scope="module")
def stack(start_for_module: Start, repository: Path) -> Stack:
    return start_for_module("web_single", MODEL=NAME, MODEL_REPOSITORY=str(repository))


@pytest.fixture
def unready(tmp_path: Path) -> Iterator[str]:
    """The URL of a service whose model's file is not the one of its manifest."""
    write_mixed(tmp_path, NAME, sha256="0" * 64)
    stack = Stack.create("web_single", "local", port=0, name=f"test-{os.getpid()}-unready")
    port = stack.options.http_port
    settings = {"MODEL": NAME, "MODEL_REPOSITORY": str(tmp_path), "HTTP_PORT": str(port), "GRPC_PORT": "0"}
    command = [sys.executable, "-m", "common.serve", "patterns.web_single.api"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: "sha256" in _readiness(url), 20, "the service says what is wrong")
        yield url
        process.terminate()


def _readiness(url: str) -> str:
    try:
        return httpx.get(f"{url}/readyz").text
    except httpx.TransportError:
        return ""


def test_the_demo_sends_a_text_and_numbers(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(stack.url())
    shown = capsys.readouterr().out
    assert "score" in shown
    assert "refused" in shown
    assert f"{stack.url()}/v2/models/{NAME}/infer" in shown


def test_the_page_has_a_field_for_every_input_and_sends_text(browser: Browser, stack: Stack) -> None:
    with browser.new_page(base_url=stack.url()) as page:
        page.goto("/")
        page.get_by_label("Sex", exact=True).fill("male")
        page.get_by_label("Sizes 1").fill("1.5")
        page.get_by_label("Sizes 2").fill("3")
        expect(page.locator("#answer .verdict strong")).to_have_text("6.5")
        expect(page.get_by_role("alert")).to_be_empty()
        page.get_by_text("The whole request").click()
        sent = json.loads(page.get_by_label("Request, as JSON").input_value())["inputs"]
        assert [(one["name"], one["data"]) for one in sent] == [("sex", ["male"]), ("sizes", [1.5, 3])]


def test_the_page_says_why_the_service_is_not_ready(browser: Browser, unready: str) -> None:
    with browser.new_page(base_url=unready) as page:
        page.goto("/")
        expect(page.locator("#pattern")).to_have_text("web single")
        expect(page.locator("#health")).to_contain_text("sha256")
        expect(page.get_by_role("alert")).to_contain_text(f"model '{NAME}'")


def test_the_page_says_within_three_seconds_that_its_server_is_gone(browser: Browser, start_own: Start) -> None:
    stack = start_own("web_single")
    with browser.new_page(base_url=stack.url()) as page:
        page.route("**/metadata", lambda _: None)  # lost while the page starts: this request gets no answer
        page.goto("/")
        page.bring_to_front()  # a hidden page does not poll
        expect(page.locator("#health")).to_have_text("ready")
        for lose, regain in ((stack.freeze, stack.thaw), (stack.kill, stack.start)):
            lose("api")
            # three seconds more for a busy machine
            expect(page.locator("#health")).to_have_text("unreachable", timeout=6_000)
            regain("api")
            expect(page.locator("#health")).to_have_text("ready")


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"sha256": "0" * 64}, "sha256"), ({"labels": "none"}, "labels"), ({"inputs": []}, "inputs")],
    ids=["another file", "a wrong field", "no inputs"],
)
def test_a_model_that_cannot_be_served_ends_the_start_at_once(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    write_mixed(tmp_path, NAME, **changes)
    settings = {"MODEL": NAME, "MODEL_REPOSITORY": str(tmp_path)}
    stack = Stack.create("web_single", "local", port=0, name=f"test-{os.getpid()}-wrong", env=settings)
    began = time.monotonic()
    with pytest.raises(ModelNotLoaded, match=rf"api cannot load the model '{NAME}': .*{says}"):
        stack.up(60)
    assert time.monotonic() - began < 15
    assert not stack.is_up()


def test_a_model_that_is_nowhere_is_refused_with_the_known_ones() -> None:
    stack = Stack.create("web_single", "local", port=0, name=f"test-{os.getpid()}-none", env={"MODEL": "nowhere"})
    with pytest.raises(UnknownName, match=r"unknown model 'nowhere'; expected one of: .*iris"):
        stack.up()
