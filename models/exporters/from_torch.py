"""Exports PyTorch models: a function that returns a module, an exported program (.pt2), or TorchScript (.pt)."""

from __future__ import annotations

import inspect
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from models.errors import BuildError
from models.exporters.export import (
    OPSET,
    Arrays,
    Export,
    ExportRequest,
    call_factory,
    existing_path,
    is_function,
    one_line,
)


def export(request: ExportRequest) -> Export:
    """Export the module in evaluation mode with a dynamic first dimension. Raises BuildError if PyTorch cannot."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    loaded = _load(request.source)
    program = isinstance(loaded, torch.export.ExportedProgram)
    module = loaded.module() if program else loaded.eval()
    names = _input_names(loaded, request)
    inputs = request.samples.named(names)
    tensors = tuple(torch.from_numpy(array) for array in inputs.values())
    answers = _named(_run(module, tensors), request.outputs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _export(loaded, tensors, names, list(answers))
    except Exception as error:  # the exporter may raise any exception
        raise BuildError(f"PyTorch cannot export the model: {one_line(error)}") from None
    return Export(model, inputs, answers, f"PyTorch {torch.__version__}", columns=request.samples.columns)


def _load(source: str) -> Any:
    if is_function(source):
        module = call_factory(source)
        if not isinstance(module, torch.nn.Module):
            raise BuildError(f"{source}: found {type(module).__name__}, expected a torch.nn.Module")
        return module
    path = existing_path(source, ".pt2", ".pt")
    try:
        return torch.export.load(path) if path.suffix == ".pt2" else torch.jit.load(path, map_location="cpu")
    except Exception as error:  # for example a file of weights only
        kind = "an exported program" if path.suffix == ".pt2" else "TorchScript"
        raise BuildError(f"{path}: cannot be loaded, expected {kind}: {one_line(error)}") from None


def _input_names(loaded: Any, request: ExportRequest) -> list[str]:
    if isinstance(loaded, torch.export.ExportedProgram):
        return list(loaded.graph_signature.user_inputs)
    if isinstance(loaded, torch.jit.ScriptModule):
        return [it.name for it in loaded.forward.schema.arguments[1:]]
    known = inspect.signature(loaded.forward).parameters.values()
    named = [it for it in known if it.kind is it.POSITIONAL_OR_KEYWORD]
    return [it.name for it in named if it.default is it.empty or it.name in request.samples.arrays]


def _run(module: Any, tensors: Sequence[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    try:
        with torch.no_grad():
            return _flat(module(*tensors))
    except Exception as error:  # a module may raise any exception for samples that do not fit
        raise BuildError(f"PyTorch cannot run the model on these samples: {one_line(error)}") from None


def _flat(answer: Any) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a module's output with their names, or generated names if it has none."""
    if isinstance(answer, torch.Tensor):
        return [("output", answer)]
    if isinstance(answer, dict):
        return list(answer.items())
    return [(f"output_{index}", it) for index, it in enumerate(answer)]


def _named(answer: Sequence[tuple[str, torch.Tensor]], names: Sequence[str]) -> Arrays:
    if names and len(names) != len(answer):
        raise BuildError(f"found {len(names)} names in --outputs, expected {len(answer)}, one for each output")
    return {(names[index] if names else name): it.numpy() for index, (name, it) in enumerate(answer)}


def _export(loaded: Any, tensors: Any, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    if isinstance(loaded, torch.jit.ScriptModule):
        return _export_script(loaded, tensors, inputs, outputs)
    how: dict[str, Any] = {"input_names": inputs, "output_names": outputs, "opset_version": OPSET}
    if isinstance(loaded, torch.export.ExportedProgram):  # its dynamic dimensions were chosen when it was exported
        program = torch.onnx.export(loaded, dynamo=True, verbose=False, **how)
    else:
        free = tuple({0: torch.export.Dim.DYNAMIC} for _ in tensors)
        program = torch.onnx.export(loaded, tensors, dynamo=True, dynamic_shapes=free, verbose=False, **how)
    assert program is not None  # None only if a file name is given
    model: onnx.ModelProto = program.model_proto
    return model


def _export_script(loaded: Any, tensors: Any, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """Export TorchScript with the older exporter: the newer one traces Python code, which TorchScript does not have."""
    free = {name: {0: "batch"} for name in (*inputs, *outputs)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            loaded, tensors, str(file), dynamo=False, input_names=inputs, output_names=outputs, dynamic_axes=free,
            opset_version=OPSET,
        )  # fmt: skip
        return onnx.load(file)
