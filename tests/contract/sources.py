"""The project's files as the rules read them: each file is read and parsed once, whichever rules look at it."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("common", "models", "patterns", "runtimes")  # the folders that ship; tests, bench and tools only use them
GENERATED = ("_pb2.py", "_pb2_grpc.py")


@dataclass(frozen=True)
class Source:
    """A text file of the repository; `name` is its path from the root."""

    name: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @cached_property
    def text(self) -> str:
        """Empty for a file that is not text."""
        try:
            return self.path.read_text()
        except UnicodeDecodeError:
            return ""

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the syntax tree, in no particular order."""
        return list(ast.walk(self.tree))

    @property
    def module(self) -> str:
        """The dotted name that imports this file."""
        return self.name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")

    def line(self, offset: int) -> str:
        """`file:line` of a character of the text."""
        return f"{self.name}:{self.text.count(chr(10), 0, offset) + 1}"

    def at(self, node: ast.stmt | ast.expr) -> str:
        """`file:line` of a node of the syntax tree."""
        return f"{self.name}:{node.lineno}"

    def find(self, pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
        """Each match of `pattern` as (`file:line`, matched text)."""
        for match in pattern.finditer(self.text):
            yield self.line(match.start()), match[0]


@cache
def source(name: str) -> Source:
    return Source(name)


@cache
def tracked() -> tuple[Source, ...]:
    """The files that git tracks or would add, without generated code."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()
    return tuple(source(one) for one in sorted(set(names)) if not one.endswith(GENERATED) and (ROOT / one).is_file())


def named(*suffixes: str) -> list[Source]:
    """The tracked files whose names end like this."""
    return [one for one in tracked() if one.name.endswith(suffixes)]


def modules(*folders: str) -> list[Source]:
    """The Python modules in these folders."""
    return [one for one in named(".py") if one.name.startswith(tuple(f"{folder}/" for folder in folders))]


class Offenders:
    """What breaks a rule: a line for each place, with what was found there and what is expected."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, found: object, expected: object) -> None:
        self.lines.append(f"{where}: found {found}; expected {expected}")

    def compare(self, where: str, found: object, expected: object) -> None:
        """An offender unless both are equal; of two mappings, one for each key that differs."""
        if isinstance(found, dict) and isinstance(expected, dict):
            for key in sorted(found.keys() | expected.keys()):
                if found.get(key) != expected.get(key):
                    self.add(f"{where}: {key}", repr(found.get(key)), repr(expected.get(key)))
        elif found != expected:
            self.add(where, repr(found), repr(expected))

    def require(self, holds: bool, where: str, found: object, expected: object) -> None:
        """An offender unless it holds."""
        if not holds:
            self.add(where, found, expected)


@contextmanager
def rule(text: str) -> Iterator[Offenders]:
    """Collects what breaks a rule; at the end the test fails with all of it."""
    offenders = Offenders()
    yield offenders
    if offenders.lines:
        pytest.fail("\n  ".join([f"{text} ({len(offenders.lines)} offenders)", *offenders.lines]), pytrace=False)
