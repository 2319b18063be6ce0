"""Turns, medians and ratios: how numbers are made on a noisy machine.

Contestants take turns in rounds, and a ratio is formed within a round, because what slows the machine for some seconds
slows both sides. Each round starts with a different contestant.
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
    """How many rounds there are, and how long a turn lasts in seconds."""

    rounds: int = 5
    seconds: float = 3.0
    warm_up_seconds: float = 1.0
    starts: int = 5


@dataclass(frozen=True)
class Contestant:
    """What is measured: its name in the tables, and the function that runs one turn."""

    name: str
    turn: Callable[[Pace], Result]


Round = Mapping[str, Result]


class Spread(msgspec.Struct, frozen=True):
    """A median with a lower and an upper value: lowest and highest, or an interval."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(median(values), min(values), max(values))


def interleave(contestants: Sequence[Contestant], pace: Pace, done: Callable[[], None]) -> list[Round]:
    """Run `pace.rounds` rounds and call `done` after each turn. BenchError when a turn has no good response."""
    rounds: list[Round] = []
    for number in range(pace.rounds):
        first = number % len(contestants)
        results: dict[str, Result] = {}
        for one in [*contestants[first:], *contestants[:first]]:
            results[one.name] = one.turn(pace)
            if not results[one.name].answered:
                raise BenchError(f"{one.name} sent no good response: {results[one.name].errors}")
            done()
        rounds.append(results)
    return rounds


def spread(rounds: Sequence[Round], name: str, metric: Metric) -> Spread:
    """One contestant's metric over all rounds."""
    return Spread.of([metric(one[name]) for one in rounds])


def ratio(rounds: Sequence[Round], ours: str, rival: str, metric: Metric) -> Spread:
    """`ours` divided by `rival` in each round, then the spread of these ratios."""
    return Spread.of([metric(one[ours]) / metric(one[rival]) for one in rounds])


def difference(rounds: Sequence[Round], ours: str, other: str, metric: Metric) -> Spread:
    """`ours` minus `other` in each round, then the spread of these differences."""
    return Spread.of([metric(one[ours]) - metric(one[other]) for one in rounds])


def failures(rounds: Sequence[Round], *names: str) -> int:
    """How many requests of these contestants got no good response."""
    return sum(one[name].failures for one in rounds for name in names)


def throughput(result: Result) -> float:
    """Good responses per second."""
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
