"""Tensors of the Open Inference Protocol: converts JSON data and binary tensor data to numpy arrays and back.

Binary layout (Open Inference Protocol, binary tensor data extension): little-endian, row-major, no padding; BOOL is one
byte; a BYTES element is a little-endian uint32 length followed by that many bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from types import GenericAlias
from typing import Any, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from common.errors import InvalidInput
from common.protocol.json_body import decode_json
from common.protocol.json_pieces import MAX_DEPTH, PIECE, decode_in_pieces, nesting_depth

Array = npt.NDArray[Any]

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype("O"),
}
# by numpy's type character, because a dtype is slow to hash; numpy has two characters for 64-bit integers
_NAMES = {dtype.char: name for name, dtype in DATATYPES.items()} | {"q": "INT64", "Q": "UINT64"}
MAX_RANK = MAX_DEPTH
MAX_ELEMENTS = 1 << 40


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The name, the OIP datatype and the shape of an input or output of a model; -1 is a free dimension.

    `features` are the names of its columns. `missing`: JSON may have null for NaN. `finite`: NaN and infinity are
    refused. `optional`: a request may leave it out. `aligned`: a free first dimension is as large as that of the other
    inputs. `any_rank`: the number of dimensions is free, and `shape` is only one that the model takes. `row` is the
    shape without its first dimension when only the first one is free, else None.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    features: tuple[str, ...] = field(default=(), repr=False, compare=False)
    missing: bool = field(default=False, repr=False, compare=False)
    finite: bool = field(default=False, repr=False, compare=False)
    optional: bool = field(default=False, repr=False, compare=False)
    any_rank: bool = field(default=False, repr=False, compare=False)
    aligned: bool = field(default=True, repr=False, compare=False)
    dtype: np.dtype[Any] = field(init=False, repr=False, compare=False)
    row: tuple[int, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rows_only = self.shape[:1] == (-1,) and -1 not in self.shape[1:] and not self.any_rank
        object.__setattr__(self, "dtype", DATATYPES[self.datatype])
        object.__setattr__(self, "row", self.shape[1:] if rows_only else None)

    def check(self, array: Array, where: str) -> None:
        """Raises InvalidInput unless `array` has this datatype and shape, and finite numbers where `finite` is set."""
        if array.shape[1:] == self.row and array.dtype == self.dtype and array.ndim and not self.finite:
            return
        if array.dtype != self.dtype:
            raise InvalidInput.at(f"{where}.datatype", f"expected {self.datatype}, got {datatype_of(array)}")
        if not (self.any_rank or fits(self.shape, array.shape)):
            raise InvalidInput.at(f"{where}.shape", f"expected {list(self.shape)}, got {list(array.shape)}")
        if self.finite:
            check_finite(array, where)


def fits(stated: Sequence[int], found: Sequence[int]) -> bool:
    """Whether a shape is one of those that `stated`, in which -1 is any size, allows."""
    return len(found) == len(stated) and all(want in (-1, got) for want, got in zip(stated, found, strict=True))


def datatype_of(array: Array) -> str:
    """The OIP datatype of an array; fixed-width strings and objects are BYTES."""
    return _NAMES.get(array.dtype.char, "BYTES")


def dtype_of(datatype: str, where: str) -> np.dtype[Any]:
    try:
        return DATATYPES[datatype]
    except KeyError:
        raise InvalidInput.at(
            f"{where}.datatype", f"expected one of {', '.join(DATATYPES)}, got {datatype!r}"
        ) from None


def from_json(
    data: msgspec.Raw | bytes, datatype: str, shape: Sequence[int], where: str, missing: bool = False
) -> Array:
    """An array from the JSON text of its `data`, flat or nested in row-major order.

    Raises InvalidInput for rows of different lengths, for values of another type than `datatype` (strings, fractions
    and booleans are never converted) and for values out of range. JSON has no NaN and no infinity; with `missing`, null
    is NaN.
    """
    dtype = dtype_of(datatype, where)
    if datatype == "FP16":
        raise InvalidInput.at(f"{where}.datatype", "FP16 has no JSON form; send it as binary tensor data")
    return _shaped(nested_json(data, dtype, f"{where}.data", missing), shape, where)


def nested_json(data: msgspec.Raw | bytes, dtype: np.dtype[Any], where: str, missing: bool = False) -> Array:
    """An array from the JSON text of a list, with the shape of its nesting. Raises InvalidInput like `from_json`."""
    if memoryview(data).nbytes > 2 * PIECE and dtype.kind != "O":
        return decode_in_pieces(bytes(data), lambda piece: _nested(piece, dtype, where, missing), where)
    return _nested(data, dtype, where, missing)


def _nested(data: msgspec.Raw | bytes, dtype: np.dtype[Any], where: str, missing: bool) -> Array:
    try:
        return _array(_values(data, dtype.kind, where, missing), dtype)
    except OverflowError:
        limits = f", {np.iinfo(dtype).min} to {np.iinfo(dtype).max}" if dtype.kind in "iu" else ""
        raise InvalidInput.at(where, f"contains a value outside the range of {_NAMES[dtype.char]}{limits}") from None
    except ValueError:
        raise InvalidInput.at(where, "expected rows of equal length") from None


def _values(data: msgspec.Raw | bytes, kind: str, where: str, missing: bool) -> list[Any]:
    """The values as Python objects of one type. The opening brackets of the text tell the depth of the nesting."""
    try:
        return _decoder(kind, 1).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        depth = min(max(nesting_depth(data), 1), MAX_RANK)
        if missing and kind == "f":
            return decode_json(_decoder(_MISSING, depth), data, where)
        try:
            return decode_json(_decoder(kind, depth), data, where)
        except InvalidInput as error:
            raise _explained(error, kind) from None


def _explained(error: InvalidInput, kind: str) -> InvalidInput:
    """The error with what to do, where null stands for a number that is missing."""
    (found,) = error.fields
    null = kind == "f" and _NULL in found.reason
    return InvalidInput.at(found.field, f"{found.reason}; {NO_NULL}") if null else error


@cache
def _decoder(kind: str, depth: int) -> msgspec.json.Decoder[list[Any]]:
    values: Any = _PYTHON[kind]
    for _ in range(depth):
        values = GenericAlias(list, (values,))
    return msgspec.json.Decoder(values)


def _array(values: list[Any], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "O":
        array = np.array(values, dtype=object)
        flat = array.reshape(-1)
        flat[:] = [one.encode() if isinstance(one, str) else _ragged() for one in flat]
        return array
    if dtype.kind != "f":
        return np.array(values, dtype=dtype)
    if 0 < len(values) <= _FEW and isinstance(values[0], float):
        # for few numbers, max() and min() are faster than the set-up of a numpy call
        try:
            if dtype.itemsize == 4 and (max(values) >= _FP32_OVERFLOW or min(values) <= -_FP32_OVERFLOW):
                raise OverflowError
        except TypeError:  # None, a number that is missing, has no order
            return _wide(values, dtype)
        return np.array(values, dtype=dtype)
    return _wide(values, dtype)


def _wide(values: list[Any], dtype: np.dtype[Any]) -> Array:
    """An array of any number of floating-point numbers; None becomes NaN. Raises OverflowError."""
    with np.errstate(over="ignore"):
        array = np.array(values, dtype=dtype)
    if np.isinf(array).any():
        raise OverflowError
    return array


def _ragged() -> NoReturn:
    raise ValueError


_FEW = 64
# The first number that rounds to infinity. The largest FP32 is written as 3.4028235e+38, which is above its value.
_FP32_OVERFLOW = float(np.finfo(np.float32).max) + 2.0**103
_MISSING = "f?"  # numbers, any of which may be missing
_PYTHON: dict[str, Any] = {"f": float, _MISSING: float | None, "i": int, "u": int, "b": bool, "O": str}
_NULL = "got `null`"
NO_NULL = (
    "JSON has no NaN: send the tensor as binary data or over gRPC, or say `missing: true` for this input in model.yaml"
)


def _shaped(array: Array, shape: Sequence[int], where: str) -> Array:
    if array.ndim == 1 and len(shape) <= MAX_RANK and array.size == math.prod(shape) and min(shape, default=1) > 0:
        return array.reshape(shape)
    if array.shape == tuple(shape):
        return array
    wanted = check_shape(shape, where)
    if array.size != wanted:
        raise InvalidInput.at(
            f"{where}.data", f"expected {wanted} values for shape {list(shape)}, got {array.size} ({list(array.shape)})"
        )
    if array.ndim == 1:
        return array.reshape(shape)
    raise InvalidInput.at(f"{where}.data", f"is nested as {list(array.shape)}, but shape is {list(shape)}")


def check_shape(shape: Sequence[int], where: str) -> int:
    """The number of elements of `shape`.

    Raises InvalidInput for more than 16 dimensions, a negative dimension or more than 2**40 elements.
    """
    if len(shape) > MAX_RANK:
        raise InvalidInput.at(f"{where}.shape", f"expected at most {MAX_RANK} dimensions, got {len(shape)}")
    if any(size < 0 for size in shape):
        raise InvalidInput.at(f"{where}.shape", f"expected no negative dimension, got {list(shape)}")
    if math.prod(size or 1 for size in shape) > MAX_ELEMENTS:  # numpy refuses it even when another dimension is 0
        raise InvalidInput.at(f"{where}.shape", f"expected at most {MAX_ELEMENTS} elements, got {list(shape)}")
    return math.prod(shape)


def check_finite(array: Array, where: str) -> None:
    """Raises InvalidInput for a floating-point array with NaN or infinity. The error names the first such element."""
    # When the sum of squares is finite, all elements are, and vdot takes a third of the time of isfinite().all() on a
    # small array. Unlike dot, vdot does not warn when the squares overflow.
    flat = array.reshape(-1)
    if (array.itemsize > 2 and math.isfinite(np.vdot(flat, flat))) or bool(np.isfinite(flat).all()):
        return
    first = int(np.flatnonzero(~np.isfinite(flat))[0])
    raise InvalidInput.at(f"{where}.data", f"expected finite numbers, got {flat[first]} at element {first}")


def from_binary(raw: memoryview | bytes, datatype: str, shape: Sequence[int], where: str) -> Array:
    """An array from binary tensor data: a read-only view of `raw`, except for BYTES.

    Raises InvalidInput when the size does not match the shape, and for a BOOL other than 0 and 1.
    """
    dtype = dtype_of(datatype, where)
    count = check_shape(shape, where)
    if datatype == "BYTES":
        return split_bytes(raw, count, where).reshape(shape)
    if len(raw) != count * dtype.itemsize:
        raise InvalidInput.at(
            f"{where}.parameters.binary_data_size",
            f"expected {count * dtype.itemsize} bytes for {datatype} {list(shape)}, got {len(raw)}",
        )
    array = np.frombuffer(raw, dtype=dtype).reshape(shape)
    if dtype.kind == "b" and count and np.frombuffer(raw, dtype=np.uint8).max() > 1:
        raise InvalidInput.at(f"{where}.data", "expected each BOOL byte to be 0 or 1")
    return array


def split_bytes(raw: memoryview | bytes, count: int, where: str) -> Array:
    """An object array of shape [count] from BYTES elements that each follow their length."""
    elements: list[bytes] = []
    at, end = 0, len(raw)
    while at < end and len(elements) <= count:
        if at + 4 > end:
            raise InvalidInput.at(f"{where}.data", "ends within the length of a BYTES element; expected four bytes")
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + size > end:
            raise InvalidInput.at(f"{where}.data", f"a BYTES element states {size} bytes, but only {end - at} follow")
        elements.append(bytes(raw[at : at + size]))
        at += size
    if len(elements) != count:
        more = " or more" if at < end else ""
        raise InvalidInput.at(f"{where}.data", f"expected {count} BYTES elements, got {len(elements)}{more}")
    array = np.empty(count, dtype=object)
    array[:] = elements
    return array


def to_binary(array: Array) -> bytes:
    """The binary tensor data of an array of any OIP datatype."""
    if datatype_of(array) != "BYTES":
        return array.tobytes()
    elements = [one if isinstance(one, bytes) else str(one).encode() for one in array.reshape(-1)]
    return b"".join(part for one in elements for part in (struct.pack("<I", len(one)), one))
