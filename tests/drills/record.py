"""A pytest plugin that keeps what the drills have shown, and when: `-p tests.drills.record --record FILE`.

The file is JSON: for each drill and runtime its last run, with the date, the outcome, the seconds that it took and what
it measured (`record_property`). A run replaces the entries of the drills that it has run, and leaves the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="the JSON file that keeps each drill's last run")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("record"):
        config.pluginmanager.register(Recorder(path), "drills-recorder")


class Recorder:
    """Collects the reports of one run, and writes them at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runs: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report: pytest.TestReport = yield  # type: ignore[assignment]  # what the hook gives
        self._take(item, report)
        return report  # type: ignore[return-value]

    def _take(self, item: pytest.Item, report: pytest.TestReport) -> None:
        name = report.nodeid.removeprefix("tests/drills/")
        shown = {"date": datetime.now(UTC).date().isoformat(), "outcome": "passed", "seconds": 0.0, "measured": {}}
        run = self._runs.setdefault(name, shown)
        run["seconds"] = round(run["seconds"] + report.duration, 1)
        run["measured"] = dict(report.user_properties)
        if report.outcome != "passed":
            run["outcome"] = report.outcome

    def pytest_sessionfinish(self) -> None:
        known = json.loads(self._path.read_text()) if self._path.exists() else {}
        runs = dict(sorted({**known, **self._runs}.items()))
        self._path.write_text(json.dumps(runs, indent=1) + "\n")
