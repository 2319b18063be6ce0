"""PyTorch to ONNX: a module that a function makes, an exported program (.pt2), or TorchScript (.pt)."""

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
from models.exporters.export import OPSET, Arrays, Export, Request, existing, is_function, made, one_line


def export(request: Request) -> Export:
    """The module in evaluation mode, its first dimension free. BuildError for what PyTorch cannot export."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    loaded = _loaded(request.source)
    program = isinstance(loaded, torch.export.ExportedProgram)
    module = loaded.module() if program else loaded.eval()
    names = _input_names(loaded, request)
    inputs = request.samples.named(names)
    tensors = tuple(torch.from_numpy(array) for array in inputs.values())
    answers = _named(_asked(module, tensors), request.outputs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _exported(loaded, tensors, names, list(answers))
    except Exception as error:  # the exporter raises whatever the module makes it raise
        raise BuildError(f"PyTorch cannot export it: {one_line(error)}") from None
    return Export(model, inputs, answers, f"PyTorch {torch.__version__}", columns=request.samples.columns)


def _loaded(source: str) -> Any:
    if is_function(source):
        module = made(source)
        if not isinstance(module, torch.nn.Module):
            raise BuildError(f"{source}: gave {type(module).__name__}, not a torch.nn.Module")
        return module
    path = existing(source, ".pt2", ".pt")
    try:
        return torch.export.load(path) if path.suffix == ".pt2" else torch.jit.load(path, map_location="cpu")
    except Exception as error:  # a file of weights alone, or no file of PyTorch's at all
        kind = "an exported program" if path.suffix == ".pt2" else "TorchScript"
        raise BuildError(f"{path}: is no {kind}: {one_line(error)}") from None


def _input_names(loaded: Any, request: Request) -> list[str]:
    if isinstance(loaded, torch.export.ExportedProgram):
        return list(loaded.graph_signature.user_inputs)
    if isinstance(loaded, torch.jit.ScriptModule):
        return [one.name for one in loaded.forward.schema.arguments[1:]]
    known = inspect.signature(loaded.forward).parameters.values()
    named = [one for one in known if one.kind is one.POSITIONAL_OR_KEYWORD]
    return [one.name for one in named if one.default is one.empty or one.name in request.samples.arrays]


def _asked(module: Any, tensors: Sequence[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    try:
        with torch.no_grad():
            return _flat(module(*tensors))
    except Exception as error:  # whatever the module makes of samples that do not fit
        raise BuildError(f"PyTorch cannot answer these samples: {one_line(error)}") from None


def _flat(answer: Any) -> list[tuple[str, torch.Tensor]]:
    """Its tensors, with names where the module gives them names."""
    if isinstance(answer, torch.Tensor):
        return [("output", answer)]
    if isinstance(answer, dict):
        return list(answer.items())
    return [(f"output_{index}", one) for index, one in enumerate(answer)]


def _named(answer: Sequence[tuple[str, torch.Tensor]], names: Sequence[str]) -> Arrays:
    if names and len(names) != len(answer):
        raise BuildError(f"{len(names)} names for {len(answer)} outputs")
    return {(names[index] if names else name): one.numpy() for index, (name, one) in enumerate(answer)}


def _exported(loaded: Any, tensors: Any, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    if isinstance(loaded, torch.jit.ScriptModule):
        return _of_script(loaded, tensors, inputs, outputs)
    how: dict[str, Any] = {"input_names": inputs, "output_names": outputs, "opset_version": OPSET}
    if isinstance(loaded, torch.export.ExportedProgram):  # which has decided what is free
        program = torch.onnx.export(loaded, dynamo=True, verbose=False, **how)
    else:
        free = tuple({0: torch.export.Dim.DYNAMIC} for _ in tensors)
        program = torch.onnx.export(loaded, tensors, dynamo=True, dynamic_shapes=free, verbose=False, **how)
    assert program is not None  # since no file was named
    model: onnx.ModelProto = program.model_proto
    return model


def _of_script(loaded: Any, tensors: Any, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """TorchScript cannot go the newer way: there is no Python left to trace."""
    free = {name: {0: "batch"} for name in (*inputs, *outputs)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            loaded, tensors, str(file), dynamo=False, input_names=inputs, output_names=outputs, dynamic_axes=free,
            opset_version=OPSET,
        )  # fmt: skip
        return onnx.load(file)
