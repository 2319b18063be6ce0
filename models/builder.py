"""Builds what is stale: finds the recipes, orders them, and puts only whole, checked models in place."""

import fcntl
import graphlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models import freshness, manifest
from models.errors import BuildError
from models.source import Source

TEMPORARY = ".new-"


def catalogue(folder: Path) -> dict[str, Source]:
    """Every model that has a recipe in this folder, by name."""
    recipes = sorted(file.parent for file in folder.glob("*/build.py"))
    sources = {recipe.name: Source(recipe, manifest.read(recipe / "model.yaml")) for recipe in recipes}
    for name, source in sources.items():
        if source.manifest.get("name") != name:
            raise BuildError(f"{source.folder / 'model.yaml'}: name must be that of its folder, {name}")
    return sources


def in_order(sources: dict[str, Source], wanted: Sequence[str]) -> list[Source]:
    """The wanted models and those they need, each after what it needs."""
    needs: dict[str, list[str]] = {}
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in sources:
            raise BuildError(f"no model {name!r}; there are {', '.join(sources)}")
        needs[name] = sources[name].needs
        waiting.extend(need for need in needs[name] if need not in needs)
    return [sources[name] for name in graphlib.TopologicalSorter(dict(sorted(needs.items()))).static_order()]


def digests(ordered: Sequence[Source]) -> dict[str, str]:
    """The digest of everything that goes into each model."""
    found: dict[str, str] = {}
    for source in ordered:
        dependencies = {name: found[name] for name in source.needs}
        found[source.name] = freshness.digest(source, dependencies)
    return found


def build(
    ordered: Sequence[Source], output: Path, force: bool, started: Callable[[Source], None]
) -> Iterator[tuple[Source, bool]]:
    """Go through the models; yields each with whether it had to be built. One process at a time per output."""
    expected = digests(ordered)
    with _exclusive(output):
        for source in ordered:
            started(source)
            stale = force or not freshness.is_fresh(source, output, expected[source.name])
            if stale:
                # Imported only now: looking whether all is fresh needs none of the heavy libraries.
                from models import assembly

                assembly.build_one(source, output, expected[source.name], TEMPORARY)
            yield source, stale


@contextmanager
def _exclusive(output: Path) -> Iterator[None]:
    """Hold the output folder's lock, and clear what a killed build has left; the lock dies with its holder."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in output.glob(f"{TEMPORARY}*"):
            shutil.rmtree(left)
        yield
