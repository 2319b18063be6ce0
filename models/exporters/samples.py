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
    """Arrays [rows, ...] by input name, or by "" if the file has no names. `columns` is the header of a .csv file.

    Text is an array of objects.
    """

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
    """A table whose first row names the columns. If one of them is text, each column is an array [rows, 1] by name."""
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
        header, *rows = (row for row in csv.reader(file) if row)
    if any(len(row) != len(header) for row in rows):
        line = next(index for index, row in enumerate(rows, 2) if len(row) != len(header))
        raise ValueError(f"row {line} has {len(rows[line - 2])} values, expected {len(header)}, one for each column")
    if len(set(header)) != len(header):
        raise ValueError(f"the header names a column twice: {header}")
    columns = [_column([row[position] for row in rows]) for position in range(len(header))]
    if all(column.dtype != object for column in columns):
        return Samples({"": np.array(columns, np.float32).T}, header)
    return Samples({name: column.reshape(-1, 1) for name, column in zip(header, columns, strict=True)}, header)


def _column(values: list[str]) -> NDArray[Any]:
    """A column of numbers, of which empty ones are NaN, or of text."""
    try:
        return np.array([float(value) if value.strip() else np.nan for value in values], np.float32)
    except ValueError:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array


def _single(array: NDArray[Any]) -> NDArray[Any]:
    """FP64 arrays as FP32: FP64 is NumPy's default, but models rarely take it."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


_READERS = {".npz": _npz, ".npy": _npy, ".csv": _csv}
