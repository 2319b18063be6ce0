"""Where a drill runs, and how it gets its stack.

Killing, freezing and restarting is done to containers. A module that says otherwise has a mark:

    pytestmark = pytest.mark.runs_on("local")       # what only this machine's files show, or what is quick there
    pytestmark = pytest.mark.runs_on("kubernetes")  # what only a cluster does

On a runtime that is not among these a drill is not run. One that waits for minutes has the mark `minutes`:
`make drills` runs it, `make test` does not.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
USUAL = ("compose",)


def runs_on(item: pytest.Item) -> tuple[str, ...]:
    """The runtimes that a drill is for."""
    mark = item.get_closest_marker("runs_on")
    return tuple(mark.args) if mark else USUAL


def is_wanted(item: pytest.Item, asked: list[str]) -> bool:
    """Whether a test is to be run: any that is no drill, and a drill on a runtime that it is for and was asked for."""
    if HERE not in item.path.parents:
        return True
    callspec = getattr(item, "callspec", None)
    here = [callspec.params["runtime"]] if callspec and "runtime" in callspec.params else asked
    return bool(set(runs_on(item)) & set(here))


def row_by_row(items: list[pytest.Item]) -> None:
    """Puts the drills of one row on one runtime together, since they share its stack."""
    rowed = [item for item in items if _row(item)]
    places = [place for place, item in enumerate(items) if _row(item)]
    order = list(dict.fromkeys(map(_row, rowed)))
    for place, item in zip(places, sorted(rowed, key=lambda item: order.index(_row(item))), strict=True):
        items[place] = item


def _row(item: pytest.Item) -> tuple[str, ...]:
    params = item.callspec.params if HERE in item.path.parents and hasattr(item, "callspec") else {}
    return (params["runtime"], str(params["row"])) if "row" in params else ()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.getoption("runtime") or ["local"]
    elsewhere = [item for item in items if not is_wanted(item, asked)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]
    row_by_row(items)
