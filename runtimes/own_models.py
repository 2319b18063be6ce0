"""Images with a model that has no recipe: an image without models, and the model's files in a layer on top.

The build of compose/Dockerfile makes models from their recipes, so it cannot hold a model that was exported. Its stages
`<target>-empty` are the same images without models.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runtimes import engine
from runtimes.composefile import ComposeService
from runtimes.errors import StackError, UnknownName

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "models"
BUILT = RECIPES / "build"
_IN_IMAGE = {"store": "/srv/models"}
_USUAL_PLACE = "/app/models/build"
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_IMAGE = re.compile(rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?", re.A)


@dataclass(frozen=True)
class Model:
    """A model's name and the folders of its versions."""

    name: str
    versions: list[Path]

    @property
    def newest(self) -> str:
        return self.versions[-1].name


def has_recipe(name: str) -> bool:
    return (RECIPES / name / "build.py").is_file()


def without_recipe(service: ComposeService) -> list[str]:
    """The models of a service's image that have no recipe, and are in models/build.

    A model that is in neither place is left out if the service has it from elsewhere. Raises UnknownName.
    """
    found = []
    for name in service.models:
        if has_recipe(name):
            continue
        if _versions(BUILT / name):
            found.append(name)
        elif not any(service.environment.get(name) for name in ("MODEL_URI", "MODEL_REPOSITORY")):
            raise UnknownName("model", name, known())
    return found


def with_recipe(service: ComposeService) -> list[str]:
    """The models of a service's image that have a recipe."""
    return [name for name in service.models if has_recipe(name)]


def known() -> list[str]:
    """The names of the models that have a recipe, or are in models/build."""
    recipes = {path.parent.name for path in RECIPES.glob("*/build.py")}
    return sorted(recipes | {path.parents[1].name for path in BUILT.glob("*/*/model.yaml")})


def find(given: str) -> Model:
    """The model of this name in models/build, or in this folder: of a version, or of versions. Raises StackError."""
    folder = Path(given).expanduser()
    if "/" not in given and not folder.is_dir():
        folder = BUILT / given
    versions = [folder] if (folder / "model.yaml").is_file() else _versions(folder)
    if not versions:
        where = f"in {folder} there is no folder 1/ (or another number) with model.onnx and model.yaml"
        raise StackError(f"{given}: {where}; the recipes, and the models in models/build, are: {', '.join(known())}")
    names = {_read(version)["name"] for version in versions}
    if len(names) > 1:
        raise StackError(f"{folder}: the versions name different models, {', '.join(sorted(names))}; expected one name")
    return Model(names.pop(), versions)


def image_name(model: Model, given: str = "") -> str:
    """The name of the image that serves this model alone: the one that was given, or its own. Raises StackError."""
    name = given or f"serving-patterns/{model.name.lower()}:{model.newest}"
    if not _IMAGE.fullmatch(name):
        expected = "expected lower-case letters and digits, with single . _ - between them, and a tag"
        raise StackError(f"{name!r} is no name of an image; {expected}; give one, such as TAG=team/mine:1")
    return name


def check(model: Model) -> None:
    """Let the services' own code check every version. Raises StackError for a model that no service would load."""
    command = [sys.executable, "-m", "common.inference.check", *(str(path.resolve()) for path in model.versions)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        wrong = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        reason = "; ".join(line.removeprefix("error: ") for line in wrong) or done.stderr.strip()
        raise StackError(f"no image was built, because no service would load the model {model.name!r}: {reason}")


def build_service(service: ComposeService) -> None:
    """Build the image of a service that has models without a recipe. Raises StackError."""
    models = [find(name) for name in without_recipe(service)]
    for model in models:
        check(model)
    recipes = with_recipe(service)
    base = f"{service.image.partition(':')[0]}-base:{service.image.rpartition(':')[2]}"
    _build_base(base, service.target if recipes else f"{service.target}-empty", service.args, recipes)
    place = _IN_IMAGE.get(service.target, _USUAL_PLACE)
    _add_layer(base, service.image, models, place, only_manifests=service.target == "prep")


def build_image(service: ComposeService, model: Model, image: str) -> None:
    """Build an image that runs `service` with one model and needs no settings. Raises StackError."""
    check(model)
    base = f"serving-patterns/{service.target}-empty:{service.image.rpartition(':')[2]}"
    _build_base(base, f"{service.target}-empty", service.args, [])
    fixed = {name: service.environment[name] for name in ("PATTERN", "SERVICE")} | {"MODEL": model.name}
    words = ", ".join(f'"{word}"' for word in service.command)
    lines = [*(f"ENV {name}={value}" for name, value in fixed.items()), f"CMD [{words}]"]
    _add_layer(base, image, [model], _USUAL_PLACE, lines)


def _versions(folder: Path) -> list[Path]:
    found = [path.parent for path in folder.glob("*/model.yaml") if path.parent.name.isdecimal()]
    return sorted(found, key=lambda path: int(path.name))


def _read(version: Path) -> dict[str, Any]:
    """The manifest of a version. Raises StackError if it cannot be that of this folder."""
    where = version / "model.yaml"
    if not (version / "model.onnx").is_file():
        raise StackError(f"{version / 'model.onnx'} does not exist; export the model, or copy the file there")
    try:
        tree = yaml.safe_load(where.read_text("utf-8"))
        return {**tree, "name": str(tree["name"]), "version": str(tree["version"])}
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise StackError(f"{where}: expected a manifest with a name and a version, got {error!r}") from None


def _build_base(image: str, target: str, args: Mapping[str, str], recipes: Iterable[str]) -> None:
    given = {**args, "MODELS": " ".join(recipes)}
    words = [word for name, value in given.items() if value for word in ("--build-arg", f"{name}={value}")]
    file = str(ROOT / "compose" / "Dockerfile")
    engine.build(["docker", "build", "--target", target, *words, "--tag", image, "--file", file, str(ROOT)])


def _add_layer(
    base: str, image: str, models: Iterable[Model], place: str, lines: Iterable[str] = (), only_manifests: bool = False
) -> None:
    """Build `image` from `base` and the files of models, which any user may read."""
    with tempfile.TemporaryDirectory(prefix="serving-patterns-") as context:
        for model in models:
            for version in model.versions:
                to = Path(context) / "models" / model.name / _read(version)["version"]
                _copy(version, to, only_manifests)
        file = Path(context) / "Dockerfile"
        file.write_text("\n".join([f"FROM {base}", f"COPY models/ {place}/", *lines, ""]))
        engine.build(["docker", "build", "--tag", image, "--file", str(file), context])


def _copy(version: Path, to: Path, only_manifest: bool) -> None:
    to.mkdir(parents=True)
    for path in version.rglob("*"):
        if path.is_file() and (path.name == "model.yaml" or not only_manifest):
            target = to / path.relative_to(version)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o644)
    for folder, _, _ in os.walk(to.parent.parent):
        Path(folder).chmod(0o755)
