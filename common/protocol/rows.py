"""Turns rows of named numbers in JSON, `[{"sepal_length": 5.1, ...}, ...]`, into one array. Errors name the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from common.errors import FieldError, InvalidInput, PayloadTooLarge
from common.protocol.json_body import Payload, decode_json
from common.protocol.tensors import Array
from common.request.capacity import LARGE, SMALL

MAX_REPORTED = 20
_MOST_UNKNOWN = 16  # values of a row, for a model whose columns are not known now
_OTHER_MARKS = 64  # in a body, outside its rows


class _UntypedRows(msgspec.Struct):
    """A request with values of any type, decoded to find those that are not numbers."""

    instances: list[dict[str, Any]] = []


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


def rows_to_array(instances: Sequence[Mapping[str, float]], names: Sequence[str], *, exact: bool) -> Array:
    """FP32 of shape [rows, names], with the columns in the order of `names`.

    Raises InvalidInput that names the features that are missing or out of range, and with `exact` also those that are
    not in `names`.
    """
    try:
        if exact and any(len(row) != len(names) for row in instances):
            raise KeyError
        with np.errstate(over="ignore"):
            rows = np.array([[row[name] for name in names] for row in instances], np.float32)
    except KeyError:
        raise _row_errors(instances, names, exact) from None
    if not np.isfinite(rows).all():
        raise InvalidInput.at("instances", "contains a number outside the range of FP32")
    return rows


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
    found = found[:MAX_REPORTED]
    return InvalidInput("; ".join(f"{one.field} {one.reason}" for one in found), fields=found)


def _reason(row: Mapping[str, object], name: str, names: Sequence[str], exact: bool) -> str:
    if name not in names and exact:
        return f"is not a feature of this model; the features are: {', '.join(names)}"
    if name not in row:
        return "is missing"
    if isinstance(row[name], bool) or not isinstance(row[name], int | float):
        return f"expected a number, got {str(row[name])[:40]!r}"
    return ""
