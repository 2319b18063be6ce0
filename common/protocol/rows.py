"""Rows of named numbers in JSON, `[{"sepal_length": 5.1, ...}, ...]`, as one array, with errors that name the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from common.errors import FieldError, InvalidInput
from common.protocol.json_body import Payload, decode_json
from common.protocol.tensors import Array

MAX_REPORTED = 20


class _Loose(msgspec.Struct):
    """A request before its values are known to be numbers; read only to say which of them is not."""

    instances: list[dict[str, Any]] = []


_loose = msgspec.json.Decoder(_Loose)


def as_array(instances: Sequence[Mapping[str, float]], names: Sequence[str], *, exact: bool) -> Array:
    """FP32 of shape [rows, names], columns in the order of `names`; with `exact`, a row has no other features.

    Raises InvalidInput that says which features of which rows are missing, unknown or out of range.
    """
    try:
        if exact and any(len(row) != len(names) for row in instances):
            raise KeyError
        with np.errstate(over="ignore"):
            rows = np.array([[row[name] for name in names] for row in instances], np.float32)
    except KeyError:
        raise _wrong(instances, names, exact) from None
    if not np.isfinite(rows).all():
        raise InvalidInput.at("instances", "holds a number outside the range of FP32")
    return rows


def explained(error: InvalidInput, body: Payload, names: Sequence[str], *, exact: bool) -> InvalidInput:
    """Why a body could not be decoded: which values of which rows are no numbers, else the `error` that it had."""
    try:
        found = _wrong(decode_json(_loose, body).instances, names, exact)
    except InvalidInput:
        return error
    return found if found.fields else error


def _wrong(instances: Sequence[Mapping[str, object]], names: Sequence[str], exact: bool) -> InvalidInput:
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
        return f"is no feature of this model: {', '.join(names)}"
    if name not in row:
        return "is missing"
    if isinstance(row[name], bool) or not isinstance(row[name], int | float):
        return f"expected a number, got {str(row[name])[:40]!r}"
    return ""
