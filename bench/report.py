"""The results of a run as plain data: numbers with their targets, and tables for a terminal, Markdown and JSON."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench import earnings
from bench.earnings import Earning
from bench.measure import Metric, Spread, p99, spread, throughput
from bench.plan import Result
from bench.process import BenchError

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
    "prometheus-client",
    "pydantic",
    "structlog",
    "uvicorn",
    "uvloop",
)
NOISY = 0.05


class Number(msgspec.Struct, frozen=True):
    """A measured value and its target, at least or at most. `failures` are requests without a good response."""

    text: str
    value: Spread
    target: float
    at_least: bool
    unit: str
    failures: int = 0

    @property
    def met(self) -> bool:
        """Whether the median reaches the target and no request failed."""
        reached = self.value.median >= self.target if self.at_least else self.value.median <= self.target
        return reached and not self.failures


class Setting(msgspec.Struct, frozen=True, omit_defaults=True):
    """One comparison: the number of connections, and the result of every contestant in each round.

    `shared`: some servers ran on the load's core, so `held_up` says nothing about other processes.
    """

    connections: int
    rounds: list[dict[str, Result]]
    shared: bool = False

    @property
    def names(self) -> list[str]:
        """The contestants in their original order."""
        return list(self.rounds[0])

    def only(self, *names: str) -> "Setting":
        """The same comparison with these contestants only."""
        return Setting(self.connections, [{name: one[name] for name in names} for one in self.rounds], self.shared)


class Part(msgspec.Struct, frozen=True):
    """One part of the report."""

    name: str
    title: str
    numbers: list[Number] = []
    settings: list[Setting] = []
    earnings: list[Earning] = []


class Report(msgspec.Struct, frozen=True):
    """A whole run. `machine` contains no host name and no path."""

    pattern: str
    date: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    parts: list[Part]

    @property
    def held_up(self) -> float | None:
        """The median share of time in which other processes used the load's core, in the worst comparison.

        None where our own servers ran on that core in every comparison.
        """
        apart = [one for part in self.parts for one in part.settings if not one.shared]
        return max((spread(one.rounds, name, held_up).median for one in apart for name in one.names), default=None)


def held_up(result: Result) -> float:
    """The share of a turn in which the load was ready to run but another process had its core."""
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
    """Versions of Python and of the packages that matter for speed."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def number_row(number: Number) -> list[str]:
    """Cells: text, measured value, target, whether it was met."""
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
    "requests/s",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "CPU ms per request",
    "failed",
    "load's core in use",
    "load held up",
]


def turn_rows(setting: Setting) -> list[list[str]]:
    """One row per contestant: medians over the rounds; longest latency and failures over all rounds."""

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
    """A throughput, with two decimals below 20."""
    return f"{value:,.0f}" if value >= 20 else f"{value:.2f}"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(part: Part) -> list[tuple[list[str], list[list[str]]]]:
    """The tables of a part as headings and rows; empty tables are left out."""
    numbers = [number_row(number) for number in part.numbers]
    turns = [row for setting in part.settings for row in turn_rows(setting)]
    earned = earnings.rows(part.earnings)
    shown = ((NUMBER_HEADINGS, numbers), (earnings.HEADINGS, earned), (TURN_HEADINGS, turns))
    return [(headings, rows) for headings, rows in shown if rows]


def show(report: Report, console: Console) -> None:
    """Print all numbers in one table; a run without numbers prints its turns."""
    numbers = [number for part in report.parts for number in part.numbers]
    earned = [one for part in report.parts for one in part.earnings]
    for part in [Part("", report.pattern, numbers, [], earned)] if numbers or earned else report.parts:
        for headings, rows in tables(part):
            table = Table(*headings, title=part.title)
            for row in rows:
                table.add_row(*row, style={"yes": "green", "no": "red"}.get(row[-1]))
            console.print(table)
    console.print(noise_line(report))


def noise_line(report: Report) -> str:
    """One sentence about the noise of the machine."""
    if report.held_up is None:
        return "Predictors ran on the load's core, so the noise of other processes could not be measured."
    share = f"Other processes used the load's core for {report.held_up:.0%} of the time in the worst comparison"
    return f"{share}: too noisy for the absolute figures." if report.held_up > NOISY else f"{share}."


def plotted(report: Report) -> list[tuple[Part, Setting]]:
    """The comparisons that the plot shows: those of two or more servers, without the comparisons of `bench rent`."""
    return [(part, one) for part in report.parts if not part.earnings for one in part.settings if len(one.names) > 1]


def merged(found: Report, before: Report) -> Report:
    """`before` with the parts that were measured again. BenchError unless machine and versions are the same."""
    if (found.machine, found.versions) != (before.machine, before.versions):
        raise BenchError("the earlier parts come from another machine or other versions; measure all parts again")
    parts = {one.name: one for one in (*before.parts, *found.parts)}
    return msgspec.structs.replace(found, parts=list(parts.values()))


def earnings_table(report: Report) -> str:
    """What every part of our own code gains, as one Markdown table."""
    return markdown_table(earnings.HEADINGS, earnings.rows([one for part in report.parts for one in part.earnings]))


def markdown(report: Report) -> str:
    """The report as a Markdown page."""
    blocks = [
        f"# {report.pattern}: measured",
        f"`{report.command}`, {report.date}. How it is measured: [bench/README.md](../README.md). "
        f"Every turn: [{report.pattern}.json]({report.pattern}.json).",
        *([f"![Throughput and latency]({report.pattern}.svg)"] if plotted(report) else []),
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
