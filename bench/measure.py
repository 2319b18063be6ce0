"""Turns, medians and ratios: how numbers are made from a noisy machine.

Contestants take turns, round by round, and a ratio is formed inside a round: what slows the machine for a while slows
both. Each round starts with another contestant, so that none is always the first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from bench.plan import Result
from bench.process import BenchError

Metric = Callable[[Result], float]


@dataclass(frozen=True)
class Pace:
    """How long everything lasts: the full run, or a quick look."""

    rounds: int = 5
    seconds: float = 3.0
    warm_up_seconds: float = 1.0
    starts: int = 5


@dataclass(frozen=True)
class Contestant:
    """Who is measured, under what it shows as, and how one turn of it is run."""

    name: str
    turn: Callable[[Pace], Result]


Round = Mapping[str, Result]


class Spread(msgspec.Struct, frozen=True):
    """A median with the smallest and the largest value beside it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(median(values), min(values), max(values))


def interleave(contestants: Sequence[Contestant], pace: Pace, done: Callable[[], None]) -> list[Round]:
    """Let the contestants take turns, `pace.rounds` times, `done` told of each. BenchError when one answers nothing."""
    rounds: list[Round] = []
    for number in range(pace.rounds):
        first = number % len(contestants)
        results: dict[str, Result] = {}
        for one in [*contestants[first:], *contestants[:first]]:
            results[one.name] = one.turn(pace)
            if not results[one.name].answered:
                raise BenchError(f"{one.name} gave no good answer: {results[one.name].errors}")
            done()
        rounds.append(results)
    return rounds


def spread(rounds: Sequence[Round], name: str, metric: Metric) -> Spread:
    """One contestant's metric over all rounds."""
    return Spread.of([metric(one[name]) for one in rounds])


def ratio(rounds: Sequence[Round], ours: str, rival: str, metric: Metric) -> Spread:
    """`ours` in units of `rival`: the ratio of each round, then their spread."""
    return Spread.of([metric(one[ours]) / metric(one[rival]) for one in rounds])


def difference(rounds: Sequence[Round], ours: str, other: str, metric: Metric) -> Spread:
    """By how much `ours` exceeds the other: the difference of each round, then their spread."""
    return Spread.of([metric(one[ours]) - metric(one[other]) for one in rounds])


def failures(rounds: Sequence[Round], *names: str) -> int:
    """How many requests of these contestants got no good answer."""
    return sum(one[name].failures for one in rounds for name in names)


def throughput(result: Result) -> float:
    """Good answers a second."""
    return result.throughput


def p50_ms(result: Result) -> float:
    """The median latency in milliseconds."""
    return result.p50 * 1e3


def p99_ms(result: Result) -> float:
    """The 99th percentile of latency in milliseconds."""
    return result.p99 * 1e3


def p99(result: Result) -> float:
    """The 99th percentile of latency, in seconds."""
    return result.p99
