"""Converts TensorFlow's TensorProto to numpy arrays and back, by the same rules as TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.errors import InvalidInput, PayloadTooLarge
from common.protocol.grpc import tfserving_tensor_pb2 as pb
from common.protocol.grpc.repeated import extend, to_array
from common.protocol.stated import StatedTensor
from common.protocol.tensors import DATATYPES, MAX_RANK, Array, TensorSpec, check_shape, datatype_of, from_binary

# by OIP datatype: TensorFlow's datatype, and the field that has its values
_TYPES: dict[str, tuple[pb.DataType, str]] = {
    "FP32": (pb.DT_FLOAT, "float_val"), "FP64": (pb.DT_DOUBLE, "double_val"), "FP16": (pb.DT_HALF, "half_val"),
    "INT8": (pb.DT_INT8, "int_val"), "INT16": (pb.DT_INT16, "int_val"), "INT32": (pb.DT_INT32, "int_val"),
    "INT64": (pb.DT_INT64, "int64_val"), "UINT8": (pb.DT_UINT8, "int_val"), "UINT16": (pb.DT_UINT16, "int_val"),
    "UINT32": (pb.DT_UINT32, "uint32_val"), "UINT64": (pb.DT_UINT64, "uint64_val"), "BOOL": (pb.DT_BOOL, "bool_val"),
    "BYTES": (pb.DT_STRING, "string_val"),
}  # fmt: skip
_DATATYPES = {number: datatype for datatype, (number, _) in _TYPES.items()}
_NOT_VALUES = {"dtype", "tensor_shape", "version_number"}


def decode(tensor: pb.TensorProto, where: str, most_bytes: int) -> Array:
    """The array of a tensor. A tensor may have fewer values than its shape; the last one is repeated then.

    Raises InvalidInput that names the field, and PayloadTooLarge for a shape that needs more than `most_bytes`.
    """
    datatype = _DATATYPES.get(tensor.dtype)
    if datatype is None:
        raise InvalidInput.at(f"{where}.dtype", f"expected one of {', '.join(map(_name, _DATATYPES))}")
    if tensor.tensor_shape.unknown_rank:
        raise InvalidInput.at(f"{where}.tensor_shape", "expected a known rank")
    shape = [one.size for one in tensor.tensor_shape.dim]
    needed = check_shape(shape, where) * DATATYPES[datatype].itemsize
    if needed > most_bytes:
        raise PayloadTooLarge.at(
            f"{where}.tensor_shape", f"expected at most {most_bytes} bytes, but {shape} needs {needed}"
        )
    if tensor.tensor_content:
        return _from_content(tensor.tensor_content, datatype, shape, where)
    return _from_values(tensor, datatype, shape, where)


def stated_tensor(name: str, tensor: pb.TensorProto) -> StatedTensor:
    """What a tensor states of itself. An unknown datatype is named by its number. Raises InvalidInput."""
    if tensor.tensor_shape.unknown_rank:
        raise InvalidInput.at(f"inputs[{name!r}].tensor_shape", "expected a known rank")
    shape = [one.size for one in tensor.tensor_shape.dim[: MAX_RANK + 1]]
    return StatedTensor(name, _DATATYPES.get(tensor.dtype, str(tensor.dtype)), shape)


def _name(number: int) -> str:
    return pb.DataType.Name(number)  # type: ignore[arg-type]  # an enum's numbers are plain ones to the stubs


def _from_content(content: bytes, datatype: str, shape: list[int], where: str) -> Array:
    if datatype == "BYTES":
        raise InvalidInput.at(f"{where}.tensor_content", "expected strings in string_val")
    needed = int(np.prod(shape)) * DATATYPES[datatype].itemsize
    if len(content) != needed:
        raise InvalidInput.at(f"{where}.tensor_content", f"expected {needed} bytes for {shape}, got {len(content)}")
    return from_binary(content, datatype, shape, where)


def _from_values(tensor: pb.TensorProto, datatype: str, shape: list[int], where: str) -> Array:
    field = _TYPES[datatype][1]
    for found, _ in tensor.ListFields():
        if found.name not in _NOT_VALUES and found.name != field:
            raise InvalidInput.at(f"{where}.{found.name}", f"the values of {_name(tensor.dtype)} belong in {field}")
    values, count = getattr(tensor, field), int(np.prod(shape))
    if len(values) > count:
        raise InvalidInput.at(f"{where}.{field}", f"expected at most {count} values for {shape}, got {len(values)}")
    array = np.empty(count, DATATYPES[datatype])
    array[: len(values)] = _narrowed(values, datatype, f"{where}.{field}")
    array[len(values) :] = array[len(values) - 1] if values else b"" if datatype == "BYTES" else 0
    return array.reshape(shape)


def _narrowed(values: Any, datatype: str, where: str) -> Any:
    """The values in the type of the array: FP16 values arrive as integers of the same bits, small integers as int32."""
    if datatype == "BYTES" or not len(values):
        return values
    dtype = np.dtype(np.uint16) if datatype == "FP16" else DATATYPES[datatype]
    wide = to_array(values, dtype if dtype.itemsize == 8 or dtype.kind in "fb" else np.dtype(np.int64))
    if dtype.kind in "iu" and not (np.iinfo(dtype).min <= wide.min() and wide.max() <= np.iinfo(dtype).max):
        raise InvalidInput.at(where, f"contains a value outside the range of {datatype}")
    narrow = wide.astype(dtype)
    return narrow.view(np.float16) if datatype == "FP16" else narrow


def encode(array: Array) -> pb.TensorProto:
    """The TensorProto of an array, with the values in the field of their type, as TensorFlow Serving sends them."""
    datatype = datatype_of(array)
    number, field = _TYPES[datatype]
    flat = array.reshape(-1)
    if datatype == "BYTES":
        texts = [one if isinstance(one, bytes) else str(one).encode() for one in flat]
        return pb.TensorProto(dtype=number, tensor_shape=_shape(array.shape), string_val=texts)
    tensor = pb.TensorProto(dtype=number, tensor_shape=_shape(array.shape))
    extend(getattr(tensor, field), flat.view(np.uint16) if datatype == "FP16" else flat)
    return tensor


def tensor_info(spec: TensorSpec) -> pb.TensorInfo:
    """The description of an input or output in a signature."""
    return pb.TensorInfo(name=f"{spec.name}:0", dtype=_TYPES[spec.datatype][0], tensor_shape=_shape(spec.shape))


def _shape(sizes: tuple[int, ...]) -> pb.TensorShapeProto:
    return pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in sizes])
