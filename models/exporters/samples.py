"""Reads the rows that check an export: .npz (arrays by input name), .npy (the only input) or .csv (columns)."""

from __future__ import annotations

import csv
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import BuildError


@dataclass(frozen=True)
class Samples:
    """Arrays [rows, ...] by input name, or by "" if the file has no names. `columns` is the header of a .csv file.

    Text is an array of objects. `cells` are the columns of a .csv file as they are written.
    """

    arrays: dict[str, NDArray[Any]]
    columns: list[str] = field(default_factory=list)
    cells: dict[str, list[str]] = field(default_factory=dict)

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

    def with_text(self, columns: Collection[str]) -> Samples:
        """The same with these columns as text. Raises BuildError for one that is not there."""
        if unknown := sorted(set(columns) - set(self.cells)):
            found = f"a .csv file with the columns {self.columns}" if self.cells else "a file without columns"
            raise BuildError(f"--text names the column {unknown[0]!r}, but --samples is {found}")
        return _table(self.cells, columns) if columns else self

    def only(self) -> NDArray[Any]:
        """The array of the only input. Raises BuildError if there are several."""
        if len(self.arrays) != 1:
            raise BuildError(f"--samples has the inputs {sorted(self.arrays)}, expected one input")
        return next(iter(self.arrays.values()))


def read(path: Path, text: Collection[str] = ()) -> Samples:
    """Read a file of at least two rows; `text` are columns that are text. Raises BuildError if it cannot be read."""
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
    return samples.with_text(text)


def _npz(path: Path) -> Samples:
    with np.load(path, allow_pickle=False) as archive:
        return Samples({name: _single(archive[name]) for name in archive.files})


def _npy(path: Path) -> Samples:
    return Samples({"": _single(np.load(path, allow_pickle=False))})


def _csv(path: Path) -> Samples:
    """A table whose first row names the columns. The separator is the one in that row: comma, semicolon or tab."""
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
        first = file.readline()
        file.seek(0)
        separator = next((mark for mark in ",;\t" if mark in first), ",")
        header, *rows = (row for row in csv.reader(file, delimiter=separator) if row)
    if any(len(row) != len(header) for row in rows):
        line = next(index for index, row in enumerate(rows, 2) if len(row) != len(header))
        raise ValueError(f"row {line} has {len(rows[line - 2])} values, expected {len(header)}, one for each column")
    if len(set(header)) != len(header):
        raise ValueError(f"the header names a column twice: {header}")
    return _table({name: [row[position] for row in rows] for position, name in enumerate(header)})


def _table(cells: dict[str, list[str]], text: Collection[str] = ()) -> Samples:
    """One matrix of numbers, or an array [rows, 1] for each column if one of them is text."""
    columns = {name: _column(values, name in text) for name, values in cells.items()}
    if all(column.dtype != object for column in columns.values()):
        return Samples({"": np.array(list(columns.values()), np.float32).T}, list(cells), cells)
    return Samples({name: column.reshape(-1, 1) for name, column in columns.items()}, list(cells), cells)


def _column(values: list[str], text: bool) -> NDArray[Any]:
    """A column of numbers, of which empty ones are NaN, or of text."""
    with suppress(ValueError):  # it is text
        if not text:
            return np.array([float(value) if value.strip() else np.nan for value in values], np.float32)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _single(array: NDArray[Any]) -> NDArray[Any]:
    """FP64 arrays as FP32: FP64 is NumPy's default, but models rarely take it."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


_READERS = {".npz": _npz, ".npy": _npy, ".csv": _csv}
