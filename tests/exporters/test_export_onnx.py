"""An ONNX file gets a manifest and is published unchanged, or is refused with one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.exporters.exporting import LoadedExport, exported, refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds double.onnx, whose output is twice its input [batch, 2] FP32, and samples for it."""
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", 2])
    doubled = helper.make_tensor_value_info("doubled", TensorProto.FLOAT, ["batch", 2])
    nodes = [helper.make_node("Add", ["rows", "rows"], ["doubled"])]
    graph = helper.make_graph(nodes, "double", [rows], [doubled])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "double.onnx")
    np.savez(tmp_path / "rows.npz", rows=np.arange(6, dtype=np.float32).reshape(3, 2))
    np.savez(tmp_path / "doubled.npz", doubled=2 * np.arange(6, dtype=np.float32).reshape(3, 2))
    (tmp_path / "broken.onnx").write_bytes(b"PK")
    return tmp_path


def test_an_onnx_file_is_published_with_a_manifest(folder: Path) -> None:
    model = LoadedExport(exported(folder, "onnx", "double.onnx", "double", "rows.npz"))
    assert model.matches(folder / "rows.npz", folder / "doubled.npz")
    assert model.manifest.source["weights"] == "exported from ONNX file double.onnx"
    assert model.manifest.batching is not None


@pytest.mark.parametrize(
    ("source", "samples", "reason"),
    [
        ("broken.onnx", "rows.npz", "broken.onnx: cannot be loaded, expected an ONNX file"),
        ("missing.onnx", "rows.npz", "missing.onnx: no such file or folder"),
        ("rows.npz", "rows.npz", "found the suffix '.npz', expected .onnx"),
        ("double.onnx", "doubled.npz", "--samples has the inputs ['doubled'], expected ['rows']"),
    ],
)
def test_an_invalid_model_is_refused_with_one_line(folder: Path, source: str, samples: str, reason: str) -> None:
    assert reason in refused(folder, "onnx", source, "wrong", samples)
