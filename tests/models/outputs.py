"""Models whose outputs /predict, :classify and :regress have to tell apart: their order, their shape, their number."""

from __future__ import annotations

import numpy as np

from tests.models.case import Case, N, case, columns, entry, node

PAIR = columns("a", "b")
ASK = {"x": np.array([[1, 2], [-3, 0.5]], np.float32)}
ROWS = [{"a": 1, "b": 2}, {"a": -3, "b": 0.5}]
CLASSIFIER = {"task": "classification", "labels": ["no", "yes"], "rows": ROWS}
REGRESSOR = {"task": "regression", "rows": ROWS}
LABEL = node("ArgMax", "p", "label", axis=1, keepdims=0)
SOFTMAX = node("Softmax", "x", "p", axis=1)


def tabular(name: str, nodes: list[object], outputs: list[dict[str, object]], **rest: object) -> Case:
    return case(name, nodes, [entry("x", "FP32", N, 2, features=PAIR)], outputs, ASK, **rest)


def classifiers() -> list[Case]:
    scores, label = entry("p", "FP32", N, 2), entry("label", "INT64", N)
    one = [node("MatMul", "x w", "xw"), node("Sigmoid", "xw", "p")]
    vector = [*one[:1], node("Sigmoid", "xw", "pp"), node("Squeeze", "pp one", "p")]
    weights = {"constants": {"w": np.array([[0.5], [0.25]], np.float32), "one": np.array([1])}}
    half = [node("Softmax", "x", "p32", axis=1), node("Cast", "p32", "p", to=10)]
    double = [node("Cast", "x", "d", to=11), node("Softmax", "d", "p", axis=1)]
    named = {"keys_int64s": [0, 1], "values_strings": ["no", "yes"], "default_string": "", "domain": "ai.onnx.ml"}
    return [
        tabular("scores_first", [SOFTMAX, LABEL], [scores, label], **CLASSIFIER),
        tabular("label_first", [SOFTMAX, LABEL], [label, scores], **CLASSIFIER),
        tabular("label_not_the_highest", [SOFTMAX, node("ArgMin", "p", "label", axis=1, keepdims=0)], [label, scores],
                **CLASSIFIER),
        tabular("one_sigmoid", one, [entry("p", "FP32", N, 1)], **CLASSIFIER, **weights),
        tabular("one_sigmoid_vector", vector, [entry("p", "FP32", N)], **CLASSIFIER, **weights),
        tabular("scores_fp64", double, [entry("p", "FP64", N, 2)], **CLASSIFIER),
        tabular("scores_fp16", half, [entry("p", "FP16", N, 2)], **CLASSIFIER),
        tabular("scores_unlabelled", [SOFTMAX], [scores], task="classification", rows=ROWS),
        tabular("label_only", [SOFTMAX, LABEL], [label], task="classification", rows=ROWS),
        tabular(
            "label_as_text", [SOFTMAX, node("ArgMax", "p", "at", axis=1, keepdims=0),
                              node("LabelEncoder", "at", "label", **named)],
            [entry("label", "BYTES", N)], task="classification", rows=ROWS,
        ),
    ]  # fmt: skip


def regressors() -> list[Case]:
    bounded = [{"name": "a", "maximum": 1.0}, {"name": "b", "minimum": 0.0}]
    total = [node("ReduceSum", "x one", "y", keepdims=0)]
    one = {"constants": {"one": np.array([1])}}
    return [
        tabular("two_targets", [node("Neg", "x", "y")], [entry("y", "FP32", N, 2)], **REGRESSOR),
        tabular("one_value", total, [entry("y", "FP32", N)], **REGRESSOR, **one),
        tabular(
            "rank_3_output", [node("Unsqueeze", "x one", "y")], [entry("y", "FP32", N, 1, 2)], **REGRESSOR, **one
        ),
        tabular("whole_batch", [node("ReduceSum", "x", "y", keepdims=0)], [entry("y", "FP32")], task="regression"),
        case("one_sided_ranges", total, [entry("x", "FP32", N, 2, features=bounded)], [entry("y", "FP32", N)],
             ASK, **REGRESSOR, **one),
        tabular("overflow", [node("Mul", "x big", "y")], [entry("y", "FP32", N, 2)], **REGRESSOR,
                constants={"big": np.float32(3e38)}),
    ]  # fmt: skip
