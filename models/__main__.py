"""Command line: `python -m models [NAME...|--all]` builds the models that are out of date.

`python -m models check FOLDER...` says what a service would say of the models in these folders.
"""

import subprocess
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
from models.recipe import Recipe

RECIPES = Path(__file__).parent

app = typer.Typer(add_completion=False)


@contextmanager
def _display(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar if the console is a terminal. Yields a function that takes the name of the current model."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("models", total=total)
        count = iter(range(total))
        yield lambda name: progress.update(task, description=name, completed=next(count))


def _summary(recipe: Recipe, output: Path, built: bool, seconds: float) -> str:
    metrics = manifest.read(recipe.version_folder(output) / "model.yaml")["metrics"]
    measured = ", ".join(f"{name} {value}" for name, value in metrics.items())
    return f"{recipe.name} {'built in ' + format(seconds, '.1f') + ' s' if built else 'is up to date'} ({measured})"


def _has_model_without_recipe(folder: Path) -> bool:
    """Whether the folder holds a model.onnx and model.yaml that somebody put there by hand."""
    return any((found.parent / "model.onnx").exists() for found in folder.glob("*/model.yaml"))


def _missing_libraries(recipe: Recipe) -> str:
    """The libraries that this recipe needs and that are not installed, with the command that installs them; or ""."""
    missing = [library for library in recipe.libraries if not _installed(library)]
    extra = recipe.build_section.get("extra", "")
    command = f"{sys.executable} -m pip install --requirement requirements/{extra or 'build'}.txt"
    image = f" (in an image: build argument OPTIONS={extra})" if extra else ""
    return f"needs {', '.join(missing)}, which is not installed; run: {command}{image}" if missing else ""


def _installed(library: str) -> bool:
    try:
        return bool(metadata.version(library))
    except metadata.PackageNotFoundError:
        return False


def _buildable(recipes: dict[str, Recipe], console: Console) -> list[str]:
    """Every model except those whose optional libraries are not installed. Prints one line for each that is skipped."""
    kept = []
    for name in recipes:
        needed = builder.in_build_order(recipes, [name])
        optional = [it for it in needed if "extra" in it.build_section]
        reasons = [f"{it.name} {_missing_libraries(it)}" for it in optional if _missing_libraries(it)]
        if reasons:
            console.print(f"{name} is skipped: {'; '.join(reasons)}")
        else:
            kept.append(name)
    return kept


def _run(names: list[str], output: Path, force: bool) -> None:
    """Build the named models, or all of them if `names` is empty."""
    console = Console(highlight=False, soft_wrap=True)
    recipes = builder.find_recipes(RECIPES)
    given = [name for name in names if name not in recipes and _has_model_without_recipe(output / name)]
    for name in given:
        console.print(f"{name} has no recipe; the files in {output / name} are used unchanged")
    wanted = [name for name in names if name not in given] if names else _buildable(recipes, console)
    ordered = builder.in_build_order(recipes, wanted)
    missing = [f"{it.name} {_missing_libraries(it)}" for it in ordered if _missing_libraries(it)]
    if missing:
        raise BuildError("; ".join(missing))
    with _display(console, len(ordered)) as show:
        since = time.perf_counter()
        for recipe, built in builder.build(ordered, output, force, lambda recipe: show(recipe.name)):
            console.print(_summary(recipe, output, built, time.perf_counter() - since))
            since = time.perf_counter()


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Models to build.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Build every model that has a recipe.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for <name>/<version>/model.onnx.")] = RECIPES / "build",
    force: Annotated[bool, typer.Option(help="Build models that are up to date as well.")] = False,
) -> None:
    """Build the models that are out of date, and the models that they depend on."""
    if bool(names) == everything:
        raise typer.BadParameter("give the names of the models to build, or --all, not both")
    try:
        _run(names or [], out, force)
    except BuildError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def check(folders: list[str]) -> int:
    """Let the services' own code check the models, in a process of its own. Returns the exit code."""
    if not folders:
        typer.echo("usage: python -m models check FOLDER...  (a folder with model.onnx and model.yaml)", err=True)
        return 2
    command = [sys.executable, "-m", "common.inference.check", *folders]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        sys.exit(check(sys.argv[2:]))
    app()
