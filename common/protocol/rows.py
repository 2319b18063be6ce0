"""Turns rows of named values, `[{"sepal_length": 5.1, ...}, ...]`, into a model's inputs. Errors name the field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


def rows_to_inputs(instances: Rows, columns: Sequence[Column], at: str = "instances") -> dict[str, Array]:
    """The inputs of a model, by name, from rows that have one value for each column and nothing else.

    Raises InvalidInput that names the values which are missing, unknown, of another type or out of range; nothing is
    converted. None stands for a number that is missing, where the input allows that. `at` is the field of the rows.
    """
    if wrong := _errors(instances, columns, at):
        raise _joined(wrong)
    inputs: dict[str, Array] = {}
    for spec in {column.spec.name: column.spec for column in columns}.values():
        names = [column.name for column in columns if column.spec.name == spec.name]
        values = [[_plain(row[name]) for name in names] for row in instances]
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=spec.dtype).reshape(len(instances), *spec.shape[1:])
        inputs[spec.name] = array
        if array.dtype.kind == "f" and np.isinf(array).any():
            overflowed = np.isinf(array).reshape(len(instances), -1) & np.isfinite(np.array(values, np.float64))
            if not overflowed.any():
                continue  # gRPC carries infinity
            row, column = np.argwhere(overflowed)[0]
            raise InvalidInput.at(f"{at}[{row}].{names[column]}", f"is outside the range of {spec.datatype}")
    return inputs


def _plain(value: Any) -> Any:
    return np.nan if value is None else value


def _errors(instances: Rows, columns: Sequence[Column], at: str) -> list[FieldError]:
    known = {column.name for column in columns}
    found: list[FieldError] = []
    for index, row in enumerate(instances):
        where = f"{at}[{index}]"
        for column in columns:
            reason = value_reason(row[column.name], column.spec) if column.name in row else "is missing"
            if reason:
                found.append(FieldError(f"{where}.{column.name}", reason))
        for name in row.keys() - known:
            listed = ", ".join(column.name for column in columns)
            found.append(FieldError(f"{where}.{name[:60]}", f"is not a feature of this model; they are: {listed}"))
        if len(found) >= MAX_REPORTED:
            break
    return found[:MAX_REPORTED]


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
    try:
        number = float(value)
    except OverflowError:
        return f"is outside the range of {spec.datatype}"
    return "" if math.isfinite(number) or isinstance(value, float) else f"is outside the range of {spec.datatype}"


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
        raise _row_errors(instances, names, exact) from None
    if not np.isfinite(rows).all():
        raise InvalidInput.at("instances", f"contains a number outside the range of {datatype}")
    return rows


_FLOATS = {"FP32": np.float32, "FP64": np.float64}


def explain_error(error: InvalidInput, body: Payload, names: Sequence[str], *, exact: bool) -> InvalidInput:
    """An error that names the values which are not numbers, for a body that could not be decoded; else `error`."""
    if len(body) > LARGE:  # values of any type take many times their size
        return error
    try:
        found = _row_errors(decode_json(_untyped, body).instances, names, exact)
    except InvalidInput:
        return error
    return found if found.fields else error


def _row_errors(instances: Sequence[Mapping[str, object]], names: Sequence[str], exact: bool) -> InvalidInput:
    found: list[FieldError] = []
    for index, row in enumerate(instances):
        for name in [*names, *(row.keys() - set(names))]:
            if reason := _reason(row, name, names, exact):
                found.append(FieldError(f"instances[{index}].{name[:60]}", reason))
        if len(found) >= MAX_REPORTED:
            break
    return _joined(found[:MAX_REPORTED])


def _joined(found: list[FieldError]) -> InvalidInput:
    return InvalidInput("; ".join(f"{one.field} {one.reason}" for one in found), fields=found)


def _reason(row: Mapping[str, object], name: str, names: Sequence[str], exact: bool) -> str:
    if name not in names and exact:
        return f"is not a feature of this model; the features are: {', '.join(names)}"
    if name not in row:
        return "is missing"
    if isinstance(row[name], bool) or not isinstance(row[name], int | float):
        return f"expected a number, got {str(row[name])[:40]!r}"
    return ""
