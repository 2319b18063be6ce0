"""The project's own models: the builds that are kept, and builds anew to compare with them."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

from models import builder
from tests.unit.models import toy_models

ROOT = Path(builder.__file__).parents[1]
KEPT = ROOT / "models" / "build"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m models`, with warnings as errors."""
    words = [sys.executable, "-W", "error", "-m", "models", *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@cache
def kept(*names: str) -> Path:
    """The folder of the kept builds, in which another process has built these models; out-of-date ones are rebuilt."""
    finished = command(*names)
    assert finished.returncode == 0, finished.stderr
    return KEPT


def differing_files(output: Path, *names: str) -> list[str]:
    """Build models in this process into an empty `output`, and name the files that are not those of the kept builds.

    Two processes whose builds agree in every byte show that a build does not depend on hash seeds, clocks or folders.
    Only the downloaded wheels are shared.
    """
    (output / ".wheels").symlink_to(KEPT / ".wheels")
    (KEPT / ".wheels").mkdir(parents=True, exist_ok=True)
    assert set(names) <= set(toy_models.build(ROOT / "models", output, *names))
    files = [f"{name}/1/{file}" for name in names for file in ("model.onnx", "model.yaml")]
    return [file for file in files if (output / file).read_bytes() != (kept(*names) / file).read_bytes()]
