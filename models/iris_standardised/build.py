"""iris_standardised: the machine of iris behind a scaler that stands in model.yaml and not in the graph."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from models import prepared, sklearn_onnx
from models.recipe import Product, Workspace


def data() -> tuple[sklearn_onnx.Table, NDArray[np.float64], Any]:
    """The table of iris with standardised rows, the measurements in cm [150, 4], and the fitted scaler."""
    measurements, _ = load_iris(return_X_y=True)
    table = sklearn_onnx.iris_table()
    scaler = StandardScaler().fit(measurements[~table.held_out])
    return replace(table, rows=scaler.transform(measurements).astype(np.float32)), measurements, scaler


def build(workspace: Workspace) -> Product:
    """As iris, so that both give the same answers to the same flower."""
    table, measurements, scaler = data()
    product = sklearn_onnx.classifier(CalibratedClassifierCV(SVC(), ensemble=False), table, workspace.manifest)
    names = sklearn_onnx.FLOWER_COLUMNS
    flowers = [dict(zip(names, map(float, row), strict=True)) for row in measurements]
    examples = prepared.real_examples(workspace.manifest, flowers, table.answers, table.rows)
    learned = {"standardise": prepared.scaling(names, scaler)}
    return prepared.with_steps(product, workspace.manifest, learned, examples)
