"""The labels of a classifier are read from its outputs, whatever they are called and in whatever order they stand."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.endpoints.labels import most_probable
from common.errors import NotFound
from common.protocol.tensors import TensorSpec


def model(labels: list[str], *outputs: TensorSpec) -> Any:
    return SimpleNamespace(name="m", outputs=list(outputs), properties={"labels": json.dumps(labels)})


SHARES = TensorSpec("output_probability", "FP32", (-1, 2))
LABEL = TensorSpec("output_label", "INT64", (-1,))
SIGMOID = TensorSpec("score", "FP32", (-1, 1))
LOGITS = TensorSpec("logits", "FP32", (-1, 2))


@pytest.mark.parametrize(
    ("outputs", "values", "expected"),
    [
        ([SHARES], {"output_probability": [[0.01, 0.99]]}, ("yes", 0.99)),
        ([LABEL, SHARES], {"output_label": [1], "output_probability": [[0.25, 0.75]]}, ("yes", 0.75)),
        ([SIGMOID], {"score": [[0.95]]}, ("yes", 0.95)),
        ([SIGMOID], {"score": [[0.1]]}, ("no", 0.9)),
        ([LOGITS], {"logits": [[0.0, 2.0]]}, ("yes", 0.8808)),
    ],
)
def test_the_best_label_has_its_probability(outputs: list[TensorSpec], values: dict[str, Any], expected: Any) -> None:
    arrays = {
        spec.name: np.array(values[spec.name], np.float32 if spec.datatype == "FP32" else np.int64) for spec in outputs
    }
    label, probability = most_probable(model(["no", "yes"], *outputs), arrays, 1)[0]
    assert label == expected[0]
    assert probability == pytest.approx(expected[1], abs=1e-3)


def test_a_model_without_a_score_for_each_label_is_named() -> None:
    with pytest.raises(NotFound, match="no output with a score for each label"):
        most_probable(model(["no", "yes"], LABEL), {"output_label": np.array([1])}, 1)
