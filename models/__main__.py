"""Command line: `python -m models [NAME...|--all]` builds the models that are stale."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from models import builder, manifest
from models.errors import BuildError
from models.source import Source

RECIPES = Path(__file__).parent

app = typer.Typer(add_completion=False)


@contextmanager
def _display(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on a terminal, nothing elsewhere; the function given back names what is under way."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("models", total=total)
        count = iter(range(total))
        yield lambda name: progress.update(task, description=name, completed=next(count))


def _summary(source: Source, output: Path, built: bool, seconds: float) -> str:
    metrics = manifest.read(source.place(output) / "model.yaml")["metrics"]
    measured = ", ".join(f"{name} {value}" for name, value in metrics.items())
    return f"{source.name} {'built in ' + format(seconds, '.1f') + ' s' if built else 'is fresh'} ({measured})"


def _is_given(folder: Path) -> bool:
    """Whether somebody has put a model here that no recipe builds."""
    return any((found.parent / "model.onnx").exists() for found in folder.glob("*/model.yaml"))


def _lacking(source: Source) -> str:
    """What a model's build needs and this machine does not have, and how to get it; empty when it has all."""
    lacking = [library for library in source.libraries if not _installed(library)]
    option = source.ingredients.get("extra", "")
    get = f"{sys.executable} -m pip install --requirement requirements/{option or 'build'}.txt"
    image = f" (for an image: OPTIONS={option})" if option else ""
    return f"needs {', '.join(lacking)}; to install: {get}{image}" if lacking else ""


def _installed(library: str) -> bool:
    try:
        return bool(metadata.version(library))
    except metadata.PackageNotFoundError:
        return False


def _unless_optional(sources: dict[str, Source], console: Console) -> list[str]:
    """Every model, but for those of an option that is not installed; each of them is a line."""
    kept = []
    for name in sources:
        needed = builder.in_order(sources, [name])
        away = [f"{it.name} {_lacking(it)}" for it in needed if "extra" in it.ingredients and _lacking(it)]
        if away:
            console.print(f"{name} is left out: {'; '.join(away)}")
        else:
            kept.append(name)
    return kept


def _run(names: list[str], output: Path, force: bool) -> None:
    """Builds the models named, all of them where none is."""
    console = Console(highlight=False, soft_wrap=True)
    sources = builder.catalogue(RECIPES)
    given = [name for name in names if name not in sources and _is_given(output / name)]
    for name in given:
        console.print(f"{name} has no recipe and is taken as it is")
    wanted = [name for name in names if name not in given] if names else _unless_optional(sources, console)
    ordered = builder.in_order(sources, wanted)
    lacking = [f"{it.name} {_lacking(it)}" for it in ordered if _lacking(it)]
    if lacking:
        raise BuildError("; ".join(lacking))
    with _display(console, len(ordered)) as show:
        since = time.perf_counter()
        for source, built in builder.build(ordered, output, force, lambda source: show(source.name)):
            console.print(_summary(source, output, built, time.perf_counter() - since))
            since = time.perf_counter()


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models to build.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Build every model that has a recipe.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for <name>/<version>/model.onnx.")] = RECIPES / "build",
    force: Annotated[bool, typer.Option(help="Build even what is fresh.")] = False,
) -> None:
    """Build models that are stale, each with what it needs; --force builds them anyway."""
    if bool(names) == everything:
        raise typer.BadParameter("name the models to build, or say --all")
    try:
        _run(names or [], out, force)
    except BuildError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    app()
