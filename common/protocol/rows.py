"""Turns rows of named values, `[{"sepal_length": 5.1, ...}, ...]`, into a model's inputs. Errors name the field."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np

from common.errors import FieldError, InvalidInput, PayloadTooLarge
from common.protocol.json_body import Payload, decode_json
from common.protocol.tensors import Array, TensorSpec
from common.request.capacity import LARGE, SMALL

MAX_REPORTED = 20
_MOST_UNKNOWN = 16  # values of a row, for a model whose columns are not known now
_OTHER_MARKS = 64  # in a body, outside its rows
_OVERFLOWS = {"FP16": 65520.0, "FP32": (2 - 2**-24) * 2.0**127}  # what is as large is rounded to infinity
Rows = Sequence[Mapping[str, Any]]


class _UntypedRows(msgspec.Struct):
    """A request with values of any type."""

    instances: list[dict[str, Any]]


_untyped = msgspec.json.Decoder(_UntypedRows)


def check_size(body: Payload, names: Sequence[str], most_rows: int) -> None:
    """Raises PayloadTooLarge for a large body that has more rows or values than a request may have.

    It counts characters, which takes a hundredth of the time of decoding them to objects.
    """
    if len(body) <= SMALL:
        return
    text, values = bytes(body), most_rows * max(len(names), _MOST_UNKNOWN)
    for mark, most in ((b"{", most_rows), (b":", values), (b",", values + most_rows), (b'"', 2 * values)):
        in_names = sum(name.encode().count(mark) for name in names)
        found = text.count(mark)
        if found > (most + _OTHER_MARKS) * (1 + in_names):
            raise PayloadTooLarge.at(
                "instances", f"expected at most {most_rows} rows of {len(names)} values, got {found} of {mark.decode()}"
            )


class Column(NamedTuple):
    """A named column of an input."""

    name: str
    spec: TensorSpec


def columns_of(specs: Sequence[TensorSpec]) -> list[Column]:
    """The columns of a model whose inputs are rows of named values; empty for a model of another kind.

    An input has the columns that its `features` name. Of several inputs, one that has a single value for each row is a
    column with the input's own name.
    """
    columns: list[Column] = []
    for spec in (one for one in specs if not one.optional):
        if spec.features and spec.shape[:1] == (-1,):
            columns += [Column(name, spec) for name in spec.features]
        elif len(specs) > 1 and spec.shape in ((-1,), (-1, 1)):
            columns.append(Column(spec.name, spec))
        else:
            return []
    return columns


def rows_to_inputs(
    instances: Iterable[Mapping[str, Any]],
    columns: Sequence[Column],
    at: str = "instances",
    *,
    count: int,
    shared: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Array]:
    """The inputs of a model, by name, from `count` rows that have one value for each column and nothing else.

    Raises InvalidInput that names the values which are missing, unknown, of another type or out of range; nothing is
    converted. None stands for a number that is missing, where the input allows that. `at` is the field of the rows.
    `shared` has values of columns for the rows that do not state them; its own values have been checked. Each row is
    read once and kept nowhere else, since few bytes of a request may share values among many rows.
    """
    arrays, places = _arrays(columns, count, shared)
    needed = [column for column in columns if column.name not in shared]
    by_name = {column.name: column for column in columns}
    wrong: list[FieldError] = []
    for index, row in enumerate(instances):
        wrong += islice(_row_errors(row, needed, by_name, f"{at}[{index}]"), MAX_REPORTED - len(wrong))
        if len(wrong) >= MAX_REPORTED:
            break
        if not wrong:
            for name, value in row.items():
                array, place = places[name]
                array[index, place] = _plain(value)
    if wrong:
        raise _joined(wrong)
    return {spec.name: arrays[spec.name].reshape(count, *spec.shape[1:]) for _, spec in columns}


def _arrays(
    columns: Sequence[Column], count: int, shared: Mapping[str, Any]
) -> tuple[dict[str, Array], dict[str, tuple[Array, int]]]:
    """The inputs of a model with the shared values in each row, and the place of each column in them."""
    names: dict[str, list[str]] = {}
    for column in columns:
        names.setdefault(column.spec.name, []).append(column.name)
    dtypes = {column.spec.name: column.spec.dtype for column in columns}
    arrays = {name: np.zeros((count, len(listed)), dtypes[name]) for name, listed in names.items()}
    places = {one: (arrays[name], place) for name, listed in names.items() for place, one in enumerate(listed)}
    for name, value in shared.items():
        array, place = places[name]
        array[:, place] = _plain(value)
    return arrays, places


def _plain(value: Any) -> Any:
    return np.nan if value is None else value


def _row_errors(
    row: Mapping[str, Any], needed: Sequence[Column], by_name: Mapping[str, Column], where: str
) -> Iterator[FieldError]:
    """What is wrong in a row: first in the columns that it has to state, then in what else it states."""
    for name, spec in needed:
        reason = value_reason(row[name], spec) if name in row else "is missing"
        if reason:
            yield FieldError(f"{where}.{name}", reason)
    if len(row) == len(needed) and all(column.name in row for column in needed):
        return
    stated = {column.name for column in needed}
    for name, value in row.items():
        if name in stated:
            continue
        column = by_name.get(name)
        if column is None:
            reason = f"is not a feature of this model; they are: {listed_names(by_name)}"
        else:
            reason = value_reason(value, column.spec)
        if reason:
            yield FieldError(f"{where}.{name[:60]}", reason)


def listed_names(names: Collection[str]) -> str:
    """Names as an error lists them: of many, the first ones."""
    shown = ", ".join(name[:60] for name in islice(names, MAX_REPORTED))
    return shown if len(names) <= MAX_REPORTED else f"{shown} and {len(names) - MAX_REPORTED} more"


def value_reason(value: Any, spec: TensorSpec) -> str:
    """Why an input cannot take a value as it is; empty when it can."""
    kind, shown = spec.dtype.kind, str(value)[:40]
    if kind == "O":
        return "" if isinstance(value, str | bytes) else f"expected text, got {shown}"
    if kind == "b":
        return "" if isinstance(value, bool) else f"expected true or false, got {shown!r}"
    if kind in "iu":
        low, high = int(np.iinfo(spec.dtype).min), int(np.iinfo(spec.dtype).max)
        whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if whole and low <= value <= high else f"expected an integer from {low} to {high}, got {shown!r}"
    if value is None:
        return "" if spec.missing else "is null; this model takes no missing values"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"expected a number, got {shown!r}"
    return _number_reason(value, spec)


def _number_reason(value: float, spec: TensorSpec) -> str:
    """gRPC carries infinity, so a number that is infinite before it is converted is taken."""
    try:
        number = float(value)
    except OverflowError:
        return f"is outside the range of {spec.datatype}"
    overflows = math.isfinite(number) and abs(number) >= _OVERFLOWS.get(spec.datatype, math.inf)
    return f"is outside the range of {spec.datatype}" if overflows else ""


def decode_rows(body: Payload) -> Rows:
    """The rows of a request as they are. Raises InvalidInput for a body without rows of named values."""
    return decode_json(_untyped, body).instances


def rows_to_array(
    instances: Sequence[Mapping[str, float]], names: Sequence[str], *, exact: bool, datatype: str = "FP32"
) -> Array:
    """An array of shape [rows, names] and a floating-point datatype, with the columns in the order of `names`.

    Raises InvalidInput that names the features that are missing or out of range, and with `exact` also those that are
    not in `names`.
    """
    try:
        if exact and any(len(row) != len(names) for row in instances):
            raise KeyError
        with np.errstate(over="ignore"):
            rows = np.array([[row[name] for name in names] for row in instances], _FLOATS[datatype])
    except KeyError:
        raise _number_errors(instances, names, exact) from None
    if not np.isfinite(rows).all():
        raise InvalidInput.at("instances", f"contains a number outside the range of {datatype}")
    return rows


_FLOATS = {"FP32": np.float32, "FP64": np.float64}


def explain_error(error: InvalidInput, body: Payload, names: Sequence[str], *, exact: bool) -> InvalidInput:
    """An error that names the values which are not numbers, for a body that could not be decoded; else `error`."""
    if len(body) > LARGE:  # values of any type take many times their size
        return error
    try:
        found = _number_errors(decode_json(_untyped, body).instances, names, exact)
    except InvalidInput:
        return error
    return found if found.fields else error


def _number_errors(instances: Sequence[Mapping[str, object]], names: Sequence[str], exact: bool) -> InvalidInput:
    """Why rows are not numbers by these names. A row may have as many other names as a body has room for."""
    known = dict.fromkeys(names)
    found: list[FieldError] = []
    for index, row in enumerate(instances):
        for name in chain(names, (name for name in row if name not in known)):
            if reason := _reason(row, name, known, exact):
                found.append(FieldError(f"instances[{index}].{name[:60]}", reason))
            if len(found) >= MAX_REPORTED:
                return _joined(found)
    return _joined(found)


def _joined(found: list[FieldError]) -> InvalidInput:
    return InvalidInput("; ".join(f"{one.field} {one.reason}" for one in found), fields=found)


def _reason(row: Mapping[str, object], name: str, names: Collection[str], exact: bool) -> str:
    if name not in names and exact:
        return f"is not a feature of this model; the features are: {listed_names(names)}"
    if name not in row:
        return "is missing"
    if isinstance(row[name], bool) or not isinstance(row[name], int | float):
        return f"expected a number, got {str(row[name])[:40]!r}"
    return ""
