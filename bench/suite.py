"""The parts of a pattern's measurements, and what each part gets to work with.

`python -m bench NAME` needs a module of this package with that name and a mapping `PARTS`. NAME is a pattern, or one of
`BESIDE_PATTERNS`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bench.contestants import start_ours
from bench.measure import Contestant, Metric, Pace, failures, interleave, p99, ratio, throughput
from bench.messages import Model
from bench.process import ROOT, Cores, Server, ServerGroup
from bench.report import Number, Part, Setting

BESIDE_PATTERNS = ("kubernetes", "rent")


@dataclass(frozen=True)
class Bench:
    """What every part is given. `turn_done` is called after each turn."""

    pattern: str
    pace: Pace
    cores: Cores
    repository: Path
    logs: Path
    turn_done: Callable[[], None]

    def server_group(self) -> ServerGroup:
        """A context manager for the servers of one comparison."""
        return ServerGroup(self.cores, self.logs)

    def model(self, name: str) -> Model:
        """A built model. Raises BenchError when it is missing."""
        return Model.built(self.repository, name)

    def start(self, group: ServerGroup, model: Model, settings: Mapping[str, str] | None = None) -> Server:
        """Start the pattern's `api` with this model."""
        return start_ours(group, self.pattern, model, self.repository, settings)

    def compare(self, connections: int, contestants: Sequence[Contestant], *, shared: bool = False) -> Setting:
        """Run the rounds of these contestants; `shared`: some servers run on the load's core."""
        rounds = interleave(contestants, self.pace, self.turn_done)
        names = [one.name for one in contestants]
        return Setting(connections, [{name: one[name] for name in names} for one in rounds], shared)


@dataclass(frozen=True)
class PartRunner:
    """A part: the function that runs it, and the number of turns that it takes."""

    run: Callable[[Bench], Part]
    turns: Callable[[Pace], int]


Parts = Mapping[str, PartRunner]


def measured_patterns() -> list[str]:
    """The patterns that have a module here, and the other measurements."""
    found = [one.name for one in (ROOT / "patterns").iterdir() if (ROOT / "bench" / f"{one.name}.py").is_file()]
    return [*sorted(found), *BESIDE_PATTERNS]


def parts_of(pattern: str) -> Parts:
    """The parts of a measurement in the order in which they run. KeyError for an unknown name."""
    if pattern not in measured_patterns():
        raise KeyError(pattern)
    return cast(Parts, importlib.import_module(f"bench.{pattern}").PARTS)


def at_connections(count: int) -> str:
    """The load as part of a number's text."""
    return f"at {count} connection{'s' if count > 1 else ''}"


def times(text: str, setting: Setting, ours: str, rival: str, target: float) -> Number:
    """A number: throughput of `ours` divided by the rival's."""
    value = ratio(setting.rounds, ours, rival, throughput)
    return Number(text, value, target, True, " times", failures(setting.rounds, ours, rival))


def no_slower(text: str, setting: Setting, ours: str, rival: str, metric: Metric = p99) -> Number:
    """A number: a latency of `ours` divided by the rival's, with the target of at most 1."""
    value = ratio(setting.rounds, ours, rival, metric)
    return Number(text, value, 1.0, False, " times", failures(setting.rounds, ours, rival))
