"""Takes a model that is an ONNX file already: checks it on the samples and writes its manifest."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper

from models import checks
from models.errors import BuildError
from models.exporters.export import Arrays, Export, ExportRequest, existing_path, one_line


def export(request: ExportRequest) -> Export:
    """Load the file and run it on the samples. Raises BuildError if ONNX Runtime cannot load or run it."""
    path = existing_path(request.source, ".onnx")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise BuildError(f"{path}: cannot be loaded, expected an ONNX file: {one_line(error)}") from None
    constants = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in constants]
    metadata = without_zipmap(model)
    values = {value.name: value for value in model.graph.input}
    inputs = {name: _cast(array, values[name]) for name, array in request.samples.named(names).items()}
    expected = _run(model, inputs)
    return Export(model, inputs, expected, f"ONNX file {path.name}", metadata, request.samples.columns)


def without_zipmap(model: onnx.ModelProto) -> dict[str, Any]:
    """Removes the ZipMap at the end of a classifier, whose output no protocol carries. Returns task and labels."""
    for node in model.graph.node:
        if node.op_type != "ZipMap":
            continue
        classes = [one for one in node.attribute if one.name.startswith("classlabels_")]
        labels = [
            one.decode() if isinstance(one, bytes) else str(one) for it in classes for one in (*it.ints, *it.strings)
        ]
        (output,) = [one for one in model.graph.output if one.name == node.output[0]]
        shape = ["batch", len(labels)]
        output.CopyFrom(helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, shape))
        replacement = helper.make_node("Identity", [node.input[0]], [node.output[0]])
        node.CopyFrom(replacement)
        return {"task": "classification", "labels": labels}
    return {}


def _cast(array: NDArray[Any], value: onnx.ValueInfoProto) -> NDArray[Any]:
    """Samples from a table in the datatype and the rank of an input. Raises BuildError where a value would change."""
    tensor = value.type.tensor_type
    if tensor.HasField("shape") and len(tensor.shape.dim) == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind not in "fiub":
        return array
    if tensor.elem_type == onnx.TensorProto.STRING:
        return array.astype(str).astype(object)
    dtype: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    with np.errstate(invalid="ignore"):
        cast = array.astype(dtype)
    if array.dtype != dtype and not np.array_equal(cast, array, equal_nan=array.dtype.kind == "f"):
        raise BuildError(f"--samples: values of {value.name!r} do not fit in {dtype}, which the model takes")
    return cast


def _run(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    names = [value.name for value in model.graph.output]
    try:
        outputs = checks.session(model.SerializeToString()).run(names, inputs)
    except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
        raise BuildError(f"ONNX Runtime cannot run the model on these samples: {one_line(error)}") from None
    return dict(zip(names, outputs, strict=True))
