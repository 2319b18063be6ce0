"""`python -m bench PATTERN`: measures a pattern, prints its numbers with their targets, saves table, data and plot."""

import datetime
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from bench import earnings, plot, report
from bench.measure import Pace
from bench.process import ROOT, BenchError, choose_cores, on_core
from bench.suite import Bench, PartRunner, measured_patterns, parts_of

QUICK = Pace(rounds=2, seconds=0.8, warm_up_seconds=0.3, starts=2)
PLAIN_WIDTH = 140
RESULTS = ROOT / "bench" / "results"
README = ROOT / "bench" / "README.md"
application = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@application.command()
def measure(
    pattern: Annotated[str, typer.Argument(help=f"one of {', '.join(measured_patterns())}")],
    only: Annotated[str, typer.Option(help="measure only this part; an unknown name lists the parts")] = "",
    rounds: Annotated[int, typer.Option(min=1, max=20, help="turns of every contestant")] = Pace.rounds,
    quick: Annotated[bool, typer.Option(help="two short rounds, for a first look; not a result")] = False,
    output: Annotated[
        Path | None, typer.Option(help="folder for the results; default: bench/results for a full run, none otherwise")
    ] = None,
    repository: Annotated[Path, typer.Option(help="the folder of built models")] = ROOT / "models" / "build",
) -> None:
    """Measure a pattern against comparable implementations and print its numbers with their targets."""
    parts = chosen(pattern, only)
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    try:
        found = run(pattern, parts, QUICK if quick else Pace(rounds=rounds), repository.resolve(), console)
    except BenchError as error:
        console.print(f"bench: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    report.show(found, console)
    complete = not only and not quick
    if folder := output or (RESULTS if complete else None):
        keep(earlier_parts_too(found, folder) if only else found, folder)


def chosen(pattern: str, only: str) -> Mapping[str, PartRunner]:
    """The parts to run: all parts of the pattern, or the one that `only` names. Raises typer.BadParameter."""
    try:
        parts = parts_of(pattern)
    except KeyError:
        raise typer.BadParameter(f"{pattern}: one of {', '.join(measured_patterns())}") from None
    if only and only not in parts:
        raise typer.BadParameter(f"{only}: one of {', '.join(parts)}")
    return {only: parts[only]} if only else parts


def run(pattern: str, parts: Mapping[str, PartRunner], pace: Pace, repository: Path, console: Console) -> report.Report:
    """Measure one part after the other."""
    cores = choose_cores()
    with (
        on_core(cores.load),
        tempfile.TemporaryDirectory(prefix="bench-") as logs,
        Progress(console=console, disable=not console.is_terminal, refresh_per_second=2) as progress,
    ):
        task = progress.add_task("", total=sum(one.turns(pace) for one in parts.values()))
        setup = Bench(pattern, pace, cores, repository, Path(logs), partial(progress.advance, task))
        return report.Report(
            pattern=pattern,
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            command=f"python -m bench {pattern} --rounds {pace.rounds}",
            machine=report.machine(),
            versions=report.versions(),
            parts=[measured(name, chapter, setup, progress, task) for name, chapter in parts.items()],
        )


def measured(name: str, chapter: PartRunner, setup: Bench, progress: Progress, task: TaskID) -> report.Part:
    """Measure one part. The progress bar names it; without a terminal a line is printed when it has ended."""
    progress.update(task, description=name)
    part = chapter.run(setup)
    if progress.disable:
        progress.console.print(f"measured: {part.title}")
    return part


def earlier_parts_too(found: report.Report, folder: Path) -> report.Report:
    """The report with the other parts that the folder has of the same measurement. BenchError: see `merged`."""
    file = folder / f"{found.pattern}.json"
    return report.merged(found, msgspec.json.decode(file.read_bytes(), type=report.Report)) if file.exists() else found


def keep(found: report.Report, folder: Path) -> None:
    """Write the page (.md), the data (.json), the plot (.svg), and the table of earnings in bench/README.md."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / found.pattern
    stem.with_suffix(".md").write_text(report.markdown(found))
    stem.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    plot.save(found, stem.with_suffix(".svg"))
    if folder == RESULTS and any(part.earnings for part in found.parts):
        README.write_text(earnings.filled(README.read_text(), report.earnings_table(found)))


if __name__ == "__main__":
    application()
