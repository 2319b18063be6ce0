"""The examples of a manifest as inputs of the model: for the probes of the warm-up and for the API documentation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from common.inference.manifest import Manifest, ModelLoadError, one_line
from common.protocol.rows import columns_of, rows_to_inputs
from common.protocol.tensors import Array, TensorSpec, fits

MAX_DOCUMENTED = 64  # values of an example in the API documentation


def example_inputs(manifest: Manifest) -> list[dict[str, Array]]:
    """The inputs of each example that has `features` or `inputs`.

    Raises ModelLoadError for an example that the model cannot take.
    """
    found = []
    for index, example in enumerate(manifest.examples):
        try:
            inputs = _inputs(manifest.input_specs(), example)
            for spec in manifest.input_specs():
                if inputs is not None and spec.name in inputs:
                    spec.check(inputs[spec.name], f"input {spec.name!r}")
        except Exception as error:  # numpy raises several unrelated classes for values that are no numbers
            raise ModelLoadError(f"model.yaml: examples[{index}]: {one_line(error, 300)}") from None
        if inputs is not None:
            found.append(inputs)
    return found


def _inputs(specs: list[TensorSpec], example: dict[str, Any]) -> dict[str, Array] | None:
    """The inputs of one example; None for one with neither `inputs` nor `features`."""
    if isinstance(given := example.get("inputs"), dict):
        required = {spec.name for spec in specs if not spec.optional}
        if not required <= given.keys() <= {spec.name for spec in specs}:
            raise ValueError(f"inputs: expected {sorted(required)}, got {sorted(given)}")
        return {spec.name: _tensor(given[spec.name], spec) for spec in specs if spec.name in given}
    given, columns = example.get("features"), columns_of(specs)
    if given is None:
        return None
    if columns:
        names = [column.name for column in columns]
        if isinstance(given, list) and len(given) != len(names):
            raise ValueError(f"features: expected {len(names)} values, got {len(given)}")
        row = given if isinstance(given, dict) else dict(zip(names, given, strict=True))
        return rows_to_inputs([row], columns, "rows", count=1)
    if len(specs) != 1:
        raise ValueError("features: the inputs have no named columns; give `inputs`, tensors by name")
    return {specs[0].name: _tensor(given, specs[0])}


def _tensor(values: Any, spec: TensorSpec) -> Array:
    """A nested list as a tensor; a flat one takes the shape of the input, with one row."""
    array = np.array(values, dtype=object)
    if array.size and spec.datatype != "BYTES" and spec.dtype.kind != "f":
        array = np.array(values, dtype=spec.dtype)  # raises OverflowError for a value out of range
    elif spec.dtype.kind == "f":
        array = np.array(values, dtype=spec.dtype)
    if not fits(spec.shape, array.shape) and not spec.any_rank:
        array = array.reshape([1 if size == -1 else size for size in spec.shape])
    return array


def example_request(manifest: Manifest) -> dict[str, Any]:
    """A valid inference request, made of the first example or of zeros; empty when it would be too long to show."""
    examples = example_inputs(manifest)
    given = examples[0] if examples else {}
    inputs = []
    for spec in manifest.input_specs():
        array = given.get(spec.name)
        if array is None and (spec.datatype in ("BYTES", "FP16") or spec.optional):
            if spec.optional:
                continue
            return {}
        shape = [1 if size == -1 else size for size in spec.shape] if array is None else list(array.shape)
        count = math.prod(shape)
        if count > MAX_DOCUMENTED or spec.datatype == "FP16":
            return {}
        data = _json(array) if array is not None else [False if spec.datatype == "BOOL" else 0] * count
        inputs.append({"name": spec.name, "shape": shape, "datatype": spec.datatype, "data": data})
    return {"inputs": inputs}


def _json(array: Array) -> list[Any]:
    """The values of a tensor in JSON; NaN is null. FP32 is written as short as it reads back."""
    flat = array.reshape(-1)
    if array.dtype.kind != "f":
        return flat.tolist()
    return [None if np.isnan(one) else float(str(one)) for one in flat]
