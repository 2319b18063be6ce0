"""Finds the recipes, sorts them by dependency and builds those that are out of date."""

import fcntl
import graphlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models import build_digest, manifest
from models.errors import BuildError
from models.recipe import Recipe

TEMPORARY = ".new-"


def find_recipes(folder: Path) -> dict[str, Recipe]:
    """The recipes in this folder by model name. Raises BuildError if a model.yaml has another name than its folder."""
    folders = sorted(file.parent for file in folder.glob("*/build.py"))
    recipes = {one.name: Recipe(one, manifest.read(one / "model.yaml")) for one in folders}
    for name, recipe in recipes.items():
        if recipe.manifest.get("name") != name:
            found = recipe.manifest.get("name")
            raise BuildError(f"{recipe.folder / 'model.yaml'}: name is {found!r}, expected the folder's name, {name!r}")
    return recipes


def in_build_order(recipes: dict[str, Recipe], wanted: Sequence[str]) -> list[Recipe]:
    """The named recipes and their dependencies, dependencies first. Raises BuildError for an unknown name."""
    dependencies: dict[str, list[str]] = {}
    pending = list(wanted)
    while pending:
        name = pending.pop()
        if name not in recipes:
            raise BuildError(f"unknown model {name!r}; expected one of {', '.join(recipes)}")
        dependencies[name] = recipes[name].dependencies
        pending.extend(other for other in dependencies[name] if other not in dependencies)
    return [recipes[name] for name in graphlib.TopologicalSorter(dict(sorted(dependencies.items()))).static_order()]


def digests(ordered: Sequence[Recipe]) -> dict[str, str]:
    """The digest of each model's build inputs. `ordered` has dependencies first."""
    found: dict[str, str] = {}
    for recipe in ordered:
        dependencies = {name: found[name] for name in recipe.dependencies}
        found[recipe.name] = build_digest.digest(recipe, dependencies)
    return found


def build(
    ordered: Sequence[Recipe], output: Path, force: bool, started: Callable[[Recipe], None]
) -> Iterator[tuple[Recipe, bool]]:
    """Build the models that are out of date, or all with `force`; yields each recipe and whether it was built.

    `started` is called before each model. A file lock allows one build at a time for an output folder.
    """
    expected = digests(ordered)
    with _exclusive(output):
        for recipe in ordered:
            started(recipe)
            outdated = force or not build_digest.is_up_to_date(recipe, output, expected[recipe.name])
            if outdated:
                # Imported here: if every model is up to date, ONNX and scikit-learn are not needed.
                from models import publish

                publish.build_and_publish(recipe, output, expected[recipe.name], TEMPORARY)
            yield recipe, outdated


@contextmanager
def _exclusive(output: Path) -> Iterator[None]:
    """Hold the output folder's lock, and delete the temporary folders of builds that were killed."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in output.glob(f"{TEMPORARY}*"):
            shutil.rmtree(leftover)
        yield
