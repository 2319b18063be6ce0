"""Turns are interleaved, ratios are formed inside a round, and a target is met only by measured answers."""

from pathlib import Path

import msgspec
import pytest

from bench import plot
from bench.measure import Contestant, Pace, Spread, failures, interleave, p99, ratio, spread, throughput
from bench.plan import Result
from bench.process import BenchError
from bench.report import Number, Part, Report, Setting, markdown, number_row


def result(answered: int, latency: float = 0.001, errors: dict[str, int] | None = None, held_up: float = 0.0) -> Result:
    return Result(
        answered=answered,
        seconds=1.0,
        p50=latency,
        p99=latency,
        longest=latency,
        errors=errors or {},
        busy=0.5,
        held_up=held_up,
        answered_in_all=answered,
        server_cpu=0.002,
    )


def test_contestants_take_turns_and_each_is_first_once() -> None:
    turns: list[str] = []

    def contestant(name: str) -> Contestant:
        def turn(_: Pace) -> Result:
            turns.append(name)
            return result(1)

        return Contestant(name, turn)

    rounds = interleave([contestant(name) for name in "abc"], Pace(rounds=3), lambda: None)
    assert "".join(turns) == "abcbcacab"
    assert [set(one) for one in rounds] == [{"a", "b", "c"}] * 3


def test_a_contestant_that_answers_nothing_ends_the_measurement_with_its_errors() -> None:
    dead = Contestant("dead", lambda _: result(0, errors={"refused": 3}))
    with pytest.raises(BenchError, match=r"dead sent no good response.*refused"):
        interleave([dead], Pace(rounds=1), lambda: None)


def test_a_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_medians() -> None:
    rounds = [
        {"ours": result(200), "rival": result(100)},
        {"ours": result(90), "rival": result(30)},
        {"ours": result(100), "rival": result(100)},
    ]
    assert ratio(rounds, "ours", "rival", throughput) == Spread(2.0, 1.0, 3.0)
    assert ratio(rounds, "ours", "rival", p99) == Spread(1.0, 1.0, 1.0)
    assert spread(rounds, "ours", throughput) == Spread(100.0, 90.0, 200.0)


def test_failures_of_the_named_contestants_are_added_up() -> None:
    rounds = [{"ours": result(1, errors={"status 500": 2}), "rival": result(1, errors={"refused": 5})}] * 2
    assert failures(rounds, "ours") == 4
    assert failures(rounds, "ours", "rival") == 14


@pytest.mark.parametrize(
    ("median", "target", "at_least", "failed", "met"),
    [
        (1.4, 1.35, True, 0, True),
        (1.3, 1.35, True, 0, False),
        (1.35, 1.35, True, 0, True),
        (1.4, 1.35, True, 1, False),
        (1.1, 1.5, False, 0, True),
        (1.6, 1.5, False, 0, False),
    ],
)
def test_a_target_is_met_by_the_median_and_only_when_nothing_failed(
    median: float, target: float, at_least: bool, failed: int, met: bool
) -> None:
    number = Number("x", Spread(median, 0.0, 9.0), target, at_least, " times", failed)
    assert number.met is met
    assert number_row(number)[-1] == ("yes" if met else "no")


def a_report() -> Report:
    rounds = [{"ours": result(200, held_up=0.2), "bare ASGI": result(100)}] * 3
    numbers = [Number("against bare", ratio(rounds, "ours", "bare ASGI", throughput), 1.35, True, " times")]
    part = Part("json", "One row", numbers, [Setting(32, rounds)])
    return Report("web_single", "2026-01-02", "python -m bench web_single", {"cores": "2"}, {"numpy": "2"}, [part])


def test_the_page_tells_numbers_turns_machine_and_noise() -> None:
    page = markdown(a_report())
    assert "| against bare | 2.00 times (2.00 to 2.00) | at least 1.35 times | yes |" in page
    assert "| 32 | ours | 200 | 1.00 | 1.00 | 1.0 | 2.000 | 0 | 50% | 20% |" in page
    assert "cores 2" in page
    assert "too noisy" in page


def test_a_load_that_shared_its_core_with_servers_of_ours_tells_nothing_of_the_machine() -> None:
    report = a_report()
    shared = Part("x", "X", [], [Setting(32, report.parts[0].settings[0].rounds, shared=True)])
    page = markdown(msgspec.structs.replace(report, parts=[shared]))
    assert "could not be measured" in page
    assert "too noisy" not in page


def test_the_plot_of_the_same_report_is_the_same_file_without_a_date(tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    plot.save(a_report(), first)
    plot.save(a_report(), second)
    assert first.read_bytes() == second.read_bytes()
    assert b"dc:date" not in first.read_bytes()
