"""Reads the weights from a PyTorch checkpoint in the format before version 1.6, without PyTorch.

The file holds five pickles (magic number, format version, system information, the tensors, the keys of their
storages), then each storage: an int64 count and the raw little-endian elements (torch/serialization.py, _legacy_save).
A pickle can run any code that it names, so this unpickler allows four names and refuses all others.
"""

import io
import pickle
import struct
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
FORMAT_VERSION = 1001
STORAGE_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

Weights = dict[str, NDArray[Any]]


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]
    elements: int


class _Tensor(NamedTuple):
    """A view of a storage, whose elements follow the pickles in the file. Offset and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _Tensor:
    """Replaces torch._utils._rebuild_tensor_v2. The arguments after the strides are for training only."""
    return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        raise pickle.UnpicklingError(
            f"the checkpoint refers to {module}.{name}, which is not allowed: only weights are read"
        )

    def persistent_load(self, reference: Any) -> _Storage:
        kind, dtype, key, _device, count, view = reference
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"unknown reference {reference!r}, expected a storage without a view")
        return _Storage(key, dtype, count)


def read(content: bytes) -> Weights:
    """The weights in a checkpoint's bytes, as arrays by name. Raises ValueError or UnpicklingError if it is invalid."""
    stream = io.BytesIO(content)
    if _Unpickler(stream).load() != MAGIC or _Unpickler(stream).load() != FORMAT_VERSION:
        raise ValueError(
            "not a PyTorch checkpoint in the format before version 1.6: wrong magic number or format version"
        )
    if not _Unpickler(stream).load()["little_endian"]:
        raise ValueError("the checkpoint is big-endian, expected little-endian")
    tensors: dict[str, _Tensor] = _Unpickler(stream).load()
    keys: list[str] = _Unpickler(stream).load()
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    elements = {key: _elements(stream, storages[key]) for key in keys}
    return {name: _array(elements[tensor.storage.key], tensor) for name, tensor in tensors.items()}


def _elements(stream: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    (count,) = struct.unpack("<q", stream.read(8))
    content = stream.read(count * storage.dtype.itemsize)
    if count != storage.elements or len(content) != count * storage.dtype.itemsize:
        raise ValueError(
            f"storage {storage.key} declares {count} elements and holds {len(content)} bytes, "
            f"expected {storage.elements} elements of {storage.dtype.itemsize} bytes"
        )
    return np.frombuffer(content, storage.dtype)


def _array(elements: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    """A copy of the elements that the tensor views. Raises ValueError if it would read outside of its storage."""
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if min(tensor.offset, *tensor.strides, *tensor.shape, 0) < 0 or last >= elements.size:
        raise ValueError(f"a tensor of shape {tensor.shape} reads outside of storage {tensor.storage.key}")
    strides = [step * elements.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides).copy()
