"""`python -m bench PATTERN`: measure a pattern, print its numbers beside their targets, keep table, data and plot."""

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

from bench import plot, report
from bench.measure import Pace
from bench.process import ROOT, BenchError, choose_cores, on_core
from bench.suite import Bench, Chapter, measured_patterns, parts_of

QUICK = Pace(rounds=2, seconds=0.8, warm_up_seconds=0.3, starts=2)
PLAIN_WIDTH = 140
RESULTS = ROOT / "bench" / "results"
application = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@application.command()
def measure(
    pattern: Annotated[str, typer.Argument(help=f"one of {', '.join(measured_patterns())}")],
    only: Annotated[str, typer.Option(help="one part alone; an unknown one is answered with those there are")] = "",
    rounds: Annotated[int, typer.Option(min=1, max=20, help="turns of every contestant")] = Pace.rounds,
    quick: Annotated[bool, typer.Option(help="two short rounds: a look, not a result")] = False,
    output: Annotated[
        Path | None, typer.Option(help="where to; bench/results for a full run, nowhere for any other")
    ] = None,
    repository: Annotated[Path, typer.Option(help="the folder of built models")] = ROOT / "models" / "build",
) -> None:
    """Measure a pattern against honest rivals, and print its numbers beside their targets."""
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
        keep(found, folder)


def chosen(pattern: str, only: str) -> Mapping[str, Chapter]:
    """The parts to run: all of a pattern's, or the one that was named."""
    try:
        parts = parts_of(pattern)
    except KeyError:
        raise typer.BadParameter(f"{pattern}: one of {', '.join(measured_patterns())}") from None
    if only and only not in parts:
        raise typer.BadParameter(f"{only}: one of {', '.join(parts)}")
    return {only: parts[only]} if only else parts


def run(pattern: str, parts: Mapping[str, Chapter], pace: Pace, repository: Path, console: Console) -> report.Report:
    """Measure the parts in turn."""
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


def measured(name: str, chapter: Chapter, setup: Bench, progress: Progress, task: TaskID) -> report.Part:
    """One part, named by the progress bar while it runs, and where there is no terminal by a line when it is over."""
    progress.update(task, description=name)
    part = chapter.run(setup)
    if progress.disable:
        progress.console.print(f"measured: {part.title}")
    return part


def keep(found: report.Report, folder: Path) -> None:
    """Write the page, the data and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / found.pattern
    stem.with_suffix(".md").write_text(report.markdown(found))
    stem.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    plot.save(found, stem.with_suffix(".svg"))


if __name__ == "__main__":
    application()
