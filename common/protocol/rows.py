"""Turns rows of named numbers in JSON, `[{"sepal_length": 5.1, ...}, ...]`, into one array. Errors name the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from common.errors import FieldError, InvalidInput
from common.protocol.json_body import Payload, decode_json
from common.protocol.tensors import Array

MAX_REPORTED = 20


class _UntypedRows(msgspec.Struct):
    """A request with values of any type, decoded to find those that are not numbers."""

    instances: list[dict[str, Any]] = []


_untyped = msgspec.json.Decoder(_UntypedRows)


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
