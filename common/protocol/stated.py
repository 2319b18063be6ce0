"""Compares what a request states of its tensors with the model before any tensor is decoded.

A tensor with a wrong name, datatype or shape is refused for next to nothing, however large it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from common.errors import InvalidInput, PayloadTooLarge
from common.protocol.tensors import Array, TensorSpec, check_shape, dtype_of, fits

_BYTES_IN_JSON = {"?": 6, "e": 15, "f": 15, "d": 24} | dict.fromkeys("bBhHiIlLqQ", 24)
"""Of a number, with its comma, by numpy's type character. Text has none."""
_NUMBERS = "biuf"  # numpy's kinds; all others are text
_FEW = 2048  # elements, whose widest number is not looked for


class StatedTensor(NamedTuple):
    """What a request says of one input, without its values."""

    name: str
    datatype: str
    shape: Sequence[int]


def check_stated(tensors: Sequence[StatedTensor], specs: Sequence[TensorSpec], most_rows: int, named: str = "") -> None:
    """Raises InvalidInput unless these are inputs of the model, each once, with the datatype and a shape of its spec.

    Raises PayloadTooLarge for more rows than `most_rows`. `named` is as for `check_inputs`.
    """
    by_name = {spec.name: spec for spec in specs}
    found: set[str] = set()
    for index, tensor in enumerate(tensors):
        where = named % tensor.name[:60] if named else f"inputs[{index}]"
        spec = by_name.get(tensor.name)
        if spec is None:
            given = sorted(one.name[:60] for one in tensors[: len(specs) + 1])  # of many, the first ones
            raise InvalidInput.at("inputs", f"expected {input_names(specs)}, got {given}")
        if tensor.name in found:
            raise InvalidInput.at(f"{where}.name", f"expected each input once, got {tensor.name!r} twice")
        found.add(tensor.name)
        _check_tensor(tensor, spec, most_rows, where)


def input_names(specs: Sequence[TensorSpec]) -> str:
    """The inputs of a model as an error message lists them."""
    return ", ".join(f"{spec.name!r}{' (optional)' if spec.optional else ''}" for spec in specs)


def _check_tensor(tensor: StatedTensor, spec: TensorSpec, most_rows: int, where: str) -> None:
    dtype_of(tensor.datatype, where)
    if tensor.datatype != spec.datatype:
        raise InvalidInput.at(f"{where}.datatype", f"expected {spec.datatype}, got {tensor.datatype}")
    check_shape(tensor.shape, where)
    shape = list(tensor.shape)
    if not (spec.any_rank or fits(spec.shape, shape)):
        raise InvalidInput.at(f"{where}.shape", f"expected {list(spec.shape)}, got {shape}")
    check_rows(shape, spec, most_rows, where)


def check_rows(shape: Sequence[int], spec: TensorSpec, most_rows: int, where: str) -> None:
    """Raises PayloadTooLarge for more rows than a request may have, for a model with a free number of rows."""
    if spec.shape[:1] == (-1,) and shape and shape[0] > most_rows:
        raise PayloadTooLarge.at(
            f"{where}.shape", f"expected at most {most_rows} rows, got {shape[0]}; send several requests"
        )


def json_size(arrays: Mapping[str, Array]) -> int:
    """About the bytes that arrays take as JSON, and not fewer."""
    size = 0
    for array in arrays.values():
        each = _BYTES_IN_JSON.get(array.dtype.char)
        size += _text_bytes(array) if each is None else each * array.size if array.size <= _FEW else _many(array, each)
    return size


def _many(array: Array, each: int) -> int:
    if array.dtype.kind in "iu":
        each = max(len(str(array.min())), len(str(array.max()))) + 1
    return each * array.size


def _text_bytes(array: Array) -> int:
    return sum(map(len, array.reshape(-1).tolist())) + 5 * array.size


def binary_size(arrays: Mapping[str, Array]) -> int:
    """The bytes that arrays take as binary data."""
    return sum([one.nbytes if one.dtype.kind in _NUMBERS else _text_bytes(one) for one in arrays.values()])


def check_text_size(text: memoryview | bytes, tensor: StatedTensor, where: str) -> None:
    """Raises InvalidInput for the JSON text of a tensor that cannot have as many values as its shape states.

    Numbers are separated by commas, and an element of BYTES has two quotes, so counting these tells the number of
    values within a factor that no spelling can exceed.
    """
    wanted, found = math.prod(tensor.shape), bytes(text)
    if tensor.datatype == "BYTES":
        least, most = (found.count(b'"') - found.count(b'\\"')) // 2, found.count(b'"') // 2
    else:
        least = most = found.count(b",") + 1
    if not least <= max(wanted, 1) or not wanted <= most:
        count = least if least == most else f"{least} to {most}"
        raise InvalidInput.at(
            f"{where}.data",
            f"expected {wanted} values for shape {list(tensor.shape)}, got {count}",
        )
