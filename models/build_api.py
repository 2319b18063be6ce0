"""What a recipe's build.py gets (BuildContext) and returns (BuildResult)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from models.manifest import Manifest

WHEEL_FOLDER = ".wheels"


@dataclass(frozen=True)
class BuildContext:
    """The recipe's own manifest, and the folder that holds all built models."""

    manifest: Manifest
    output: Path

    @property
    def wheels(self) -> Path:
        """The folder that caches downloaded wheels between builds."""
        return self.output / WHEEL_FOLDER

    def load_dependency(self, name: str) -> onnx.ModelProto:
        """Load a model that `build: models:` of this manifest names. It was built before this one."""
        return onnx.load(self.output / name / self.manifest["build"]["models"][name] / "model.onnx")


@dataclass(frozen=True)
class BuildResult:
    """A built model and what the build found out about it.

    `samples` are real inputs [rows, ...] that check the finished file.
    `manifest_fields` are manifest fields that only the build knows: metrics, labels, ranges of features.
    `files` are further files of the version, which are published beside model.onnx.
    `example_files` are the files that the manifest's examples name, by file name, and their licence note.
    """

    model: onnx.ModelProto
    samples: NDArray[Any]
    manifest_fields: dict[str, Any] = field(default_factory=dict)
    example_files: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
