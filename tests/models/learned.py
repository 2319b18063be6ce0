"""Models that scikit-learn trains and skl2onnx converts, as users bring them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from onnx import helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, IsolationForest, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from tests.models.case import Array, Case, N, columns, entry, values

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(40, 3)).astype(np.float32)
CLASSES = (ROWS[:, 0] > 0).astype(int) + (ROWS[:, 1] > 0.5)
NAMES = ["a", "b", "c"]
FEATURES = entry("x", "FP32", N, 3, features=columns(*NAMES))
ASK = {"x": ROWS[:4]}


def rows(array: Array, names: list[str] = NAMES) -> list[dict[str, Any]]:
    """The rows of an array by name; NaN is null."""
    plain = [[None if value != value else value for value in row] for row in array.tolist()]
    return [dict(zip(names, row, strict=True)) for row in plain]


def converted(estimator: Any, types: Any, **options: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skl2onnx reads attributes that scikit-learn has deprecated
        made = to_onnx(estimator, initial_types=types, target_opset={"": 18, "ai.onnx.ml": 3}, **options)
    for one in made.graph.node:
        if one.op_type == "StringNormalizer":  # the default, en_US, is not installed everywhere
            one.attribute.append(helper.make_attribute("locale", "C.UTF-8"))
    return bytes(made.SerializeToString())


def classifier(name: str, estimator: Any, inputs: dict[str, Any], ask: Array, kind: Any = FloatTensorType) -> Case:
    """A classifier as skl2onnx writes it: the label first, then the probabilities."""
    labels = [str(one) for one in estimator.classes_]
    outputs = [
        entry("label", "BYTES" if estimator.classes_.dtype.kind in "UO" else "INT64", N),
        entry("probabilities", "FP64" if kind is DoubleTensorType else "FP32", N, len(labels)),
    ]
    model = converted(estimator, [("x", kind([None, ask.shape[1]]))], options={"zipmap": False})
    manifest = {"task": "classification", "labels": labels, "inputs": [inputs], "outputs": outputs}
    return Case(name, model, manifest, {"x": ask}, rows(ask))


def regressor(name: str, estimator: Any, targets: int, inputs: dict[str, Any], ask: Array, kind: Any) -> Case:
    model = converted(estimator, [("x", kind([None, ask.shape[1]]))])
    outputs = [entry("variable", "FP64" if kind is DoubleTensorType else "FP32", N, targets)]
    return Case(name, model, {"task": "regression", "inputs": [inputs], "outputs": outputs}, {"x": ask}, rows(ask))


def learned() -> list[Case]:
    whole = RANDOM.integers(0, 9, (40, 3))
    flags = whole > 4
    with_gaps = ROWS.copy()
    with_gaps[::3, 1] = np.nan
    gaps = {**FEATURES, "missing": True}
    named = np.array(["low", "middle", "high"])[CLASSES]
    logistic = LogisticRegression().fit(ROWS, CLASSES)
    return [
        classifier("sk_logistic", logistic, FEATURES, ROWS[:4]),
        classifier("sk_text_classes", LogisticRegression().fit(ROWS, named), FEATURES, ROWS[:4]),
        classifier("sk_boosting", GradientBoostingClassifier(n_estimators=3).fit(ROWS, CLASSES), FEATURES, ROWS[:4]),
        classifier("sk_tree_with_gaps", DecisionTreeClassifier(max_depth=3).fit(with_gaps, CLASSES), gaps,
                   with_gaps[:4]),
        classifier("sk_imputer", make_pipeline(SimpleImputer(), LogisticRegression()).fit(with_gaps, CLASSES), gaps,
                   with_gaps[:4]),
        classifier("sk_fp64", logistic, {**FEATURES, "datatype": "FP64"}, ROWS[:4].astype(float), DoubleTensorType),
        classifier("sk_int64", LogisticRegression().fit(whole, CLASSES), {**FEATURES, "datatype": "INT64"}, whole[:4],
                   Int64TensorType),
        classifier("sk_bool", LogisticRegression().fit(flags, CLASSES), {**FEATURES, "datatype": "BOOL"}, flags[:4],
                   BooleanTensorType),
        regressor("sk_two_targets", LinearRegression().fit(ROWS, ROWS[:, :2] * 2), 2, FEATURES, ROWS[:4],
                  FloatTensorType),
        regressor("sk_forest", RandomForestRegressor(3, max_depth=3).fit(ROWS, ROWS[:, 0]), 1, FEATURES, ROWS[:4],
                  FloatTensorType),
        clusters(), outliers(), sentences(), mixed(),
    ]  # fmt: skip


def clusters() -> Case:
    model = converted(KMeans(3, n_init=1, random_state=0).fit(ROWS), [("x", FloatTensorType([None, 3]))])
    outputs = [entry("label", "INT64", N), entry("scores", "FP32", N, 3)]
    return Case("sk_clusters", model, {"inputs": [FEATURES], "outputs": outputs}, ASK, rows(ROWS[:4]))


def outliers() -> Case:
    forest = IsolationForest(n_estimators=3, random_state=0).fit(ROWS)
    model = converted(forest, [("x", FloatTensorType([None, 3]))])
    outputs = [entry("label", "INT64", N, 1), entry("scores", "FP32", N, 1)]
    return Case("sk_outliers", model, {"inputs": [FEATURES], "outputs": outputs}, ASK, rows(ROWS[:4]))


def sentences() -> Case:
    """Text in one column, through TF-IDF of words."""
    said = np.array([["good fine day"], ["bad poor day"], ["fine good"], ["poor bad night"]], object)
    steps = make_pipeline(ColumnTransformer([("words", TfidfVectorizer(), 0)]), LogisticRegression())
    fitted = steps.fit(said, ["up", "down", "up", "down"])
    model = converted(fitted, [("x", StringTensorType([None, 1]))], options={"zipmap": False})
    manifest = {
        "task": "classification", "labels": ["down", "up"],
        "inputs": [entry("x", "BYTES", N, 1, features=columns("said"))],
        "outputs": [entry("label", "BYTES", N), entry("probabilities", "FP32", N, 2)],
    }  # fmt: skip
    ask = values("BYTES", "fine day", "bad", "unknown").reshape(3, 1)
    return Case("sk_sentences", model, manifest, {"x": ask}, [{"said": one} for one in ask[:, 0]])


def mixed() -> Case:
    """A table with text and numbers: one input for each column."""
    sex, fare = np.array([["male"], ["female"]] * 20, object), np.arange(40, dtype=np.float32).reshape(40, 1)
    table = np.hstack([sex, fare])
    steps = ColumnTransformer([("sex", OneHotEncoder(), [0]), ("fare", "passthrough", [1])])
    fitted = make_pipeline(steps, LogisticRegression()).fit(table, (sex[:, 0] == "male") & (fare[:, 0] > 9))
    types = [("sex", StringTensorType([None, 1])), ("fare", FloatTensorType([None, 1]))]
    model = converted(fitted, types, options={"zipmap": False})
    manifest = {
        "task": "classification", "labels": ["False", "True"],
        "inputs": [entry("sex", "BYTES", N, 1), entry("fare", "FP32", N, 1)],
        "outputs": [entry("label", "INT64", N), entry("probabilities", "FP32", N, 2)],
        "examples": [{"features": {"sex": "male", "fare": 30}}],
    }  # fmt: skip
    ask = {"sex": values("BYTES", "male", "female").reshape(2, 1), "fare": np.array([[30], [7.5]], np.float32)}
    return Case("sk_mixed", model, manifest, ask, [{"sex": "male", "fare": 30}, {"sex": "female", "fare": 7.5}])
