"""What a run found, as plain data: numbers with their targets, and the tables for a terminal, Markdown and JSON."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.measure import Metric, Spread, p99, spread, throughput
from bench.plan import Result

PACKAGES = (
    "aiohttp",
    "fastapi",
    "grpcio",
    "httptools",
    "httpx",
    "msgspec",
    "numpy",
    "onnxruntime",
    "orjson",
    "pillow",
    "pydantic",
    "uvicorn",
    "uvloop",
)
NOISY = 0.05


class Number(msgspec.Struct, frozen=True):
    """A measured value and what it was to be, at least or at most. `failures` are requests without a good answer."""

    text: str
    value: Spread
    target: float
    at_least: bool
    unit: str
    failures: int = 0

    @property
    def met(self) -> bool:
        """Whether the median reaches the target and nothing failed on the way."""
        reached = self.value.median >= self.target if self.at_least else self.value.median <= self.target
        return reached and not self.failures


class Setting(msgspec.Struct, frozen=True, omit_defaults=True):
    """One comparison: so many connections, and each round's result of every contestant.

    `shared`: servers ran on the load's core as well, so that its waiting for it says nothing about other processes.
    """

    connections: int
    rounds: list[dict[str, Result]]
    shared: bool = False

    @property
    def names(self) -> list[str]:
        """The contestants, in the order in which they were named."""
        return list(self.rounds[0])

    def only(self, *names: str) -> "Setting":
        """The same comparison with some of the contestants."""
        return Setting(self.connections, [{name: one[name] for name in names} for one in self.rounds], self.shared)


class Part(msgspec.Struct, frozen=True):
    """A chapter of the report."""

    name: str
    title: str
    numbers: list[Number] = []
    settings: list[Setting] = []


class Report(msgspec.Struct, frozen=True):
    """A whole run. `machine` names no host and no path."""

    pattern: str
    date: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    parts: list[Part]

    @property
    def held_up(self) -> float | None:
        """The median share of time in which other processes kept the load from its core, in the worst comparison.

        None where servers of ours ran on that core in all of them.
        """
        told = [one for part in self.parts for one in part.settings if not one.shared]
        return max((spread(one.rounds, name, held_up).median for one in told for name in one.names), default=None)


def held_up(result: Result) -> float:
    """The share of a turn in which the load was ready but another process had its core."""
    return result.held_up


def machine() -> dict[str, str]:
    """Processor, cores, memory and kernel of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "processor": processor,
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Python and the packages that decide about speed."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def number_row(number: Number) -> list[str]:
    """What, measured, target, met."""
    value, unit = number.value, number.unit
    digits = 0 if value.median >= 20 else 2
    shown = f"{value.median:.{digits}f}{unit} ({value.low:.{digits}f} to {value.high:.{digits}f})"
    failed = f", {number.failures} failed" if number.failures else ""
    return [
        number.text,
        shown + failed,
        f"{'at least' if number.at_least else 'at most'} {number.target:g}{unit}",
        "yes" if number.met else "no",
    ]


NUMBER_HEADINGS = ["what", "measured (lowest to highest)", "target", "met"]
TURN_HEADINGS = [
    "connections",
    "server",
    "answers/s",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "CPU ms an answer",
    "failed",
    "load's core in use",
    "load held up",
]


def turn_rows(setting: Setting) -> list[list[str]]:
    """A row a contestant: medians over the rounds; the longest and the failures of all rounds."""

    def of(name: str, metric: Metric) -> Spread:
        return spread(setting.rounds, name, metric)

    return [
        [
            str(setting.connections),
            name,
            per_second(of(name, throughput).median),
            f"{of(name, lambda one: one.p50).median * 1e3:.2f}",
            f"{of(name, p99).median * 1e3:.2f}",
            f"{of(name, lambda one: one.longest).high * 1e3:.1f}",
            f"{of(name, lambda one: one.server_cpu).median * 1e3:.3f}",
            f"{sum(one[name].failures for one in setting.rounds)}",
            f"{of(name, lambda one: one.busy).median:.0%}",
            f"{of(name, held_up).median:.0%}",
        ]
        for name in setting.names
    ]


def per_second(value: float) -> str:
    """A throughput; a small one with what is behind the point."""
    return f"{value:,.0f}" if value >= 20 else f"{value:.2f}"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(part: Part) -> list[tuple[list[str], list[list[str]]]]:
    """The part's numbers and its turns, as headings and rows; what it has none of is left out."""
    numbers = [number_row(number) for number in part.numbers]
    turns = [row for setting in part.settings for row in turn_rows(setting)]
    return [(headings, rows) for headings, rows in ((NUMBER_HEADINGS, numbers), (TURN_HEADINGS, turns)) if rows]


def show(report: Report, console: Console) -> None:
    """Print all numbers in one table; a run without any prints its turns."""
    numbers = Part("", report.pattern, [number for part in report.parts for number in part.numbers])
    for part in [numbers] if numbers.numbers else report.parts:
        for headings, rows in tables(part):
            table = Table(*headings, title=part.title)
            for row in rows:
                table.add_row(*row, style={"yes": "green", "no": "red"}.get(row[-1]))
            console.print(table)
    console.print(noise_line(report))


def noise_line(report: Report) -> str:
    """How far the machine can be trusted, in one sentence."""
    if report.held_up is None:
        return "Predictors shared the load's core, so how busy the machine was with other things does not show."
    share = f"Other processes kept the load from its core for {report.held_up:.0%} of the time in the worst comparison"
    return f"{share}: too noisy for the absolute figures." if report.held_up > NOISY else f"{share}."


def markdown(report: Report) -> str:
    """The report as a page."""
    blocks = [
        f"# {report.pattern}: measured",
        f"`{report.command}`, {report.date}. How it is measured: [bench/README.md](../README.md). "
        f"Every turn: [{report.pattern}.json]({report.pattern}.json).",
        f"![Throughput and latency]({report.pattern}.svg)",
    ]
    for part in report.parts:
        blocks += [f"## {part.title}", *(markdown_table(headings, rows) for headings, rows in tables(part))]
    facts = {"Machine": report.machine, "Versions": report.versions}
    blocks.append("## The machine")
    blocks += [
        f"{title}: " + ", ".join(f"{name} {value}" for name, value in all_.items()) + "."
        for title, all_ in facts.items()
    ]
    return "\n\n".join([*blocks, noise_line(report)]) + "\n"
