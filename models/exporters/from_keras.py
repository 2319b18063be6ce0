"""Keras and TensorFlow to ONNX: a .keras file, a SavedModel's folder, or a Keras model that a function makes."""

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
from models.exporters.export import OPSET, Arrays, Export, Request, existing, is_function, made, one_line

SIGNATURE = "serving_default"


def export(request: Request) -> Export:
    """The model's serving signature. BuildError for what cannot be opened or converted."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = _saved(request.source, Path(temporary) / "saved")
        loaded = _loaded(folder)
        if SIGNATURE not in loaded.signatures:
            raise BuildError(f"{request.source}: has no signature {SIGNATURE}, only {sorted(loaded.signatures)}")
        signature = loaded.signatures[SIGNATURE]
        inputs = request.samples.named(sorted(signature.structured_input_signature[1]))
        answers = _asked(signature, inputs)
        model = _converted(folder, Path(temporary) / "model.onnx")
    ordered = {one.name: answers[one.name] for one in model.graph.output}
    framework = f"TensorFlow {tensorflow.__version__}, Keras {keras.__version__}"
    return Export(model, inputs, ordered, framework, columns=request.samples.columns)


def _saved(source: str, folder: Path) -> Path:
    """The folder of a SavedModel; a Keras model is written into `folder` as one."""
    if not is_function(source) and (path := existing(source, ".keras")).is_dir():
        return path
    model = made(source) if is_function(source) else _opened(path)
    if not isinstance(model, keras.Model):
        raise BuildError(f"{source}: gave {type(model).__name__}, not a keras.Model")
    model.export(folder, verbose=False)
    return folder


def _opened(path: Path) -> Any:
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)  # no code out of the file is run
    except Exception as error:  # Keras raises several classes for a file it does not understand or does not trust
        raise BuildError(f"{path}: Keras cannot open it: {one_line(error)}") from None


def _loaded(folder: Path) -> Any:
    try:
        return tensorflow.saved_model.load(str(folder))
    except (OSError, ValueError, tensorflow.errors.OpError) as error:
        raise BuildError(f"{folder}: TensorFlow cannot open it: {one_line(error)}") from None


def _asked(signature: Any, inputs: Arrays) -> Arrays:
    try:
        answers = signature(**{name: tensorflow.constant(array) for name, array in inputs.items()})
    except Exception as error:  # samples that do not fit raise one of TensorFlow's many classes
        raise BuildError(f"TensorFlow cannot answer these samples: {one_line(error)}") from None
    return {name: tensor.numpy() for name, tensor in answers.items()}


def _converted(folder: Path, file: Path) -> onnx.ModelProto:
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(folder), "--output", str(file)]
    command += ["--signature_def", SIGNATURE, "--opset", str(OPSET)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"tf2onnx cannot convert it: {done.stderr.strip().splitlines()[-1][:300]}")
    return onnx.load(file)
