"""Rows to check an exported model on, out of a file: .npz (inputs by name), .npy (the only input), .csv (columns)."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import BuildError


@dataclass(frozen=True)
class Samples:
    """Arrays by input name (`""` where the file does not say), first axis the row; the names of a table's columns."""

    arrays: dict[str, NDArray[Any]]
    columns: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(next(iter(self.arrays.values())))

    def named(self, names: list[str]) -> dict[str, NDArray[Any]]:
        """The arrays under the names of a model's inputs, in that order; BuildError where they do not match."""
        if set(self.arrays) == {""} and len(names) == 1:
            return {names[0]: self.arrays[""]}
        if set(self.arrays) != set(names):
            raise BuildError(f"the samples are for inputs {sorted(self.arrays)}, the model has {sorted(names)}")
        return {name: self.arrays[name] for name in names}

    def only(self) -> NDArray[Any]:
        """The array of the only input."""
        if len(self.arrays) != 1:
            raise BuildError(f"expected samples of one input, got {sorted(self.arrays)}")
        return next(iter(self.arrays.values()))


def read(path: Path) -> Samples:
    """The samples in a file, at least two rows. BuildError in one line where they cannot be read."""
    try:
        samples = _READERS[path.suffix](path)
    except KeyError:
        raise BuildError(f"{path}: expected .npz, .npy or .csv") from None
    except (OSError, ValueError) as error:  # NumPy's word for a pickle, and csv's for text that is no number
        raise BuildError(f"{path}: {error}") from None
    rows = {len(array) if array.ndim else 0 for array in samples.arrays.values()}
    if len(rows) != 1 or min(rows) < 2:
        raise BuildError(f"{path}: expected at least two rows, the same number in each array, got {sorted(rows)}")
    return samples


def _npz(path: Path) -> Samples:
    with np.load(path, allow_pickle=False) as archive:
        return Samples({name: _single(archive[name]) for name in archive.files})


def _npy(path: Path) -> Samples:
    return Samples({"": _single(np.load(path, allow_pickle=False))})


def _csv(path: Path) -> Samples:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return Samples({"": np.array([[float(value) for value in row] for row in rows], np.float32)}, header)


def _single(array: NDArray[Any]) -> NDArray[Any]:
    """Double precision is what NumPy makes of numbers, hardly ever what a network takes."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


_READERS = {".npz": _npz, ".npy": _npy, ".csv": _csv}
