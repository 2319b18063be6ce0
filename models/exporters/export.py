"""What every exporter takes and gives: real inputs, and the graph with the answers of the framework it is from."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from models.errors import BuildError
from models.exporters.samples import Samples

Arrays = dict[str, NDArray[Any]]
OPSET = 18


@dataclass(frozen=True)
class Request:
    """What is exported: a file or folder, or `package.module:function` that gives the model; and rows to check it on.

    `outputs` are names for the graph's outputs, in its order; empty: those it has. `trusted` are types within a .skops
    file that its reader takes the word of whoever asks for.
    """

    source: str
    samples: Samples
    outputs: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Export:
    """A graph, the inputs it was asked with by name, and what the framework itself answered to them, in its order.

    `found` are fields of model.yaml that the framework's model tells: task, labels, names of columns.
    """

    model: onnx.ModelProto
    inputs: Arrays
    answers: Arrays
    framework: str
    found: dict[str, Any] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)


def is_function(source: str) -> bool:
    """Whether a source names a function rather than a file."""
    module, colon, name = source.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def made(source: str) -> Any:
    """What the function gives. It is looked for in the working directory too. BuildError where there is none."""
    module, _, name = source.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BuildError(f"{source}: {error}") from None
    return function()


def existing(source: str, *kinds: str) -> Path:
    """The file or folder that a source names. BuildError where there is none, or it is of another kind."""
    path = Path(source)
    if not path.exists():
        raise BuildError(f"{source}: there is no such file, and it is no package.module:function")
    if path.is_file() and path.suffix not in kinds:
        raise BuildError(f"{source}: expected {', '.join(kinds)} or package.module:function")
    return path


def one_line(error: Exception) -> str:
    """The gist of an error of a library that is generous with words."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
