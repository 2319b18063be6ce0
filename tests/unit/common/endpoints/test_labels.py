"""The labels of a classifier are read from its outputs, whatever they are called and in whatever order they stand."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from common.endpoints.labels import most_probable
from common.endpoints.row_answers import RowAnswers
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
        ([LABEL, SHARES], {"output_label": [0], "output_probability": [[0.25, 0.75]]}, ("no", 0.25)),
        ([LABEL, LOGITS], {"output_label": [0], "logits": [[0.0, 2.0]]}, ("no", 0.1192)),
        ([LABEL, SHARES], {"output_label": [7], "output_probability": [[0.25, 0.75]]}, ("yes", 0.75)),
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


@pytest.mark.parametrize(
    ("labels", "spec", "stated", "expected"),
    [
        (["a", "b", "c"], TensorSpec("label", "INT64", (-1,)), [1, 0], [1, 0]),
        (["a", "b", "c"], TensorSpec("label", "INT64", (-1, 1)), [[1], [0]], [1, 0]),
        (["a", "b", "c"], TensorSpec("output_label", "BYTES", (-1,)), [b"b", "a"], [1, 0]),
        (["1", "2", "5"], TensorSpec("classes", "INT64", (-1,)), [5, 2], [2, 1]),
        (["a", "b", "c"], TensorSpec("label", "INT64", (-1,)), [1, 3], [2, 2]),
        (["a", "b", "c"], TensorSpec("label", "BYTES", (-1,)), ["b", "d"], [2, 2]),
        (["a", "b", "c"], TensorSpec("neighbours", "INT64", (-1,)), [1, 0], [2, 2]),
    ],
    ids=["place", "column", "text", "number", "no place", "no label", "another output"],
)
def test_the_models_own_label_comes_before_the_highest_score(
    labels: list[str], spec: TensorSpec, stated: list[Any], expected: list[int]
) -> None:
    answers = RowAnswers([spec, TensorSpec("scores", "FP32", (-1, 3))], labels)
    outputs = {spec.name: np.array(stated, spec.dtype), "scores": np.array([[0.2, 0.3, 0.5]] * 2, np.float32)}
    assert answers.predicted(outputs, outputs["scores"]) == expected


def test_the_label_comes_first_and_the_others_by_their_probability() -> None:
    outputs = {"label": np.array([1]), "scores": np.array([[0.2, 0.3, 0.5]], np.float32)}
    specs = TensorSpec("label", "INT64", (-1,)), TensorSpec("scores", "FP32", (-1, 3))
    assert [label for label, _ in most_probable(model(["a", "b", "c"], *specs), outputs, 3)] == ["b", "c", "a"]


def test_a_model_without_a_score_for_each_label_is_named() -> None:
    with pytest.raises(NotFound, match="no output with a score for each label"):
        most_probable(model(["no", "yes"], LABEL), {"output_label": np.array([1])}, 1)
