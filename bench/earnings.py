"""The rule that decides whether a part of our own code stays, and the table of what each part gains.

A part stays where its throughput is at least `LEAST` times that of the alternative (median over the rounds) and the
lower end of the 95 % interval is above 1.0. A part without which a drill fails stays as well.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from bench.measure import Round, Spread, failures, throughput
from bench.process import BenchError

LEAST = 1.03
RESAMPLES = 4000
SEED = 20
HEADINGS = ["our part", "lines", "alternative", "load", "throughput, ours / alternative [95 %]", "CPU", "verdict"]
_BLOCK = re.compile(r"(<!-- earnings -->\n).*?(<!-- end of earnings -->)", re.DOTALL)


class Earning(msgspec.Struct, frozen=True):
    """One part compared with one alternative under one load.

    `lines` are the lines of code that the part costs. `ratio` is throughput, ours divided by the alternative's; `cpu`
    is the same for the server's CPU time per response (below 1.0 ours needs less). Both are medians over rounds with
    their 95 % interval.
    """

    part: str
    lines: int
    alternative: str
    load: str
    ratio: Spread
    cpu: Spread
    failures: int = 0

    @property
    def pays(self) -> bool:
        """Whether the part reaches the bound under this load."""
        return self.ratio.median >= LEAST and self.ratio.low > 1.0 and not self.failures

    @property
    def verdict(self) -> str:
        """`pays`; `slower` where the whole interval is below 1.0; else `not shown`."""
        if self.pays:
            return "pays"
        return "slower" if self.ratio.high < 1.0 else "not shown"


def interval(values: Sequence[float]) -> Spread:
    """The median of at least one value with its 95 % bootstrap interval; equal values give equal intervals."""
    draw = random.Random(SEED)
    medians = sorted(median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return Spread(median(values), medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975)])


def earning(
    part: str, lines: int, alternative: str, load: str, rounds: Sequence[Round], names: tuple[str, str]
) -> Earning:
    """The result of `rounds` for the contestants `names`: ours, then the alternative."""
    ours, other = names
    ratios = [throughput(one[ours]) / throughput(one[other]) for one in rounds]
    spent = [one[ours].server_cpu / one[other].server_cpu for one in rounds]
    return Earning(part, lines, alternative, load, interval(ratios), interval(spent), failures(rounds, ours, other))


def lines_of(root: Path, *places: str) -> int:
    """Lines of code at these places, each `path` or `path:Class.method`, without blank lines, comments and docstrings.

    Raises BenchError where a file has no such class or function.
    """
    return sum(_lines(root, *place.partition(":")[::2]) for place in places)


def _lines(root: Path, path: str, name: str) -> int:
    lines = (root / path).read_text().splitlines()
    found: ast.AST = ast.parse("\n".join(lines))
    for step in name.split(".") if name else ():
        inside = {getattr(one, "name", ""): one for one in ast.iter_child_nodes(found)}
        if step not in inside:
            raise BenchError(f"{path} has no {name}; remove it from the places in bench/comparisons.py")
        found = inside[step]
    first, last = getattr(found, "lineno", 1), getattr(found, "end_lineno", len(lines))
    code = {
        number
        for number, line in enumerate(lines, 1)
        if first <= number <= last and line.strip() and not line.lstrip().startswith("#")
    }
    return len(code - _docstring_lines(found))


def _docstring_lines(tree: ast.AST) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def rows(earnings: Sequence[Earning]) -> list[list[str]]:
    """The rows of the table, one per earning."""
    return [
        [
            one.part,
            str(one.lines),
            one.alternative,
            one.load,
            f"{one.ratio.median:.2f} [{one.ratio.low:.2f}, {one.ratio.high:.2f}]",
            f"{one.cpu.median:.2f}",
            one.verdict + (f", {one.failures} failed" if one.failures else ""),
        ]
        for one in earnings
    ]


def filled(page: str, table: str) -> str:
    """A page with this table between `<!-- earnings -->` and `<!-- end of earnings -->`."""
    return _BLOCK.sub(lambda block: f"{block[1]}{table}\n{block[2]}", page)
