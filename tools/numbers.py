"""The measured numbers in the documentation, written from the last runs in bench/results.

A number stands before the comment that names it: `2.1 times<!-- web_single.json: throughput ASGI 32 -->`. The comment
has pattern and part, then words that occur together in the text of exactly one number. After a semicolon may stand:

- nothing (the median), `low`, `high`, `target`, or `verdict` (met or missed);
- `p50`, `p99` or `throughput` of one server: the words are then those of its name, and its number of connections;
- `plain`, to leave the unit out.

Between `<!-- missed: pattern -->` and `<!-- end of missed -->` stands a table of the targets that the last run missed.
`python -m tools.numbers PAGE...` writes all of them anew.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.measure import Metric, Spread, p99, spread, throughput
from bench.report import Number, Part, Report, number_row

T = TypeVar("T")

RESULTS = Path(__file__).parents[1] / "bench" / "results"
UNITS = ("times", "%", "ms", "s", "MB", "requests/s")
_UNIT = "|".join(map(re.escape, UNITS))
NUMBER = re.compile(rf"(?:\?|met|missed|\d[\d.,]*)(?: (?:{_UNIT}))?(<!-- (\w+)\.(\w+): ([^;>]+?)(?:; ([\w, ]+?))? -->)")
COMMENT = re.compile(r"<!-- \w+\.\w+: [^>]*-->")
_MISSED = re.compile(r"(<!-- missed: (\w+) -->\n).*?(<!-- end of missed -->)", re.DOTALL)
_OF_A_SERVER: dict[str, tuple[Metric, float, str]] = {
    "p50": (lambda turn: turn.p50, 1e3, " ms"),
    "p99": (p99, 1e3, " ms"),
    "throughput": (throughput, 1, " requests/s"),
}


class UnknownNumber(Exception):
    """A comment that names no measured number, or more than one."""


@cache
def report(pattern: str) -> Report:
    """The last full run of a pattern; UnknownNumber without one."""
    path = RESULTS / f"{pattern}.json"
    if not path.exists():
        raise UnknownNumber(f"{pattern}: bench/results has no {path.name}; expected the name of a measured pattern")
    return msgspec.json.decode(path.read_bytes(), type=Report)


def shown(value: float, unit: str) -> str:
    """Two significant digits, and no fraction from ten on: 0.459 s -> `0.46 s`, 46.6 times -> `47 times`."""
    if value >= 9.95 or value == 0:
        return f"{value:,.0f}{unit}"
    return f"{value:.{1 - math.floor(math.log10(value))}f}{unit}"


def looked_up(pattern: str, part: str, words: str, wanted: Iterable[str]) -> str:
    """The text of one number; UnknownNumber when the words fit none or several."""
    options = set(wanted)
    plain = "plain" in options
    statistic = next(iter(options - {"plain"}), "median")
    found = _part(pattern, part)
    if statistic in _OF_A_SERVER:
        value, unit = _turns(found, words, statistic)
        return shown(value, "" if plain else unit)
    number = _only({one.text: one for one in found.numbers}, words, f"{pattern}.{part}")
    unit = "" if plain else number.unit
    match statistic:
        case "verdict":
            return "met" if number.met else "missed"
        case "target":
            return f"{number.target:g}{unit}"
        case "median" | "low" | "high":
            return shown(getattr(number.value, statistic), unit)
    known = ", ".join(["median", "low", "high", "target", "verdict", *_OF_A_SERVER])
    raise UnknownNumber(f"{pattern}.{part}: {statistic!r} is no statistic; expected one of {known}")


def _part(pattern: str, name: str) -> Part:
    parts = {one.name: one for one in report(pattern).parts}
    if name not in parts:
        raise UnknownNumber(f"{pattern} has no part {name!r}; expected one of {', '.join(parts)}")
    return parts[name]


def _turns(part: Part, words: str, statistic: str) -> tuple[float, str]:
    metric, factor, unit = _OF_A_SERVER[statistic]
    medians: dict[str, Spread] = {}
    for setting in part.settings:
        for name in setting.names:
            medians[f"{name} {setting.connections}"] = spread(setting.rounds, name, metric)
    return _only(medians, words, part.name).median * factor, unit


def _only(candidates: dict[str, T], words: str, where: str) -> T:
    """The candidate whose text has all the words; of several, the one that has no others."""
    asked = _tokens(words)
    fitting = [text for text in candidates if asked <= _tokens(text)]
    exact = [text for text in fitting if asked == _tokens(text)]
    if len(exact or fitting) != 1:
        raise UnknownNumber(
            f"{where}: {words!r} fits {len(fitting)} numbers, expected one of: {'; '.join(fitting or candidates)}"
        )
    return candidates[(exact or fitting)[0]]


def _tokens(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def missed_table(pattern: str) -> str:
    """The numbers that missed their target, as a table; a sentence when there is none."""
    missed: list[Number] = [one for part in report(pattern).parts for one in part.numbers if not one.met]
    if not missed:
        return "All targets were met.\n"
    rows = [f"| {' | '.join(number_row(one)[:3])} |" for one in missed]
    return "\n".join(("| target missed | measured (lowest to highest) | target |", "|---|---|---|", *rows)) + "\n"


def filled(page: str) -> str:
    """A page with its numbers as they were measured last."""

    def number(found: re.Match[str]) -> str:
        comment, pattern, part, words, wanted = found.groups()
        return looked_up(pattern, part, words, re.findall(r"\w+", wanted or "")) + comment

    return _MISSED.sub(lambda block: block[1] + missed_table(block[2]) + block[3], NUMBER.sub(number, page))


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        try:
            path.write_text(filled(path.read_text()))
        except UnknownNumber as error:
            sys.exit(f"{name}: {error}")


if __name__ == "__main__":
    main()
