"""The warnings of /predict: a value at the edge of the training data is inside it, whatever the input's datatype."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from common.inference.manifest import Manifest
from patterns.web_single.columns import Columns


def columns(datatype: str, minimum: float, maximum: float) -> Columns:
    feature = {"name": "a", "minimum": minimum, "maximum": maximum}
    manifest: dict[str, Any] = {
        "name": "m", "version": "1", "task": "regression", "sha256": "0" * 64,
        "inputs": [{"name": "x", "datatype": datatype, "shape": [-1, 1], "features": [feature]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    }  # fmt: skip
    return Columns(Manifest.model_validate(manifest))


@pytest.mark.parametrize(
    ("datatype", "minimum", "maximum", "inside", "outside"),
    [
        ("FP16", 0.1, 0.7, [0.1, 0.7], [0.0999, 0.701]),
        ("FP32", 0.1, 0.7, [0.1, 0.7], [0.0999999, 0.7000001]),
        ("FP64", 0.1, 0.7, [0.1, 0.7], [0.09999999999, 0.7000000001]),
        ("INT64", 16_777_217, 16_777_219, [16_777_217, 16_777_219], [16_777_216, 16_777_220]),
        ("FP32", -1e39, 1e39, [3e38, -3e38], []),
    ],
)
def test_a_value_at_the_edge_of_its_range_is_inside(
    datatype: str, minimum: float, maximum: float, inside: list[float], outside: list[float]
) -> None:
    known = columns(datatype, minimum, maximum)
    given = [*inside, *outside]
    inputs = known.inputs(json.dumps({"instances": [{"a": value} for value in given]}).encode(), 10)
    predictions = known.predictions({"y": np.zeros(len(given), np.float32)}, inputs)
    assert ["warnings" in one for one in predictions] == [False] * len(inside) + [True] * len(outside)
