"""scikit-learn alone: the estimator that the model iris is converted from, called in a loop.

`python -m bench.rivals.sklearn_alone` takes a `Plan` whose one request is raw FP32 rows, and writes a `Result`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bench.rivals import alone
from models.sklearn_onnx import iris_dataset


def fitted() -> Any:
    """A scaler and a calibrated support vector machine, as in models/iris/build.py."""
    estimator = make_pipeline(StandardScaler(), CalibratedClassifierCV(SVC(), ensemble=False))
    return estimator.fit(*iris_dataset().training)


def rows_of(raw: bytes) -> NDArray[np.float32]:
    """FP32 [n, 4] from raw bytes."""
    return np.frombuffer(raw, np.float32).reshape(-1, 4)


def main() -> None:
    """Read the plan from standard input, run it, write the result."""
    plan, estimator = alone.given(), fitted()
    rows = rows_of(plan.requests[0])
    alone.report(plan, lambda: estimator.predict_proba(rows))


if __name__ == "__main__":
    main()
