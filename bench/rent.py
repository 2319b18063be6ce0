"""Measures what our own code gains over a library: the pattern, and the pattern with the library's part in its place.

`python -m bench rent` runs all of `bench/comparisons.py` in about an hour, `--only NAME` one of them. The pattern and
its alternatives (`bench/alternatives`) take turns of one second. `--rounds` is the number of sittings; a sitting has
`ROUNDS_A_SITTING` rounds and starts all servers again, because two processes of the same code differ by chance, for
example in their memory layout. `control` compares the pattern with itself and so shows the noise. `bench/earnings.py`
has the rule that decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from bench.comparisons import COMPARISONS, Comparison
from bench.contestants import OURS
from bench.earnings import Earning, earning, lines_of
from bench.measure import Pace
from bench.process import ROOT
from bench.report import Part, Setting
from bench.suite import Bench, PartRunner, Parts, at_connections

ROUNDS_A_SITTING = 4
SECONDS, WARM_UP_SECONDS = 1.0, 0.3


def measured(comparison: Comparison, bench: Bench) -> Part:
    """Compare one part of ours with all of its alternatives, with each number of connections."""
    settings = [compare(bench, comparison, connections) for connections in comparison.connections]
    found = [one for setting in settings for one in earnings(comparison, setting)]
    return Part(comparison.key, comparison.part, [], settings, found)


def compare(bench: Bench, comparison: Comparison, connections: int) -> Setting:
    """The rounds of all sittings."""
    rounds, load = [], comparison.load
    for _ in range(bench.pace.rounds):
        with bench.server_group() as group:
            contestants = load.contestants(bench, group, comparison.contestants, connections)
            sitting = replace(bench, pace=sitting_pace(bench.pace))
            rounds += sitting.compare(connections, contestants, shared=load.shared).rounds
    return Setting(connections, rounds, load.shared)


def sitting_pace(pace: Pace) -> Pace:
    """The pace of one sitting: short turns, so that a change of the machine affects both sides."""
    seconds, warm_up_seconds = min(pace.seconds, SECONDS), min(pace.warm_up_seconds, WARM_UP_SECONDS)
    return replace(pace, rounds=ROUNDS_A_SITTING, seconds=seconds, warm_up_seconds=warm_up_seconds)


def earnings(comparison: Comparison, setting: Setting) -> Sequence[Earning]:
    """The result for each alternative."""
    lines = lines_of(ROOT, *comparison.places)
    load = f"{comparison.load.name}, {at_connections(setting.connections).removeprefix('at ')}"
    return [
        earning(comparison.part, lines, other, load, setting.rounds, (OURS, other))
        for other in comparison.contestants
        if other != OURS
    ]


def turns(comparison: Comparison, pace: Pace) -> int:
    """The number of turns of a comparison."""
    return len(comparison.connections) * pace.rounds * ROUNDS_A_SITTING * len(comparison.contestants)


PARTS: Parts = {
    comparison.key: PartRunner(partial(measured, comparison), partial(turns, comparison)) for comparison in COMPARISONS
}
