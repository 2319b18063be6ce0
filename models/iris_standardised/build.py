"""iris_standardised: the SVC of iris. Its scaler is a preprocessing step in model.yaml, not part of the graph."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from models import learned_steps, sklearn_onnx
from models.build_api import BuildContext, BuildResult


def data() -> tuple[sklearn_onnx.Dataset, NDArray[np.float64], Any]:
    """The data set with standardised rows, the measurements in cm [150, 4], and the fitted scaler."""
    measurements, _ = load_iris(return_X_y=True)
    dataset = sklearn_onnx.iris_dataset()
    scaler = StandardScaler().fit(measurements[~dataset.held_out])
    return replace(dataset, rows=scaler.transform(measurements).astype(np.float32)), measurements, scaler


def build(context: BuildContext) -> BuildResult:
    """Fit as iris does, so that both models give the same probabilities for the same flower."""
    dataset, measurements, scaler = data()
    result = sklearn_onnx.classifier(CalibratedClassifierCV(SVC(), ensemble=False), dataset, context.manifest)
    names = sklearn_onnx.FLOWER_COLUMNS
    flowers = [dict(zip(names, map(float, row), strict=True)) for row in measurements]
    examples = learned_steps.verified_examples(context.manifest, flowers, dataset.answers, dataset.rows)
    learned = {"standardise": learned_steps.standardise_parameters(names, scaler)}
    return learned_steps.with_learned_steps(result, context.manifest, learned, examples)
