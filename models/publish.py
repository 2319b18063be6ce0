"""Builds one model, checks it, and publishes it into the output folder atomically."""

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

from models import build_digest, checks, graph, manifest
from models.build_api import BuildContext, BuildResult
from models.errors import BuildError
from models.recipe import PHOTO_FOLDER, Recipe


def build_and_publish(recipe: Recipe, output: Path, digest: str, prefix: str) -> None:
    """Build in a temporary folder whose name starts with `prefix`, check the files, then rename the folder.

    Raises BuildError if a check fails; the version that was published before stays in place.
    """
    result = _build_function(recipe)(BuildContext(recipe.manifest, output))
    with tempfile.TemporaryDirectory(dir=output, prefix=prefix) as temporary:
        new = Path(temporary) / "model"
        new.mkdir()
        content, sha256 = graph.serialised(result.model)
        built = manifest.finished(recipe.manifest, result.manifest_fields, sha256)
        (new / "model.onnx").write_bytes(content)
        for name, further in result.files.items():
            (new / name).write_bytes(further)
        manifest.write(new / "model.yaml", built)
        (new / build_digest.DIGEST_FILE).write_text(digest + "\n", encoding="utf-8")
        checks.check(new / "model.onnx", built, result, recipe.minimum_metrics)
        _publish_example_files(result.example_files, output / PHOTO_FOLDER, Path(temporary))
        _replace(recipe.version_folder(output), new)


def _build_function(recipe: Recipe) -> Callable[[BuildContext], BuildResult]:
    file = recipe.folder / "build.py"
    spec = importlib.util.spec_from_file_location(f"recipe_{recipe.name}", file)
    if spec is None or spec.loader is None:
        raise BuildError(f"{file} is not a Python module; a recipe needs one that defines build(context)")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    build: Callable[[BuildContext], BuildResult] = module.build
    return build


def _replace(target: Path, new: Path) -> None:
    """Rename `new` to `target`. A folder cannot replace one that is not empty, so move the old one away first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = new.with_name("replaced")
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise


def _publish_example_files(files: dict[str, bytes], folder: Path, temporary: Path) -> None:
    """Write the files that the manifest's examples name. Models share them, so each file is replaced atomically."""
    for name, content in files.items():
        folder.mkdir(exist_ok=True)
        (temporary / name).write_bytes(content)
        (temporary / name).replace(folder / name)
