"""Reads the rows that check an export: .npz (arrays by input name), .npy (the only input) or .csv (columns)."""

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
    """Arrays [rows, ...] by input name, or by "" if the file has no names. `columns` is the header of a .csv file."""

    arrays: dict[str, NDArray[Any]]
    columns: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(next(iter(self.arrays.values())))

    def named(self, names: list[str]) -> dict[str, NDArray[Any]]:
        """The arrays by the names of a model's inputs, in that order. Raises BuildError if the names do not match."""
        if set(self.arrays) == {""} and len(names) == 1:
            return {names[0]: self.arrays[""]}
        if set(self.arrays) != set(names):
            raise BuildError(f"--samples has the inputs {sorted(self.arrays)}, expected {sorted(names)}")
        return {name: self.arrays[name] for name in names}

    def only(self) -> NDArray[Any]:
        """The array of the only input. Raises BuildError if there are several."""
        if len(self.arrays) != 1:
            raise BuildError(f"--samples has the inputs {sorted(self.arrays)}, expected one input")
        return next(iter(self.arrays.values()))


def read(path: Path) -> Samples:
    """Read a file of at least two rows. Raises BuildError if it cannot be read."""
    try:
        samples = _READERS[path.suffix](path)
    except KeyError:
        raise BuildError(f"{path}: found the suffix {path.suffix!r}, expected .npz, .npy or .csv") from None
    except (OSError, ValueError) as error:  # ValueError: a pickle in a NumPy file, or no number in a .csv file
        raise BuildError(f"{path}: {error}") from None
    rows = {len(array) if array.ndim else 0 for array in samples.arrays.values()}
    if len(rows) != 1 or min(rows) < 2:
        raise BuildError(
            f"{path}: found {sorted(rows)} rows, expected at least two rows, and the same number in each array"
        )
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
    """FP64 arrays as FP32: FP64 is NumPy's default, but models rarely take it."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


_READERS = {".npz": _npz, ".npy": _npy, ".csv": _csv}
