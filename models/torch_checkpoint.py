"""Reads the weights out of a torch checkpoint of the years before 1.6, with numpy alone.

The file is five pickles (magic number, format version, facts about the writing machine, the tensors, the keys of
their storages), then each storage: an int64 count and the raw little-endian elements.
A pickle can run any code it names, so the unpickler here knows three names and refuses all others.
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
    """A view of a storage, which the file holds only after the pickles; sizes and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _Tensor:
    """Stands in for torch._utils._rebuild_tensor_v2; what follows the strides concerns training only."""
    return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        raise pickle.UnpicklingError(f"the checkpoint asks for {module}.{name}, which is refused")

    def persistent_load(self, reference: Any) -> _Storage:
        kind, dtype, key, _device, count, view = reference
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"unknown reference {reference!r}")
        return _Storage(key, dtype, count)


def read(content: bytes) -> Weights:
    """Arrays by name, from the checkpoint's bytes; ValueError or UnpicklingError when it is anything else."""
    stream = io.BytesIO(content)
    if _Unpickler(stream).load() != MAGIC or _Unpickler(stream).load() != FORMAT_VERSION:
        raise ValueError("not a torch checkpoint of the old format")
    if not _Unpickler(stream).load()["little_endian"]:
        raise ValueError("a big-endian checkpoint")
    tensors: dict[str, _Tensor] = _Unpickler(stream).load()
    keys: list[str] = _Unpickler(stream).load()
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    elements = {key: _elements(stream, storages[key]) for key in keys}
    return {name: _array(elements[tensor.storage.key], tensor) for name, tensor in tensors.items()}


def _elements(stream: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    (count,) = struct.unpack("<q", stream.read(8))
    content = stream.read(count * storage.dtype.itemsize)
    if count != storage.elements or len(content) != count * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key} is not the {storage.elements} elements that were announced")
    return np.frombuffer(content, storage.dtype)


def _array(elements: NDArray[Any], tensor: _Tensor) -> NDArray[Any]:
    """A copy of the part of the storage that the tensor shows; never what lies outside of it."""
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    if min(tensor.offset, *tensor.strides, *tensor.shape, 0) < 0 or last >= elements.size:
        raise ValueError(f"a tensor reaches outside of storage {tensor.storage.key}")
    strides = [step * elements.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides).copy()
