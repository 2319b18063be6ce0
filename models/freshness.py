"""Whether a built model is still what its sources would give: one digest over all that goes into it."""

import hashlib
from importlib import metadata
from pathlib import Path

from models import manifest
from models.source import Source

DIGEST_FILE = "sources.sha256"
SHARED = Path(__file__).parent
# The command line decides which models are built, never what is in them.
NOT_AN_INGREDIENT = ("__main__.py",)


def digest(source: Source, dependencies: dict[str, str]) -> str:
    """Over the model's folder, the shared code, the libraries its manifest names, and the models it needs."""
    total = hashlib.sha256()
    for file in _sources(source.folder) + _sources(SHARED):
        total.update(f"{file.parent.name}/{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    for library in sorted(source.libraries):
        total.update(f"{library} {metadata.version(library)}\n".encode())
    for name, digest_of_dependency in sorted(dependencies.items()):
        total.update(f"{name} {digest_of_dependency}\n".encode())
    return total.hexdigest()


def _sources(folder: Path) -> list[Path]:
    kinds = (".py", ".yaml", ".txt")
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix in kinds]
    return sorted(file for file in files if file.name not in NOT_AN_INGREDIENT)


def is_fresh(source: Source, output: Path, expected: str) -> bool:
    """True when the model stands in its place, whole and unharmed, made from exactly these sources."""
    files = [source.place(output) / name for name in (DIGEST_FILE, "model.onnx", "model.yaml")]
    if not all(file.is_file() for file in files + source.photos(output)):
        return False
    recorded, model, description = files
    if recorded.read_text(encoding="utf-8").strip() != expected:
        return False
    return hashlib.sha256(model.read_bytes()).hexdigest() == manifest.read(description).get("sha256")
