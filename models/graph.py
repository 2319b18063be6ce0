"""Operations on ONNX graphs: declare the inputs and outputs of a manifest, rename tensors, drop unused nodes."""

import hashlib
from collections.abc import Iterable

import onnx
from onnx import TensorProto, helper

from models.manifest import Manifest

ELEMENT_TYPES: dict[str, int] = {
    "FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64, "UINT8": TensorProto.UINT8, "BYTES": TensorProto.STRING,
}  # fmt: skip
DATATYPES = {element: datatype for datatype, element in ELEMENT_TYPES.items()}
FREE_DIMENSION = "batch"
MAIN_DOMAIN = ""


def value_info(tensor: Manifest) -> onnx.ValueInfoProto:
    """A graph input or output from its manifest entry. -1 becomes a dynamic dimension; the first is named `batch`."""
    names = [FREE_DIMENSION, *(f"{tensor['name']}_{axis}" for axis in range(1, len(tensor["shape"])))]
    shape = [name if size == -1 else size for name, size in zip(names, tensor["shape"], strict=True)]
    return helper.make_tensor_value_info(tensor["name"], ELEMENT_TYPES[tensor["datatype"]], shape)


def describe(value: onnx.ValueInfoProto) -> Manifest:
    """The manifest entry (name, datatype, shape) of a graph input or output; a dynamic dimension becomes -1."""
    tensor = value.type.tensor_type
    shape = [dimension.dim_value or -1 for dimension in tensor.shape.dim]
    return {"name": value.name, "datatype": DATATYPES[tensor.elem_type], "shape": shape}


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a tensor in the inputs and outputs of all nodes."""
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new


def declare(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Set the graph's inputs and outputs to those of the manifest, in its order, and drop what they do not need."""
    graph = model.graph
    for field, key in ((graph.input, "inputs"), (graph.output, "outputs")):
        del field[:]
        field.extend(value_info(tensor) for tensor in manifest[key])
    drop_unused(graph)
    used = {node.domain for node in graph.node} | {MAIN_DOMAIN}
    # Sorted, because skl2onnx lists them in a different order in each process.
    kept = sorted((opset for opset in model.opset_import if opset.domain in used), key=lambda opset: opset.domain)
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.checker.check_model(model, full_check=True)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes and constants that no output depends on. Does not look into subgraphs."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    constants = [constant for constant in graph.initializer if constant.name in needed]
    _replace(graph.node, reversed(kept))
    _replace(graph.initializer, constants)
    del graph.value_info[:]


def _replace(field: object, values: Iterable[object]) -> None:
    copies = list(values)
    del field[:]  # type: ignore[attr-defined]  # a protobuf list, whose type is private
    field.extend(copies)  # type: ignore[attr-defined]  # as above


def serialised(model: onnx.ModelProto) -> tuple[bytes, str]:
    """The bytes of the ONNX file, deterministic for a given model, and their sha256 (hex)."""
    content = model.SerializeToString(deterministic=True)
    return content, hashlib.sha256(content).hexdigest()
