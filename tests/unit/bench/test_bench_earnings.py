"""A part of our own code stays by one rule; its lines are counted in the code; README and results say the same."""

import importlib
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from bench import report
from bench.__main__ import README, RESULTS
from bench.alternatives import fan_out, replaced
from bench.comparisons import COMPARISONS
from bench.earnings import Earning, earning, filled, interval, lines_of, rows
from bench.measure import Spread
from bench.plan import Result
from bench.process import ROOT, BenchError
from bench.rent import earnings as earnings_of
from bench.report import Part, Report, Setting

CODE = '''"""A module."""

# a comment
LIMIT = 1


class Reader:
    """Reads.

    Much.
    """

    def read(self) -> int:
        """One."""
        return LIMIT
'''


def result(answered: int, server_cpu: float = 0.002, errors: dict[str, int] | None = None) -> Result:
    return Result(
        answered=answered,
        seconds=1.0,
        p50=0.001,
        p99=0.001,
        longest=0.001,
        errors=errors or {},
        busy=0.5,
        held_up=0.01,
        answered_in_all=answered,
        server_cpu=server_cpu,
    )


def test_the_interval_contains_the_median_narrows_with_more_values_and_is_the_same_every_time() -> None:
    few, many = [1.0, 1.1, 1.2, 1.3], [1.0, 1.1, 1.2, 1.3] * 20
    assert interval(few) == interval(few)
    assert interval(few).low <= interval(few).median <= interval(few).high
    assert interval(many).high - interval(many).low < interval(few).high - interval(few).low
    assert interval([1.5]) == Spread(1.5, 1.5, 1.5)


@pytest.mark.parametrize(
    ("median", "low", "high", "failed", "verdict"),
    [
        (1.10, 1.02, 1.20, 0, "pays"),
        (1.03, 1.001, 1.06, 0, "pays"),
        (1.02, 1.01, 1.03, 0, "not shown"),
        (1.10, 0.99, 1.20, 0, "not shown"),
        (1.10, 1.00, 1.20, 0, "not shown"),
        (1.10, 1.02, 1.20, 1, "not shown"),
        (0.90, 0.80, 0.99, 0, "slower"),
    ],
)
def test_a_part_pays_by_median_and_interval_and_only_without_failures(
    median: float, low: float, high: float, failed: int, verdict: str
) -> None:
    one = Earning("x", 1, "y", "z", Spread(median, low, high), Spread(1.0, 1.0, 1.0), failed)
    assert one.verdict == verdict
    assert one.pays is (verdict == "pays")


def test_ratios_are_formed_within_a_round_for_throughput_and_cpu_time() -> None:
    rounds = [{"ours": result(200, 0.001), "library": result(100, 0.002, {"status 500": 1})}] * 3
    found = earning("part", 7, "library", "load", rounds, ("ours", "library"))
    assert found.ratio == Spread(2.0, 2.0, 2.0)
    assert found.cpu == Spread(0.5, 0.5, 0.5)
    assert found.failures == 3
    assert rows([found]) == [["part", "7", "library", "load", "2.00 [2.00, 2.00]", "0.50", "not shown, 3 failed"]]


def test_lines_are_counted_without_docstrings_comments_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(CODE)
    assert lines_of(tmp_path, "module.py") == 4
    assert lines_of(tmp_path, "module.py:Reader") == 3
    assert lines_of(tmp_path, "module.py:Reader.read", "module.py:Reader") == 5
    with pytest.raises(BenchError, match=r"module\.py has no Reader\.write"):
        lines_of(tmp_path, "module.py:Reader.write")


def test_every_comparison_names_code_that_exists_and_roles_that_can_be_started() -> None:
    assert len({one.key for one in COMPARISONS}) == len(COMPARISONS)
    variants = {replaced.__name__: replaced.ALTERNATIVES, fan_out.__name__: fan_out.ALTERNATIVES}
    for comparison in COMPARISONS:
        lines_of(ROOT, *comparison.places)
        for alternative in comparison.alternatives:
            role = importlib.import_module(alternative.role)
            assert callable(role.create_process)
            if alternative.variant:
                known = variants.get(alternative.role) or get_args(role.Settings.model_fields["alternative"].annotation)
                assert alternative.variant in known


def test_each_alternative_is_compared_with_the_pattern_as_it_is() -> None:
    comparison = next(one for one in COMPARISONS if one.key == "direct_route")
    setting = Setting(4, [{name: result(100) for name in comparison.contestants}] * 2)
    found = earnings_of(comparison, setting)
    assert [one.alternative for one in found] == [one.name for one in comparison.alternatives]
    assert {one.load for one in found} == {"one row, JSON, 4 connections"}


def a_report(*names: str, python: str = "3.11") -> Report:
    parts = [Part(name, name, [], [], []) for name in names]
    return Report("rent", "2026-01-02", "python -m bench rent", {"cores": "2"}, {"python": python}, parts)


def test_a_part_that_is_measured_again_replaces_the_earlier_one_and_the_others_stay() -> None:
    again = msgspec.structs.replace(a_report("b"), parts=[Part("b", "again")])
    assert [part.title for part in report.merged(again, a_report("a", "b")).parts] == ["a", "again"]


def test_parts_of_other_versions_are_not_put_into_one_report() -> None:
    with pytest.raises(BenchError, match="measure all parts again"):
        report.merged(a_report("b", python="3.13"), a_report("a"))


def test_the_table_in_the_readme_is_the_last_run() -> None:
    last = msgspec.json.decode((RESULTS / "rent.json").read_bytes(), type=Report)
    page = README.read_text()
    assert page == filled(page, report.earnings_table(last)), "run `python -m bench rent`, or copy its table"
    assert filled("<!-- earnings -->\nold\n<!-- end of earnings -->", "new") == (
        "<!-- earnings -->\nnew\n<!-- end of earnings -->"
    )
