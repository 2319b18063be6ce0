"""Stacks for the tests: real services, on each runtime that was asked for.

    pytest tests --runtime local --runtime compose --pattern web_single

A runtime that was asked for and is missing fails; without `--runtime`, the tests run on local processes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from runtimes.base import Stack
from tests.support import client

PATTERNS = {path.name for path in (Path(__file__).parents[1] / "patterns").iterdir() if path.is_dir()}
RUNTIMES = ["local", "compose", "kubernetes"]
ON_CLUSTER = 2  # shared stacks at once, beside one of a module's or a test's own
Start = Callable[..., Stack]
BROWSER_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 20_000  # ms that a busy machine may take before what a test expects is on the page
_numbers = count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runtime", action="append", choices=RUNTIMES, help="where stacks run (repeatable)")
    parser.addoption("--pattern", action="append", help="only this pattern's tests (repeatable)")


def chosen_runtimes(config: pytest.Config) -> list[str]:
    """The runtimes that were asked for."""
    return list(config.getoption("runtime") or ["local"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime" not in metafunc.fixturenames:
        return
    behaviour = "behaviour" in metafunc.definition.path.parts
    runtimes = ["local"] if behaviour else chosen_runtimes(metafunc.config)
    metafunc.parametrize("runtime", runtimes, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the tests of the patterns and on the runtimes that were asked for."""
    patterns, runtimes = set(config.getoption("pattern") or []), chosen_runtimes(config)
    kept = [item for item in items if _is_of(item, patterns) and _runs_on(item, runtimes)]
    left_out = set(items) - set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = kept


def _is_of(item: pytest.Item, patterns: set[str]) -> bool:
    """Conformance tests are made for these patterns alone, so all of them are."""
    return not patterns or "conformance" in item.path.parts or bool(patterns_of(item) & patterns)


def patterns_of(item: pytest.Item) -> set[str]:
    """What a test is of: the folders that it is in, and the pattern of the row that it is run for."""
    callspec = getattr(item, "callspec", None)
    rows = callspec.params.values() if callspec else ()
    return {*item.path.parts, *(one.pattern for one in rows if hasattr(one, "pattern"))}


def _runs_on(item: pytest.Item, runtimes: list[str]) -> bool:
    """What starts no stack, or starts it on local processes whatever was asked for, belongs to the local runtime."""
    if "local" in runtimes:
        return True
    if "behaviour" in item.path.parts:
        return False
    starts = {"served", "runtime", "start_cluster"}
    return bool(starts & set(getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session")
def start_shared(runtime: str) -> Iterator[Start]:
    """Starts a stack once for all tests that ask for the same one; they only read from it.

    The tests of a pattern stand together, so its stacks go when another pattern's is asked for, and on a cluster, whose
    nodes have room for few, when it has not been asked for longest.
    """
    stacks: dict[tuple[object, ...], Stack] = {}

    def start(pattern: str, variant: str | None = None, **env: str) -> Stack:
        key = (pattern, variant, *sorted(env.items()))
        if key in stacks:
            stacks[key] = stacks.pop(key)  # the one asked for last is the last
            return stacks[key]
        kept = [other for other in stacks if other[0] == pattern]
        if runtime == "kubernetes":
            kept = kept[1 - ON_CLUSTER :]
        for other in stacks.keys() - kept:
            end(stacks.pop(other))
        stacks[key] = _up(runtime, pattern, variant, env)
        return stacks[key]

    try:
        yield start
    finally:
        for stack in stacks.values():
            end(stack)


@pytest.fixture(scope="module")
def start_for_module(runtime: str) -> Iterator[Start]:
    """Starts a stack for the tests of one module, which leave it as they found it."""
    with starting(runtime) as start:
        yield start


@pytest.fixture
def start_own(runtime: str) -> Iterator[Start]:
    """Starts a stack for one test alone, which may break it."""
    with starting(runtime) as start:
        yield start


@pytest.fixture(scope="module")
def start_local() -> Iterator[Start]:
    """Starts a stack of local processes, whatever was asked for, for a module whose tests need this machine's files."""
    with starting("local") as start:
        yield start


@pytest.fixture(scope="module")
def start_cluster(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts a stack on the cluster for one module, for what only a cluster does."""
    if "kubernetes" not in (request.config.getoption("runtime") or []):
        pytest.skip("the kubernetes runtime was not asked for")
    with starting("kubernetes") as start:
        yield start


@contextmanager
def starting(runtime: str) -> Iterator[Start]:
    """Starts stacks and takes them down at the end."""
    stacks: list[Stack] = []

    def start(pattern: str, variant: str | None = None, *, timeout_seconds: float = 120, **env: str) -> Stack:
        stacks.append(_up(runtime, pattern, variant, env, timeout_seconds))
        return stacks[-1]

    try:
        yield start
    finally:
        for stack in reversed(stacks):
            end(stack)


def end(stack: Stack) -> None:
    """Takes a stack down. Local processes are killed first: they would drain one after the other, for seconds."""
    if stack.runtime == "local":
        for one in stack.status():
            stack.kill(one.service)
    stack.down()


def _up(runtime: str, pattern: str, variant: str | None, env: dict[str, str], timeout_seconds: float = 120) -> Stack:
    """A stack named so that several runs of the tests do not meet; where it fails, it leaves nothing behind."""
    stack = Stack.create(pattern, runtime, variant, port=0, name=f"test-{os.getpid()}-{next(_numbers)}", env=env)
    stack.up(timeout_seconds)
    return stack


@pytest.fixture
def http() -> httpx.Client:
    """A client that never waits longer than ten seconds."""
    return client()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")  # the first is much lighter
    if path is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed")
    assert path, "chromium is not installed, and CI has to look at the page"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        yield browser
        browser.close()
