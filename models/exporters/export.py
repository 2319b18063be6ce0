"""The interface of the exporters: what each takes (ExportRequest) and returns (Export)."""

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
class ExportRequest:
    """What to export: a file, a folder, or `package.module:function` that returns the model; and rows to check it with.

    `outputs` are new names for the outputs, in the graph's order; empty keeps their names. `trusted` are the types that
    the user allows in a .skops file beyond those that skops allows. `text` are the columns that he says are text.
    """

    source: str
    samples: Samples
    outputs: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


@dataclass(frozen=True)
class Export:
    """An exported graph, inputs by name, and the outputs that the framework computes for them, in the graph's order.

    `metadata` are the fields of model.yaml that the framework's model tells, such as task and labels. `columns` are the
    names of the features.
    """

    model: onnx.ModelProto
    inputs: Arrays
    expected: Arrays
    framework: str
    metadata: dict[str, Any] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)


def is_function(source: str) -> bool:
    """Whether a source has the form package.module:function."""
    module, colon, name = source.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def call_factory(source: str) -> Any:
    """Import the function, also from the working directory, and call it. Raises BuildError if it is missing."""
    module, _, name = source.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and what it imports is not
        raise BuildError(
            f"{source}: {error}; expected package.module:function that returns the model, "
            f"found from {here} or PYTHONPATH"
        ) from None
    return function()


def existing_path(source: str, *suffixes: str) -> Path:
    """The file or folder that a source names. Raises BuildError if it is missing or a file with another suffix."""
    path = Path(source)
    if not path.exists():
        raise BuildError(f"{source}: no such file or folder, and not of the form package.module:function")
    if path.is_file() and path.suffix not in suffixes:
        raise BuildError(
            f"{source}: found the suffix {path.suffix!r}, expected {', '.join(suffixes)} or package.module:function"
        )
    return path


def one_line(error: Exception) -> str:
    """A library's error on one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
