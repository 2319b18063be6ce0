"""Takes a model that is an ONNX file already: checks it on the samples and writes its manifest."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError

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
    inputs = request.samples.named(names)
    return Export(model, inputs, _run(model, inputs), f"ONNX file {path.name}", columns=request.samples.columns)


def _run(model: onnx.ModelProto, inputs: Arrays) -> Arrays:
    names = [value.name for value in model.graph.output]
    try:
        outputs = checks.session(model.SerializeToString()).run(names, inputs)
    except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
        raise BuildError(f"ONNX Runtime cannot run the model on these samples: {one_line(error)}") from None
    return dict(zip(names, outputs, strict=True))
