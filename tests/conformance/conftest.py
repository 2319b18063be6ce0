"""One stack for each row and runtime, shared by all tests here; those that end services come last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeGuard, cast

import pytest

from runtimes.base import Stack
from runtimes.errors import NoLocalSubstitute
from tests.conformance.served import Served
from tests.conftest import chosen_runtimes
from tests.patterns import rows
from tests.rows import Row

START_SECONDS = 240  # of a busy machine; building images does not count


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "served" not in metafunc.fixturenames:
        return
    option = metafunc.config.getoption
    marker = metafunc.definition.get_closest_marker
    once, same_everywhere = marker("once_per_pattern") is not None, marker("variants_on_local") is not None
    drawing = bool(os.environ.get("UPDATE_SCREENSHOTS"))
    pairs = [
        (runtime, row)
        for runtime in chosen_runtimes(metafunc.config)
        for row in rows(
            option("pattern"),
            default_only=once or drawing or runtime == "kubernetes" or (same_everywhere and runtime != "local"),
        )
        if runtime == "local" or not once
    ]
    ids = [f"{runtime}-{row.id}" for runtime, row in pairs]
    metafunc.parametrize("served", pairs, indirect=True, scope="session", ids=ids)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Row by row, so that a row's stack ends before the next one's starts; without tests that no row is for."""
    empty = [item for item in items if _is_conformance(item) and not _has_row(item)]
    config.hook.pytest_deselected(items=empty)
    items[:] = [item for item in items if item not in empty]
    mine = [item for item in items if _is_conformance(item)]
    order = {pair: place for place, pair in enumerate(dict.fromkeys(_pair(item) for item in mine))}
    ordered = sorted(mine, key=lambda item: (order[_pair(item)], item.get_closest_marker("last") is not None))
    places = iter(ordered)
    chosen = set(mine)
    items[:] = [next(places) if item in chosen else item for item in items]


def _is_conformance(item: pytest.Item) -> TypeGuard[pytest.Function]:
    return isinstance(item, pytest.Function) and "served" in item.fixturenames


def _has_row(item: pytest.Function) -> bool:
    return isinstance(item.callspec.params["served"], tuple)


def _pair(item: pytest.Function) -> str:
    runtime, row = cast("tuple[str, Row]", item.callspec.params["served"])
    return f"{runtime}-{row.id}"


@pytest.fixture(scope="session")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    runtime, row = request.param
    name = f"test-{os.getpid()}-{row.id}".replace("_", "-").replace(".", "-")
    stack = Stack.create(row.pattern, runtime, row.variant, port=0, name=name, env={"DRAIN_DELAY_SECONDS": "0.5"})
    try:
        stack.up(START_SECONDS)
    except NoLocalSubstitute as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    try:
        yield Served(row, stack)
    finally:
        stack.down()
