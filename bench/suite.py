"""What a pattern's measurements are made of: its parts, and what each part is given to work with.

A module of this package with a `PARTS` of its own, named as a pattern is, is all that `python -m bench` needs; what
is no pattern stands in `BESIDE_PATTERNS`.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bench.contestants import start_ours
from bench.measure import Contestant, Metric, Pace, failures, interleave, p99, ratio, throughput
from bench.messages import Model
from bench.process import ROOT, Bay, Cores, Server
from bench.report import Number, Part, Setting

BESIDE_PATTERNS = ("kubernetes",)


@dataclass(frozen=True)
class Bench:
    """What every part is given. `told` hears of each turn that is over."""

    pattern: str
    pace: Pace
    cores: Cores
    repository: Path
    logs: Path
    told: Callable[[], None]

    def bay(self) -> Bay:
        """A place for this part's servers."""
        return Bay(self.cores, self.logs)

    def model(self, name: str) -> Model:
        """A built model."""
        return Model.built(self.repository, name)

    def start(self, bay: Bay, model: Model, settings: Mapping[str, str] | None = None) -> Server:
        """The pattern's `api` with this model."""
        return start_ours(bay, self.pattern, model, self.repository, settings)

    def compare(self, connections: int, contestants: Sequence[Contestant], *, shared: bool = False) -> Setting:
        """Let them take turns; `shared`: servers run on the load's core as well."""
        rounds = interleave(contestants, self.pace, self.told)
        names = [one.name for one in contestants]
        return Setting(connections, [{name: one[name] for name in names} for one in rounds], shared)


@dataclass(frozen=True)
class Chapter:
    """How a part is run, and how many turns it will take."""

    run: Callable[[Bench], Part]
    turns: Callable[[Pace], int]


Parts = Mapping[str, Chapter]


def measured_patterns() -> list[str]:
    """The patterns that have a module here, and what else is measured."""
    found = [one.name for one in (ROOT / "patterns").iterdir() if (ROOT / "bench" / f"{one.name}.py").is_file()]
    return [*sorted(found), *BESIDE_PATTERNS]


def parts_of(pattern: str) -> Parts:
    """The parts of one pattern's measurements, in the order in which they run. KeyError for a pattern without any."""
    if pattern not in measured_patterns():
        raise KeyError(pattern)
    return cast(Parts, importlib.import_module(f"bench.{pattern}").PARTS)


def at_connections(count: int) -> str:
    """How a number says under which load it was found."""
    return f"at {count} connection{'s' if count > 1 else ''}"


def times(text: str, setting: Setting, ours: str, rival: str, target: float) -> Number:
    """Throughput of `ours` in units of the rival's."""
    value = ratio(setting.rounds, ours, rival, throughput)
    return Number(text, value, target, True, " times", failures(setting.rounds, ours, rival))


def no_slower(text: str, setting: Setting, ours: str, rival: str, metric: Metric = p99) -> Number:
    """A latency of `ours` in units of the rival's: no worse is at most 1."""
    value = ratio(setting.rounds, ours, rival, metric)
    return Number(text, value, 1.0, False, " times", failures(setting.rounds, ours, rival))
