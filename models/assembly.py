"""Makes one model and puts it in its place, whole and checked or not at all."""

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

from models import checks, freshness, graph, manifest
from models.errors import BuildError
from models.recipe import Product, Workspace
from models.source import PHOTO_FOLDER, Source


def build_one(source: Source, output: Path, digest: str, prefix: str) -> None:
    """Make the model in a temporary folder (its name starts with `prefix`), check the finished file, then rename it."""
    product = _recipe(source)(Workspace(source.manifest, output))
    with tempfile.TemporaryDirectory(dir=output, prefix=prefix) as temporary:
        new = Path(temporary) / "model"
        new.mkdir()
        content, sha256 = graph.serialised(product.model)
        built = manifest.finished(source.manifest, product.derived, sha256)
        (new / "model.onnx").write_bytes(content)
        manifest.write(new / "model.yaml", built)
        (new / freshness.DIGEST_FILE).write_text(digest + "\n", encoding="utf-8")
        checks.check(new / "model.onnx", built, product, source.floors)
        _publish(product.photos, output / PHOTO_FOLDER, Path(temporary))
        _replace(source.place(output), new)


def _recipe(source: Source) -> Callable[[Workspace], Product]:
    file = source.folder / "build.py"
    spec = importlib.util.spec_from_file_location(f"recipe_{source.name}", file)
    if spec is None or spec.loader is None:
        raise BuildError(f"{file}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recipe: Callable[[Workspace], Product] = module.build
    return recipe


def _replace(place: Path, new: Path) -> None:
    """A folder cannot be renamed onto a full one, so the old one steps aside first."""
    place.parent.mkdir(parents=True, exist_ok=True)
    old = new.with_name("replaced")
    if place.exists():
        place.rename(old)
    try:
        new.rename(place)
    except BaseException:
        if old.exists():
            old.rename(place)
        raise


def _publish(photos: dict[str, bytes], folder: Path, temporary: Path) -> None:
    """The pictures that examples name; several models share them, so each is replaced whole."""
    for name, content in photos.items():
        folder.mkdir(exist_ok=True)
        (temporary / name).write_bytes(content)
        (temporary / name).replace(folder / name)
