"""Exports Keras and TensorFlow models: a .keras file, a SavedModel folder, or a function that returns a Keras model."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import onnx
import tensorflow

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

SIGNATURE = "serving_default"


def export(request: ExportRequest) -> Export:
    """Export the signature `serving_default`. Raises BuildError if the model cannot be loaded, run or converted."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = _saved_model(request.source, Path(temporary) / "saved")
        loaded = _load_saved_model(folder)
        if SIGNATURE not in loaded.signatures:
            raise BuildError(
                f"{request.source}: found the signatures {sorted(loaded.signatures)}, expected {SIGNATURE}"
            )
        signature = loaded.signatures[SIGNATURE]
        inputs = request.samples.named(sorted(signature.structured_input_signature[1]))
        answers = _run(signature, inputs)
        model = _convert(folder, Path(temporary) / "model.onnx")
    ordered = {it.name: answers[it.name] for it in model.graph.output}
    framework = f"TensorFlow {tensorflow.__version__}, Keras {keras.__version__}"
    return Export(model, inputs, ordered, framework, columns=request.samples.columns)


def _saved_model(source: str, folder: Path) -> Path:
    """The SavedModel folder that `source` names. A Keras model is saved to `folder` first."""
    if not is_function(source) and (path := existing_path(source, ".keras")).is_dir():
        return path
    model = call_factory(source) if is_function(source) else _load_keras(path)
    if not isinstance(model, keras.Model):
        raise BuildError(f"{source}: found {type(model).__name__}, expected a keras.Model")
    model.export(folder, verbose=False)
    return folder


def _load_keras(path: Path) -> Any:
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)  # safe_mode runs no code from the file
    except Exception as error:  # Keras raises several classes for a file that is invalid or unsafe
        raise BuildError(f"{path}: Keras cannot load it: {one_line(error)}") from None


def _load_saved_model(folder: Path) -> Any:
    try:
        return tensorflow.saved_model.load(str(folder))
    except (OSError, ValueError, tensorflow.errors.OpError) as error:
        raise BuildError(f"{folder}: TensorFlow cannot load it: {one_line(error)}") from None


def _run(signature: Any, inputs: Arrays) -> Arrays:
    try:
        answers = signature(**{name: tensorflow.constant(array) for name, array in inputs.items()})
    except Exception as error:  # TensorFlow raises several classes for samples that do not fit
        raise BuildError(f"TensorFlow cannot run the model on these samples: {one_line(error)}") from None
    return {name: tensor.numpy() for name, tensor in answers.items()}


def _convert(folder: Path, file: Path) -> onnx.ModelProto:
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(folder), "--output", str(file)]
    command += ["--signature_def", SIGNATURE, "--opset", str(OPSET)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"tf2onnx cannot convert the model: {done.stderr.strip().splitlines()[-1][:300]}")
    return onnx.load(file)
