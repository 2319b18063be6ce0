"""The table of endpoints in the README is that of the services: every route of every entry, with its methods."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any

import pytest

from common.observability.log import Logs
from tests.contract.sources import rule, source

ANYWHERE = "http://127.0.0.1:1"
SERIAL = ("orientation", "detection", "recognition", "recognition-heavy")
# Each entry's role, with what it needs in its environment. Nothing is started, so no address is called.
ENTRIES = [
    ("patterns.web_single.api", {}),
    ("patterns.synchronous.api", {}),
    ("patterns.prep_pred.entry", {"PREDICTORS": f"predictor={ANYWHERE}"}),
    ("patterns.serial.proxy", {"PREDICTORS": ",".join(f"{name}={ANYWHERE}" for name in SERIAL)}),
    ("patterns.serial.api", {"MODEL": "page_orientation,text_detection,text_recognition,text_recognition_heavy"}),
    ("patterns.parallel.proxy", {"PREDICTORS": f"iris={ANYWHERE}"}),
]
NOT_IN_THE_DOCUMENT = re.compile(r"/|/page/.*|/samples/.*|/docs|/openapi\.json|/faults")


@dataclass(frozen=True)
class Row:
    """One row of the README's table."""

    paths: tuple[str, ...]
    methods: frozenset[str]
    patterns: str

    def has(self, path: str, method: str, pattern: str) -> bool:
        """Whether the row lists a route of a pattern; `...` ends a path that stands for several."""
        listed = any(path == one or (one.endswith("...") and path.startswith(one[:-3])) for one in self.paths)
        return listed and method in self.methods and (self.patterns == "all" or pattern in self.patterns)


def rows() -> list[Row]:
    """The rows about HTTP; `[...]` in a path may be left out."""
    section = source("README.md").text.partition("\n## Endpoints of an entry\n")[2].partition("\n## ")[0]
    found = []
    for paths, methods, _, patterns in re.findall(r"^\| (`/.*?) \| ([A-Z, ]+) \| (.*?) \| (.*?) \|$", section, re.M):
        written = re.findall(r"`([^`]+)`", paths)
        spelled = [re.sub(r"\[(.*?)\]", part, one) for one in written for part in ("", r"\1")]
        found.append(Row(tuple(spelled), frozenset(methods.split(", ")), patterns))
    return found


def routes(role: str, environment: dict[str, str], patch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Path and method of each route in an entry's OpenAPI document; `{identity}` is called `{id}` in the README."""
    for name in ("PREDICTORS", "MODEL", *environment):
        patch.delenv(name, raising=False)
    for name, value in environment.items():
        patch.setenv(name, value)
    module: Any = importlib.import_module(role)
    process = module.create_process(module.Settings(), Logs("test", "test", "error"))
    paths: dict[str, dict[str, Any]] = process.app.api.openapi()["paths"]
    return [(path.replace("{identity}", "{id}"), one.upper()) for path, methods in paths.items() for one in methods]


def test_the_readme_lists_every_endpoint_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    listed, served = rows(), set()
    with rule("README.md has a table of every endpoint of every entry") as offenders:
        for role, environment in ENTRIES:
            pattern = role.split(".")[1]
            for path, method in routes(role, environment, monkeypatch):
                fitting = [row for row in listed if row.has(path, method, pattern)]
                served.update(fitting)
                offenders.require(bool(fitting), "README.md", f"no {method} {path} of {pattern}", "a row for it")
        for row in listed:
            known = row in served or NOT_IN_THE_DOCUMENT.fullmatch(row.paths[0])
            offenders.require(bool(known), "README.md", f"{row.paths[0]}, which no entry has", "no such row")
