"""Requests as a client would write them, and arrays of every datatype to fill them with."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from common.protocol.tensors import DATATYPES, Array, TensorSpec

NUMERIC = [name for name in DATATYPES if name != "BYTES"]
SHAPES = npst.array_shapes(min_dims=1, max_dims=4, max_side=4)


def spec(datatype: str, *shape: int, name: str = "x") -> TensorSpec:
    return TensorSpec(name, datatype, shape)


def tensor(datatype: str, shape: list[Any], data: Any, name: str = "x") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def body(*inputs: dict[str, Any], **rest: Any) -> bytes:
    return json.dumps({"inputs": inputs, **rest}).encode()


def binary_body(*inputs: tuple[dict[str, Any], bytes], **rest: Any) -> tuple[bytes, str]:
    """A body with its tensors behind the JSON, and the header that says how long the JSON is."""
    described = []
    for described_input, raw in inputs:
        plain = {key: value for key, value in described_input.items() if key != "data"}
        described.append({"parameters": {"binary_data_size": len(raw)}, **plain})
    header = json.dumps({"inputs": described, **rest}).encode()
    return header + b"".join(raw for _, raw in inputs), str(len(header))


def arrays(datatype: str, shapes: Any = SHAPES) -> st.SearchStrategy[Array]:
    """Finite arrays of an OIP datatype."""
    if datatype == "BYTES":
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(str.encode)
        strategy: st.SearchStrategy[Array] = shapes.flatmap(lambda shape: _objects(text, shape))
        return strategy
    dtype = DATATYPES[datatype]
    elements: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    return npst.arrays(dtype, shapes, elements=npst.from_dtype(dtype, **elements))


def _objects(elements: st.SearchStrategy[bytes], shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    count = int(np.prod(shape))

    def build(values: list[bytes]) -> Array:
        array = np.empty(count, dtype=object)
        array[:] = values
        return array.reshape(shape)

    return st.lists(elements, min_size=count, max_size=count).map(build)


def as_json(array: Array) -> Any:
    """Nested lists, BYTES as strings."""
    if array.dtype == object:
        return np.array([one.decode() for one in array.reshape(-1)], dtype=object).reshape(array.shape).tolist()
    return array.tolist()


def same(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
