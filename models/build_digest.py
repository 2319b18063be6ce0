"""Decides whether a built model is up to date, by a digest of everything that the build reads."""

import hashlib
from importlib import metadata
from pathlib import Path

from models import manifest
from models.recipe import Recipe

DIGEST_FILE = "sources.sha256"
SHARED = Path(__file__).parent
# The command line selects models; it does not change what is built.
EXCLUDED = ("__main__.py",)


def digest(recipe: Recipe, dependencies: dict[str, str]) -> str:
    """SHA-256 (hex) over the recipe's files, the shared code, the library versions and the dependencies' digests."""
    total = hashlib.sha256()
    for file in _files(recipe.folder) + _files(SHARED):
        total.update(f"{file.parent.name}/{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    for library in sorted(recipe.libraries):
        total.update(f"{library} {metadata.version(library)}\n".encode())
    for name, digest_of_dependency in sorted(dependencies.items()):
        total.update(f"{name} {digest_of_dependency}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> list[Path]:
    kinds = (".py", ".yaml", ".txt")
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix in kinds]
    return sorted(file for file in files if file.name not in EXCLUDED)


def is_up_to_date(recipe: Recipe, output: Path, expected: str) -> bool:
    """Whether all files of the model exist, were built from inputs with this digest, and match the recorded sha256."""
    files = [recipe.version_folder(output) / name for name in (DIGEST_FILE, "model.onnx", "model.yaml")]
    if not all(file.is_file() for file in files + recipe.example_files(output)):
        return False
    recorded, model, description = files
    if recorded.read_text(encoding="utf-8").strip() != expected:
        return False
    return hashlib.sha256(model.read_bytes()).hexdigest() == manifest.read(description).get("sha256")
