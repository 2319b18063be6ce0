"""Static 8-bit quantisation: signed weights with one scale for each channel, unsigned activations.

The ranges of the activations are calibrated. Dynamic quantisation would make a convolutional network slower than FP32.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    def __init__(self, name: str, batches: Iterable[NDArray[np.float32]]) -> None:
        self.feeds: Iterator[dict[str, NDArray[np.float32]]] = ({name: batch} for batch in batches)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self.feeds, None)


def quantise(
    model: onnx.ModelProto, batches: Iterable[NDArray[np.float32]], in_floats: tuple[str, ...] = ()
) -> onnx.ModelProto:
    """The model with quantise/dequantise nodes (QDQ).

    `batches` are calibration inputs [rows, ...]. Nodes whose name starts with one of `in_floats` stay FP32.
    """
    prepared = onnx.shape_inference.infer_shapes(model)
    # ONNX Runtime requires folded batch normalisation and inferred shapes; the model has both, and this says so.
    add_pre_process_metadata(prepared)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "quantised.onnx"
        quantize_static(
            prepared,
            file,
            _Reader(model.graph.input[0].name, batches),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=[node.name for node in model.graph.node if node.name.startswith(in_floats)],
            # 7-bit weights: with 8 bits, x86 processors without VNNI saturate in their sums and lose accuracy.
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(file)
