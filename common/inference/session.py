"""ONNX Runtime sessions: a model file is opened and checked against its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import onnxruntime as ort

from common.inference.graph_facts import GraphFacts, read_facts
from common.inference.manifest import WHEN_MISSING, Manifest, ModelLoadError, one_line, read_manifest
from common.protocol.tensors import Array, TensorSpec

_DATATYPE = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16", "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64", "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
}  # fmt: skip


class Session(Protocol):
    """Runs a model: takes arrays by input name, returns arrays in the manifest's order. Any thread may call it."""

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]: ...


class OnnxSession:
    """ONNX Runtime on the CPU. `facts` are what its file states beyond what ONNX Runtime tells."""

    def __init__(self, path: Path, manifest: Manifest, threads: int, facts: GraphFacts | None = None) -> None:
        self.facts = facts
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what fails raises an exception; ONNX Runtime would also write it to stderr
        # a thread that spins while it waits for work would take processor time from the event loop
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
            raise ModelLoadError(f"{path}: ONNX Runtime cannot open it: {one_line(error)}") from None
        with_default = {node.name: node for node in self._session.get_overridable_initializers()}
        required = {node.name: node for node in self._session.get_inputs()}
        inputs, outputs = manifest.input_specs(), manifest.output_specs()
        self._check("input", {**with_default, **required}, inputs, path)
        self._check("output", {node.name: node for node in self._session.get_outputs()}, outputs, path)
        _check_optional(inputs, required, with_default, path)
        self._outputs = [spec.name for spec in outputs]

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        outputs: Sequence[Array] = self._session.run(self._outputs, inputs)
        return outputs

    def _check(self, kind: str, actual: Mapping[str, Any], stated: Sequence[TensorSpec], path: Path) -> None:
        for spec in stated:
            if spec.name not in actual:
                raise ModelLoadError(
                    f"{path}: model.yaml names {kind} {spec.name!r}, but the model has {sorted(actual)}"
                )
            node = actual[spec.name]
            if node.type not in _DATATYPE:
                raise ModelLoadError(f"{path}: {kind} {spec.name!r} is {node.type}, {_not_a_tensor(node.type)}")
            datatype = _DATATYPE[node.type]
            shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
            open_rank = not shape and self.facts is not None and spec.name in self.facts.open_ranks
            if spec.any_rank and not open_rank:
                raise ModelLoadError(
                    f"{path}: model.yaml says `any_rank` for {kind} {spec.name!r}, but its shape is {list(shape)}"
                )
            if datatype != spec.datatype or not (open_rank or _allows(shape, spec.shape)):
                raise ModelLoadError(
                    f"{path}: {kind} {spec.name!r} is {datatype} {list(shape)}, "
                    f"but model.yaml says {spec.datatype} {list(spec.shape)}"
                )


def _check_optional(
    stated: Sequence[TensorSpec], required: Mapping[str, Any], with_default: Mapping[str, Any], path: Path
) -> None:
    """Raises ModelLoadError unless model.yaml states every input without a default, and as what it is."""
    names = {spec.name for spec in stated}
    if unstated := sorted(required.keys() - names):
        raise ModelLoadError(f"{path}: the model needs inputs that model.yaml does not name: {unstated}")
    for spec in stated:
        if spec.optional and spec.name not in with_default:
            raise ModelLoadError(
                f"{path}: model.yaml says `optional` for input {spec.name!r}, but the model has no default for it"
            )


def _not_a_tensor(kind: str) -> str:
    """What to do with an input or output that is a sequence, a map or an optional value."""
    if "map(" in kind:
        return (
            "the output of a ZipMap; export the model with the option zipmap=False, "
            "or run it through `python -m models.exporters onnx`, which removes the ZipMap"
        )
    return "which no protocol here carries; export the model with tensors as inputs and outputs"


def _allows(actual: tuple[int, ...], stated: tuple[int, ...]) -> bool:
    """Whether the model's shape allows all that model.yaml states; -1 is any size."""
    return len(actual) == len(stated) and all(a in (s, -1) for a, s in zip(actual, stated, strict=True))


def open_model(folder: Path, threads: int) -> tuple[Manifest, OnnxSession]:
    """Opens the model in the folder of a version.

    Raises ModelLoadError when a file is missing or not valid, when the sha256 of model.onnx or of a file with its
    weights is not the one in model.yaml, or when the inputs and outputs differ from it.
    """
    manifest = read_manifest(folder / "model.yaml")
    path = folder / "model.onnx"
    _check_sha256(path, manifest.sha256, WHEN_MISSING)
    try:
        facts = read_facts(path)
    except (OSError, ValueError):
        facts = None  # ONNX Runtime says what is wrong with the file
    if facts is not None:
        _check_external(folder, facts.external, manifest.external_data)
    return manifest, OnnxSession(path, manifest, threads, facts)


def _check_external(folder: Path, needed: Iterable[str], stated: Mapping[str, str]) -> None:
    """Raises ModelLoadError unless each file that holds weights outside model.onnx is there, as model.yaml says."""
    for name in sorted(needed):
        if name not in stated:
            raise ModelLoadError(
                f"{folder / 'model.onnx'}: has weights in the file {name!r}, which model.yaml does not name; "
                f"state `external_data: {{{name}: SHA256}}`, or save the model as one file"
            )
    for name, sha256 in stated.items():
        _check_sha256(folder / name, sha256, "it holds weights of model.onnx, so copy it as well")


def _check_sha256(path: Path, stated: str, when_missing: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}; {when_missing}") from None
    if found != stated:
        raise ModelLoadError(
            f"{path}: sha256 is {found[:12]}…, but model.yaml says {stated[:12]}…: the file is incomplete "
            "or belongs to another version; copy all files again"
        )
