"""Exports a trained model to ONNX so that any pattern can serve it: `python -m models.exporters --help`."""
