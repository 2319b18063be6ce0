"""From a scikit-learn estimator to an ONNX graph that gives the same answers, and proof that it does."""

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
from models.errors import BuildError
from models.manifest import Manifest
from models.recipe import Product

OPSET = 17
AGREEMENT = 1e-5
HELD_OUT = 0.25
SEED = 0
FLOWER_COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


class Estimator(Protocol):
    """The part of scikit-learn's interface that is used here."""

    def fit(self, rows: Any, answers: Any) -> Any: ...
    def predict(self, rows: Any) -> Any: ...


@dataclass(frozen=True)
class Table:
    """Rows [n, columns] FP32 with their true answers [n], a stratified quarter of them held out."""

    rows: NDArray[np.float32]
    answers: NDArray[Any]
    held_out: NDArray[np.bool_]

    @property
    def training(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        return self.rows[~self.held_out], self.answers[~self.held_out]

    @property
    def test(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        return self.rows[self.held_out], self.answers[self.held_out]


def iris_table(target: str = "species") -> Table:
    """Fisher's 150 flowers; the target is the species (0..2) or one of FLOWER_COLUMNS, then no input."""
    measurements, species = load_iris(return_X_y=True)
    held_out = np.zeros(len(species), dtype=np.bool_)
    numbers = np.arange(len(species))
    held_out[train_test_split(numbers, test_size=HELD_OUT, random_state=SEED, stratify=species)[1]] = True
    rows = measurements.astype(np.float32)
    if target == "species":
        return Table(rows, species, held_out)
    column = FLOWER_COLUMNS.index(target)
    return Table(np.delete(rows, column, axis=1), measurements[:, column], held_out)


def classifier(estimator: Any, table: Table, manifest: Manifest) -> Product:
    """Fit, convert, compare; outputs are the probabilities and the index of the most probable class."""
    estimator.fit(*table.training)
    return fitted_classifier(estimator, table, manifest)


def fitted_classifier(estimator: Any, table: Table, manifest: Manifest) -> Product:
    """The same for one that is fitted already, perhaps on rows that the table does not hold."""
    model = _converted(estimator, manifest, {"zipmap": False})
    _label_by_argmax(model.graph, *(output["name"] for output in manifest["outputs"]))
    graph.declare(model, manifest)
    _require_agreement(model, estimator.predict_proba(table.rows), table.rows)
    rows, answers = table.test
    metrics = {"accuracy": _rounded(np.mean(estimator.predict(rows) == answers)), "rows": len(rows)}
    return _product(model, table, manifest, metrics)


def regressor(estimator: Any, table: Table, manifest: Manifest) -> Product:
    """Fit, convert, compare; the one output has a column of one value a row."""
    estimator.fit(*table.training)
    model = _converted(estimator, manifest, {})
    graph.rename(model.graph, model.graph.output[0].name, manifest["outputs"][0]["name"])
    graph.declare(model, manifest)
    _require_agreement(model, estimator.predict(table.rows).reshape(-1, 1), table.rows)
    rows, answers = table.test
    error = np.abs(estimator.predict(rows) - answers)
    r2 = 1 - np.square(error).sum() / np.square(answers - answers.mean()).sum()
    metrics = {"r2": _rounded(r2), "mean_absolute_error": _rounded(error.mean()), "rows": len(rows)}
    return _product(model, table, manifest, metrics)


def _converted(estimator: Any, manifest: Manifest, options: dict[str, Any]) -> onnx.ModelProto:
    (features,) = manifest["inputs"]
    types = [(features["name"], FloatTensorType([None, features["shape"][1]]))]
    with warnings.catch_warnings():
        # skl2onnx 1.20 looks whether an SVC has probA_ and probB_, which scikit-learn 1.9 calls deprecated.
        warnings.filterwarnings("ignore", r"Attribute `prob[AB]_` was deprecated", FutureWarning)
        model: onnx.ModelProto = to_onnx(estimator, initial_types=types, options=options, target_opset=OPSET)
    return model


def _label_by_argmax(nodes: onnx.GraphProto, probabilities: str, label: str) -> None:
    """Take the label straight from the probabilities; the classes are 0, 1, 2 and need no look-up."""
    graph.rename(nodes, "label", "label_by_class_list")
    nodes.node.append(helper.make_node("ArgMax", [probabilities], [label], name=label, axis=1, keepdims=0))


def _require_agreement(model: onnx.ModelProto, expected: NDArray[Any], rows: NDArray[np.float32]) -> None:
    actual = checks.answers(checks.session(model.SerializeToString()), rows)
    difference = float(np.abs(actual - expected).max())
    if not difference <= AGREEMENT:
        raise BuildError(f"ONNX Runtime and scikit-learn differ by {difference:.2g}, more than {AGREEMENT:.0e}")


def _product(model: onnx.ModelProto, table: Table, manifest: Manifest, metrics: dict[str, Any]) -> Product:
    _require_real_examples(table, manifest)
    return Product(model, table.rows, {"inputs": _with_ranges(table, manifest["inputs"][0]), "metrics": metrics})


def _with_ranges(table: Table, tensor: Manifest) -> list[Manifest]:
    """The input with the range that each of its named columns has in training; columns without a name have none."""
    if "features" not in tensor:
        return [tensor]
    training, _ = table.training
    columns = zip(tensor["features"], training.min(axis=0), training.max(axis=0), strict=True)
    features = [
        {"name": it["name"], "unit": it.get("unit", ""), "minimum": _rounded(low), "maximum": _rounded(high)} | it
        for it, low, high in columns
    ]
    return [tensor | {"features": features}]


def _require_real_examples(table: Table, manifest: Manifest) -> None:
    examples = [it for it in manifest["examples"] if "features" in it]
    if not examples:
        return
    labels = manifest.get("labels")
    truth = [labels[answer] for answer in table.answers] if labels else [float(answer) for answer in table.answers]
    known = {(tuple(map(_rounded, row)), answer) for row, answer in zip(table.rows, truth, strict=True)}
    for example in examples:
        if (tuple(example["features"]), example["answer"]) not in known:
            raise BuildError(f"{manifest['name']}: example {example} is no row of the data")


def _rounded(number: Any) -> float:
    return round(float(number), 4)
