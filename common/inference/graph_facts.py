"""What the services need to know of an ONNX file beyond what ONNX Runtime tells: its operators and its other files.

The file is read in protobuf's wire format, field by field, since the library `onnx` is not in the images that serve.
Weights are skipped, not copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# field numbers of onnx.proto
_GRAPH, _FUNCTIONS = 7, 25  # ModelProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 1, 5, 11, 12, 15  # GraphProto
_NODE_INPUT, _NODE_OUTPUT, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7  # NodeProto
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 5, 6, 11  # AttributeProto
_TENSOR_NAME, _EXTERNAL = 8, 13  # TensorProto
_KEY, _VALUE = 1, 2  # StringStringEntryProto
_VALUE_NAME, _VALUE_TYPE, _TENSOR_TYPE, _SHAPE = 1, 2, 1, 2  # ValueInfoProto, TypeProto, TypeProto.Tensor
_MAX_DEPTH = 100  # of subgraphs

Message = memoryview


class Operator(NamedTuple):
    """A node: its operator, with the domain in front unless it is ONNX's own, and the names of its tensors."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """The nodes of a graph and of its subgraphs, the tensors whose values no request can change, and more.

    `external` are the files that hold weights outside model.onnx. `open_ranks` are the inputs and outputs whose number
    of dimensions the graph does not state.
    """

    nodes: tuple[Operator, ...]
    constants: frozenset[str]
    external: frozenset[str]
    open_ranks: frozenset[str]
    functions: bool


def read_facts(path: Path) -> GraphFacts:
    """Reads a file that ONNX Runtime can open. Raises ValueError when it is not valid, OSError."""
    with path.open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        return _Reader().read(view)
    except IndexError:
        raise ValueError("the file ends within a field") from None


class _Reader:
    """Collects the facts while it reads."""

    def __init__(self) -> None:
        self._nodes: list[Operator] = []
        self._constants: set[str] = set()
        self._external: set[str] = set()
        self._open_ranks: set[str] = set()

    def read(self, model: Message) -> GraphFacts:
        functions = False
        inputs: set[str] = set()
        for field, value in _fields(model):
            if field == _GRAPH:
                inputs = self._graph(value, 0)
            functions = functions or field == _FUNCTIONS
        constants = frozenset(self._constants - inputs)  # a caller can override an initializer that is an input
        return GraphFacts(
            tuple(self._nodes), constants, frozenset(self._external), frozenset(self._open_ranks), functions
        )

    def _graph(self, graph: Message, depth: int) -> set[str]:
        """Reads a graph. Returns the names of its inputs."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"it has more than {_MAX_DEPTH} graphs within each other")
        inputs: set[str] = set()
        for field, value in _fields(graph):
            if field == _NODE:
                self._node(value, depth)
            elif field == _INITIALIZER:
                self._constants.add(self._tensor(value))
            elif field == _SPARSE:
                for part, tensor in _fields(value):
                    if part in (1, 2):  # values and indices
                        self._tensor(tensor)
            elif field in (_INPUT, _OUTPUT):
                name = self._value(value, depth)
                if field == _INPUT:
                    inputs.add(name)
        return inputs

    def _node(self, node: Message, depth: int) -> None:
        kind, domain = "", ""
        inputs: list[str] = []
        outputs: list[str] = []
        for field, value in _fields(node):
            if field == _OPERATOR:
                kind = _text(value)
            elif field == _DOMAIN:
                domain = _text(value)
            elif field == _NODE_INPUT:
                inputs.append(_text(value))
            elif field == _NODE_OUTPUT:
                outputs.append(_text(value))
            elif field == _ATTRIBUTE:
                self._attribute(value, depth)
        kind = kind if domain in ("", "ai.onnx") else f"{domain}:{kind}"
        if kind == "Constant":
            self._constants.update(outputs)
        self._nodes.append(Operator(kind, tuple(inputs), tuple(outputs)))

    def _attribute(self, attribute: Message, depth: int) -> None:
        for field, value in _fields(attribute):
            if field in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                self._graph(value, depth + 1)
            elif field == _ATTRIBUTE_TENSOR:
                self._tensor(value)

    def _tensor(self, tensor: Message) -> str:
        """Reads a tensor without its values. Returns its name."""
        name = ""
        for field, value in _fields(tensor):
            if field == _TENSOR_NAME:
                name = _text(value)
            elif field == _EXTERNAL:
                entry = {part: _text(text) for part, text in _fields(value)}
                if entry.get(_KEY) == "location":
                    self._external.add(entry.get(_VALUE, ""))
        return name

    def _value(self, value: Message, depth: int) -> str:
        """Reads the description of an input or output. Returns its name."""
        name, has_shape = "", True
        for field, part in _fields(value):
            if field == _VALUE_NAME:
                name = _text(part)
            elif field == _VALUE_TYPE:
                for kind, tensor in _fields(part):
                    if kind == _TENSOR_TYPE:
                        has_shape = any(one == _SHAPE for one, _ in _fields(tensor))
        if not has_shape and not depth:
            self._open_ranks.add(name)
        return name


def _fields(message: Message) -> Iterator[tuple[int, Message]]:
    """The number and the bytes of each field. Numbers of fixed or variable length have no bytes here."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(message, at)
            if size > end - at:
                raise ValueError("the file ends within a field")
            yield tag >> 3, message[at : at + size]
            at += size
        elif kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field has the unknown wire type {kind}")


def _varint(message: Message, at: int) -> tuple[int, int]:
    """A number of variable length, and the position after it."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than ten bytes")


def _text(value: Message) -> str:
    return bytes(value).decode(errors="replace")
