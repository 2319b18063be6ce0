"""What a run of the suite took: `python -m tools.test_summary REPORT.xml ...`, JUnit reports as pytest writes them.

Prints a table (part, tests, seconds), the twenty slowest tests, and by name what failed at first and passed when it was
run again. A second run's report bears its first one's name with `.again` before the suffix.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

SLOWEST = 20
Outcome = Literal["passed", "failed", "skipped"]
_RUNTIME = re.compile(r"\[(?:.*-)?(local|compose|kubernetes)\b")


@dataclass(frozen=True)
class Case:
    """A test in one run; `report` is the run's name, `seconds` include what was set up for it."""

    report: str
    name: str
    outcome: Outcome
    seconds: float

    @property
    def part(self) -> str:
        """The folder below tests/ and the runtime, which is the run's where the test's name has none."""
        folder = self.name.split("/")[1] if self.name.startswith("tests/") else "other"
        runtime = _RUNTIME.search(self.name)
        return f"{folder}, {runtime[1] if runtime else self.report}"


def read(path: Path) -> Iterator[Case]:
    """The tests in a report."""
    for case in ElementTree.parse(path).iter("testcase"):
        module, name = case.get("classname", ""), case.get("name", "")
        kinds = {child.tag for child in case}
        outcome: Outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        shown = f"{module.replace('.', '/')}.py::{name}"
        yield Case(path.name.partition(".")[0], shown, outcome, float(case.get("time", "0")))


def second_try(path: Path) -> bool:
    return path.name.endswith(".again.xml")


def table(cases: Iterable[Case]) -> Iterator[str]:
    """One line for each part, and their sum."""
    sums: dict[str, tuple[int, float]] = {}
    for case in cases:
        tests, seconds = sums.get(case.part, (0, 0.0))
        sums[case.part] = (tests + (case.outcome != "skipped"), seconds + case.seconds)
    sums = dict(sorted(sums.items()))
    sums["all"] = (sum(tests for tests, _ in sums.values()), sum(seconds for _, seconds in sums.values()))
    yield f"{'part':<28} {'tests':>6} {'seconds':>8}"
    for part, (tests, seconds) in sums.items():
        yield f"{part:<28} {tests:>6} {seconds:>8.0f}"


def summary(paths: list[Path]) -> list[str]:
    """The lines that are printed."""
    first = [case for path in paths if not second_try(path) for case in read(path)]
    again = [case for path in paths if second_try(path) for case in read(path)]
    passed_again = {(case.report, case.name) for case in again if case.outcome == "passed"}
    failed = sorted({(case.report, case.name) for case in first if case.outcome == "failed"})
    slowest = sorted(first, key=lambda case: case.seconds, reverse=True)[:SLOWEST]
    lines = [*table(first), "", f"the {len(slowest)} slowest tests, with what was set up for them"]
    lines += [f"{case.seconds:>8.1f} s  {case.name}" for case in slowest]
    second = [name for one in failed if (name := one[1]) and one in passed_again]
    lines += ["", f"passed only at a second try: {len(second)}", *(f"  {name}" for name in second)]
    twice = [name for one in failed if (name := one[1]) and one not in passed_again]
    lines += [f"failed: {len(twice)}", *(f"  {name}" for name in twice)]
    return lines


if __name__ == "__main__":
    print("\n".join(summary([Path(one) for one in sys.argv[1:]])))
