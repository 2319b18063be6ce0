"""Converts a scikit-learn estimator to ONNX, and checks that both give the same outputs."""

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

from models import checks, graph
from models.build_api import BuildResult
from models.errors import BuildError
from models.manifest import Manifest

OPSET = 17
TOLERANCE = 1e-5
HELD_OUT = 0.25
SEED = 0
FLOWER_COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


class Estimator(Protocol):
    """The methods of a scikit-learn estimator that are used here."""

    def fit(self, rows: Any, answers: Any) -> Any: ...
    def predict(self, rows: Any) -> Any: ...


@dataclass(frozen=True)
class Dataset:
    """A data set: rows [n, columns] FP32, their true answers [n], and which rows are held out for the test."""

    rows: NDArray[np.float32]
    answers: NDArray[Any]
    held_out: NDArray[np.bool_]

    @property
    def training(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        return self.rows[~self.held_out], self.answers[~self.held_out]

    @property
    def test(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        return self.rows[self.held_out], self.answers[self.held_out]


def iris_dataset(target: str = "species") -> Dataset:
    """Fisher's 150 irises, a stratified quarter held out.

    `target` is "species" (0..2) or one of FLOWER_COLUMNS, which then is not a column of the rows.
    """
    measurements, species = load_iris(return_X_y=True)
    held_out = np.zeros(len(species), dtype=np.bool_)
    numbers = np.arange(len(species))
    held_out[train_test_split(numbers, test_size=HELD_OUT, random_state=SEED, stratify=species)[1]] = True
    rows = measurements.astype(np.float32)
    if target == "species":
        return Dataset(rows, species, held_out)
    column = FLOWER_COLUMNS.index(target)
    return Dataset(np.delete(rows, column, axis=1), measurements[:, column], held_out)


def classifier(estimator: Any, dataset: Dataset, manifest: Manifest) -> BuildResult:
    """Fit, convert and compare a classifier. Its outputs are the probabilities and the index of the greatest."""
    estimator.fit(*dataset.training)
    return fitted_classifier(estimator, dataset, manifest)


def fitted_classifier(estimator: Any, dataset: Dataset, manifest: Manifest) -> BuildResult:
    """As `classifier`, for an estimator that is already fitted, possibly on rows that the dataset does not hold."""
    model = _converted(estimator, manifest, {"zipmap": False})
    _label_by_argmax(model.graph, *(output["name"] for output in manifest["outputs"]))
    graph.declare(model, manifest)
    _require_agreement(model, estimator.predict_proba(dataset.rows), dataset.rows)
    rows, answers = dataset.test
    metrics = {"accuracy": _rounded(np.mean(estimator.predict(rows) == answers)), "rows": len(rows)}
    return _result(model, dataset, manifest, metrics)


def regressor(estimator: Any, dataset: Dataset, manifest: Manifest) -> BuildResult:
    """Fit, convert and compare a regressor. Its output is [rows, 1]."""
    estimator.fit(*dataset.training)
    model = _converted(estimator, manifest, {})
    graph.rename(model.graph, model.graph.output[0].name, manifest["outputs"][0]["name"])
    graph.declare(model, manifest)
    _require_agreement(model, estimator.predict(dataset.rows).reshape(-1, 1), dataset.rows)
    rows, answers = dataset.test
    error = np.abs(estimator.predict(rows) - answers)
    r2 = 1 - np.square(error).sum() / np.square(answers - answers.mean()).sum()
    metrics = {"r2": _rounded(r2), "mean_absolute_error": _rounded(error.mean()), "rows": len(rows)}
    return _result(model, dataset, manifest, metrics)


def _converted(estimator: Any, manifest: Manifest, options: dict[str, Any]) -> onnx.ModelProto:
    (features,) = manifest["inputs"]
    types = [(features["name"], FloatTensorType([None, features["shape"][1]]))]
    with warnings.catch_warnings():
        # skl2onnx 1.20 reads probA_ and probB_ of an SVC, which scikit-learn 1.9 has deprecated.
        warnings.filterwarnings("ignore", r"Attribute `prob[AB]_` was deprecated", FutureWarning)
        model: onnx.ModelProto = to_onnx(estimator, initial_types=types, options=options, target_opset=OPSET)
    return model


def _label_by_argmax(nodes: onnx.GraphProto, probabilities: str, label: str) -> None:
    """Compute the label as the argmax of the probabilities; the classes are 0, 1, 2, so no look-up is needed."""
    graph.rename(nodes, "label", "label_by_class_list")
    nodes.node.append(helper.make_node("ArgMax", [probabilities], [label], name=label, axis=1, keepdims=0))


def _require_agreement(model: onnx.ModelProto, expected: NDArray[Any], rows: NDArray[np.float32]) -> None:
    actual = checks.answers(checks.session(model.SerializeToString()), rows)
    difference = float(np.abs(actual - expected).max())
    if not difference <= TOLERANCE:
        raise BuildError(
            f"the outputs of ONNX Runtime and scikit-learn differ by {difference:.2g}, expected at most {TOLERANCE:.0e}"
        )


def _result(model: onnx.ModelProto, dataset: Dataset, manifest: Manifest, metrics: dict[str, Any]) -> BuildResult:
    _require_real_examples(dataset, manifest)
    return BuildResult(
        model, dataset.rows, {"inputs": _with_ranges(dataset, manifest["inputs"][0]), "metrics": metrics}
    )


def _with_ranges(dataset: Dataset, tensor: Manifest) -> list[Manifest]:
    """The input's manifest entry with the range of each named feature in the training rows."""
    if "features" not in tensor:
        return [tensor]
    training, _ = dataset.training
    columns = zip(tensor["features"], training.min(axis=0), training.max(axis=0), strict=True)
    features = [
        {"name": it["name"], "unit": it.get("unit", ""), "minimum": _rounded(low), "maximum": _rounded(high)} | it
        for it, low, high in columns
    ]
    return [tensor | {"features": features}]


def _require_real_examples(dataset: Dataset, manifest: Manifest) -> None:
    examples = [it for it in manifest["examples"] if "features" in it]
    if not examples:
        return
    labels = manifest.get("labels")
    truth = [labels[answer] for answer in dataset.answers] if labels else [float(answer) for answer in dataset.answers]
    known = {(tuple(map(_rounded, row)), answer) for row, answer in zip(dataset.rows, truth, strict=True)}
    for example in examples:
        if (tuple(example["features"]), example["answer"]) not in known:
            raise BuildError(f"{manifest['name']}: example {example} is not in the data set; correct it in model.yaml")


def _rounded(number: Any) -> float:
    return round(float(number), 4)
